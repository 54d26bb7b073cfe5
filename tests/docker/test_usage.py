"""What a container used is measured: by its cgroup of either version, else by what its engine says.

Readers of files are tested on directories that look like the kernel's, for no machine has both versions of cgroups.
"""

from __future__ import annotations

import csv
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rompy_core import Outcome, Usage
from rompy_docker import _usage
from rompy_docker._cgroups import CgroupV1, CgroupV2, Reading, find_cgroup
from rompy_docker._engine import Engine, EngineLostError, find_address
from rompy_docker._usage import COLUMNS, Meter, Totals, read_statistics
from rompy_local._supervisor import _monitor

MB = 2**20
ID = "9ee357b99667fea708a005132103577f34fbd49b693a436d117123f5d7981070"
THREAD = "rompy-docker-usage"


class Container:
    """A container of the tests, and the meter that measures it."""

    def __init__(self, engine: Engine, container: str, usage_path: Path, *, is_local: bool, interval_s: float) -> None:
        self.usage_path = usage_path
        self.samples: list[Usage] = []
        self._engine = engine
        self._container = container
        engine.start(container)
        pid = int(engine.inspect(container)["State"]["Pid"])
        self.meter = Meter(
            engine,
            container,
            pid,
            usage_path,
            started=time.monotonic(),
            longest_interval_s=interval_s,
            is_local=is_local,
        )

    def follow(self) -> None:
        """Collect samples until the container has ended."""
        while self._engine.inspect(self._container)["State"]["Running"]:
            self.collect()
            time.sleep(0.02)

    def collect(self, usage: Usage | None = None) -> None:
        sample = usage or self.meter.sample()
        if sample is not None:
            self.samples.append(sample)

    def rows(self) -> list[dict[str, str]]:
        with self.usage_path.open(newline="", encoding="ascii") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def connection(engine: str) -> Iterator[Engine]:
    connected = Engine(find_address(engine), 30.0)
    yield connected
    connected.close()


@pytest.fixture
def start(connection: Engine, images: Any, tmp_path: Path) -> Iterator[Callable[..., Container]]:
    """Start a program of Python in a container, and measure it."""
    made: list[str] = []
    meters: list[Meter] = []

    def begin(source: str, *, is_local: bool = True, interval_s: float = 1.0, **host: Any) -> Container:
        spec = {"image": images.python, "command": ["python3", "-c", source]}
        spec["host_config"] = {"network_mode": "none", "init": False, **host}
        made.append(connection.create(f"rompy-test-{uuid.uuid4().hex}", spec))
        container = Container(
            connection, made[-1], tmp_path / f"usage-{len(made)}.csv", is_local=is_local, interval_s=interval_s
        )
        meters.append(container.meter)
        return container

    yield begin
    for container in made:
        connection.kill(container, "KILL")  # or Podman asks first, and waits ten seconds
        connection.remove(container)
    for meter in meters:
        meter.close()


@pytest.fixture
def run(start: Callable[..., Container]) -> Callable[..., Container]:
    """Run a program to its end, and close its meter."""

    def to_end(source: str, **options: Any) -> Container:
        container = start(source, **options)
        container.follow()
        container.collect(container.meter.close())
        return container

    return to_end


def outcome(meter: Meter) -> Outcome:
    return Outcome(**meter.facts())


