"""The plot: drawn by matplotlib in an environment of its own, or skipped with a reason."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from environments import EnvironmentMissingError, python_with
from tables import Chart

_SCRIPT: Final = Path(__file__).resolve().parent / "workers" / "plot_worker.py"


def draw(charts: Sequence[Chart], path: Path) -> str:
    """Draw the charts into one file; say where it is, or why there is none."""
    try:
        python = python_with("matplotlib==3.11.2")
    except EnvironmentMissingError as exc:
        return f"no plot: matplotlib is {exc}"
    ended = subprocess.run(
        [str(python), str(_SCRIPT), str(path)],
        input=json.dumps([asdict(chart) for chart in charts]),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        return f"no plot: {said[-1]}"
    return f"plot: {path}"
