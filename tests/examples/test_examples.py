"""The examples run as they are printed: with a real model, in a directory of the user's own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rompy_core import RunState, find_runs

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "backends"

Example = Callable[[str], subprocess.CompletedProcess[str]]


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("anuga") is None,
        reason="anuga is not installed; run: uv run --group test --group examples pytest tests/examples",
    ),
    pytest.mark.timeout(300),
]
needs_rompy_example = pytest.mark.skipif(
    not _is_installed("rompy-example"), reason="examples/backends/rompy_example is not installed"
)


def _table(ended: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Read what the example prints as facts beside their names."""
    return {line[:13].strip(): line[13:] for line in ended.stdout.splitlines()}


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """Run an example in an empty directory."""

    def run(name: str) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
        command = [sys.executable, str(EXAMPLES / name)]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240, check=False)

    return run


def test_the_basic_run_is_right_and_shows_it_and_can_be_repeated(example: Example, tmp_path: Path) -> None:
    first, again = example("01_basic_local_run.py"), example("01_basic_local_run.py")

    for ended in (first, again):
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stderr == ""
        lines = ended.stdout.splitlines()
        shown = [int(line.split("%")[0]) for line in lines if "%  Time = " in line]
        assert shown == sorted(shown)
        assert shown[-1] == 100
        rows = _table(ended)
        assert rows["verdict"].startswith("COMPLETED")
        assert {"wall time", "CPU time", "peak memory", "files"} <= rows.keys()
        assert 0.0 < float(rows["depth error"].split()[0]) < 0.005
        assert any("dam.sww" in line for line in lines)
    report = Path(_table(again)["report"])
    assert json.loads(report.read_text(encoding="utf-8"))["state"] == "COMPLETED"
    assert report.is_relative_to(tmp_path / "simulations" / "dam-break" / ".rompy")


def test_the_custom_postprocessor_balances_the_water(example: Example) -> None:
    ended = example("03_custom_postprocessor.py")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert "success: True, the volume of water changed by" in ended.stdout
    assert "success: False, there is no *.sww in" in ended.stdout


@needs_rompy_example
def test_the_workflow_of_another_distributions_plugins_converges(example: Example, tmp_path: Path) -> None:
    ended = example("04_complete_workflow.py")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert "arrival_s has converged at cells" in ended.stdout
    arrivals = {line.split()[0]: float(line.split()[1]) for line in ended.stdout.splitlines() if line.endswith(" m")}
    exact = arrivals.pop("exact")
    assert len(arrivals) >= 2
    assert abs(arrivals.popitem()[1] - exact) < 0.01 * exact
    reports = find_runs(tmp_path / "simulations" / "convergence")
    assert {report.backend for report in reports} == {"scratch"}
    assert {report.state for report in reports} == {RunState.COMPLETED}


def test_a_model_that_fails_fails_the_example_and_says_why(example: Example, tmp_path: Path) -> None:
    # A module of the model's that cannot be imported comes first on its path.
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "anuga.py").write_text("raise RuntimeError('the mesh is torn')\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "broken"))

        ended = example("01_basic_local_run.py")

    assert ended.returncode == 1
    assert "RuntimeError: the mesh is torn" in _table(ended)["verdict"]
