"""Environments of their own for the contenders and for the plot, made by uv below ``benchmarks/.environments/``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_HOME: Final = Path(__file__).resolve().parent.parent / ".environments"


class EnvironmentMissingError(Exception):
    """It could not be made; the text says why."""


def python_with(requirement: str) -> Path:
    """Give the interpreter of the environment that has *requirement*, and make it first where there is none.

    Raises:
        EnvironmentMissingError: It could not be made.
    """
    directory = _HOME / requirement.replace("==", "-")
    python = directory / "bin" / "python"
    complete = directory / "complete"
    if complete.exists():
        return python
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise EnvironmentMissingError("not installed: there is no uv")
    print(f"installing {requirement}", file=sys.stderr)
    shutil.rmtree(directory, ignore_errors=True)
    _run([uv, "venv", "--quiet", "--python", sys.executable, str(directory)])
    _run([uv, "pip", "install", "--quiet", "--python", str(python), requirement])
    complete.touch()
    return python


def _run(words: list[str]) -> None:
    # What the installer says goes to standard error, never into a table: it names addresses.
    ended = subprocess.run(words, stdout=sys.stderr, check=False)
    if ended.returncode:
        raise EnvironmentMissingError(f"not installed: `uv {words[1]}` ended with code {ended.returncode}")
