"""Ours: a whole ``ModelRun.run()``, from the name of the backend to the complete record; ``--stream`` also logs."""

from __future__ import annotations

import logging
import sys

from serving import Ending, Request, serve

from rompy_core import ModelRun, RunReport

STREAM = "--stream" in sys.argv


def run(request: Request) -> Ending:
    """Run one command."""
    model = ModelRun(run_id="case", output_dir=request.directory)
    try:
        ok = model.run(
            "local@rompy-local",
            command=request.argv,
            timeout=request.timeout,
            grace_s=request.grace_s,
            stream_output=STREAM,
        )
    except TimeoutError:
        return Ending(ok=False, timed_out=True)
    report = model.report
    return Ending(ok=ok, stdout_path=report.stdout_path if isinstance(report, RunReport) else None)


if __name__ == "__main__":
    logger = logging.getLogger("rompy_local")
    logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.INFO if STREAM else logging.WARNING)
    serve(run)
