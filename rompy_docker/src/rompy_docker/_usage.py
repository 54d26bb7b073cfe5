"""What a container uses: samples while it runs, the time series, and the sums for the report.

It is read from the container's cgroup where that is on this machine, last of all at the moment its first process has
ended, when the kernel still has the account of all that it used. Elsewhere the engine's own statistics have to do: one
sample a second (Podman: one in five), and what comes after the last one is not seen.

Memory is what ``docker stats`` calls used, without the cache of files that the kernel can take back. The kernel's own
maximum counts that cache; so when a maximum is new, what of it is cache at that moment is taken off. The peak is wrong
by as much as the cache changed since, but never less than a sample saw; and once the cache has filled the container's
limit, there is no new maximum, and the peak is that of the samples.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast, final

from rompy_core import Usage
from rompy_docker._cgroups import CgroupV1, CgroupV2, Reading, Storage, find_cgroup, largest, sum_storage
from rompy_docker._engine import Engine, EngineError

COLUMNS: Final = (
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
_FIRST_INTERVAL_S: Final = 0.05
_GROWTH: Final = 1.05
_SHARE: Final = 1 / 250
"""The share of one core that sampling may take: the interval grows until it does not take more."""
_END_S: Final = 1.0
"""How long the thread that reads a cgroup may take to end; it never waits for anything but its turn."""

Sample = dict[str, float | int | None]
"""One line of the time series; what nobody says is ``None``."""


@final
class Meter:
    """Measures one container. All is done by threads of its own; its methods only collect what they found."""

    def __init__(
        self,
        engine: Engine,
        container: str,
        pid: int,
        usage_path: Path,
        *,
        started: float,
        longest_interval_s: float,
        is_local: bool,
    ) -> None:
        """Begin to measure a container that has been started.

        Args:
            engine: Whom to ask where the cgroup cannot be read.
            container: The container's whole id.
            pid: Its first process, as the engine says; 0 where it has ended already, and nothing can be measured.
            usage_path: Where the time series goes.
            started: When the container started, as ``time.monotonic()`` has it.
            longest_interval_s: The longest time between two samples.
            is_local: Whether the engine may be on this machine.
        """
        self.problem = ""
        self._started = started
        self._totals = Totals()
        self._usage = self._opened(usage_path)
        self._arrived: deque[tuple[float, Reading]] = deque()
        self._source: _Source | None = None
        try:
            cgroup = find_cgroup(container, pid) if is_local else None
            if cgroup is not None:
                self._source = _CgroupSource(cgroup, pid, self._arrived, longest_interval_s)
            elif pid > 0:
                self._source = _EngineSource(engine, container, self._arrived)
        except (OSError, RuntimeError) as exc:  # no more files or threads to be had, which is no reason to end a run
            self.problem = f"what the container uses cannot be measured: {exc}"

    def sample(self) -> Usage | None:
        """Give the newest sample, and write down all that have come; ``None`` where there is no new one."""
        sample: Sample = {}
        while self._arrived:
            at, reading = self._arrived.popleft()
            sample = self._totals.add(reading, at - self._started)
            self._write(sample)
        known: dict[str, Any] = {name: value for name, value in sample.items() if value is not None}
        return Usage(**known) if known else None

    def close(self) -> Usage | None:
        """Take the last sample, if there is one to be had, and let go of everything."""
        if self._source is not None:
            self._source.close()
        usage = self.sample()
        if self._usage is not None:
            self._usage.close()
            self._usage = None
        return usage

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed for want of memory, as far as it could be seen."""
        return self._totals.oom_kills

    def facts(self) -> dict[str, Any]:
        """Give what is known of the whole run under the names of the report's fields; complete after ``close()``."""
        return self._totals.facts()

    def _opened(self, path: Path) -> BinaryIO | None:
        with contextlib.ExitStack() as held:
            try:
                file = held.enter_context(path.open("ab", buffering=0))
                file.write((",".join(COLUMNS) + "\n").encode("ascii"))
            except OSError as exc:
                self.problem = f"the time series {str(path)!r} cannot be written: {exc.strerror}"
                return None
            held.pop_all()
        return file

    def _write(self, sample: Sample) -> None:
        if self._usage is None:
            return
        values = (
            "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
            for value in (sample[name] for name in COLUMNS)
        )
        try:
            self._usage.write((",".join(values) + "\n").encode("ascii"))
        except OSError as exc:
            self.problem = f"the time series could not be written to its end: {exc.strerror}"
            self._usage.close()
            self._usage = None


