"""``config.run(model_run)`` in a process of its own, under the same supervision as a command."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from rompy_core import ConfigError, ModelRun, RunState

# As the classes of a script or a notebook, these can be imported by nobody else.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Model:
    """A model that is Python code."""

    def __init__(self, act: Callable[[Any], object]) -> None:
        self.act = act

    def generate(self, workspace_dir: Path, model_run: ModelRun) -> None:
        (workspace_dir / "inputs").write_text(model_run.run_id)

    def run(self, model_run: ModelRun) -> object:
        return self.act(model_run)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., ModelRun]:
    def model_run(act: Callable[[Any], object], run_id: str = "case") -> ModelRun:
        return ModelRun(run_id=run_id, output_dir=tmp_path / "out", config=Model(act))

    return model_run


def write_outputs(model_run: ModelRun) -> None:
    Path("outputs").write_text(f"{model_run.run_id} {os.getpid()} {Path('inputs').read_text()}")


@pytest.mark.parametrize("given", [None, True])
def test_none_and_true_are_success(make: Callable[..., ModelRun], given: object) -> None:
    model_run = make(lambda _: given)

    assert model_run.run() is True


def test_it_runs_in_the_workspace_and_in_another_process(make: Callable[..., ModelRun]) -> None:
    model_run = make(write_outputs)

    assert model_run.run() is True

    run_id, pid, inputs = (model_run.workspace_dir / "outputs").read_text().split()
    assert (run_id, inputs) == ("case", "case")
    assert int(pid) != os.getpid()


@pytest.mark.parametrize(
    ("given", "reason"),
    [(False, "gave False"), ("FAILED", "neither None, True nor False"), (0, "neither"), (1, "neither")],
)
def test_anything_else_is_a_failure_that_says_so(make: Callable[..., ModelRun], given: object, reason: str) -> None:
    model_run = make(lambda _: given)

    assert model_run.run() is False

    assert model_run.report is not None
    assert reason in model_run.report.reason


def test_an_exception_is_a_failure_with_its_traceback(make: Callable[..., ModelRun]) -> None:
    def fail(_: object) -> None:
        raise ArithmeticError("the tide is too high")

    model_run = make(fail)

    assert model_run.run() is False

    report = model_run.report
    assert report is not None
    assert report.state is RunState.FAILED
    assert "ArithmeticError: the tide is too high" in report.reason
    assert report.traceback is not None
    assert "in fail" in report.traceback
    assert report.stderr_path is not None
    assert "too high" in report.stderr_path.read_text()


def test_an_exit_is_a_failure(make: Callable[..., ModelRun]) -> None:
    model_run = make(lambda _: sys.exit(0))

    assert model_run.run() is False


def test_a_crash_is_a_failure_by_its_signal(make: Callable[..., ModelRun]) -> None:
    model_run = make(lambda _: os.abort())

    assert model_run.run() is False
    assert model_run.report is not None
    assert model_run.report.exit_signal == 6


def test_it_has_the_limits_of_a_command(make: Callable[..., ModelRun]) -> None:
    model_run = make(lambda _: subprocess.run(["sleep", "300"], check=True))

    with pytest.raises(TimeoutError):
        model_run.run("local", timeout=1.0)


def test_the_environment_reaches_it_and_not_the_caller(make: Callable[..., ModelRun]) -> None:
    model_run = make(lambda _: os.environ["OURS"] == "value")

    assert model_run.run("local", env_vars={"OURS": "value"}) is True
    assert "OURS" not in os.environ


def test_two_at_once_in_threads_do_not_meet(make: Callable[..., ModelRun]) -> None:
    runs = [make(write_outputs, f"run{number}") for number in range(2)]
    threads = [threading.Thread(target=model_run.run) for model_run in runs]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    outputs = [(model_run.workspace_dir / "outputs").read_text().split() for model_run in runs]
    assert [words[0] for words in outputs] == ["run0", "run1"]
    assert outputs[0][1] != outputs[1][1]


def test_what_cannot_be_pickled_is_refused_before_anything_is_written(make: Callable[..., ModelRun]) -> None:
    lock = threading.Lock()
    model_run = make(lambda _: lock)

    with pytest.raises(ConfigError, match="cannot be sent"):
        model_run.run()

    assert not model_run.output_dir.exists()


def test_nothing_to_run_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")

    with pytest.raises(ConfigError, match="command: is required"):
        model_run.run()

    assert not model_run.output_dir.exists()


def test_the_models_own_command_is_used(tmp_path: Path) -> None:
    class Own(Model):
        command = "echo own > outputs"

    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out", config=Own(lambda _: False))

    assert model_run.run() is True
    assert (model_run.workspace_dir / "outputs").read_text() == "own\n"


def test_a_command_that_was_given_comes_before_the_models_own(tmp_path: Path) -> None:
    class Own(Model):
        command = "exit 3"

    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out", config=Own(lambda _: False))

    assert model_run.run("local", command=["true"]) is True
