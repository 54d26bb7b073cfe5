"""Every ending of a job that can be provoked, on a real Slurm."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rompy_core import ModelRun, RunReport, RunState, StartError, read_report
from rompy_slurm import SlurmHandle, _handle

from .conftest import Cluster

Run = Callable[..., RunReport]
Submit = Callable[..., SlurmHandle]
Until = Callable[..., None]

TAKES_MEMORY = [sys.executable, "-c", "x = bytearray(900 << 20); import time; time.sleep(30)"]


def has_begun(handle: SlurmHandle, file: str = "ready") -> Callable[[], bool]:
    """Whether the command has made *file* in its workspace."""
    return (handle.record_dir.parents[1] / file).exists


def test_a_command_that_ends_well_is_a_success(run: Run) -> None:
    report = run("echo deep; echo shallow >&2")

    assert report.state is RunState.COMPLETED
    assert (report.exit_code, report.exit_signal) == (0, None)
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "deep\n"
    assert report.cpu_time_s is not None
    assert report.peak_rss_bytes is not None


def test_run_of_true_takes_at_most_three_seconds(model_run: ModelRun, slurm: Cluster) -> None:
    began = time.monotonic()

    verdict = model_run.run("slurm", command="true")

    assert verdict is True
    assert time.monotonic() - began < 3 * 2, "twice the promise, for a busy machine; benchmarks/slurm measures it"


def test_an_exit_code_is_a_failure_with_that_code(run: Run) -> None:
    report = run("echo the grid has holes >&2; exit 7")

    assert (report.state, report.exit_code) == (RunState.FAILED, 7)
    assert "the grid has holes" in report.reason


def test_a_signal_is_a_failure_with_that_signal(submit: Submit, slurm: Cluster) -> None:
    numbers = (signal.SIGSEGV, signal.SIGKILL)

    handles = [submit(["/bin/sh", "-c", f"kill -{int(number)} $$"], run_id=number.name) for number in numbers]
    reports = [handle.wait(50) for handle in handles]

    assert [report.exit_signal for report in reports] == [*numbers]
    assert {(report.state, report.exit_code) for report in reports} == {(RunState.FAILED, None)}


def test_rules_are_judged_inside_the_job(run: Run) -> None:
    report = run("echo ERROR: no wind; sleep 30", rules={"fatal": ["ERROR"]})

    assert report.state is RunState.FAILED
    assert "ERROR: no wind" in report.reason


def test_a_timeout_ends_the_command(model_run: ModelRun, slurm: Cluster) -> None:
    with pytest.raises(TimeoutError, match="exceeded its timeout of 1 s"):
        model_run.run("slurm", command="sleep 30", timeout=1, grace_s=1)

    assert slurm.live_jobs() == []


def test_a_command_over_its_memory_is_out_of_memory(run: Run) -> None:
    report = run(TAKES_MEMORY, memory="200m", mem="2g")

    assert report.state is RunState.OUT_OF_MEMORY
    assert "of 209715200 bytes" in report.reason


def test_a_job_that_slurm_kills_for_its_memory_is_out_of_memory(run: Run) -> None:
    report = run(TAKES_MEMORY, mem="200m")

    assert report.state is RunState.OUT_OF_MEMORY
    assert "Slurm:" in report.reason


def test_scancel_from_outside_is_cancelled(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit("touch ready; sleep 60")
    until(has_begun(handle), "the command")

    slurm.call("scancel", handle.job.id)
    report = handle.wait(30)

    assert report.state is RunState.CANCELLED
    assert "somebody else" in report.reason
    assert report.cpu_time_s is not None


def test_our_cancel_ends_the_job(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit("touch ready; sleep 60")
    until(has_begun(handle), "the command")

    assert handle.cancel()
    report = handle.wait(30)

    assert (report.state, report.reason) == (RunState.CANCELLED, "cancelled by its caller")
    assert slurm.live_jobs() == []


def test_our_cancel_ends_a_job_that_waits(submit: Submit, slurm: Cluster) -> None:
    handle = submit("true", additional_options=["--hold"])

    handle.cancel()
    report = handle.wait(30)

    assert (report.state, report.reason) == (RunState.CANCELLED, "cancelled by its caller")
    assert slurm.live_jobs() == []


def test_a_job_that_waits_longer_than_its_queue_timeout_is_not_started(run: Run) -> None:
    report = run("true", additional_options=["--hold"], queue_timeout=0.5, env_vars={"A": "b"})

    assert report.state is RunState.NOT_STARTED
    assert "queue_timeout of 0.5 s" in report.reason
    assert "JobHeldUser" in report.reason


def test_a_requeued_job_is_run_again_and_judged_by_its_last_start(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit(
        'echo start $SLURM_RESTART_COUNT $DEPTH; touch ready; [ -n "$SLURM_RESTART_COUNT" ] || sleep 60',
        requeue=True,
        env_vars={"DEPTH": "3"},
    )
    until(has_begun(handle), "the first start")

    slurm.call("scontrol", "requeue", handle.job.id)
    until(lambda: slurm.state_of(handle.job.id) == "PENDING", "the job in the queue again")
    assert read_report(handle.record_dir).state is RunState.RUNNING, "the job lives"
    # Within the second of the requeue, the node would take the new start for the one that it has just ended.
    slurm.call("scontrol", "update", f"jobid={handle.job.id}", "starttime=now+2")
    report = handle.wait(50)

    assert report.state is RunState.COMPLETED
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "start 1 3\n"
    assert (handle.record_dir / "attempt-0" / "stdout.log").read_text() == "start 3\n"


def test_a_node_that_fails_is_a_lost_run(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit("touch ready; sleep 60", additional_options=["--nodelist=c2"])
    until(has_begun(handle), "the command")

    with node_down(slurm, "c2"):
        report = handle.wait(30)

    assert report.state is RunState.LOST
    assert "NODE_FAIL" in report.reason


@contextlib.contextmanager
def node_down(slurm: Cluster, node: str) -> Any:
    slurm.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        yield
    finally:
        slurm.call("scontrol", "update", f"nodename={node}", "state=resume", check=False)  # it may be back by itself


def test_a_controller_that_is_restarted_loses_nothing(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit("touch ready; while [ ! -e go ]; do sleep 0.1; done")
    until(has_begun(handle), "the command")

    slurm.controller("stop")
    try:
        (handle.record_dir.parents[1] / "go").touch()
    finally:
        slurm.controller("start")
    report = handle.wait(50)

    assert report.state is RunState.COMPLETED


def test_a_controller_that_is_down_is_a_start_error_and_no_job(submit: Submit, slurm: Cluster, tmp_path: Path) -> None:
    slurm.controller("stop")
    try:
        with pytest.raises(StartError, match="Slurm did not take the job") as caught:
            submit("touch ran")
    finally:
        slurm.controller("start")

    assert caught.value.report.state is RunState.NOT_STARTED
    assert slurm.live_jobs() == []
    assert not (tmp_path / "out" / "case" / "ran").exists()


def test_a_partition_that_does_not_exist_is_a_start_error(submit: Submit, slurm: Cluster) -> None:
    with pytest.raises(StartError, match=r"[Ii]nvalid partition") as caught:
        submit("true", partition="nope")

    assert caught.value.report.state is RunState.NOT_STARTED


def test_a_command_that_does_not_exist_is_a_failure_that_says_so(run: Run) -> None:
    report = run(["rompy-no-such-command"])

    assert (report.state, report.exit_code) == (RunState.FAILED, 127)
    assert "not found" in report.reason


def test_setup_that_fails_is_a_failure_and_the_command_is_not_run(run: Run) -> None:
    report = run("touch ran", setup=["false"])

    assert report.state is RunState.FAILED
    assert not (report.workspace_dir / "ran").exists()


def test_a_module_that_cannot_be_loaded_is_a_failure_that_says_so(run: Run) -> None:
    report = run("touch ran", modules=["netcdf/4.9"])

    assert report.state is RunState.FAILED
    assert "module" in report.reason
    assert not (report.workspace_dir / "ran").exists()


def test_a_job_on_two_nodes_runs_there(run: Run) -> None:
    report = run("printenv SLURMD_NODENAME", launcher="srun", nodes=2, ntasks_per_node=1)

    assert report.ok, report.reason
    assert report.stdout_path is not None
    assert sorted(report.stdout_path.read_text().split()) == ["c1", "c2"]


def test_a_job_that_leaves_no_word_is_never_a_success(
    submit: Submit, slurm: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_handle, "SETTLES_S", 0.5)
    handle = submit("true", additional_options=["--hold"])
    (handle.record_dir / "withdrawn").touch()  # the batch script does nothing then, and ends with exit code 0

    slurm.call("scontrol", "release", handle.job.id)
    report = handle.wait(40)

    assert report.state is RunState.FAILED
    assert "no word" in report.reason
