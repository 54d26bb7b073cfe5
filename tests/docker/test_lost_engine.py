"""An engine that dies or hangs: the run ends within our own deadlines, and so do the processes of the container."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.docker.engines import PrivateEngine

from rompy_core import ModelRun, RunHandle, RunState, StartError, read_report
from rompy_docker import _container, reap
from rompy_docker._engine import Engine

Living = Callable[[], list[str]]
Submit = Callable[..., RunHandle]
Until = Callable[..., None]

ENGINE_TIMEOUT_S = 1.0


@pytest.fixture
def submit(
    own_engine: PrivateEngine,
    model_run: ModelRun,
    images: Any,
    token: str,
    living: Living,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> Submit:
    """Start words in a container of the test's own engine, and wait until they run."""
    monkeypatch.setattr(_container, "_LOOK_S", 0.5)

    def start(words: object = "sleep 300", **options: Any) -> RunHandle:
        handle = model_run.submit(
            "docker",
            **{
                "image": images.busybox,
                "executable": words,
                "engine": own_engine.address,
                "engine_timeout": ENGINE_TIMEOUT_S,
                "env_vars": {"ROMPY_TEST_TOKEN": token},
                **options,
            },
        )
        until(lambda: living() != [], "the container's processes")
        return handle

    return start


def test_an_engine_that_dies_takes_the_run_with_it(
    submit: Submit, own_engine: PrivateEngine, living: Living, model_run: ModelRun
) -> None:
    handle = submit(["sh", "-c", "echo begun; sleep 300"])

    own_engine.kill()
    report = handle.wait(15)

    assert (report.state, report.exit_code, report.exit_signal) == (RunState.FAILED, None, None)
    assert "the engine was lost during the run" in report.reason
    assert "its processes were ended without the engine" in report.reason
    assert living() == []
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "begun\n"
    assert read_report(model_run.workspace_dir) == report
    assert model_run.report == report


def test_what_an_engine_has_left_that_had_died_is_removed_when_it_is_back(
    submit: Submit, own_engine: PrivateEngine
) -> None:
    handle = submit()
    own_engine.kill()
    handle.wait(15)
    own_engine.start()

    removed = reap(own_engine.address)

    assert len(removed) == 1
    assert reap(own_engine.address) == []


def test_an_engine_that_hangs_during_the_run_takes_the_run_with_it(
    submit: Submit, own_engine: PrivateEngine, living: Living
) -> None:
    handle = submit()
    own_engine.freeze()

    report = handle.wait(15)
    left = living()
    own_engine.thaw()

    assert report.state is RunState.FAILED
    assert "did not answer within 1 s" in report.reason
    assert "its processes were ended without the engine" in report.reason
    assert left == []
    assert len(reap(own_engine.address)) == 1


@pytest.mark.parametrize("state", [RunState.TIMED_OUT, RunState.CANCELLED])
def test_the_end_of_a_run_needs_no_engine(
    submit: Submit, own_engine: PrivateEngine, living: Living, until: Until, state: RunState
) -> None:
    timeout = 1.5 if state is RunState.TIMED_OUT else None
    handle = submit(timeout=timeout, grace_s=0.5, engine_timeout=5)
    own_engine.freeze()
    if timeout is None:
        handle.cancel()

    until(lambda: living() == [], "the end of the processes", 4.5)
    was_done = handle.done()
    report = handle.wait(20)
    own_engine.thaw()

    assert not was_done  # the engine has not been given up yet: nothing waited for it
    assert report.state is state
    assert "its processes were ended without the engine" in report.reason
    assert len(reap(own_engine.address)) == 1


def test_an_engine_that_answers_again_in_time_does_no_harm(submit: Submit, own_engine: PrivateEngine) -> None:
    handle = submit(["sh", "-c", "sleep 2; echo done"], engine_timeout=30)

    own_engine.freeze()
    threading.Timer(1.0, own_engine.thaw).start()
    report = handle.wait(30)

    assert report.ok, report
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "done\n"


@pytest.mark.parametrize("step", ["create", "attach", "start"])
def test_an_engine_that_hangs_while_a_container_is_being_started_is_a_start_error(
    submit: Submit, own_engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    inner = getattr(Engine, step)

    def hang(*args: Any) -> Any:
        own_engine.freeze()
        return inner(*args)

    monkeypatch.setattr(Engine, step, hang)
    began = time.monotonic()

    with pytest.raises(StartError, match="did not answer within 1 s") as caught:
        submit()
    took_s = time.monotonic() - began
    own_engine.thaw()

    assert caught.value.report.state is RunState.NOT_STARTED
    assert took_s < 6 * ENGINE_TIMEOUT_S
    monkeypatch.undo()
    time.sleep(1)  # the engine goes on with what it was asked for, though nobody waits for the answer
    reap(own_engine.address)
    assert reap(own_engine.address) == []


def test_an_engine_that_hangs_from_the_beginning_is_a_start_error(
    submit: Submit, own_engine: PrivateEngine, model_run: ModelRun
) -> None:
    own_engine.freeze()

    with pytest.raises(StartError, match="did not answer within 1 s"):
        submit()

    own_engine.thaw()
    assert read_report(model_run.workspace_dir).state is RunState.NOT_STARTED
