"""Upstream's local backend as it is by default: buffered output. It keeps no file of it."""

from __future__ import annotations

import logging
import shlex
from types import SimpleNamespace

from rompy.backends import LocalConfig
from rompy.run import LocalRunBackend
from serving import Ending, Request, serve


def run(request: Request) -> Ending:
    """Run one command."""
    config = LocalConfig(command=shlex.join(request.argv))
    if request.timeout is not None:
        config = config.model_copy(update={"timeout": request.timeout})  # it accepts none below 60 s
    model_run = SimpleNamespace(run_id="case", output_dir=request.directory)
    try:
        return Ending(ok=LocalRunBackend().run(model_run, config, str(request.directory)))
    except TimeoutError:
        return Ending(ok=False, timed_out=True)


if __name__ == "__main__":
    logging.getLogger("rompy").addHandler(logging.NullHandler())
    logging.getLogger("rompy").setLevel(logging.WARNING)
    serve(run)
