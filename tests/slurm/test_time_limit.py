"""Slurm's own limit, by a job that was submitted before all other tests: it takes more than a minute."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rompy_core import RunState, read_report

from .conftest import Cluster


@pytest.mark.timeout(150)
def test_a_job_over_its_time_limit_is_timed_out(slurm: Cluster, until: Callable[..., None]) -> None:
    until(lambda: read_report(slurm.over_time).state.is_final, "the end of the job", timeout=120)

    report = read_report(slurm.over_time)

    assert report.state is RunState.TIMED_OUT
    assert "TIMEOUT" in report.reason
    assert report.cpu_time_s is not None, "what the supervisor measured is in the report"
