"""What the tests of the command share: a directory of the user's own, the command in this process and beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rompy_cli import main
from rompy_core import RunRecord, RunState, open_record

Invoke = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[str]"]

LIVING = """
import pathlib, sys, time
print("first", flush=True)
print("oops", file=sys.stderr, flush=True)
pathlib.Path("ready").touch()
deadline = time.monotonic() + 50
while not pathlib.Path("go").exists() and time.monotonic() < deadline:
    time.sleep(0.01)
print("last", flush=True)
"""
"""A model that says that it is ready, and runs until it is released."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def invoke(here: Path) -> Invoke:
    """Run the command in this process."""

    def run(*words: str | Path) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    return run


@pytest.fixture
def rompyrun() -> str:
    """The command as it is installed."""
    return shutil.which("rompyrun", path=str(Path(sys.executable).parent)) or "rompyrun"


@pytest.fixture
def start(here: Path, rompyrun: str, token: str) -> Iterator[Start]:
    """Start the command as a process of its own; whatever a test leaves is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*words: str | Path, **options: Any) -> subprocess.Popen[str]:
        env = {**os.environ, "ROMPY_TEST_TOKEN": token, "PYTHONWARNINGS": "error"}
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env, **options}
        process: subprocess.Popen[str] = subprocess.Popen([rompyrun, *map(str, words)], **given)
        started.append(process)
        return process

    yield run
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def living_file(here: Path) -> Path:
    """A file whose model lives until it is released."""
    lines = ['run_id = "storm"', "[config]", 'model_type = "files"', f"files = {{ 'model.py' = '''{LIVING}''' }}"]
    lines += [f"command = ['{sys.executable}', 'model.py']", "[run]", "timeout = 60", "grace_s = 1"]
    path = here / "storm.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def make_run(here: Path) -> Callable[..., RunRecord]:
    """Make the record of a run that ended without having been run."""

    def make(
        run_id: str = "storm",
        state: RunState = RunState.COMPLETED,
        *,
        workspace: str | None = None,
        reason: str = "the command ended with exit code 0",
        stdout: bytes = b"",
        stderr: bytes = b"",
        **facts: Any,
    ) -> RunRecord:
        directory = here / "simulations" / (run_id if workspace is None else workspace)
        directory.mkdir(parents=True, exist_ok=True)
        paths = {"stdout_path": Path("stdout.log"), "stderr_path": Path("stderr.log")}
        record = open_record(directory, run_id=run_id, backend="local", **paths, **facts)
        (record.directory / "stdout.log").write_bytes(stdout)
        (record.directory / "stderr.log").write_bytes(stderr)
        if state.is_final:
            record.finish(state, reason)
        return record

    return make
