"""Generate, run and postprocess, in order, each once."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast, final

import attrs

from rompy_core._binding import BoundBackend, as_config, bind_backend, check_bound, check_call, config_type_of
from rompy_core._cleanup import Cleanup
from rompy_core._errors import PluginContractError, RompyError
from rompy_core._foreign import (
    GeneratedRun,
    check_model_run,
    expected_workspace,
    generate_workspace,
    message_of,
    success_of,
)
from rompy_core._logs import RunLogger
from rompy_core._plain import plain
from rompy_core._plugins import POSTPROCESSORS, load
from rompy_core._records import PIPELINE, new_record_dir, utc_now, write_json
from rompy_core._reports import RunReport, RunState
from rompy_core._running import refuse_live_workspace, remember_moved, run_bound

logger = logging.getLogger(__name__)


def bind_postprocessor(processor: object, options: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Find the postprocessor and check its options; nothing is processed yet.

    Args:
        processor: A plugin's name, or a postprocessor object.
        options: The postprocessor's options.

    Returns:
        What takes a model run and gives the results.

    Raises:
        PluginError: The postprocessor cannot be used.
        ConfigError: An option is wrong.
    """
    if isinstance(processor, str):
        plugin, name = load(POSTPROCESSORS, processor), processor
    elif not POSTPROCESSORS.accepts(processor):
        detail = "give a name, or an object with process(model_run, **kwargs)"
        raise PluginContractError(POSTPROCESSORS.group, type(processor).__name__, detail)
    else:
        plugin, name = processor, type(processor).__name__
    config_type = config_type_of(plugin, POSTPROCESSORS.group, name)
    if config_type is not None:
        keywords: dict[str, Any] = {"config": as_config(config_type, options)}
    else:
        check_call(plugin.process, options, name)
        keywords = dict(options)

    def process(model_run: Any) -> Any:
        check_model_run(model_run)
        return check_results(plugin.process(model_run, **keywords), POSTPROCESSORS.group, name)

    return process


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
    process: Callable[[Any], Any]
    validate_stages: bool
    results: dict[str, Any]
    workspace_dir: Path | None = None
    report: RunReport | None = None

    def generate(self) -> None:
        refuse_live_workspace(self.backend, self.model_run)
        self.workspace_dir = generate_workspace(self.model_run)
        self.results["staging_dir"] = str(self.workspace_dir)

    def run(self) -> None:
        workspace_dir = self._workspace()
        self.report = run_bound(self.backend, self.model_run, workspace_dir, self._take_note)
        self.results["run_success"] = self.report.ok
        if not self.report.ok:
            limit = " (the wall-clock limit)" if self.report.state is RunState.TIMED_OUT else ""
            raise _StageError(self.report.reason + limit)

    def postprocess(self) -> None:
        # As for a backend: the inputs are there, and this is where.
        given = self.process(GeneratedRun(self.model_run, self._workspace()))
        self.results["postprocess_results"] = given
        if not success_of(given):
            raise _StageError(message_of(given) or "the postprocessor reports failure")

    def _take_note(self, report: RunReport) -> None:
        self.report = report

    def _workspace(self) -> Path:
        workspace_dir = cast("Path", self.workspace_dir)
        if self.validate_stages and not workspace_dir.is_dir():
            raise _StageError(f"the workspace is gone: {str(workspace_dir)!r}")
        return workspace_dir


