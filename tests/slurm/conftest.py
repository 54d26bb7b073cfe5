"""The private Slurm that the tests run against, and a way to run something there.

``ROMPY_TEST_SLURM_CONF`` names the slurm.conf of one that runs already; tests that stop its controller then need it to
have been started by ``.ci/start-slurm``. Nothing that the tests start stays: no daemon, no job, no file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from rompy_core import ModelRun, RunReport, read_report
from rompy_slurm import SlurmHandle

ROOT = Path(__file__).resolve().parents[2]
START = str(ROOT / ".ci" / "start-slurm")
OVER_TIME = "over-time"
_CLUSTERS = {"slurm", "accounting"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and _CLUSTERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slurm)


DRIVER = """
import sys
from rompy_core import ModelRun
run_id, output_dir, options = sys.argv[1], sys.argv[2], eval(sys.argv[3])
handle = ModelRun(run_id=run_id, output_dir=output_dir).submit("slurm", **options)
print(handle.record_dir, handle.job.id, flush=True)
handle.wait()
"""


class Cluster:
    """A private Slurm."""

    def __init__(self, conf: Path) -> None:
        self.conf = conf
        self.over_time = conf
        """The record of a run that will exceed its time limit."""

    def call(self, *words: object, check: bool = True) -> str:
        """Call a command of Slurm, and give what it printed."""
        env = {**os.environ, "SLURM_CONF": str(self.conf)}
        ended = subprocess.run([*map(str, words)], env=env, capture_output=True, text=True, check=False)
        assert not check or ended.returncode == 0, f"{words}: {ended.stderr}"
        return ended.stdout.strip()

    def controller(self, what: str) -> None:
        """Stop or start the controller alone."""
        subprocess.run([START, "controller", what, self.conf.parent], check=True)

    def live_jobs(self) -> list[str]:
        """List the live jobs, but for the one that has a minute to wait for its limit."""
        lines = self.call("squeue", "--noheader", "--format=%i %T %j").splitlines()
        return [line for line in lines if not line.endswith(f" {OVER_TIME}")]

    def state_of(self, job_id: str) -> str:
        """Give a job's state; empty where the controller has forgotten it."""
        return self.call("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T", check=False)


def _started(directory: Path, *words: str, **env: str) -> Generator[Cluster]:
    needed = ["slurmctld", "slurmd", "sbatch", *(["slurmdbd", "mariadbd"] if words else [])]
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in needed if shutil.which(name, path=path) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}; .ci/start-slurm install does it"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    started = subprocess.run(
        [START, str(directory), *words], env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert started.returncode == 0, started.stderr
    cluster = Cluster(Path(started.stdout.strip()))
    yield cluster
    left = cluster.live_jobs()
    subprocess.run([START, "stop", str(directory)], check=True)
    assert left == [], f"jobs are left: {left}"


@pytest.fixture(scope="session")
def _main_cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    given = os.environ.get("ROMPY_TEST_SLURM_CONF")
    if given:
        yield from _with_over_time(Cluster(Path(given)), tmp_path_factory.mktemp("over"))
        return
    for cluster in _started(tmp_path_factory.mktemp("slurm") / "s", MIN_JOB_AGE="2"):
        yield from _with_over_time(cluster, tmp_path_factory.mktemp("over"))


def _with_over_time(cluster: Cluster, directory: Path) -> Generator[Cluster]:
    """Submit what will exceed its time limit, which takes more than a minute, before all tests, and watch it."""
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


@pytest.fixture(scope="session")
def _accounting_cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[Cluster]:
    yield from _started(tmp_path_factory.mktemp("slurm") / "a", "accounting", MIN_JOB_AGE="2")


@pytest.fixture
def slurm(_main_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A Slurm without accounting, which forgets a job some seconds after its end."""
    monkeypatch.setenv("SLURM_CONF", str(_main_cluster.conf))
    return _main_cluster


@pytest.fixture
def accounting(_accounting_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A Slurm with accounting, which forgets a job some seconds after its end."""
    monkeypatch.setenv("SLURM_CONF", str(_accounting_cluster.conf))
    return _accounting_cluster


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
