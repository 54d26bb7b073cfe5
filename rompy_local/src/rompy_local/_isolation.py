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
_TMP: Final = Path("/tmp")  # noqa: S108 - the command gets one of its own
_NAMESPACES: Final = ("--dev", "/dev", "--proc", "/proc", "--unshare-pid", "--die-with-parent")


def wrapped(
    argv: Sequence[str],
    config: LocalConfig,
    workspace_dir: Path,
    env: Mapping[str, str],
    needs: Sequence[Path] = (),
) -> Sequence[str]:
    """Give the words that run *argv* in isolation, in the config's working directory.

    *needs* are further paths that the command must be able to read.

    Raises:
        FileNotFoundError: There is no such program, which bubblewrap itself would report as an ordinary failure.
    """
    start_dir = config.start_dir(workspace_dir)
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=env.get("PATH", os.defpath))
    if program is None or not (start_dir / program).exists():
        raise FileNotFoundError(f"the command {argv[0]!r} cannot be executed: No such file or directory")
    writable = [workspace_dir, *(workspace_dir / path for path in config.writable)]
    read_only = [*(workspace_dir / path for path in config.read_only), *filter(_is_hidden, needs)]
    if _is_hidden(start_dir / program) and not _is_below(start_dir / program, [*writable, *read_only]):
        hint = f"it is below {_TMP}, which is private in isolation; name its directory in read_only"
        raise FileNotFoundError(f"the command {argv[0]!r} cannot be executed: {hint}")
    words = [PROGRAM, "--ro-bind", "/", "/", *_NAMESPACES, "--tmpfs", str(_TMP)]
    for path in writable:
        words += ["--bind", str(path), str(path)]
    for path in read_only:
        words += ["--ro-bind", str(path), str(path)]
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


def _is_hidden(path: Path) -> bool:
    """Whether *path* is there, but not in isolation unless it is named."""
    return path.exists() and path.is_relative_to(_TMP)


def _is_below(path: Path, directories: Sequence[Path]) -> bool:
    return any(path.is_relative_to(directory) for directory in directories)