def our_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def write_files(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


# In a container, by its cgroup


def test_the_peak_of_a_run_that_is_shorter_than_any_interval_is_seen(run: Callable[..., Container]) -> None:
    container = run(f"import time; x = bytearray({200 * MB}); time.sleep(0.3)", interval_s=60.0)

    found = outcome(container.meter)
    assert found.memory_method == "cgroup"
    assert found.peak_rss_bytes is not None
    assert 200 * MB <= found.peak_rss_bytes <= 230 * MB


def test_a_peak_between_two_samples_is_seen(run: Callable[..., Container]) -> None:
    source = f"import time; time.sleep(0.5); x = bytearray({200 * MB}); del x; time.sleep(1.0)"

    container = run(source, interval_s=0.4)

    found = outcome(container.meter)
    assert found.peak_rss_bytes is not None
    assert 200 * MB <= found.peak_rss_bytes <= 230 * MB
    assert container.samples[-1].hwm_bytes == found.peak_rss_bytes


def test_the_cache_of_files_is_no_memory_of_the_model(run: Callable[..., Container]) -> None:
    write = f"f = open('/tmp/big', 'wb'); [f.write(bytes({MB})) for _ in range(150)]; f.close()"

    container = run(f"import time; {write}; time.sleep(0.3)")

    found = outcome(container.meter)
    assert found.peak_rss_bytes is not None
    assert found.peak_rss_bytes < 60 * MB


def test_the_cpu_time_of_all_processes_is_counted(run: Callable[..., Container]) -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    source = f"import subprocess, sys; [subprocess.run([sys.executable, '-c', {burn!r}]) for _ in range(2)]"

    container = run(f"{source}; import time; time.sleep(0.3)")

    found = outcome(container.meter)
    assert found.cpu_time_s is not None
    assert 1.0 <= found.cpu_time_s <= 1.6


def test_processes_and_threads_are_counted(run: Callable[..., Container]) -> None:
    child = "import threading, time; threading.Thread(target=time.sleep, args=(0.8,)).start(); time.sleep(0.8)"
    source = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    container = run(source, interval_s=0.1)

    assert outcome(container.meter).max_processes == 2
    assert max(int(row["threads"] or 0) for row in container.rows()) >= 3


def test_what_is_written_is_counted(run: Callable[..., Container], tmp_path: Path) -> None:
    write = f"import os; f = open('/out/big', 'wb'); f.write(bytes({20 * MB})); f.flush(); os.fsync(f.fileno())"

    container = run(f"import time; {write}; time.sleep(0.5)", binds=[f"{tmp_path}:/out"], interval_s=0.1)

    found = outcome(container.meter)
    assert found.write_bytes is not None
    assert found.write_bytes >= 20 * MB


def test_what_the_kernel_kills_for_memory_is_counted(run: Callable[..., Container]) -> None:
    child = f"x = bytearray({200 * MB})"
    source = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {child!r}]); time.sleep(0.3)"

    container = run(source, mem_limit=60 * MB, memswap_limit=60 * MB)

    assert container.meter.oom_kills() == 1


def test_a_row_is_written_for_each_sample_while_it_runs(
    start: Callable[..., Container], until: Callable[..., None]
) -> None:
    container = start("import time; time.sleep(60)", interval_s=0.1)

    def sampled() -> bool:
        container.collect()
        return len(container.rows()) >= 3

    until(sampled, "three samples")

    times = [float(row["elapsed_s"]) for row in container.rows()]
    assert times == sorted(set(times))
    assert container.samples[-1].elapsed_s >= times[-1] - 1e-3
    assert container.samples[-1].processes == 1


def test_closing_the_meter_of_a_living_container_leaves_no_thread(start: Callable[..., Container]) -> None:
    container = start("import time; time.sleep(60)", interval_s=60.0)

    container.meter.close()
    container.meter.close()

    assert our_threads() == []
    assert len(container.rows()) >= 1


def test_the_thread_ends_with_the_container(start: Callable[..., Container], until: Callable[..., None]) -> None:
    container = start("import time; time.sleep(0.5)", interval_s=60.0)

    container.follow()

    until(lambda: our_threads() == [], "the thread to end by itself")


def test_a_time_series_that_cannot_be_written_is_a_problem_not_an_error(
    connection: Engine, start: Callable[..., Container], tmp_path: Path
) -> None:
    (tmp_path / "usage-1.csv").mkdir()

    container = start(f"import time; x = bytearray({50 * MB}); time.sleep(0.3)")
    container.follow()
    container.meter.close()

    assert "usage-1.csv' cannot be written" in container.meter.problem
    assert (outcome(container.meter).peak_rss_bytes or 0) >= 50 * MB


# In a container, by what the engine says


