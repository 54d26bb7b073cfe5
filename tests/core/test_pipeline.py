from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rompy_core import (
    BackendConfig,
    ConfigError,
    LiveRun,
    LocalPipelineBackend,
    ModelRun,
    Outcome,
    PluginContractError,
    PluginNotFoundError,
    PostprocessorConfig,
    RunLogger,
    RunRecord,
    RunState,
    Usage,
    _cleanup,
    find_runs,
    open_record,
    read_report,
    run_to_end,
)
from rompy_core._plain import plain

Until = Callable[..., None]
STAGES = ["generate", "run", "postprocess"]


@pytest.fixture(autouse=True)
def _listen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rompy_core")


def fail(how: str) -> Any:
    """Fail as a stage can."""
    if how == "raises":
        raise ValueError("no tide")
    if how == "times out":
        raise TimeoutError("it took too long")
    if how == "is interrupted":
        raise KeyboardInterrupt
    return {"fails": {"success": False, "error": "no tide"}, "says nothing": None}.get(how, {"success": True})


@attrs.define
class Stages:
    """A model config, a run backend and a postprocessor in one, of which one stage may fail."""

    failing: str = ""
    how: str = ""
    done: list[str] = attrs.field(factory=list)

    def _do(self, stage: str, directory: Path, name: str) -> Any:
        self.done.append(stage)
        (directory / "new").mkdir(exist_ok=True)
        (directory / "new" / name).write_text(stage)
        (directory / name).write_text(stage)
        return fail(self.how if stage == self.failing else "")

    def generate(self, workspace_dir: Path, model_run: Any) -> None:
        self._do("generate", workspace_dir, "input")

    def run(self, model_run: Any, **_: Any) -> Any:
        return self._do("run", model_run.generate(), "out.nc")

    def process(self, model_run: Any, **_: Any) -> Any:
        return self._do("postprocess", model_run.generate(), "plot.png")


@attrs.define
class Ended:
    """An execution that has ended."""

    outcome: Outcome
    usage: Usage | None = None

    def wait(self, timeout: float) -> Outcome | None:
        return self.outcome

    def stop(self, ended_as: RunState, reason: str) -> None: ...

    def close(self) -> None: ...


@attrs.define
class Submitting:
    """A run backend with ``submit``, whose run ends as it is told."""

    stages: Stages
    config_type = BackendConfig

    def run(self, model_run: Any, config: BackendConfig | None = None, **options: Any) -> bool:
        return run_to_end(self, model_run, config, **options)

    def submit(self, model_run: Any, config: BackendConfig, workspace_dir: Path) -> LiveRun:
        self.stages._do("run", workspace_dir, "out.nc")
        record = open_record(workspace_dir, run_id=model_run.run_id, backend="submitting")
        if self.stages.how == "does not start":
            raise record.refusal("there is no engine")
        state, reason = {
            "exceeds its limit": (RunState.TIMED_OUT, "exceeded its timeout of 5 s"),
            "is lost": (RunState.LOST, "its supervisor is gone"),
        }[self.stages.how]
        outcome = Outcome(ended_as=state, reason=reason)
        return LiveRun(record, Ended(outcome), config, RunLogger(logging.getLogger("rompy_core"), "case", "submitting"))


