"""The private Slurm that tests run against: a plugin of pytest, for whichever folder of tests asks for one.

``ROMPY_TEST_SLURM_CONF`` names the slurm.conf of one that runs already; tests that stop its controller then need it to
have been started by ``.ci/start-slurm``. Nothing that the tests start stays: no daemon, no job, no file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = str(ROOT / ".ci" / "start-slurm")
EARLY_NAME = "early"
"""The name of the jobs that are submitted before all tests, for they take their time to end."""
_CLUSTERS = {"slurm", "accounting"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _CLUSTERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slurm)


class Cluster:
    """A private Slurm."""

    def __init__(self, conf: Path) -> None:
        self.conf = conf
        self.early = conf
        """Where the runs are that were submitted before all tests."""

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
        """List the live jobs, but for those that were submitted before all tests."""
        lines = self.call("squeue", "--noheader", "--format=%i %T %j").splitlines()
        return [line for line in lines if not line.endswith(f" {EARLY_NAME}")]

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
        yield Cluster(Path(given))
        return
    yield from _started(tmp_path_factory.mktemp("slurm") / "s", MIN_JOB_AGE="2")


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
