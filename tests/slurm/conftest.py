"""A way to run something on the private Slurm of ``clusters``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.slurm.clusters import EARLY_NAME, ROOT, START, Cluster

from rompy_core import ModelRun, RunReport, read_report
from rompy_slurm import SlurmHandle, _poller

__all__ = ["ROOT", "START", "Cluster"]

DRIVER = """
import sys
from rompy_core import ModelRun
run_id, output_dir, options = sys.argv[1], sys.argv[2], eval(sys.argv[3])
handle = ModelRun(run_id=run_id, output_dir=output_dir).submit("slurm", **options)
print(handle.record_dir, handle.job.id, flush=True)
handle.wait()
"""


_AT_ONCE: dict[str, Any] = {"job_name": EARLY_NAME, "grace_s": 1}
EARLY: dict[str, dict[str, Any]] = {
    "over-time": {**_AT_ONCE, "command": "sleep 120", "time_limit": "00:01:00"},
    "deadline": {
        **_AT_ONCE,
        "command": "sleep 60",
        "time_limit": "00:01:00",
        "additional_options": ["--deadline=now+5seconds", "--begin=now+4seconds"],
    },
    "begun": {**_AT_ONCE, "command": "echo 50 % done; touch ready; sleep 60"},
    "waiting": {**_AT_ONCE, "command": "true", "additional_options": ["--hold"]},
}
"""Runs that take their time to end; they are submitted before all tests, and the last tests look at them."""
WATCHED = ("over-time", "deadline")
"""Of these, what somebody watches; the others are left alone, and cancelled by somebody else."""

WATCH = """
import sys
from rompy_core import ModelRun
runs = eval(sys.argv[2])
handles = [ModelRun(run_id=run_id, output_dir=sys.argv[1]).submit("slurm", **runs[run_id]) for run_id in runs]
for handle in handles:
    handle.wait()
"""
LEAVE = """
import os, sys, time
from rompy_core import ModelRun
runs = eval(sys.argv[2])
handles = [ModelRun(run_id=run_id, output_dir=sys.argv[1]).submit("slurm", **runs[run_id]) for run_id in runs]
while not os.path.exists(f"{sys.argv[1]}/begun/ready"):
    time.sleep(0.05)
os.execvp("scancel", ["scancel", *(handle.job.id for handle in handles)])
"""


def _with_early_runs(cluster: Cluster, directory: Path, *, watched: Sequence[str] = ()) -> Generator[Cluster]:
    """Submit from two processes: one that waits, and one that has its runs cancelled and is gone by then."""
    cluster.early = directory
    left = [name for name in EARLY if name not in WATCHED]
    env = {**os.environ, "SLURM_CONF": str(cluster.conf)}
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", source, str(directory), repr({name: EARLY[name] for name in names})], env=env
        )
        for source, names in ((WATCH, watched), (LEAVE, left))
    ]
    yield cluster
    for driver in drivers:
        driver.kill()
        driver.communicate()
    cluster.call("scancel", f"--name={EARLY_NAME}")


@pytest.fixture(scope="session")
def _main_cluster(
    _main_cluster: Cluster, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Cluster]:
    """Submit what takes its time before all tests."""
    if any("accounting" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("_accounting_cluster")
    yield from _with_early_runs(_main_cluster, tmp_path_factory.mktemp("early"), watched=WATCHED)


@pytest.fixture(scope="session")
def _accounting_cluster(_accounting_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    yield from _with_early_runs(_accounting_cluster, tmp_path_factory.mktemp("early"))


@pytest.fixture(scope="session", autouse=True)
def _look_often() -> Generator[None]:
    """Ask this Slurm, which has nothing else to do, more often than one that others use: a run is waited for less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_poller, "_GLANCE_S", 0.05)
        patch.setattr(_poller, "_SHORTEST_S", 0.2)
        yield


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out")


@pytest.fixture
def submit(model_run: ModelRun, monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[..., SlurmHandle]]:
    """Submit a command; what is live at the end is cancelled, while ``monkeypatch`` still lets Slurm be found.

    With a ``run_id``, in a workspace of its own, beside others.
    """
    handles: list[SlurmHandle] = []

    def start(command: object, run_id: str = "case", **options: Any) -> SlurmHandle:
        beside = ModelRun(run_id=run_id, output_dir=model_run.output_dir)
        handle: Any = beside.submit("slurm", **{"command": command, "grace_s": 2, **options})
        handles.append(handle)
        return handle

    yield start
    for handle in handles:
        if handle.cancel():
            handle.wait(30)


@pytest.fixture
def run(submit: Callable[..., SlurmHandle], slurm: Cluster) -> Callable[..., RunReport]:
    """Run a command to its end; what is on disk agrees with the report, and the job is gone."""

    def to_the_end(command: object, **options: Any) -> RunReport:
        handle = submit(command, **options)
        report = handle.wait(55)
        assert read_report(report.record_dir or "") == report
        assert slurm.state_of(handle.job.id) not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
        assert not (handle.record_dir / "environment").exists()
        return report

    return to_the_end


@pytest.fixture
def driver(tmp_path: Path) -> Generator[Callable[..., tuple[subprocess.Popen[str], Path, str]]]:
    """Submit from a process of its own; gives it, the record and the number of the job."""
    started: list[subprocess.Popen[str]] = []

    def start(run_id: str = "case", **options: Any) -> tuple[subprocess.Popen[str], Path, str]:
        words = [sys.executable, "-c", DRIVER, run_id, str(tmp_path / "out"), repr(options)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        record, job = process.stdout.readline().rsplit(maxsplit=1)
        return process, Path(record), job

    yield start
    for process in started:
        process.kill()
        process.communicate()
