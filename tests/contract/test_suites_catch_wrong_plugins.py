"""Deliberately wrong postprocessors and pipelines, one for each promise, and the suites as another project uses them.

Wrong run backends are in a module of their own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import rompy_core.testing
from rompy_core import LocalPipelineBackend, ModelRun, NoopPostprocessor
from rompy_core.testing import PipelineBackendContract, PostprocessorContract, RunBackendContract, wait_until

if TYPE_CHECKING:
    from .conftest import Verdict

pytest_plugins = ["pytester"]

WRONG: list[tuple[type[Any], str, str, frozenset[str], Callable[[], object]]] = []


def wrong(suite: type[Any], claim: str, found: str, *, also: str = "") -> Callable[[type[Any]], type[Any]]:
    """Register a wrong plugin: the claim that must fail, what it must find, and what else cannot hold then."""

    def register(plugin: type[Any]) -> type[Any]:
        WRONG.append((suite, f"test_{claim}", found, frozenset(f"test_{name}" for name in also.split()), plugin))
        return plugin

    return register


# Postprocessors


class Postprocessor:
    """Keeps every promise, by NoopPostprocessor; the classes below break one each."""

    def process(self, model_run: Any, **options: Any) -> Any:
        return self.amended(NoopPostprocessor().process(model_run, **options))

    def amended(self, results: dict[str, Any]) -> Any:
        return results


def workspace_of(model_run: Any) -> Path:
    return Path(model_run.output_dir) / model_run.run_id


@wrong(PostprocessorContract, "the_results_say_success", "it gave True, which has no success")
class GivesABool(Postprocessor):
    def amended(self, results: dict[str, Any]) -> Any:
        return True if results["success"] else results


@wrong(
    PostprocessorContract, "the_results_say_success", "it gave {'metrics': 3}", also="a_foreign_model_run_is_accepted"
)
class GivesNoSuccess(Postprocessor):
    def amended(self, results: dict[str, Any]) -> Any:
        return {"metrics": 3} if results["success"] else results


@wrong(PostprocessorContract, "missing_outputs_are_a_failure", "FileNotFoundError")
class RaisesForMissingOutputs(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        results = super().process(model_run, **options)
        workspace_of(model_run).stat()
        return results


@wrong(PostprocessorContract, "missing_outputs_are_a_failure", "not named in: 'no outputs'")
class DoesNotSayWhatIsMissing(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        results = super().process(model_run, **options)
        return results if workspace_of(model_run).exists() else {**results, "message": "no outputs"}


@wrong(PostprocessorContract, "missing_outputs_are_a_failure", "the directory was made")
class MakesTheMissingDirectory(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        results = super().process(model_run, **options)
        with contextlib.suppress(FileExistsError):
            workspace_of(model_run).mkdir()
        return results


@wrong(PostprocessorContract, "a_file_is_no_output_directory", "NotADirectoryError")
class RaisesForAFile(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        results = super().process(model_run, **options)
        with contextlib.suppress(FileNotFoundError):
            assert list(workspace_of(model_run).iterdir())
        return results


@wrong(PostprocessorContract, "what_is_no_model_run_is_refused", "no ValueError was raised")
class TakesNone(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        return super().process(model_run, **options) if model_run else {"success": False, "message": "no model run"}


@wrong(PostprocessorContract, "what_is_no_model_run_is_refused", "AttributeError")
class StumblesOverAMissingRunId(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        if model_run is not None:
            model_run.run_id.strip()
        return super().process(model_run, **options)


@wrong(PostprocessorContract, "the_outputs_stay_as_they_are", r"\['PRINT'\]")
class RemovesOutputs(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        results = super().process(model_run, **options)
        with contextlib.suppress(OSError):
            (workspace_of(model_run) / "PRINT").unlink()
        return results


@wrong(PostprocessorContract, "the_outputs_stay_as_they_are", r"\['waves.txt'\]")
class ChangesOutputs(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        results = super().process(model_run, **options)
        with contextlib.suppress(OSError):
            (workspace_of(model_run) / "out" / "waves.txt").write_text("1.5 9.9\n")
        return results


@wrong(PostprocessorContract, "a_foreign_model_run_is_accepted", "TypeError: not a ModelRun")
class WantsItsOwnModelRun(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        results = super().process(model_run, **options)
        if not isinstance(model_run, ModelRun):
            raise TypeError("not a ModelRun")
        return results


@wrong(PostprocessorContract, "a_foreign_model_run_is_accepted", "unsupported operand")
class WantsAPath(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        results = super().process(model_run, **options)
        assert model_run.output_dir / "x"
        return results


@wrong(PostprocessorContract, "the_caller_stays_as_it_is", "the working directory is now")
class ChangesItsOwnDirectory(Postprocessor):
    def process(self, model_run: Any, **options: Any) -> Any:
        results = super().process(model_run, **options)
        with contextlib.suppress(OSError):
            os.chdir(workspace_of(model_run))
        return results


@wrong(PostprocessorContract, "the_caller_stays_as_it_is", "the environment was changed")
class ChangesItsOwnEnvironment(Postprocessor):
    def amended(self, results: dict[str, Any]) -> Any:
        os.environ["POSTPROCESSED"] = results["run_id"]
        return results


# Pipelines


class Pipeline:
    """Keeps every promise, by LocalPipelineBackend; the classes below break one each."""

    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        options["cleanup_on_failure"] = cleanup_on_failure
        return self.amended(LocalPipelineBackend().execute(model_run, **options), model_run, options)

    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        return results


LATER = "a_failed_run_ends_it a_failed_postprocessor_ends_it a_timeout_is_told_not_raised"


@wrong(
    PipelineBackendContract,
    "the_results_say_what_was_done",
    "it gave bool",
    also=f"{LATER} a_failed_generate_ends_it the_record_says_what_was_done",
)
class GivesTheVerdictAlone(Pipeline):
    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        return results["success"]


@wrong(PipelineBackendContract, "the_results_say_what_was_done", "'run_id': None", also="the_record_says_what_was_done")
class GivesNoRunId(Pipeline):
    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        return {**results, "run_id": None} if results["success"] else results


@wrong(PipelineBackendContract, "each_stage_runs_once_in_order", "'postprocess', 'generate'")
class GeneratesOnceMore(Pipeline):
    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        if results["success"]:
            model_run.generate()
        return results


@wrong(
    PipelineBackendContract,
    "each_stage_runs_once_in_order",
    r"\['generate', 'generate', 'run'",
    also=f"{LATER} an_interrupt_goes_on",
)
class LetsTheBackendGenerate(Pipeline):
    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        backend = options["run_backend"]
        if not isinstance(backend, str):
            options["run_backend"] = SimpleNamespace(run=lambda _, nodes=1: backend.run(model_run, nodes))
        return super().execute(model_run, cleanup_on_failure, **options)


@wrong(PipelineBackendContract, "options_reach_the_plugins", "nodes is 3, scale is 1.0")
class LosesOptions(Pipeline):
    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        if options.get("process_kwargs") == {"scale": 2.5}:
            del options["process_kwargs"]
        return super().execute(model_run, cleanup_on_failure, **options)


@wrong(PipelineBackendContract, "unknown_names_are_refused", "no ValueError was raised")
class FallsBackToANoop(Pipeline):
    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        if isinstance(options["processor"], str):
            options["processor"] = "noop"
        return super().execute(model_run, cleanup_on_failure, **options)


@wrong(
    PipelineBackendContract,
    "unknown_names_are_refused",
    r"called were \['generate'\]",
    also="unknown_options_are_refused",
)
class ChecksWhenItIsTooLate(Pipeline):
    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        try:
            return super().execute(model_run, cleanup_on_failure, **options)
        except ValueError:
            getattr(model_run, "generate", lambda: None)()
            raise


@wrong(PipelineBackendContract, "unknown_options_are_refused", "no ValueError was raised")
class DropsUnknownOptions(Pipeline):
    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        for role in ("run_kwargs", "process_kwargs"):
            options.get(role, {}).pop("no_such_option", None)
        return super().execute(model_run, cleanup_on_failure, **options)


@wrong(PipelineBackendContract, "what_is_no_model_run_is_refused", "no ValueError was raised")
class TakesAnything(Pipeline):
    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        if getattr(model_run, "run_id", None) is None:
            return {"success": False, "stage": "generate", "error": "no model run"}
        return super().execute(model_run, cleanup_on_failure, **options)


class Raising(Pipeline):
    stage = ""
    text = ""

    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        if results.get("stage") == self.stage and self.text in results["error"] and not options["cleanup_on_failure"]:
            raise RuntimeError(results["error"])
        return results


@wrong(PipelineBackendContract, "a_failed_generate_ends_it", "RuntimeError: .*no wind data")
class RaisesWhatGenerateRaises(Raising):
    stage = "generate"


@wrong(PipelineBackendContract, "a_failed_run_ends_it", "RuntimeError: .*no disk left")
class RaisesWhatTheRunRaises(Raising):
    stage, text = "run", "no disk left"


@wrong(PipelineBackendContract, "a_failed_postprocessor_ends_it", "RuntimeError: .*cut short")
class RaisesWhatThePostprocessorRaises(Raising):
    stage, text = "postprocess", "cut short"


@wrong(PipelineBackendContract, "a_timeout_is_told_not_raised", "RuntimeError: .*90 s")
class RaisesATimeout(Raising):
    stage, text = "run", "90 s"


@wrong(PipelineBackendContract, "a_failed_run_ends_it", "'success': True")
class GoesOnAfterAFailedRun(Pipeline):
    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        return {**results, "success": True} if "no ice" in results.get("error", "") else results


@wrong(PipelineBackendContract, "a_failed_postprocessor_ends_it", "'success': True")
class BelievesInTruth(Pipeline):
    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        return {**results, "success": True} if results["postprocess_results"] else results


@wrong(PipelineBackendContract, "a_failed_generate_ends_it", "error is missing or empty")
class DoesNotSayWhy(Pipeline):
    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        return {**results, "error": ""} if results.get("stage") == "generate" else results


@wrong(PipelineBackendContract, "an_interrupt_goes_on", "no KeyboardInterrupt was raised")
class SwallowsInterrupts(Pipeline):
    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            return super().execute(model_run, cleanup_on_failure, **options)
        return {"success": False, "stage": "run", "error": "interrupted"}


@wrong(PipelineBackendContract, "a_failure_removes_nothing_unasked", "'made-by-generate', 'made-by-run'")
class CleansUpUnasked(Pipeline):
    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        return super().execute(model_run, cleanup_on_failure=True, **options)


@wrong(
    PipelineBackendContract, "cleanup_removes_what_was_made", "left at stage 'gen", also="cleanup_keeps_what_was_there"
)
class NeverCleansUp(Pipeline):
    def execute(self, model_run: Any, cleanup_on_failure: bool = False, **options: Any) -> Any:
        return super().execute(model_run, cleanup_on_failure=False, **options)


@wrong(PipelineBackendContract, "cleanup_removes_what_was_made", "no record is left at stage 'run'")
class RemovesTheRecord(Pipeline):
    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        if options["cleanup_on_failure"]:
            shutil.rmtree(model_run.output_dir / ".rompy-failed", ignore_errors=True)
        return results


@wrong(PipelineBackendContract, "cleanup_keeps_what_was_there", r"\['depth.nc'\]")
class RemovesTheWholeWorkspace(Pipeline):
    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        if options["cleanup_on_failure"]:
            shutil.rmtree(workspace_of(model_run), ignore_errors=True)
        return results


@wrong(PipelineBackendContract, "the_record_says_what_was_done", r"found \[\]")
class LeavesNoRecord(Pipeline):
    def amended(self, results: dict[str, Any], model_run: Any, options: dict[str, Any]) -> Any:
        for file in Path(model_run.output_dir).rglob("pipeline.json"):
            file.unlink()
        return results


@pytest.mark.parametrize(
    ("suite", "claim", "found", "also", "plugin"), WRONG, ids=[plugin.__name__ for *_, plugin in WRONG]
)
def test_a_broken_promise_is_caught_and_named_and_no_other(
    suite: type[Any], claim: str, found: str, also: frozenset[str], plugin: Callable[[], object], verdict: Verdict
) -> None:
    promise = getattr(suite, claim).__doc__.partition("\n")[0]

    messages = {name: verdict(suite, name, plugin()) for name in vars(suite) if name.startswith("test_")}

    assert {name for name, message in messages.items() if message is not None} == {claim, *also}
    assert messages[claim].startswith(f"broken promise: {promise} Found: ")
    assert re.search(found, messages[claim])


@pytest.mark.parametrize("suite", [PostprocessorContract, PipelineBackendContract])
def test_there_is_a_wrong_plugin_for_each_promise(suite: type[Any]) -> None:
    claims = {name for name in vars(suite) if name.startswith("test_")}

    assert {claim for of, claim, *_ in WRONG if of is suite} == claims


# As another project uses the suites


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # importing them again for each takes seconds
    pytester.makeini("[pytest]")  # not that of a directory above
    return pytester


def test_a_subclass_with_two_fixtures_inherits_every_claim(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        import pytest
        from rompy_core.testing import RunBackendContract
        from rompy_local import LocalConfig, LocalRunBackend

        class TestTheirs(RunBackendContract):
            @pytest.fixture
            def backend(self):
                return LocalRunBackend()

            @pytest.fixture
            def config_for(self):
                return lambda source, **options: LocalConfig(command=(sys.executable, "-c", source), **options)

            test_output_has_a_limit = None  # their batch system keeps it
        """
    )

    collected, _ = pytester.inline_genitems()
    result = pytester.runpytest_inprocess("-k", "exit_code or missing or report_says")

    claims = {name for name in dir(RunBackendContract) if name.startswith("test_")}
    assert {item.name for item in collected} == claims - {"test_output_has_a_limit"}
    result.assert_outcomes(passed=8)


