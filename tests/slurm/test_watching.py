"""One query for all live jobs, errors that pass, and what a handle may be asked."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rompy_slurm
from rompy_core import ModelRun, RunState
from rompy_slurm import _handle, _poller, _scheduler

from .conftest import Cluster

Until = Callable[..., None]


class Shim:
    """A command of Slurm that counts its calls, and may be told to fail."""

    def __init__(self, directory: Path, name: str) -> None:
        self.calls_file, self.fails = directory / f"{name}.calls", directory / f"{name}.fails"
        self.calls_file.touch()
        real = shutil.which(name)
        shim = directory / name
        shim.write_text(
            f'#!/bin/sh\necho "$@" >>{self.calls_file}\n'
            f'[ ! -e {self.fails} ] || {{ echo "{name}: error: Socket timed out" >&2; exit 1; }}\nexec {real} "$@"\n'
        )
        shim.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Shim]:
    directory = tmp_path / "bin"
    directory.mkdir()

    def make(name: str) -> Shim:
        made = Shim(directory, name)
        monkeypatch.setenv("PATH", str(directory), prepend=":")
        return made

    return make


def test_one_query_serves_all_live_jobs(
    slurm: Cluster, shim: Callable[[str], Shim], tmp_path: Path, until: Until
) -> None:
    squeue = shim("squeue")
    handles: list[Any] = [
        ModelRun(run_id=f"r{n}", output_dir=tmp_path).submit("slurm", command="true", additional_options=["--hold"])
        for n in range(6)
    ]
    before = len(squeue.calls)
    until(lambda: len(squeue.calls) >= before + 3, "three rounds", timeout=30)
    asked = squeue.calls[before:]

    for handle in handles:
        handle.cancel()
    reports = [handle.wait(30) for handle in handles]

    ids = sorted(handle.job.id for handle in handles)
    for call in asked:
        jobs = next(word.partition("=")[2] for word in call.split() if word.startswith("--jobs="))
        assert sorted(jobs.split(",")) == ids
    assert {report.state for report in reports} == {RunState.CANCELLED}


def test_answers_that_fail_for_a_while_change_nothing(
    slurm: Cluster, shim: Callable[[str], Shim], tmp_path: Path, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    squeue = shim("squeue")
    model_run = ModelRun(run_id="a", output_dir=tmp_path)
    command = "touch ready; while [ ! -e go ]; do sleep 0.05; done; exit 3"
    handle: Any = model_run.submit("slurm", command=command)
    until((model_run.workspace_dir / "ready").exists, "the command")

    squeue.fails.touch()
    failed = len(squeue.calls)
    until(lambda: len(squeue.calls) >= failed + 2, "failed rounds", timeout=30)
    assert not handle.done()
    squeue.fails.unlink()
    (model_run.workspace_dir / "go").touch()
    report = handle.wait(40)

    assert report.exit_code == 3
    assert sum("gave no answer" in record.getMessage() for record in caplog.records) == 1


def test_a_record_that_the_job_completed_counts_although_slurm_is_silent(
    slurm: Cluster, shim: Callable[[str], Shim], tmp_path: Path, until: Until
) -> None:
    squeue = shim("squeue")
    model_run = ModelRun(run_id="a", output_dir=tmp_path)
    handle: Any = model_run.submit("slurm", command="touch ready; sleep 1; exit 3")
    until((model_run.workspace_dir / "ready").exists, "the command")

    squeue.fails.touch()
    report = handle.wait(40)

    assert report.exit_code == 3


def test_a_submission_that_was_taken_although_the_answer_was_lost_is_found_by_its_key(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "bin" / "sbatch"
    shim.parent.mkdir()
    shim.write_text(
        f'#!/bin/sh\n{shutil.which("sbatch")} "$@" >/dev/null\necho "error: Socket timed out" >&2\nexit 1\n'
    )
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent), prepend=":")

    report = ModelRun(run_id="a", output_dir=tmp_path).submit("slurm", command="exit 3").wait(40)

    assert report.exit_code == 3
    assert slurm.live_jobs() == []


def test_cancel_is_repeated_until_it_is_taken(
    slurm: Cluster, shim: Callable[[str], Shim], tmp_path: Path, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_handle, "ASK_AGAIN_S", 0.5)
    scancel = shim("scancel")
    handle: Any = ModelRun(run_id="a", output_dir=tmp_path).submit(
        "slurm", command="true", additional_options=["--hold"]
    )

    scancel.fails.touch()
    handle.cancel()
    until(lambda: scancel.calls, "the request")
    scancel.fails.unlink()
    report = handle.wait(40)

    assert report.state is RunState.CANCELLED
    assert len(scancel.calls) >= 2


def test_nobody_watches_where_there_is_no_job() -> None:
    deadline = time.monotonic() + 10
    while _poller.poller()._thread is not None and time.monotonic() < deadline:
        time.sleep(0.01)

    assert _poller.poller()._thread is None


def test_output_is_passed_on_to_the_logger(slurm: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    ModelRun(run_id="a", output_dir=tmp_path).run("slurm", command="echo one; echo two >&2", stream_output=True)

    lines = {(getattr(record, "stream", ""), record.getMessage()) for record in caplog.records}
    assert {("stdout", "one"), ("stderr", "two")} <= lines


def test_without_slurm_a_run_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rompy_core import ConfigError, StartError

    monkeypatch.setenv("PATH", str(tmp_path))
    model_run = ModelRun(run_id="a", output_dir=tmp_path)

    with pytest.raises(StartError, match="sbatch cannot be executed"):
        model_run.submit("slurm", command="true")
    with pytest.raises(ConfigError, match="not on PATH: sbatch, squeue, scancel"):
        model_run.submit("slurm", command="true", require=["slurm"])


def test_accounting_is_a_guarantee_that_can_be_required(slurm: Cluster, tmp_path: Path) -> None:
    from rompy_core import ConfigError
    from rompy_slurm import capabilities

    offered = capabilities()

    assert offered["slurm"]
    assert offered["supervisor"]
    assert not offered["accounting"]
    with pytest.raises(ConfigError, match="accounting storage is disabled"):
        ModelRun(run_id="a", output_dir=tmp_path).submit("slurm", command="true", require=["accounting"])


def test_jobs_of_no_number_are_unknown_and_not_an_error(slurm: Cluster) -> None:
    assert _scheduler.states(["99999999"]) == {}
    assert _scheduler.accounting(["99999999"]) is None
    assert _scheduler.states([]) == {}


def test_a_logger_that_raises_hangs_neither_its_run_nor_others(slurm: Cluster, tmp_path: Path) -> None:
    class Raising(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if getattr(record, "run_id", "") == "a" and record.getMessage() != "run started":
                raise ValueError("no such field")
            return True

    logger, raising = logging.getLogger("rompy_slurm._backend"), Raising()
    logger.addFilter(raising)
    logger.setLevel(logging.INFO)
    try:
        first, second = (ModelRun(run_id=name, output_dir=tmp_path).submit("slurm", command="true") for name in "ab")
        report = second.wait(40)
        with pytest.raises(ValueError, match="no such field"):
            first.wait(40)
    finally:
        logger.removeFilter(raising)
        logger.setLevel(logging.NOTSET)

    assert report.ok
    assert rompy_slurm.attach(tmp_path / "a").wait(40).ok