@final
class Totals:
    """What a container has used, as one reading after the other tells."""

    def __init__(self) -> None:
        self.oom_kills = 0
        self._cpu_time_s: float | None = None
        self._peak: int | None = None
        self._most_charged: int | None = None
        self._storage: Storage = (None, None)
        self._max_processes: int | None = None

    def add(self, reading: Reading, elapsed_s: float) -> Sample:
        """Take a reading into account, and give the sample that it makes."""
        rss, most = reading.rss_bytes, reading.most_charged_bytes
        self._cpu_time_s = max(self._cpu_time_s or 0.0, reading.cpu_time_s)
        self._peak = max(self._peak or 0, rss)
        if most is not None and most > (self._most_charged or 0):
            self._most_charged = most
            self._peak = max(self._peak, most - reading.cache_bytes)
        self._storage = largest([self._storage, reading.storage])
        self._max_processes = max(self._max_processes or 0, reading.processes or 0) or None
        self.oom_kills = max(self.oom_kills, reading.oom_kills)
        return {
            "elapsed_s": elapsed_s,
            "cpu_time_s": self._cpu_time_s,
            "rss_bytes": rss,
            "hwm_bytes": self._peak,
            "pss_bytes": None,
            "read_bytes": self._storage[0],
            "write_bytes": self._storage[1],
            "processes": reading.processes,
            "threads": reading.threads,
        }

    def facts(self) -> dict[str, Any]:
        """Give the sums under the names of the report's fields."""
        method = None if self._peak is None else "sampled cgroup" if self._most_charged is None else "cgroup"
        return {
            "cpu_time_s": self._cpu_time_s,
            "peak_rss_bytes": self._peak,
            "memory_method": method,
            "read_bytes": self._storage[0],
            "write_bytes": self._storage[1],
            "max_processes": self._max_processes,
        }


class _Source(Protocol):
    """Puts readings where the meter finds them, until the container has ended."""

    def close(self) -> None: ...


@final
class _CgroupSource:
    """Reads a cgroup of this machine at growing intervals, and once more when the container ends.

    The engine says that a container has ended only after its cgroup is gone; the kernel says it at once.
    """

    def __init__(
        self, cgroup: CgroupV1 | CgroupV2, pid: int, arrived: deque[tuple[float, Reading]], longest_interval_s: float
    ) -> None:
        self._cgroup = cgroup
        self._arrived = arrived
        self._longest_interval_s = longest_interval_s
        self._poll = select.poll()
        self._thread = threading.Thread(target=self._follow, name="rompy-docker-usage", daemon=True)
        with contextlib.ExitStack() as held:
            self._bell = self._watched(os.eventfd(0), held)
            with contextlib.suppress(OSError):  # it has just ended, or the kernel has no pidfd: then the readings tell
                self._watched(os.pidfd_open(pid), held)
            self._thread.start()
            self._held = held.pop_all()

    def close(self) -> None:
        if self._thread.is_alive():
            os.eventfd_write(self._bell, 1)
            self._thread.join(_END_S)
        if not self._thread.is_alive():
            self._held.close()

    def _watched(self, fd: int, held: contextlib.ExitStack) -> int:
        held.callback(os.close, fd)
        self._poll.register(fd, select.POLLIN)
        return fd

    def _follow(self) -> None:
        interval_s = min(_FIRST_INTERVAL_S, self._longest_interval_s)
        is_over = False
        while True:
            cpu_began = time.thread_time()
            reading = self._cgroup.read()
            if reading is None:
                return
            self._arrived.append((time.monotonic(), reading))
            if is_over:
                return
            cost_s = time.thread_time() - cpu_began
            is_over = bool(self._poll.poll(max(interval_s, cost_s / _SHARE) * 1000))
            interval_s = min(interval_s * _GROWTH, self._longest_interval_s)


@final
class _EngineSource:
    """Reads the statistics of an engine, which end when the container is removed, not when it has ended."""

    def __init__(self, engine: Engine, container: str, arrived: deque[tuple[float, Reading]]) -> None:
        self._engine = engine
        self._container = container
        self._arrived = arrived
        self._is_closed = threading.Event()
        threading.Thread(target=self._follow, name="rompy-docker-usage", daemon=True).start()

    def close(self) -> None:
        self._is_closed.set()  # the thread sees it with the next statistics, if not at their end

    def _follow(self) -> None:
        # An engine that is lost, or has nothing to say of a container that is gone, is the business of others.
        with contextlib.suppress(EngineError):
            for statistics in self._engine.stats(self._container):
                if self._is_closed.is_set():
                    return
                reading = read_statistics(statistics)
                if reading is not None:
                    self._arrived.append((time.monotonic(), reading))


def read_statistics(statistics: Mapping[str, Any]) -> Reading | None:
    """Read what an engine says of a container; ``None`` where it says nothing, as after the container's end.

    Docker gives the kernel's maximum and ``total_inactive_file`` with cgroups in version 1, in version 2 no maximum,
    and ``inactive_file``. Podman 4.3 gives neither in any version, and others the limit as the maximum.
    """
    memory = _table(statistics, "memory_stats")
    if "usage" not in memory:
        return None
    detail = _table(memory, "stats")
    return Reading(
        cpu_time_s=_table(_table(statistics, "cpu_stats"), "cpu_usage").get("total_usage", 0) / 1e9,
        charged_bytes=memory["usage"],
        cache_bytes=detail.get("total_inactive_file", detail.get("inactive_file", 0)),
        most_charged_bytes=memory.get("max_usage") if detail else None,
        storage=_block_io(_table(statistics, "blkio_stats")),
        threads=_table(statistics, "pids_stats").get("current"),
    )


def _block_io(statistics: Mapping[str, Any]) -> Storage:
    entries = cast("list[dict[str, Any]]", statistics.get("io_service_bytes_recursive") or [])
    return sum_storage((str(entry.get("op")), entry.get("value", 0)) for entry in entries)


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give a table within a table; what an engine leaves out, it may also give as null."""
    return cast("Mapping[str, Any]", table.get(name) or {})
