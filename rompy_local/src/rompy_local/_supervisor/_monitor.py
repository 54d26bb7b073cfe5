"""Sample the process tree and write the time series; keeps its own cost below one per cent of one core.

Two sums bracket the true memory: of the resident sets as sampled (below it, between two samples a peak can pass
unseen) and of the high-water marks (above it, where processes peaked at different times or share pages).
"""

from __future__ import annotations

import os
import resource
import time

from rompy_local._supervisor import _cgroup, _linux

COLUMNS = (
    "elapsed_s",
    "cpu_time_s",
    "rss_bytes",
    "hwm_bytes",
    "pss_bytes",
    "read_bytes",
    "write_bytes",
    "processes",
    "threads",
)
_FIRST_INTERVAL_S = 0.05
_GROWTH = 1.05
"""From one interval to the next: the interval stays at about a twentieth of the time since the newest process began,
and so does what is not seen of a process whose CPU time nobody is told of in the end."""
_SHARE = 1 / 250
"""The share of one core that sampling may take: the interval grows until it does not take more."""

Sample = dict[str, float | int | None]


class Monitor:
    """Knows what the tree below this process has used so far."""

    def __init__(
        self, usage_path: str, *, longest_interval_s: float, with_pss: bool, group: _cgroup.Group | None = None
    ) -> None:
        self.started = time.monotonic()
        self.newest: Sample = {}
        self.peak_rss = 0
        self.peak_hwm = 0
        self.peak_pss = 0
        self.max_processes = 1
        self.problem = ""
        self._with_pss = with_pss
        self._group = group
        self._longest_interval_s = longest_interval_s
        self._interval_s = min(_FIRST_INTERVAL_S, longest_interval_s)
        self._known: set[tuple[int, int]] = set()
        self._cpu_seen: dict[tuple[int, int], float] = {}
        self._own_pid = os.getpid()
        self._own_io = _linux.storage_bytes(self._own_pid)
        self._usage = self._open(usage_path)
        self.due = self.started + self._interval_s

    def sample(self) -> Sample:
        """Look at every process of the tree once, and say when to look again (``due``)."""
        began = time.monotonic()
        cpu_began = time.thread_time()
        tree = [one for one in _linux.descendants(self._own_pid) if not one.is_zombie]
        hwm = sum(max(_linux.high_water_mark(one.pid), one.rss) for one in tree)
        rss = sum(one.rss for one in tree)
        pss = sum(_linux.proportional_set_size(one.pid) for one in tree) if self._with_pss else None
        read, write = self.storage_bytes([one.pid for one in tree])
        self.peak_rss = max(self.peak_rss, rss)
        self.peak_hwm = max(self.peak_hwm, hwm)
        self.peak_pss = max(self.peak_pss, pss or 0)
        self.max_processes = max(self.max_processes, len(tree))
        self.newest = {
            "elapsed_s": began - self.started,
            "cpu_time_s": self._cpu_time(tree),
            "rss_bytes": rss,
            "hwm_bytes": hwm,
            "pss_bytes": pss,
            "read_bytes": read,
            "write_bytes": write,
            "processes": len(tree),
            "threads": sum(one.threads for one in tree),
        }
        self._write(self.newest)
        known, self._known = self._known, {(one.pid, one.start_time) for one in tree}
        interval_s = self._interval_s * _GROWTH if self._known <= known else _FIRST_INTERVAL_S
        self._interval_s = min(interval_s, self._longest_interval_s)
        cost_s = time.thread_time() - cpu_began
        self.due = began + max(self._interval_s, cost_s / _SHARE)
        return self.newest

    def pss_now(self) -> int:
        """Measure the memory with each shared page counted once; slow, for decisions that must not be wrong."""
        tree = [one for one in _linux.descendants(self._own_pid) if not one.is_zombie]
        return sum(_linux.proportional_set_size(one.pid) or one.rss for one in tree)

    def storage_bytes(self, pids: list[int]) -> tuple[int, int]:
        """Add up what the tree has read and written; what ended is in the account of whoever reaped it."""
        counts = [_linux.storage_bytes(pid) for pid in (self._own_pid, *pids)]
        read = sum(count[0] for count in counts) - self._own_io[0]
        write = sum(count[1] for count in counts) - self._own_io[1]
        return max(read, 0), max(write, 0)

    def total_cpu_time(self) -> float:
        """Give the CPU time of the tree once all of it has been reaped.

        Children of a parent that ignores SIGCHLD reach nobody's account; then what was sampled is more.
        """
        accounted = (self._group.cpu_s() if self._group else None) or 0.0
        return max(accounted, _reaped_cpu_time(), sum(self._cpu_seen.values()))

    def peak_memory(self) -> tuple[int, str]:
        """Give the best estimate of the peak, bytes, and how it was made."""
        charged = self._group.peak_bytes() if self._group else None
        if charged is not None:
            return charged, "cgroup"
        if self._with_pss and self.peak_pss:
            return self.peak_pss, "PSS"
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        # A new process begins as a copy of this one, so up to this one's size the kernel's number says nothing.
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if self.peak_hwm and (self.peak_hwm >= largest or largest <= own * 1.1):
            return self.peak_hwm, "sum of high-water marks"
        return largest, "largest process"

    def close(self) -> None:
        """Close the time series."""
        if self._usage >= 0:
            os.close(self._usage)
            self._usage = -1

    def _cpu_time(self, tree: list[_linux.Process]) -> float:
        for one in tree:
            self._cpu_seen[one.pid, one.start_time] = one.cpu_s
        accounted = _reaped_cpu_time() + sum(one.cpu_s + one.reaped_cpu_s for one in tree)
        return max(accounted, sum(self._cpu_seen.values()))

    def _open(self, path: str) -> int:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            os.write(fd, (",".join(COLUMNS) + "\n").encode("ascii"))
        except OSError as exc:
            self.problem = f"the time series {path!r} cannot be written: {exc.strerror}"
            return -1
        return fd

    def _write(self, sample: Sample) -> None:
        if self._usage < 0:
            return
        values = (
            "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
            for value in (sample[name] for name in COLUMNS)
        )
        try:
            os.write(self._usage, (",".join(values) + "\n").encode("ascii"))
        except OSError as exc:
            self.problem = f"the time series could not be written to its end: {exc.strerror}"
            self.close()


def _reaped_cpu_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
