"""con-duct's ``execute()`` with the defaults of its command line; ``--to-file`` does not pass the output on."""

from __future__ import annotations

import logging
import sys

from con_duct import execute
from con_duct._duct_main import EXECUTION_SUMMARY_FORMAT
from con_duct._models import Outputs, RecordTypes, SessionMode
from serving import Ending, Request, serve

OUTPUTS = Outputs.NONE if "--to-file" in sys.argv else Outputs.ALL


def run(request: Request) -> Ending:
    """Run one command; it has no timeout."""
    if request.timeout is not None:
        raise NotImplementedError("has no timeout")
    code = execute(
        command=request.argv[0],
        command_args=request.argv[1:],
        output_prefix=f"{request.directory}/duct_",
        sample_interval=1.0,
        report_interval=60.0,
        fail_time=3.0,
        clobber=False,
        capture_outputs=Outputs.ALL,
        outputs=OUTPUTS,
        record_types=RecordTypes.ALL,
        summary_format=EXECUTION_SUMMARY_FORMAT,
        colors=False,
        mode=SessionMode.NEW_SESSION,
    )
    return Ending(ok=code == 0, stdout_path=request.directory / "duct_stdout")


if __name__ == "__main__":
    logging.getLogger("con-duct").setLevel(logging.WARNING)
    serve(run)
