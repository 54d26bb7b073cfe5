"""The process beside each run: if the caller dies before the run has ended, it ends the container in its place.

It runs under ``python -I -S`` and only waits, so it imports next to nothing; what it takes to reach an engine it
imports when the caller is dead.
"""

from __future__ import annotations

import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:  # its enums take longer to import than all the rest of this
    import _signal as signal

_RELEASE = b"release"


def main(caller_pid: int) -> None:
    """Wait for orders on standard input: one line that says what to guard, and ``release`` when that has ended."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lines = _lines_until_death(caller_pid)
    if lines[0] and _RELEASE not in lines[1:]:
        _take_over(lines[0])


def _lines_until_death(caller_pid: int) -> list[bytes]:
    """Give the lines that came until the caller released this process or died, the unfinished one last."""
    poll, caller = select.poll(), _pidfd(caller_pid)
    poll.register(0, select.POLLIN)
    if caller is not None:
        poll.register(caller, select.POLLIN)
    data = b""
    # Looked at after the pidfd was opened: if the caller is still our parent now, the pidfd is its own.
    is_gone = os.getppid() != caller_pid
    while not is_gone and _RELEASE not in data.split(b"\n")[1:]:
        ready = [fd for fd, _ in poll.poll(None if caller is not None else 100)]
        if 0 in ready:
            read = os.read(0, 2**16)
            data += read
            # The files of a dying process close before its pidfd says so; they also close with an exec().
            is_gone = not read
        is_gone = is_gone or caller in ready or os.getppid() != caller_pid
    return (data + _what_is_left()).split(b"\n")


def _what_is_left() -> bytes:
    """Give what was sent and has not been read; not to its end, for a fork of the caller may hold the other side."""
    data, poll = b"", select.poll()
    poll.register(0, select.POLLIN)
    while poll.poll(0) and (read := os.read(0, 2**16)):
        data += read
    return data


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # an old kernel: the parent's number is looked at ten times a second
        return None


def _take_over(line: bytes) -> None:
    import json

    order = json.loads(line)
    sys.path[:] = order.pop("path")
    from rompy_docker._reap import end_abandoned

    end_abandoned(**order)
