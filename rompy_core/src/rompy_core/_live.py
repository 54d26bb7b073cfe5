"""A run while it lives: one thread that waits for the command, watches its output and completes the record.

The same for every backend; what is left to a backend is the ``Execution``.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, final

import attrs

from rompy_core._configs import BackendConfig
from rompy_core._logs import RunLogger
from rompy_core._protocols import Execution
from rompy_core._records import RunRecord
from rompy_core._reports import Outcome, Progress, RunReport, RunState, Usage
from rompy_core._series import ProgressSeries
from rompy_core._verdict import judge
from rompy_core._watch import Hit, OutputWatcher

_TICK_S: Final = 0.1
"""How often the output is looked at, and a request to cancel."""
_LAST_WORDS_S: Final = 0.5
"""How long a model has to end by itself after a fatal line: most do, and then their exit code and the rest of what they
say are worth more than those moments, and the verdict does not depend on when the output was looked at."""
_PROGRESS_EVERY_S: Final = 10.0
_PROGRESS_EVERY: Final = 0.1
_LONGEST_WAIT_S: Final = 0.25
"""A signal that comes between Python's look for one and the system call that waits is seen when that call returns: a
Ctrl-C would be lost to a wait without end."""
_FULL_BYTES: Final = 2**16


class BaseHandle(abc.ABC):
    """Waiting for a report, in a thread or in an event loop: the half of a ``RunHandle`` that needs no run.

    For a backend whose runs are watched by something else than ``LiveRun``: it adds ``progress``, ``usage`` and
    ``cancel``, and calls ``_complete`` once, with the report.
    """

    def __init__(self, record: RunRecord, log: RunLogger) -> None:
        """Wait for the end of the run of *record*, and log it by *log*."""
        self._record = record
        self._log = log
        self._future: Future[RunReport] = Future()
        # From here on nobody can cancel the future itself: asyncio would, when a task that awaits it is cancelled.
        self._future.set_running_or_notify_cancel()

    @property
    def run_id(self) -> str:
        """The model run's identifier."""
        return self._record.report.run_id

    @property
    def record_dir(self) -> Path:
        """The folder of the run's record."""
        return self._record.directory

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        return self._future.result().state if self._future.done() else RunState.RUNNING

    @property
    @abc.abstractmethod
    def progress(self) -> Progress | None:
        """How far it is; see ``RunHandle``."""

    @property
    @abc.abstractmethod
    def usage(self) -> Usage | None:
        """The newest sample; see ``RunHandle``."""

    @property
    def future(self) -> Future[RunReport]:
        """The report to come, for ``concurrent.futures.wait`` and ``as_completed``; cancel the run, not this."""
        return self._future

    def done(self) -> bool:
        """Whether the run has ended and its report is complete."""
        return self._future.done()

    def wait(self, timeout: float | None = None, *, show_progress: bool = False) -> RunReport:
        """Wait for the end of the run; see ``RunHandle``.

        Args:
            timeout: How many seconds to wait, or ``None`` for as long as it takes.
            show_progress: Whether to show the run meanwhile, as ``rompy_core.show_progress`` does.

        Raises:
            TimeoutError: The wait, not the run, ran out of time.
            ConfigError: tqdm is not installed, and so the run cannot be shown.
        """
        if not show_progress:
            return self._wait(timeout)
        from rompy_core import _bars

        with _bars.show_progress(self):
            return self._wait(timeout)

    def _wait(self, timeout: float | None) -> RunReport:
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            with contextlib.suppress(TimeoutError):
                return self._future.result(max(min(left, _LONGEST_WAIT_S), 0.0))
            if left <= _LONGEST_WAIT_S:
                raise TimeoutError(f"run {self.run_id!r} has not ended within the {timeout} s of this wait")

    def __await__(self) -> Generator[Any, None, RunReport]:
        return asyncio.wrap_future(self._future).__await__()

    def __enter__(self) -> Self:
        return self

    @abc.abstractmethod
    def cancel(self) -> bool:
        """Ask for the end of the run; see ``RunHandle``."""

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is not None and self.cancel():
            self.wait()

    def _complete(self, report: RunReport) -> None:
        """Log the end, and give the report to all who wait."""
        try:
            log_end(self._log, report)
        finally:  # whatever a filter of the application's logging raises, who waits is told
            self._future.set_result(report)


