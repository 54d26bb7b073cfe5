"""Processes as ``/proc`` shows them: those of a command, found by a token, and what the others cost. Linux only."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

_TOKEN: Final = "ROMPY_COMPARE_TOKEN"
_SESSION: Final = f"{os.getpid()}-{time.time_ns()}-"
_NUMBERS: Final = itertools.count()
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def token() -> Iterator[str]:
    """Give a token for the processes of one command; what still carries it afterwards is killed."""
    own = f"{_SESSION}-{next(_NUMBERS)}-"
    try:
        yield own
    finally:
        _kill(own)


def kill_all() -> None:
    """Kill whatever any command of this comparison has left."""
    _kill(_SESSION)


def marked(argv: Sequence[str], mark: str) -> list[str]:
    """Give a command whose processes carry *mark*, and nobody else's: a contender's own helpers do not."""
    return ["env", f"{_TOKEN}={mark}", *argv]


def living(mark: str) -> list[int]:
    """List the processes whose token begins with *mark*; a zombie has no environment any more."""
    wanted = f"{_TOKEN}={mark}".encode()
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if any(word.startswith(wanted) for word in words):
                found.append(pid)
    return found


def count(mark: str, expected: int, limit_s: float) -> int:
    """Count the processes of *mark*, once there are *expected* ones or the time is up."""
    deadline = time.monotonic() + limit_s
    while (found := len(living(mark))) < expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def spent(pid: int, command: Iterable[int]) -> float:
    """Give the CPU seconds of *pid* and all below it but *command*, helpers that have ended included."""
    excepted = frozenset(command)
    return sum(_cpu_seconds(one) for one in _family(pid) if one not in excepted)


def _kill(mark: str) -> None:
    """Kill what carries *mark*, until nothing does."""
    deadline = time.monotonic() + 10.0
    while (pids := living(mark)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _family(pid: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for one in _pids():
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(one)[1]), []).append(one)
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += children.get(one, [])


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        # The clock of another process, as clock_getcpuclockid(3) makes it: nanoseconds, where stat has ticks.
        own = time.clock_gettime((~pid << 3) | 2)
        waited_for = sum(map(int, _stat(pid)[13:15])) / _TICKS
        return own + waited_for
    return 0.0


def _stat(pid: int) -> list[str]:
    """Give the fields after the name, which may contain anything: state, ppid, ... (proc_pid_stat(5) from 3 on)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names, no paths
