"""Generate, run and postprocess, in order, each once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, cast, final

import attrs

from rompy_core._bars import check_show_progress
from rompy_core._binding import Bound, BoundBackend, bind_backend, bind_postprocessor, check_bound
from rompy_core._cleanup import Cleanup
from rompy_core._errors import ConfigError, PluginContractError, RompyError
from rompy_core._foreign import (
    GeneratedRun,
    check_model_run,
    expected_workspace,
    message_of,
    success_of,
)
from rompy_core._foreign_configs import kind_of
from rompy_core._logs import RunLogger
from rompy_core._pipeline_records import PIPELINE
from rompy_core._plain import plain
from rompy_core._plugins import POSTPROCESSORS
from rompy_core._protocols import Postprocessor, RunHandle
from rompy_core._records import new_record_dir, utc_now
from rompy_core._reports import RunReport, RunState
from rompy_core._running import remember_moved, run_bound, workspace_for
from rompy_core._writing import write_json

logger = logging.getLogger(__name__)


def process_outputs(bound: Bound[Postprocessor], model_run: Any) -> Any:
    """Call the postprocessor, and give back what it gave.

    Raises:
        ModelRunError: *model_run* is none.
        PluginContractError: What it gave says neither success nor failure.
    """
    check_model_run(model_run)
    return check_results(bound(model_run), POSTPROCESSORS.group, bound.name)


def check_results(results: Any, group: str, name: str) -> Any:
    """Give the results back if they say whether they are a success.

    Raises:
        PluginContractError: They do not.
    """
    if isinstance(results, bool) or success_of(results) is None:
        detail = f"must give a mapping or an object with a success that is true or false, found {_shown(results)}"
        raise PluginContractError(group, name, detail)
    return results


class _StageError(Exception):
    """A stage failed; the pipeline ends there."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@final
