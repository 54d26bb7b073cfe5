"""Drivers and workers that are killed: nothing lives on, nothing is lost, nothing is done twice."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rompy_core import RunState, find_runs

from .driving import ensemble_of
from .processes import TOKEN, Driver, below, kill, sleepers

pytestmark = pytest.mark.timeout(180)  # an engine takes its time to start on a busy machine
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


@pytest.mark.parametrize("executor", ENGINES)
def test_a_killed_driver_leaves_no_process_of_a_member_and_the_next_start_does_the_rest(
    executor: str, tmp_path: Path, token: str, driver: Driver, living: Living, until: Until
) -> None:
    described = given(tmp_path, token, "true", "sleep 60", "sleep 60", "true", executor=executor)
    with driver(described) as process:
        until(lambda: len(sleepers(token)) == 2, "both members", timeout=60)

        process.kill()
        until(lambda: living() == [], "the end of all members", timeout=30)
        until(lambda: all(run.state.is_final for run in find_runs(tmp_path)), "their records")

    described["members"] = [{"command": command} for command in ("true", "sleep 0.1", "true", "true")]
    report = ensemble_of(described).run()

    assert report.ok
    assert [row.ran for row in report] == [0, 1, 1, 1]
    states = [[run.state for run in find_runs(row.workspace_dir)] for row in report]
    done = [RunState.COMPLETED]
    assert states == [done, [RunState.CANCELLED, *done], [RunState.CANCELLED, *done], done]


@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_a_member_whose_worker_is_killed_is_run_elsewhere_after_its_process_has_gone(
    executor: str, tmp_path: Path, token: str, driver: Driver, living: Living, until: Until
) -> None:
    wait = "test -e ../go || exec sleep 120"
    described = given(tmp_path, token, wait, wait, "true", executor=executor)
    with driver(described) as process:
        until(lambda: len(sleepers(token)) == 2, "both members", timeout=60)
        member = sleepers(token)[0]
        _supervisor, worker = below(process.pid, member)
        (tmp_path / "go").touch()

        worker.kill()
        until(lambda: not member.is_running(), "the end of the member's process", timeout=30)
        kill(sleepers(token))  # the other one may be ending by itself: its engine is broken
        out, err = process.communicate(timeout=100)

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


@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_a_member_whose_end_comes_just_before_that_of_its_worker_has_not_failed(
    executor: str, tmp_path: Path, token: str, driver: Driver, living: Living, until: Until
) -> None:
    described = given(tmp_path, token, "test -e ../go || exec sleep 120", executor=executor, max_workers=1)
    with driver(described) as process:
        until(lambda: len(sleepers(token)) == 1, "the member", timeout=60)
        member = sleepers(token)[0]
        _supervisor, worker = below(process.pid, member)
        (tmp_path / "go").touch()

        member.terminate()  # as a queue does, whose signal goes to all processes of a job, in some order
        until(lambda: all(run.state.is_final for run in find_runs(tmp_path)), "its record")
        worker.terminate()
        out, err = process.communicate(timeout=100)

    assert out.split() == ["m-0001", "COMPLETED", "2"], err
    assert [run.state for run in find_runs(tmp_path)] == [RunState.FAILED, RunState.COMPLETED]
    assert living() == []


@pytest.mark.parametrize("executor", ENGINES)
def test_an_interrupt_ends_all_members_and_the_next_start_resumes(
    executor: str, tmp_path: Path, token: str, driver: Driver, living: Living, until: Until
) -> None:
    described = given(tmp_path, token, "true", "sleep 60", "sleep 60", "sleep 0.01", executor=executor)
    with driver(described) as process:
        until(lambda: len(sleepers(token)) == 2, "both members", timeout=60)

        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert "KeyboardInterrupt" in err
    assert living() == []
    read = ensemble_of(described).read()
    assert [row.state for row in read] == [RunState.COMPLETED, RunState.CANCELLED, RunState.CANCELLED, None]
    described["members"] = [{"command": "true"}] * 4
    described["executor"] = "threads"
    assert [row.ran for row in ensemble_of(described).run()] == [0, 1, 1, 1]


def test_a_driver_killed_again_and_again_finishes_every_member_exactly_once(
    tmp_path: Path, token: str, driver: Driver, living: Living, until: Until
) -> None:
    described = given(tmp_path, token, *["sleep 0.05; echo done >> out"] * 12, max_workers=3)
    chance = random.Random(7)
    for _ in range(3):
        with driver(described) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0, 0.15))  # the moment of the kill is to be any
            process.kill()

    report = ensemble_of(described).run()

    assert report.ok
    for row in report:
        runs = [run.state for run in find_runs(row.workspace_dir)]
        assert runs.count(RunState.COMPLETED) == 1
        assert (row.workspace_dir / "out").read_text().count("done") >= 1
    assert living() == []
