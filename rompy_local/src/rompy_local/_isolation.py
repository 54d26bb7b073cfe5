"""Isolation by bubblewrap: what the command line looks like. Nothing is started here.

The file system is read-only but for the workspace and what is named writable; ``/tmp`` and ``/dev/shm`` are private;
the command has a PID namespace of its own, so nothing of it outlives it.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rompy_local._config import LocalConfig

PROGRAM: Final = "bwrap"
_NAMESPACES: Final = ("--dev", "/dev", "--proc", "/proc", "--unshare-pid", "--die-with-parent")


def wrapped(argv: Sequence[str], config: LocalConfig, workspace_dir: Path, env: Mapping[str, str]) -> Sequence[str]:
    """Give the words that run *argv* in isolation, in the config's working directory.

    Raises:
        FileNotFoundError: There is no such program, which bubblewrap itself would report as an ordinary failure.
    """
    start_dir = config.start_dir(workspace_dir)
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=env.get("PATH", os.defpath))
    if program is None or not (start_dir / program).exists():
        raise FileNotFoundError(f"the command {argv[0]!r} cannot be executed: No such file or directory")
    words = [PROGRAM, "--ro-bind", "/", "/", *_NAMESPACES, "--tmpfs", "/tmp", "--bind", *_twice(workspace_dir)]  # noqa: S108 - a new one, inside
    for path in config.writable:
        words += ["--bind", *_twice(workspace_dir / path)]
    for path in config.read_only:
        words += ["--ro-bind", *_twice(workspace_dir / path)]
    if not config.network:
        words.append("--unshare-net")
    return [*words, "--chdir", str(start_dir), "--", *argv]


@functools.cache
def problem() -> str:
    """Say why isolation cannot be had on this machine; empty where it can."""
    if shutil.which(PROGRAM) is None:
        return f"needs bubblewrap, and there is no {PROGRAM!r} on PATH; install the system's package bubblewrap"
    trial = [PROGRAM, "--ro-bind", "/", "/", *_NAMESPACES, "true"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return "" if done.returncode == 0 else f"bubblewrap does not work here: {done.stderr.strip()}"


def _twice(path: Path) -> tuple[str, str]:
    return str(path), str(path)
