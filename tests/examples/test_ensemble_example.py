"""The ensemble of a real model runs as it is printed, small: on threads, and on Dask by one word."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rompy_core import RunState, find_runs

TIDES = Path(__file__).resolve().parents[2] / "examples" / "ensemble" / "tides.py"

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("anuga", "rompy_ensemble", "xarray", "distributed")),
        reason="anuga is not installed; run: uv run --group test --group examples pytest tests/examples",
    ),
    pytest.mark.timeout(400),
]


def start(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TIDES), *words, "--amplitudes", "2", "--frictions", "1", "--duration", "60"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=350, check=False)


@pytest.fixture(scope="module", params=["threads", "dask"])
def simulations(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two members leave, on each engine."""
    directory: Path = tmp_path_factory.mktemp("tides")
    ended = start(directory, request.param)
    assert ended.returncode == 0, ended.stderr
    return directory / "simulations"


def test_the_tides_run_and_become_one_dataset_and_one_picture(simulations: Path) -> None:
    import xarray as xr

    output = simulations / "merimbula"

    assert [run.state for run in find_runs(output)] == [RunState.COMPLETED] * 2
    with (output / "members.csv").open(newline="") as file:
        assert [row["ok"] for row in csv.DictReader(file)] == ["True", "True"]
    with xr.open_dataset(output / "inflow.nc") as results:
        inflow = results["inflow"].isel(time=-1, friction=0).values
    assert inflow[1] > 2 * inflow[0] > 0, "six times the tide brings more water"
    assert (output / "inflow.png").stat().st_size > 10_000


def test_started_again_on_whichever_engine_nothing_is_run_twice(simulations: Path) -> None:
    again = start(simulations.parent)

    assert again.returncode == 0, again.stderr
    assert again.stdout.count("COMPLETED before") == 2
    assert len(find_runs(simulations)) == 2
