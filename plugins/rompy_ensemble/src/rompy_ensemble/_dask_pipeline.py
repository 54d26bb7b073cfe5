"""The pipeline backend ``dask``: all stages of one model run, on one worker."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, final

from rompy_core import LocalPipelineBackend, expected_workspace
from rompy_ensemble._attempts import cancel_run, check_stages, is_live
from rompy_ensemble._dask import make_executor
from rompy_ensemble._files import wait_for

_TICK_S: Final = 0.25


@final
class DaskPipelineBackend:
    """Runs the stages one after the other on a worker of Dask."""

    def execute(
        self,
        model_run: Any,
        run_backend: Any = "local",
        processor: Any = "noop",
        run_kwargs: Mapping[str, Any] | None = None,
        process_kwargs: Mapping[str, Any] | None = None,
        *,
        dask: Mapping[str, Any] | None = None,
        live_timeout: float = 60.0,
        **options: Any,
    ) -> dict[str, Any]:
        """Generate the inputs, run the model and process its outputs, on one worker.

        Args:
            model_run: The model run; it has to pickle.
            run_backend: As for the pipeline ``local``.
            processor: As for the pipeline ``local``.
            run_kwargs: The run backend's options.
            process_kwargs: The postprocessor's options.
            dask: Which workers, by the options of ``DaskConfig``; the default is one worker on this machine.
            live_timeout: Where a worker died: how many seconds the next one waits until the run of the first has ended.
            options: Further options of the pipeline ``local``.

        Returns:
            What the pipeline ``local`` gives, with ``pipeline_backend`` as ``dask``.

        Raises:
            ValueError: The model run, a plugin's name or an option is wrong; nothing was written.
            OSError: The scheduler did not answer in time.
            KeyboardInterrupt: After the run has been ended.
        """
        arguments = (run_backend, processor, run_kwargs, process_kwargs)
        check_stages(model_run, *arguments)
        workspace_dir = _workspace_of(model_run)
        executor = make_executor(1, dask or {})
        try:
            future = executor.submit(_execute, model_run, arguments, options, workspace_dir, live_timeout)
            try:
                return _result(future)
            except BaseException:
                _end(future, workspace_dir)
                raise
        finally:
            executor.shutdown(cancel_futures=True)


def _result(future: Future[dict[str, Any]]) -> dict[str, Any]:
    while True:
        with contextlib.suppress(TimeoutError):
            return {**future.result(_TICK_S), "pipeline_backend": "dask"}


def _end(future: Future[Any], workspace_dir: Path | None) -> None:
    """End the run, and wait until the worker has said so."""
    while workspace_dir is not None and not future.done():
        cancel_run(workspace_dir)
        with contextlib.suppress(Exception):
            future.result(_TICK_S)


def _execute(
    model_run: Any,
    arguments: tuple[Any, ...],
    options: Mapping[str, Any],
    workspace_dir: Path | None,
    live_timeout: float,
) -> dict[str, Any]:
    if workspace_dir is not None:
        wait_for(lambda: not is_live(workspace_dir), live_timeout, lambda: False)
    return LocalPipelineBackend().execute(model_run, *arguments, **options)


def _workspace_of(model_run: Any) -> Path | None:
    """Say where the run will be: the same place for the worker."""
    path = expected_workspace(model_run)
    return None if path is None else Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symbolic links
