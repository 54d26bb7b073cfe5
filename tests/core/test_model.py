from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from rompy_core import (
    ConfigError,
    FilesConfig,
    LocalPipelineBackend,
    ModelRun,
    NoopPostprocessor,
    PluginContractError,
    PluginNotFoundError,
    RunHandle,
    RunState,
    StartError,
    WorkspaceError,
    find_runs,
    is_alive,
    open_record,
    read_report,
)
from rompy_local import LocalConfig, LocalRunBackend
from rompy_local._sandbox import Sandbox

Until = Callable[..., None]
Install = Callable[..., Path]


@attrs.define
class Depths:
    """A model config that writes one file, each time another one."""

    times: int = 0
    command: str | None = None

    def generate(self, workspace_dir: Path, model_run: Any) -> str:
        self.times += 1
        (workspace_dir / "depth.txt").write_text(f"{model_run.run_id}: {self.times}")
        return "what this gives back is its own affair"


@pytest.fixture
def model(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out", config=Depths(command="true"))


def everything(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# Attributes.


def test_making_one_and_reading_it_writes_nothing(model: ModelRun, tmp_path: Path) -> None:
    for name in dir(model):
        getattr(model, name)
    repr(model)
    vars(model)
    copy.deepcopy(model)

    assert everything(tmp_path) == []


def test_the_workspace_is_below_output_dir_by_run_id_or_output_dir_itself(tmp_path: Path) -> None:
    assert ModelRun(run_id="case").workspace_dir == Path("simulations/case")
    assert ModelRun(run_id="case", output_dir=str(tmp_path)).workspace_dir == tmp_path / "case"
    assert ModelRun(run_id="case", output_dir=tmp_path, run_id_subdir=False).workspace_dir == tmp_path
    assert ModelRun(run_id="case").staging_dir == Path("simulations/case")


def test_the_workspace_follows_a_changed_run_id(model: ModelRun) -> None:
    model.generate()

    model.run_id = "another"
    workspace = model.generate()

    assert workspace == model.output_dir / "another"
    assert (workspace / "depth.txt").read_text() == "another: 2"


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "/abs", "a\0b"])
def test_a_wrong_run_id_is_refused_when_it_is_set_as_well(model: ModelRun, value: str) -> None:
    with pytest.raises(ValueError, match="run_id"):
        model.run_id = value

    assert model.run_id == "case"


@pytest.mark.parametrize("config", [3, "swan", {"depth": 3}, object()])
def test_a_config_that_generates_nothing_is_refused(config: object) -> None:
    with pytest.raises(ValueError, match="generate"):
        ModelRun(run_id="case", config=config)


# Generating.


def test_the_inputs_are_written_into_the_workspace(model: ModelRun) -> None:
    workspace = model.generate()

    assert workspace == model.workspace_dir
    assert (workspace / "depth.txt").read_text() == "case: 1"


def test_without_a_config_the_workspace_is_empty(tmp_path: Path) -> None:
    workspace = ModelRun(run_id="case", output_dir=tmp_path).generate()

    assert everything(workspace) == [".rompy", ".rompy/workspace.json"]


def test_generating_again_writes_again_and_removes_nothing(model: ModelRun) -> None:
    workspace = model.generate()
    (workspace / "notes.txt").write_text("precious")
    (workspace / "depth.txt").write_text("edited")

    model.generate()

    assert (workspace / "depth.txt").read_text() == "case: 2"
    assert (workspace / "notes.txt").read_text() == "precious"


def test_a_fault_of_the_config_is_the_callers(tmp_path: Path) -> None:
    class Broken:
        def generate(self, workspace_dir: Path, model_run: Any) -> None:
            raise ZeroDivisionError

    model = ModelRun(run_id="case", output_dir=tmp_path, config=Broken())

    for method in (model.generate, model.run, model.submit):
        with pytest.raises(ZeroDivisionError):
            method(**({} if method == model.generate else {"command": "true"}))
    assert model.report is None


