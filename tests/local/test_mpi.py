"""MPI launchers, whose ranks have process groups and sessions of their own: Debian's Open MPI and MPICH, for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rompy_core import RunHandle, RunState

Submit = Callable[..., RunHandle]
Living = Callable[[], list[str]]
Until = Callable[..., None]

SOURCE = r"""
#include <mpi.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    printf("rank %d of %d\n", rank, ranks);
    fflush(stdout);
    if (argc > 1) { MPI_Finalize(); return 0; }
    for (;;) sleep(1);
}
"""
LAUNCHERS = {
    "openmpi": ("mpicc.openmpi", ["mpirun.openmpi", "--oversubscribe", "-n", "4"]),
    "mpich": ("mpicc.mpich", ["mpiexec.mpich", "-n", "4"]),
}
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@pytest.fixture(scope="module", params=LAUNCHERS)
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that start four ranks of a small program."""
    compiler, launcher = LAUNCHERS[request.param]
    missing = [name for name in (compiler, launcher[0]) if shutil.which(name) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"not on this machine: {', '.join(missing)} (Debian: lib{request.param}-dev)")
    folder = tmp_path_factory.mktemp("mpi")
    (folder / "ranks.c").write_text(SOURCE)
    subprocess.run([compiler, "-o", folder / "ranks", folder / "ranks.c"], check=True)
    return [*launcher, str(folder / "ranks")]


@pytest.fixture
def start(submit: Submit, ranks: list[str], living: Living, until: Until) -> Callable[..., RunHandle]:
    """Start the ranks, and wait until all of them are there."""

    def and_wait(**options: object) -> RunHandle:
        handle = submit(ranks, env_vars=AS_ROOT, **options)
        until(lambda: sum(words.endswith("/ranks") for words in living()) >= 4, "four ranks")
        return handle

    return and_wait


def test_all_ranks_run_and_their_exit_is_success(submit: Submit, ranks: list[str]) -> None:
    report = submit([*ranks, "and-finish"], env_vars=AS_ROOT).wait(45)

    assert report.ok, report.reason
    assert report.stdout_path is not None
    assert sorted(report.stdout_path.read_text().split("\n")[:4]) == [f"rank {n} of 4" for n in range(4)]


def test_a_timeout_leaves_no_rank(start: Callable[..., RunHandle], living: Living) -> None:
    report = start(timeout=3).wait(45)

    assert report.state is RunState.TIMED_OUT
    assert living() == []


def test_cancel_leaves_no_rank(start: Callable[..., RunHandle], living: Living) -> None:
    handle = start()

    handle.cancel()

    assert handle.wait(45).state is RunState.CANCELLED
    assert living() == []


def test_the_death_of_the_caller_leaves_no_rank(
    ranks: list[str], tmp_path: Path, token: str, living: Living, until: Until
) -> None:
    source = (
        "import sys; from rompy_core import ModelRun\n"
        "options = dict(command=sys.argv[3:], env_vars={'ROMPY_TEST_TOKEN': sys.argv[2]})\n"
        "ModelRun(run_id='case', output_dir=sys.argv[1]).run(**options)"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path), token, *ranks], env={**os.environ, **AS_ROOT}
    )
    until(lambda: sum(words.endswith("/ranks") for words in living()) >= 4, "four ranks")

    caller.kill()
    caller.wait()

    until(lambda: living() == [], "the end of all ranks")
