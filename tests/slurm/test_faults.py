"""What may go wrong around a job: two who watch it, variables that decide for others, a scheduler that hangs."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest

import rompy_slurm
from rompy_core import ModelRun, RunRecord, RunReport, RunState, StartError, read_report, replace_file
from rompy_slurm import SlurmHandle, _files, _handle, _poller, _scheduler
from rompy_slurm._ending import what_is_left
from rompy_slurm._job import publish

from .clusters import Cluster
from .test_endings import has_begun

Driver = Callable[..., tuple["subprocess.Popen[str]", Path, str]]
Run = Callable[..., RunReport]
Submit = Callable[..., SlurmHandle]
Until = Callable[..., None]

NONE = "/nowhere/python3"
HELD = ["--hold"]
DECIDING = {
    "LC_ALL": "de_DE.UTF-8", "SLURM_TIME_FORMAT": "relative", "SQUEUE_FORMAT": "%i", "SQUEUE_FORMAT2": "JobID",
    "SQUEUE_NAMES": "other", "SQUEUE_PARTITION": "other", "SQUEUE_STATES": "PENDING", "SQUEUE_USERS": "nobody",
    "SQUEUE_ACCOUNT": "other", "SQUEUE_QOS": "other", "SQUEUE_LICENSES": "other", "SQUEUE_SORT": "-i",
    "SCANCEL_NAME": "other", "SCANCEL_PARTITION": "other", "SCANCEL_STATE": "RUNNING", "SCANCEL_INTERACTIVE": "true",
    "SCANCEL_BATCH": "true", "SCANCEL_USER": "nobody", "SACCT_FORMAT": "user", "SBATCH_ARRAY_INX": "1-3",
    "SBATCH_WAIT": "1", "SBATCH_EXPORT": "NONE", "SBATCH_JOB_NAME": "other", "SBATCH_OPEN_MODE": "truncate",
    "SBATCH_REQUEUE": "1", "SBATCH_PARTITION": "other", "SBATCH_COMMENT": "other",
}  # fmt: skip


def shim(directory: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of this name before the real one."""
    (directory / "bin").mkdir(exist_ok=True)
    (directory / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (directory / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(directory / "bin"), prepend=":")


def test_variables_that_decide_for_the_commands_change_nothing(
    submit: Submit, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**DECIDING, "SBATCH_ERROR": str(tmp_path / "e"), "SBATCH_OUTPUT": str(tmp_path / "o")}.items():
        monkeypatch.setenv(name, value)

    waiting = submit("true", additional_options=HELD, partition="debug")
    found = _scheduler.find(_files.read_json(waiting.record_dir / _files.JOB)["key"])
    waiting.cancel()
    cancelled = waiting.wait(30)
    ended = submit("exit 3", partition="debug").wait(30)

    assert found == waiting.job
    assert cancelled.state is RunState.CANCELLED
    assert (ended.state, ended.exit_code) == (RunState.FAILED, 3)
    assert not (tmp_path / "e").exists()
    assert not (tmp_path / "o").exists()


def test_a_job_submitted_inside_a_job_is_no_part_of_that(run: Run, tmp_path: Path) -> None:
    inner = f"""if True:
        import os
        from rompy_core import ModelRun
        os.environ["SLURM_RESTART_COUNT"] = "3"
        model_run = ModelRun(run_id="inner", output_dir={str(tmp_path)!r})
        options = {{"launcher": "srun", "mem": "100m"}}
        assert model_run.run("slurm", command="echo task $SLURM_NTASKS $SLURM_RESTART_COUNT", **options)
    """

    report = run([sys.executable, "-c", inner], ntasks=2, ntasks_per_node=2, mem="300m")

    assert report.ok, report.reason
    record = read_report(tmp_path / "inner").record_dir or tmp_path
    assert (record / "stdout.log").read_text() == "task 1\n"
    assert (record / "attempt-0").is_dir()


def test_values_reach_the_tasks_of_srun_without_the_environment_of_the_caller(run: Run) -> None:
    report = run('echo "$DEPTH"', launcher="srun", export="NONE", env_vars={"DEPTH": "3"})

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "3\n"


def test_a_path_of_the_command_is_not_that_of_the_job(run: Run) -> None:
    report = run("echo $PATH", env_vars={"PATH": "/opt/model"})

    assert report.ok, report.reason
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "/opt/model\n"


def test_a_query_that_hangs_is_given_up_and_hides_no_end(
    submit: Submit, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr(_scheduler, "_ANSWERS_WITHIN_S", 1.0)
    handle = submit("touch ready; while [ ! -e go ]; do sleep 0.05; done; exit 3")
    until(has_begun(handle), "the command")
    shim(tmp_path, "squeue", f"echo $$ >>{tmp_path}/hung; exec sleep 300", monkeypatch)
    until((tmp_path / "hung").exists, "a query")

    (handle.record_dir.parents[1] / "go").touch()
    report = handle.wait(30)
    hung = [int(word) for word in (tmp_path / "hung").read_text().split()]

    assert report.exit_code == 3
    until(lambda: not any(map(psutil.pid_exists, hung)), "the end of the queries")


@pytest.mark.parametrize("python", [None, NONE], ids=["supervised", "plain"])
def test_all_who_watch_a_job_give_the_report_that_is_on_disk(
    submit: Submit, slurm: Cluster, until: Until, python: str | None
) -> None:
    rules = {"progress": r"(?P<percent>\d+) %"}
    first = submit("touch ready; echo 50 %; sleep 60", python=python, rules=rules, grace_s=1)
    until(has_begun(first), "the command")
    others = [rompy_slurm.attach(first.record_dir) for _ in range(5)]

    slurm.call("scancel", first.job.id)
    reports = [handle.wait(30) for handle in (first, *others)]

    assert reports[0].state is RunState.CANCELLED
    assert reports == [read_report(first.record_dir)] * 6, "each of them had completed it anew"


def test_a_cancel_is_told_alike_by_who_asked_and_who_watched(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit("touch ready; sleep 60", grace_s=1)
    until(has_begun(handle), "the command")
    other = rompy_slurm.attach(handle.record_dir)

    other.cancel()
    reports = [handle.wait(30), other.wait(30), read_report(handle.record_dir)]

    assert reports[0].state is RunState.CANCELLED
    assert reports[0] == reports[1] == reports[2]


def test_a_workspace_with_a_live_run_is_refused_without_a_job(
    submit: Submit, model_run: ModelRun, slurm: Cluster
) -> None:
    live = submit("sleep 60")

    with pytest.raises(StartError, match="has a live run already") as caught:
        model_run.submit("slurm", command="true", workspace_dir=live.record_dir.parents[1])

    assert [line.split()[0] for line in slurm.live_jobs()] == [live.job.id]
    assert caught.value.report.record_dir is not None
    assert read_report(caught.value.report.record_dir) == caught.value.report
    assert [path.name for path in caught.value.report.record_dir.iterdir()] == ["report.json"]


def test_only_one_at_a_time_completes_a_record(tmp_path: Path) -> None:
    with _files.completing(tmp_path) as first, _files.completing(tmp_path) as second:
        both = (first, second)
    with _files.completing(tmp_path) as later, _files.completing(tmp_path / "gone") as no_place:
        pass

    assert both == (True, False)
    assert later
    assert no_place, "where there can be no lock, a record can be completed all the same"


def test_a_start_that_was_given_up_does_not_complete_the_record(submit: Submit, slurm: Cluster, tmp_path: Path) -> None:
    handle = submit("true", additional_options=HELD)
    standing = read_report(handle.record_dir)
    verdict = attrs.evolve(standing, state=RunState.COMPLETED, reason="of an earlier start")
    starts = [_files.attempt_dir(handle.record_dir, number) for number in (0, 1)]
    for start in starts:
        start.mkdir()

    while_running = publish(handle.record_dir, starts[0], verdict)
    handle.cancel()
    final = handle.wait(30)
    when_final = publish(handle.record_dir, starts[1], verdict)

    assert while_running == standing, "the job was started again since"
    assert final.state is RunState.CANCELLED
    assert when_final == final == read_report(handle.record_dir)


def test_time_in_the_queue_after_the_first_start_is_no_wait_for_it(
    submit: Submit, slurm: Cluster, until: Until
) -> None:
    handle = submit('touch ready; [ -n "$SLURM_RESTART_COUNT" ] || sleep 60', requeue=True, queue_timeout=600)
    until(has_begun(handle), "the first start")
    handle._submitted_at -= 3600

    slurm.call("scontrol", "requeue", handle.job.id)
    until(lambda: handle.job_state is not None and handle.job_state.is_waiting, "the job in the queue again")
    # Within the second of the requeue, the node would take the new start for the one that it has just ended.
    slurm.call("scontrol", "update", f"jobid={handle.job.id}", "starttime=now+2")
    report = handle.wait(50)

    assert report.state is RunState.COMPLETED, report.reason


def test_what_an_earlier_start_has_left_is_no_word_of_the_last_one(submit: Submit, slurm: Cluster) -> None:
    handle = submit("true", additional_options=HELD, requeue=True)
    record, job = handle.record_dir, handle.job.id
    replace_file(record / _files.BEGUN, f"{job} 0\n".encode())
    replace_file(record / _files.EXIT, f"{job} 0 0 1 0\n".encode())
    start = _files.attempt_dir(record, 0)
    start.mkdir()
    RunRecord(start, read_report(record)).finish(RunState.COMPLETED, "of the first start")

    first, second, unknown = (what_is_left(record, job, restarts) for restarts in (0, 1, None))

    assert first.is_conclusive
    assert first.verdict is not None
    assert second.has_begun
    assert not second.is_conclusive
    assert second.verdict is None
    assert unknown == first


def test_a_number_that_slurm_has_given_to_another_job_is_not_ours(
    driver: Driver, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_handle, "SETTLES_S", 0.5)
    process, record, ours = driver(command="true", additional_options=HELD)
    process.kill()
    slurm.call("scancel", ours)
    other = slurm.call("sbatch", "--parsable", "--hold", "--chdir=/", "--output=/dev/null", "--wrap=true")
    noted = _files.read_json(record / _files.JOB)
    _files.write_json(record / _files.JOB, noted | {"submitted_at": time.time() - 7200})
    replace_file(record / _files.SUBMITTED, f"{other}\n".encode())

    handle = rompy_slurm.attach(record)
    handle.cancel()
    report = handle.wait(30)
    state = slurm.state_of(other)
    slurm.call("scancel", other)

    assert report.state.is_final
    assert state == "PENDING", "another job is left alone"


def test_a_job_that_only_the_accounting_takes_for_alive_is_lost(
    driver: Driver, slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_handle, "SETTLES_S", 0.5)
    monkeypatch.setattr(_handle, "ACCOUNTING_LAGS_S", 1.0)
    process, record, job = driver(command="true", additional_options=HELD)
    process.kill()
    slurm.call("scancel", job)
    shim(tmp_path, "squeue", 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1', monkeypatch)
    shim(tmp_path, "sacct", f'echo "{job}|RUNNING|0:0|c1|{int(time.time())}|None"', monkeypatch)

    report = rompy_slurm.attach(record).wait(30)

    assert report.state is RunState.LOST
    assert "no word" in report.reason


def test_a_job_that_comes_in_while_nothing_happens_is_looked_at_soon(
    submit: Submit, slurm: Cluster, tmp_path: Path, until: Until
) -> None:
    idle = submit("true", additional_options=HELD)
    until(lambda: idle.job_state is not None, "the first round")
    _poller.poller()._interval_s = 30.0  # as after a long time without any event
    _poller.poller()._wake.set()
    time.sleep(3 * _poller._GLANCE_S)  # a rest of that length has begun

    began = time.monotonic()
    other: Any = ModelRun(run_id="other", output_dir=tmp_path).submit(
        "slurm", command="true", additional_options=HELD, queue_timeout=0.5
    )
    report = other.wait(29)

    assert report.state is RunState.NOT_STARTED
    assert time.monotonic() - began < 10


def test_a_fault_in_a_round_hangs_nobody(
    submit: Submit, slurm: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = _scheduler.states
    asked: list[object] = []

    def once_wrong(*args: Any) -> Any:
        asked.append(args)
        if len(asked) == 1:
            raise RuntimeError("what nobody thought of")
        return answers(*args)

    monkeypatch.setattr(_scheduler, "states", once_wrong)

    report = submit("exit 3").wait(40)

    assert report.exit_code == 3
    assert "what nobody thought of" in caplog.text


def test_many_handles_leave_no_thread_and_no_open_file(slurm: Cluster, tmp_path: Path, until: Until) -> None:
    until(lambda: _threads() == [], "the end of what other tests had")
    files = psutil.Process().num_fds()
    handles: list[Any] = [
        ModelRun(run_id=f"r{n}", output_dir=tmp_path).submit(
            "slurm", command="true", additional_options=HELD, stream_output=True
        )
        for n in range(40)
    ]

    for handle in handles:
        handle.cancel()
    states = {handle.wait(50).state for handle in handles}

    assert states == {RunState.CANCELLED}
    until(lambda: _threads() == [], "the end of all threads")
    assert psutil.Process().num_fds() <= files


class Raising(logging.Filter):
    """What an application may do to its logging; it raises at one message, or at all but one."""

    def __init__(self, at: str = "", but: str = "") -> None:
        super().__init__()
        self.at, self.but = at, but

    def filter(self, record: logging.LogRecord) -> bool:
        if record.getMessage() == self.at or (self.but and record.getMessage() != self.but):
            raise ValueError("no such field")
        return True


@pytest.mark.parametrize("raising", [Raising(at="run started"), Raising(but="run started")], ids=["first", "later"])
def test_a_logger_that_raises_leaves_no_thread_and_no_job(
    slurm: Cluster, tmp_path: Path, until: Until, raising: Raising
) -> None:
    logger = logging.getLogger("rompy_slurm._backend")
    logger.addFilter(raising)
    logger.setLevel(logging.INFO)
    try:
        with pytest.raises(ValueError, match="no such field"):
            ModelRun(run_id="a", output_dir=tmp_path).submit("slurm", command="true", stream_output=True).wait(30)
    finally:
        logger.removeFilter(raising)
        logger.setLevel(logging.NOTSET)

    until(lambda: _threads() == [], "the end of all threads")
    until(lambda: slurm.live_jobs() == [], "an empty queue")


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rompy-slurm")]


def test_a_process_that_submits_and_ends_says_nothing(slurm: Cluster, tmp_path: Path) -> None:
    source = f"""if True:
        from rompy_core import ModelRun
        ModelRun(run_id="a", output_dir={str(tmp_path)!r}).submit("slurm", command="true", additional_options={HELD})
    """

    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    report = rompy_slurm.attach(tmp_path / "a")
    report.cancel()

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert report.wait(30).state is RunState.CANCELLED


def test_a_run_that_was_given_up_does_nothing_if_its_job_comes_all_the_same(
    driver: Driver, slurm: Cluster, tmp_path: Path, until: Until
) -> None:
    process, record, job = driver(command="touch ran", additional_options=HELD, python=NONE)
    process.kill()
    noted = _files.read_json(record / _files.JOB)
    _files.write_json(record / _files.JOB, {**noted, "key": "rompy-of-no-job", "submitter": None})
    (record / _files.SUBMITTED).unlink()

    report = rompy_slurm.attach(record).wait(0)
    slurm.call("scontrol", "release", job)
    until(lambda: slurm.live_jobs() == [], "the end of the job")

    assert report.state is RunState.NOT_STARTED
    assert not (tmp_path / "out" / "case" / "ran").exists()
    assert read_report(record) == report
