"""The docker SDK as most people use it: ``client.containers.run(..., remove=True)``, which gives the output."""

from __future__ import annotations

import os

import docker
from at_once import Ending, Request, serve_runs

CLIENT = docker.from_env(max_pool_size=32)


def run(request: Request) -> Ending:
    """Run one command."""
    volumes = {str(request.directory): {"bind": "/app/run_id", "mode": "rw"}}
    output = CLIENT.containers.run(os.environ["ROMPY_BENCHMARK_IMAGE"], request.argv, remove=True, volumes=volumes)
    stdout = request.directory / "stdout.log"
    stdout.write_bytes(output)
    return Ending(ok=True, stdout_path=stdout)


if __name__ == "__main__":
    serve_runs(run)
