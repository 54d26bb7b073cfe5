"""Each limit is asked of the engine, as ``docker inspect`` shows, and is in effect, as the command finds."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from rompy_core import ConfigError, ModelRun, RunHandle, RunReport
from rompy_docker import capabilities

Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]
Inspect = Callable[[RunHandle], dict[str, Any]]
MB = 2**20

STATUS = "grep -E '^(NoNewPrivs|Seccomp|Cap(Eff|Prm|Bnd|Amb))' /proc/self/status"


def sh(source: str) -> list[str]:
    return ["sh", "-c", source]


def lines(report: RunReport) -> list[str]:
    assert report.ok, report
    assert report.stdout_path is not None
    return report.stdout_path.read_text().splitlines()


@pytest.fixture
def inspect(api: Any, containers: Callable[[], list[dict[str, Any]]]) -> Inspect:
    """Show the container of a run."""

    def show(handle: RunHandle) -> dict[str, Any]:
        names = [one["Id"] for one in containers() if one["Labels"]["rompy.record"] == str(handle.record_dir)]
        assert len(names) == 1
        shown: dict[str, Any] = api.inspect_container(names[0])
        return shown

    return show


def test_the_engine_is_asked_for_every_limit(submit: Submit, inspect: Inspect, engine_options: dict[str, Any]) -> None:
    limits = {**engine_options.get("ulimits", {}), "core": 0}

    with submit(
        "sleep 60", memory="256m", cpu=1, pids_limit=50, shm_size="96m", ulimits=limits, read_only=True
    ) as handle:
        shown = inspect(handle)
        handle.cancel()
        handle.wait(20)

    host = shown["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (256 * MB, 256 * MB)
    assert host["NanoCpus"] == 10**9 or host["CpuQuota"] == host["CpuPeriod"] > 0
    assert host["PidsLimit"] == 50
    assert host["ShmSize"] == 96 * MB
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    ulimits = {one["Name"].lower().removeprefix("rlimit_"): (one["Soft"], one["Hard"]) for one in host["Ulimits"]}
    assert ulimits["core"] == (0, 0)
    assert shown["Config"]["User"] == f"{os.getuid()}:{os.getgid()}"
    assert any("no-new-privileges" in option for option in host["SecurityOpt"])


def test_the_record_is_on_the_container(submit: Submit, inspect: Inspect) -> None:
    with submit("sleep 60") as handle:
        shown = inspect(handle)
        handle.cancel()
        handle.wait(20)

    labels = shown["Config"]["Labels"]
    assert labels["rompy.run_id"] == "case"
    assert labels["rompy.record"] == str(handle.record_dir)
    assert shown["Name"].startswith("/rompy-case-") or shown["Name"].startswith("rompy-case-")


def test_the_engine_keeps_no_log_of_the_output(submit: Submit, inspect: Inspect) -> None:
    with submit("sleep 60") as handle:
        shown = inspect(handle)
        handle.cancel()
        handle.wait(20)

    assert shown["HostConfig"]["LogConfig"]["Type"] == "none"


def test_two_busy_processes_get_one_processor_where_that_is_the_limit(run: Run) -> None:
    busy = "while :; do :; done & while :; do :; done & sleep 2; kill %1 %2"

    report = run(sh(busy), cpu=1)

    assert report.cpu_time_s is not None
    assert report.wall_time_s is not None
    assert report.cpu_time_s <= 1.1 * report.wall_time_s
    assert report.cpu_time_s >= 0.5, "the processes were not busy, so nothing was shown"


def test_more_processors_than_there_are_is_a_warning(submit: Submit, inspect: Inspect, api: Any) -> None:
    processors = api.info()["NCPU"]

    with submit("sleep 60", cpu=processors + 5) as handle:
        host = inspect(handle)["HostConfig"]
        handle.cancel()
        report = handle.wait(20)

    assert host["NanoCpus"] == processors * 10**9 or host["CpuQuota"] == processors * host["CpuPeriod"]
    assert [warning for warning in report.warnings if f"cpu is {processors + 5}" in warning], report.warnings


def test_mpiexec_keeps_the_number_of_ranks_that_was_asked_for(run: Run, model_run: ModelRun, api: Any) -> None:
    ranks = api.info()["NCPU"] + 5
    launcher = model_run.generate() / "launcher"
    launcher.write_text('#!/bin/sh\necho "$@"\n')
    launcher.chmod(0o755)

    report = run("./model --deep 'two words'", mpiexec="./launcher --quiet", cpu=ranks)

    assert lines(report) == [f"--quiet -n {ranks} ./model --deep two words"]
    assert report.command == ("./launcher", "--quiet", "-n", str(ranks), "./model", "--deep", "two words")


def test_processors_are_told_to_openmp(run: Run) -> None:
    assert lines(run(sh("echo $OMP_NUM_THREADS"), cpu=2)) == ["2"]
    assert lines(run(sh("echo $OMP_NUM_THREADS"), cpu=2, env_vars={"OMP_NUM_THREADS": "5"})) == ["5"]


def test_the_number_of_processes_is_limited(run: Run) -> None:
    report = run(sh("for i in 1 2 3 4 5 6 7 8; do sleep 20 & done; echo made"), pids_limit=5)

    assert not report.ok
    assert report.stderr_path is not None
    assert "fork" in report.stderr_path.read_text()


def test_shared_memory_has_the_size_that_was_asked_for(run: Run) -> None:
    report = run(sh("df -k /dev/shm | tail -n 1"), shm_size="96m")

    assert lines(report)[0].split()[1] == str(96 * 1024)


def test_shared_memory_is_large_enough_for_mpi_without_being_asked_for(run: Run) -> None:
    assert lines(run(sh("df -k /dev/shm | tail -n 1")))[0].split()[1] == str(2**20)


def test_the_stack_is_unlimited_and_other_limits_are_what_was_asked_for(
    run: Run, engine_options: dict[str, Any]
) -> None:
    limits = {**engine_options.get("ulimits", {}), "nofile": 321}

    report = run(sh("ulimit -s; ulimit -n"), ulimits=limits)

    assert lines(report) == ["unlimited", "321"]


def test_the_stack_can_be_limited(run: Run, engine_options: dict[str, Any]) -> None:
    report = run(sh("ulimit -s"), ulimits={**engine_options.get("ulimits", {}), "stack": 4 * MB})

    assert lines(report) == ["4096"]


def test_there_is_no_network_unless_it_is_asked_for(run: Run) -> None:
    report = run(sh("tail -n +3 /proc/net/dev | cut -d: -f1"))

    assert [line.strip() for line in lines(report)] == ["lo"]


def test_the_network_of_the_host_can_be_asked_for(run: Run) -> None:
    report = run(sh("readlink /proc/self/ns/net"), network="host")

    assert lines(report) != lines(run(sh("readlink /proc/self/ns/net")))


def test_no_privilege_is_left_nor_can_one_be_gained(run: Run) -> None:
    status = dict(line.split(":\t") for line in lines(run(sh(STATUS))))

    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


def test_a_capability_can_be_kept(run: Run) -> None:
    chown = 1

    status = dict(line.split(":\t") for line in lines(run(sh(STATUS), cap_add=["CHOWN"])))

    assert int(status["CapBnd"], 16) == chown


def test_what_is_hardened_can_be_softened(run: Run) -> None:
    status = dict(line.split(":\t") for line in lines(run(sh(STATUS), cap_drop=[], no_new_privileges=False)))

    assert int(status["CapBnd"], 16) != 0
    assert status["NoNewPrivs"] == "0"


def test_with_a_read_only_image_only_the_workspace_and_tmp_can_be_written(run: Run, model_run: ModelRun) -> None:
    source = (
        "touch mine /tmp/mine; for f in /mine /bin/mine /etc/mine; do touch $f 2>/dev/null && echo $f; done; ls /tmp"
    )

    report = run(sh(source), read_only=True, user="0:0")

    assert lines(report) == ["mine"]
    assert (model_run.workspace_dir / "mine").exists()


def test_process_1_collects_orphans_and_passes_signals_on(run: Run) -> None:
    report = run(sh("cat /proc/1/comm"))

    assert lines(report)[0] in ("tini", "docker-init", "catatonit", "podman-init")


def test_without_init_the_command_is_process_1(run: Run) -> None:
    assert lines(run(sh("echo $$"), init=False)) == ["1"]


def test_what_the_engine_guarantees_can_be_required(run: Run, engine: str) -> None:
    held = [name for name, capability in capabilities(engine).items() if capability]

    assert {"engine", "mount", "memory", "cpu", "pids_limit"} <= set(held)
    assert run("true", require=held).ok


def test_a_guarantee_that_is_not_known_is_refused_before_anything_is_written(
    submit: Submit, model_run: ModelRun
) -> None:
    with pytest.raises(ConfigError, match="no guarantee is called 'magic'"):
        submit("true", require=["magic"])

    assert not model_run.output_dir.exists()


def test_a_limit_that_the_engine_cannot_keep_is_said_so(
    run: Run, engine: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import attrs

    from rompy_docker import _engine

    caplog.set_level(logging.WARNING)
    weak = attrs.evolve(_engine.Engine(_engine.find_address(engine), 30).facts, cannot=frozenset({"memory"}))
    monkeypatch.setitem(_engine._FACTS, engine, weak)

    report = run("true", memory="64m")

    assert report.ok
    assert [warning for warning in report.warnings if "memory is not limited" in warning]
    assert "memory is not limited" in caplog.text


def test_the_use_of_the_whole_container_is_measured(run: Run, images: Any) -> None:
    child = "import time\nx, end = b'x' * 80_000_000, time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    start = f"[subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(2)]"

    report = run(["python3", "-c", f"import subprocess, sys\nfor p in {start}: p.wait()"], image=images.python)

    assert report.ok, report
    assert report.cpu_time_s is not None
    assert report.cpu_time_s >= 0.8
    assert report.peak_rss_bytes is not None
    assert report.peak_rss_bytes >= 80_000_000
    assert report.usage_path is not None
    assert len(report.usage_path.read_text().splitlines()) >= 2
