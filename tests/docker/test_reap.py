"""Containers that nobody is left to end: which of them are removed, and which are somebody else's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest

from rompy_core import (
    ModelRun,
    ProcessIdentity,
    RunHandle,
    RunRecord,
    RunReport,
    RunState,
    identify,
    open_record,
    read_report,
    unstructure_config,
)
from rompy_docker import reap
from rompy_docker._labels import CALLER, container_name, labels_for

Containers = Callable[[], list[dict[str, Any]]]
Leave = Callable[..., str]
Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]
Until = Callable[..., None]

CALLING = """\
import json, sys, time
from rompy_core import ModelRun
options = json.loads(sys.argv[2])
options["executable"] = ["sh", "-c", "echo begun; sleep 300"]
ModelRun(run_id="case", output_dir=sys.argv[1]).run("docker", **options)
"""


@pytest.fixture(scope="module")
def dead() -> ProcessIdentity:
    """A process that has ended."""
    process = subprocess.Popen(["sleep", "60"])
    known = identify(process.pid)
    process.kill()
    process.wait()
    return known


@pytest.fixture
def record(tmp_path: Path, dead: ProcessIdentity) -> RunRecord:
    """The record of a run that nobody is left to complete."""
    workspace = tmp_path / "left"
    workspace.mkdir()
    return open_record(workspace, run_id="left", backend="docker", supervisor=dead)


@pytest.fixture
def leave(
    record: RunRecord, dead: ProcessIdentity, api: Any, images: Any, containers: Containers, engine: str
) -> Iterator[Leave]:
    """Make a container as a caller leaves it, and give its name."""
    made: list[str] = []

    def make(
        *,
        caller: ProcessIdentity = dead,
        is_started: bool = True,
        is_kept: bool = False,
        command: str = "sleep 300",
        **labels: str | None,
    ) -> str:
        name = f"{container_name(record)}-{len(made)}"
        changed = {f"rompy.{key}": value for key, value in labels.items()}
        ours = labels_for(record, dead, is_kept=is_kept) | {CALLER: json.dumps(unstructure_config(caller))} | changed
        host = api.create_host_config(network_mode="none", init=True)
        container = api.create_container(
            images.busybox,
            entrypoint=["sh", "-c", command],
            name=name,
            labels={key: value for key, value in ours.items() if value is not None},
            host_config=host,
        )
        made.append(container["Id"])
        if is_started:
            api.start(container)
        return name

    yield make
    for container in made:
        if api.containers(all=True, filters={"id": container}):
            api.remove_container(container, force=True)


def test_a_running_container_of_a_dead_caller_is_ended_and_its_record_completed(
    leave: Leave, record: RunRecord, engine: str, containers: Containers
) -> None:
    name = leave()

    assert reap(engine) == [name]

    assert containers() == []
    report = read_report(record.directory)
    assert report.state is RunState.CANCELLED
    assert "its caller was ended" in report.reason
    assert report.finished_at is not None


def test_a_container_that_was_never_started_is_removed(leave: Leave, engine: str, containers: Containers) -> None:
    name = leave(is_started=False)

    assert reap(engine) == [name]

    assert containers() == []


def test_a_container_that_has_ended_is_removed(
    leave: Leave, engine: str, api: Any, containers: Containers, until: Until
) -> None:
    name = leave(command="true")
    until(lambda: not api.inspect_container(name)["State"]["Running"])

    assert reap(engine) == [name]

    assert containers() == []


def test_a_paused_container_is_removed(leave: Leave, engine: str, api: Any, containers: Containers) -> None:
    name = leave()
    api.pause(name)

    assert reap(engine) == [name]

    assert containers() == []


def test_one_that_ignores_the_request_to_end_is_removed(leave: Leave, engine: str, containers: Containers) -> None:
    name = leave(command="trap '' TERM; while :; do sleep 0.1; done")

    assert reap(engine) == [name]

    assert containers() == []


def test_the_next_run_of_anybody_removes_what_dead_callers_left(
    leave: Leave, record: RunRecord, run: Run, api: Any
) -> None:
    names = {leave(), leave(is_started=False)}

    report = run("true")

    assert report.ok
    assert not names & {one["Names"][0].lstrip("/") for one in api.containers(all=True)}
    assert read_report(record.directory).state is RunState.CANCELLED


def test_what_dead_callers_left_holds_up_no_limit_of_a_run(leave: Leave, run: Run) -> None:
    for _ in range(4):
        leave(command="trap '' TERM; while :; do sleep 0.1; done")

    report = run("sleep 60", timeout=0.5, grace_s=1)

    assert report.state is RunState.TIMED_OUT
    assert report.wall_time_s is not None
    assert report.wall_time_s <= 0.5 + 1 + 2


def test_a_record_that_was_completed_stays_as_it_is(leave: Leave, record: RunRecord, engine: str) -> None:
    record.finish(RunState.TIMED_OUT, "said before")
    name = leave(is_started=False)

    assert reap(engine) == [name]

    assert read_report(record.directory).reason == "said before"


def test_a_container_whose_record_is_gone_is_removed(leave: Leave, engine: str, tmp_path: Path) -> None:
    name = leave(record=f"{tmp_path}/nowhere")

    assert reap(engine) == [name]


@pytest.mark.parametrize(
    "changes",
    [{"start_time": "1"}, {"boot_id": "another boot"}],
    ids=["its_number_was_given_away", "before_a_reboot"],
)
def test_a_caller_whose_number_another_process_has_now_is_dead(
    leave: Leave, engine: str, changes: dict[str, str]
) -> None:
    name = leave(caller=attrs.evolve(identify(), **changes))

    assert reap(engine) == [name]


@pytest.mark.parametrize(
    "changes",
    [{"host": "another-machine"}, {"pid_namespace": "pid:[1]"}],
    ids=["another_machine", "another_pid_namespace"],
)
def test_a_caller_that_cannot_be_looked_at_is_not_taken_for_dead(
    leave: Leave, engine: str, dead: ProcessIdentity, changes: dict[str, str]
) -> None:
    leave(caller=attrs.evolve(dead, **changes))

    assert reap(engine) == []


@pytest.mark.parametrize(
    "labels",
    [
        {"caller": None},
        {"caller": "true"},
        {"caller": "{}"},
        {"caller": '{"host": 1, "pid": "x"}'},
        {"watchdog": None},
        {"watchdog": "[]"},
        {"record": None},
    ],
)
def test_a_container_with_labels_that_are_not_ours_is_left_alone(
    leave: Leave, engine: str, labels: dict[str, str | None]
) -> None:
    leave(**labels)

    assert reap(engine) == []


def test_a_living_callers_container_is_left_alone_even_if_it_has_ended(
    leave: Leave, engine: str, api: Any, until: Until
) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        running = leave(caller=identify(other.pid))
        leave(caller=identify(other.pid), is_started=False)
        ended = leave(caller=identify(other.pid), command="true")
        until(lambda: not api.inspect_container(ended)["State"]["Running"])

        assert reap(engine) == []

        assert api.inspect_container(running)["State"]["Running"]
    finally:
        other.kill()
        other.wait()


def test_a_run_of_this_process_is_left_alone(submit: Submit, engine: str) -> None:
    with submit("sleep 60") as handle:
        found = reap(engine)
        handle.cancel()
        report = handle.wait(20)

    assert found == []
    assert report.state is RunState.CANCELLED


def test_what_this_process_has_lost_sight_of_is_removed(leave: Leave, engine: str) -> None:
    name = leave(caller=identify())

    assert reap(engine) == [name]


def test_a_container_that_is_to_be_kept_stays_when_it_has_ended(
    leave: Leave, engine: str, api: Any, until: Until
) -> None:
    name = leave(is_kept=True, command="true")
    until(lambda: not api.inspect_container(name)["State"]["Running"])

    assert reap(engine) == []

    assert api.inspect_container(name)["State"]["Status"] in ("exited", "stopped")


def test_a_container_that_is_to_be_kept_is_ended_if_it_runs_and_stays(
    leave: Leave, record: RunRecord, engine: str, api: Any, until: Until
) -> None:
    name = leave(is_kept=True)

    assert reap(engine) == [name]

    until(lambda: not api.inspect_container(name)["State"]["Running"])
    assert read_report(record.directory).state is RunState.CANCELLED


def test_a_run_can_keep_its_container(submit: Submit, api: Any, engine: str, containers: Containers) -> None:
    report = submit("true", remove_container=False).wait(20)

    kept = containers()
    found = reap(engine)
    for container in kept:
        api.remove_container(container["Id"])
    assert report.ok
    assert [container["State"] in ("exited", "stopped") for container in kept] == [True]
    assert found == []


def test_an_engine_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No such file"):
        reap(f"unix://{tmp_path}/nowhere")


@pytest.fixture
def other(
    tmp_path: Path, engine_options: dict[str, Any], images: Any, containers: Containers, until: Until
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Have another process run a container, and wait until that has begun."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*wrapper: str) -> subprocess.Popen[bytes]:
        options = json.dumps({"image": images.busybox, **engine_options})
        command = [*wrapper, sys.executable, "-c", CALLING, str(tmp_path), options]
        started.append(subprocess.Popen(command, process_group=0))
        until(lambda: [log for log in (tmp_path / "case").glob(".rompy/*/stdout.log") if log.read_bytes()])
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    until(lambda: containers() == [], "the end of the containers")


def test_the_run_of_another_living_process_is_left_alone(
    other: Callable[..., subprocess.Popen[bytes]], engine: str, containers: Containers, run: Run, model_run: ModelRun
) -> None:
    other()

    found = reap(engine)
    assert run("true").ok

    assert found == []
    assert len(containers()) == 1


def test_the_run_of_a_process_in_a_pid_namespace_of_its_own_is_left_alone(
    other: Callable[..., subprocess.Popen[bytes]], engine: str, api: Any, containers: Containers
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a PID namespace")
    namespace = other("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

    found = reap(engine)
    left = containers()

    namespace.kill()  # its watchdog goes with it, and nobody outside can tell
    namespace.wait()
    for container in left:
        api.remove_container(container["Id"], force=True)
    assert found == []
    assert len(left) == 1


def test_what_a_caller_and_its_watchdog_left_when_both_were_killed_is_removed(
    other: Callable[..., subprocess.Popen[bytes]], engine: str, tmp_path: Path, containers: Containers
) -> None:
    caller = other()
    watchdog = read_report(tmp_path / "case").supervisor
    assert watchdog is not None

    caller.send_signal(signal.SIGSTOP)  # or it would replace the watchdog
    psutil.Process(watchdog.pid).kill()
    caller.kill()
    caller.wait()
    left = containers()
    found = reap(engine)

    assert len(left) == len(found) == 1
    assert containers() == []
    report = read_report(tmp_path / "case")
    assert report.state is RunState.CANCELLED
    assert "by a later run or by reap()" in report.reason
