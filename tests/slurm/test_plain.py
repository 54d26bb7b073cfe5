"""A job on a node without rompy-local: a shell runs the command, and whoever watches judges its output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import rompy_slurm
from rompy_core import RunReport, RunState
from rompy_slurm import SlurmHandle

from .conftest import Cluster
from .test_endings import has_begun

NONE = "/nowhere/python3"

Run = Callable[..., RunReport]
Submit = Callable[..., SlurmHandle]
Until = Callable[..., None]


def test_an_ending_is_judged_by_exit_code_and_rules(submit: Submit, slurm: Cluster, tmp_path: Path) -> None:
    stale = tmp_path / "out" / "without" / "norm_end"
    stale.parent.mkdir(parents=True)
    stale.touch()
    commands: dict[str, tuple[str, dict[str, object]]] = {
        "good": (
            "echo normal end; echo 100 % >&2; touch norm_end",
            {"success": ["normal end"], "required_files": ["norm_end"], "progress": r"(?P<percent>\d+) %"},
        ),
        "without": ("true", {"required_files": ["norm_end"]}),
        "fatal": ("echo ERROR: holes", {"fatal": ["ERROR"]}),
        "code": ("exit 7", {}),
        "killed": ("kill -9 $$", {}),
    }

    handles = [submit(text, run_id=name, python=NONE, rules=rules) for name, (text, rules) in commands.items()]
    good, without, fatal, code, killed = (handle.wait(50) for handle in handles)

    assert good.ok, good.reason
    assert good.progress is not None
    assert good.progress.fraction == 1
    assert without.state is RunState.FAILED
    assert "was not written by this run" in without.reason
    assert fatal.state is RunState.FAILED
    assert "at the end only" in fatal.warnings[0]
    assert (code.state, code.exit_code) == (RunState.FAILED, 7)
    assert (killed.state, killed.exit_code, killed.exit_signal) == (RunState.FAILED, None, 9)


def test_a_timeout_is_kept_by_the_node(run: Run) -> None:
    report = run("sleep 60", python=NONE, timeout=1, grace_s=1)

    assert report.state is RunState.TIMED_OUT
    assert report.reason == "exceeded its timeout of 1 s"


def test_variables_reach_the_command(run: Run) -> None:
    report = run('echo "$DEPTH"', python=NONE, env_vars={"DEPTH": "a 'b'\nc"})

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "a 'b'\nc\n"


def test_a_cancel_is_told_and_asks_first(submit: Submit, slurm: Cluster, until: Until) -> None:
    handle = submit("trap 'touch asked; exit 0' TERM; touch ready; sleep 60 & wait", python=NONE)
    until(has_begun(handle), "the command")

    handle.cancel()
    report = handle.wait(30)

    assert (report.state, report.reason) == (RunState.CANCELLED, "cancelled by its caller")
    assert has_begun(handle, "asked")()


@pytest.mark.parametrize("option", [{"stall_timeout": 5}, {"log_size_limit": "1m"}, {"memory": "1g"}])
def test_what_nobody_can_keep_there_is_refused_by_name(run: Run, option: dict[str, object]) -> None:
    report = run("touch ran", python=NONE, **option)

    assert report.state is RunState.NOT_STARTED
    assert next(iter(option)) in report.reason
    assert NONE in report.reason
    assert not (report.workspace_dir / "ran").exists()


def test_somebody_who_attaches_judges_as_the_first_one(
    driver: Callable[..., tuple[object, Path, str]], slurm: Cluster, until: Until, tmp_path: Path
) -> None:
    command = "touch norm_end; touch ready; while [ ! -e go ]; do sleep 0.05; done"
    process, record, _ = driver(command=command, python=NONE, rules={"required_files": ["norm_end"]})
    until((tmp_path / "out" / "case" / "ready").exists, "the command")
    process.kill()  # type: ignore[attr-defined]

    attached = rompy_slurm.attach(record)
    (tmp_path / "out" / "case" / "go").touch()

    assert attached.wait(30).ok, attached.wait(0).reason
