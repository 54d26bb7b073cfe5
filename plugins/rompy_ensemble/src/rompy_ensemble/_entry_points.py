"""What the entry points of this distribution refer to: functions that import what they make only then."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from rompy_ensemble._dask_pipeline import DaskPipelineBackend


def rompy_ensemble_threads(*, max_workers: int) -> Executor:
    """Make the executor ``threads``: a thread of this process waits for each member's own process."""
    return ThreadPoolExecutor(max_workers, thread_name_prefix="rompy-ensemble")


@final
class DaskExecutors:
    """Makes the executor ``dask``: workers of this machine, of a scheduler, or in the jobs of a queue."""

    def __call__(self, *, max_workers: int, **options: Any) -> Executor:
        """Start what the options, those of ``DaskConfig``, ask for."""
        from rompy_ensemble._dask import make_executor

        return make_executor(max_workers, options)

    def check(self, **options: Any) -> None:
        """Find what is wrong with the options, or what is not installed."""
        from rompy_ensemble._dask import check_options

        check_options(options)


rompy_ensemble_dask = DaskExecutors()


def rompy_ensemble_dask_pipeline() -> DaskPipelineBackend:
    """Make the pipeline backend ``dask``, which runs all stages on one worker."""
    from rompy_ensemble._dask_pipeline import DaskPipelineBackend

    return DaskPipelineBackend()
