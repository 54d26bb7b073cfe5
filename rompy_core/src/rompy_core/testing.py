"""Conformance suites for plugin authors: what every caller may rely on, as tests to inherit.

They need pytest: ``pip install "rompy-core[testing]"``. Subclass the suite for your kind of plugin in a test module
and override its fixtures; every ``test_…`` method of the suite is then a test of your plugin::

    import sys
    from collections.abc import Callable

    import pytest
    from rompy_core.testing import RunBackendContract
    from rompy_queue import QueueBackend, QueueConfig


    class TestQueue(RunBackendContract):
        @pytest.fixture
        def backend(self) -> QueueBackend:
            return QueueBackend()

        @pytest.fixture
        def config_for(self) -> Callable[..., QueueConfig]:
            return lambda source, **options: QueueConfig(command=(sys.executable, "-c", source), **options)

``config_for`` gives the config of a run that executes *source*, a Python program, in whatever Python the backend
offers. The programs use the standard library only, and talk to the test through files in the directory in which the
command starts, which is the workspace. They need not be processes of this machine: see ``live_processes``.

A claim that fails says in one sentence which promise was broken, and what was found. A promise that your plugin cannot
keep for a good reason is left out by name, ``test_… = None``, with the reason beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Final, cast

import attrs
import pytest

from rompy_core._errors import ConfigError, StartError
from rompy_core._foreign import message_of, success_of
from rompy_core._model import ModelRun
from rompy_core._protocols import PipelineBackend, Postprocessor, RunHandle, SubmittingBackend
from rompy_core._records import cancel, find_runs, read_report
from rompy_core._reports import RunReport, RunState
from rompy_core._structure import structure_config
from rompy_core._testkit import (
    DAEMON,
    TREE,
    ConfigFor,
    CountingRun,
    Parts,
    RunBench,
    claim,
    error_of,
    processes_with,
    wait_until,
)

__all__ = ["PipelineBackendContract", "PostprocessorContract", "RunBackendContract", "wait_until"]

_NO_MODEL_RUNS: Final = (None, SimpleNamespace(output_dir="."), SimpleNamespace(run_id=None, output_dir="."))
_STAGES: Final = ("generate", "run", "postprocess")


class RunBackendContract:
    """What every ``SubmittingBackend`` must keep.

    Attributes:
        patience_s: How long to wait for what must come, seconds. Only a broken promise costs as much.
        timeout_s: The wall-clock limit where that is tested; a tree of three processes must be up within it.
        grace_s: The grace where that is tested, and how much later than promised an end may come on a busy machine.
    """

    patience_s: ClassVar[float] = 30.0
    timeout_s: ClassVar[float] = 1.5
    grace_s: ClassVar[float] = 0.75

    @pytest.fixture
    def backend(self) -> SubmittingBackend[Any]:
        """Override: the backend."""
        raise NotImplementedError("override the fixture 'backend': give the backend to test")

    @pytest.fixture
    def config_for(self) -> ConfigFor:
        """Override: a function of the text of a Python program, and of options, that gives a config to run it."""
        raise NotImplementedError("override the fixture 'config_for': give a function (source, **options) -> config")

    @pytest.fixture
    def command_not_found(self, backend: SubmittingBackend[Any]) -> Any:
        """Override where configs have no ``command``: a config whose command does not exist."""
        return structure_config({"command": ["rompy-no-such-command"]}, backend.config_type)

    def live_processes(self, token: str) -> list[str]:
        """Give a line for each living process of a run that has *token* in its command line and its environment.

        Override where the runs are not processes of the caller's machine, or cannot be seen from there.
        """
        return processes_with(token)

    @pytest.fixture
    def bench(self, backend: SubmittingBackend[Any], config_for: ConfigFor, tmp_path: Path) -> RunBench:
        """Give what the claims are put to the test with; not to be overridden."""
        return RunBench(
            backend=backend,
            config_for=config_for,
            directory=tmp_path,
            live_processes=self.live_processes,
            patience_s=self.patience_s,
        )

    # How a run ends

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

    # What is refused

    @claim
    def test_a_missing_command_is_a_start_error(self, bench: RunBench, command_not_found: Any) -> None:
        """A command that does not exist is a StartError of submit(), with a report NOT_STARTED that is recorded."""
        error = error_of(StartError, bench.submit, command_not_found)

        assert error.report.state is RunState.NOT_STARTED, f"the state is {error.report.state}"
        assert read_report(bench.workspace()) == error.report, "the recorded report is another one"

    @claim
    def test_a_missing_command_is_a_failed_run(self, bench: RunBench, command_not_found: Any) -> None:
        """A command that does not exist is False of run()."""
        verdict = bench.verdict_of(command_not_found)

        assert verdict is False, f"run() gave {verdict!r}"

    @claim
    def test_a_live_workspace_is_refused(self, bench: RunBench) -> None:
        """A second run in a live workspace is a StartError that names the first's record, host and pid."""
        with bench.started(bench.staying()) as handle:
            bench.wait_for()
            first = read_report(bench.workspace())
            error = error_of(StartError, bench.submit, bench.config_for("pass"))
            is_over = handle.done()

        pid = first.supervisor.pid if first.supervisor else None
        for name, fact in {"record": first.record_dir, "host": first.host, "pid": pid}.items():
            assert fact, f"the first run's report has no {name}"
            assert str(fact) in str(error), f"the {name} {str(fact)!r} is not in: {error}"
        assert error.report.state is RunState.NOT_STARTED, f"the state is {error.report.state}"
        assert not is_over, "the first run was ended"

    @claim
    def test_an_unknown_option_is_refused(self, bench: RunBench) -> None:
        """An unknown option is a ConfigError that names it, before anything is generated or written."""
        model_run = CountingRun(bench.directory / "runs")

        error = error_of(ConfigError, bench.backend.run, model_run, bench.config_for("pass"), no_such_option=1)

        assert "no_such_option" in str(error), f"the option is not named in: {error}"
        assert not model_run.generated, "the inputs were generated"
        assert not model_run.output_dir.exists(), "something was written"

    @claim
    def test_what_is_no_model_run_is_refused(self, bench: RunBench) -> None:
        """None, or an object without a run_id, is a ValueError of run() and submit(), before anything is written."""
        config, workspace = bench.config_for("pass"), bench.workspace()
        for wrong in _NO_MODEL_RUNS:
            error_of(ValueError, bench.backend.run, wrong, config, workspace)
            error_of(ValueError, bench.backend.submit, wrong, config, workspace)

        written = sorted(path.name for path in workspace.iterdir())
        assert not written, f"something was written: {written}"

    # The model run and its workspace

    @claim
    def test_the_inputs_are_generated_once(self, bench: RunBench) -> None:
        """run() generates exactly once, and not at all where it is given a workspace."""
        given, generating = CountingRun(bench.directory / "given"), CountingRun(bench.directory / "generating")

        bench.backend.run(given, bench.config_for("open('here', 'w')"), workspace_dir=str(bench.workspace()))
        bench.backend.run(generating, bench.config_for("open('here', 'w')"))

        assert given.generated == 0, f"generated {given.generated} times with a given workspace"
        assert (bench.workspace() / "here").exists(), "it did not run in the given workspace"
        assert generating.generated == 1, f"generated {generating.generated} times without a workspace"
        assert (generating.workspace / "here").exists(), "it did not run in the generated workspace"

    @claim
    def test_a_foreign_model_run_is_accepted(self, bench: RunBench) -> None:
        """Any object with run_id and output_dir can be run, whatever its class."""
        foreign = SimpleNamespace(run_id="foreign", output_dir=bench.directory / "runs")

        verdict = bench.backend.run(foreign, bench.config_for("open('here', 'w')"))

        assert verdict is True, f"run() gave {verdict!r}"
        assert (bench.directory / "runs" / "foreign" / "here").exists(), "it did not run in output_dir/run_id"

    @claim
    def test_the_command_starts_in_working_dir(self, bench: RunBench) -> None:
        """A command starts in working_dir, which is taken from the workspace."""
        (bench.workspace() / "grid").mkdir()

        bench.report_of(bench.config_for("open('here', 'w')", working_dir="grid"))

        assert (bench.workspace() / "grid" / "here").exists(), "it started elsewhere"

    @claim
    def test_earlier_attempts_stay(self, bench: RunBench) -> None:
        """Each attempt has a record of its own, and those of earlier ones stay."""
        reports = [bench.report_of(bench.config_for(f"raise SystemExit({code})")) for code in (1, 0)]

        recorded = [(run.record_dir, run.exit_code) for run in find_runs(bench.workspace())]
        assert recorded == [(run.record_dir, run.exit_code) for run in reports], f"recorded are {recorded}"

    # What the caller keeps

    @claim
    def test_env_vars_reach_the_run(self, bench: RunBench) -> None:
        """env_vars reach the run as they are, and the caller's environment stays as it was."""
        env_vars = {"ROMPY_A": "a b=c'\"$HOME", "ROMPY_B": "first\nsecond", "ROMPY_C": "", "ROMPY_D": "größer"}
        write = "open('seen', 'w').write(ascii({k: v for k, v in os.environ.items() if k.startswith('ROMPY_')}))"
        before = dict(os.environ)

        with bench.started(bench.staying(write, env_vars=env_vars)):
            bench.wait_for()
            during = dict(os.environ)

        seen = (bench.workspace() / "seen").read_text("ascii")
        for name, value in env_vars.items():
            assert f"{name!r}: {value!a}" in seen, f"{name} is not {value!a} in {seen}"
        assert before == during == dict(os.environ), "the caller's environment was changed"

    @claim
    def test_the_caller_stays_in_its_directory(self, bench: RunBench) -> None:
        """The caller's working directory stays as it was, also while the run goes on."""
        before = Path.cwd()

        with bench.started(bench.staying(working_dir=".")):
            bench.wait_for()
            during = Path.cwd()

        assert before == during == Path.cwd(), f"it was {before}, then {during}, then {Path.cwd()}"

    @claim
    def test_values_of_variables_are_shown_nowhere(
        self, bench: RunBench, command_not_found: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Values of env_vars appear in no file below the workspace, no log record, no repr and no error."""
        caplog.set_level(logging.DEBUG)
        env_vars = {"SECRET": "canary-4711"}
        shown: list[object] = []
        for source in ("pass", "raise SystemExit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"):
            config = bench.config_for(source, env_vars=env_vars)
            with bench.started(config) as handle:
                shown += [config, handle, handle.wait(self.patience_s)]
        missing = attrs.evolve(command_not_found, env_vars=env_vars)
        error = error_of(StartError, bench.submit, missing)
        wrong = error_of(ValueError, bench.config_for, "pass", env_vars={"SECRET": "canary-4711\0"}, timeout=-1)
        shown += [missing, error, str(error), error.report, wrong, str(wrong)]

        leaks = [f"the repr of {type(one).__name__}" for one in shown if "canary-4711" in repr(one)]
        leaks += [f"a log record of {record.name}" for record in caplog.records if "canary-4711" in _all_of(record)]
        leaks += [f"the file {file}" for file in _files(bench.directory) if b"canary-4711" in file.read_bytes()]
        assert not leaks, f"the value is in {'; '.join(leaks)}"

    # Its output

    @claim
    def test_much_output_does_not_block(self, bench: RunBench) -> None:
        """Megabytes on both streams at once neither block the run nor get lost."""
        source = "import os\nfor _ in range(64): os.write(1, b'o' * 65536), os.write(2, b'e' * 65536)"
        report = bench.report_of(bench.config_for(source, timeout=self.patience_s / 2))

        assert report.ok, f"the state is {report.state}: {report.reason}"
        sizes = len(_captured(report.stdout_path)), len(_captured(report.stderr_path))
        assert sizes == (2**22, 2**22), f"{sizes} bytes of {2**22} each were captured"

    @claim
    def test_output_is_kept_byte_for_byte(self, bench: RunBench) -> None:
        """Output is kept byte for byte, each stream in its own file, also where it is not UTF-8."""
        source = "import os; os.write(1, bytes(range(256)) * 4); os.write(2, b'\\xff\\r\\n\\x00\\xfe')"
        report = bench.report_of(bench.config_for(source))

        assert _captured(report.stdout_path) == bytes(range(256)) * 4, "standard output differs"
        assert _captured(report.stderr_path) == b"\xff\r\n\x00\xfe", "standard error differs"

    @claim
    def test_output_can_be_streamed(self, bench: RunBench, caplog: pytest.LogCaptureFixture) -> None:
        """With stream_output, each line of output is also a log record, with the run_id."""
        caplog.set_level(logging.INFO)

        bench.report_of(bench.config_for("print('depth 1'); print('depth 2')", stream_output=True))

        lines = [record for record in caplog.records if record.getMessage().startswith("depth")]
        assert [record.getMessage() for record in lines] == ["depth 1", "depth 2"], f"found {lines}"
        assert {getattr(record, "run_id", None) for record in lines} == {"contract"}, "the records lack the run_id"

    @claim
    def test_two_runs_do_not_mix(self, bench: RunBench) -> None:
        """Two runs at once, in two workspaces, each have their own output, files, record and verdict."""
        codes = {"left": 3, "right": 5}
        then = "print('{0}'); open('mine-{0}', 'w'); sys.exit({1})"

        with contextlib.ExitStack() as stack:
            handles = {
                name: stack.enter_context(bench.started(bench.staying(then=then.format(name, code)), name))
                for name, code in codes.items()
            }
            for name in codes:
                bench.wait_for(name=name)
            for name in codes:
                bench.release(name)
            reports = {name: handle.wait(self.patience_s) for name, handle in handles.items()}

        for name, report in reports.items():
            assert report.workspace_dir == bench.workspace(name), f"{name!r} got that of {report.workspace_dir}"
            assert report.exit_code == codes[name], f"exit_code of {name!r} is {report.exit_code}"
            output = _captured(report.stdout_path)
            assert output.split() == [name.encode()], f"output of {name!r} is {output!r}"
            files = [file.name for file in bench.workspace(name).glob("mine-*")]
            assert files == [f"mine-{name}"], f"files of {name!r} are {files}"

    # Watching and cancelling

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

    # Verdict and progress from the model's own output

    @claim
    def test_a_required_file_is_required(self, bench: RunBench) -> None:
        """A run with exit code 0 that did not write a required file is a failure that names the file."""
        rules = {"required_files": ["result.nc"]}
        without = bench.report_of(bench.config_for("pass", rules=rules), "without")
        written = bench.report_of(bench.config_for("open('result.nc', 'w')", rules=rules), "written")

        assert without.state is RunState.FAILED, f"the state is {without.state} without the file"
        assert "result.nc" in without.reason, f"the file is not named in: {without.reason}"
        assert written.ok, f"the state is {written.state} with the file: {written.reason}"

    @claim
    def test_a_fatal_line_stops_the_run(self, bench: RunBench) -> None:
        """A fatal line of output ends the run while it goes on, as FAILED, and the reason quotes the line."""
        print_it = "print('ERROR: grid has holes', flush=True)"
        config = bench.staying(print_it, rules={"fatal": ["ERROR"]}, timeout=self.patience_s / 2)

        with bench.started(config) as handle:
            report = handle.wait(self.patience_s)

        assert report.state is RunState.FAILED, f"the state is {report.state}: {report.reason}"
        assert "ERROR: grid has holes" in report.reason, f"the line is not quoted in: {report.reason}"

    @claim
    def test_a_success_line_is_required(self, bench: RunBench) -> None:
        """A run with exit code 0 whose output lacks the line of success is a failure."""
        rules = {"success": ["normal end"]}
        without = bench.report_of(bench.config_for("pass", rules=rules), "without")
        printed = bench.report_of(bench.config_for("print('normal end')", rules=rules), "printed")

        assert without.state is RunState.FAILED, f"the state is {without.state} without the line"
        assert printed.ok, f"the state is {printed.state} with the line: {printed.reason}"

    @claim
    def test_progress_reaches_the_handle(self, bench: RunBench) -> None:
        """Progress that the output tells reaches the handle while the run goes on, and the report."""
        rules = {"progress": r"(?P<percent>\d+) % done"}
        config = bench.staying("print('50 % done', flush=True)", then="print('75 % done')", rules=rules)

        with bench.started(config) as handle:
            wait_until(lambda: handle.progress is not None, self.patience_s, "progress of the handle")
            during = handle.progress
            bench.release()
            report = handle.wait(self.patience_s)

        found = [progress.fraction if progress else None for progress in (during, report.progress)]
        assert found == [0.5, 0.75], f"fractions of the handle and of the report are {found}"


class PostprocessorContract:
    """What every postprocessor must keep. It is called as ``process(model_run, **options)``."""

    @pytest.fixture
    def postprocessor(self) -> Postprocessor:
        """Override: the postprocessor."""
        raise NotImplementedError("override the fixture 'postprocessor': give the postprocessor to test")

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        """Override where it needs options: those to call it with, such as ``{"config": …}``."""
        return {}

    def make_outputs(self, workspace: Path) -> None:
        """Write the outputs of a run that it can process; override where it needs real ones."""
        (workspace / "out").mkdir()
        (workspace / "out" / "waves.txt").write_text("1.5 2.5\n")
        (workspace / "PRINT").write_bytes(b"normal end\xff\n")

    @pytest.fixture
    def process(self, postprocessor: Postprocessor, options: Mapping[str, Any]) -> Callable[[Any], Any]:
        """Call the postprocessor; not to be overridden."""
        return functools.partial(postprocessor.process, **options)

    @pytest.fixture
    def model_run(self, tmp_path: Path) -> ModelRun:
        """Give a model run that has outputs; not to be overridden."""
        model_run = ModelRun(run_id="contract", output_dir=tmp_path)
        self.make_outputs(model_run.generate())
        return model_run

    @claim
    def test_the_results_say_success(self, process: Callable[[Any], Any], model_run: ModelRun) -> None:
        """The results say by their success, a key or an attribute, whether it worked: True for good outputs."""
        results = process(model_run)

        assert not isinstance(results, bool), f"it gave {results!r}, which has no success"
        assert success_of(results) is True, f"it gave {results!r}"

    @claim
    def test_missing_outputs_are_a_failure(self, process: Callable[[Any], Any], tmp_path: Path) -> None:
        """A missing output directory is not raised: success is False, and the message names the directory."""
        results = process(ModelRun(run_id="missing", output_dir=tmp_path))

        assert success_of(results) is False, f"it gave {results!r}"
        assert "missing" in message_of(results), f"the directory is not named in: {message_of(results)!r}"
        assert not (tmp_path / "missing").exists(), "the directory was made"

    @claim
    def test_a_file_is_no_output_directory(self, process: Callable[[Any], Any], tmp_path: Path) -> None:
        """A file in place of the output directory is not raised: success is False, and the message names it."""
        (tmp_path / "in-the-way").write_text("")

        results = process(ModelRun(run_id="in-the-way", output_dir=tmp_path))

        assert success_of(results) is False, f"it gave {results!r}"
        assert "in-the-way" in message_of(results), f"the file is not named in: {message_of(results)!r}"

    @claim
    def test_what_is_no_model_run_is_refused(self, process: Callable[[Any], Any]) -> None:
        """None, or an object without a run_id, is a ValueError."""
        for wrong in _NO_MODEL_RUNS:
            error_of(ValueError, process, wrong)

    @claim
    def test_the_outputs_stay_as_they_are(self, process: Callable[[Any], Any], model_run: ModelRun) -> None:
        """The outputs of the run are neither changed nor removed; new files may come."""
        before = {file: file.read_bytes() for file in _files(model_run.workspace_dir)}

        process(model_run)

        lost = [file.name for file, content in before.items() if _content(file) != content]
        assert not lost, f"changed or removed: {lost}"

    @claim
    def test_a_foreign_model_run_is_accepted(self, process: Callable[[Any], Any], model_run: ModelRun) -> None:
        """Any object with run_id and output_dir can be processed, whatever its class; output_dir may be text."""
        for output_dir in (model_run.output_dir, str(model_run.output_dir)):
            results = process(SimpleNamespace(run_id=model_run.run_id, output_dir=output_dir))

            assert success_of(results) is True, f"it gave {results!r}"

    @claim
    def test_the_caller_stays_as_it_is(self, process: Callable[[Any], Any], model_run: ModelRun) -> None:
        """The caller's working directory and environment stay as they were."""
        directory, environment = Path.cwd(), dict(os.environ)

        process(model_run)

        assert directory == Path.cwd(), f"the working directory is now {Path.cwd()}"
        assert environment == dict(os.environ), "the environment was changed"


class PipelineBackendContract:
    """What every pipeline backend must keep that drives the run backend and the postprocessor it is given."""

    @pytest.fixture
    def pipeline(self) -> PipelineBackend:
        """Override: the pipeline backend."""
        raise NotImplementedError("override the fixture 'pipeline': give the pipeline backend to test")

    def execute(self, pipeline: PipelineBackend, parts: Any, **options: Any) -> Any:
        """Execute *pipeline*; override where it is to be called otherwise.

        Args:
            pipeline: The pipeline backend.
            parts: An object that is the model run, the run backend and the postprocessor.
            options: ``run_backend``, ``processor``, ``run_kwargs``, ``process_kwargs`` and ``cleanup_on_failure``
                as the interface has them, where a claim is about them.
        """
        return pipeline.execute(parts, **{"run_backend": parts, "processor": parts, **options})

    @claim
    def test_the_results_say_what_was_done(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A pipeline that worked gives a mapping with success, run_id and stages_completed."""
        results = self.execute(pipeline, Parts(tmp_path / "runs"))

        _assert_results(results, success=True, run_id="contract", stages_completed=[*_STAGES])

    @claim
    def test_each_stage_runs_once_in_order(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """Generate, run and postprocess run in this order, each once, also where the run backend asks to generate."""
        parts = Parts(tmp_path / "runs")

        self.execute(pipeline, parts)

        assert parts.calls == [*_STAGES], f"called were {parts.calls}"

    @claim
    def test_options_reach_the_plugins(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """Options reach the plugin that they are meant for."""
        parts = Parts(tmp_path / "runs")

        self.execute(pipeline, parts, run_kwargs={"nodes": 3}, process_kwargs={"scale": 2.5})

        assert (parts.nodes, parts.scale) == (3, 2.5), f"nodes is {parts.nodes}, scale is {parts.scale}"

    @claim
    def test_unknown_names_are_refused(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """An unknown run backend or postprocessor is a ValueError that names it, before anything is done."""
        for role in ("run_backend", "processor"):
            parts = Parts(tmp_path / "runs")

            error = error_of(ValueError, self.execute, pipeline, parts, **{role: "no-such-plugin"})

            assert "no-such-plugin" in str(error), f"the name is not in: {error}"
            _assert_nothing_done(parts)

    @claim
    def test_unknown_options_are_refused(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """An option that the run backend or the postprocessor lacks is a ValueError, before anything is done."""
        for role in ("run_kwargs", "process_kwargs"):
            parts = Parts(tmp_path / "runs")

            error = error_of(ValueError, self.execute, pipeline, parts, **{role: {"no_such_option": 1}})

            assert "no_such_option" in str(error), f"the option is not named in: {error}"
            _assert_nothing_done(parts)

    @claim
    def test_what_is_no_model_run_is_refused(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """None, or an object without a run_id, is a ValueError, before anything is done."""
        for wrong in _NO_MODEL_RUNS:
            parts = Parts(tmp_path / "runs")

            error_of(ValueError, self.execute, pipeline, wrong, run_backend=parts, processor=parts)

            _assert_nothing_done(parts)

    @claim
    def test_a_failed_generate_ends_it(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A generate() that raises is success False at stage "generate", with the error, and nothing follows."""
        self._check_failure(pipeline, tmp_path, "generate", OSError("no wind data"), "no wind data")

    @claim
    def test_a_failed_run_ends_it(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A run that fails or raises is success False at stage "run", with the error, and nothing follows."""
        self._check_failure(pipeline, tmp_path / "false", "run", ending=False)
        self._check_failure(pipeline, tmp_path / "says", "run", {"success": False, "message": "no ice"}, "no ice")
        self._check_failure(pipeline, tmp_path / "raises", "run", OSError("no disk left"), "no disk left")

    @claim
    def test_a_failed_postprocessor_ends_it(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A postprocessor that says success False, or raises, is success False at stage "postprocess"."""
        facts: dict[str, Any] = {"success": False, "message": "no spectra"}
        self._check_failure(pipeline, tmp_path / "mapping", "postprocess", facts, "no spectra")
        self._check_failure(pipeline, tmp_path / "object", "postprocess", SimpleNamespace(**facts), "no spectra")
        self._check_failure(pipeline, tmp_path / "raises", "postprocess", OSError("cut short"), "cut short")

    @claim
    def test_a_timeout_is_told_not_raised(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A run that exceeds its limit is not raised but success False at stage "run", with the limit in the error."""
        self._check_failure(pipeline, tmp_path, "run", TimeoutError("limit of 90 s"), "90 s")

    @claim
    def test_an_interrupt_goes_on(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A KeyboardInterrupt ends the pipeline and goes on, whichever stage it comes in."""
        for number, stage in enumerate(_STAGES):
            parts = Parts(tmp_path / stage, {stage: KeyboardInterrupt()})

            error_of(KeyboardInterrupt, self.execute, pipeline, parts)

            assert parts.calls == [*_STAGES[: number + 1]], f"called were {parts.calls}"

    @claim
    def test_a_failure_removes_nothing_unasked(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """Without cleanup_on_failure, a failure leaves all that the stages wrote."""
        parts = Parts(tmp_path / "runs", {"postprocess": OSError("broken")})

        self.execute(pipeline, parts)

        lost = [name for name in ("made-by-generate", "made-by-run") if not (parts.workspace / name).exists()]
        assert not lost, f"removed: {lost}"

    @claim
    def test_cleanup_removes_what_was_made(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """With cleanup_on_failure, a failure removes what this execution made, and keeps the record."""
        _skip_without_cleanup(pipeline)
        for stage in _STAGES:
            parts = Parts(tmp_path / stage, {stage: OSError("broken")})

            self.execute(pipeline, parts, cleanup_on_failure=True)

            assert not parts.workspace.exists(), f"left at stage {stage!r}: {_files(parts.workspace)}"
            is_recorded = any(read_report(file).run_id == "contract" for file in tmp_path.rglob("report.json"))
            assert is_recorded or stage == "generate", f"no record is left at stage {stage!r}"

    @claim
    def test_cleanup_keeps_what_was_there(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """With cleanup_on_failure, a failure neither changes nor removes what existed before."""
        _skip_without_cleanup(pipeline)
        for stage in _STAGES:
            parts = Parts(tmp_path / stage, {stage: OSError("broken")})
            parts.workspace.mkdir(parents=True)
            before = [parts.workspace / "depth.nc", parts.output_dir / "other.nc"]
            for file in before:
                file.write_bytes(b"\0depth")

            self.execute(pipeline, parts, cleanup_on_failure=True)

            lost = [file.name for file in before if _content(file) != b"\0depth"]
            assert not lost, f"changed or removed at stage {stage!r}: {lost}"
            left = [file.name for file in _files(parts.workspace) if file.name.startswith("made-by")]
            assert not left, f"left at stage {stage!r}: {left}"

    def _check_failure(
        self, pipeline: PipelineBackend, tmp_path: Path, stage: str, ending: object, text: str = ""
    ) -> None:
        parts = Parts(tmp_path / "runs", {stage: ending})
        done = [*_STAGES[: _STAGES.index(stage)]]

        results = self.execute(pipeline, parts)

        _assert_results(results, success=False, stage=stage, run_id="contract", stages_completed=done)
        for key in ("error", "message"):
            assert results.get(key), f"{key} is missing or empty"
        assert text in str(results["error"]), f"{text!r} is not in the error {results['error']!r}"
        assert parts.calls == [*done, stage], f"called were {parts.calls}"


class _LeavingError(Exception):
    """Leaves a with-block."""


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _captured(path: Path | None) -> bytes:
    content = _content(path) if path else None
    assert content is not None, f"no output was captured: {path}"
    return content


def _all_of(record: logging.LogRecord) -> str:
    """Give all that a formatter could show of *record*."""
    return f"{logging.Formatter().format(record)} {vars(record)!r}"


def _assert_results(results: object, **wanted: object) -> None:
    assert isinstance(results, Mapping), f"it gave {type(results).__name__}"
    given = cast("Mapping[str, object]", results)
    found = {key: given.get(key) for key in wanted}
    assert found == wanted, f"it gave {found}"


def _assert_nothing_done(parts: Parts) -> None:
    assert not parts.calls, f"called were {parts.calls}"
    assert not parts.output_dir.exists(), "something was written"


def _skip_without_cleanup(pipeline: PipelineBackend) -> None:
    if "cleanup_on_failure" not in inspect.signature(pipeline.execute).parameters:
        pytest.skip("this pipeline has no cleanup_on_failure")
