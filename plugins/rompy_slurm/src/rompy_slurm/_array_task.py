"""A task of an array: takes pieces of work from the spool, one after the other, until there are no more.

It ends when Slurm asks it to, when nobody waits for it any more, when it has been idle for long, and when the time that
it has left is less than the longest piece has taken so far. What it was doing then is ended first, and counts as lost.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, final

from rompy_slurm import _scheduler
from rompy_slurm._scheduler import SchedulerError
from rompy_slurm._spool import DriverWatch, Spool, dumps, pause_s

_LOOK_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 0.5
_REACHES_ALL_S: Final = 0.05
"""Slurm signals the processes of a job one after the other: what failed by it must not count as a result. Of short
pieces, only a fiftieth of what they took is waited for it."""


class AskedToEndError(KeyboardInterrupt):
    """Ends the piece of work that goes on: an interrupt, which a run answers by ending its processes."""


def main() -> None:
    """Be an element of the spool that the first argument names."""
    sys.exit(run(Path(sys.argv[1]), os.environ))


def run(directory: Path, env: Mapping[str, str]) -> int:
    """Work until there is no more; gives the exit code."""
    spool = Spool(directory)
    driver = spool.read_driver()
    if driver is None:  # nobody waits; or the file system is not shared, which the executor finds out
        print(f"there is no driver in {str(directory)!r}", file=sys.stderr)  # noqa: T201 - into the log of the element
        return 0
    watch = DriverWatch(spool, driver)
    if not watch.is_over():
        os.chdir(driver.cwd)
        sys.path.extend(path for path in driver.path if path not in sys.path)
        element = f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
        _Worker(spool, watch, element).work()
    if watch.has_died():
        _clean_up(spool, watch)
    return 0


def _clean_up(spool: Spool, watch: DriverWatch) -> None:
    """Do what a driver does at its end, where it died before: no element is left to wait, nor what they would do."""
    with contextlib.suppress(SchedulerError):
        _scheduler.cancel(watch.driver.jobs, watch.driver.cluster, waiting_only=True)
    spool.remove()


@final
class _Worker:
    def __init__(self, spool: Spool, watch: DriverWatch, element: str) -> None:
        self._spool = spool
        self._watch = watch
        self._element = element
        self._is_asked = False
        self._is_working = False
        self._longest_s = 0.0
        minutes = watch.driver.minutes
        self._ends_at = None if minutes is None else time.monotonic() + 60 * minutes

    def work(self) -> None:
        """Do what there is to do."""
        signal.signal(signal.SIGTERM, self._take_note)
        self._spool.say_begun(self._element)
        has_ended = threading.Event()
        threading.Thread(target=self._mind_the_driver, args=(has_ended,), name="rompy-driver", daemon=True).start()
        with contextlib.suppress(AskedToEndError):
            self._work()
        has_ended.set()
        self._spool.say_left(self._element)

    def _work(self) -> None:
        idle_since = time.monotonic()
        while not self._is_asked and self._has_time():
            number = self._spool.claim(self._element, self._watch.driver.tasks)
            if number is not None:
                self._do(number)
                idle_since = time.monotonic()
                continue
            idle_s = time.monotonic() - idle_since
            if idle_s > self._watch.driver.idle_timeout:
                return
            time.sleep(pause_s(idle_s, _LONGEST_PAUSE_S))

    def _has_time(self) -> bool:
        return self._ends_at is None or time.monotonic() + self._longest_s < self._ends_at

    def _do(self, number: int) -> None:
        began = time.monotonic()
        result = self._result_of(self._spool.read_task(number, self._element))
        took_s = time.monotonic() - began
        self._longest_s = max(self._longest_s, took_s)
        time.sleep(min(took_s / 50, _REACHES_ALL_S))
        if not self._is_asked:
            self._spool.done(number, self._element, result)

    def _result_of(self, data: bytes) -> bytes:
        try:
            function, args, kwargs = pickle.loads(data)  # noqa: S301 - our own, from a directory of ours
            return _pickled(self._called(function, args, kwargs))
        except BaseException as exc:  # whatever ends a piece of work, its element goes on
            if self._is_asked:
                raise AskedToEndError from exc
            return _pickled_error(exc)

    def _called(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        self._is_working = True
        try:
            return function(*args, **kwargs)
        finally:
            self._is_working = False

    def _take_note(self, _number: int, _frame: FrameType | None) -> None:
        is_first, self._is_asked = not self._is_asked, True
        if is_first and self._is_working:
            raise AskedToEndError

    def _mind_the_driver(self, has_ended: threading.Event) -> None:
        while not has_ended.wait(_LOOK_S):
            if self._watch.is_over():
                os.kill(os.getpid(), signal.SIGTERM)
                return


def _pickled(value: object) -> bytes:
    return dumps((True, value))


def _pickled_error(exc: BaseException) -> bytes:
    """Pickle an exception with where it came from; one that does not pickle is told by what it says."""
    origin = "".join(traceback.format_exception(exc)).rstrip()
    try:
        exc.add_note(origin)
        data = dumps((False, exc))
        pickle.loads(data)  # noqa: S301 - one whose class takes other arguments fails only here
    except Exception as again:  # noqa: BLE001 - classes of other hands
        told = RuntimeError(f"{type(exc).__name__}: {exc} (which cannot be pickled: {again})")
        told.add_note(origin)
        return dumps((False, told))
    return data
