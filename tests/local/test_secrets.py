"""Values of variables appear nowhere but in the environment of the command: in every ending, wherever one may look."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import pickle
import shlex
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rompy_core import ConfigError, FilesConfig, ModelRun, RompyError, RunHandle, RunReport, RunState, cancel, find_runs
from rompy_core._structure import masked_config
from rompy_local import LocalConfig

Until = Callable[..., None]

GIVEN = "canary-given-7Yq"
INHERITED = "canary-inherited-3Kz"
CANARIES = (GIVEN, INHERITED)
ENV = {"SECRET": GIVEN, f"NAME_{'X' * 3}": f"{GIVEN} with\nlines", "TMPDIR_OF_MINE": f"/tmp/{GIVEN}"}


@pytest.fixture(autouse=True)
def _in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED_SECRET", INHERITED)


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """All that is logged anywhere, with every field of every record."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields = {name: value for name, value in vars(record).items() if name != "exc_info"}
            raised = traceback.format_exception(*record.exc_info) if record.exc_info else ()
            lines.append(f"{record.getMessage()} {fields!r} {''.join(raised)}")

    listener = Listener(logging.NOTSET)
    root = logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(listener)
    root.setLevel(level)


def found_below(directory: Path) -> list[str]:
    """Where a secret is written: in a name, a link or a file."""
    found: list[str] = []
    for path in [directory, *directory.rglob("*")]:
        said = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found += [str(path) for canary in CANARIES if canary.encode() in said + os.fsencode(path)]
    return found


def found_in(*said: object) -> list[str]:
    return [text for text in map(str, said) for canary in CANARIES if canary in text]


def shown(value: Any) -> tuple[object, ...]:
    """Each way in which a report, a handle or an error shows itself."""
    args = value.args if isinstance(value, BaseException) else ()
    return (value, repr(value), args, repr(getattr(value, "__cause__", "")), repr(getattr(value, "__notes__", "")))


ENDINGS: dict[str, tuple[RunState, dict[str, Any]]] = {
    "success": (RunState.COMPLETED, {"command": "true"}),
    "an exit code": (RunState.FAILED, {"command": "exit 3"}),
    "a signal": (RunState.FAILED, {"command": "kill -SEGV $$"}),
    "no such program for a shell": (RunState.FAILED, {"command": "no-such-program"}),
    "its timeout": (RunState.TIMED_OUT, {"command": "sleep 60", "timeout": 0.3, "grace_s": 0.2}),
    "a stall": (RunState.STALLED, {"command": "sleep 60", "stall_timeout": 0.3, "grace_s": 0.2}),
    "a fatal line": (RunState.FAILED, {"command": "echo FATAL; sleep 60", "rules": {"fatal": ["^FATAL"]}}),
    "a missing output": (RunState.FAILED, {"command": "true", "rules": {"required_files": ["out.nc"]}}),
    "its processes": (RunState.LIMIT_EXCEEDED, {"command": "sleep 9& sleep 9& sleep 9& wait", "max_processes": 2}),
    "its output": (RunState.LIMIT_EXCEEDED, {"command": "yes", "log_size_limit": "64k", "grace_s": 0.2}),
    "no such program": (RunState.NOT_STARTED, {"command": ["no-such-program"]}),
    "no such directory": (RunState.NOT_STARTED, {"command": ["true"], "working_dir": "nowhere"}),
    "an odd PATH": (RunState.NOT_STARTED, {"command": ["model"], "env_vars": {**ENV, "PATH": f"/{GIVEN}:/bin"}}),
    "too long a variable": (RunState.NOT_STARTED, {"command": ["true"], "env_vars": {"SECRET": GIVEN * 2**15}}),
    "leftovers": (RunState.COMPLETED, {"command": "sleep 60 & true", "grace_s": 0.2}),
    "a stream to the logger": (RunState.COMPLETED, {"command": "echo hello", "stream_output": True}),
}


@pytest.mark.parametrize("how", ["run", "pipeline", "pipeline with cleanup"])
@pytest.mark.parametrize(("state", "options"), ENDINGS.values(), ids=ENDINGS.keys())
def test_no_ending_tells_a_secret(
    tmp_path: Path, heard: list[str], state: RunState, options: dict[str, Any], how: str
) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")
    options = {"timeout": 30, "env_vars": ENV, **options}
    said: Any = None

    try:
        if how == "run":
            said = model_run.run(**options)
        else:
            said = model_run.pipeline(run_kwargs=options, cleanup_on_failure=how.endswith("cleanup"))
    except TimeoutError as exc:
        said = exc

    report = model_run.report
    assert report is not None
    assert report.state is state
    assert found_in(*shown(said), *shown(report), report.options, vars(model_run), *heard) == []
    assert found_below(tmp_path) == []
    assert "SECRET" in report.env_names
    assert heard


