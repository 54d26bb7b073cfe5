"""Who a process is, and whether that very process still lives. Standard library only."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

from rompy_core._reports import ProcessIdentity


def identify(pid: int | None = None) -> ProcessIdentity:
    """Identify the process *pid* of this machine, or this process."""
    pid = os.getpid() if pid is None else pid
    return ProcessIdentity(
        host=socket.gethostname(),
        boot_id=_boot_id(),
        pid=pid,
        start_time=_start_time(pid),
        pid_namespace=_pid_namespace(),
    )


def is_alive(process: ProcessIdentity) -> bool | None:
    """Say whether *process* still runs; ``None`` where that cannot be known, since it is on another machine.

    Another PID namespace (a container that shares the host's name) counts as another machine.
    """
    if process.host != socket.gethostname():
        return None
    if process.boot_id != _boot_id():
        return False
    if process.pid_namespace not in (None, _pid_namespace()):
        return None
    start_time = _start_time(process.pid)
    return start_time is not None and start_time == process.start_time


def _pid_namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


@functools.cache
def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return None


def _start_time(pid: int) -> str | None:
    """Read when *pid* started: ticks since the boot on Linux (proc(5), field 22), else what ``ps`` says."""
    return _start_time_by_proc(pid) if sys.platform == "linux" else _start_time_by_ps(pid)


def _start_time_by_proc(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else fields[19].decode("ascii")


def _start_time_by_ps(pid: int) -> str | None:  # pragma: no cover - not on Linux
    ps = ["/bin/ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, text=True, check=False).stdout.strip() or None