@final
class LocalPipelineBackend:
    """Runs the stages one after the other in this process."""

    def execute(
        self,
        model_run: Any,
        run_backend: Any = "local",
        processor: Any = "noop",
        run_kwargs: Mapping[str, Any] | None = None,
        process_kwargs: Mapping[str, Any] | None = None,
        cleanup_on_failure: bool = False,  # noqa: FBT001, FBT002 - the signature of the interface
        validate_stages: bool = True,  # noqa: FBT001, FBT002 - the signature of the interface
        **kwargs: Any,  # noqa: ARG002 - accepted and unused, as the interface has it
    ) -> dict[str, Any]:
        """Generate the inputs, run the model and process its outputs.

        Args:
            model_run: The model run, ours or one that is like it.
            run_backend: A name, a config or a backend object, as for ``ModelRun.run``.
            processor: A name or a postprocessor object.
            run_kwargs: The run backend's options.
            process_kwargs: The postprocessor's options.
            cleanup_on_failure: Whether to remove what this execution made if a stage fails; the record is moved to
                ``output_dir/.rompy-failed/<run_id>/``. What was there before stays.
            validate_stages: Whether to look for the workspace before each stage that needs it.
            kwargs: Ignored.

        Returns:
            ``success``, ``run_id``, ``stages_completed``, ``run_backend``, ``backend``, ``processor``,
            ``staging_dir``, ``run_success``, ``postprocess_results``, ``message``; on failure ``stage`` and ``error``.

        Raises:
            ValueError: The model run, a plugin's name or an option is wrong; nothing was written.
        """
        check_model_run(model_run)
        backend = bind_backend(run_backend, run_kwargs or {})
        process = bind_postprocessor(processor, process_kwargs or {})
        check_bound(backend, model_run)
        results: dict[str, Any] = {
            "success": False,
            "run_id": model_run.run_id,
            "stages_completed": [],
            "run_backend": backend.name,
            "backend": backend.name,
            "processor": processor if isinstance(processor, str) else type(processor).__name__,
            "staging_dir": None,
            "run_success": False,
            "postprocess_results": None,
            "message": "",
        }
        execution = _Execution(model_run, backend, process, validate_stages, results)
        cleanup = Cleanup(model_run) if cleanup_on_failure else None
        started_at = utc_now()
        try:
            _run_stages(execution)
        finally:
            # Also for an interrupt, which goes on after this.
            record_dir = _write_record(execution, started_at.isoformat())
            if cleanup is not None and not results["success"]:
                _clean_up(execution, cleanup, record_dir)
        return results


def _run_stages(execution: _Execution) -> None:
    results = execution.results
    log = RunLogger(logger, results["run_id"], results["backend"])
    for stage in (execution.generate, execution.run, execution.postprocess):
        name = stage.__name__
        log.info("pipeline stage started: %s", name, extra={"stage": name})
        try:
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


def _write_record(execution: _Execution, started_at: str) -> Path | None:
    """Write ``pipeline.json`` into the run's record, or into one of its own where no run came to be."""
    record_dir = execution.report.record_dir if execution.report else None
    with contextlib.suppress(OSError):
        workspace_dir = execution.workspace_dir or expected_workspace(execution.model_run)
        if record_dir is None and workspace_dir is not None and workspace_dir.is_dir():
            record_dir = new_record_dir(workspace_dir)
        if record_dir is not None:
            facts = {"started_at": started_at, "finished_at": utc_now().isoformat()}
            write_json(record_dir / PIPELINE, {**facts, **plain(execution.results)})
    return record_dir


def _clean_up(execution: _Execution, cleanup: Cleanup, record_dir: Path | None) -> None:
    """Remove what this execution made, and keep its record; what goes wrong with that is a warning."""
    log = RunLogger(logger, execution.results["run_id"], execution.results["backend"])
    workspace_dir = execution.workspace_dir or expected_workspace(execution.model_run)
    try:
        kept = cleanup(workspace_dir, record_dir)
    except (RompyError, OSError) as exc:
        log.warning("the workspace was not cleaned up: %s", exc)
        return
    execution.results["record_dir"] = str(kept) if kept else None
    if kept is not None and kept != record_dir:
        remember_moved(execution.model_run, kept)


def _shown(results: object) -> str:
    if isinstance(results, Mapping):
        return f"a mapping with {sorted(map(str, cast('Mapping[object, object]', results)))}"
    return type(results).__name__
