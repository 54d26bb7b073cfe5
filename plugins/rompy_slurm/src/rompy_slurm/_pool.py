"""The elements of one executor: as many as there is work for, replaced where they are lost; and what they give back."""

from __future__ import annotations

import logging
import pickle
import secrets
import threading
import time
from collections.abc import Collection
from concurrent.futures import BrokenExecutor, Future
from typing import Any, Final, final

import attrs

from rompy_slurm import _scheduler, _script
from rompy_slurm._config import SlurmConfig
from rompy_slurm._elements import Element
from rompy_slurm._poller import poller
from rompy_slurm._scheduler import Job, SchedulerError
from rompy_slurm._spool import BEAT_S, Driver, Spool, driver_of_this_process, pause_s

logger = logging.getLogger(__name__)
_GATHERS_S: Final = 0.1
"""How long no further work must have come until elements are asked for: one array is sent for all of it."""
_LONGEST_PAUSE_S: Final = 0.5
_LONGEST_END_S: Final = 120.0
"""How long to wait at the end for elements that Slurm does not end, or for a Slurm that gives no answer."""
_MOST_FAILURES: Final = 3
"""How many elements may end before they begin, or arrays be refused, in a row and with no other element at work."""
_LONGEST_BACKOFF_S: Final = 60.0


class ArrayTaskLostError(Exception):
    """The task of an array that worked on a function ended before there was a result; the text says how."""


class ArrayBrokenError(BrokenExecutor):
    """No task of an array comes to work: Slurm refuses them, or they end before they begin."""