def test_the_engine_is_asked_where_the_cgroup_cannot_be_read(
    start: Callable[..., Container], until: Callable[..., None]
) -> None:
    source = f"import time; x = bytearray({100 * MB})\nwhile time.process_time() < 0.5: pass\ntime.sleep(60)"

    container = start(source, is_local=False)

    def is_at_rest() -> bool:
        container.collect()
        return container.samples != [] and container.samples[-1].cpu_time_s >= 0.5

    until(is_at_rest, "a sample after the work")
    found = outcome(container.meter)
    assert found.memory_method in ("cgroup", "sampled cgroup")
    assert found.peak_rss_bytes is not None
    assert 100 * MB <= found.peak_rss_bytes <= 150 * MB
    assert container.samples[-1].cpu_time_s <= 0.9
    assert found.max_processes is None
    assert all(row["processes"] == "" for row in container.rows())
    assert int(container.rows()[-1]["rss_bytes"]) >= 100 * MB


def test_the_thread_that_asks_the_engine_ends_with_the_container(
    connection: Engine, start: Callable[..., Container], until: Callable[..., None]
) -> None:
    container = start("import time; time.sleep(0.2)", is_local=False)
    container.follow()

    container.meter.close()

    until(lambda: our_threads() == [], "the thread to end")


# What a meter makes of it


def test_the_last_sample_is_taken_when_the_first_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    group = version_2(tmp_path)
    monkeypatch.setattr(_usage, "_FIRST_INTERVAL_S", 60.0)
    monkeypatch.setattr(_usage, "find_cgroup", lambda *_: CgroupV2(folder=str(group), process="/proc/1"))
    engine: Any = LostEngine()
    with subprocess.Popen(["sleep", "60"]) as process:
        meter = Meter(
            engine,
            ID,
            process.pid,
            tmp_path / "usage.csv",
            started=time.monotonic(),
            longest_interval_s=60.0,
            is_local=True,
        )
        until(lambda: meter.sample() is not None, "the first sample")

        (group / "memory.peak").write_text(f"{500 * MB}\n")
        process.kill()

        until(lambda: our_threads() == [], "the thread to end")
    meter.close()
    assert meter.facts()["peak_rss_bytes"] == 500 * MB - 2000000


def test_the_time_series_has_the_columns_of_the_local_backend() -> None:
    assert COLUMNS == _monitor.COLUMNS


class LostEngine:
    """An engine that says one thing, and is gone."""

    def stats(self, container: str) -> Iterator[dict[str, Any]]:
        yield {"memory_stats": {"usage": 7 * MB}}
        raise EngineLostError("gone")


def test_an_engine_that_is_lost_ends_the_samples_and_nothing_else(tmp_path: Path, until: Callable[..., None]) -> None:
    engine: Any = LostEngine()
    meter = Meter(
        engine, ID, 1, tmp_path / "usage.csv", started=time.monotonic(), longest_interval_s=1.0, is_local=False
    )

    until(lambda: our_threads() == [], "the thread to end")

    usage = meter.close()
    assert usage is not None
    assert usage.rss_bytes == 7 * MB
    assert meter.problem == ""


