"""What the workers of this folder share: the conversation of the local ones, and ``--at-once N``."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "local" / "workers"))

from serving import Ending, Request, Run, serve

__all__ = ["Ending", "Request", "serve_runs"]


def serve_runs(run: Run) -> None:
    """Answer requests; with ``--at-once N``, each of them by N runs side by side."""
    count = int(sys.argv[sys.argv.index("--at-once") + 1]) if "--at-once" in sys.argv else 1
    if count == 1:
        serve(run)
        return

    def all_of_them(request: Request) -> Ending:
        requests = []
        for number in range(count):
            directory = request.directory / str(number)
            directory.mkdir()
            requests.append(Request(request.argv, directory, request.timeout, request.grace_s))
        with ThreadPoolExecutor(count) as pool:
            return Ending(ok=all(ending.ok for ending in pool.map(run, requests)))

    serve(all_of_them)
