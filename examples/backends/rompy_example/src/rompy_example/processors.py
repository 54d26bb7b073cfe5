"""A postprocessor: what is made of the outputs."""

from pathlib import Path
from typing import Any

import numpy as np
from netCDF4 import Dataset
from numpy.typing import NDArray


class GaugePostprocessor:
    """Writes the water level at one place of ANUGA's output, and says when the wave arrives and how high it gets."""

    def process(self, model_run: Any, *, x: float, y: float, rise_m: float = 0.5) -> dict[str, Any]:
        """Read the gauge.

        Args:
            model_run: The run.
            x: Where the gauge is, in metres; the nearest node of the mesh is read.
            y: As *x*.
            rise_m: The wave has arrived when the water stands so much higher than at the start.

        Returns:
            ``success``, ``metrics`` (``max_stage_m``, and ``arrival_s`` after the start), ``file`` and ``message``.
        """
        workspace = Path(model_run.workspace_dir)
        output = next(iter(sorted(workspace.glob("*.sww"))), None)
        if output is None:
            return {"success": False, "metrics": {}, "message": f"there is no *.sww in {workspace}"}
        time, stage = read_gauge(output, x, y)
        file = workspace / "gauge.csv"
        np.savetxt(file, np.column_stack([time, stage]), "%.3f", delimiter=",", header="time_s,stage_m", comments="")
        if stage.max() < stage[0] + rise_m:
            return {"success": False, "metrics": {}, "file": str(file), "message": "the wave has not arrived"}
        return {
            "success": True,
            "metrics": {"max_stage_m": float(stage.max()), "arrival_s": arrival(time, stage, stage[0] + rise_m)},
            "file": str(file),
            "message": f"{len(time)} water levels written to {file}",
        }


def read_gauge(path: Path, x: float, y: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read the times (s) and the water levels (m) at the node nearest to *x* and *y*."""
    with Dataset(path) as sww:
        sww.set_auto_mask(False)
        node = int(np.hypot(sww["x"][:] - x, sww["y"][:] - y).argmin())
        return np.asarray(sww["time"][:], np.float64), np.asarray(sww["stage"][:, node], np.float64)


def arrival(time: NDArray[np.float64], stage: NDArray[np.float64], level: float) -> float:
    """Give the time when *stage* first passes *level*, on the line between the two outputs around it."""
    after = int((stage >= level).argmax())
    around = slice(after - 1, after + 1)
    return float(np.interp(level, stage[around], time[around]))
