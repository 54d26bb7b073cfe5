"""One deliberately wrong run backend for each promise: the claim about it must fail, and say so."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs
import pytest

from rompy_core import (
    ConfigError,
    LiveRun,
    ModelRun,
    Progress,
    RunHandle,
    RunLogger,
    RunReport,
    RunState,
    StartError,
    Usage,
    find_runs,
    open_record,
    read_report,
    run_to_end,
)
from rompy_core._records import write_report
from rompy_core._reports import Outcome
from rompy_core.testing import RunBackendContract
from rompy_local import LocalConfig, LocalRunBackend
from rompy_local._backend import logger

if TYPE_CHECKING:
    from .conftest import Verdict

NOW = datetime.now(UTC)
CLAIMS = [name for name in dir(RunBackendContract) if name.startswith("test_")]
PATIENCE_S = {
    "test_a_fatal_line_of_a_file_counts": 0.6,
    "test_a_fatal_line_stops_the_run": 0.6,
    "test_a_handle_can_be_awaited": 6.0,
    "test_cancel_ends_the_run": 6.0,
    "test_much_output_does_not_block": 6.0,
    "test_progress_reaches_the_handle": 0.6,
    "test_the_death_of_the_caller_ends_the_run": 12.0,
}
"""Shorter than the suite's where a broken promise shows by waiting in vain: shortest where nothing else must come
before, longest where an interpreter has to start and to import all of the core. No test of a kept promise needs it."""
WRONG: list[tuple[str, str, frozenset[str], Callable[[], object]]] = []


def wrong(claim: str, found: str, *, also: str = "") -> Any:
    """Register a wrong backend: the claim that must fail, what it must find, and what else cannot hold then."""

    def register(backend: type[Any]) -> type[Any]:
        WRONG.append((f"test_{claim}", found, frozenset(f"test_{name}" for name in also.split()), backend))
        return backend

    return register


class Handle:
    """A handle that does as another one does."""

    def __init__(self, handle: RunHandle) -> None:
        self.handle = handle

    @property
    def run_id(self) -> str:
        return self.handle.run_id

    @property
    def state(self) -> RunState:
        return self.handle.state

    @property
    def progress(self) -> Progress | None:
        return self.handle.progress

    @property
    def usage(self) -> Usage | None:
        return self.handle.usage

    def cancel(self) -> bool:
        return self.handle.cancel()

    def done(self) -> bool:
        return self.handle.done()

    def wait(self, timeout: float | None = None) -> RunReport:
        return self.amended(self.handle.wait(timeout))

    def __await__(self) -> Generator[Any, None, RunReport]:
        return self.amended((yield from self.handle.__await__()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.handle.__exit__(exc_type, exc, traceback)

    def amended(self, report: RunReport) -> RunReport:
        return report


class Backend:
    """Keeps every promise, by LocalRunBackend; the classes below break one each."""

    config_type = LocalConfig
    handle_type: Callable[[RunHandle], RunHandle] = Handle

    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        return run_to_end(self, model_run, config, workspace_dir, **options)

    def check(self, model_run: Any, config: LocalConfig) -> None:
        LocalRunBackend().check(model_run, self.changed(config))

    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        handle = LocalRunBackend().submit(model_run, self.changed(config), workspace_dir)
        return type(self).handle_type(handle)

    def changed(self, config: LocalConfig) -> LocalConfig:
        return config


# How a run ends


class RaisingHandle(Handle):
    def amended(self, report: RunReport) -> RunReport:
        if report.exit_code:
            raise subprocess.CalledProcessError(report.exit_code, "model")
        return report


@wrong(
    "an_exit_code_is_reported",
    "CalledProcessError",
    also="only_exit_code_0_is_success earlier_attempts_stay "
    "the_record_equals_the_report two_runs_do_not_mix values_of_variables_are_shown_nowhere",
)
class RaisesForAnExitCode(Backend):
    handle_type = RaisingHandle


class NegativeCodes(Handle):
    def amended(self, report: RunReport) -> RunReport:
        if report.exit_signal is None or report.state is not RunState.FAILED:
            return report
        return attrs.evolve(report, exit_code=-report.exit_signal, exit_signal=None)


@wrong("a_signal_is_reported", r"\(-15, None\) for signal 15")
class GivesSignalsAsNegativeCodes(Backend):
    handle_type = NegativeCodes


class CodesAndSignals(Handle):
    def amended(self, report: RunReport) -> RunReport:
        if report.exit_signal is None or report.state is not RunState.FAILED:
            return report
        return attrs.evolve(report, exit_code=128 + report.exit_signal)


@wrong("a_signal_is_reported", r"\(143, <Signals.SIGTERM: 15>\)|\(143, 15\) for signal 15")
class GivesACodeBesideTheSignal(Backend):
    handle_type = CodesAndSignals


@wrong("only_exit_code_0_is_success", "run.. gave True for exit code 1", also="a_signal_is_reported")
class CallsEveryEndASuccess(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, rules=attrs.evolve(config.rules, ignore_exit_code=True))


@wrong("only_exit_code_0_is_success", "run.. gave 1 for exit code 1", also="")
class GivesExitCodesForVerdicts(Backend):
    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        verdict = super().run(model_run, config, workspace_dir, **options)
        return verdict or (read_report(workspace_dir).exit_code or verdict if workspace_dir else verdict)


class WithoutReason(Handle):
    def amended(self, report: RunReport) -> RunReport:
        silent = attrs.evolve(report, reason="" if report.ok else report.reason)
        write_report(Path(str(silent.record_dir)), silent)
        return silent


@wrong("the_report_says_what_was_run", "the reason is empty")
class GivesNoReason(Backend):
    handle_type = WithoutReason


class NaiveJob:
    """A started command as one writes it first: the command is watched and ended, and nobody else."""

    usage: Usage | None = None

    def __init__(self, config: LocalConfig, report: RunReport) -> None:
        self.paths = [Path(str(report.stdout_path)), Path(str(report.stderr_path))]
        self.process = self.started(list(config.argv or ()), report.workspace_dir, {**os.environ, **config.env_vars})
        self.timeout = config.timeout
        self.ended_as: RunState | None = None
        self.reason = ""
        self.waited = 0.0

    def started(self, argv: list[str], cwd: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
        out, err = (path.open("wb") for path in self.paths)
        with out, err:
            return subprocess.Popen(argv, cwd=cwd, env=env, stdout=out, stderr=err, stdin=subprocess.DEVNULL)

    def wait(self, timeout: float) -> Outcome | None:
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.waited += timeout
            if self.timeout and self.waited > self.timeout:
                self.stop(RunState.TIMED_OUT, "too slow")
            return None
        exits = {"exit_code": code} if code >= 0 else {"exit_signal": -code}
        return Outcome(ended_as=self.ended_as, reason=self.reason, **exits)

    def stop(self, ended_as: RunState, reason: str) -> None:
        if self.ended_as is None:
            self.ended_as, self.reason = ended_as, reason
        self.process.terminate()

    def close(self) -> None: ...


class PipedJob(NaiveJob):
    """Reads the output when the command has ended; a full pipe keeps it from that."""

    def started(self, argv: list[str], cwd: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=cwd, env=env, stdout=pipe, stderr=pipe, stdin=subprocess.DEVNULL)

    def close(self) -> None:
        for text, path in zip(self.process.communicate(), self.paths, strict=True):
            path.write_bytes(text)


class NaiveBackend(Backend):
    job_type: type[NaiveJob] = NaiveJob

    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        logs = {"stdout_path": Path("stdout.log"), "stderr_path": Path("stderr.log")}
        record = open_record(workspace_dir, run_id=model_run.run_id, backend="naive", **logs)
        log = RunLogger(logger, model_run.run_id, "naive")
        return LiveRun(record, self.job_type(config, record.report), config, log)


NAIVE = (
    "memory_has_a_limit a_guarantee_that_is_missing_is_refused the_death_of_the_caller_ends_the_run "
    "the_report_says_what_it_cost a_stalled_run_is_ended output_has_a_limit a_missing_command_is_a_start_error "
    "the_command_starts_in_working_dir "
    "a_missing_command_is_a_failed_run what_is_no_model_run_is_refused the_report_says_what_was_run "
    "values_of_variables_are_shown_nowhere a_timeout_ends_the_whole_tree cancel_ends_the_run leftovers_are_ended"
)


@wrong("a_timeout_ends_the_whole_tree", "processes are left", also=NAIVE)
class LeavesTheTreeAtATimeout(NaiveBackend): ...


@wrong("cancel_ends_the_run", "processes are left", also=NAIVE)
class LeavesTheTreeWhenCancelled(NaiveBackend): ...


@wrong("leftovers_are_ended", "processes are left", also=NAIVE)
class LeavesWhatOutlivesTheCommand(NaiveBackend): ...


@wrong(
    "much_output_does_not_block",
    "the state is TIMED_OUT",
    also=NAIVE + " progress_reaches_the_handle "
    "a_fatal_line_stops_the_run a_success_line_is_required output_can_be_streamed",
)
class ReadsPipesAtTheEnd(NaiveBackend):
    job_type = PipedJob


@wrong("a_timeout_ends_the_whole_tree", r"it took [\d.]+ s, allowed are 3 s")
class StopsLate(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, timeout=(config.timeout or 0) * 5)


@wrong("run_raises_timeout_error", "no TimeoutError was raised, False was given")
class GivesFalseForATimeout(Backend):
    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        with contextlib.suppress(TimeoutError):
            return super().run(model_run, config, workspace_dir, **options)
        return False


@wrong("the_end_is_asked_for_first", "without being asked")
class KillsAtOnce(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, grace_s=0)


@wrong("leftovers_are_ended", "processes are left")
class LeavesLeftovers(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, leftovers="leave")


@wrong("a_stalled_run_is_ended", "the state is TIMED_OUT")
class IgnoresAStall(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, stall_timeout=None, timeout=0.3 if config.stall_timeout else config.timeout)


@wrong("output_has_a_limit", "the state is TIMED_OUT")
class IgnoresTheSizeOfOutput(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, log_size_limit=None, timeout=0.3 if config.log_size_limit else config.timeout)


@wrong("memory_has_a_limit", "the state is TIMED_OUT")
class IgnoresMemory(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, memory=None, timeout=0.5 if config.memory else config.timeout)


class FreeHandle(Handle):
    def amended(self, report: RunReport) -> RunReport:
        free = attrs.evolve(report, wall_time_s=0.0)
        write_report(Path(str(free.record_dir)), free)
        return free


@wrong("the_report_says_what_it_cost", "wall_time_s is 0.0 for a run of 0.3 s")
class TellsNoTime(Backend):
    handle_type = FreeHandle


class UnmeasuredHandle(Handle):
    def amended(self, report: RunReport) -> RunReport:
        guessed = attrs.evolve(report, memory_method=None)
        write_report(Path(str(guessed.record_dir)), guessed)
        return guessed


@wrong("the_report_says_what_it_cost", r"peak_rss_bytes and memory_method are \(\d+, None\)")
class DoesNotSayHowItMeasured(Backend):
    handle_type = UnmeasuredHandle


class ReticentHandle(Handle):
    def amended(self, report: RunReport) -> RunReport:
        told = attrs.evolve(report, reason="no luck") if report.exit_code else report
        write_report(Path(str(told.record_dir)), told)
        return told


@wrong("a_failure_is_logged", "'no luck' is not in ")
class LogsAnotherReason(Backend):
    handle_type = ReticentHandle


@wrong("a_failure_is_logged", r"\(None, None\) in the record 'job 1 was accepted'")
class LogsWithoutTheRun(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        logger.info("job 1 was accepted")
        return config


# What a config is


@attrs.frozen(kw_only=True)
class DoublingConfig(LocalConfig):
    grace_s: float = attrs.field(default=10.0, converter=lambda value: 2.0 * value)


@wrong(
    "a_config_is_the_same_in_every_form",
    "it is now DoublingConfig",
    also="only_exit_code_0_is_success run_raises_timeout_error a_missing_command_is_a_failed_run "
    "the_inputs_are_generated_once generate_may_give_any_form_of_a_path a_foreign_model_run_is_accepted "
    "an_interrupt_ends_the_run what_is_no_model_run_is_refused an_unknown_option_is_refused "
    "a_guarantee_that_is_missing_is_refused",
)
class ChangesWhatItReads(Backend):
    config_type = DoublingConfig


@wrong("every_problem_is_told_at_once", "timeout is not named in")
class StopsAtTheFirstProblem(Backend):
    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        try:
            return super().run(model_run, config, workspace_dir, **options)
        except ConfigError as exc:
            raise ConfigError(exc.subject, exc.problems[:1]) from None


@wrong("a_guarantee_that_is_missing_is_refused", "no ConfigError was raised, True was given")
class IgnoresDemands(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, require=())


@wrong("a_guarantee_that_is_missing_is_refused", "the inputs were generated")
class ChecksDemandsTooLate(Backend):
    def check(self, model_run: Any, config: LocalConfig) -> None: ...


# What is refused


@wrong("a_missing_command_is_a_start_error", "no StartError was raised", also="values_of_variables_are_shown_nowhere")
class RunsThroughAShell(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, command=f"exec {shlex.join(config.argv or ())}")


class Forgetful(Backend):
    """Leaves no record of a run that could not be started."""

    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        try:
            return super().submit(model_run, config, workspace_dir)
        except StartError as exc:
            shutil.rmtree(str(exc.report.record_dir))
            raise


wrong("a_missing_command_is_a_start_error", "no report.json there")(Forgetful)


@wrong("a_missing_command_is_a_failed_run", "FileNotFoundError")
class RaisesFromRun(Backend):
    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        verdict = super().run(model_run, config, workspace_dir, **options)
        if workspace_dir and read_report(workspace_dir).state is RunState.NOT_STARTED:
            raise FileNotFoundError("no such command")
        return verdict


@wrong("a_live_workspace_is_refused", "no StartError was raised")
class RunsTwiceInOneWorkspace(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        if any(report.state is RunState.RUNNING for report in find_runs(workspace_dir)):
            workspace_dir = workspace_dir / "second"
            workspace_dir.mkdir()
        return super().submit(model_run, config, workspace_dir)


@wrong("a_live_workspace_is_refused", "the record '.*' is not in: busy")
class RefusesWithoutNames(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        try:
            return super().submit(model_run, config, workspace_dir)
        except StartError as exc:
            raise StartError("busy", exc.report) from None


@wrong("an_unknown_option_is_refused", "no ConfigError was raised")
class DropsUnknownOptions(Backend):
    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        known = {name: value for name, value in options.items() if name in attrs.fields_dict(LocalConfig)}
        return super().run(model_run, config, workspace_dir, **known)


@wrong("an_unknown_option_is_refused", "the inputs were generated")
class GeneratesBeforeItChecks(Backend):
    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        if workspace_dir is None and hasattr(model_run, "generate"):
            workspace_dir = model_run.generate()
        return super().run(model_run, config, workspace_dir, **options)


@wrong("what_is_no_model_run_is_refused", "no ValueError was raised, True was given")
class MakesUpAModelRun(Backend):
    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        if not getattr(model_run, "run_id", None):
            model_run = SimpleNamespace(run_id="unnamed")
        return super().run(model_run, config, workspace_dir, **options)


# The model run and its workspace


@wrong("the_inputs_are_generated_once", "generated 1 times with a given workspace")
class GeneratesAlways(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        getattr(model_run, "generate", lambda: None)()
        return super().submit(model_run, config, workspace_dir)


@wrong(
    "a_foreign_model_run_is_accepted",
    "TypeError: not a ModelRun",
    also="the_inputs_are_generated_once what_is_no_model_run_is_refused",
)
class WantsItsOwnModelRun(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        if not isinstance(model_run, ModelRun):
            raise TypeError("not a ModelRun")
        return super().submit(model_run, config, workspace_dir)


@wrong("the_command_starts_in_working_dir", "it started elsewhere")
class StartsElsewhere(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, working_dir=None)


@wrong("earlier_attempts_stay", "recorded are")
class RemovesEarlierRecords(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        for report in find_runs(workspace_dir):
            if report.state.is_final:
                shutil.rmtree(str(report.record_dir))
        return super().submit(model_run, config, workspace_dir)


@wrong(
    "generate_may_give_any_form_of_a_path",
    "AttributeError: 'str' object has no attribute 'mkdir'",
    also="an_unknown_option_is_refused every_problem_is_told_at_once a_guarantee_that_is_missing_is_refused",
)
class TakesPathsAlone(Backend):
    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        if workspace_dir is None and hasattr(model_run, "generate"):
            workspace_dir = model_run.generate()
            workspace_dir.mkdir(exist_ok=True)
        return super().run(model_run, config, workspace_dir, **options)


# What the caller keeps


@wrong("nothing_of_the_process_is_changed", "changed are the handlers of SIGUSR2")
class InstallsASignalHandler(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR2, lambda *_: None)
        return super().submit(model_run, config, workspace_dir)


@wrong("nothing_of_the_process_is_changed", "changed are the handlers of logger rompy_local")
class InstallsALogHandler(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        logging.getLogger("rompy_local").addHandler(logging.NullHandler())
        return config


@wrong("the_death_of_the_caller_ends_the_run", "processes are left", also=NAIVE)
class OutlivesItsCaller(NaiveBackend): ...


@wrong("env_vars_reach_the_run", "ROMPY_A is not", also="the_report_says_what_was_run")
class LosesVariables(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, env_vars={})


@wrong("env_vars_reach_the_run", "the caller's environment was changed")
class ChangesItsOwnEnvironment(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        os.environ.update(config.env_vars)
        return config


@wrong("the_caller_stays_in_its_directory", "it was .*, then .*workspace")
class ChangesItsOwnDirectory(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        os.chdir(workspace_dir)
        return super().submit(model_run, config, workspace_dir)


@wrong("values_of_variables_are_shown_nowhere", "the file .*job.env")
class WritesVariables(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        if config.env_vars:
            (workspace_dir / "job.env").write_text(str(dict(config.env_vars)))
        return super().submit(model_run, config, workspace_dir)


@wrong("values_of_variables_are_shown_nowhere", "a log record of rompy_local")
class LogsVariables(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        logger.debug("environment: %s", dict(config.env_vars))
        return config


@wrong("values_of_variables_are_shown_nowhere", "the repr of ShowingHandle")
class ShowsVariables(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        class ShowingHandle(Handle):
            def __repr__(self) -> str:
                return f"<{dict(config.env_vars)}>"

        return ShowingHandle(super().submit(model_run, config, workspace_dir))


@wrong("values_of_variables_are_shown_nowhere", "the repr of StartError")
class ShowsVariablesInErrors(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        try:
            return super().submit(model_run, config, workspace_dir)
        except StartError as exc:
            raise StartError(f"{exc}, with {dict(config.env_vars)}", exc.report) from None


# Its output


class DecodingHandle(Handle):
    def amended(self, report: RunReport) -> RunReport:
        path = Path(str(report.stdout_path))
        path.write_text(path.read_text("utf-8", "replace"), "utf-8")
        return report


@wrong("output_is_kept_byte_for_byte", "standard output differs")
class DecodesOutput(Backend):
    handle_type = DecodingHandle


class MergingHandle(Handle):
    def amended(self, report: RunReport) -> RunReport:
        out, err = Path(str(report.stdout_path)), Path(str(report.stderr_path))
        if err.stat().st_size < 1000:
            out.write_bytes(out.read_bytes() + err.read_bytes())
            err.write_bytes(b"")
        return report


@wrong("output_is_kept_byte_for_byte", "standard output differs")
class MergesItsStreams(Backend):
    handle_type = MergingHandle


@wrong("output_can_be_streamed", r"found \[\]")
class StreamsNothing(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, stream_output=False)


@wrong("two_runs_do_not_mix", "'left' got that of .*right")
class RemembersOneRun(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        self.newest = super().submit(model_run, config, workspace_dir)
        backend = self

        class NewestHandle(Handle):
            def wait(self, timeout: float | None = None) -> RunReport:
                return backend.newest.wait(timeout)

        return NewestHandle(self.newest)


# Watching and cancelling


@wrong("the_record_says_running", "RecordError", also="a_live_workspace_is_refused cancel_works_by_path")
class WritesItsRecordAtTheEnd(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        handle = super().submit(model_run, config, workspace_dir)
        with contextlib.suppress(FileNotFoundError):
            (Path(str(find_runs(workspace_dir)[-1].record_dir)) / "report.json").unlink()
        return handle


class OtherHandle(Handle):
    def amended(self, report: RunReport) -> RunReport:
        return attrs.evolve(report, wall_time_s=(report.wall_time_s or 0) + 1)


@wrong("the_record_equals_the_report", r"differing: \['wall_time_s'\]", also="cancel_works_by_path")
class TellsOtherThanItRecords(Backend):
    handle_type = OtherHandle


class UnpicklableHandle(Handle):
    def amended(self, report: RunReport) -> RunReport:
        return attrs.evolve(report, options={"on_end": lambda: None}) if report.ok else report


@wrong("the_report_can_be_pickled", "pickle", also="the_record_equals_the_report a_handle_can_be_awaited")
class ReportsWhatCannotBePickled(Backend):
    handle_type = UnpicklableHandle


class UnfinishedHandle(Handle):
    def wait(self, timeout: float | None = None) -> RunReport:
        try:
            return self.handle.wait(timeout)
        except TimeoutError:
            return RunReport(
                run_id=self.run_id, backend="wrong", state=self.state, started_at=NOW, workspace_dir=Path()
            )


@wrong("a_wait_has_its_own_timeout", "no TimeoutError was raised")
class ReportsWhatHasNotEnded(Backend):
    handle_type = UnfinishedHandle


class CancellingHandle(Handle):
    def wait(self, timeout: float | None = None) -> RunReport:
        try:
            return self.handle.wait(timeout)
        except TimeoutError:
            self.cancel()
            raise


@wrong("a_wait_has_its_own_timeout", "the state is CANCELLED")
class CancelsWhenAWaitRunsOut(Backend):
    handle_type = CancellingHandle


class BlockingHandle(Handle):
    def __await__(self) -> Generator[Any, None, RunReport]:
        yield from ()
        return self.wait()


@wrong("a_handle_can_be_awaited", "the state is TIMED_OUT")
class BlocksTheEventLoop(Backend):
    handle_type = BlockingHandle


class DeafHandle(Handle):
    def cancel(self) -> bool:
        return True


@wrong("cancel_ends_the_run", "TimeoutError|the state is TIMED_OUT")
class IgnoresCancel(Backend):
    handle_type = DeafHandle


class AlwaysCancellable(Handle):
    def cancel(self) -> bool:
        self.handle.cancel()
        return True


@wrong("cancel_ends_the_run", r"cancel.. gave \[True, True\]")
class CancelsTheDead(Backend):
    handle_type = AlwaysCancellable


class FailedHandle(Handle):
    def amended(self, report: RunReport) -> RunReport:
        return attrs.evolve(report, state=RunState.FAILED) if report.state is RunState.CANCELLED else report


@wrong("cancel_ends_the_run", "the state is FAILED", also="cancel_works_by_path")
class CallsACancelledRunFailed(Backend):
    handle_type = FailedHandle


@wrong("cancel_works_by_path", "cannot be cancelled")
class CannotBeCancelledByPath(Backend):
    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        handle = super().submit(model_run, config, workspace_dir)
        report = read_report(workspace_dir)
        if report.state is RunState.RUNNING:
            write_report(Path(str(report.record_dir)), attrs.evolve(report, is_cancellable=False))
        return handle


class UncaringHandle(Handle):
    def __exit__(self, *_: object) -> None: ...


@wrong("an_exception_in_the_block_cancels", "the run goes on", also="an_interrupt_ends_the_run")
class LetsTheRunGoOn(Backend):
    handle_type = UncaringHandle


@wrong("an_interrupt_ends_the_run", "the interrupt did not reach the caller")
class SwallowsInterrupts(Backend):
    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None, **options: Any) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            return super().run(model_run, config, workspace_dir, **options)
        return False


# Verdict and progress from the model's own output


class WithoutRules(Backend):
    """Drops some of the rules."""

    def __init__(self, **rules: Any) -> None:
        self.rules = rules

    def changed(self, config: LocalConfig) -> LocalConfig:
        return attrs.evolve(config, rules=attrs.evolve(config.rules, **self.rules))


def without_rules(**rules: Any) -> Callable[[], object]:
    def make() -> WithoutRules:
        return WithoutRules(**rules)

    make.__name__ = f"Ignores_{'_'.join(rules)}"
    return make


wrong("a_required_file_is_required", "the state is COMPLETED without the file")(without_rules(required_files=()))
wrong("a_fatal_line_stops_the_run", "the state is TIMED_OUT")(without_rules(on_fatal="fail"))
wrong("a_success_line_is_required", "the state is COMPLETED without the line")(without_rules(success=()))
wrong("a_forbidden_file_is_forbidden", "the state is COMPLETED")(without_rules(forbidden_files=()))
wrong("a_fatal_line_may_be_let_go_on", "the run was ended")(without_rules(on_fatal="stop"))
wrong("the_exit_code_can_be_ignored", "the state is FAILED for exit code 3")(without_rules(ignore_exit_code=False))


@wrong("a_fatal_line_of_a_file_counts", "the state is TIMED_OUT")
class ReadsNoFiles(Backend):
    def changed(self, config: LocalConfig) -> LocalConfig:
        fatal = tuple(pattern for pattern in config.rules.fatal if pattern.file is None)
        return attrs.evolve(config, rules=attrs.evolve(config.rules, fatal=fatal))


class NewestProgress(Handle):
    def amended(self, report: RunReport) -> RunReport:
        lines = Path(str(report.stdout_path)).read_bytes().split(b"\n")
        told = [float(line.split()[0]) for line in lines if line.endswith(b"% done")]
        return attrs.evolve(report, progress=Progress(fraction=told[-1] / 100)) if told else report


@wrong("progress_never_goes_back", "the fraction is 0.3 after")
class TellsTheNewestProgress(Backend):
    handle_type = NewestProgress


class StillHandle(Handle):
    progress = None


@wrong("progress_reaches_the_handle", "waited 0.6 s in vain for progress")
class TellsProgressAtTheEnd(Backend):
    handle_type = StillHandle


@pytest.mark.parametrize(
    ("claim", "found", "make"),
    [(claim, found, make) for claim, found, _, make in WRONG],
    ids=[make.__name__ for *_, make in WRONG],
)
def test_a_broken_promise_is_caught_and_named(
    claim: str, found: str, make: Callable[[], object], verdict: Verdict
) -> None:
    promise = getattr(RunBackendContract, claim).__doc__.partition("\n")[0]

    message = verdict(RunBackendContract, claim, make(), patience_s=PATIENCE_S.get(claim))

    assert message is not None, f"{claim} holds for it"
    assert message.startswith(f"broken promise: {promise} Found: ")
    assert re.search(found, message)


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_promise_that_is_kept_is_not_taken_for_broken(claim: str, verdict: Verdict) -> None:
    # One backend that breaks another promise: all of them for each of the claims would take minutes.
    others = [make for broken, _, also, make in WRONG if claim != broken and claim not in also]

    assert verdict(RunBackendContract, claim, others[CLAIMS.index(claim) * 7 % len(others)]()) is None


def test_there_is_a_wrong_backend_for_each_promise() -> None:
    assert {claim for claim, *_ in WRONG} == set(CLAIMS)