@attrs.define
class _Execution:
    """One execution of the pipeline: what is done so far, and what was there before."""

    model_run: Any
    backend: BoundBackend
    processor: Bound[Postprocessor]
    validate_stages: bool
    show_progress: bool
    results: dict[str, Any]
    started_at: str = attrs.field(factory=lambda: utc_now().isoformat())
    stages: list[dict[str, str | None]] = attrs.field(factory=list[dict[str, "str | None"]])
    workspace_dir: Path | None = None
    record_dir: Path | None = None
    report: RunReport | None = None
    until_started: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack)

    def generate(self) -> None:
        self.workspace_dir = self.until_started.enter_context(workspace_for(self.backend, self.model_run, None))
        self.results["staging_dir"] = str(self.workspace_dir)

    def run(self) -> None:
        workspace_dir = self._workspace()
        self.report = run_bound(
            self.backend,
            self.model_run,
            workspace_dir,
            has_started=self._has_started,
            take_note=self._take_note,
            show_progress=self.show_progress,
        )
        self.results["run_success"] = self.report.ok
        if not self.report.ok:
            limit = " (the wall-clock limit)" if self.report.state is RunState.TIMED_OUT else ""
            raise _StageError(self.report.reason + limit)

    def postprocess(self) -> None:
        # As for a backend: the inputs are there, and this is where.
        given = process_outputs(self.processor, GeneratedRun(self.model_run, self._workspace()))
        self.results["postprocess_results"] = given
        if not success_of(given):
            raise _StageError(message_of(given) or "the postprocessor reports failure")

    def _has_started(self, handle: RunHandle) -> None:
        self.until_started.close()
        record_dir: object = getattr(handle, "record_dir", None)
        if isinstance(record_dir, Path):
            self.record_dir = record_dir
            self.write_record(None)

    def _take_note(self, report: RunReport) -> None:
        self.report = report

    @contextlib.contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Note when the stage begins and, however it ends, when it does."""
        times: dict[str, str | None] = {"name": name, "started_at": utc_now().isoformat(), "finished_at": None}
        self.stages.append(times)
        if self.record_dir is None and self.report is not None:  # a run whose handle names no record
            self.write_record(None)
        try:
            yield
        finally:
            times["finished_at"] = utc_now().isoformat()

    def write_record(self, finished_at: str | None) -> None:
        """Write ``pipeline.json`` into the run's record, or into one of its own where no run came to be.

        Its ``success`` is null as long as nobody knows.
        """
        with contextlib.suppress(OSError):
            if self.record_dir is None:
                self.record_dir = self._record_of_the_run()
            if self.record_dir is None:
                return
            facts = {"started_at": self.started_at, "finished_at": finished_at, "stages": self.stages}
            unknown = {"success": None} if finished_at is None else {}
            write_json(self.record_dir / PIPELINE, {**facts, **plain(self.results), **unknown})

    def _record_of_the_run(self) -> Path | None:
        if self.report is not None and self.report.record_dir is not None:
            return self.report.record_dir
        workspace_dir = self.workspace_dir or expected_workspace(self.model_run)
        return new_record_dir(workspace_dir) if workspace_dir is not None and workspace_dir.is_dir() else None

    def _workspace(self) -> Path:
        workspace_dir = cast("Path", self.workspace_dir)
        if self.validate_stages and not workspace_dir.is_dir():
            raise _StageError(f"the workspace is gone: {str(workspace_dir)!r}")
        return workspace_dir


@final
class LocalPipelineBackend:
    """Runs the stages one after the other in this process."""

    def execute(  # noqa: PLR0913 - the signature of the interface, and two more
        self,
        model_run: Any,
        run_backend: Any = "local",
        processor: Any = "noop",
        run_kwargs: Mapping[str, Any] | None = None,
        process_kwargs: Mapping[str, Any] | None = None,
        cleanup_on_failure: bool = False,  # noqa: FBT001, FBT002 - the signature of the interface
        validate_stages: bool = True,  # noqa: FBT001, FBT002 - the signature of the interface
        backend_config: Any = None,
        *,
        show_progress: bool = False,
        **kwargs: Any,  # noqa: ARG002 - accepted and unused, as the interface has it
    ) -> dict[str, Any]:
        """Generate the inputs, run the model and process its outputs.

        Args:
            model_run: The model run, ours or one that is like it.
            run_backend: A name, a config or a backend object, as for ``ModelRun.run``.
            processor: A name, a config or a postprocessor object, as for ``ModelRun.postprocess``.
            run_kwargs: The run backend's options.
            process_kwargs: The postprocessor's options.
            cleanup_on_failure: Whether to remove what this execution made if a stage fails; the record is moved to
                ``output_dir/.rompy-failed/<run_id>/``. What was there before stays.
            validate_stages: Whether to look for the workspace before each stage that needs it.
            backend_config: What rompy 0.6 calls *run_backend*; only one of the two can be given.
            show_progress: Whether to show the run while it goes on, as for ``ModelRun.run``.
            kwargs: Ignored.

        Returns:
            ``success``, ``run_id``, ``stages_completed``, ``run_backend``, ``backend``, ``processor``,
            ``staging_dir``, ``run_success``, ``postprocess_results``, ``message``; on failure ``stage`` and ``error``.

        Raises:
            ValueError: The model run, a plugin's name or an option is wrong; nothing was written.
        """
        check_model_run(model_run)
        check_show_progress(show_progress)
        backend = bind_backend(_only_one(run_backend, backend_config), run_kwargs or {})
        processor = "noop" if processor is None else processor
        bound = bind_postprocessor(processor, process_kwargs or {})
        check_bound(backend, model_run)
        results: dict[str, Any] = {
            "success": False,
            "run_id": model_run.run_id,
            "stages_completed": [],
            "run_backend": backend.name,
            "backend": backend.name,
            "processor": processor if isinstance(processor, str) else kind_of(processor) or bound.name,
            "staging_dir": None,
            "run_success": False,
            "postprocess_results": None,
            "message": "",
        }
        execution = _Execution(model_run, backend, bound, validate_stages, show_progress, results)
        cleanup = Cleanup(model_run) if cleanup_on_failure else None
        try:
            with execution.until_started:
                _run_stages(execution)
        finally:
            # Also for an interrupt, which goes on after this.
            execution.write_record(utc_now().isoformat())
            if cleanup is not None and not results["success"]:
                _clean_up(execution, cleanup)
        return results


def _only_one(run_backend: object, backend_config: object) -> object:
    if backend_config is None:
        return "local" if run_backend is None else run_backend
    if run_backend not in (None, "local"):
        raise ConfigError("LocalPipelineBackend", ["backend_config: is another word for run_backend; give one of them"])
    return backend_config


def _run_stages(execution: _Execution) -> None:
    results = execution.results
    log = RunLogger(logger, results["run_id"], results["backend"])
    for stage in (execution.generate, execution.run, execution.postprocess):
        name = stage.__name__
        log.info("pipeline stage started: %s", name, extra={"stage": name})
        try:
            with execution.stage(name):
                stage()
        except BaseException as exc:
            error = exc.error if isinstance(exc, _StageError) else f"{type(exc).__name__}: {exc}".rstrip(": ")
            results.update(stage=name, error=error, message=f"pipeline failed at stage {name!r}: {error}")
            if not isinstance(exc, Exception):
                raise
            # Stages are code of other hands, which may raise anything; all of it ends up in the results.
            log.error(  # noqa: TRY400 - what a stage says of itself needs no traceback
                "pipeline failed: %s", error, extra={"stage": name}, exc_info=not isinstance(exc, _StageError)
            )
            return
        results["stages_completed"].append(name)
    results.update(success=True, message="pipeline completed: generate, run, postprocess")
    log.info("pipeline completed")


def _clean_up(execution: _Execution, cleanup: Cleanup) -> None:
    """Remove what this execution made, and keep its record; what goes wrong with that is a warning."""
    log = RunLogger(logger, execution.results["run_id"], execution.results["backend"])
    workspace_dir = execution.workspace_dir or expected_workspace(execution.model_run)
    try:
        kept = cleanup(workspace_dir, execution.record_dir)
    except (RompyError, OSError) as exc:
        log.warning("the workspace was not cleaned up: %s", exc)
        return
    execution.results["record_dir"] = str(kept) if kept else None
    if kept is not None and kept != execution.record_dir:
        remember_moved(execution.model_run, kept)


def _shown(results: object) -> str:
    if isinstance(results, Mapping):
        return f"a mapping with {sorted(map(str, cast('Mapping[object, object]', results)))}"
    return type(results).__name__