def test_a_broken_promise_is_one_sentence_in_the_summary(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from rompy_core.testing import PostprocessorContract

        class Wrong:
            def process(self, model_run):
                return {"success": True, "message": "fine"}

        class TestWrong(PostprocessorContract):
            @pytest.fixture
            def postprocessor(self):
                return Wrong()
        """
    )

    result = pytester.runpytest_inprocess()

    result.assert_outcomes(passed=4, failed=3)
    promise = "None, or an object without a run_id, is a ValueError."
    found = "no ValueError was raised, {'success': True, 'message': 'fine'} was given"
    result.stdout.fnmatch_lines([f"*AssertionError: broken promise: {promise} Found: {found}"])


def test_a_fixture_that_is_not_overridden_says_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from rompy_core.testing import PipelineBackendContract, PostprocessorContract, RunBackendContract

        class TestRun(RunBackendContract): ...
        class TestPostprocess(PostprocessorContract): ...
        class TestPipeline(PipelineBackendContract): ...
        """
    )

    result = pytester.runpytest_inprocess("-k", "exit_code_is_reported or results_say")

    result.assert_outcomes(errors=3)
    for name in ("backend", "postprocessor", "pipeline"):
        result.stdout.fnmatch_lines([f"*NotImplementedError: override the fixture '{name}'*"])


def test_a_pipeline_without_cleanup_is_not_asked_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from rompy_core import LocalPipelineBackend
        from rompy_core.testing import PipelineBackendContract

        class Small:
            def execute(self, model_run, **options):
                return LocalPipelineBackend().execute(model_run, **options)

        class TestSmall(PipelineBackendContract):
            @pytest.fixture
            def pipeline(self):
                return Small()
        """
    )

    result = pytester.runpytest_inprocess("-k", "test_cleanup or test_a_failure_removes")

    result.assert_outcomes(passed=1, skipped=2)


def test_the_example_in_the_docstring_is_python() -> None:
    _, _, text = (rompy_core.testing.__doc__ or "").partition("::\n")
    example, _, _ = text.partition("\n``config_for``")

    compile(textwrap.dedent(example), "example", "exec")
    assert "class TestQueue(RunBackendContract)" in example


def test_the_core_does_not_import_it() -> None:
    source = "import sys, rompy_core; rompy_core.ModelRun; print({'pytest', 'rompy_core.testing'} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout

    assert printed == "set()\n"


def test_waiting_has_a_deadline() -> None:
    with pytest.raises(AssertionError, match=r"waited 0.05 s in vain for rain"):
        wait_until(lambda: False, 0.05, "rain")
