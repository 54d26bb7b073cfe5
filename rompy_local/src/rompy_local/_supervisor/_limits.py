"""The limits that are kept by watching: which of them is exceeded, and by what."""

from __future__ import annotations

import os
import time

from rompy_local._supervisor._monitor import Monitor, Sample
from rompy_local._supervisor._signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a start more than all the rest of this
    from typing import Any

_LOG_OVERSHOOT = 2**25
"""How far the logs may grow past their limit, bytes, before the polite end becomes an immediate one."""
_FAST_GROWTH = 2**18
"""Output between two looks, bytes, from which on the looks follow one another as fast as may be."""
_RECORDS = ".rompy"


class Exceeded:
    """A limit that was exceeded: the state that follows, the sentence for the report, and whether to be polite."""

    def __init__(self, state: str, reason: str, *, at_once: bool = False) -> None:
        self.state = state
        self.reason = reason
        self.at_once = at_once


class Limits:
    """Compares what is used with what is allowed."""

    def __init__(self, spec: dict[str, Any], monitor: Monitor, logs: tuple[int, int]) -> None:
        self._spec = spec
        self._monitor = monitor
        self._logs = logs
        self._growth = Growth(spec["workspace_dir"], spec["stall_timeout"]) if spec["stall_timeout"] else None
        self._log_size = self._log_growth = 0
        self.deadline = monitor.started + spec["timeout"] if spec["timeout"] else None

    @property
    def tick_s(self) -> float:
        """How often ``by_the_clock`` must be asked: output can come at gigabytes a second."""
        if not self._spec["log_size_limit"]:
            return 0.1
        return 0.001 if self._log_growth > _FAST_GROWTH else 0.01

    def by_the_clock(self, now: float) -> Exceeded | None:
        """Check what is cheap to check: the deadline, the size of the logs, the stall."""
        if self.deadline is not None and now >= self.deadline:
            return Exceeded("TIMED_OUT", f"exceeded its timeout of {_number(self._spec['timeout'])} s")
        limit = self._spec["log_size_limit"]
        size = self.log_size() if limit or self._growth else 0
        self._log_growth, self._log_size = size - self._log_size, size
        if limit and size > limit:
            return Exceeded("LIMIT_EXCEEDED", f"its output exceeded log_size_limit: {size} of {limit} bytes")
        if self._growth and self._growth.stalled_for(now, size):
            limit_s = _number(self._spec["stall_timeout"])
            return Exceeded("STALLED", f"neither its output nor a file of the workspace grew for {limit_s} s")
        return None

    def by_sample(self, sample: Sample) -> Exceeded | None:
        """Check what a sample tells: memory, CPU time, processes."""
        memory, cpu, most = self._spec["memory"], self._spec["cpu_time_limit"], self._spec["max_processes"]
        if memory and (sample["rss_bytes"] or 0) > memory:
            # The sum counts shared pages many times over; what follows cannot be undone, so look closer.
            used = self._monitor.pss_now()
            if used > memory:
                # At once, as the kernel would: while it is asked politely, it could take the machine down.
                return Exceeded("OUT_OF_MEMORY", f"exceeded its memory limit: {used} of {memory} bytes", at_once=True)
        if cpu and (sample["cpu_time_s"] or 0) > cpu:
            used_s = _number(sample["cpu_time_s"] or 0)
            return Exceeded("LIMIT_EXCEEDED", f"exceeded its cpu_time_limit: {used_s} of {_number(cpu)} s")
        if most and (sample["processes"] or 0) > most:
            return Exceeded("LIMIT_EXCEEDED", f"exceeded max_processes: {sample['processes']} of {most}", at_once=True)
        return None

    def by_exit(self, code: int | None, oom_kills: int) -> Exceeded | None:
        """Check what the kernel limits by a signal of its own; a shell reports that of its command as 128 + number."""
        if oom_kills and code != 0:
            killed = f"the kernel killed {oom_kills} of its processes"
            return Exceeded("OUT_OF_MEMORY", f"exceeded its memory limit of {self._spec['memory']} bytes: {killed}")
        limit = self._spec["rlimits"].get("RLIMIT_FSIZE")
        if limit and code in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ):
            return Exceeded("LIMIT_EXCEEDED", f"a file exceeded file_size_limit ({limit} bytes)")
        return None

    def log_size(self) -> int:
        """Give the size of both logs together, bytes."""
        return sum(os.fstat(fd).st_size for fd in self._logs)

    def is_log_running_away(self) -> bool:
        """Whether the logs grow so fast that a polite end takes too long."""
        limit = self._spec["log_size_limit"]
        return bool(limit) and self.log_size() > limit + _LOG_OVERSHOOT


class Growth:
    """Notices when neither the output nor a file of the workspace has grown for a time."""

    def __init__(self, workspace_dir: str, timeout_s: float) -> None:
        self._workspace_dir = workspace_dir
        self._timeout_s = timeout_s
        self._last = time.monotonic()
        self._next_look = self._last
        self._output: int = -1
        self._files: tuple[int, int, int] | None = None

    def stalled_for(self, now: float, output: int) -> bool:
        """Whether there has been no growth for the whole time; *output* is the present size of the logs."""
        if output != self._output:
            self._output, self._last = output, now
        if now >= self._next_look:
            files = _fingerprint(self._workspace_dir)
            if files != self._files:
                self._files, self._last = files, now
            # A look at many files takes long; it may take a fiftieth of the time, no more.
            self._next_look = now + max(self._timeout_s / 10, 50 * (time.monotonic() - now))
        return now - self._last >= self._timeout_s


def _fingerprint(directory: str) -> tuple[int, int, int]:
    """Sum up the files below *directory*: how many, how large, when last written; our own records left out."""
    count = size = newest = 0
    for folder, subfolders, files in os.walk(directory):
        if _RECORDS in subfolders:
            subfolders.remove(_RECORDS)
        for name in files:
            try:
                status = os.lstat(f"{folder}/{name}")
            except OSError:
                continue
            count += 1
            size += status.st_size
            newest = max(newest, status.st_mtime_ns)
    return count, size, newest


def _number(value: float) -> str:
    return f"{value:.6g}"
