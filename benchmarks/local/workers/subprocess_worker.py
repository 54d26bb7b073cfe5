"""``subprocess.run``, with the output in a file; also starts the command lines of contenders that have one.

``--expect TEXT``: a run succeeded where its output contains that, too, for a program whose exit code says nothing.
"""

from __future__ import annotations

import subprocess
import sys

from serving import Ending, Request, serve

EXPECTED = sys.argv[sys.argv.index("--expect") + 1] if "--expect" in sys.argv else None


def run(request: Request) -> Ending:
    """Run one command."""
    stdout_path = request.directory / "stdout.log"
    with stdout_path.open("wb") as stdout:
        try:
            ended = subprocess.run(
                request.argv,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.DEVNULL,
                cwd=request.directory,
                timeout=request.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Ending(ok=False, timed_out=True)
    ok = ended.returncode == 0 and (EXPECTED is None or EXPECTED in stdout_path.read_text())
    return Ending(ok=ok, stdout_path=stdout_path)


if __name__ == "__main__":
    serve(run)
