"""A pipeline: which runs are made, and in which order."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

logger = logging.getLogger(__name__)


class ConvergencePipeline:
    """Repeats a run on finer and finer grids, until one number of its results hardly changes any more."""

    def execute(  # noqa: PLR0913 - its own options, and those of the pipeline that it repeats
        self,
        model_run: Any,
        *,
        refine: str,
        values: Sequence[float],
        metric: str,
        tolerance: float = 0.01,
        run_backend: str = "local",
        run_kwargs: Mapping[str, Any] | None = None,
        processor: str,
        process_kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Generate, run and postprocess once for each of *values*, as far as it needs to go.

        Args:
            model_run: The run to repeat; the repetitions have their workspaces below its own.
            refine: The field of its config that is varied.
            values: What that field is set to, from coarse to fine.
            metric: The number to look at, among the ``metrics`` of the postprocessor.
            tolerance: The relative change from one grid to the next that is small enough.
            run_backend: As for the pipeline ``local``, which does each repetition; so are the next three.
            run_kwargs: The run backend's options.
            processor: What gives the metric.
            process_kwargs: The postprocessor's options.

        Returns:
            ``success``, ``run_id``, ``stages_completed`` and ``message``, as of any pipeline, and ``metrics``: those
            of each repetition, by its value.
        """
        metrics: dict[float, Mapping[str, float]] = {}
        results = {"success": False, "run_id": model_run.run_id, "stages_completed": [], "metrics": metrics}
        previous: float | None = None
        for value in values:
            member = self._member(model_run, refine, value)
            made = member.pipeline(
                "local",
                run_backend=run_backend,
                run_kwargs=run_kwargs,
                processor=processor,
                process_kwargs=process_kwargs,
            )
            if not made["success"]:
                return {**results, "stage": member.run_id, "error": made["error"], "message": made["message"]}
            results["stages_completed"].append(member.run_id)
            metrics[value] = made["postprocess_results"]["metrics"]
            found = metrics[value][metric]
            logger.info("%s %g: %s %.4g", refine, value, metric, found, extra={"run_id": model_run.run_id})
            if previous is not None and abs(found - previous) <= tolerance * abs(previous):
                return {**results, "success": True, "message": f"{metric} has converged at {refine} {value:g}"}
            previous = found
        message = f"{metric} has not converged to {tolerance:g} by {refine} {values[-1]:g}"
        return {**results, "stage": "convergence", "error": message, "message": message}

    def _member(self, model_run: Any, refine: str, value: float) -> Any:
        """Make one repetition: the same run under another name, with another config."""
        config = attrs.evolve(model_run.config, **{refine: value})
        return attrs.evolve(model_run, run_id=f"{refine}-{value:g}", output_dir=model_run.workspace_dir, config=config)
