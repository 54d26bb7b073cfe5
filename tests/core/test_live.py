from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from rompy_core import (
    BackendConfig,
    LiveRun,
    Outcome,
    Period,
    RunHandle,
    RunLogger,
    RunReport,
    RunState,
    Usage,
    _live,
    cancel,
    open_record,
    read_report,
)
from rompy_core._live import CallHandle
from rompy_core._watch import OutputWatcher

Until = Callable[..., None]
LOGGER = logging.getLogger("rompy_core.tests")


class Fake:
    """An execution that ends when the test says so; as the real ones do, it tells its outcome once."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.asked: list[tuple[RunState, str]] = []
        self.is_closed = False
        self.is_obedient = True
        self._outcomes: list[Outcome] = []
        self._changed = threading.Condition()

    def end(self, **facts: Any) -> None:
        with self._changed:
            self._outcomes.append(Outcome(**{"exit_code": 0, **facts}))
            self._changed.notify()

    def wait(self, timeout: float) -> Outcome | None:
        with self._changed:
            self._changed.wait_for(lambda: self._outcomes, timeout)
            return self._outcomes.pop() if self._outcomes else None

    def stop(self, ended_as: RunState, reason: str) -> None:
        self.asked.append((ended_as, reason))
        if self.is_obedient and len(self.asked) == 1:
            self.end(ended_as=ended_as, reason=reason, exit_code=None, exit_signal=signal.SIGTERM)

    def close(self) -> None:
        self.is_closed = True


@attrs.define
class Runs:
    """Starts fake runs, and sees to it that they end."""

    workspace: Path
    made: list[tuple[Fake, LiveRun]] = attrs.field(factory=list)

    def start(self, fake: Fake | None = None, *, rules: object = None, **options: Any) -> LiveRun:
        execution = fake or Fake()
        record = open_record(
            self.workspace,
            run_id="case",
            backend="fake",
            stdout_path=Path("stdout.log"),
            stderr_path=Path("stderr.log"),
        )
        config = BackendConfig(rules=rules, stream_output=options.pop("stream_output", False))
        live = LiveRun(record, execution, config, RunLogger(LOGGER, "case", "fake"), **options)
        self.made.append((execution, live))
        return live

    @property
    def fake(self) -> Fake:
        return self.made[-1][0]

    def print(self, text: str, stream: str = "stdout") -> None:
        with (self.made[-1][1].record_dir / f"{stream}.log").open("a") as file:
            file.write(text)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "case"
    directory.mkdir()
    return directory


@pytest.fixture
def runs(workspace: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    caplog.set_level(logging.DEBUG, "rompy_core")
    monkeypatch.setattr(_live, "_TICK_S", 0.005)
    made = Runs(workspace)
    yield made
    for fake, live in made.made:
        fake.end()
        live.wait(10)


def logged(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if text in record.getMessage()]


# While it runs.


def test_a_live_run_is_a_run_handle_that_says_where_it_stands(runs: Runs, workspace: Path) -> None:
    live = runs.start()

    assert isinstance(live, RunHandle)
    assert (live.run_id, live.state, live.done()) == ("case", RunState.RUNNING, False)
    assert (live.usage, live.progress, live.last_line) == (None, None, "")
    assert live.record_dir.parent == workspace / ".rompy"


def test_the_newest_sample_is_that_of_the_execution(runs: Runs) -> None:
    live = runs.start()

    runs.fake.usage = Usage(elapsed_s=1.0, rss_bytes=2**20)

    assert live.usage is runs.fake.usage


@pytest.mark.parametrize("rules", [None, {"fatal": "ERROR"}])
def test_the_last_line_is_there_while_it_runs_whether_or_not_a_rule_reads_it(runs: Runs, rules: object) -> None:
    live = runs.start(rules=rules)

    runs.print("step 1\nstep 2\n")

    assert live.last_line == "step 2"


def test_progress_comes_with_the_time_that_is_left(runs: Runs, until: Until) -> None:
    live = runs.start(rules={"progress": r"(?P<percent>\d+) %"})
    runs.print("0 %\n")
    until(lambda: live.progress, "the first progress")
    assert live.progress is not None
    assert (live.progress.fraction, live.progress.remaining_s) == (0.0, None)

    runs.print("at 75 %\n")

    until(lambda: live.progress and live.progress.fraction == 0.75, "the second progress")
    assert live.progress.text == "75 %"
    assert live.progress.remaining_s is not None
    assert 0 < live.progress.remaining_s < 15


def test_progress_by_dates_goes_by_the_period_of_the_model_run(runs: Runs, until: Until) -> None:
    period = Period(start="2024-05-14", end="2024-05-16")
    live = runs.start(rules={"progress": r"now (?P<date>\S+)"}, period=period)

    runs.print("now 2024-05-15\n")

    until(lambda: live.progress, "the progress")
    assert live.progress is not None
    assert live.progress.fraction == 0.5


# The end.


def test_the_end_is_a_report_that_is_on_disk_as_well(runs: Runs) -> None:
    live = runs.start(rules={"progress": r"(?P<percent>\d+) %", "success": "done"})
    runs.print("40 %\ndone")

    runs.fake.end(wall_time_s=2.0, cpu_time_s=1.5, peak_rss_bytes=2**20, memory_method="PSS", max_processes=3)
    report = live.wait(10)

    assert report == read_report(live.record_dir)
    assert live.done()
    assert live.state is report.state is RunState.COMPLETED
    assert report.ok
    assert (report.exit_code, report.wall_time_s, report.cpu_time_s) == (0, 2.0, 1.5)
    assert (report.peak_rss_bytes, report.memory_method, report.max_processes) == (2**20, "PSS", 3)
    assert live.progress == report.progress
    assert report.progress is not None
    assert report.progress.fraction == 0.4
    assert live.wait() is report


def test_the_execution_is_let_go_after_the_record_is_complete(runs: Runs) -> None:
    seen: list[RunState] = []

    class Watching(Fake):
        def close(self) -> None:
            super().close()
            seen.append(read_report(runs.workspace).state)

    live = runs.start(Watching())

    runs.fake.end()
    live.wait(10)

    assert seen == [RunState.COMPLETED]


def test_a_command_may_have_a_word_of_its_own_about_its_end(runs: Runs) -> None:
    def amend(outcome: Outcome) -> Outcome:
        return attrs.evolve(outcome, ended_as=RunState.FAILED, reason="it raised", traceback="...")

    live = runs.start(amend=amend)
    runs.fake.end()
    report = live.wait(10)

    assert (report.state, report.reason, report.traceback) == (RunState.FAILED, "it raised", "...")


def test_a_run_whose_workspace_vanished_is_a_failure(runs: Runs, workspace: Path) -> None:
    live = runs.start()

    shutil.rmtree(workspace)
    runs.fake.end()
    report = live.wait(10)

    assert report.state is RunState.FAILED
    assert "vanished" in report.reason
    assert not workspace.exists()


@pytest.mark.parametrize("exit_code", [0, 1])
def test_a_failure_on_a_full_file_system_says_that_it_is_full(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, exit_code: int
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
    live = runs.start()

    runs.fake.end(exit_code=exit_code)
    report = live.wait(10)

    assert report.ok is (exit_code == 0)
    assert ("No space left on device" in report.reason) is (exit_code != 0)


def test_a_wait_that_runs_out_is_a_timeout_error_and_the_run_goes_on(runs: Runs) -> None:
    live = runs.start()

    with pytest.raises(TimeoutError, match=r"'case' has not ended within the 0.01 s of this wait"):
        live.wait(0.01)

    assert live.state is RunState.RUNNING
    assert runs.fake.asked == []


def test_many_may_wait_for_one_run(runs: Runs) -> None:
    live = runs.start()
    reports: list[RunReport] = []
    waiters = [threading.Thread(target=lambda: reports.append(live.wait(10))) for _ in range(5)]
    for waiter in waiters:
        waiter.start()

    runs.fake.end()
    for waiter in waiters:
        waiter.join()

    assert reports == [live.wait()] * 5


# Being cancelled.


def test_a_run_that_is_cancelled_ends_as_cancelled(runs: Runs) -> None:
    live = runs.start()

    assert live.cancel() is True
    report = live.wait(10)

    assert (report.state, report.reason) == (RunState.CANCELLED, "cancelled by its caller")
    assert report.exit_signal == signal.SIGTERM
    assert runs.fake.asked == [(RunState.CANCELLED, "cancelled by its caller")]


def test_a_run_that_has_ended_cannot_be_cancelled(runs: Runs) -> None:
    live = runs.start()
    runs.fake.end()
    live.wait(10)

    assert live.cancel() is False

    assert runs.fake.asked == []


def test_a_run_is_cancelled_from_elsewhere_through_its_record(runs: Runs, workspace: Path) -> None:
    live = runs.start()

    report = cancel(workspace, timeout=10)

    assert report.state is RunState.CANCELLED
    assert "from another process" in report.reason
    assert live.wait(10) == report


def test_leaving_the_block_by_an_exception_ends_the_run(runs: Runs) -> None:
    with pytest.raises(ZeroDivisionError), runs.start() as live:
        raise ZeroDivisionError

    assert live.done()
    assert live.state is RunState.CANCELLED


def test_leaving_the_block_otherwise_lets_the_run_go_on(runs: Runs) -> None:
    with runs.start() as live:
        pass

    assert live.state is RunState.RUNNING
    assert runs.fake.asked == []


def test_leaving_the_block_of_a_run_that_has_ended_changes_nothing(runs: Runs) -> None:
    live = runs.start()
    runs.fake.end()
    live.wait(10)

    with pytest.raises(ZeroDivisionError), live:
        raise ZeroDivisionError

    assert live.state is RunState.COMPLETED


# In an event loop.


def test_a_run_can_be_awaited(runs: Runs) -> None:
    async def main() -> tuple[RunReport, RunReport]:
        live = runs.start()
        asyncio.get_running_loop().call_later(0.01, runs.fake.end)
        return await live, await live

    reports = asyncio.run(main())

    assert reports == (runs.made[0][1].wait(),) * 2
    assert reports[0].ok


def test_a_loop_goes_on_while_a_run_is_awaited(runs: Runs) -> None:
    ticks = 0

    async def main() -> RunReport:
        nonlocal ticks
        waiting = asyncio.ensure_future(wait_for(runs.start()))
        while ticks < 5:
            await asyncio.sleep(0)
            ticks += 1
        runs.fake.end()
        return await waiting

    async def wait_for(live: LiveRun) -> RunReport:
        return await live

    assert asyncio.run(main()).ok
    assert ticks == 5


@pytest.mark.parametrize("how", ["timeout", "cancelled"])
def test_a_task_that_stops_waiting_does_not_end_the_run(runs: Runs, how: str, caplog: pytest.LogCaptureFixture) -> None:
    async def give_up() -> None:
        live = runs.start()
        if how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await live
        else:
            task = asyncio.ensure_future(wait_for(live))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def wait_for(live: LiveRun) -> RunReport:
        return await live

    asyncio.run(give_up())
    live = runs.made[0][1]

    assert live.state is RunState.RUNNING
    assert runs.fake.asked == []
    runs.fake.end()  # the loop is closed by now
    assert live.wait(10).ok
    assert not [record for record in caplog.records if record.name == "asyncio"]


# Fatal lines.


def test_a_fatal_line_ends_the_run_and_is_the_reason(runs: Runs) -> None:
    live = runs.start(rules={"fatal": "ERROR"})

    runs.print("fine\nERROR: dry cell\n")
    report = live.wait(10)

    assert report.state is RunState.FAILED
    assert report.reason == "ended at a fatal line: 'ERROR: dry cell' (stdout, line 2)"
    assert set(runs.fake.asked) == {(RunState.FAILED, report.reason)}


def test_a_run_that_ends_by_itself_after_a_fatal_line_keeps_its_exit_code(
    runs: Runs, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rompy_core._live._LAST_WORDS_S", 60.0)
    live = runs.start(rules={"fatal": "ERROR"})
    runs.print("ERROR: dry cell\n")
    until(lambda: live.last_line, "the look that finds it")

    runs.print("See the manual\n")
    runs.fake.end(exit_code=2)
    report = live.wait(10)

    assert runs.fake.asked == []
    assert (report.state, report.exit_code) == (RunState.FAILED, 2)
    assert report.reason == (
        "the command ended with exit code 2; a fatal line: 'ERROR: dry cell' (stdout, line 1); "
        "the last line of output: 'See the manual'"
    )


def test_a_fatal_line_that_only_fails_lets_the_run_end_by_itself(runs: Runs) -> None:
    looked = threading.Event()

    class Counting(Fake):
        def wait(self, timeout: float) -> Outcome | None:
            if "ERROR" in live.last_line:
                looked.set()
            return super().wait(0.001)

    live: Any = type("NotYet", (), {"last_line": ""})()
    live = runs.start(Counting(), rules={"fatal": "ERROR", "on_fatal": "fail"})
    runs.print("ERROR: dry cell\n")
    assert looked.wait(10)

    runs.fake.end()
    report = live.wait(10)

    assert runs.fake.asked == []
    assert report.state is RunState.FAILED
    assert report.reason == "a fatal line: 'ERROR: dry cell' (stdout, line 1)"


def test_what_an_earlier_attempt_wrote_into_a_log_that_is_continued_does_not_end_the_run(
    runs: Runs, workspace: Path, until: Until
) -> None:
    log = workspace / "run.log"
    log.write_text("ABORT yesterday\n")
    until(lambda: time.time() - log.stat().st_mtime > 0.05, "the clock of the file system to go on")
    live = runs.start(rules={"fatal": {"regex": "ABORT", "file": "*.log"}, "progress": r"(?P<percent>\d+) %"})
    runs.print("1 %\n")
    until(lambda: live.progress, "the first look")

    with log.open("a") as file:
        file.write("all well today\n")
    runs.fake.end()
    report = live.wait(10)

    assert report.ok


# What goes wrong on our side.


def broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("a fault of ours")


def assert_ended_by_a_fault(live: LiveRun, cause: str = "ZeroDivisionError: a fault of ours") -> RunReport:
    report = live.wait(10)
    assert report.state is RunState.FAILED
    assert report.reason == f"its monitor failed, which is a fault of ours: {cause}"
    assert report == read_report(live.record_dir)
    return report


def test_a_watcher_that_fails_ends_the_run_as_a_failure(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(OutputWatcher, "scan", broken)

    live = runs.start(rules={"fatal": "x"})

    report = assert_ended_by_a_fault(live)
    assert report.exit_signal == signal.SIGTERM
    assert runs.fake.asked == [(RunState.FAILED, "its monitor failed")]
    assert runs.fake.is_closed
    assert logged(caplog, "its monitor failed")[0].exc_info


def test_a_fault_after_the_end_of_the_command_neither_hangs_nor_hides_how_it_ended(runs: Runs) -> None:
    live = runs.start(amend=broken)

    runs.fake.end(exit_code=3)

    assert assert_ended_by_a_fault(live).exit_code == 3


@pytest.mark.parametrize("method", ["wait", "stop"])
def test_an_execution_that_fails_does_not_hang_whoever_waits(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    fake = Fake()
    monkeypatch.setattr(fake, method, broken)

    live = runs.start(fake, rules={"fatal": "ERROR"})
    runs.print("ERROR\n")

    report = assert_ended_by_a_fault(live)
    assert (report.exit_code, report.exit_signal) == (None, None)
    assert fake.is_closed


def test_an_execution_that_cannot_be_let_go_has_ended_all_the_same(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake = Fake()
    monkeypatch.setattr(fake, "close", broken)
    live = runs.start(fake)

    fake.end()

    assert live.wait(10).ok
    assert logged(caplog, "could not be let go: a fault of ours")[0].levelno == logging.WARNING


def test_a_filter_of_the_application_that_fails_does_not_hang_whoever_waits(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    seen: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    live = runs.start()
    LOGGER.addFilter(broken)

    runs.fake.end()
    report = live.wait(10)

    until(lambda: seen, "the error of the filter")
    LOGGER.removeFilter(broken)
    assert report.ok
    assert seen[0].exc_type is ZeroDivisionError


def test_a_record_that_cannot_be_written_is_a_failure_that_says_so(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    live = runs.start()
    (live.record_dir / "report.json").unlink()
    (live.record_dir / "report.json" / "in the way").mkdir(parents=True)

    runs.fake.end()
    report = live.wait(10)

    assert report.state is RunState.FAILED
    assert "could not be written" in report.reason
    assert logged(caplog, "beside the run: the record")[0].levelno == logging.WARNING


# Interrupted at its start.


def test_a_run_that_no_thread_can_watch_does_not_go_on(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    fake = Fake()
    monkeypatch.setattr(threading.Thread, "start", no_thread)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        runs.start(fake)

    report = read_report(runs.workspace)
    assert report.state is RunState.CANCELLED
    assert report.reason == "cancelled while it was being started: RuntimeError"
    assert fake.is_closed


def test_an_interrupt_while_a_run_is_taken_over_ends_it_and_goes_on(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_watched = threading.Event()
    start = threading.Thread.start

    class Watched(Fake):
        def wait(self, timeout: float) -> Outcome | None:
            is_watched.set()
            return super().wait(timeout)

    def then_interrupt(thread: threading.Thread) -> None:
        start(thread)
        assert is_watched.wait(10)
        raise KeyboardInterrupt

    fake = Watched()
    monkeypatch.setattr(threading.Thread, "start", then_interrupt)

    with pytest.raises(KeyboardInterrupt):
        runs.start(fake)

    assert read_report(runs.workspace).state is RunState.CANCELLED
    assert fake.is_closed


# What the log says.


def test_every_line_of_the_log_says_which_run_it_is_about(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    live = runs.start(rules={"progress": r"(?P<percent>\d+) %"}, stream_output=True)
    runs.print("20 %\n")
    runs.fake.end(warnings=("something else",))
    live.wait(10)

    assert len(caplog.records) >= 4
    for record in caplog.records:
        assert (record.run_id, record.backend) == ("case", "fake")  # type: ignore[attr-defined]


def test_the_start_and_the_end_are_logged_with_their_facts(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    live = runs.start()
    runs.fake.end(wall_time_s=3.5)
    live.wait(10)

    [started], [ended] = logged(caplog, "run started"), logged(caplog, "run ended")

    assert started.levelno == ended.levelno == logging.INFO
    assert started.record_dir == str(live.record_dir)  # type: ignore[attr-defined]
    assert (ended.state, ended.wall_time_s) == ("COMPLETED", 3.5)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"exit_code": 2}, "exit code 2"),
        ({"ended_as": RunState.TIMED_OUT, "reason": "exceeded its timeout of 5 s"}, "exceeded its timeout of 5 s"),
    ],
)
def test_a_failure_is_logged_at_error_with_its_reason(
    runs: Runs, caplog: pytest.LogCaptureFixture, facts: dict[str, Any], reason: str
) -> None:
    live = runs.start()
    runs.fake.end(**facts)
    live.wait(10)

    [failed] = logged(caplog, "run failed")

    assert failed.levelno == logging.ERROR
    assert reason in failed.getMessage()
    assert failed.reason == live.wait().reason  # type: ignore[attr-defined]
    assert not logged(caplog, "run ended")


def test_what_went_wrong_beside_the_run_is_a_warning(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    live = runs.start()
    runs.fake.end(warnings=("processes were killed",))
    live.wait(10)

    [warning] = logged(caplog, "processes were killed")

    assert warning.levelno == logging.WARNING


def test_progress_is_logged_at_most_every_tenth_of_the_way(
    runs: Runs, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    live = runs.start(rules={"progress": r"(?P<percent>\S+) %"})
    for percent in range(0, 101, 4):
        runs.print(f"{percent} %\n")
        until(lambda now=percent: live.progress and live.progress.fraction == now / 100, "the progress")
    runs.fake.end()
    live.wait(10)

    told = [record.fraction for record in logged(caplog, "run progress")]  # type: ignore[attr-defined]

    assert told == sorted(set(told))
    assert all(later - earlier >= 0.1 or later == 1 for earlier, later in zip([0.0, *told], told, strict=False))
    assert len(told) >= 5
    assert all(record.levelno == logging.INFO for record in logged(caplog, "run progress"))


def test_progress_that_is_slow_is_logged_when_its_time_has_come(
    runs: Runs, caplog: pytest.LogCaptureFixture, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_live, "_PROGRESS_EVERY_S", 0.0)
    runs.start(rules={"progress": r"(?P<percent>\S+) %"})

    runs.print("1 %\n")

    until(lambda: logged(caplog, "run progress"), "the log of it")
    assert logged(caplog, "run progress")[0].text == "1 %"  # type: ignore[attr-defined]


def test_output_goes_to_the_log_line_by_line_where_that_is_asked_for(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    live = runs.start(stream_output=True)
    runs.print("100 % sure\nof %s\n")
    runs.print("oh\n", "stderr")
    runs.fake.end()
    live.wait(10)

    lines = [(record.stream, record.getMessage()) for record in caplog.records if hasattr(record, "stream")]

    assert sorted(lines) == [("stderr", "oh"), ("stdout", "100 % sure"), ("stdout", "of %s")]


def test_output_stays_out_of_the_log_otherwise(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    live = runs.start(rules={"fatal": "ERROR"})
    runs.print("canary\n")
    runs.fake.end()
    live.wait(10)

    assert not logged(caplog, "canary")


def test_lines_that_a_slow_log_misses_are_counted_in_it(
    runs: Runs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rompy_core._watch._BACKLOG", 100)
    monkeypatch.setattr("rompy_core._watch._CHUNK", 100)

    live = runs.start(stream_output=True)
    runs.print("line\n" * 1000)

    runs.fake.end()
    live.wait(10)

    skipped = sum(record.lines for record in logged(caplog, "lines skipped"))  # type: ignore[attr-defined]
    assert skipped > 0
    assert skipped + sum(record.getMessage() == "line" for record in caplog.records) == 1000


# A backend that has no more than run().


@attrs.define
class Calls:
    workspace: Path

    def handle(self, call: Callable[[], tuple[RunState, str]]) -> CallHandle:
        record = open_record(self.workspace, run_id="case", backend="cloud", is_cancellable=False)
        return CallHandle(record, RunLogger(LOGGER, "case", "cloud"), call)


@pytest.fixture
def calls(workspace: Path, caplog: pytest.LogCaptureFixture) -> Calls:
    caplog.set_level(logging.DEBUG, "rompy_core")
    return Calls(workspace)


def completed() -> tuple[RunState, str]:
    return RunState.COMPLETED, "the backend reports success"


def test_a_call_in_a_thread_is_a_run_handle_that_cannot_be_cancelled(
    calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    may_end = threading.Event()

    def call() -> tuple[RunState, str]:
        assert may_end.wait(10)
        return completed()

    handle = calls.handle(call).start()

    assert isinstance(handle, RunHandle)
    assert (handle.state, handle.usage, handle.progress) == (RunState.RUNNING, None, None)
    assert handle.cancel() is False
    [warning] = logged(caplog, "cannot be cancelled")
    assert warning.levelno == logging.WARNING
    assert handle.state is RunState.RUNNING
    may_end.set()
    report = handle.wait(10)
    assert report.ok
    assert report.wall_time_s is not None
    assert report == read_report(calls.workspace)


def test_leaving_the_block_of_a_call_by_an_exception_leaves_it_running(calls: Calls) -> None:
    may_end = threading.Event()
    handle = calls.handle(lambda: (may_end.wait(10), completed())[1])

    with pytest.raises(ZeroDivisionError), handle.start():
        raise ZeroDivisionError

    assert not handle.done()
    may_end.set()
    assert handle.wait(10).ok


def test_a_call_that_has_ended_has_nothing_to_cancel(calls: Calls, caplog: pytest.LogCaptureFixture) -> None:
    handle = calls.handle(completed).run()

    assert handle.cancel() is False

    assert not logged(caplog, "cannot be cancelled")


def test_a_call_can_be_awaited(calls: Calls) -> None:
    async def main() -> RunReport:
        return await calls.handle(completed).start()

    assert asyncio.run(main()).ok


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (ValueError("no such tide"), "the backend raised ValueError: no such tide"),
        (ValueError(), "the backend raised ValueError"),
    ],
)
def test_a_call_that_raises_is_a_failure_with_the_reason(
    calls: Calls, caplog: pytest.LogCaptureFixture, exc: Exception, reason: str
) -> None:
    def call() -> tuple[RunState, str]:
        raise exc

    report = calls.handle(call).run().wait()

    assert (report.state, report.reason) == (RunState.FAILED, reason)
    assert logged(caplog, f"run failed: {reason}")[0].levelno == logging.ERROR
    assert logged(caplog, "the backend's exception")[0].exc_info[1] is exc  # type: ignore[index]


def test_an_interrupt_completes_the_record_and_goes_on(calls: Calls) -> None:
    def call() -> tuple[RunState, str]:
        raise KeyboardInterrupt

    handle = calls.handle(call)
    with pytest.raises(KeyboardInterrupt):
        handle.run()

    assert handle.state is RunState.CANCELLED
    assert read_report(calls.workspace).state is RunState.CANCELLED


def test_threads_of_runs_do_not_keep_the_interpreter_alive(workspace: Path, run_python: Callable[..., str]) -> None:
    source = (
        "import sys, time\nfrom pathlib import Path\nfrom rompy_core import RunLogger, RunState, open_record\n"
        "import logging\nfrom rompy_core._live import CallHandle\n"
        f"record = open_record(Path({str(workspace)!r}), run_id='case', backend='cloud', is_cancellable=False)\n"
        "CallHandle(record, RunLogger(logging.getLogger(), 'case', 'cloud'), lambda: time.sleep(300)).start()\n"
    )
    begun = time.monotonic()

    run_python(source)

    assert time.monotonic() - begun < 30
    assert read_report(workspace).state is RunState.LOST
