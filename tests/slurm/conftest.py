"""A way to run something on the private Slurm of ``clusters``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from tests.slurm.clusters import OVER_TIME, ROOT, START, Cluster

from rompy_core import ModelRun, RunReport, read_report
from rompy_slurm import SlurmHandle

__all__ = ["ROOT", "START", "Cluster"]

DRIVER = """
import sys
from rompy_core import ModelRun
run_id, output_dir, options = sys.argv[1], sys.argv[2], eval(sys.argv[3])
handle = ModelRun(run_id=run_id, output_dir=output_dir).submit("slurm", **options)
print(handle.record_dir, handle.job.id, flush=True)
handle.wait()
"""


@pytest.fixture(scope="session")
def _main_cluster(_main_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    """Submit what will exceed its time limit, which takes more than a minute, before all tests, and watch it."""
    cluster, directory = _main_cluster, tmp_path_factory.mktemp("over")
    options = {"command": "sleep 120", "time_limit": "00:01:00", "job_name": OVER_TIME, "grace_s": 2}
    words = [sys.executable, "-c", DRIVER, "case", str(directory), repr(options)]
    env = {**os.environ, "SLURM_CONF": str(cluster.conf)}
    driver = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    cluster.over_time = Path(driver.stdout.readline().rsplit(maxsplit=1)[0])
    yield cluster
    driver.kill()
    driver.communicate()
    cluster.call("scancel", f"--name={OVER_TIME}")


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out")


@pytest.fixture
def submit(model_run: ModelRun, monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[..., SlurmHandle]]:
    """Submit a command; what is live at the end is cancelled, while ``monkeypatch`` still lets Slurm be found."""
    handles: list[SlurmHandle] = []

    def start(command: object, **options: Any) -> SlurmHandle:
        handle: Any = model_run.submit("slurm", **{"command": command, "grace_s": 2, **options})
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
