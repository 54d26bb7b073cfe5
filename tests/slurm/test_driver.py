"""The job outlives its driver, and another one goes on with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

import rompy_slurm
from rompy_core import ModelRun, RecordError, RunReport, RunState, StartError, cancel, find_runs, read_report
from rompy_slurm import SlurmHandle, _files

from .conftest import Cluster

Driver = Callable[..., tuple["subprocess.Popen[str]", Path, str]]
Submit = Callable[..., SlurmHandle]
Until = Callable[..., None]

WORKS = "echo 50 % done; touch ready; while [ ! -e go ]; do sleep 0.05; done; echo 100 % done; exit 3"
RULES = {"progress": r"(?P<percent>\d+) % done"}
MEASURED = {
    "started_at", "finished_at", "wall_time_s", "cpu_time_s", "peak_rss_bytes", "read_bytes", "write_bytes",
    "record_dir", "workspace_dir", "stdout_path", "stderr_path", "usage_path", "progress_path", "supervisor", "keeper",
    "max_processes", "memory_method",
}  # fmt: skip
"""What differs from run to run."""


def facts(report: RunReport) -> dict[str, Any]:
    return attrs.asdict(report, recurse=False, filter=lambda field, _: field.name not in MEASURED)


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_a_driver_that_was_killed_and_attached_again_gives_the_same_report(
    driver: Driver, submit: Submit, slurm: Cluster, until: Until, tmp_path: Path
) -> None:
    handle = submit(WORKS, rules=RULES)
    (handle.record_dir.parents[1] / "go").touch()
    undisturbed = handle.wait(30)
    (tmp_path / "out" / "case" / "go").unlink()
    (tmp_path / "out" / "case" / "ready").unlink()

    process, record, _ = driver(command=WORKS, rules=RULES, grace_s=2)
    until((tmp_path / "out" / "case" / "ready").exists, "the command")
    killed(process)
    meanwhile = read_report(record).state
    attached = rompy_slurm.attach(record)
    (tmp_path / "out" / "case" / "go").touch()
    report = attached.wait(30)

    assert meanwhile is RunState.RUNNING
    assert facts(report) == facts(undisturbed)
    assert (report.state, report.exit_code) == (RunState.FAILED, 3)
    assert report == read_report(record)


def test_a_job_completes_its_record_without_a_driver(
    driver: Driver, slurm: Cluster, until: Until, tmp_path: Path
) -> None:
    process, record, _ = driver(command=WORKS, rules=RULES, env_vars={"SECRET": "x"})
    killed(process)

    (tmp_path / "out" / "case" / "go").touch()
    until(lambda: read_report(record).state.is_final, "the report")

    assert (read_report(record).state, read_report(record).exit_code) == (RunState.FAILED, 3)
    assert rompy_slurm.attach(record).wait(0) == read_report(record)
    assert not (record / "environment").exists()


def test_a_run_whose_driver_is_gone_is_not_lost_while_its_job_lives(
    driver: Driver, slurm: Cluster, tmp_path: Path
) -> None:
    process, record, _ = driver(command="true", additional_options=["--hold"])
    killed(process)

    found = find_runs(tmp_path)
    with pytest.raises(StartError, match=r"rompy_slurm\.attach"):
        ModelRun(run_id="case", output_dir=tmp_path / "out").submit("slurm", command="true")

    assert [report.state for report in found] == [RunState.RUNNING]
    assert cancel(record, timeout=20).state is RunState.CANCELLED
    assert slurm.live_jobs() == []


def test_what_slurm_ended_while_nobody_watched_is_told_when_somebody_attaches(
    driver: Driver, slurm: Cluster, until: Until, tmp_path: Path
) -> None:
    process, record, job = driver(command=WORKS, rules=RULES)
    until((tmp_path / "out" / "case" / "ready").exists, "the command")
    killed(process)

    slurm.call("scancel", job)
    until(lambda: not slurm.live_jobs(), "the end of the job")
    report = rompy_slurm.attach(record).wait(30)

    assert report.state is RunState.CANCELLED
    assert report.cpu_time_s is not None
    assert report.progress_path == record / "progress.csv"


def test_a_job_whose_number_was_not_written_down_is_found_by_its_key(
    submit: Submit, slurm: Cluster, until: Until
) -> None:
    handle = submit("true", additional_options=["--hold"])
    (handle.record_dir / _files.SUBMITTED).unlink()

    found = rompy_slurm.attach(handle.record_dir)

    assert found.job == handle.job
    assert found.cancel()
    assert found.wait(30).state is RunState.CANCELLED


def test_a_crash_before_the_submission_is_told_as_not_started(driver: Driver, slurm: Cluster) -> None:
    process, record, job = driver(command="true", additional_options=["--hold"])
    killed(process)
    slurm.call("scancel", job)
    noted = _files.read_json(record / _files.JOB)
    _files.write_json(record / _files.JOB, noted | {"key": "rompy-of-no-job"})
    (record / _files.SUBMITTED).unlink()

    report = rompy_slurm.attach(record).wait(30)

    assert report.state is RunState.NOT_STARTED
    assert "no job in the queue has its key" in report.reason


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # interrupted between open() and its "with"
def test_an_interrupt_of_run_ends_the_job(model_run: ModelRun, slurm: Cluster, until: Until) -> None:
    ready = model_run.output_dir / "case" / "ready"

    def interrupt() -> None:
        until(ready.exists, "the command")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        model_run.run("slurm", command="touch ready; sleep 60", grace_s=1)
    thread.join()

    assert model_run.report is not None
    assert model_run.report.state is RunState.CANCELLED
    assert slurm.live_jobs() == []


def test_an_interrupt_while_the_job_is_handed_in_leaves_no_job(
    tmp_path: Path, slurm: Cluster, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    shim = tmp_path / "bin" / "sbatch"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\ntouch {tmp_path}/called\nsleep 0.5\nexec /usr/bin/sbatch "$@"\n')
    shim.chmod(0o755)
    source = "import sys; from rompy_core import ModelRun; "
    source += "ModelRun(run_id='case', output_dir='out').run('slurm', command='touch ran; sleep 60')"
    env = {**os.environ, "PATH": f"{shim.parent}:{os.environ['PATH']}"}
    process = subprocess.Popen([sys.executable, "-c", source], cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
    until((tmp_path / "called").exists, "sbatch")

    process.send_signal(signal.SIGINT)
    code = process.wait(30)

    assert code == -signal.SIGINT
    assert read_report(tmp_path / "out" / "case").state is RunState.CANCELLED
    until(lambda: not slurm.live_jobs(), "an empty queue")


def test_cancel_by_path_ends_a_running_job(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit("touch ready; sleep 60", grace_s=1)
    until((handle.record_dir.parents[1] / "ready").exists, "the command")

    report = cancel(handle.record_dir, timeout=20)

    assert report.state is RunState.CANCELLED
    assert handle.wait(20) == report


def test_what_is_no_record_of_a_job_is_refused(tmp_path: Path) -> None:
    ModelRun(run_id="a", output_dir=tmp_path).run("local", command="true")

    with pytest.raises(RecordError, match="backend 'local'"):
        rompy_slurm.attach(tmp_path / "a")


def test_usage_and_progress_can_be_seen_while_the_job_runs(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit(WORKS, rules=RULES)

    until(lambda: handle.usage is not None and handle.progress is not None, "usage and progress")
    fraction, line = handle.progress.fraction if handle.progress else None, handle.last_line
    (handle.record_dir.parents[1] / "go").touch()
    report = handle.wait(30)

    assert (fraction, line) == (0.5, "50 % done")
    assert report.progress is not None
    assert report.progress.fraction == 1
    assert handle.job_state is not None
