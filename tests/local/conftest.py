from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rompy_core import ModelRun, RunHandle, RunReport

TOKEN = "ROMPY_TEST_TOKEN"


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out")


@pytest.fixture
def submit(model_run: ModelRun, token: str) -> Callable[..., RunHandle]:
    """Submit a command whose processes carry the test's token."""

    def start(command: object, **options: Any) -> RunHandle:
        env_vars = {TOKEN: token, **options.pop("env_vars", {})}
        return model_run.submit("local", command=command, env_vars=env_vars, **{"timeout": 30, **options})

    return start


@pytest.fixture
def run(submit: Callable[..., RunHandle]) -> Callable[..., RunReport]:
    """Run a command to its end."""

    def to_the_end(command: object, **options: Any) -> RunReport:
        return submit(command, **options).wait(45)

    return to_the_end