def test_with_delete_existing_an_earlier_workspace_goes_first(model: ModelRun) -> None:
    workspace = model.generate()
    (workspace / "old.nc").touch()
    model.delete_existing = True

    assert model.generate() == workspace

    assert everything(workspace) == [".rompy", ".rompy/workspace.json", "depth.txt"]


def test_delete_existing_is_no_matter_where_nothing_exists(model: ModelRun) -> None:
    model.delete_existing = True

    assert model.generate().is_dir()


def test_neither_inputs_nor_outputs_of_a_live_run_are_touched(model: ModelRun) -> None:
    model.delete_existing = True
    ModelRun(run_id="case", output_dir=model.output_dir).generate()
    live = open_record(model.workspace_dir, run_id="case", backend="other")
    (model.workspace_dir / "waves.nc").write_text("precious")

    with pytest.raises(WorkspaceError, match="live run"):
        model.generate()
    with pytest.raises(StartError, match="live run"):
        model.submit(command="true")
    assert model.run(command="true") is False

    assert model.report is not None
    assert str(live.directory) in model.report.reason
    assert not (model.workspace_dir / "depth.txt").exists()
    assert (model.workspace_dir / "waves.nc").read_text() == "precious"


@pytest.mark.parametrize("what", ["foreign", "link", "file"])
def test_delete_existing_removes_only_a_workspace_that_a_model_run_made(
    model: ModelRun, tmp_path: Path, what: str
) -> None:
    model.delete_existing = True
    model.output_dir.mkdir()
    if what == "foreign":
        model.workspace_dir.mkdir()
        (model.workspace_dir / "mine").write_text("precious")
    elif what == "link":
        ModelRun(run_id="other", output_dir=tmp_path).generate()
        model.workspace_dir.symlink_to(tmp_path / "other")
    else:
        model.workspace_dir.write_text("precious")
    before = everything(tmp_path)

    for method in (model.generate, lambda: model.run(command="true"), lambda: model.submit(command="true")):
        with pytest.raises(WorkspaceError) as refused:
            method()

    assert str(model.workspace_dir) in str(refused.value)
    assert isinstance(refused.value, ValueError)
    assert everything(tmp_path) == before
    assert model.config.times == 0


def test_delete_existing_never_means_output_dir_itself(tmp_path: Path) -> None:
    flat = ModelRun(run_id="case", output_dir=tmp_path / "out", run_id_subdir=False)
    flat.generate()
    flat.delete_existing = True

    with pytest.raises(ValueError, match="run_id_subdir=True"):
        ModelRun(run_id="case", output_dir=tmp_path, run_id_subdir=False, delete_existing=True)
    with pytest.raises(ValueError, match="run_id_subdir=True"):
        flat.generate()

    assert everything(tmp_path / "out") == [".rompy", ".rompy/workspace.json"]


# Running.


def test_a_run_is_true_only_for_success(model: ModelRun) -> None:
    assert model.run(backend="local") is True
    assert model.run(backend="local", command="exit 3") is False

    assert model.report is not None
    assert (model.report.state, model.report.exit_code) == (RunState.FAILED, 3)


