"""Workers in the jobs of a real queue: a private Slurm, by ``dask-jobqueue``."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.slurm.clusters import Cluster

from rompy_core import RunState, find_runs

from .processes import TOKEN, Driver, carrying

pytestmark = pytest.mark.timeout(180)  # a job and the worker in it take their time to start on a busy machine
MEMBERS = 6
JOBS = 2

Living = Callable[[], list[str]]
Until = Callable[..., None]


@pytest.fixture
def jobs(slurm: Cluster, token: str) -> Callable[[], list[str]]:
    """List the numbers of the jobs of this test that are in the queue."""
    return lambda: slurm.call("squeue", "--noheader", "--format=%i", f"--name={token}").split()


def given(directory: Path, token: str) -> dict[str, Any]:
    """Describe members that say which job they run in and then wait for a file, on the workers in two jobs."""
    options = {"cores": 1, "memory": "512MB", "job_name": token, "log_directory": str(directory / "logs")}
    return {
        "directory": str(directory),
        "members": [{"command": "echo $SLURM_JOB_ID >> jobs; until test -e ../go; do sleep 0.05; done"}] * MEMBERS,
        "run_kwargs": {"env_vars": {TOKEN: token}},
        "executor": "dask",
        "executor_kwargs": {"queue": "slurm", "queue_options": options, "jobs": JOBS},
        "max_workers": JOBS,
    }


def jobs_of(member: Path) -> list[str]:
    """List the jobs that a member has begun in."""
    with contextlib.suppress(FileNotFoundError):
        return (member / "jobs").read_text().split()
    return []


def processes_in(job: str, token: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in carrying(TOKEN, token):
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == job:
                found.append(process)
    return found


def test_the_members_of_a_job_that_is_cancelled_run_in_another_one_and_no_job_is_left(
    tmp_path: Path,
    token: str,
    slurm: Cluster,
    jobs: Callable[[], list[str]],
    driver: Driver,
    living: Living,
    until: Until,
) -> None:
    first = tmp_path / "m-0001"
    with driver(given(tmp_path, token)) as process:
        until(lambda: jobs_of(first) and jobs_of(tmp_path / "m-0002"), "a member in each job", timeout=90)
        lost, others = jobs_of(first)[0], jobs_of(tmp_path / "m-0002")
        assert sorted([lost, *others]) == sorted(jobs())
        assert processes_in(lost, token)

        slurm.call("scancel", lost)
        until(lambda: not processes_in(lost, token), "the end of the member's processes", timeout=30)
        until(lambda: len(jobs_of(first)) == 2, "its second beginning", timeout=90)
        replaced = set(jobs())
        (tmp_path / "go").touch()
        out, err = process.communicate(timeout=90)

    assert process.returncode == 0, err
    assert sorted(line.split()[:2] for line in out.splitlines()) == [
        [f"m-{number:04d}", "COMPLETED"] for number in range(1, MEMBERS + 1)
    ]
    assert len(replaced - {lost}) == JOBS
    assert jobs_of(first)[1] in replaced - {lost, *others}
    before, after = find_runs(first)
    assert after.state is RunState.COMPLETED
    assert before.finished_at is not None
    assert before.finished_at <= after.started_at, "two writers"
    assert [run.state for run in find_runs(tmp_path)].count(RunState.COMPLETED) == MEMBERS
    assert living() == []
    until(lambda: jobs() == [], "an empty queue")


def test_a_killed_driver_leaves_neither_processes_nor_jobs(
    tmp_path: Path, token: str, jobs: Callable[[], list[str]], driver: Driver, living: Living, until: Until
) -> None:
    with driver(given(tmp_path, token)) as process:
        until(lambda: jobs_of(tmp_path / "m-0001") and jobs_of(tmp_path / "m-0002"), "a member in each job", timeout=90)

        process.kill()

        until(lambda: living() == [], "the end of all members", timeout=30)
        until(lambda: jobs() == [], "an empty queue", timeout=90)


@pytest.fixture
def queue(tmp_path: Path, slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An sbatch before the real one: it takes one job, and further ones only once this folder has a file ``open``."""
    folder = tmp_path / "queue"
    folder.mkdir()
    refuse = f"{{ echo no more >> {folder}/refused; echo >&2 'there is a limit'; exit 1; }}"
    (folder / "sbatch").write_text(
        f'#!/bin/sh\nmkdir {folder}/first || [ -e {folder}/open ] || {refuse}\nexec {shutil.which("sbatch")} "$@"\n'
    )
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_a_job_that_the_queue_refuses_is_asked_for_again(
    tmp_path: Path, token: str, queue: Path, jobs: Callable[[], list[str]], driver: Driver, until: Until
) -> None:
    refused = queue / "refused"
    with driver(given(tmp_path, token)) as process:
        until(lambda: refused.exists() and refused.read_text().count("no more") > 2, "refusals", timeout=60)
        (queue / "open").touch()
        until(lambda: len(jobs()) == JOBS, "both jobs", timeout=30)
        (tmp_path / "go").touch()
        out, err = process.communicate(timeout=90)

    assert out.count("COMPLETED") == MEMBERS, err
    assert process.returncode == 0, err
    until(lambda: jobs() == [], "an empty queue")


def test_with_fewer_jobs_than_asked_for_the_members_are_done_all_the_same(
    tmp_path: Path, token: str, queue: Path, driver: Driver
) -> None:
    (tmp_path / "go").touch()

    with driver(given(tmp_path, token)) as process:
        out, err = process.communicate(timeout=90)

    assert out.count("COMPLETED") == MEMBERS, err
    assert process.returncode == 0, err
    assert len({job for member in tmp_path.glob("m-*") for job in jobs_of(member)}) == 1
    assert (queue / "refused").exists()


def test_a_queue_that_takes_no_job_at_all_is_told_at_once(
    tmp_path: Path, token: str, queue: Path, driver: Driver
) -> None:
    (queue / "first").mkdir()

    with driver(given(tmp_path, token)) as process:
        out, err = process.communicate(timeout=60)

    assert process.returncode == 1, out
    assert "OSError: the queue takes none of 2 jobs" in err
    assert "During handling" not in err
    assert "there is a limit" in err
    assert not list(tmp_path.glob("m-*"))


def test_jobs_that_bring_no_worker_are_told_and_an_interrupt_ends_the_wait(
    tmp_path: Path, token: str, jobs: Callable[[], list[str]], driver: Driver, until: Until
) -> None:
    described = given(tmp_path, token)
    described["executor_kwargs"]["startup_timeout"] = 5
    described["executor_kwargs"]["queue_options"]["python"] = "/none/python"
    with driver(described) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        told = next(line for line in lines if "no worker" in line)

        process.send_signal(signal.SIGINT)
        err = "".join(lines)

    assert re.match(r"no worker for 5 s from the jobs \d+, \d+: they wait in the queue, or ended", told)
    assert "KeyboardInterrupt" in err
    assert "/none/python" in "".join(log.read_text() for log in (tmp_path / "logs").glob("*.err"))
    until(lambda: jobs() == [], "an empty queue")
