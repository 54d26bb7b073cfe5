"""The limits that are kept by watching: which of them is exceeded, and by what."""

from __future__ import annotations

import os

from rompy_local._supervisor._monitor import Monitor, Sample
from rompy_local._supervisor._signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a start more than all the rest of this
    from typing import Any

    from rompy_core import StallDetector

_LOG_OVERSHOOT = 2**25
"""How far the logs may grow past their limit, bytes, before the polite end becomes an immediate one."""
_FAST_GROWTH = 2**18
"""Output between two looks, bytes, from which on the looks follow one another as fast as may be."""


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
        self._stall = _stall_detector(spec)
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
            return Exceeded("TIMED_OUT", self._spec["reasons"]["timeout"])
        limit = self._spec["log_size_limit"]
        size = self.log_size() if limit or self._stall else 0
        self._log_growth, self._log_size = size - self._log_size, size
        if limit and size > limit:
            return Exceeded("LIMIT_EXCEEDED", self._spec["reasons"]["log_size_limit"])
        if self._stall and self._stall.is_stalled(now, size):
            return Exceeded("STALLED", self._spec["reasons"]["stall_timeout"])
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


def _stall_detector(spec: dict[str, Any]) -> StallDetector | None:
    if not spec["stall_timeout"]:
        return None
    from rompy_core import StallDetector  # not above: most runs need none, and would pay for the import

    return StallDetector(spec["workspace_dir"], spec["stall_timeout"])


def _number(value: float) -> str:
    return f"{value:.6g}"
