"""Run a real model in a container, with two MPI ranks: build its image, run it limited, check what it computed.

    uv run --group examples python examples/backends/02_docker_run.py

The model and the case are those of ``01_basic_local_run.py``; here ANUGA is in the image, with Open MPI. Needs a Docker
engine and pip; with the Debian package mmdebstrap, no image registry. All that it writes on this machine is below
``simulations/``. Exit code 0 means: the run worked, with two ranks, and the depth of the water is right.
"""

import contextlib
import logging
import sys
from pathlib import Path

import attrs
from dam_break import RULES, DamBreak, StokerCheck
from dam_break.docker_image import image_options

from rompy_core import ModelRun

RANKS = 2


def main() -> int:
    """Run the model in a container and show what came of it; gives the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    model = ModelRun(run_id="dam-break-docker", config=DamBreak(cells=200), delete_existing=True)

    with contextlib.suppress(TimeoutError):  # the report says it too
        model.run(
            backend="docker",
            **image_options(Path("simulations/dam-break-image")),
            executable="python3 model.py case.json",
            mpiexec="mpiexec",
            cpu=RANKS,
            memory="2g",
            env_vars={"OMP_NUM_THREADS": "1", "HOME": "/tmp"},  # ANUGA leaves a cache at home
            timeout=300,
            # Without its MPI library, ANUGA runs the whole case on each rank, and all seems well.
            rules=attrs.evolve(RULES, success=rf"^Ranks = {RANKS}$"),
        )

    report = model.report
    if report is None:
        return 1
    print(f"\nstate        {report.state}\nreason       {report.reason}")
    if report.ok:
        check = model.postprocess(StokerCheck())
        print(f"wall time    {report.wall_time_s:.1f} s")
        print(f"peak memory  {(report.peak_rss_bytes or 0) / 1e6:.0f} MB, of {RANKS} ranks")
        print(f"result       {check['message']}")
    print(f"report       {report.record_dir}/report.json")
    return 0 if report.ok and check["success"] else 1


if __name__ == "__main__":
    sys.exit(main())