def test_a_run_generates_only_where_no_workspace_is_given(model: ModelRun, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()

    assert model.run(workspace_dir=str(tmp_path / "mine"))
    assert model.config.times == 0
    assert model.run()
    assert model.config.times == 1
    with model.submit(workspace_dir=tmp_path / "mine") as handle:
        assert handle.wait(20).ok
    assert model.config.times == 1
    assert model.submit().wait(20).ok
    assert model.config.times == 2


def test_a_run_takes_a_name_a_config_or_a_backend(model: ModelRun) -> None:
    for backend in ("local", "local@rompy-local", LocalConfig(command="true"), LocalRunBackend()):
        assert model.run(backend) is True

    assert {report.backend for report in find_runs(model.output_dir)} == {"local"}


def test_a_run_that_takes_too_long_is_a_timeout_error_with_a_report(model: ModelRun) -> None:
    with pytest.raises(TimeoutError, match=r"'case'.* 0.2 s"):
        model.run(command="sleep 60", timeout=0.2, grace_s=1)

    assert model.report is not None
    assert model.report.state is RunState.TIMED_OUT
    assert model.report == read_report(model.workspace_dir)


def test_a_run_that_cannot_start_is_false_and_a_submission_a_start_error(
    model: ModelRun, caplog: pytest.LogCaptureFixture
) -> None:
    assert model.run(command=["/no/such/swan"]) is False
    with pytest.raises(StartError) as refused:
        model.submit(command=["/no/such/swan"])

    assert model.report == refused.value.report
    assert model.report is not None
    assert model.report.state is RunState.NOT_STARTED
    assert "/no/such/swan" in model.report.reason
    [logged] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert logged.run_id == "case"  # type: ignore[attr-defined]
    assert "/no/such/swan" in logged.getMessage()


@pytest.mark.parametrize(
    ("backend", "options", "error"),
    [
        ("lokal", {}, PluginNotFoundError),
        ("local", {"comand": "true"}, ConfigError),
        ("local", {"command": "true", "timeout": -1}, ConfigError),
        ("local", {"command": "true", "require": ["a magic wand"]}, ConfigError),
        (LocalRunBackend, {}, PluginContractError),
        (3, {}, PluginContractError),
        (LocalConfig(command="true"), {"timeout": "long"}, ConfigError),
    ],
)
def test_a_mistake_is_found_before_anything_is_written(
    model: ModelRun, tmp_path: Path, backend: object, options: dict[str, Any], error: type[Exception]
) -> None:
    for method in (model.run, model.submit):
        with pytest.raises(error) as refused:
            method(backend, **options)
        assert isinstance(refused.value, ValueError)

    assert everything(tmp_path) == []
    assert model.report is None


def test_without_anything_to_run_it_is_a_config_error_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="command: is required"):
        ModelRun(run_id="case", output_dir=tmp_path / "out").run()

    assert everything(tmp_path) == []


def test_a_second_run_in_a_workspace_is_refused_while_the_first_one_lives(model: ModelRun) -> None:
    with model.submit(command="sleep 60") as first:
        with pytest.raises(StartError, match="live run") as refused:
            model.submit()
        assert model.run() is False
        assert first.state is RunState.RUNNING
        assert str(os.getpid()) not in str(refused.value)  # it is the supervisor who completes the record
        first.cancel()
        first.wait(20)

    assert model.run() is True
    assert [report.state for report in find_runs(model.output_dir)] == [
        RunState.CANCELLED,
        RunState.NOT_STARTED,
        RunState.NOT_STARTED,
        RunState.COMPLETED,
    ]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # interrupted between open() and its "with"
def test_an_interrupt_ends_the_run_and_goes_on(model: ModelRun, until: Until) -> None:
    def interrupt() -> None:
        until(lambda: list(model.workspace_dir.glob("begun")), "the run to be under way")
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()

    with pytest.raises(KeyboardInterrupt):
        model.run(command="touch begun; sleep 60", grace_s=5)

    interrupter.join()
    assert model.report is not None
    assert model.report.state is RunState.CANCELLED
    assert model.report == read_report(model.workspace_dir)


