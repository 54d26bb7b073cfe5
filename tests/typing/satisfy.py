"""What fits as it stands: read by mypy and pyright in strict mode, never run.

The first three classes are shaped as the interface document has them, with no base class and no config.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, assert_type

import attrs

from rompy_core import (
    BackendConfig,
    Configured,
    Execution,
    FilesConfig,
    LiveRun,
    LocalPipelineBackend,
    ModelConfig,
    ModelRun,
    ModelRunLike,
    NoopPostprocessor,
    Outcome,
    OutputRules,
    PipelineBackend,
    PluginInfo,
    Postprocessor,
    Progress,
    RunBackend,
    RunHandle,
    RunReport,
    RunState,
    SubmittingBackend,
    TemplateConfig,
    Usage,
    cancel,
    find_runs,
    list_plugins,
    read_report,
    run_to_end,
    structure_config,
    unstructure_config,
)


class QueueBackend:
    def run(self, model_run: Any, **kwargs: Any) -> bool:
        model_run.generate()
        return "queue" in kwargs


class WaveStatistics:
    def process(self, model_run: Any, **kwargs: Any) -> dict[str, Any]:
        directory = Path(model_run.output_dir) / model_run.run_id
        return {"success": directory.is_dir(), "metrics": kwargs}


class RemotePipeline:
    def execute(self, model_run: Any, **kwargs: Any) -> dict[str, Any]:
        return {"success": True, "run_id": model_run.run_id, "stages_completed": list(kwargs)}


queue_backend: RunBackend = QueueBackend()
wave_statistics: Postprocessor = WaveStatistics()
remote_pipeline: PipelineBackend = RemotePipeline()


# The same roles with the named parameters that the document's reference lists, and with a typed model run.


class BackendWithNamedOptions:
    def run(self, model_run: ModelRunLike, config: BackendConfig, workspace_dir: str | None = None) -> bool:
        return bool(model_run.run_id and config.timeout and workspace_dir)


class PostprocessorWithNamedOptions:
    def process(
        self, model_run: ModelRun, validate_outputs: bool = True, output_dir: str | Path | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        return {"success": validate_outputs, "output_dir": output_dir or model_run.output_dir, **kwargs}


class PipelineWithNamedOptions:
    def execute(
        self, model_run: ModelRun, run_backend: str = "local", run_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        return {"success": model_run.run(run_backend, **(run_kwargs or {})), **kwargs}


@attrs.frozen
class TypedResult:
    success: bool


class PostprocessorWithTypedResult:
    def process(self, model_run: ModelRunLike) -> TypedResult:
        return TypedResult(success=bool(model_run.run_id))


named_backend: RunBackend = BackendWithNamedOptions()
named_postprocessor: Postprocessor = PostprocessorWithNamedOptions()
named_pipeline: PipelineBackend = PipelineWithNamedOptions()
typed_postprocessor: Postprocessor = PostprocessorWithTypedResult()


# A backend that submits, with a config of its own.


@attrs.frozen(kw_only=True)
class ClusterConfig(BackendConfig):
    backend: ClassVar[str] = "cluster@rompy-cluster"

    queue: str = "normal"
    nodes: int = 1


class ClusterBackend:
    config_type = ClusterConfig

    def submit(self, model_run: ModelRunLike, config: ClusterConfig, workspace_dir: Path) -> RunHandle:
        raise NotImplementedError(model_run.run_id, config.queue, workspace_dir)

    def run(
        self,
        model_run: ModelRunLike,
        config: ClusterConfig | None = None,
        workspace_dir: Path | None = None,
        **options: Any,
    ) -> bool:
        return run_to_end(self, model_run, config, workspace_dir, **options)


class BackendWithConfigTypeAsProperty:
    @property
    def config_type(self) -> type[ClusterConfig]:
        return ClusterConfig

    def submit(self, model_run: ModelRun, config: ClusterConfig, workspace_dir: Path) -> LiveRun:
        raise NotImplementedError(model_run.run_id, config.nodes, workspace_dir)

    def run(self, model_run: ModelRun, **options: Any) -> bool:
        return run_to_end(self, model_run, **options)


cluster_backend: SubmittingBackend[ClusterConfig] = ClusterBackend()
cluster_backend_as_least: RunBackend = ClusterBackend()
cluster_backend_as_configured: Configured = ClusterBackend()
property_backend: SubmittingBackend[ClusterConfig] = BackendWithConfigTypeAsProperty()


# A model's inputs, and what a backend hands to LiveRun.


class GridConfig:
    command = ("./swan", "-input", "grid.swn")

    def generate(self, workspace_dir: Path, model_run: ModelRunLike) -> None:
        (workspace_dir / "grid.swn").write_text(model_run.run_id)


class GridConfigOfFewWords:
    def generate(self, workspace_dir: Any, model_run: Any) -> Any:
        return workspace_dir, model_run


class Job:
    usage: Usage | None = None

    def wait(self, timeout: float) -> Outcome | None:
        return Outcome(wall_time_s=timeout)

    def stop(self, ended_as: RunState, reason: str) -> None: ...

    def close(self) -> None: ...


grid_config: ModelConfig = GridConfig()
grid_config_of_few_words: ModelConfig = GridConfigOfFewWords()
job: Execution = Job()


# A model run of another library.


class ForeignModelRun:
    def __init__(self, run_id: str) -> None:
        self.run_id = run_id


foreign_model_run: ModelRunLike = ForeignModelRun("a")


# Ours keep their own promises.

own_model_run: ModelRunLike = ModelRun(run_id="a")
own_files: ModelConfig = FilesConfig(files={"INPUT": "text", "depth.bin": b"\0"}, command="./m")
own_templates: ModelConfig = TemplateConfig(template_dir="templates", values={"depth": 3.5}, command=["./m", "-v"])
own_postprocessor: Postprocessor = NoopPostprocessor()
own_pipeline: PipelineBackend = LocalPipelineBackend()


def live_runs_are_handles(live: LiveRun) -> RunHandle:
    return live


def what_a_caller_gets() -> None:
    model = ModelRun(run_id="a", output_dir="runs", config=GridConfig(), period={"start": "2024-01-01"})

    assert_type(model.generate(), Path)
    assert_type(
        ModelRun(run_id="a").run(backend="local", command="./m", env_vars={"A": "1"}, timeout=3600),
        bool,
    )
    assert_type(model.run(ClusterConfig(queue="long"), workspace_dir=Path("inputs")), bool)
    assert_type(model.run(QueueBackend(), queue="long"), bool)
    assert_type(model.report, RunReport | None)
    assert_type(model.output_dir, Path)
    model.postprocess(processor="noop", validate_outputs=True, output_dir="./custom_output")["success"]
    model.pipeline(run_backend="local", run_kwargs={"command": "./m"}, cleanup_on_failure=True)["success"]


def what_a_submitted_run_tells() -> None:
    with ModelRun(run_id="a").submit("local", command=["./m", "-n", "4"]) as handle:
        _ = assert_type(handle, RunHandle)  # mypy: a handle can be awaited, so it must not be dropped
        assert_type(handle.run_id, str)
        assert_type(handle.state, RunState)
        assert_type(handle.progress, Progress | None)
        assert_type(handle.usage, Usage | None)
        assert_type(handle.done(), bool)
        assert_type(handle.cancel(), bool)
        report = handle.wait(timeout=60)
    assert_type(report, RunReport)
    assert_type(report.ok, bool)
    assert_type(report.exit_code, int | None)
    assert_type(report.peak_rss_bytes, int | None)
    assert_type(report.versions, Mapping[str, str])


async def what_an_event_loop_gets(handle: RunHandle) -> None:
    assert_type(await handle, RunReport)


def what_a_config_holds() -> None:
    config = ClusterConfig(
        timeout=3600, memory="4g", rules="swan", working_dir="sub", require=["memory"], env_vars={"A": "1"}
    )

    assert_type(config.timeout, float | None)
    assert_type(config.grace_s, float)
    assert_type(config.env_vars, Mapping[str, str])
    assert_type(config.working_dir, Path | None)
    assert_type(config.memory, int | None)
    assert_type(config.rules, OutputRules)
    assert_type(config.require, tuple[str, ...])
    assert_type(structure_config({"queue": "long"}, ClusterConfig), ClusterConfig)
    assert_type(unstructure_config(config), dict[str, Any])


def what_records_and_plugins_tell() -> None:
    assert_type(read_report("runs/a"), RunReport)
    assert_type(find_runs(Path("runs")), list[RunReport])
    assert_type(cancel("runs/a", timeout=None), RunReport)
    assert_type(list_plugins("rompy.run"), list[PluginInfo])
