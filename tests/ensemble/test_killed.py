"""Drivers and workers that are killed: nothing lives on, nothing is lost, nothing is done twice."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from rompy_core import RunState, find_runs

from .driving import ensemble_of

TOKEN = "ROMPY_TEST_TOKEN"
DRIVING = Path(__file__).with_name("driving.py")
ENGINES = ["threads", "processes", "dask"]

Living = Callable[[], list[str]]
Until = Callable[..., None]


def given(directory: Path, token: str, *members: str, **options: Any) -> dict[str, Any]:
    return {
        "directory": str(directory),
        "members": [{"command": command} for command in members],
        "run_kwargs": {"env_vars": {TOKEN: token}},
        "max_workers": 2,
        **options,
    }


@contextmanager
def driver(described: Mapping[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(DRIVING), json.dumps(described)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        children: list[psutil.Process] = []
        try:
            yield process
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        finally:
            process.kill()
            for child in children:
                child.kill()


def sleepers(token: str) -> list[psutil.Process]:
    """Find the members' own processes, oldest first."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.name() == "sleep" and process.environ().get(TOKEN) == token:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return sorted(found, key=lambda process: process.create_time())


def worker_of(member: psutil.Process) -> psutil.Process:
    """Find the process that the engine runs a member in: below the driver and above the supervisor."""
    parents = member.parents()
    supervisors = [parent for parent in parents if "rompy_local" in " ".join(parent.cmdline())]
    return parents[parents.index(supervisors[-1]) + 1]


def end_orphans(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.parametrize("executor", ENGINES)
def test_a_killed_driver_leaves_no_process_of_a_member_and_the_next_start_does_the_rest(
    executor: str, tmp_path: Path, token: str, living: Living, until: Until
) -> None:
    described = given(tmp_path, token, "true", "sleep 60", "sleep 60", "true", executor=executor)
    with driver(described) as process:
        until(lambda: len(sleepers(token)) == 2, "both members", timeout=30)
        engine = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]

        process.kill()
        until(lambda: living() == [], "the end of all members", timeout=20)
        until(lambda: all(run.state.is_final for run in find_runs(tmp_path)), "their records")
    end_orphans(engine)  # idle workers of a ProcessPoolExecutor outlive its owner

    described["members"] = [{"command": command} for command in ("true", "sleep 0.1", "true", "true")]
    report = ensemble_of(described).run()

    assert report.ok
    assert [row.ran for row in report] == [0, 1, 1, 1]
    states = [[run.state for run in find_runs(row.workspace_dir)] for row in report]
    done = [RunState.COMPLETED]
    assert states == [done, [RunState.CANCELLED, *done], [RunState.CANCELLED, *done], done]


@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_a_member_whose_worker_is_killed_is_run_elsewhere_after_its_process_has_gone(
    executor: str, tmp_path: Path, token: str, living: Living, until: Until
) -> None:
    wait = "test -e ../go || exec sleep 60"
    described = given(tmp_path, token, wait, wait, "true", executor=executor)
    with driver(described) as process:
        until(lambda: len(sleepers(token)) == 2, "both members", timeout=30)
        member = sleepers(token)[0]
        worker = worker_of(member)
        assert worker.pid != process.pid
        (tmp_path / "go").touch()

        worker.kill()
        until(lambda: not member.is_running(), "the end of the member's process")
        for other in sleepers(token):
            other.terminate()
        out, err = process.communicate(timeout=50)

    assert process.returncode == 0, err
    rows = dict(line.split(" ", 1) for line in out.splitlines())
    lost = {run.run_id for run in find_runs(tmp_path) if run.state is RunState.CANCELLED}
    assert lost
    for run_id in ("m-0001", "m-0002", "m-0003"):
        runs = find_runs(tmp_path / run_id)
        if run_id in lost:
            assert rows[run_id].startswith("COMPLETED"), out
        assert all(
            one.finished_at is not None and one.finished_at <= other.started_at
            for one, other in itertools.pairwise(runs)
        ), "two writers"
    assert living() == []


@pytest.mark.parametrize("executor", ENGINES)
def test_an_interrupt_ends_all_members_and_the_next_start_resumes(
    executor: str, tmp_path: Path, token: str, living: Living, until: Until
) -> None:
    described = given(tmp_path, token, "true", "sleep 60", "sleep 60", "sleep 0.01", executor=executor)
    with driver(described) as process:
        until(lambda: len(sleepers(token)) == 2, "both members", timeout=30)

        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert "KeyboardInterrupt" in err
    assert living() == []
    read = ensemble_of(described).read()
    assert [row.state for row in read] == [RunState.COMPLETED, RunState.CANCELLED, RunState.CANCELLED, None]
    described["members"] = [{"command": "true"}] * 4
    described["executor"] = "threads"
    assert [row.ran for row in ensemble_of(described).run()] == [0, 1, 1, 1]


def test_a_driver_killed_again_and_again_finishes_every_member_exactly_once(
    tmp_path: Path, token: str, living: Living, until: Until
) -> None:
    described = given(tmp_path, token, *["sleep 0.05; echo done >> out"] * 12, max_workers=3)
    chance = random.Random(7)
    for _ in range(3):
        with driver(described) as process:
            assert process.stdout is not None
            process.stdout.readline()
            _pause(chance.uniform(0, 0.15))
            process.kill()

    report = ensemble_of(described).run()

    assert report.ok
    for row in report:
        runs = [run.state for run in find_runs(row.workspace_dir)]
        assert runs.count(RunState.COMPLETED) == 1
        assert (row.workspace_dir / "out").read_text().count("done") >= 1
    assert living() == []


def _pause(seconds: float) -> None:
    """Wait for nothing: the moment of the kill is to be any."""
    import time

    time.sleep(seconds)
