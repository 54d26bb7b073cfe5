"""What the kernel knows about processes: proc(5), prctl(2), pidfd_open(2). Nothing here decides anything."""

from __future__ import annotations

import ctypes
import os

from rompy_local._supervisor._signals import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_libc = ctypes.CDLL(None, use_errno=True)


class Process:
    """One process as ``/proc/<pid>/stat`` showed it.

    ``cpu_s`` is its own time, ``reaped_cpu_s`` that of the children that it has waited for.
    """

    __slots__ = ("cpu_s", "name", "pid", "reaped_cpu_s", "rss", "start_time", "state", "threads")

    def __init__(self, pid: int, stat: bytes) -> None:
        end = stat.rindex(b")")
        fields = stat[end + 2 :].split()
        self.pid = pid
        self.name = stat[stat.index(b"(") + 1 : end].decode("utf-8", "replace")
        self.state = fields[0].decode("ascii")
        self.cpu_s = (int(fields[11]) + int(fields[12])) * _TICK_S
        self.reaped_cpu_s = (int(fields[13]) + int(fields[14])) * _TICK_S
        self.threads = int(fields[17])
        self.start_time = int(fields[19])
        self.rss = int(fields[21]) * _PAGE

    @property
    def is_zombie(self) -> bool:
        """Whether it has ended and only waits to be reaped."""
        return self.state in "ZX"


def become_subreaper() -> None:
    """Have all orphans among the descendants of this process become its children, not those of init."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent(sig: int) -> None:
    """Have the kernel send *sig* to this process when its parent's thread ends; survives ``exec``."""
    _libc.prctl(_PR_SET_PDEATHSIG, sig, 0, 0, 0)


def process(pid: int) -> Process | None:
    """Look at one process; ``None`` where there is none."""
    data = _read(f"/proc/{pid}/stat")
    return Process(pid, data) if data else None


def descendants(root: int) -> list[Process]:
    """List all processes below *root*, parents first, zombies included.

    It is a snapshot: whoever wants all of them gone has to look until there are none.
    """
    found: list[Process] = []
    queue = _children(root)
    seen = {root}
    while queue:
        pid = queue.pop()
        if pid in seen:
            continue
        seen.add(pid)
        one = process(pid)
        if one is not None:
            found.append(one)
            if not one.is_zombie:
                queue += _children(pid)
    return found


def signal_process(target: Process, *signals: int) -> None:
    """Send signals to exactly this process, not to one that got its number in the meantime."""
    try:
        fd = os.pidfd_open(target.pid)
    except OSError:
        return
    try:
        now = process(target.pid)
        if now is not None and now.start_time == target.start_time:
            for number in signals:
                signal.pidfd_send_signal(fd, number)
    except OSError:
        pass
    finally:
        os.close(fd)


def high_water_mark(pid: int) -> int:
    """Read the most memory that was resident at once in a process (VmHWM), bytes."""
    return _labelled(_read(f"/proc/{pid}/status"), b"VmHWM:") * 1024


def proportional_set_size(pid: int) -> int:
    """Read the memory of a process with each shared page counted in part (Pss), bytes. Slow for large processes."""
    return _labelled(_read(f"/proc/{pid}/smaps_rollup"), b"Pss:") * 1024


def storage_bytes(pid: int) -> tuple[int, int]:
    """Read how many bytes a process and the children that it has waited for fetched from and sent to storage."""
    data = _read(f"/proc/{pid}/io")
    return _labelled(data, b"\nread_bytes:"), _labelled(data, b"\nwrite_bytes:")


def _children(pid: int) -> list[int]:
    """List the children of all threads of a process."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for task in tasks:
        data = _read(f"/proc/{pid}/task/{task}/children")
        if data is None:
            return _children_by_scan(pid) if os.path.exists(f"/proc/{pid}/task/{task}") else found
        found += map(int, data.split())
    return found


def _children_by_scan(parent: int) -> list[int]:
    """List children where the kernel was built without CONFIG_PROC_CHILDREN: one look at every process."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        data = _read(f"/proc/{name}/stat") if name.isdigit() else None
        if data and int(data[data.rindex(b")") + 2 :].split()[1]) == parent:
            found.append(int(name))
    return found


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = b""
        while block := os.read(fd, 65536):
            data += block
            if len(block) < 4096:
                break
    except OSError:
        return None
    else:
        return data
    finally:
        os.close(fd)


def _labelled(data: bytes | None, label: bytes) -> int:
    """Read the number behind *label*; 0 where there is none."""
    start = data.find(label) if data else -1
    if data is None or start < 0:
        return 0
    return int(data[start + len(label) :].split(None, 1)[0])
