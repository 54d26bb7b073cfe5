"""A cgroup v2 of the run's own, below one that was delegated (kernel documentation, admin-guide/cgroup-v2).

The supervisor stays outside, so the kernel's out-of-memory killer never takes it for a part of the run.
"""

from __future__ import annotations

import os
import time

_REMOVE_S = 2.0


class Group:
    """The cgroup of one run; what a kernel or a delegation lacks reads as ``None``."""

    def __init__(self, parent: str, memory: int | None) -> None:
        """Make the group, with its limit of *memory* bytes.

        Raises:
            OSError: It cannot be made, or cannot have the limit.
        """
        self.path = f"{parent}/rompy-{os.getpid()}"
        os.mkdir(self.path)
        try:
            if memory is not None:
                self._write("memory.max", str(memory))
                for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                    if os.path.exists(f"{self.path}/{name}"):
                        self._write(name, value)
        except OSError:
            os.rmdir(self.path)
            raise

    @property
    def procs(self) -> str:
        """The file through which a process joins."""
        return f"{self.path}/cgroup.procs"

    def peak_bytes(self) -> int | None:
        """The most memory that was charged at once (Linux 5.19 and later)."""
        text = self._read("memory.peak")
        return int(text) if text else None

    def cpu_s(self) -> float | None:
        """The CPU time of all that was ever in it."""
        used = self._labelled("cpu.stat", "usage_usec")
        return None if used is None else used / 1e6

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory."""
        return self._labelled("memory.events", "oom_kill") or 0

    def remove(self) -> bool:
        """Remove the group once the kernel has let go of the last process of it; says whether it could."""
        deadline = time.monotonic() + _REMOVE_S
        while True:
            try:
                os.rmdir(self.path)
            except FileNotFoundError:
                return True
            except OSError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.005)
            else:
                return True

    def _write(self, name: str, text: str) -> None:
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode("ascii"))
        finally:
            os.close(fd)

    def _read(self, name: str) -> str:
        try:
            with open(f"{self.path}/{name}", encoding="ascii") as file:
                return file.read()
        except OSError:
            return ""

    def _labelled(self, name: str, label: str) -> int | None:
        for line in self._read(name).splitlines():
            key, _, value = line.partition(" ")
            if key == label:
                return int(value)
        return None
