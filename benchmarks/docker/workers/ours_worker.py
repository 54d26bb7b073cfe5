"""Ours: a whole ``ModelRun.run()``, all defaults on, from the name of the backend to the complete record."""

from __future__ import annotations

import logging
import os
import sys

from at_once import Ending, Request, serve_runs

from rompy_core import ModelRun, RunReport

STREAM = "--stream" in sys.argv


def run(request: Request) -> Ending:
    """Run one command."""
    model = ModelRun(run_id="case", output_dir=request.directory)
    ok = model.run(
        "docker@rompy-docker",
        image=os.environ["ROMPY_BENCHMARK_IMAGE"],
        executable=request.argv,
        stream_output=STREAM,
    )
    report = model.report
    return Ending(ok=ok, stdout_path=report.stdout_path if isinstance(report, RunReport) else None)


if __name__ == "__main__":
    logger = logging.getLogger("rompy_docker")
    logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.INFO if STREAM else logging.WARNING)
    serve_runs(run)