@final
class LiveRun(BaseHandle):
    """A ``RunHandle`` over a command that has been started."""

    def __init__(
        self,
        record: RunRecord,
        execution: Execution,
        config: BackendConfig,
        log: RunLogger,
        *,
        period: object = None,
        amend: Callable[[Outcome], Outcome] = lambda outcome: outcome,
    ) -> None:
        """Take over *execution* and its *record*; both are complete when the handle is done.

        Args:
            record: The record, whose report names the files of both output streams.
            execution: The started command.
            config: The options, for the rules and for ``stream_output``.
            log: Where to report the start, the progress and the end.
            period: The model run's period, for progress by dates.
            amend: Completes the outcome before it is judged, where the command left word of its own.
        """
        super().__init__(record, log)
        self._execution = execution
        self._amend = amend
        self._watcher = _watcher(record, config, log, period)
        self._ends_on_fatal = config.rules.on_fatal == "stop"
        self._fatal_at = math.inf
        self._outcome: Outcome | None = None
        self._started = time.monotonic()
        self._series = ProgressSeries(record.directory)
        self._logged = (self._started, 0.0)
        self._is_driven = threading.Lock()
        try:
            log.info("run started", extra={"record_dir": str(record.directory)})
            threading.Thread(target=self._drive, name=f"rompy-run-{self.run_id}", daemon=True).start()
        except BaseException as exc:
            # An interrupt, or no thread to be had: nobody will get this handle, so the run must not go on without it.
            execution.stop(RunState.CANCELLED, f"cancelled while it was being started: {type(exc).__name__}")
            self._drive()
            self.wait()
            raise

    @property
    def usage(self) -> Usage | None:
        """The newest sample, or ``None`` before the first one."""
        return self._execution.usage

    @property
    def progress(self) -> Progress | None:
        """How far the run is, or ``None`` where nothing says so."""
        if self._future.done():
            return self._future.result().progress
        progress = self._watcher.progress
        if progress is None:
            return None
        elapsed = time.monotonic() - self._started
        remaining = elapsed * (1 / progress.fraction - 1) if progress.fraction > 0 else None
        return attrs.evolve(progress, remaining_s=remaining)

    @property
    def last_line(self) -> str:
        """The newest line of output that is not blank."""
        return self._watcher.last_line

    def cancel(self) -> bool:
        """Ask for the end of the run; see ``RunHandle``."""
        if self.done():
            return False
        self._execution.stop(RunState.CANCELLED, "cancelled by its caller")
        return True

    def _drive(self) -> None:
        if not self._is_driven.acquire(blocking=False):
            return
        try:
            report = self._until_the_end()
        except BaseException as exc:  # noqa: BLE001 - a fault of ours must neither lose the run nor hang its waiters
            report = self._give_up(exc)
        try:
            self._execution.close()
        except Exception as exc:  # noqa: BLE001 - a backend's code: whatever it raises, the run has ended as it has
            self._log.warning("what the run held could not be let go: %s", exc)
        finally:
            self._complete(report)

    def _until_the_end(self) -> RunReport:
        # Before anything else: what files hold that the command has not written to yet is none of this run's.
        self._look()
        while (outcome := self._execution.wait(_TICK_S)) is None:
            if self._record.cancel_requested():
                self._execution.stop(RunState.CANCELLED, "cancelled from another process, by a request in the record")
            self._look()
        self._outcome = outcome
        return self._judge(outcome)

    def _look(self) -> None:
        if not self._watcher.is_needed:
            return
        fatal = self._watcher.scan()
        if fatal is not None and self._ends_on_fatal:
            self._stop_soon(fatal)
        self._tell_progress()

    def _stop_soon(self, fatal: Hit) -> None:
        now = time.monotonic()
        self._fatal_at = min(self._fatal_at, now)
        if now - self._fatal_at >= _LAST_WORDS_S:
            self._execution.stop(RunState.FAILED, f"ended at a fatal line: {fatal}")

    def _tell_progress(self) -> None:
        progress = self.progress
        if progress is None:
            return
        now = time.monotonic()
        self._series.add(now - self._started, progress)
        if self._series.path != self._record.report.progress_path:
            with contextlib.suppress(OSError):  # the end of the run tells, if it lasts
                self._record.update(progress_path=self._series.path)
        self._log_progress(progress, now)

    def _log_progress(self, progress: Progress, now: float) -> None:
        then, fraction = self._logged
        is_end = progress.fraction >= 1 > fraction  # or a log would stop at, say, 97 %
        if is_end or now - then >= _PROGRESS_EVERY_S or progress.fraction - fraction >= _PROGRESS_EVERY:
            self._logged = now, progress.fraction
            facts = {"fraction": progress.fraction, "remaining_s": progress.remaining_s, "text": progress.text}
            self._log.info("run progress: %.0f %%", 100 * progress.fraction, extra=facts)

    def _judge(self, outcome: Outcome) -> RunReport:
        self._watcher.scan(at_end=True)
        self._tell_progress()
        self._series.close()
        outcome = self._amend(outcome)
        if self._series.problem:
            outcome = attrs.evolve(outcome, warnings=(*outcome.warnings, self._series.problem))
        state, reason = judge(outcome, self._watcher)
        if not self._record.directory.is_dir() and state is RunState.COMPLETED:
            state, reason = RunState.FAILED, f"the workspace or its record {str(self.record_dir)!r} vanished"
        if state is not RunState.COMPLETED and _is_full(self._record.report.workspace_dir):
            reason += "; the file system of the workspace is full (No space left on device)"
        facts = attrs.asdict(outcome, filter=lambda field, _: field.name not in ("ended_as", "reason"))
        return self._record.finish(state, reason, progress=self._watcher.progress, **facts)

    def _give_up(self, exc: BaseException) -> RunReport:
        """End the run, and report what is known of it."""
        reason = f"its monitor failed, which is a fault of ours: {type(exc).__name__}: {exc}"
        with contextlib.suppress(Exception):  # the execution, or the application's logging, may be what failed
            self._log.error("run is ended, for its monitor failed", exc_info=exc)
        with contextlib.suppress(Exception):
            self._execution.stop(RunState.FAILED, "its monitor failed")
            while self._outcome is None:
                self._outcome = self._execution.wait(_TICK_S)
        self._series.close()
        outcome = self._outcome or Outcome()
        return self._record.finish(
            RunState.FAILED, reason, exit_code=outcome.exit_code, exit_signal=outcome.exit_signal
        )


