"""MPI ranks in a container: Debian's MPICH and Open MPI, for real. As an ordinary user: see ``test_ownership``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rompy_core import RunHandle, RunReport, RunState

Containers = Callable[[], list[dict[str, Any]]]
Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]
Until = Callable[..., None]


@pytest.fixture(params=["mpich", "openmpi"])
def image(request: pytest.FixtureRequest, images: Any) -> str:
    """An image with an MPI program: ``model [SECONDS]``."""
    return str(getattr(images, request.param))


def ranks(report: RunReport) -> list[str]:
    assert report.stdout_path is not None
    return sorted(line for line in report.stdout_path.read_text().splitlines() if line.startswith("rank"))


@pytest.mark.parametrize("user", [None, "0:0", "4321:4321"], ids=["caller", "root", "user"])
def test_two_ranks_run_hardened_and_with_a_read_only_image(
    run: Run, image: str, user: str | None, model_run: Any
) -> None:
    model_run.generate().chmod(0o777)

    report = run("model", image=image, mpiexec="mpiexec", cpu=2, user=user, read_only=True, pids_limit=100)

    assert report.ok, report
    assert ranks(report) == ["rank 0 of 2", "rank 1 of 2"]
    assert report.command == ("mpiexec", "-n", "2", "model")


def test_the_ranks_are_processes_of_their_own_at_the_same_time(run: Run, image: str) -> None:
    report = run("model 1", image=image, mpiexec="mpiexec", cpu=2)

    assert report.ok, report
    assert report.max_processes is not None
    assert report.max_processes >= 3  # the launcher and its ranks


def test_there_can_be_more_ranks_than_processors(run: Run, image: str, api: Any) -> None:
    processors = api.info()["NCPU"]

    report = run("model", image=image, mpiexec="mpiexec", cpu=processors + 2)

    assert report.ok, report
    assert ranks(report) == sorted(f"rank {number} of {processors + 2}" for number in range(processors + 2))
    assert any(f"cpu is {processors + 2}" in warning for warning in report.warnings)


def test_a_timeout_leaves_no_rank(submit: Submit, image: str, containers: Containers, until: Until) -> None:
    handle = submit("model 300", image=image, mpiexec="mpiexec", cpu=2, timeout=4, grace_s=2)
    until(lambda: (handle.record_dir / "stdout.log").read_text().count("rank") == 2, "two ranks")

    report = handle.wait(20)

    assert report.state is RunState.TIMED_OUT
    assert containers() == []


def test_a_rank_that_gives_up_fails_the_run(run: Run, image: str, model_run: Any) -> None:
    (model_run.generate() / "rank-1.txt").mkdir()  # so that it cannot be written

    report = run("model", image=image, mpiexec="mpiexec", cpu=2)

    assert report.state is RunState.FAILED
    assert report.exit_code not in (0, None)
