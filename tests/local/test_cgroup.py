"""A cgroup of the run's own.

The real file system is used for joining, counting and removing. No machine of ours has a memory controller in version 2
of it, so limits and peaks of memory are tested on a directory that looks like one: what is written where, and what
follows from what the kernel would say there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rompy_core import ConfigError, ModelRun, RunHandle, RunReport, RunState, StartError
from rompy_local._supervisor import _cgroup
from rompy_local._supervisor._limits import Limits

Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]


@pytest.fixture
def delegated(tmp_path: Path) -> Iterator[Path]:
    """A real cgroup v2 without processes."""
    mounted = tmp_path / "cgroup"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "cgroup2", "none", mounted], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a cgroup v2 here: {done.stderr.strip()}")
    group = mounted / f"rompy-test-{os.getpid()}-{tmp_path.name}"
    group.mkdir()
    yield group
    group.rmdir()
    subprocess.run(["umount", mounted], check=True)


@pytest.fixture
def pretended(tmp_path: Path) -> Path:
    """A directory that looks like a delegated cgroup with a memory controller."""
    group = tmp_path / "pretended"
    group.mkdir()
    (group / "cgroup.subtree_control").write_text("cpu memory pids\n")
    return group


def test_the_whole_run_is_in_a_group_of_its_own_which_is_removed(run: Run, delegated: Path) -> None:
    busy = f"{sys.executable} -c 'import time\nwhile time.process_time() < 0.25: pass'"

    report = run(f"cat /proc/self/cgroup; {busy} & wait", cgroup=str(delegated))

    assert report.ok, report.reason
    assert report.stdout_path is not None
    assert f"/{delegated.name}/rompy-" in report.stdout_path.read_text()
    assert report.cpu_time_s is not None
    assert report.cpu_time_s >= 0.2
    assert report.warnings == ()
    assert [path for path in delegated.iterdir() if path.is_dir()] == []


def test_a_group_is_removed_where_the_command_does_not_start(submit: Submit, delegated: Path) -> None:
    with pytest.raises(StartError, match="cannot be executed"):
        submit(["/no/such/program"], cgroup=str(delegated))

    assert [path for path in delegated.iterdir() if path.is_dir()] == []


def test_memory_cannot_be_limited_where_the_controller_is_missing(
    submit: Submit, model_run: ModelRun, delegated: Path
) -> None:
    with pytest.raises(ConfigError, match=r"cannot limit memory: its cgroup\.subtree_control has no controllers"):
        submit("true", cgroup=str(delegated), memory="1g")

    assert not model_run.output_dir.exists()


def test_what_is_no_cgroup_is_refused_before_anything_is_written(submit: Submit, model_run: ModelRun) -> None:
    with pytest.raises(ConfigError, match="is no cgroup v2"):
        submit("true", cgroup="/etc")

    assert not model_run.output_dir.exists()


def test_a_group_that_cannot_be_made_is_a_start_error(submit: Submit, pretended: Path) -> None:
    # This file system makes directories but fills them with no files, so the limit cannot be written.
    with pytest.raises(StartError, match=r"cannot be made: No such file or directory.*memory\.max"):
        submit("true", cgroup=str(pretended), memory="1g")

    assert [path for path in pretended.iterdir() if path.is_dir()] == []


def test_limits_are_written_and_counts_are_read(pretended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = os.mkdir

    def mkdir(path: str) -> None:
        make(path)
        for name in ("memory.max", "memory.swap.max", "memory.oom.group"):
            Path(path, name).touch()

    monkeypatch.setattr(_cgroup.os, "mkdir", mkdir)
    group = _cgroup.Group(str(pretended), 2**30)
    path = Path(group.path)
    (path / "memory.peak").write_text("12345\n")
    (path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 3\n")
    (path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\n")

    assert [(path / name).read_text() for name in ("memory.max", "memory.swap.max", "memory.oom.group")] == [
        str(2**30), "0", "1",
    ]  # fmt: skip
    assert (group.peak_bytes(), group.cpu_s(), group.oom_kills()) == (12345, 2.5, 3)


def test_a_group_that_the_kernel_holds_on_to_is_said_so(pretended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cgroup, "_REMOVE_S", 0.02)
    group = _cgroup.Group(str(pretended), None)
    (Path(group.path) / "busy").touch()

    assert group.remove() is False
    assert (group.peak_bytes(), group.cpu_s(), group.oom_kills()) == (None, None, 0)


@pytest.mark.parametrize(
    ("code", "kills", "state"), [(-9, 1, "OUT_OF_MEMORY"), (137, 2, "OUT_OF_MEMORY"), (0, 1, None)]
)
def test_what_the_kernel_killed_for_memory_is_called_so(code: int, kills: int, state: RunState | None) -> None:
    limits = Limits.__new__(Limits)
    limits._spec = {"memory": 2**20, "rlimits": {}}

    exceeded = limits.by_exit(code, kills)

    assert (exceeded.state if exceeded else None) == state
