"""How a run ends."""

from __future__ import annotations

import logging
import signal
import time

import pytest

from rompy_core._records import read_report
from rompy_core._reports import RunState
from rompy_core.testing._bench import DAEMON, TREE, RunBench
from rompy_core.testing._claims import claim, error_of
from rompy_core.testing._run_suite import RunSuite


class EndClaims(RunSuite):
    """How a run ends."""

    @claim
    def test_an_exit_code_is_reported(self, bench: RunBench) -> None:
        """A command that exits is a report with its exit code and no signal, never an exception."""
        for code in (0, 1, 3):
            report = bench.report_of(bench.config_for(f"raise SystemExit({code})"), f"exit-{code}")

            found = report.exit_code, report.exit_signal
            assert found == (code, None), f"exit_code and exit_signal are {found} for exit code {code}"

    @claim
    def test_a_signal_is_reported(self, bench: RunBench) -> None:
        """A command that a signal ended is a report with the signal's number and no exit code, never an exception."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            source = f"import os; os.kill(os.getpid(), {int(number)})"
            report = bench.report_of(bench.config_for(source), number.name)

            found = report.exit_code, report.exit_signal
            assert found == (None, number), f"exit_code and exit_signal are {found} for signal {int(number)}"
            assert not report.ok, "it is called a success"

    @claim
    def test_only_exit_code_0_is_success(self, bench: RunBench) -> None:
        """Without rules, exit code 0 is success and any other is failure, for run() as for the report."""
        for code, state in ((0, RunState.COMPLETED), (1, RunState.FAILED), (255, RunState.FAILED)):
            verdict = bench.verdict_of(bench.config_for(f"raise SystemExit({code})"), f"exit-{code}")
            recorded = read_report(bench.workspace(f"exit-{code}"))

            assert verdict is (code == 0), f"run() gave {verdict!r} for exit code {code}"
            assert recorded.state is state, f"the state is {recorded.state} for exit code {code}"

    @claim
    def test_the_report_says_what_was_run(self, bench: RunBench) -> None:
        """A report tells the run, its workspace, the reason, its beginning and end, and the names of its variables."""
        report = bench.report_of(bench.config_for("pass", env_vars={"DEPTH": "3"}))

        assert report.run_id == "contract", f"run_id is {report.run_id!r}"
        assert report.workspace_dir == bench.workspace(), f"workspace_dir is {report.workspace_dir}"
        assert report.reason, "the reason is empty"
        assert report.started_at.utcoffset() is not None, "started_at has no time zone"
        assert report.finished_at is not None, "finished_at is None"
        assert report.started_at <= report.finished_at, "it finished before it started"
        assert report.env_names == ("DEPTH",), f"env_names is {report.env_names}"

    @claim
    def test_a_timeout_ends_the_whole_tree(self, bench: RunBench) -> None:
        """A timeout ends the whole process tree within timeout + 2 * grace_s, as TIMED_OUT."""
        with bench.started(bench.tree(timeout=self.timeout_s, grace_s=self.grace_s)) as handle:
            bench.wait_for(*TREE)
            assert bench.left(), "live_processes() does not see the run; override it"
            ready_at = time.monotonic()
            report = handle.wait(self.patience_s)
            took_s = time.monotonic() - ready_at
            left = bench.left()

        assert report.state is RunState.TIMED_OUT, f"the state is {report.state}: {report.reason}"
        assert not left, f"processes are left: {left}"
        limit_s = self.timeout_s + 2 * self.grace_s
        assert took_s <= limit_s, f"it took {took_s:.2f} s, allowed are {limit_s:g} s"

    @claim
    def test_run_raises_timeout_error(self, bench: RunBench) -> None:
        """A run that exceeds its wall-clock limit is a TimeoutError of run()."""
        error_of(TimeoutError, bench.verdict_of, bench.staying(timeout=0.2, grace_s=self.grace_s))

    @claim
    def test_the_end_is_asked_for_first(self, bench: RunBench) -> None:
        """A run is asked to end, and has grace_s to do so, before it is made to."""
        obey = "signal.signal(signal.SIGTERM, lambda *_: (open('asked', 'w').close(), os._exit(0)))"

        with bench.started(bench.staying(obey, grace_s=self.patience_s)) as handle:
            bench.wait_for()
            handle.cancel()
            handle.wait(self.patience_s)

        assert (bench.workspace() / "asked").exists(), "the run was ended without being asked"

    @claim
    def test_leftovers_are_ended(self, bench: RunBench) -> None:
        """Processes that outlive their command are ended with it, unless the config says otherwise."""
        leave = "\nwhile not os.path.exists('ready-daemon'): time.sleep(0.01)\nos._exit(0)"

        with bench.started(bench.staying(DAEMON + leave)) as handle:
            report = handle.wait(self.patience_s)
            left = bench.left()

        assert not left, f"processes are left: {left}"
        assert report.ok, f"the state is {report.state}: {report.reason}"

    @claim
    def test_a_stalled_run_is_ended(self, bench: RunBench) -> None:
        """A run whose output and files do not grow for stall_timeout is ended, as STALLED."""
        report = bench.report_of(bench.staying(stall_timeout=0.5))

        assert report.state is RunState.STALLED, f"the state is {report.state}: {report.reason}"

    @claim
    def test_output_has_a_limit(self, bench: RunBench) -> None:
        """A run that writes more than log_size_limit is ended, as LIMIT_EXCEEDED."""
        report = bench.report_of(bench.staying("os.write(1, bytes(200_000))", log_size_limit=100_000))

        assert report.state is RunState.LIMIT_EXCEEDED, f"the state is {report.state}: {report.reason}"

    @claim
    def test_memory_has_a_limit(self, bench: RunBench) -> None:
        """A run that takes more than its memory is ended, as OUT_OF_MEMORY."""
        config = bench.staying("taken = b'x' * 500_000_000", memory="128m", timeout=self.patience_s / 2)

        report = bench.report_of(config)

        assert report.state is RunState.OUT_OF_MEMORY, f"the state is {report.state}: {report.reason}"

    @claim
    def test_the_report_says_what_it_cost(self, bench: RunBench) -> None:
        """A report tells how long the run took, and where it tells a peak of memory, how that was measured."""
        report = bench.report_of(bench.config_for("import time; time.sleep(0.3)"))

        assert report.wall_time_s is not None, "wall_time_s is None"
        assert report.wall_time_s >= 0.3, f"wall_time_s is {report.wall_time_s} for a run of 0.3 s"
        found = report.peak_rss_bytes, report.memory_method
        assert (found[0] is None) == (found[1] is None), f"peak_rss_bytes and memory_method are {found}"

    @claim
    def test_a_failure_is_logged(self, bench: RunBench, caplog: pytest.LogCaptureFixture) -> None:
        """A run that failed is an ERROR in the log with the reason; each record of a run has its run_id and backend."""
        caplog.set_level(logging.INFO)

        report = bench.report_of(bench.config_for("raise SystemExit(3)"))

        errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert any(report.reason in message for message in errors), f"{report.reason!r} is not in {errors}"
        wanted = report.run_id, report.backend
        for record in caplog.records:
            found = getattr(record, "run_id", None), getattr(record, "backend", None)
            assert found == wanted, f"run_id and backend are {found} in the record {record.getMessage()!r}"
