"""BenchExec's ``RunExecutor``, which is what runexec runs; in a container unless ``--no-container``.

The container sees the file system read-only. The default, an overlay over all of it, needs a program that is rarely
installed wherever the root file system is an overlay itself, as it is on many machines.
"""

from __future__ import annotations

import logging
import sys

from benchexec.container import DIR_HIDDEN, DIR_READ_ONLY
from benchexec.runexecutor import RunExecutor
from serving import Ending, Request, serve


def run(request: Request) -> Ending:
    """Run one command."""
    stdout_path = request.directory / "stdout.log"
    result = EXECUTOR.execute_run(
        args=request.argv,
        output_filename=str(stdout_path),
        walltimelimit=request.timeout,
        write_header=False,
    )
    code = result.get("exitcode")
    return Ending(
        ok=code is not None and code.value == 0,
        timed_out=result.get("terminationreason") == "walltime",
        stdout_path=stdout_path,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    modes = {"/": DIR_READ_ONLY, "/run": DIR_HIDDEN, "/tmp": DIR_HIDDEN}  # its defaults but for the first
    EXECUTOR = RunExecutor(use_namespaces="--no-container" not in sys.argv, dir_modes=modes)
    serve(run)
