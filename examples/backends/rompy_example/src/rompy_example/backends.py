"""A run backend: how and where the model is executed."""

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


class ScratchRunBackend:
    """Runs a model on a fast scratch disk and brings its files home, for workspaces on a slow network disk.

    This is all that a run backend must have. What it does not have is what rompy-local adds: progress, limits, an end
    for the whole process tree, measurements.
    """

    def run(
        self,
        model_run: Any,
        *,
        command: Sequence[str],
        scratch_dir: str | None = None,
        env_vars: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> bool:
        """Run *command* in a copy of the workspace.

        Options that have a name of their own are checked before anything is written; ``**kwargs`` would take any.

        Args:
            model_run: The run; its ``generate()`` gives the workspace.
            command: What to run.
            scratch_dir: The fast disk, or ``None`` for the system's temporary directory.
            env_vars: Added to the environment.
            timeout: How many seconds the command may take, or ``None`` for no limit.

        Returns:
            ``True`` only if the command ended with exit code 0.
        """
        workspace = Path(model_run.generate())
        with tempfile.TemporaryDirectory(prefix=f"{model_run.run_id}-", dir=scratch_dir) as scratch:
            # Below .rompy are the records of runs; they belong to rompy-core and stay at home.
            shutil.copytree(workspace, scratch, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".rompy"))
            try:
                with (workspace / "model.log").open("wb") as log:
                    ended = subprocess.run(
                        command,
                        cwd=scratch,
                        env={**os.environ, **(env_vars or {})},
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        timeout=timeout,
                        check=False,
                    )
            finally:
                # Also after a timeout, whose exception ends up in the report: what is there may say why.
                shutil.copytree(scratch, workspace, dirs_exist_ok=True)
        if ended.returncode != 0:
            logger.error("exit code %d, see %s", ended.returncode, log.name, extra={"run_id": model_run.run_id})
        return ended.returncode == 0
