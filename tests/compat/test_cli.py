"""rompy's own command line, with ours installed beside it: it does what it did, with its own backends.

The exit codes are those of rompy 0.6.4 alone: 1 for a run that failed and for a file that is wrong, 2 for a file that
is missing. To import rompy and its plugins takes ten seconds, so one process does, and forks for each call.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_CALLS = """
import json, os, sys, tempfile
from rompy.cli import cli

for line in sys.stdin:
    words, directory = json.loads(line)
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if child == 0:
            os.chdir(directory)
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            code = 70
            try:
                cli(words, prog_name="rompy")
            except SystemExit as ended:
                code = ended.code
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        print(json.dumps([code, said.read()]), flush=True)
"""
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}


class Ended(NamedTuple):
    """How a call of the command ended, and what it printed."""

    code: int
    said: str


Rompy = Callable[..., Ended]


@pytest.fixture(scope="module")
def interpreter() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported rompy's command, and calls it for each line of its input."""
    words = [sys.executable, "-W", "ignore", "-c", _CALLS]
    process = subprocess.Popen(words, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    process.communicate(timeout=30)


@pytest.fixture
def rompy(interpreter: subprocess.Popen[str]) -> Rompy:
    """Call rompy's command in the current directory."""

    def call(*words: str) -> Ended:
        assert interpreter.stdin is not None
        assert interpreter.stdout is not None
        interpreter.stdin.write(json.dumps([words, str(Path.cwd())]) + "\n")
        interpreter.stdin.flush()
        return Ended(*json.loads(interpreter.stdout.readline()))

    return call


def write(name: str, table: dict[str, Any]) -> str:
    """Write a file of options, where the test is; JSON is YAML, too."""
    Path(name).write_text(json.dumps(table))
    return name


@pytest.fixture
def model() -> dict[str, Any]:
    return {"run_id": "case", "output_dir": "out", "config": {"model_type": "base"}}


def test_its_script_runs_a_model(model: dict[str, Any]) -> None:
    files = write("case.yml", model), write("local.yml", {"type": "local", "command": "touch out.nc"})
    command = [Path(sys.executable).with_name("rompy"), "run", files[0], "--backend-config", files[1]]

    ended = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False, timeout=100)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert Path("out/case/out.nc").exists()


@pytest.mark.parametrize(("command", "code"), [("touch out.nc", 0), ("touch out.nc; exit 3", 1)])
def test_run_runs_by_its_own_backend_and_exits_by_the_verdict(
    rompy: Rompy, model: dict[str, Any], command: str, code: int
) -> None:
    files = write("case.yml", model), write("local.yml", {"type": "local", "command": command})

    ended = rompy("run", files[0], "--backend-config", files[1])

    assert ended.code == code, ended.said
    assert Path("out/case/out.nc").exists()
    assert not list(Path("out").rglob(".rompy"))


def test_run_knows_the_types_that_it_knew(rompy: Rompy, model: dict[str, Any]) -> None:
    files = write("case.yml", model), write("backend.yml", {"type": "rompy_local", "command": "true"})

    ended = rompy("run", files[0], "--backend-config", files[1])

    assert ended.code == 1
    assert "Unknown backend type in config: rompy_local. Available types: local, docker, slurm" in ended.said
    assert not Path("out").exists()


@pytest.mark.parametrize("command", ["run", "pipeline", "postprocess"])
def test_a_file_that_is_missing_is_exit_code_2(rompy: Rompy, command: str) -> None:
    ended = rompy(command, "no-such-file.yml")

    assert ended.code == 2
    assert "no-such-file.yml" in ended.said


@pytest.mark.parametrize(("command", "code"), [("touch out.nc", 0), ("exit 3", 1)])
def test_pipeline_goes_by_its_own_pipeline(rompy: Rompy, model: dict[str, Any], command: str, code: int) -> None:
    sections = {"config": model, "backend": {"type": "local", "command": command}, "postprocessor": {"type": "noop"}}

    ended = rompy("pipeline", write("pipeline.yml", sections), "-v")

    assert ended.code == code, ended.said
    assert ("Pipeline completed successfully" in ended.said) is (code == 0)
    assert ("Model run failed" in ended.said) is (code == 1)
    assert not list(Path("out").rglob(".rompy"))


@pytest.mark.parametrize("section", ["config", "backend", "postprocessor"])
def test_pipeline_refuses_a_file_without_one_of_its_sections(rompy: Rompy, model: dict[str, Any], section: str) -> None:
    sections = {"config": model, "backend": {"type": "local", "command": "true"}, "postprocessor": {"type": "noop"}}
    del sections[section]

    ended = rompy("pipeline", write("pipeline.yml", sections))

    assert ended.code == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("is_there", [True, False])
def test_postprocess_goes_by_its_own_processor_whose_failure_it_calls_none(
    rompy: Rompy, model: dict[str, Any], is_there: bool
) -> None:
    files = write("case.yml", model), write("noop.yml", {"type": "noop"})
    if is_there:
        Path("out/case").mkdir(parents=True)

    ended = rompy("postprocess", files[0], "--processor-config", files[1], "-v")

    assert ended.code == 0, ended.said
    assert f"Results: {{'success': {is_there}" in ended.said
    assert "file_count" not in ended.said  # which ours has, and rompy's own has not


def test_postprocess_refuses_a_type_that_it_does_not_know(rompy: Rompy, model: dict[str, Any]) -> None:
    files = write("case.yml", model), write("processor.yml", {"type": "rompy_core_noop"})

    ended = rompy("postprocess", files[0], "--processor-config", files[1])

    assert ended.code == 1
    assert "Unknown processor type: 'rompy_core_noop'. Available types: " in ended.said
