from __future__ import annotations

import contextlib
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable, Generator
from typing import Any
from unittest import mock

import pytest

from rompy_core import ModelRun
from rompy_core.testing import PipelineBackendContract, PostprocessorContract, RunBackendContract
from rompy_core.testing._bench import RunBench
from rompy_local import LocalConfig

Verdict = Callable[..., str | None]


def config_for(source: str, **options: Any) -> LocalConfig:
    return LocalConfig(command=(sys.executable, "-I", "-S", "-c", source), **options)


@pytest.fixture
def verdict(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """Put one plugin to the test of one claim; gives the message of a claim that fails."""

    def judge(suite: type[Any], claim: str, plugin: object, *, patience_s: float | None = None) -> str | None:
        made = suite()
        if patience_s is not None:
            made.patience_s = patience_s
        directory = tmp_path_factory.mktemp("claim", numbered=True)
        fixtures = _FIXTURES[suite](made, plugin, directory)
        method = getattr(made, claim)
        given = {
            name: fixtures[name] if name in fixtures else request.getfixturevalue(name)
            for name in inspect.signature(method).parameters
        }
        with (
            mock.patch.dict(os.environ),
            contextlib.chdir(directory),
            _handlers_put_back(),
        ):
            try:
                method(**given)
            except AssertionError as exc:
                return str(exc)
        return None

    return judge


@contextlib.contextmanager
def _handlers_put_back() -> Generator[None]:
    """Undo what the wrong plugins do to the handlers of a signal and of a logger."""
    logger = logging.getLogger("rompy_local")
    handler, handlers = signal.getsignal(signal.SIGUSR2), list(logger.handlers)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR2, handler)
        logger.handlers[:] = handlers


def _for_run_backends(suite: Any, plugin: Any, directory: Any) -> dict[str, Any]:
    bench = RunBench(
        backend=plugin,
        config_for=config_for,
        directory=directory,
        live_processes=suite.live_processes,
        patience_s=suite.patience_s,
    )
    return {"bench": bench, "command_not_found": LocalConfig(command=("rompy-no-such-command",))}


def _for_postprocessors(suite: Any, plugin: Any, directory: Any) -> dict[str, Any]:
    model_run = ModelRun(run_id="contract", output_dir=directory)
    suite.make_outputs(model_run.generate())
    return {"process": plugin.process, "model_run": model_run, "tmp_path": directory}


def _for_pipelines(suite: Any, plugin: Any, directory: Any) -> dict[str, Any]:
    return {"pipeline": plugin, "tmp_path": directory}


_FIXTURES: dict[type[Any], Callable[..., dict[str, Any]]] = {
    RunBackendContract: _for_run_backends,
    PostprocessorContract: _for_postprocessors,
    PipelineBackendContract: _for_pipelines,
}