def tree(directory: Path) -> dict[str, str | bytes | None]:
    found: dict[str, str | bytes | None] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def strict(path: Path) -> dict[str, Any]:
    """Read JSON as the standard has it, without Python's NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    parsed = json.loads(path.read_text("ascii"), parse_constant=refuse)
    assert isinstance(parsed, dict)
    return parsed


def records(directory: Path) -> set[Path]:
    return {path.parent for path in directory.rglob("pipeline.json")}


def execute(model_run: Any, backend: Any, processor: Any = "noop", **options: Any) -> dict[str, Any]:
    return LocalPipelineBackend().execute(model_run, backend, processor, **options)


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out", config=Stages())


# Every stage, every way of failing, on every ground.

FAILURES = [
    *itertools.product(STAGES, ["raises", "times out", "is interrupted"]),
    *itertools.product(["run", "postprocess"], ["fails", "says nothing"]),
    *itertools.product(["run"], ["does not start", "exceeds its limit", "is lost"]),
]
ERRORS = {
    "raises": "ValueError: no tide",
    "times out": "TimeoutError: it took too long",
    "is interrupted": "KeyboardInterrupt",
    "fails": "no tide",
    "does not start": "there is no engine",
    "exceeds its limit": "exceeded its timeout of 5 s (the wall-clock limit)",
    "is lost": "its supervisor is gone",
}


@pytest.mark.parametrize("run_id_subdir", [True, False], ids=["subdir", "flat"])
@pytest.mark.parametrize("existed", [True, False], ids=["existed", "new"])
@pytest.mark.parametrize("cleanup", [True, False], ids=["cleanup", "no cleanup"])
@pytest.mark.parametrize(("failing", "how"), [("", ""), *FAILURES], ids=["success", *map(" ".join, FAILURES)])
def test_the_results_the_files_and_the_records_agree(
    tmp_path: Path, failing: str, how: str, cleanup: bool, existed: bool, run_id_subdir: bool
) -> None:
    stages = Stages(failing, how)
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out", config=stages, run_id_subdir=run_id_subdir)
    workspace = model_run.workspace_dir
    if existed:
        (workspace / "new").mkdir(parents=True)
        (workspace / "new" / "mine").write_text("precious")
        (workspace / "mine").write_text("precious")
        (workspace / "link").symlink_to("mine")
        open_record(workspace, run_id="case", backend="earlier").finish(RunState.FAILED, "aground")
        (model_run.output_dir / "sibling").mkdir()
    before = tree(model_run.output_dir)
    submits = how in ("does not start", "exceeds its limit", "is lost")

    results: dict[str, Any] | None = None
    with contextlib.suppress(KeyboardInterrupt):
        results = execute(model_run, Submitting(stages) if submits else stages, stages, cleanup_on_failure=cleanup)

    # The record of this execution is the only one with a pipeline.json.
    after = tree(model_run.output_dir)
    [record] = records(model_run.output_dir)
    written = strict(record / "pipeline.json")
    assert (results is None) is (how == "is interrupted")
    if results is None:
        results = written

    # The results.
    completed = STAGES[: STAGES.index(failing)] if failing else STAGES
    assert results["success"] is (not failing)
    assert results["stages_completed"] == completed
    assert stages.done == (STAGES[: len(completed) + 1] if failing else STAGES)
    assert results.get("stage") == (failing or None)
    assert ("error" in results) is bool(failing)
    assert results["run_id"] == "case"
    assert results["run_backend"] == results["backend"] == ("Submitting" if submits else "Stages")
    assert results["processor"] == "Stages"
    assert results["staging_dir"] == (None if failing == "generate" else str(workspace))
    assert results["run_success"] is ("run" in completed)
    assert results["message"] == (
        f"pipeline failed at stage {failing!r}: {results['error']}"
        if failing
        else "pipeline completed: generate, run, postprocess"
    )
    if how in ERRORS:
        assert re.sub(r"^the backend (raised|reports failure:) ", "", results["error"]) == ERRORS[how]

    # What is on disk of them.
    assert {name: written.get(name) for name in results if name != "record_dir"} == {
        name: value for name, value in results.items() if name != "record_dir"
    }
    assert written["started_at"] <= written["finished_at"]
    if failing == "generate":
        assert not (record / "report.json").exists()
    else:
        report = read_report(record)
        assert report.ok is ("run" in completed)
        assert report.state is {
            "exceeds its limit": RunState.TIMED_OUT,
            "is lost": RunState.LOST,
            "does not start": RunState.NOT_STARTED,
            "is interrupted": RunState.CANCELLED if failing == "run" else RunState.COMPLETED,
        }.get(how, RunState.FAILED if failing == "run" else RunState.COMPLETED)
        assert model_run.report == report

    # What was there before is as it was; what is new is gone after a cleanup, but for the record.
    assert before.items() <= after.items()
    new = {name for name in after if name not in before}
    if failing and cleanup:
        assert record.parent == model_run.output_dir / ".rompy-failed" / "case"
        assert {name.split("/")[0] for name in new} == {".rompy-failed"}
        assert {name.count("/") for name in new} == {0, 1, 2, 3}
    else:
        assert record.parent == workspace / ".rompy"
        names = [("input", "out.nc", "plot.png")[STAGES.index(stage)] for stage in stages.done]
        assert all(after[str((workspace / name).relative_to(model_run.output_dir))] for name in names)
    assert len(find_runs(model_run.output_dir)) == existed + (failing != "generate")


def test_a_pipeline_that_is_repeated_keeps_the_record_of_every_attempt(model_run: ModelRun) -> None:
    for attempt in range(3):
        results = execute(model_run, Stages("run", "fails"), cleanup_on_failure=True)

        kept = model_run.output_dir / ".rompy-failed" / "case"
        assert results["success"] is False
        assert len(list(kept.iterdir())) == attempt + 1
        assert not model_run.workspace_dir.exists()
    assert [report.state for report in find_runs(model_run.output_dir)] == [RunState.FAILED] * 3


def test_after_a_cleanup_the_report_is_still_there_where_it_says(model_run: ModelRun) -> None:
    results = model_run.pipeline(run_kwargs={"command": "echo oh dear; exit 3"}, cleanup_on_failure=True)

    assert model_run.report is not None
    assert model_run.report.stdout_path is not None
    assert model_run.report.stdout_path.read_text() == "oh dear\n"
    assert str(model_run.report.record_dir) == results["record_dir"]
    assert "'oh dear'" in results["error"]


def test_a_model_run_of_another_library_is_cleaned_up_as_well(tmp_path: Path) -> None:
    model_run = SimpleNamespace(run_id="case", output_dir=str(tmp_path))

    results = execute(model_run, Stages("run", "fails"), cleanup_on_failure=True)

    [report] = find_runs(tmp_path)
    assert results["record_dir"] == str(report.record_dir)
    assert sorted(tree(tmp_path))[:2] == [".rompy-failed", ".rompy-failed/case"]
    assert not (tmp_path / "case").exists()


# Before the first stage.


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"run_backend": "lokal"}, PluginNotFoundError),
        ({"processor": "nop"}, PluginNotFoundError),
        ({"run_backend": Stages}, PluginContractError),
        ({"processor": Stages}, PluginContractError),
        ({"processor": object()}, PluginContractError),
        ({"run_kwargs": {"comand": "true"}}, ConfigError),
        ({"run_kwargs": {"command": "true", "timeout": "long"}}, ConfigError),
        ({"run_kwargs": {"command": "true", "require": ["a magic wand"]}}, ConfigError),
        ({"process_kwargs": {"depth": 3}, "processor": SimpleNamespace(process=lambda model_run: {})}, ConfigError),
        ({}, ConfigError),  # there is no command
    ],
)  # fmt: skip
def test_names_and_options_are_checked_before_the_first_stage(
    tmp_path: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")

    with pytest.raises(error) as refused:
        LocalPipelineBackend().execute(model_run, cleanup_on_failure=True, **options)

    assert isinstance(refused.value, ValueError)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("model_run", [None, SimpleNamespace(), "case", SimpleNamespace(run_id=3)])
def test_what_is_no_model_run_is_a_value_error(model_run: object) -> None:
    with pytest.raises(ValueError, match="model_run"):
        execute(model_run, Stages())


def test_further_arguments_are_ignored_as_the_interface_has_it(model_run: ModelRun) -> None:
    assert execute(model_run, Stages(), colour="blue")["success"] is True


# Plugins and their options.


def test_options_reach_their_plugins_and_no_other(model_run: ModelRun) -> None:
    seen: list[tuple[str, Mapping[str, Any]]] = []

    class Backend:
        def run(self, model_run: Any, **kwargs: Any) -> bool:
            seen.append(("run", kwargs))
            return True

    class Processor:
        def process(self, model_run: Any, **kwargs: Any) -> dict[str, Any]:
            seen.append(("process", kwargs))
            return {"success": True}

    execute(model_run, Backend(), Processor(), run_kwargs={"nodes": 3}, process_kwargs={"create_plots": True})

    assert seen == [("run", {"nodes": 3}), ("process", {"create_plots": True})]


def test_a_postprocessor_may_have_a_config(model_run: ModelRun) -> None:
    @attrs.frozen(kw_only=True)
    class PlotConfig(PostprocessorConfig):
        colour: str = "blue"

    class Plot:
        config_type = PlotConfig

        def process(self, model_run: Any, config: PlotConfig) -> dict[str, Any]:
            return {"success": True, "colour": config.colour}

    results = execute(model_run, Stages(), Plot(), process_kwargs={"colour": "red"})

    assert results["postprocess_results"] == {"success": True, "colour": "red"}
    with pytest.raises(ConfigError, match=r"color: .*colour"):
        execute(model_run, Stages(), Plot(), process_kwargs={"color": "red"})


def test_a_postprocessor_is_given_the_model_run_and_does_not_generate_it_again(model_run: ModelRun) -> None:
    seen: list[Any] = []

    class Looking:
        def process(self, model_run: Any) -> dict[str, Any]:
            seen.extend([model_run, model_run.generate(), model_run.workspace_dir])
            return {"success": True}

    execute(model_run, Stages(), Looking())

    assert isinstance(seen[0], ModelRun)
    assert seen[0] == model_run
    assert seen[1:] == [model_run.workspace_dir] * 2
    assert model_run.config.done == ["generate"]


# Model runs of other libraries.


@pytest.mark.parametrize("gives", ["text", "path", "object", "nothing"])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_the_inputs_are_where_generate_says(tmp_path: Path, gives: str, elsewhere: bool) -> None:
    directory = tmp_path / ("staged" if elsewhere and gives != "nothing" else "case")

    def generate() -> object:
        directory.mkdir()
        return {
            "text": str(directory),
            "path": directory,
            "object": SimpleNamespace(staging_dir=str(directory), success=True),
        }.get(gives)

    stages = Stages()
    model_run = SimpleNamespace(run_id="case", output_dir=str(tmp_path), generate=generate)

    results = execute(model_run, stages, "noop")

    assert results["success"] is True
    assert results["staging_dir"] == results["postprocess_results"]["output_dir"] == str(directory)
    assert results["postprocess_results"]["file_count"] == 2
    assert stages.done == ["run"]


def test_a_generate_that_reports_failure_fails_its_stage(tmp_path: Path) -> None:
    model_run = SimpleNamespace(
        run_id="case", output_dir=tmp_path, generate=lambda: SimpleNamespace(success=False, message="no bathymetry")
    )

    results = execute(model_run, Stages())

    assert (results["success"], results["stage"], results["stages_completed"]) == (False, "generate", [])
    assert "no bathymetry" in results["error"]


# Cleaning up, and when not to.


def unclean(results: dict[str, Any], caplog: pytest.LogCaptureFixture) -> str:
    """Say why nothing was cleaned up."""
    assert results["success"] is False
    assert "record_dir" not in results
    [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.run_id == results["run_id"]  # type: ignore[attr-defined]
    return warning.getMessage().removeprefix("the workspace was not cleaned up: ")


@pytest.mark.parametrize("run_id", ["..", ".", "../other", "a/b", "/abs", ".rompy"])
def test_a_run_id_that_names_no_single_directory_is_never_cleaned_up(
    tmp_path: Path, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = str(tmp_path / "abs") if run_id == "/abs" else run_id
    output_dir = tmp_path / "runs" / "out"
    output_dir.mkdir(parents=True)
    (tmp_path / "runs" / "mine").write_text("precious")
    model_run = SimpleNamespace(run_id=run_id, output_dir=output_dir)
    before = tree(tmp_path)

    results = execute(model_run, Stages("run", "fails"), cleanup_on_failure=True)

    assert "run_id" in unclean(results, caplog)
    assert before.items() <= tree(tmp_path).items()
    assert not list(tmp_path.rglob(".rompy-failed"))


@pytest.mark.parametrize("output_dir", [True, False])
def test_a_workspace_that_was_not_expected_is_not_cleaned_up(
    tmp_path: Path, output_dir: bool, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged" / "mine").write_text("precious")
    model_run = SimpleNamespace(run_id="case", generate=lambda: tmp_path / "staged")
    if output_dir:
        model_run.output_dir = tmp_path

    results = execute(model_run, Stages("run", "fails"), cleanup_on_failure=True)

    assert "not known what there was before" in unclean(results, caplog)
    assert (tmp_path / "staged" / "mine").exists()
    assert (tmp_path / "staged" / "out.nc").exists()


def test_a_workspace_outside_output_dir_is_not_cleaned_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    model_run = SimpleNamespace(
        run_id="case", output_dir=tmp_path / "out", workspace_dir=elsewhere, generate=lambda: elsewhere
    )

    results = execute(model_run, Stages("run", "fails"), cleanup_on_failure=True)

    assert "is not in the output_dir" in unclean(results, caplog)
    assert (elsewhere / "out.nc").exists()


def test_a_workspace_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "mine").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "case").symlink_to(tmp_path / "scratch")
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out", config=Stages())

    results = execute(model_run, Stages("run", "fails"), cleanup_on_failure=True)

    assert results["stage"] == "run"
    assert (tmp_path / "scratch" / "mine").read_text() == "precious"
    assert (tmp_path / "out" / "case").is_symlink()
    assert len(find_runs(tmp_path / "out" / ".rompy-failed")) == 1


class Refused:
    """A run backend that another run keeps from starting, and that other run ends at once."""

    config_type = BackendConfig

    def __init__(self, others: list[RunRecord]) -> None:
        self.others = others

    def run(self, model_run: Any, config: BackendConfig | None = None, **options: Any) -> bool:
        return run_to_end(self, model_run, config, **options)

    def submit(self, model_run: Any, config: BackendConfig, workspace_dir: Path) -> Any:
        try:
            return open_record(workspace_dir, run_id="case", backend="refused")
        finally:
            self.others[0].finish(RunState.COMPLETED, "fine")


@pytest.mark.parametrize("is_over", [True, False])
@pytest.mark.parametrize("begins", ["before", "meanwhile"])
def test_what_another_run_has_written_meanwhile_stays(
    model_run: ModelRun, begins: str, is_over: bool, caplog: pytest.LogCaptureFixture
) -> None:
    others: list[RunRecord] = []

    class Meanwhile:
        def generate(self, workspace_dir: Path, model_run: Any) -> None:
            if begins == "meanwhile":
                others.append(open_record(workspace_dir, run_id="case", backend="other"))
            (workspace_dir / "theirs").write_text("precious")

    if begins == "before":
        others.append(open_record(model_run.generate(), run_id="case", backend="other"))
    model_run.config = Meanwhile()

    results = execute(model_run, Refused(others) if is_over else Stages(), cleanup_on_failure=True)

    stage = "generate" if begins == "before" else "run"
    assert (results["success"], results["stage"]) == (False, stage)
    assert "another run was at work" in unclean(results, caplog)
    assert (model_run.workspace_dir / "theirs").exists() == (begins == "meanwhile")
    is_completed = is_over and begins == "meanwhile"
    assert read_report(others[0].directory).state is (RunState.COMPLETED if is_completed else RunState.RUNNING)


def test_two_pipelines_for_one_run_id_do_not_remove_each_others_work(
    model_run: ModelRun, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    first: list[dict[str, Any]] = []
    may_end = threading.Event()

    class Slow(Stages):
        def run(self, model_run: Any, **_: Any) -> Any:
            (model_run.workspace_dir / "waves.nc").write_text("precious")
            return may_end.wait(20)

    thread = threading.Thread(
        target=lambda: first.append(execute(model_run, Slow(), cleanup_on_failure=True)), daemon=True
    )
    thread.start()
    until((model_run.workspace_dir / "waves.nc").exists, "the first pipeline to be under way")

    second = execute(model_run, Stages(), cleanup_on_failure=True)
    may_end.set()
    thread.join()

    assert (second["success"], second["stage"]) == (False, "generate")
    assert "live run" in second["error"]
    assert first[0]["success"] is True
    assert (model_run.workspace_dir / "waves.nc").read_text() == "precious"
    assert sorted(report.state for report in find_runs(model_run.output_dir)) == ["COMPLETED", "NOT_STARTED"]


def test_a_record_that_cannot_be_put_aside_stays_and_so_does_the_rest(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture
) -> None:
    model_run.output_dir.mkdir()
    (model_run.output_dir / ".rompy-failed").write_text("in the way")

    results = execute(model_run, Stages("run", "fails"), cleanup_on_failure=True)

    assert str(model_run.output_dir / ".rompy-failed") in unclean(results, caplog)
    assert read_report(model_run.workspace_dir).state is RunState.FAILED
    assert (model_run.workspace_dir / "out.nc").exists()


def test_a_cleanup_that_fails_is_a_warning(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise OSError("it is in use")

    monkeypatch.setattr(_cleanup, "remove_new", busy)

    results = execute(model_run, Stages("run", "fails"), cleanup_on_failure=True)

    assert "it is in use" in unclean(results, caplog)
    assert (results["stage"], results["error"]) == ("run", "the backend reports failure: no tide")


def test_a_workspace_that_is_gone_already_needs_no_cleanup(model_run: ModelRun) -> None:
    class Removing(Stages):
        def run(self, model_run: Any, **_: Any) -> Any:
            shutil.rmtree(model_run.generate())
            return False

    results = execute(model_run, Removing(), cleanup_on_failure=True)

    assert (results["success"], results["stage"]) == (False, "run")
    assert tree(model_run.output_dir) == {}


def test_where_not_even_a_record_can_be_written_what_is_new_goes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / ".rompy").write_text("in the way")
    model_run = ModelRun(run_id="case", output_dir=tmp_path, config=Stages())
    before = tree(tmp_path)

    results = execute(model_run, Stages(), cleanup_on_failure=True)

    assert (results["success"], results["stage"], results["record_dir"]) == (False, "run", None)
    assert tree(tmp_path) == before


def test_a_generate_that_fails_before_it_makes_anything_leaves_nothing(tmp_path: Path) -> None:
    model_run = SimpleNamespace(run_id="case", output_dir=tmp_path / "out", generate=lambda: fail("raises"))

    results = execute(model_run, Stages(), cleanup_on_failure=True)

    assert (results["stage"], results["record_dir"]) == ("generate", None)
    assert tree(tmp_path) == {}


# Between the stages.


@pytest.mark.parametrize(
    ("stage", "validate", "error"),
    [
        ("run", True, "the workspace is gone: "),
        ("run", False, "cannot write a record in the workspace "),
        ("postprocess", True, "the workspace is gone: "),
        ("postprocess", False, "output directory not found: "),
    ],
)
def test_a_workspace_that_vanishes_between_two_stages_fails_the_next_one(
    model_run: ModelRun, stage: str, validate: bool, error: str
) -> None:
    class Vanish(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if getattr(record, "stage", None) == stage and record.levelno == logging.INFO:
                shutil.rmtree(model_run.workspace_dir)

    logger, vanish = logging.getLogger("rompy_core._pipeline"), Vanish()
    logger.addHandler(vanish)

    results = execute(model_run, Stages(), validate_stages=validate)

    logger.removeHandler(vanish)
    assert (results["success"], results["stage"]) == (False, stage)
    assert results["error"].startswith(error)
    assert str(model_run.workspace_dir) in results["error"]
    assert not model_run.workspace_dir.exists()


# What other hands give as results.


@attrs.frozen
class Metrics:
    success: bool
    heights: list[float]
    where: Path


class Stubborn:
    success = True

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def circle() -> dict[str, Any]:
    found: dict[str, Any] = {"success": True}
    found["self"] = found
    return found


ODD: dict[str, tuple[Any, Any]] = {
    "nothing odd": ({"success": True, "n": 3, "x": 0.5, "t": None}, {"success": True, "n": 3, "x": 0.5, "t": None}),
    "no numbers": (
        {"success": True, "a": math.nan, "b": -math.inf, "c": [math.inf]},
        {"success": True, "a": "nan", "b": "-inf", "c": ["inf"]},
    ),
    "huge numbers": ({"success": True, "a": 10**30, "b": 10**5000}, {"success": True, "a": str(10**30), "b": "int"}),
    "paths": ({"success": True, "plot": Path("a/b.png")}, {"success": True, "plot": "a/b.png"}),
    "sets and tuples": ({"success": True, "a": (1, (2,)), "b": {3}}, {"success": True, "a": [1, [2]], "b": [3]}),
    "keys that are no text": ({"success": True, 3: {None: 1, (1,): 2}}, {"success": True, "3": {"None": 1, "(1,)": 2}}),
    "bytes": ({"success": True, "raw": b"\xff"}, {"success": True, "raw": "b'\\xff'"}),
    "lone surrogates": ({"success": True, "name": "\udcff"}, {"success": True, "name": "\udcff"}),
    "an attrs class": (Metrics(True, [0.5], Path("a")), {"success": True, "heights": [0.5], "where": "a"}),
    "an object without words": ({"success": True, "a": Stubborn()}, {"success": True, "a": "Stubborn"}),
    "nothing but an object without words": (Stubborn(), "Stubborn"),
    "endless text": ({"success": True, "a": SimpleNamespace(b="c" * 20_000)}, None),
    "a circle": (circle(), None),
}  # fmt: skip


@pytest.mark.parametrize(("given_", "expected"), ODD.values(), ids=ODD.keys())
def test_results_are_given_back_as_they_are_and_written_as_json(
    model_run: ModelRun, given_: Any, expected: Any
) -> None:
    results = execute(model_run, Stages(), SimpleNamespace(process=lambda _: given_))

    assert results["success"] is True
    assert results["postprocess_results"] is given_
    [record] = records(model_run.output_dir)
    written = strict(record / "pipeline.json")["postprocess_results"]
    assert expected is None or written == expected
    assert len(json.dumps(written)) < 100_000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(data=st.data())
def test_anything_can_be_made_plain(data: st.DataObject, junk: st.SearchStrategy[object]) -> None:
    made = plain(data.draw(junk))

    assert json.loads(json.dumps(made, allow_nan=False)) == made


class bool_:  # noqa: N801 - the name of numpy's own
    def __init__(self, value: bool) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize("form", [lambda s: {"success": s}, lambda s: SimpleNamespace(success=s)])
@pytest.mark.parametrize("kind", [bool, bool_])
def test_a_result_is_read_by_its_success_and_not_by_truth(
    model_run: ModelRun, success: bool, form: Callable[[Any], Any], kind: Callable[[bool], Any]
) -> None:
    results = execute(model_run, Stages(), SimpleNamespace(process=lambda _: form(kind(success))))

    assert results["success"] is success
    assert results.get("error") == (None if success else "the postprocessor reports failure")
    [record] = records(model_run.output_dir)
    assert strict(record / "pipeline.json")["success"] is success


def test_a_mock_of_a_result_says_neither_and_is_an_error(model_run: ModelRun) -> None:
    results = execute(model_run, Stages(), SimpleNamespace(process=lambda _: {"success": 1}))

    assert (results["success"], results["stage"]) == (False, "postprocess")
    assert "must give a mapping or an object with a success that is true or false" in results["error"]
    assert "a mapping with ['success']" in results["error"]


# The log.


def test_each_stage_is_logged_with_the_identity_of_the_run(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture
) -> None:
    execute(model_run, Stages())

    started = [record.stage for record in caplog.records if record.msg.startswith("pipeline stage started")]  # type: ignore[attr-defined]
    assert started == STAGES
    for record in caplog.records:
        assert (record.run_id, record.backend) == ("case", "Stages")  # type: ignore[attr-defined]


@pytest.mark.parametrize(("how", "has_traceback"), [("fails", False), ("raises", True)])
def test_a_failure_is_logged_at_error_with_its_reason(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture, how: str, has_traceback: bool
) -> None:
    results = execute(model_run, Stages(), Stages("postprocess", how))

    [failed] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert failed.getMessage() == f"pipeline failed: {results['error']}"
    assert failed.stage == "postprocess"  # type: ignore[attr-defined]
    assert bool(failed.exc_info) is has_traceback


# With real processes.


def test_a_real_run_goes_through_all_stages(model_run: ModelRun) -> None:
    results = model_run.pipeline(run_kwargs={"command": "cat input > out.nc"})

    assert results["success"] is True
    assert results["postprocess_results"]["file_count"] == 3
    assert (model_run.workspace_dir / "out.nc").read_text() == "generate"
    assert model_run.report is not None
    assert strict(Path(str(model_run.report.record_dir)) / "pipeline.json")["stages_completed"] == STAGES


@pytest.mark.parametrize(
    ("command", "options", "state", "error"),
    [
        ("exit 3", {}, RunState.FAILED, "exit code 3"),
        ("kill -SEGV $$", {}, RunState.FAILED, "SIGSEGV"),
        ("sleep 60", {"timeout": 0.2, "grace_s": 1}, RunState.TIMED_OUT, "(the wall-clock limit)"),
        ("true", {"rules": {"required_files": "out.nc"}}, RunState.FAILED, "'out.nc' was not written"),
        (["/no/such/swan"], {}, RunState.NOT_STARTED, "/no/such/swan"),
    ],
)
def test_a_real_run_that_fails_leaves_its_record_and_nothing_else(
    model_run: ModelRun, command: Any, options: dict[str, Any], state: RunState, error: str
) -> None:
    results = model_run.pipeline(run_kwargs={"command": command, **options}, cleanup_on_failure=True)

    assert (results["success"], results["stage"], results["stages_completed"]) == (False, "run", ["generate"])
    assert error in results["error"]
    [report] = find_runs(model_run.output_dir)
    assert report.state is state
    assert os.listdir(model_run.output_dir) == [".rompy-failed"]  # noqa: PTH208


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # interrupted between open() and its "with"
def test_a_real_run_that_is_interrupted_is_ended_recorded_and_cleaned_up(model_run: ModelRun, until: Until) -> None:
    def interrupt() -> None:
        until((model_run.workspace_dir / "begun").exists, "the run to be under way")
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()

    with pytest.raises(KeyboardInterrupt):
        model_run.pipeline(run_kwargs={"command": "touch begun; sleep 60", "grace_s": 5}, cleanup_on_failure=True)

    interrupter.join()
    [report] = find_runs(model_run.output_dir)
    assert report.state is RunState.CANCELLED
    assert report == model_run.report
    assert strict(Path(str(report.record_dir)) / "pipeline.json")["error"] == "KeyboardInterrupt"
    assert os.listdir(model_run.output_dir) == [".rompy-failed"]  # noqa: PTH208


@pytest.mark.parametrize("command", ["true", "exit 3"])
def test_values_of_variables_are_in_no_file_no_log_and_no_result(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    results = model_run.pipeline(run_kwargs={"command": command, "env_vars": {"TOKEN": "canary-7"}})

    files = b"".join(content for content in tree(model_run.output_dir).values() if isinstance(content, bytes))
    assert b"TOKEN" in files
    assert b"canary" not in files
    assert "canary" not in repr(results) + repr(model_run.report)
    assert not [record for record in caplog.records if "canary" in repr(vars(record))]
