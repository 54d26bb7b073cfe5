"""What the kernel of this machine knows of a container: its cgroup, in version 1 or 2, and its processes.

As its documentation has it: admin-guide/cgroup-v1, admin-guide/cgroup-v2.rst, filesystems/proc.rst. Files that vanish
while they are read are a container that has ended, never an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final, final

import attrs

_V2: Final = ""
"""Where the list of controllers stands in ``/proc/<pid>/cgroup``, version 2 has nothing."""
_OCTAL: Final = re.compile(r"\\([0-7]{3})")

Storage = tuple[int | None, int | None]
"""Bytes read and bytes written."""


@attrs.frozen(kw_only=True)
class Reading:
    """What a container uses now, and what it has used so far; ``None`` is what nobody says.

    Attributes:
        cpu_time_s: User and system time of all that ever ran in it.
        charged_bytes: Memory that is charged to it, the cache of files included.
        cache_bytes: Cache of files that the kernel can take back (``inactive_file``).
        most_charged_bytes: The most that was ever charged to it.
        storage: Bytes fetched from and sent to storage.
        processes: How many processes there are.
        threads: How many threads there are.
        oom_kills: How many of its processes the kernel has killed for want of memory.
    """

    cpu_time_s: float
    charged_bytes: int
    cache_bytes: int = 0
    most_charged_bytes: int | None = None
    storage: Storage = (None, None)
    processes: int | None = None
    threads: int | None = None
    oom_kills: int = 0

    @property
    def rss_bytes(self) -> int:
        """The memory in use, as ``docker stats`` has it: without the cache that the kernel can take back."""
        return max(self.charged_bytes - self.cache_bytes, 0)


@final
@attrs.frozen(kw_only=True)
class CgroupV1:
    """The cgroup of one container in version 1, where each controller has a hierarchy of its own.

    Attributes:
        folders: Where the container's group is, by controller.
        process: The folder of the container's first process below ``/proc``.
    """

    folders: Mapping[str, str]
    process: str

    def read(self) -> Reading | None:
        """Look at the group; ``None`` once it is gone."""
        # What matters most comes first: at its end, the group may go away between any two of these.
        memory = self.folders["memory"]
        most = _number(f"{memory}/memory.max_usage_in_bytes")
        stat = _labelled(f"{memory}/memory.stat")
        cpu_ns = _number(f"{self.folders.get('cpuacct')}/cpuacct.usage")
        oom_kills = _labelled(f"{memory}/memory.oom_control").get("oom_kill", 0)
        charged = _number(f"{memory}/memory.usage_in_bytes")
        if most is None and cpu_ns is None and charged is None:
            return None
        pids = _pids(memory)
        return Reading(
            cpu_time_s=(cpu_ns or 0) / 1e9,
            charged_bytes=charged or 0,
            cache_bytes=stat.get("total_inactive_file", 0),
            most_charged_bytes=most if stat else None,  # which says little without its share of cache
            storage=largest([self._block_io(), _process_io(self.process, pids)]),
            processes=len(pids),
            threads=_number(f"{self.folders.get('pids')}/pids.current"),
            oom_kills=oom_kills,
        )

    def _block_io(self) -> Storage:
        text = _text(f"{self.folders.get('blkio')}/blkio.throttle.io_service_bytes_recursive")
        lines = [line.split() for line in text.splitlines()]
        return sum_storage((words[1], int(words[2])) for words in lines if len(words) == 3)  # the total has two words


@final
@attrs.frozen(kw_only=True)
class CgroupV2:
    """The cgroup of one container in version 2.

    Attributes:
        folder: Where the container's group is.
        process: The folder of the container's first process below ``/proc``.
    """

    folder: str
    process: str

    def read(self) -> Reading | None:
        """Look at the group; ``None`` once it is gone."""
        # In the order of version 1, for the same reason.
        most = _number(f"{self.folder}/memory.peak")
        stat = _labelled(f"{self.folder}/memory.stat")
        cpu_us = _labelled(f"{self.folder}/cpu.stat").get("usage_usec")
        oom_kills = _labelled(f"{self.folder}/memory.events").get("oom_kill", 0)
        charged = _number(f"{self.folder}/memory.current")
        if most is None and cpu_us is None and charged is None:
            return None
        pids = _pids(self.folder)
        return Reading(
            cpu_time_s=(cpu_us or 0) / 1e6,
            charged_bytes=charged or 0,
            cache_bytes=stat.get("inactive_file", 0),
            most_charged_bytes=most if stat else None,  # which says little without its share of cache
            storage=largest([self._block_io(), _process_io(self.process, pids)]),
            processes=len(pids),
            threads=_number(f"{self.folder}/pids.current"),
            oom_kills=oom_kills,
        )

    def _block_io(self) -> Storage:
        pairs = [word.partition("=") for word in _text(f"{self.folder}/io.stat").split() if "=" in word]
        return sum_storage(
            (name.removesuffix("bytes"), int(value)) for name, _, value in pairs if name.endswith("bytes")
        )


def find_cgroup(container: str, pid: int, proc: str = "/proc") -> CgroupV1 | CgroupV2 | None:
    """Find the cgroup of a container, where that is on this machine and can be seen from here.

    Args:
        container: The container's whole id.
        pid: What the engine says is the container's first process. On another machine, or in another PID namespace
            than ours, it is somebody else, whose cgroup does not have the container's id in its name.
        proc: Where the proc file system is.
    """
    folders: dict[str, str] = {}
    mounts = _mounts(proc)
    for line in _text(f"{proc}/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own = _own_group(path, container)
        for controller in controllers.split(",") if own else ():
            folder = _mounted(mounts, controller, own)
            if folder:
                folders[controller] = folder
    process = f"{proc}/{pid}"
    if "memory" in folders:  # where both versions are mounted, the one that has the memory counts
        return CgroupV1(folders=folders, process=process)
    group = folders.get(_V2)
    if group is None or _number(f"{group}/memory.current") is None:
        return None  # without the controller it has an account of its CPU time alone; the engine may know more
    return CgroupV2(folder=group, process=process)


def _own_group(path: str, container: str) -> str:
    """Cut *path* behind the part that names the container, which may have made groups of its own below."""
    start = path.find(container)
    if start < 0:
        return ""
    end = path.find("/", start)
    return path if end < 0 else path[:end]


def _mounts(proc: str) -> list[tuple[str, str, frozenset[str]]]:
    """List where cgroups are mounted: the group that is seen there, the folder, the controllers."""
    found: list[tuple[str, str, frozenset[str]]] = []
    for line in _text(f"{proc}/self/mountinfo").splitlines():
        place, _, kind = line.partition(" - ")
        root, point = (_OCTAL.sub(lambda match: chr(int(match[1], 8)), word) for word in place.split()[3:5])
        fs_type, _, options = kind.split(" ", 2)
        if fs_type == "cgroup2":
            found.append((root, point, frozenset([_V2])))
        elif fs_type == "cgroup":
            found.append((root, point, frozenset(options.split(","))))
    return found


def _mounted(mounts: Iterable[tuple[str, str, frozenset[str]]], controller: str, group: str) -> str:
    """Give the folder of *group*; none where no mount shows it, as inside another container."""
    for root, point, controllers in mounts:
        below = root.rstrip("/")
        if controller in controllers and f"{group}/".startswith(f"{below}/"):
            folder = point.rstrip("/") + group[len(below) :]
            if os.path.isdir(folder):  # noqa: PTH112 - these paths are the kernel's, and read often
                return folder
    return ""


def _pids(folder: str) -> list[int]:
    """List the processes of a group and of those below it."""
    return [int(pid) for place, _, _ in os.walk(folder) for pid in _text(f"{place}/cgroup.procs").split()]


def _process_io(process: str, pids: Iterable[int]) -> Storage:
    """Add up what the processes' own accounts say, each with the children that it has waited for.

    The first process is asked even if it has just ended: nobody but it has waited for all of the others.
    """
    proc, _, first = process.rpartition("/")
    accounts = [_labelled(f"{proc}/{pid}/io") for pid in {int(first), *pids}]
    known = [account for account in accounts if account]
    if not known:
        return None, None
    return sum(one.get("read_bytes:", 0) for one in known), sum(one.get("write_bytes:", 0) for one in known)


def sum_storage(counts: Iterable[tuple[str, int]]) -> Storage:
    """Add up the bytes of all devices; no line at all means that nobody counts."""
    known = [(name.lower(), count) for name, count in counts]
    if not known:
        return None, None
    reads = sum(count for name, count in known if name in ("read", "r"))
    return reads, sum(count for name, count in known if name in ("write", "w"))


def largest(accounts: Iterable[Storage]) -> Storage:
    """Give the larger of what different accounts say: each misses what the others see."""
    columns = zip(*accounts, strict=True)
    read, write = (max((count for count in column if count is not None), default=None) for column in columns)
    return read, write


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _labelled(path: str) -> dict[str, int]:
    """Read lines of a label and a number."""
    words = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}


def _text(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        blocks = iter(lambda: os.read(fd, 2**16), b"")  # not open(): that takes three times as long
        return b"".join(blocks).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
