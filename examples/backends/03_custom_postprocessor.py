"""Write a postprocessor: a class that reads the model's NetCDF output and gives back numbers.

    uv run --group examples python examples/backends/03_custom_postprocessor.py

A postprocessor is any object with ``process(model_run, ...)`` that gives a mapping with ``success``. This one asks
what every flood modeller asks first: has the model lost or made any water?
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from dam_break import RULES, DamBreak
from numpy.typing import NDArray

from rompy_core import ModelRun


class WaterBalance:
    """Checks that the volume of water stays what it was, and says how deep and how fast the water became."""

    def process(self, model_run: Any, *, output: str = "*.sww", max_drift: float = 1e-6) -> dict[str, Any]:
        """Give the water balance of a run.

        Args:
            model_run: The run.
            output: The name of ANUGA's output in the workspace, or a pattern for it.
            max_drift: How much of the volume may be lost or made, relative to what was there at the start.

        Returns:
            ``success``, ``metrics`` and ``message``. An output that is missing or unreadable is no exception but a
            failure with the reason in its message, and a pipeline ends there.
        """
        workspace = Path(model_run.workspace_dir)
        found = sorted(workspace.glob(output))
        if not found:
            return {"success": False, "metrics": {}, "message": f"there is no {output} in {workspace}"}
        try:
            metrics = water_balance(found[0])
        except (OSError, KeyError, ValueError) as exc:  # no NetCDF, no output of ANUGA, or a damaged one
            return {"success": False, "metrics": {}, "message": f"{found[0]} cannot be read: {exc}"}
        drift = metrics["relative_drift"]
        return {
            "success": abs(drift) <= max_drift,
            "metrics": metrics,
            "message": f"the volume of water changed by {drift:.1e} of itself, allowed is {max_drift:.0e}",
        }


def water_balance(path: Path) -> dict[str, float]:
    """Read ANUGA's output, whose ``_c`` variables are means over triangles, and sum up the water."""
    with xr.open_dataset(path, engine="netcdf4") as sww:
        corners = sww["volumes"].to_numpy()
        area = triangle_areas(sww["x"].to_numpy()[corners], sww["y"].to_numpy()[corners])
        depth = (sww["stage_c"] - sww["elevation_c"]).to_numpy().astype(np.float64)
        momentum = np.hypot(sww["xmomentum_c"].to_numpy(), sww["ymomentum_c"].to_numpy())
    volume = depth @ area
    speed = np.divide(momentum, depth, out=np.zeros_like(depth), where=depth > 0.001)
    return {
        "volume_m3": float(volume[-1]),
        "relative_drift": float(volume[-1] / volume[0] - 1),
        "max_depth_m": float(depth.max()),
        "max_speed_m_s": float(speed.max()),
    }


def triangle_areas(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the areas of triangles from the coordinates of their corners, a row for each triangle."""
    (x0, x1, x2), (y0, y1, y2) = x.T.astype(np.float64), y.T.astype(np.float64)
    return np.asarray(np.abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)) / 2)


def main() -> int:
    """Run the model and postprocess it; gives the exit code."""
    model = ModelRun(run_id="water-balance", config=DamBreak(cells=100), delete_existing=True)
    command = [sys.executable, "model.py", "case.json"]
    print("running the dam break ...", flush=True)
    if not model.run("local", command=command, env_vars={"OMP_NUM_THREADS": "1"}, timeout=300, rules=RULES):
        print(f"failed: {model.report.reason if model.report else 'no report'}")
        return 1

    results = model.postprocess(processor=WaterBalance())
    print(f"success: {results['success']}, {results['message']}")
    for name, value in results["metrics"].items():
        print(f"  {name:<16}{value:>12.6g}")

    # A run that has no output: a failure that says why, not an exception.
    empty = ModelRun(run_id="never-run").postprocess(processor=WaterBalance())
    print(f"success: {empty['success']}, {empty['message']}")
    return 0 if results["success"] and not empty["success"] else 1


if __name__ == "__main__":
    sys.exit(main())