def test_a_container_that_has_ended_before_it_could_be_measured_has_no_facts(tmp_path: Path) -> None:
    engine: Any = LostEngine()
    meter = Meter(
        engine, ID, 0, tmp_path / "usage.csv", started=time.monotonic(), longest_interval_s=1.0, is_local=True
    )

    assert meter.close() is None
    assert outcome(meter) == Outcome()
    assert our_threads() == []
    assert (tmp_path / "usage.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_a_run_goes_on_where_no_thread_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_usage, "_EngineSource", refuse)
    engine: Any = LostEngine()

    meter = Meter(
        engine, ID, 1, tmp_path / "usage.csv", started=time.monotonic(), longest_interval_s=1.0, is_local=False
    )

    assert meter.problem == "what the container uses cannot be measured: can't start new thread"
    assert meter.close() is None


def test_a_disk_that_is_full_ends_the_time_series_not_the_samples(tmp_path: Path) -> None:
    engine: Any = LostEngine()
    meter = Meter(engine, ID, 1, Path("/dev/full"), started=time.monotonic(), longest_interval_s=1.0, is_local=False)

    meter.close()

    assert meter.problem == "the time series '/dev/full' cannot be written: No space left on device"


def test_a_disk_that_fills_up_ends_the_time_series_not_the_samples(tmp_path: Path, until: Callable[..., None]) -> None:
    engine: Any = LostEngine()
    meter = Meter(
        engine, ID, 1, tmp_path / "usage.csv", started=time.monotonic(), longest_interval_s=1.0, is_local=False
    )
    assert meter._usage is not None
    meter._usage.close()
    meter._usage = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115 - the meter closes it
    until(lambda: our_threads() == [], "the thread to end")

    usage = meter.close()

    assert usage is not None
    assert meter.problem == "the time series could not be written to its end: No space left on device"


def test_the_peak_is_the_kernels_maximum_without_the_cache_of_that_moment() -> None:
    totals = Totals()

    totals.add(Reading(cpu_time_s=0.0, charged_bytes=110, cache_bytes=10, most_charged_bytes=510), 0.1)

    assert totals.facts()["peak_rss_bytes"] == 500


def test_the_peak_is_never_less_than_a_sample_saw() -> None:
    totals = Totals()

    totals.add(Reading(cpu_time_s=0.0, charged_bytes=300, cache_bytes=0, most_charged_bytes=300), 0.1)
    totals.add(Reading(cpu_time_s=0.0, charged_bytes=900, cache_bytes=890, most_charged_bytes=900), 0.2)

    assert totals.facts()["peak_rss_bytes"] == 300


def test_an_old_maximum_is_not_judged_by_a_new_cache() -> None:
    totals = Totals()

    totals.add(Reading(cpu_time_s=0.0, charged_bytes=900, cache_bytes=800, most_charged_bytes=900), 0.1)
    totals.add(Reading(cpu_time_s=0.0, charged_bytes=120, cache_bytes=0, most_charged_bytes=900), 0.2)

    assert totals.facts()["peak_rss_bytes"] == 120


def test_what_was_used_so_far_never_goes_back() -> None:
    totals = Totals()

    totals.add(Reading(cpu_time_s=2.0, charged_bytes=9, storage=(5, 6), processes=3, oom_kills=1), 0.1)
    last = totals.add(Reading(cpu_time_s=0.0, charged_bytes=1, storage=(None, 2)), 0.2)

    assert (last["cpu_time_s"], last["read_bytes"], last["write_bytes"]) == (2.0, 5, 6)
    assert (totals.oom_kills, totals.facts()["max_processes"]) == (1, 3)


def test_a_peak_without_the_kernels_maximum_is_said_to_be_sampled() -> None:
    totals = Totals()

    totals.add(Reading(cpu_time_s=0.0, charged_bytes=9), 0.1)

    assert totals.facts()["memory_method"] == "sampled cgroup"


# What engines say


def statistics(text: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(text)
    return read


def test_docker_with_cgroups_in_version_1() -> None:
    found = read_statistics(
        statistics("""{
        "pids_stats": {"current": 3},
        "blkio_stats": {"io_service_bytes_recursive": [
            {"major": 8, "minor": 0, "op": "Read", "value": 100}, {"major": 8, "minor": 0, "op": "Write", "value": 200},
            {"major": 8, "minor": 0, "op": "Total", "value": 300}, {"minor": 16, "op": "Read", "value": 1}]},
        "cpu_stats": {"cpu_usage": {"total_usage": 2500000000, "percpu_usage": [2000000000, 500000000]}},
        "memory_stats": {"usage": 2863104, "max_usage": 4083712,
            "stats": {"inactive_file": 1, "total_inactive_file": 2199552}, "limit": 25276502016}}""")
    )

    assert found == Reading(
        cpu_time_s=2.5,
        charged_bytes=2863104,
        cache_bytes=2199552,
        most_charged_bytes=4083712,
        storage=(101, 200),
        threads=3,
    )


def test_docker_with_cgroups_in_version_2() -> None:
    found = read_statistics(
        statistics("""{
        "pids_stats": {"current": 3, "limit": 18446744073709551615},
        "blkio_stats": {"io_service_bytes_recursive": [
            {"major": 8, "op": "read", "value": 100}, {"major": 8, "op": "write", "value": 200}],
            "io_serviced_recursive": null},
        "cpu_stats": {"cpu_usage": {"total_usage": 2500000000}},
        "memory_stats": {"usage": 2863104, "stats": {"inactive_file": 2199552}, "limit": 25276502016}}""")
    )

    assert found == Reading(cpu_time_s=2.5, charged_bytes=2863104, cache_bytes=2199552, storage=(100, 200), threads=3)


def test_podman_which_says_little_of_memory() -> None:
    found = read_statistics(
        statistics("""{
        "pids_stats": {"current": 1},
        "blkio_stats": {"io_service_bytes_recursive": [], "io_serviced_recursive": null},
        "cpu_stats": {"cpu_usage": {"total_usage": 245625774}},
        "memory_stats": {"usage": 54476800, "max_usage": 1073741824, "limit": 1073741824}}""")
    )

    assert found == Reading(cpu_time_s=0.245625774, charged_bytes=54476800, threads=1)


@pytest.mark.parametrize(
    "text",
    [
        '{"memory_stats": {}, "cpu_stats": {"cpu_usage": {"total_usage": 0}}, "read": "0001-01-01T00:00:00Z"}',
        '{"memory_stats": null}',
        "{}",
    ],
)
def test_an_engine_that_says_nothing_is_no_reading(text: str) -> None:
    assert read_statistics(statistics(text)) is None


# What the kernel says


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A proc file system with one process, number 42."""
    write_files(tmp_path / "proc" / "self", mountinfo="")
    write_files(tmp_path / "proc" / "42", io="rchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\n")
    return tmp_path / "proc"


def version_2(tmp_path: Path) -> Path:
    group = write_files(
        tmp_path / "cgroup" / f"docker-{ID}.scope",
        memory__current="3000000\n",
        memory__peak="9000000\n",
        memory__stat="anon 500\nfile 2100000\ninactive_file 2000000\nactive_file 100000\n",
        memory__events="low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\n",
        cpu__stat="usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
        io__stat="8:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=999 dios=3\n8:16 rbytes=10000 wbytes=2\n",
        pids__current="5\n",
        cgroup__procs="",
    )
    write_files(group / "container", cgroup__procs="42\n43\n")
    return group


def version_1(tmp_path: Path) -> Path:
    """A version 1 whose controllers share hierarchies, as on most systems that have it."""
    group = f"docker/{ID}"
    mounted = tmp_path / "cgroup"
    write_files(
        mounted / "memory" / group,
        memory__usage_in_bytes="3000000\n",
        memory__max_usage_in_bytes="9000000\n",
        memory__stat="inactive_file 1\ntotal_inactive_file 2000000\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        cgroup__procs="42\n43\n",
    )
    write_files(mounted / "cpu,cpuacct" / group, cpuacct__usage="2500000000\n")
    write_files(mounted / "pids" / group, pids__current="5\n")
    write_files(
        mounted / "blkio" / group,
        blkio__throttle__io_service_bytes_recursive="8:0 Read 100\n8:0 Write 20000\n8:0 Total 20100\nTotal 20100\n",
    )
    return mounted


def test_a_cgroup_in_version_2(tmp_path: Path, proc: Path) -> None:
    group = version_2(tmp_path)
    write_files(
        proc / "self", mountinfo=f"31 23 0:28 / {tmp_path}/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    write_files(proc / "42", cgroup=f"0::/docker-{ID}.scope/container\n")

    cgroup = find_cgroup(ID, 42, str(proc))

    assert cgroup == CgroupV2(folder=str(group), process=f"{proc}/42")
    assert cgroup.read() == Reading(
        cpu_time_s=2.5,
        charged_bytes=3000000,
        cache_bytes=2000000,
        most_charged_bytes=9000000,
        storage=(10100, 8192),
        processes=2,
        threads=5,
        oom_kills=2,
    )


def test_a_cgroup_in_version_1_beside_an_empty_version_2(tmp_path: Path, proc: Path) -> None:
    mounted = version_1(tmp_path)
    (tmp_path / "cgroup" / "unified" / "docker" / ID).mkdir(parents=True)
    mounts = [
        f"3{number} 31 0:3{number} / {mounted}/{name} rw,relatime - cgroup cgroup rw,{name}"
        for number, name in enumerate(["memory", "cpu,cpuacct", "pids", "blkio"])
    ]
    write_files(
        proc / "self",
        mountinfo="\n".join([*mounts, f"40 31 0:40 / {mounted}/unified rw,relatime - cgroup2 cgroup2 rw", ""]),
    )
    names = ["4:memory", "3:cpu,cpuacct", "2:pids", "1:blkio", "0:"]
    write_files(proc / "42", cgroup="".join(f"{name}:/docker/{ID}\n" for name in names))

    cgroup = find_cgroup(ID, 42, str(proc))

    assert isinstance(cgroup, CgroupV1)
    assert cgroup.read() == Reading(
        cpu_time_s=2.5,
        charged_bytes=3000000,
        cache_bytes=2000000,
        most_charged_bytes=9000000,
        storage=(4096, 20000),
        processes=2,
        threads=5,
        oom_kills=2,
    )


def test_a_kernel_that_has_less_says_less(tmp_path: Path) -> None:
    group = write_files(tmp_path / "group", memory__current="3000000\n", cpu__stat="usage_usec 10\n")

    found = CgroupV2(folder=str(group), process=f"{tmp_path}/proc/42").read()

    assert found == Reading(cpu_time_s=1e-5, charged_bytes=3000000, processes=0)


@pytest.mark.parametrize(
    ("left", "reading"),
    [
        ("memory.peak", Reading(cpu_time_s=0.0, charged_bytes=0, processes=0)),
        ("cpu.stat", Reading(cpu_time_s=2.5, charged_bytes=0, processes=0)),
        ("memory.current", Reading(cpu_time_s=0.0, charged_bytes=3000000, processes=0)),
        ("pids.current", None),
    ],
)
def test_a_group_that_goes_away_while_it_is_read_says_what_it_can(
    tmp_path: Path, left: str, reading: Reading | None
) -> None:
    group = version_2(tmp_path)
    for path in [path for path in group.rglob("*") if path.is_file() and path.name != left]:
        path.unlink()

    assert CgroupV2(folder=str(group), process=f"{tmp_path}/proc/42").read() == reading


def test_a_cgroup_that_is_gone_is_no_reading(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")

    assert CgroupV2(folder=gone, process="/proc/42").read() is None
    assert CgroupV1(folders={"memory": gone, "cpuacct": gone}, process="/proc/42").read() is None


def test_a_process_of_somebody_else_is_not_the_containers(tmp_path: Path, proc: Path) -> None:
    version_2(tmp_path)
    write_files(proc / "self", mountinfo=f"31 23 0:28 / {tmp_path}/cgroup rw - cgroup2 cgroup2 rw\n")
    write_files(proc / "42", cgroup="0::/user.slice/session-1.scope\n")

    assert find_cgroup(ID, 42, str(proc)) is None
    assert find_cgroup(ID, 43, str(proc)) is None


def test_a_mount_that_shows_a_part_is_read_from_there(tmp_path: Path, proc: Path) -> None:
    # As where the caller runs in a container of its own that shows the engine's groups, in a place with a space.
    folder = write_files(tmp_path / "the groups" / ID, memory__current="0\n")
    point = f"{tmp_path}/the\\040groups"
    write_files(
        proc / "self",
        mountinfo=f"30 23 0:28 /elsewhere {tmp_path} rw - cgroup2 cgroup2 rw\n"
        f"31 23 0:28 /engine {point} rw - cgroup2 cgroup2 rw\n",
    )
    write_files(proc / "42", cgroup=f"0::/engine/{ID}\n")

    cgroup = find_cgroup(ID, 42, str(proc))

    assert cgroup == CgroupV2(folder=str(folder), process=f"{proc}/42")


def test_a_group_without_an_account_of_memory_is_left_to_the_engine(tmp_path: Path, proc: Path) -> None:
    (version_2(tmp_path) / "memory.current").unlink()
    write_files(proc / "self", mountinfo=f"31 23 0:28 / {tmp_path}/cgroup rw - cgroup2 cgroup2 rw\n")
    write_files(proc / "42", cgroup=f"0::/docker-{ID}.scope/container\n")

    assert find_cgroup(ID, 42, str(proc)) is None


def test_a_group_that_no_mount_shows_is_not_found(tmp_path: Path, proc: Path) -> None:
    version_2(tmp_path)
    write_files(proc / "self", mountinfo=f"31 23 0:28 /engine/mine {tmp_path}/cgroup rw - cgroup2 cgroup2 rw\n")
    write_files(proc / "42", cgroup=f"0::/engine/docker-{ID}.scope\n")

    assert find_cgroup(ID, 42, str(proc)) is None
