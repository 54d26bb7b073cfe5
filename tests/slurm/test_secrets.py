"""Values of ``env_vars`` are in the command's environment, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rompy_core import StartError
from rompy_slurm import SlurmConfig, SlurmHandle

from .conftest import Cluster

CANARY = "canary-4711"
Submit = Callable[..., SlurmHandle]
Until = Callable[..., None]


def leaks(*roots: Path) -> list[Path]:
    files = [path for root in roots for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if CANARY.encode() in path.read_bytes()]


@pytest.mark.parametrize("python", [None, "/nowhere/python3"], ids=["supervised", "plain"])
def test_a_value_is_shown_nowhere(
    submit: Submit, slurm: Cluster, until: Until, tmp_path: Path, caplog: pytest.LogCaptureFixture, python: str | None
) -> None:
    caplog.set_level(logging.DEBUG)
    commands = ("true", "exit 3", "rompy-no-such-command", "kill -TERM $$")
    options: dict[str, Any] = {"env_vars": {"SECRET": CANARY}, "python": python}

    handles = [
        submit(f'[ -n "$SECRET" ] || exit 9; {command}', run_id=f"r{number}", **options)
        for number, command in enumerate(commands)
    ]
    reports = [handle.wait(50) for handle in handles]

    shown = [*handles, *reports, *(handle.job_state for handle in handles), SlurmConfig(command="x", **options)]
    assert 9 not in [report.exit_code for report in reports], "the value has not reached the command"
    assert not [one for one in shown if CANARY in repr(one)]
    assert not [record for record in caplog.records if CANARY in f"{record.getMessage()} {vars(record)!r}"]
    assert leaks(tmp_path, slurm.conf.parent) == []


def test_the_file_is_for_the_owner_alone_and_gone_once_the_command_runs(
    submit: Submit, slurm: Cluster, until: Until
) -> None:
    handle = submit("touch ready; sleep 60", env_vars={"SECRET": CANARY}, additional_options=["--hold"])
    environment = handle.record_dir / "environment"
    mode = environment.stat().st_mode & 0o777

    slurm.call("scontrol", "release", handle.job.id)
    until((handle.record_dir.parents[1] / "ready").exists, "the command")

    assert mode == 0o600
    assert not environment.exists()
    assert CANARY not in slurm.call("scontrol", "show", "job", handle.job.id)
    assert CANARY not in slurm.call("scontrol", "write", "batch_script", handle.job.id, "-")


def test_a_refused_job_leaves_no_value(submit: Submit, slurm: Cluster, tmp_path: Path) -> None:
    with pytest.raises(StartError):
        submit("true", env_vars={"SECRET": CANARY}, partition="nope")

    assert leaks(tmp_path) == []


def test_a_job_that_is_cancelled_before_it_begins_leaves_no_value(
    submit: Submit, slurm: Cluster, tmp_path: Path
) -> None:
    handle = submit("true", env_vars={"SECRET": CANARY}, additional_options=["--hold"])

    handle.cancel()
    handle.wait(30)

    assert leaks(tmp_path) == []