@pytest.fixture(params=["while the command is started", "while the run is taken over"])
def interrupted_early(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt a run before anybody has a handle of it."""
    start = threading.Thread.start

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def interrupt_a_run(thread: threading.Thread) -> None:
        if thread.name.startswith("rompy-run"):
            raise KeyboardInterrupt
        start(thread)

    if request.param == "while the command is started":
        monkeypatch.setattr(Sandbox, "_messages", interrupt)
    else:
        monkeypatch.setattr(threading.Thread, "start", interrupt_a_run)


@pytest.mark.usefixtures("interrupted_early")
@pytest.mark.parametrize("call", ["run", "submit"])
def test_an_interrupt_at_the_very_start_ends_the_run_and_goes_on(model: ModelRun, call: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        getattr(model, call)(command="sleep 60")

    report = read_report(model.workspace_dir)
    assert report.state is RunState.CANCELLED
    assert report.reason == "cancelled while it was being started: KeyboardInterrupt"
    assert report.supervisor is not None
    assert is_alive(report.supervisor) is False
    assert model.report == (report if call == "run" else None)


@pytest.mark.usefixtures("interrupted_early")
def test_a_pipeline_that_is_interrupted_at_the_very_start_of_its_run_keeps_the_record(model: ModelRun) -> None:
    with pytest.raises(KeyboardInterrupt):
        model.pipeline(run_kwargs={"command": "sleep 60"}, cleanup_on_failure=True)

    [report] = find_runs(model.output_dir)
    assert report.state is RunState.CANCELLED
    assert report == model.report
    assert list(model.output_dir.iterdir()) == [model.output_dir / ".rompy-failed"]


@pytest.mark.parametrize("run_id", ["-rf", "a b", "$(touch x)", "'\"", "ünï", "%s{}", "~", "*", ".rompyish"])
def test_odd_names_are_names_like_any_other(tmp_path: Path, run_id: str) -> None:
    model = ModelRun(run_id=run_id, output_dir=tmp_path / "out", config=FilesConfig(files={"in": "x"}))

    assert model.run(command="cp in out") is True

    assert (tmp_path / "out" / run_id / "out").read_text() == "x"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    assert model.report == read_report(tmp_path / "out" / run_id)


def test_an_output_dir_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "scratch")

    model = ModelRun(run_id="case", output_dir=tmp_path / "link")

    assert model.run(command="touch out") is True
    assert (tmp_path / "scratch" / "case" / "out").exists()
    assert model.report is not None
    assert model.report.workspace_dir == tmp_path / "link" / "case"


def test_a_relative_output_dir_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert ModelRun(run_id="case").run(command="touch out") is True

    assert (tmp_path / "simulations" / "case" / "out").exists()
    assert Path.cwd() == tmp_path


# The report.


def test_before_anything_has_ended_there_is_no_report(model: ModelRun) -> None:
    assert model.report is None

    with model.submit(command="sleep 60") as handle:
        assert model.report is None
        handle.cancel()
        handle.wait(20)

    assert model.report is not None


def test_the_report_is_that_of_the_run_that_ended_last(model: ModelRun, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    long = model.submit(command="sleep 60", workspace_dir=tmp_path / "a")
    short = model.submit(command="true", workspace_dir=tmp_path / "b")

    first = short.wait(20)
    assert model.report == first
    long.cancel()
    second = long.wait(20)

    assert model.report == second


def test_of_a_thousand_runs_only_the_newest_report_is_kept(model: ModelRun) -> None:
    report = open_record(model.generate(), run_id="case", backend="x").finish(RunState.FAILED, "aground")

    for number in range(1000):
        model.remember(attrs.evolve(report, reason=str(number)))

    assert model.report is not None
    assert model.report.reason == "999"
    assert len(model._runs) <= 2


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_model_run_can_be_pickled_while_it_runs(tmp_path: Path, copied: Callable[[ModelRun], ModelRun]) -> None:
    model = ModelRun(run_id="case", output_dir=tmp_path, config=FilesConfig(files={"in": "x"}, command="true"))
    assert model.run() is True
    with model.submit(command="sleep 60") as handle:
        twin = copied(model)
        handle.cancel()
        handle.wait(20)

    assert twin == model
    assert twin.report is not None
    assert twin.report.ok
    assert model.report is not None
    assert model.report.state is RunState.CANCELLED
    assert twin.run() is True


# The calls of the interface's document, as they stand there.


def test_the_documents_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Config:
        def generate(self, workspace_dir: Path, model_run: Any) -> None:
            (workspace_dir / "my_model_executable").write_text('#!/bin/sh\necho "$OMP_NUM_THREADS" > threads\n')
            (workspace_dir / "my_model_executable").chmod(0o755)

        def run(self, model_run: Any) -> bool:
            Path("called").write_text(model_run.run_id)
            return True

    monkeypatch.chdir(tmp_path)
    model = ModelRun(run_id="case", config=Config())

    success = model.run(backend="local")
    with_command = model.run(
        backend="local", command="./my_model_executable", env_vars={"OMP_NUM_THREADS": "4"}, timeout=3600
    )

    assert (success, with_command) == (True, True)
    assert (model.workspace_dir / "called").read_text() == "case"
    assert (model.workspace_dir / "threads").read_text() == "4\n"


def test_the_documents_postprocessing(model: ModelRun, tmp_path: Path) -> None:
    model.generate()
    (tmp_path / "custom_output").mkdir()

    results = model.postprocess(processor="noop")
    custom = model.postprocess(processor="noop", validate_outputs=True, output_dir=tmp_path / "custom_output")

    assert (results["success"], results["validated"], results["run_id"]) == (True, True, "case")
    assert (custom["success"], custom["output_dir"]) == (True, str(tmp_path / "custom_output"))


def test_the_documents_pipelines(model: ModelRun) -> None:
    basic = model.pipeline(pipeline_backend="local")
    custom = model.pipeline(
        pipeline_backend="local",
        run_backend="local",
        processor="noop",
        run_kwargs={"command": "touch out.nc", "timeout": 60},
        process_kwargs={"validate_outputs": True},
        cleanup_on_failure=True,
    )

    for results in (basic, custom):
        assert results["success"] is True
        assert results["stages_completed"] == ["generate", "run", "postprocess"]
    assert custom["postprocess_results"]["file_count"] == 2


def test_the_documents_backend_class(tmp_path: Path) -> None:
    model_run = SimpleNamespace(run_id="case", output_dir=tmp_path)
    backend = LocalRunBackend()

    assert backend.run(model_run, LocalConfig(command="touch out"), workspace_dir=str(tmp_path)) is True
    assert (tmp_path / "out").exists()
    assert backend.run(model_run, LocalConfig(command="touch out")) is True
    assert (tmp_path / "case" / "out").exists()
    with pytest.raises(ValueError, match="model_run"):
        backend.run(None, LocalConfig(command="true"))
    with pytest.raises(TimeoutError):
        backend.run(model_run, LocalConfig(command="sleep 60", timeout=0.2, grace_s=0), workspace_dir=tmp_path)


# Of the shape that the document gives them: no base class, no config, nothing but the one method and **kwargs; each
# catches what goes wrong inside it, and the backend and the pipeline generate the inputs themselves.
DOCUMENT = """
import logging
from pathlib import Path


class CustomRunBackend:
    def run(self, model_run, **kwargs):
        try:
            model_run.generate()
            return self._compute(model_run, **kwargs)
        except Exception:
            logging.getLogger(__name__).exception("no waves")
            return False

    def _compute(self, model_run, depth):
        (Path(model_run.output_dir) / model_run.run_id / "waves.txt").write_text(str(depth))
        return True


class AnalysisPostprocessor:
    def process(self, model_run, **kwargs):
        try:
            waves = Path(model_run.output_dir) / model_run.run_id / "waves.txt"
            return {"success": True, "metrics": {"depth": int(waves.read_text())}, "message": "analysed"}
        except Exception as exc:
            return {"success": False, "error": str(exc), "message": "not analysed"}


class CloudPipelineBackend:
    def execute(self, model_run, **kwargs):
        told = {"success": False, "run_id": model_run.run_id, "stages_completed": []}
        try:
            model_run.generate()
            told["stages_completed"].append("generate")
            told["job_id"] = kwargs["job"]
            told["stages_completed"].append("submit")
            told["success"] = True
        except Exception as exc:
            told["error"] = str(exc)
        return told
"""


@pytest.fixture
def documents_classes(fake_distribution: Install) -> Iterator[None]:
    """Register the three classes of the document under names that are not theirs."""
    fake_distribution(
        "mypackage",
        groups={
            "rompy.run": {"custom": "mypackage_classes:CustomRunBackend"},
            "rompy.postprocess": {"analysis": "mypackage_classes:AnalysisPostprocessor"},
            "rompy.pipeline": {"cloud": "mypackage_classes:CloudPipelineBackend"},
        },
        modules={"mypackage_classes": DOCUMENT},
    )
    yield
    sys.modules.pop("mypackage_classes", None)


@pytest.mark.usefixtures("documents_classes")
def test_the_documents_custom_classes_work_as_they_stand(model: ModelRun) -> None:
    assert model.run(backend="custom", depth=3) is True
    assert model.config.times == 1
    assert model.report is not None
    assert model.report.backend == "custom"

    assert model.postprocess(processor="analysis")["metrics"] == {"depth": 3}
    assert model.pipeline(pipeline_backend="cloud", job=7) == {
        "success": True,
        "run_id": "case",
        "stages_completed": ["generate", "submit"],
        "job_id": 7,
    }


@pytest.mark.usefixtures("documents_classes")
def test_the_documents_custom_classes_work_in_our_pipeline(model: ModelRun) -> None:
    results = model.pipeline(run_backend="custom", processor="analysis", run_kwargs={"depth": 5})

    assert results["success"] is True
    assert (results["run_backend"], results["backend"], results["processor"]) == ("custom", "custom", "analysis")
    assert results["postprocess_results"]["metrics"] == {"depth": 5}
    assert model.config.times == 1


@pytest.mark.usefixtures("documents_classes")
def test_the_documents_custom_classes_fail_as_they_say(model: ModelRun) -> None:
    assert model.run(backend="custom") is False
    assert model.postprocess(processor="analysis")["success"] is False
    assert "No such file" in model.postprocess(processor="analysis")["error"]
    assert "job" in model.pipeline(pipeline_backend="cloud")["error"]


# Postprocessors and pipelines.


def test_plugins_may_be_given_as_objects(model: ModelRun) -> None:
    model.generate()

    assert model.postprocess(NoopPostprocessor())["success"] is True
    assert model.pipeline(LocalPipelineBackend())["success"] is True


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda model: model.postprocess("nop"), PluginNotFoundError),
        (lambda model: model.postprocess(NoopPostprocessor), PluginContractError),
        (lambda model: model.postprocess(3), PluginContractError),
        (lambda model: model.pipeline("lokal"), PluginNotFoundError),
        (lambda model: model.pipeline(LocalPipelineBackend), PluginContractError),
        (lambda model: model.pipeline(NoopPostprocessor()), PluginContractError),
        (lambda model: model.pipeline(run_backend="lokal"), PluginNotFoundError),
        (lambda model: model.pipeline(processor="nop"), PluginNotFoundError),
    ],
)
def test_a_wrong_plugin_is_a_value_error_before_anything_is_written(
    model: ModelRun, tmp_path: Path, call: Callable[[ModelRun], object], error: type[Exception]
) -> None:
    with pytest.raises(error) as refused:
        call(model)

    assert isinstance(refused.value, ValueError)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("answer", [None, True, False, 3, "done", {}, {"success": "yes"}, SimpleNamespace()])
def test_results_that_say_neither_are_a_contract_error(model: ModelRun, answer: object) -> None:
    plugin = SimpleNamespace(process=lambda _: answer, execute=lambda _: answer)

    with pytest.raises(PluginContractError, match="success"):
        model.postprocess(plugin)
    with pytest.raises(PluginContractError, match="success"):
        model.pipeline(plugin)


@pytest.mark.parametrize("answer", [{"success": False, "error": "e"}, SimpleNamespace(success=True)])
def test_results_are_given_back_as_they_are(model: ModelRun, answer: object) -> None:
    plugin = SimpleNamespace(process=lambda _: answer, execute=lambda _: answer)

    assert model.postprocess(plugin) is answer
    assert model.pipeline(plugin) is answer


def test_options_of_a_pipeline_are_checked_before_it_is_called(model: ModelRun) -> None:
    class Strict:
        def execute(self, model_run: Any, *, pipeline_name: str) -> dict[str, Any]:
            raise AssertionError("called")

    with pytest.raises(ConfigError, match=r"pipeline_nam: .*pipeline_name"):
        model.pipeline(Strict(), pipeline_nam="x")
    with pytest.raises(ConfigError, match="pipeline_name: is required"):
        model.pipeline(Strict())


def test_a_handle_is_what_a_submission_gives(model: ModelRun) -> None:
    handle = model.submit()

    assert isinstance(handle, RunHandle)
    assert handle.run_id == "case"
    report = handle.wait(20)
    assert json.loads((model.workspace_dir / ".rompy" / report.record_dir.name / "report.json").read_text())["ok"]  # type: ignore[union-attr]
