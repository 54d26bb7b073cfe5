"""``docker run --rm``, its output to a file; other words after the file's name are options of it."""

from __future__ import annotations

import os
import subprocess
import sys

from at_once import Ending, Request, serve_runs

OPTIONS = [word for word in sys.argv[1:] if word.startswith("--network")]


def run(request: Request) -> Ending:
    """Run one command."""
    stdout = request.directory / "stdout.log"
    mount = f"type=bind,source={request.directory},target=/app/run_id"
    words = ["docker", "run", "--rm", *OPTIONS, "--mount", mount, os.environ["ROMPY_BENCHMARK_IMAGE"], *request.argv]
    with stdout.open("wb") as file:
        ended = subprocess.run(words, stdout=file, check=False)
    return Ending(ok=ended.returncode == 0, stdout_path=stdout)


if __name__ == "__main__":
    serve_runs(run)
