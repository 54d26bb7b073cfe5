from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from .processes import DRIVEN, Driver, Script, carrying, kill

DRIVING = str(Path(__file__).with_name("driving.py"))


@pytest.fixture
def script(token: str) -> Generator[Script]:
    """Start Python with some words; it is killed where it goes on, and at the end of the test all that is below it."""

    @contextlib.contextmanager
    def start(*words: str) -> Generator[subprocess.Popen[str]]:
        env = {**os.environ, DRIVEN: token}
        command = [sys.executable, *words]
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    yield start
    while left := carrying(DRIVEN, token):
        kill(left)


@pytest.fixture
def driver(script: Script) -> Driver:
    """Start a driver of what is described, as a script."""
    return lambda described: script(DRIVING, json.dumps(described))