@final
class Pool:
    """Minds the spool in a thread of its own, until it is closed; Slurm is asked by the poller, for all at once."""

    def __init__(self, spool: Spool, config: SlurmConfig, tasks: int, idle_timeout: float) -> None:
        self._spool = spool
        self._config = config
        self._tasks = tasks
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._is_closing = threading.Event()
        self._broken: ArrayBrokenError | None = None
        self._futures: dict[int, Future[Any]] = {}
        self._added = 0
        self._added_at = time.monotonic()
        self._elements: dict[str, Element] = {}
        self._largest_array: int | None = None
        self._failures = 0
        self._not_before = 0.0
        self._heard_at = time.monotonic()
        self._has_complained = False
        self._driver: Driver = driver_of_this_process(
            tasks=tasks, minutes=config.minutes, idle_timeout=idle_timeout, cluster=config.cluster or ""
        )
        self._spool.write_driver(self._driver)
        self._threads = [
            threading.Thread(target=target, name=f"rompy-slurm-array-{name}", daemon=True)
            for name, target in (("pool", self._mind), ("beat", self._beat))
        ]
        for thread in self._threads:
            thread.start()

    def add(self, future: Future[Any], data: bytes) -> int:
        """Lay out a piece of work, and give its number.

        Raises:
            ArrayBrokenError: Nobody would come to do it.
            OSError: The disk refuses it.
        """
        with self._lock:
            if self._broken is not None:
                raise self._broken
            number = self._added = self._added + 1
            self._spool.put(number, data)
            self._futures[number] = future
            self._added_at = time.monotonic()
        self._wake.set()
        return number

    def withdraw(self, number: int) -> bool:
        """Take a piece of work back, unless it has been taken; says whether that worked."""
        with self._lock:
            is_back = number in self._futures and self._spool.take_back(number)
            if is_back:
                del self._futures[number]
        return is_back

    def close(self) -> None:
        """End all elements, wait until they are gone, and remove the spool."""
        self._is_closing.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()

    # What the threads do, from here on

    def _beat(self) -> None:
        while not self._is_closing.wait(BEAT_S):
            self._write_driver(beat=self._driver.beat + 1)

    def _write_driver(self, **changes: Any) -> None:
        with self._lock:
            self._driver = attrs.evolve(self._driver, **changes)
            if self._is_closing.is_set():
                return
            try:
                self._spool.write_driver(self._driver)
            except OSError as exc:
                logger.warning("the sign of life cannot be written: %s", exc)

    def _mind(self) -> None:
        try:
            while not self._is_closing.is_set():
                try:
                    self._round()
                    self._has_complained = False
                except OSError as exc:
                    self._complain(exc)
                self._wake.wait(pause_s(time.monotonic() - self._heard_at, _LONGEST_PAUSE_S))
                self._wake.clear()
        except Exception as exc:
            logger.exception("the executor slurm-array has a fault")
            self._break(f"{type(exc).__name__}: {exc}")
        finally:
            self._end()

    def _complain(self, exc: OSError) -> None:
        if self._spool.is_gone():  # an element took us for dead, or somebody removed it
            self._break(f"its directory {str(self._spool.directory)!r} is gone")
        elif not self._has_complained:
            logger.warning("the spool cannot be read, and is tried again: %s", exc)
        self._has_complained = True

    def _round(self) -> None:
        if self._broken is not None:
            self._is_closing.wait()
            return
        settled = [element for element in self._elements.values() if element.is_settled()]
        self._hear()
        for element in settled:
            self._bury(element)
        self._call_for_elements()

    def _hear(self) -> None:
        """Take note of what the elements say, and give the results to those who wait for them."""
        news = self._spool.news()
        for name in news.begun:
            self._failures = 0
            self._element(name).say(has_begun=True)
        for name in news.left:
            self._element(name).say(has_left=True)
        for number in news.results:
            data = self._spool.read_result(number)
            with self._lock:
                future = self._futures.pop(number, None)
            if future is not None:
                _resolve(future, data)
        if any((news.begun, news.left, news.results)):
            self._heard_at = time.monotonic()

    def _element(self, name: str) -> Element:
        """Give the element; also one of an array that had been taken although Slurm's answer was lost."""
        if name not in self._elements:
            self._watch([name], self._driver.cluster)
        return self._elements[name]

    def _watch(self, names: Collection[str], cluster: str) -> None:
        for name in names:
            self._elements[name] = Element(Job(name, cluster), self._wake.set)
            poller().watch(self._elements[name])

    def _bury(self, element: Element) -> None:
        """Tell who waits for what an element that has ended was doing; all that it had done was heard before."""
        numbers = self._spool.claimed_by(element.job.id)
        del self._elements[element.job.id]
        for number in numbers:
            with self._lock:
                future = self._futures.pop(number, None)
            if future is not None:
                how = element.ending(self._spool.logs_dir)
                future.set_exception(ArrayTaskLostError(f"{element.job} ended while it was at work: {how}"))
        if not element.has_begun:
            how = element.ending(self._spool.logs_dir)
            self._failed(
                f"{element.job} ended before it began to work: {how}; its node must see {str(self._spool.directory)!r} "
                "and the Python environment"
            )

    def _call_for_elements(self) -> None:
        now = time.monotonic()
        at_hand = sum(element.is_at_hand for element in self._elements.values())
        with self._lock:
            wanted = min(len(self._futures), self._tasks) - at_hand
            is_gathered = len(self._futures) >= self._tasks or now - self._added_at >= _GATHERS_S
        if wanted <= 0 or now < self._not_before:
            return
        if not is_gathered:
            self._heard_at = now
            return
        if self._largest_array is None:
            self._largest_array = _scheduler.largest_array(self._config.cluster or "")
        self._send(min(wanted, self._largest_array))

    def _send(self, size: int) -> None:
        key = f"rompy-{secrets.token_hex(12)}"
        words = _script.array_argv(self._config, key=key, logs_dir=self._spool.logs_dir, size=size)
        text = _script.array_script(self._config, self._spool.directory).encode("utf-8", "surrogateescape")
        try:
            job = _scheduler.submit_or_find(words, lambda: text, key, self._config.cluster or "")
        except SchedulerError as exc:
            self._failed(f"Slurm did not take an array of {size}: {exc}")
            return
        logger.info("array submitted", extra={"job": job.id, "tasks": size})
        self._write_driver(jobs=(*self._driver.jobs, job.id), cluster=job.cluster)
        self._watch([f"{job.id}_{index}" for index in range(size)], job.cluster)

    def _failed(self, why: str) -> None:
        """Wait before the next try; where nobody is at work meanwhile, there are not many."""
        self._failures += 1
        is_at_work = any(element.is_at_hand and element.has_begun for element in self._elements.values())
        if self._failures >= _MOST_FAILURES and not is_at_work:
            self._break(why)
            return
        backoff_s = min(2.0**self._failures, _LONGEST_BACKOFF_S)
        self._not_before = time.monotonic() + backoff_s
        logger.warning("%s; the next try is in %g s", why, backoff_s)

    def _break(self, why: str) -> None:
        with self._lock:
            self._broken = self._broken or ArrayBrokenError(why)
            futures, self._futures = list(self._futures.values()), {}
        for future in futures:
            future.set_exception(ArrayBrokenError(why))

    def _end(self) -> None:
        with self._lock:
            self._is_closing.set()
            self._spool.retire()
        jobs: dict[str, list[str]] = {}
        for element in self._elements.values():
            element.end()
            if not element.done():
                jobs.setdefault(element.job.cluster, []).append(element.job.id.partition("_")[0])
        for cluster, ids in jobs.items():
            try:
                _scheduler.cancel(sorted(set(ids)), cluster)
            except SchedulerError as exc:
                logger.warning("Slurm did not end the arrays, and is asked again: %s", exc)
        deadline = time.monotonic() + _LONGEST_END_S
        while (left := self._left()) and time.monotonic() < deadline:
            poller().poke()
            self._wake.wait(_LONGEST_PAUSE_S)
            self._wake.clear()
        if left:
            logger.warning("tasks of arrays were asked to end and have not: %s", ", ".join(left))
        self._break("it was shut down")
        self._spool.remove()

    def _left(self) -> list[str]:
        return [name for name, element in self._elements.items() if not element.done()]


def _resolve(future: Future[Any], data: bytes) -> None:
    try:
        is_value, value = pickle.loads(data)  # noqa: S301 - written by an element, in a directory of ours
    except Exception as exc:  # noqa: BLE001 - classes of other hands
        is_value, value = False, RuntimeError(f"the result cannot be read here: {type(exc).__name__}: {exc}")
    if is_value:
        future.set_result(value)
    else:
        future.set_exception(value)
