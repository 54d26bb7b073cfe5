"""Jobs that give way to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rompy_core import RunState
from rompy_slurm import SlurmHandle

from .conftest import Cluster

Submit = Callable[..., SlurmHandle]
Until = Callable[..., None]

ALL_OF_A_NODE: Final[dict[str, Any]] = {"cpus_per_task": 8, "mem": "100m", "partition": "spare"}


def take_its_node(slurm: Cluster, handle: SlurmHandle, until: Until) -> None:
    """Submit a job that has more right to the node of the other one, and needs all of it."""
    until((handle.record_dir.parents[1] / "begun").exists)
    node = slurm.call("squeue", "--noheader", f"--jobs={handle.job.id}", "--format=%N")
    wanted = ["--partition=debug", f"--nodelist={node}", "--cpus-per-task=8", "--mem=100", "--output=/dev/null"]
    slurm.call("sbatch", "--parsable", *wanted, "--wrap=true")


def test_a_job_that_has_to_give_way_is_cancelled_and_says_so(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit("touch begun; sleep 300", **ALL_OF_A_NODE)
    take_its_node(slurm, handle, until)

    report = handle.wait(55)

    assert report.state is RunState.CANCELLED
    assert report.reason.startswith("its job was preempted by another one (Slurm: PREEMPTED")


def test_a_job_that_may_be_requeued_goes_on_after_it_gave_way(submit: Submit, slurm: Cluster, until: Until) -> None:
    once = "[ ! -e begun ] || { echo again; exit 0; }; touch begun; sleep 300"
    handle = submit(once, requeue=True, **ALL_OF_A_NODE)
    take_its_node(slurm, handle, until)
    until(lambda: slurm.state_of(handle.job.id) == "PENDING")
    slurm.call("scontrol", "update", f"jobid={handle.job.id}", "starttime=now+2")  # else in two minutes

    report = handle.wait(55)

    assert report.state is RunState.COMPLETED
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "again\n"