@final
class CallHandle(BaseHandle):
    """A ``RunHandle`` over a backend that offers no more than ``run()``: it can be waited for, not cancelled."""

    def __init__(self, record: RunRecord, log: RunLogger, call: Callable[[], tuple[RunState, str]]) -> None:
        super().__init__(record, log)
        self._call = call

    @property
    def usage(self) -> Usage | None:
        """Nothing: the backend does not say."""
        return None

    @property
    def progress(self) -> Progress | None:
        """Nothing: the backend does not say."""
        return None

    def cancel(self) -> bool:
        """Say in the log that this run cannot be cancelled, and give ``False``."""
        if not self.done():
            self._log.warning("run cannot be cancelled: its backend offers no way to end it")
        return False

    def start(self) -> Self:
        """Call the backend in a thread."""
        threading.Thread(target=self.run, name=f"rompy-run-{self.run_id}", daemon=True).start()
        return self

    def run(self) -> Self:
        """Call the backend and complete the record; an interrupt completes it, too, and goes on."""
        self._log.info("run started", extra={"record_dir": str(self.record_dir)})
        started = time.monotonic()
        try:
            state, reason = self._call()
        except BaseException as exc:
            interrupted = not isinstance(exc, Exception)
            state = RunState.CANCELLED if interrupted else RunState.FAILED
            reason = f"the backend raised {type(exc).__name__}: {exc}".rstrip(": ")
            self._finish(state, reason, started)
            if interrupted:
                raise
            self._log.debug("the backend's exception", exc_info=True)
            return self
        self._finish(state, reason, started)
        return self

    def _finish(self, state: RunState, reason: str, started: float) -> None:
        self._complete(self._record.finish(state, reason, wall_time_s=time.monotonic() - started))


def _is_full(directory: Path) -> bool:
    """Whether next to nothing can be written in *directory* any more; a program that fails so cannot always say so."""
    try:
        free = os.statvfs(directory)
    except OSError:
        return False
    return free.f_bavail * free.f_frsize < _FULL_BYTES


def log_end(log: RunLogger, report: RunReport) -> None:
    """Log the end of a run: INFO for its facts, ERROR with the reason where it failed."""
    facts = {"state": str(report.state), "wall_time_s": report.wall_time_s, "reason": report.reason}
    if report.ok:
        log.info("run ended", extra=facts)
    else:
        log.error("run failed: %s", report.reason, extra=facts)
    for warning in report.warnings:
        log.warning("beside the run: %s", warning)


def _watcher(record: RunRecord, config: BackendConfig, log: RunLogger, period: object) -> OutputWatcher:
    report = record.report
    return OutputWatcher(
        config.rules,
        report.workspace_dir,
        stdout_path=report.stdout_path or record.directory / "stdout.log",
        stderr_path=report.stderr_path or record.directory / "stderr.log",
        since=record.opened_at,
        period=period,
        on_line=_line_logger(log) if config.stream_output else None,
        on_skipped=lambda stream, count: log.info(
            "output lines skipped, for the logger is too slow", extra={"stream": stream, "lines": count}
        ),
    )


def _line_logger(log: logging.LoggerAdapter[Any]) -> Callable[[str, str], None]:
    def pass_on(stream: str, line: str) -> None:
        log.info("%s", line, extra={"stream": stream})

    return pass_on
