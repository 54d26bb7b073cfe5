"""What must not fit: read by mypy and pyright in strict mode, never run.

Each assignment is an error on purpose, and says so to both. Should a class fit one day, its ignore is not needed any
more, which is an error in turn (``warn_unused_ignores``, ``reportUnnecessaryTypeIgnoreComment``).
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from rompy_core import (
    BackendConfig,
    Configured,
    Execution,
    ModelConfig,
    ModelRunLike,
    NoopPostprocessor,
    Outcome,
    PipelineBackend,
    Postprocessor,
    Progress,
    RunBackend,
    RunHandle,
    RunReport,
    RunState,
    SubmittingBackend,
    Usage,
)


class NoRun:
    def execute(self, model_run: Any, **kwargs: Any) -> bool:
        return bool(model_run or kwargs)


class RunWithoutModelRun:
    def run(self) -> bool:
        return True


class RunWithModelRunByKeyword:
    def run(self, *, model_run: Any, **kwargs: Any) -> bool:
        return bool(model_run or kwargs)


class RunIsText:
    run = "./model"


class FittingBackend:
    def run(self, model_run: Any, **kwargs: Any) -> bool:
        return bool(model_run or kwargs)


no_run: RunBackend = NoRun()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
no_model_run: RunBackend = RunWithoutModelRun()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
by_keyword: RunBackend = RunWithModelRunByKeyword()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
run_is_text: RunBackend = RunIsText()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
class_for_instance: RunBackend = FittingBackend  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
postprocessor_for_backend: RunBackend = NoopPostprocessor()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


class NoProcess:
    def run(self, model_run: Any) -> dict[str, Any]:
        return {"success": bool(model_run)}


class ProcessWithoutModelRun:
    def process(self) -> dict[str, Any]:
        return {"success": True}


class ProcessIsData:
    process = {"success": True}  # noqa: RUF012 - as wrong as it gets


no_process: Postprocessor = NoProcess()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
process_without: Postprocessor = ProcessWithoutModelRun()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
process_is_data: Postprocessor = ProcessIsData()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


class NoExecute:
    def run(self, model_run: Any) -> dict[str, Any]:
        return {"success": bool(model_run)}


class ExecuteWithoutModelRun:
    def execute(self) -> dict[str, Any]:
        return {"success": True}


class ExecuteIsFlag:
    execute = True


no_execute: PipelineBackend = NoExecute()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
execute_without: PipelineBackend = ExecuteWithoutModelRun()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
execute_is_flag: PipelineBackend = ExecuteIsFlag()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


class NoGenerate:
    command = ("./model",)


class GenerateWithoutModelRun:
    def generate(self, workspace_dir: Path) -> None: ...


class GenerateIntoNumber:
    def generate(self, workspace_dir: int, model_run: Any) -> None: ...


no_generate: ModelConfig = NoGenerate()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
generate_without: ModelConfig = GenerateWithoutModelRun()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
generate_into_number: ModelConfig = GenerateIntoNumber()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


class NoRunId:
    output_dir = Path("runs")


class RunIdIsNumber:
    run_id = 7


no_run_id: ModelRunLike = NoRunId()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
run_id_is_number: ModelRunLike = RunIdIsNumber()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


class HandleWithoutCancel:
    run_id = "a"
    state = RunState.RUNNING
    progress: Progress | None = None
    usage: Usage | None = None

    def done(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> RunReport:
        raise TimeoutError(timeout)

    def __await__(self) -> Generator[Any, None, RunReport]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class FittingHandle(HandleWithoutCancel):
    def cancel(self) -> bool:
        return True


class HandleThatNeedsSignal(HandleWithoutCancel):
    def cancel(self, signal: int) -> bool:
        return bool(signal)


# What differs from it in one thing only is refused for that thing.
fitting_handle: RunHandle = FittingHandle()
without_cancel: RunHandle = HandleWithoutCancel()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
cancel_needs_signal: RunHandle = HandleThatNeedsSignal()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


@attrs.frozen(kw_only=True)
class OtherConfig(BackendConfig):
    queue: str = "normal"


class FittingSubmittingBackend(FittingBackend):
    config_type = BackendConfig

    def submit(self, model_run: Any, config: BackendConfig, workspace_dir: Path) -> RunHandle:
        raise NotImplementedError(model_run, config, workspace_dir)


class NoSubmit(FittingBackend):
    config_type = BackendConfig


class SubmitWithoutWorkspace(FittingBackend):
    config_type = BackendConfig

    def submit(self, model_run: Any, config: BackendConfig) -> RunHandle:
        raise NotImplementedError(model_run, config)


class SubmitGivesBool(FittingBackend):
    config_type = BackendConfig

    def submit(self, model_run: Any, config: BackendConfig, workspace_dir: Path) -> bool:
        return workspace_dir.is_dir()


class SubmitWithoutRun:
    config_type = BackendConfig

    def submit(self, model_run: Any, config: BackendConfig, workspace_dir: Path) -> RunHandle:
        raise NotImplementedError(model_run, config, workspace_dir)


class SubmitWithOtherConfig(FittingBackend):
    config_type = BackendConfig

    def submit(self, model_run: Any, config: OtherConfig, workspace_dir: Path) -> RunHandle:
        raise NotImplementedError(model_run, config, workspace_dir)


class ConfigTypeIsNoBackendConfig(FittingBackend):
    config_type = dict

    def submit(self, model_run: Any, config: Any, workspace_dir: Path) -> RunHandle:
        raise NotImplementedError(model_run, config, workspace_dir)


class ConfigForType:
    config_type = BackendConfig()


fitting_submitting: SubmittingBackend[BackendConfig] = FittingSubmittingBackend()
no_submit: SubmittingBackend[BackendConfig] = NoSubmit()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
no_workspace: SubmittingBackend[BackendConfig] = SubmitWithoutWorkspace()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
gives_bool: SubmittingBackend[BackendConfig] = SubmitGivesBool()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
submit_alone: SubmittingBackend[BackendConfig] = SubmitWithoutRun()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
other_config: SubmittingBackend[BackendConfig] = SubmitWithOtherConfig()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
plain_config: SubmittingBackend[BackendConfig] = ConfigTypeIsNoBackendConfig()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
config_for_type: Configured = ConfigForType()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


class JobWithoutStop:
    usage: Usage | None = None

    def wait(self, timeout: float) -> Outcome | None:
        return Outcome(wall_time_s=timeout)

    def close(self) -> None: ...


class FittingJob(JobWithoutStop):
    def stop(self, ended_as: RunState, reason: str) -> None: ...


class JobThatIsStoppedWithoutReason(JobWithoutStop):
    def stop(self) -> None: ...


fitting_job: Execution = FittingJob()
without_stop: Execution = JobWithoutStop()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
without_reason: Execution = JobThatIsStoppedWithoutReason()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
