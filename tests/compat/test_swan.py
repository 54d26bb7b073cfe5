"""A SWAN case that rompy-swan generates, run by our local backend; a stand-in for the program fails as SWAN does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rompy.backends import LocalConfig
from rompy.postprocess.config import NoopPostprocessorConfig

from rompy_core import LocalPipelineBackend, RunReport, RunState
from rompy_local import LocalRunBackend

ReportOf = Callable[[Any], RunReport]


@pytest.fixture
def config(swan_exe: Path) -> LocalConfig:
    return LocalConfig(command="swan.exe", env_vars={"PATH": f"{swan_exe.parent}:/usr/bin:/bin"})


def spoil(swan_run: Any, how: str) -> Path:
    """Generate the case, and break its input."""
    workspace = Path(swan_run.generate())
    if how == "missing file":
        (workspace / "bottom.grd").unlink()
    else:
        text = (workspace / "INPUT").read_text()
        (workspace / "INPUT").write_text(text.replace("COMPUTE", "WAVVES on\nCOMPUTE"))
    return workspace


def test_the_case_is_generated_run_and_judged(swan_run: Any, config: LocalConfig, report_of: ReportOf) -> None:
    assert LocalRunBackend().run(swan_run, config, rules="swan") is True

    report = report_of(swan_run)
    workspace = Path(swan_run.output_dir) / "storm"
    assert report.state is RunState.COMPLETED
    assert {"INPUT", "bottom.grd", "PRINT", "norm_end", "swangrid.nc"} <= {path.name for path in workspace.iterdir()}


def test_its_progress_is_read_between_the_dates_of_the_period(
    swan_run: Any, config: LocalConfig, report_of: ReportOf
) -> None:
    LocalRunBackend().run(swan_run, config, rules="swan")

    progress = report_of(swan_run).progress
    assert progress is not None
    assert progress.fraction == 1.0


def test_the_pipeline_goes_through_all_stages(swan_run: Any, config: LocalConfig) -> None:
    results = LocalPipelineBackend().execute(
        swan_run, backend_config=config, processor=NoopPostprocessorConfig(), run_kwargs={"rules": "swan"}
    )

    assert results["success"] is True
    assert results["stages_completed"] == ["generate", "run", "postprocess"]
    assert results["postprocess_results"]["file_count"] == 5


@pytest.mark.parametrize(
    ("how", "reason"),
    [("missing file", "bottom.grd not found"), ("illegal keyword", "Illegal keyword: WAVVES")],
)
def test_a_fatal_error_in_the_input_is_a_failure_though_swan_exits_0(
    swan_run: Any, config: LocalConfig, how: str, reason: str, report_of: ReportOf
) -> None:
    workspace = spoil(swan_run, how)

    assert LocalRunBackend().run(swan_run, config, workspace, rules="swan") is False

    report = report_of(swan_run)
    assert (report.state, report.exit_code) == (RunState.FAILED, 0)
    assert reason in report.reason
    assert (workspace / "norm_end").exists() is (how == "illegal keyword")


def test_a_failed_case_fails_its_pipeline(swan_run: Any, config: LocalConfig) -> None:
    config.command = "rm bottom.grd; swan.exe"

    results = LocalPipelineBackend().execute(swan_run, config, run_kwargs={"rules": "swan"}, cleanup_on_failure=True)

    assert (results["success"], results["stage"], results["run_success"]) == (False, "run", False)
    assert "bottom.grd not found" in results["error"]
    assert not (Path(swan_run.output_dir) / "storm").exists()
