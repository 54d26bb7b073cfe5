"""Processes of a test: found by a mark that they carry, never by a name alone, so that those of others are left alone.

Each may end while it is looked at, which is no failure.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psutil

Script = Callable[..., contextlib.AbstractContextManager["subprocess.Popen[str]"]]
Driver = Callable[[Mapping[str, Any]], contextlib.AbstractContextManager["subprocess.Popen[str]"]]

TOKEN = "ROMPY_TEST_TOKEN"
"""Carried by the members."""
DRIVEN = "ROMPY_TEST_DRIVEN"
"""Carried by the drivers of a test and by all that they start."""


def carrying(name: str, value: str) -> list[psutil.Process]:
    """Find the processes that have a value in their environment and have not ended, oldest first."""
    found: list[tuple[float, psutil.Process]] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append((process.create_time(), process))
    return [process for _, process in sorted(found, key=lambda pair: pair[0])]


def sleepers(token: str) -> list[psutil.Process]:
    """Find the members' own processes that sleep, oldest first."""
    found: list[psutil.Process] = []
    for process in carrying(TOKEN, token):
        with contextlib.suppress(psutil.Error):
            if process.name() == "sleep":
                found.append(process)
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill those that have not ended by themselves."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def below(root: int, process: psutil.Process) -> list[psutil.Process]:
    """List the parents of a process that are below *root*, its own one first."""
    parents = process.parents()
    return parents[: [parent.pid for parent in parents].index(root)]
