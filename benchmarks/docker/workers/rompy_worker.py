"""Upstream's docker backend. It keeps no output."""

from __future__ import annotations

import logging
import os
import shlex
from types import SimpleNamespace

from at_once import Ending, Request, serve_runs
from rompy.backends import DockerConfig
from rompy.run.docker import DockerRunBackend


def run(request: Request) -> Ending:
    """Run one command."""
    config = DockerConfig(image=os.environ["ROMPY_BENCHMARK_IMAGE"], executable=shlex.join(request.argv), cpu=1)
    model_run = SimpleNamespace(run_id="case", output_dir=request.directory)
    return Ending(ok=DockerRunBackend().run(model_run, config, str(request.directory)))


if __name__ == "__main__":
    logging.getLogger("rompy").addHandler(logging.NullHandler())
    logging.getLogger("rompy").setLevel(logging.CRITICAL)
    serve_runs(run)
