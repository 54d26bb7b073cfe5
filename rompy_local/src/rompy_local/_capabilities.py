"""Which guarantees hold on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from rompy_core import Capability, ConfigError
from rompy_local import _isolation


def capabilities() -> Mapping[str, Capability]:
    """Say which guarantees hold on this machine, by the names that ``require`` takes.

    ``subreaper``: no process of a run escapes its end, also none that made itself a daemon. ``pidfd``: the end of the
    caller is noticed at once, and signals never reach a process that got an old number. ``pss``: memory that
    processes share is counted once where a limit is decided. ``affinity``: ``cpu`` can be kept.
    ``bubblewrap``: isolation works.
    """
    linux = sys.platform == "linux"
    return {
        "subreaper": Capability(
            linux, "prctl(PR_SET_CHILD_SUBREAPER)" if linux else f"needs Linux, not {sys.platform}"
        ),
        "pidfd": _pidfd(),
        "pss": _file("/proc/self/smaps_rollup"),
        "bubblewrap": Capability(not _isolation.problem(), _isolation.problem() or "bwrap(1)"),
        "affinity": Capability(hasattr(os, "sched_setaffinity"), "sched_setaffinity(2)"),
    }


def refuse_cgroup(path: Path, *, with_memory: bool) -> None:
    """Refuse a cgroup below which no run can have one of its own.

    Raises:
        ConfigError: It is none, it is not delegated, or it cannot limit memory although that is asked for.
    """
    problem = ""
    try:
        enabled = (path / "cgroup.subtree_control").read_text("ascii").split()
    except OSError as exc:
        problem = f"is no cgroup v2 ({exc.strerror})"
    else:
        if not os.access(path, os.W_OK):
            problem = "is not delegated to this user, who cannot write it"
        elif with_memory and "memory" not in enabled:
            problem = f"cannot limit memory: its cgroup.subtree_control has {enabled or 'no controllers'}"
    if problem:
        raise ConfigError("LocalConfig", [f"cgroup: {str(path)!r} {problem}"])


def _pidfd() -> Capability:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as exc:
        return Capability(holds=False, detail=f"pidfd_open(2), Linux 5.3: {exc}")
    return Capability(holds=True, detail="pidfd_open(2)")


def _file(path: str) -> Capability:
    try:
        with Path(path).open("rb"):
            return Capability(holds=True, detail=path)
    except OSError as exc:
        return Capability(holds=False, detail=f"{path}: {exc.strerror}")
