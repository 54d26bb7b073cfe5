"""The model: ANUGA (https://github.com/anuga-community/anuga_core) solves the shallow water equations for a tidal lake.

Usage: python model.py case.json

Reads what ``Merimbula.generate`` wrote, says ``Time = current / total`` as it goes, and writes ``lake.sww`` (NetCDF) to
the directory that it runs in. It knows nothing of rompy-core.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import anuga

MESH = Path(anuga.__file__).parent / "parallel" / "data" / "merimbula_10785_1.tsh"
M2_S = 44714.0


def lake(case: dict[str, Any]) -> Any:
    """Make the lake, at rest, with the tide at its open edge."""
    domain = anuga.create_domain_from_file(str(MESH))
    domain.set_quantity("friction", case["friction"])
    domain.set_quantity("stage", 0.0)
    domain.set_name("lake")
    domain.set_datadir(".")
    boundaries = dict.fromkeys(domain.get_boundary_tags(), anuga.Reflective_boundary(domain))
    boundaries["open"] = anuga.Transmissive_n_momentum_zero_t_momentum_set_stage_boundary(
        domain, lambda time: case["amplitude"] * math.sin(2 * math.pi * time / M2_S)
    )
    domain.set_boundary(boundaries)
    return domain


def main(path: str) -> None:
    """Run the case in the file *path*."""
    case = json.loads(Path(path).read_text(encoding="utf-8"))
    total = float(case["duration_s"])
    for time in lake(case).evolve(yieldstep=case["output_every_s"], finaltime=total):
        print(f"Time = {time:.1f} / {total:.1f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
