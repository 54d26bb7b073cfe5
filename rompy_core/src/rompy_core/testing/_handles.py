"""Watching a run, waiting for it and cancelling it."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import signal
import threading
import time

import attrs
import pytest

from rompy_core._errors import StartError
from rompy_core._protocols import RunHandle
from rompy_core._records import cancel, read_report
from rompy_core._reports import RunReport, RunState
from rompy_core.testing._bench import TREE, RunBench
from rompy_core.testing._claims import claim, error_of
from rompy_core.testing._run_suite import RunSuite


class _LeavingError(Exception):
    """Leaves a with-block."""


class HandleClaims(RunSuite):
    """Watching a run, waiting for it and cancelling it."""

    @claim
    def test_the_record_says_running(self, bench: RunBench) -> None:
        """While a run goes on, its record and its handle say RUNNING."""
        with bench.started(bench.staying()) as handle:
            bench.wait_for()
            found = read_report(bench.workspace()).state, handle.state, handle.done(), handle.run_id

        assert found == (RunState.RUNNING, RunState.RUNNING, False, "contract"), f"found {found}"

    @claim
    def test_the_record_equals_the_report(self, bench: RunBench) -> None:
        """What read_report() reads from the workspace equals the report of the handle."""
        for code in (0, 1):
            report = bench.report_of(bench.config_for(f"raise SystemExit({code})"), f"exit-{code}")
            recorded = read_report(bench.workspace(f"exit-{code}"))

            names = [field.name for field in attrs.fields(RunReport)]
            differing = [name for name in names if getattr(recorded, name) != getattr(report, name)]
            assert not differing, f"differing: {differing}"

    @claim
    def test_the_report_can_be_pickled(self, bench: RunBench) -> None:
        """A report pickles, and unpickles as an equal one."""
        report = bench.report_of(bench.config_for("pass"))
        copy = pickle.loads(pickle.dumps(report))  # noqa: S301 - made in the same line

        assert copy == report, f"unpickled is {copy!r}"

    @claim
    def test_a_wait_has_its_own_timeout(self, bench: RunBench) -> None:
        """A wait that runs out of time is a TimeoutError, and the run goes on."""
        with bench.started(bench.staying()) as handle:
            bench.wait_for()
            error_of(TimeoutError, handle.wait, 0.05)
            is_over = handle.done()
            bench.release()
            report = handle.wait(self.patience_s)

        assert not is_over, "the run was over after the wait"
        assert report.ok, f"the state is {report.state}: {report.reason}"

    @claim
    def test_a_handle_can_be_awaited(self, bench: RunBench) -> None:
        """A handle can be awaited, and the event loop goes on meanwhile."""

        async def release() -> None:
            bench.release()

        async def report_of(handle: RunHandle) -> RunReport:
            waiting = asyncio.ensure_future(handle)
            await asyncio.gather(waiting, release())
            return waiting.result()

        with bench.started(bench.staying(timeout=self.patience_s / 2)) as handle:
            bench.wait_for()
            report = asyncio.run(asyncio.wait_for(report_of(handle), self.patience_s))

        assert report.ok, f"the state is {report.state}: {report.reason}"
        assert report == handle.wait(self.patience_s), "await gave another report than wait()"

    @claim
    def test_cancel_ends_the_run(self, bench: RunBench) -> None:
        """cancel(), from any thread, ends the whole process tree within 2 * grace_s, as CANCELLED."""
        answers: list[bool] = []

        with bench.started(bench.tree(grace_s=self.grace_s)) as handle:
            bench.wait_for(*TREE)
            assert bench.left(), "live_processes() does not see the run; override it"
            thread = threading.Thread(target=lambda: answers.append(handle.cancel()))
            asked_at = time.monotonic()
            thread.start()
            report = handle.wait(self.patience_s)
            took_s = time.monotonic() - asked_at
            left = bench.left()
            thread.join(self.patience_s)
            answers.append(handle.cancel())

        assert report.state is RunState.CANCELLED, f"the state is {report.state}: {report.reason}"
        assert not left, f"processes are left: {left}"
        assert took_s <= 2 * self.grace_s, f"it took {took_s:.2f} s, allowed are {2 * self.grace_s:g} s"
        assert answers == [True, False], f"cancel() gave {answers} for a live run and for an ended one"

    @claim
    def test_cancel_works_by_path(self, bench: RunBench) -> None:
        """rompy_core.cancel() ends the run of a workspace, as CANCELLED, also after another one was refused there."""
        with bench.started(bench.staying(grace_s=self.grace_s)) as handle:
            bench.wait_for()
            with contextlib.suppress(StartError):
                _ = bench.submit(bench.config_for("pass"))
            report = cancel(bench.workspace(), timeout=self.patience_s)
            left = bench.left()
            waited = handle.wait(self.patience_s)

        assert report.state is RunState.CANCELLED, f"the state is {report.state}: {report.reason}"
        assert waited == report, "wait() gave another report than cancel()"
        assert not left, f"processes are left: {left}"

    @claim
    def test_an_exception_in_the_block_cancels(self, bench: RunBench) -> None:
        """An exception that leaves the handle's with-block ends the run first, as CANCELLED, and goes on."""

        def leave(handle: RunHandle) -> None:
            with handle:
                bench.wait_for()
                raise _LeavingError

        with bench.started(bench.staying(grace_s=self.grace_s)) as handle:
            error_of(_LeavingError, leave, handle)
            is_over, left, state = handle.done(), bench.left(), handle.state

        assert is_over, "the run goes on"
        assert not left, f"processes are left: {left}"
        assert state is RunState.CANCELLED, f"the state is {state}"

    @claim
    def test_an_interrupt_ends_the_run(self, bench: RunBench) -> None:
        """A KeyboardInterrupt during run() ends the run, as CANCELLED, and goes on."""
        is_main_thread = threading.current_thread() is threading.main_thread()
        if not is_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            pytest.skip("an interrupt would not reach this thread")

        is_raised = bench.is_interrupted(bench.staying(grace_s=self.grace_s))
        left, state = bench.left(), read_report(bench.workspace()).state
        bench.release()

        assert is_raised, "the interrupt did not reach the caller"
        assert not left, f"processes are left: {left}"
        assert state is RunState.CANCELLED, f"the state is {state}"