@pytest.mark.parametrize("ending", ["cancelled", "cancelled by its record", "lost", "interrupted"])
def test_no_end_from_outside_tells_a_secret(tmp_path: Path, heard: list[str], ending: str, until: Until) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")
    raised: BaseException | None = None

    try:
        with model_run.submit(command="touch begun; sleep 60", env_vars=ENV, grace_s=0.2) as handle:
            until((model_run.workspace_dir / "begun").exists)
            _end(handle, model_run, ending)
            handle.wait(20)
    except KeyboardInterrupt as exc:
        raised = exc

    [report] = find_runs(tmp_path)
    assert report.state is (RunState.LOST if ending == "lost" else RunState.CANCELLED)
    assert found_in(*shown(report), *shown(handle), *shown(raised), *heard) == []
    assert found_below(tmp_path) == []


def _end(handle: RunHandle, model_run: ModelRun, ending: str) -> None:
    if ending == "cancelled":
        assert found_in(*shown(handle), handle.usage, handle.progress) == []
        handle.cancel()
    elif ending == "cancelled by its record":
        assert found_in(*shown(cancel(model_run.workspace_dir))) == []
    elif ending == "lost":
        [report] = find_runs(model_run.output_dir)
        assert report.supervisor is not None
        os.kill(report.supervisor.pid, signal.SIGKILL)
    else:
        raise KeyboardInterrupt


CALLER = """
import os, pathlib, sys, time
from rompy_core import ModelRun
model_run = ModelRun(run_id="case", output_dir=pathlib.Path(sys.argv[1]))
handle = model_run.submit(command="touch begun; sleep 60", env_vars={"SECRET": os.environ["INHERITED_SECRET"]})
while not (model_run.workspace_dir / "begun").exists():
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""


def test_the_death_of_the_caller_tells_no_secret(tmp_path: Path, until: Until) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CALLER, tmp_path / "out"], capture_output=True, text=True, check=False, timeout=30
    )

    until(lambda: (runs := find_runs(tmp_path)) and runs[0].state.is_final)
    [report] = find_runs(tmp_path)
    assert done.returncode == -signal.SIGKILL
    assert report.state is RunState.CANCELLED
    assert found_in(done.stdout, done.stderr, *shown(report)) == []
    assert found_below(tmp_path) == []


def test_a_model_config_that_raises_tells_no_secret(tmp_path: Path, heard: list[str]) -> None:
    class Raising(FilesConfig):
        """A config whose ``run()`` has the secret at hand when it fails."""

        def run(self, model_run: Any) -> bool:
            secret = os.environ["SECRET"]
            raise RuntimeError(f"no licence among {len(secret)} characters")

    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out", config=Raising(files={}))

    assert model_run.run(env_vars=ENV) is False

    report = model_run.report
    assert report is not None
    assert "no licence among" in report.reason
    assert found_in(*shown(report), report.traceback, *heard) == []
    assert found_below(tmp_path) == []


def test_no_command_line_has_a_secret_while_the_run_lives(model_run: ModelRun, until: Until) -> None:
    lines: list[str] = []
    with model_run.submit(command="touch begun; sleep 60", env_vars=ENV, grace_s=0.2) as handle:
        until((model_run.workspace_dir / "begun").exists)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it ended meanwhile
                lines.append(shlex.join(process.cmdline()))
        handle.cancel()
        handle.wait(20)

    assert any("sleep 60" in line for line in lines)
    assert found_in(*lines) == []


WRONG: dict[str, dict[str, Any]] = {
    "a value of the wrong type": {"env_vars": {"SECRET": [GIVEN]}},
    "bytes": {"env_vars": {"SECRET": GIVEN.encode()}},
    "a NUL": {"env_vars": {"SECRET": f"{GIVEN}\0"}},
    "half a surrogate": {"env_vars": {"SECRET": f"{GIVEN}\ud800"}},
    "no table": {"env_vars": GIVEN},
    "a list of pairs": {"env_vars": [("SECRET", GIVEN)]},
    "a misspelt option": {"env_varz": {"SECRET": GIVEN}},
    "another option that is wrong": {"env_vars": ENV, "timeout": -1},
    "plugin options": {"env_vars": ENV, "plugin_options": {"token": GIVEN}},
    "a config beside": {"config": {"env_vars": {"SECRET": [GIVEN]}}},
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG.keys())
def test_no_refusal_tells_a_secret(tmp_path: Path, heard: list[str], options: dict[str, Any]) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - each of them says something else
        model_run.run("local", command="true", **options)

    assert isinstance(caught.value, RompyError)
    assert found_in(*shown(caught.value), "".join(traceback.format_exception_only(caught.value)), *heard) == []
    if isinstance(caught.value, ConfigError):
        assert found_in(*caught.value.problems) == []


def test_a_config_shows_no_secret_and_keeps_it_all_the_same() -> None:
    config = LocalConfig(command="true", env_vars=ENV)

    assert found_in(config, repr(config), masked_config(config), [config], {"config": config}) == []
    assert "SECRET" in repr(config)
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert dict(twin.env_vars) == ENV


def test_what_the_command_itself_prints_is_kept_as_it_is(model_run: ModelRun) -> None:
    report: RunReport = model_run.submit(command='echo "$SECRET"', env_vars=ENV).wait(20)

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == f"{GIVEN}\n"
    assert found_in(json.loads((report.stdout_path.parent / "report.json").read_text())) == []
