"""The model: ANUGA (https://github.com/anuga-community/anuga_core) solves the shallow water equations for a dam break.

Usage: python model.py case.json

Reads what ``DamBreak.generate`` wrote, says ``Time = current / total`` as it goes, and writes ``dam.sww`` (NetCDF) to
the directory that it runs in. It knows nothing of rompy-core.
"""

import json
import sys
from pathlib import Path
from typing import Any

import anuga
import numpy as np

LENGTH_M = 1000.0
WIDTH_M = 20.0
DAM_M = 500.0


def flooded_channel(case: dict[str, Any]) -> Any:
    """Make the mesh, with the water at rest on both sides of the dam and walls all around."""
    rows = max(2, case["cells"] // 50)
    domain = anuga.rectangular_cross_domain(case["cells"], rows, len1=LENGTH_M, len2=WIDTH_M)
    domain.set_flow_algorithm("DE1")  # second order in space and time
    domain.set_quantity("elevation", 0.0)
    domain.set_quantity("friction", 0.0)
    domain.set_quantity("stage", lambda x, _: np.where(x < DAM_M, case["upstream_m"], case["downstream_m"]))
    wall = anuga.Reflective_boundary(domain)
    domain.set_boundary(dict.fromkeys(domain.get_boundary_tags(), wall))
    domain.set_name("dam")
    domain.set_datadir(".")
    return domain


def main(path: str) -> None:
    """Run the case in the file *path*."""
    case = json.loads(Path(path).read_text(encoding="utf-8"))
    total = float(case["duration_s"])
    for time in flooded_channel(case).evolve(yieldstep=case["output_every_s"], finaltime=total):
        # Flushed, for Python holds back what it prints to a file; without that, progress would come at the end.
        print(f"Time = {time:.1f} / {total:.1f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
