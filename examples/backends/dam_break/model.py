"""The model: ANUGA (https://github.com/anuga-community/anuga_core) solves the shallow water equations for a dam break.

Usage: python model.py case.json, or: mpiexec -n 2 python model.py case.json

Reads what ``DamBreak.generate`` wrote, says ``Time = current / total`` as it goes, and writes ``dam.sww`` (NetCDF) to
the directory that it runs in. With MPI (and mpi4py) the mesh is shared out among the ranks. It knows nothing of
rompy-core.
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
    """Make the mesh, with the water at rest on both sides of the dam."""
    rows = max(2, case["cells"] // 50)
    domain = anuga.rectangular_cross_domain(case["cells"], rows, len1=LENGTH_M, len2=WIDTH_M)
    domain.set_flow_algorithm("DE1")  # second order in space and time
    domain.set_quantity("elevation", 0.0)
    domain.set_quantity("friction", 0.0)
    domain.set_quantity("stage", lambda x, _: np.where(x < DAM_M, case["upstream_m"], case["downstream_m"]))
    domain.set_name("dam")
    domain.set_datadir(".")
    return domain


def main(path: str) -> None:
    """Run the case in the file *path*."""
    case = json.loads(Path(path).read_text(encoding="utf-8"))
    total = float(case["duration_s"])
    domain = anuga.distribute(flooded_channel(case) if anuga.myid == 0 else None)
    wall = anuga.Reflective_boundary(domain)  # all around
    domain.set_boundary(dict.fromkeys(domain.get_boundary_tags(), wall))
    say(f"Ranks = {anuga.numprocs}")
    for time in domain.evolve(yieldstep=case["output_every_s"], finaltime=total):
        say(f"Time = {time:.1f} / {total:.1f}")
    domain.sww_merge(delete_old=True)  # each rank has written its own part
    anuga.finalize()


def say(line: str) -> None:
    """Print a line, once for all ranks.

    Flushed, for Python holds back what it prints to a file; without that, progress would come at the end.
    """
    if anuga.myid == 0:
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
