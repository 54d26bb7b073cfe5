"""Endings that take their time, of jobs that were submitted before all other tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import rompy_slurm
from rompy_core import RunState, find_runs, read_report

from .clusters import Cluster

Until = Callable[..., None]


def test_a_deadline_that_passes_before_the_start_is_not_started(slurm: Cluster, until: Until) -> None:
    workspace = slurm.early / "deadline"
    until(lambda: find_runs(workspace) and read_report(workspace).state.is_final, "the end of the job", timeout=55)

    report = read_report(workspace)

    assert report.state in (RunState.NOT_STARTED, RunState.TIMED_OUT)
    assert "DEADLINE" in report.reason or "deadline" in report.reason


def forgotten(cluster: Cluster, name: str, until: Until) -> None:
    """Wait until nobody but the record knows the job of an early run that was left alone and cancelled."""
    submitted = cluster.early / name / ".rompy"
    until(lambda: list(submitted.glob("*/submitted")), "the submission", timeout=55)
    job = next(submitted.glob("*/submitted")).read_text().split()[0]
    until(lambda: cluster.state_of(job) == "", "the controller to forget", timeout=55)


def test_jobs_that_the_controller_forgot_are_told_by_what_they_left(slurm: Cluster, until: Until) -> None:
    names = ("begun", "waiting")
    for name in names:
        forgotten(slurm, name, until)

    handles = [rompy_slurm.attach(slurm.early / name) for name in names]
    reports = [handle.wait(30) for handle in handles]

    assert [report.state for report in reports] == [RunState.CANCELLED, RunState.LOST]
    assert "asked to end" in reports[0].reason
    assert "no word" in reports[1].reason


@pytest.mark.timeout(120)
def test_a_job_that_the_controller_forgot_is_looked_up_in_the_accounting(accounting: Cluster, until: Until) -> None:
    forgotten(accounting, "begun", until)

    report = rompy_slurm.attach(accounting.early / "begun").wait(50)

    assert report.state is RunState.CANCELLED
    assert "cancelled by somebody else (by" in report.reason


@pytest.mark.timeout(150)
def test_a_job_over_its_time_limit_is_timed_out(slurm: Cluster, until: Until) -> None:
    workspace = slurm.early / "over-time"
    until(lambda: read_report(workspace).state.is_final, "the end of the job", timeout=120)

    report = read_report(workspace)

    assert report.state is RunState.TIMED_OUT
    assert "TIMEOUT" in report.reason
    assert report.cpu_time_s is not None, "what the supervisor measured is in the report"
