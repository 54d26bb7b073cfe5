"""Process 1 of a container, where it is a process of this machine: what is left where the engine is lost."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Self, final


@final
class FirstProcess:
    """A hold on process 1 of a container, by which no other process can be hit. Its end is that of all the others."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def find(cls, pid: int, container: str) -> Self | None:
        """Take hold of the process, or give ``None`` where *pid* is not that container's process on this machine."""
        try:
            fd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # no such process here, or neither Linux nor 5.3 of it
            return None
        # Read after the pidfd was opened: what it says is about the process that the pidfd holds.
        if pid > 0 and container in _cgroups_of(pid):
            return cls(fd)
        os.close(fd)
        return None

    def send(self, number: signal.Signals) -> bool:
        """Send it a signal, where that is permitted; say whether it was. One that has ended is no error."""
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return True

    def has_ended(self, timeout_s: float = 0.0) -> bool:
        """Wait at most so long for its end."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


def _cgroups_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace")
    except OSError:
        return ""
