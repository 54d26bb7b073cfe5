"""The same SWAN case in a container, by the call that rompy-swan itself makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rompy.backends import DockerConfig
from rompy.postprocess.config import NoopPostprocessorConfig

from rompy_core import LocalPipelineBackend, RunReport, RunState
from rompy_docker import DockerRunBackend

pytestmark = pytest.mark.docker

ReportOf = Callable[[Any], RunReport]


@pytest.fixture
def config(build_context: Path) -> DockerConfig:
    executable = 'bash -c "cd /app/run_id && swan.exe"'
    return DockerConfig(dockerfile=Path("Dockerfile"), build_context=build_context, executable=executable, cpu=1)


def test_the_case_runs_in_the_container_and_is_judged(
    swan_run: Any, config: DockerConfig, engine: str, report_of: ReportOf
) -> None:
    assert DockerRunBackend().run(swan_run, config, engine=engine, rules="swan") is True

    report = report_of(swan_run)
    workspace = Path(swan_run.output_dir) / "storm"
    assert (report.backend, report.state) == ("docker", RunState.COMPLETED)
    assert report.progress is not None
    assert report.progress.fraction == 1.0
    assert {"INPUT", "bottom.grd", "PRINT", "norm_end", "swangrid.nc"} <= {path.name for path in workspace.iterdir()}


def test_the_pipeline_goes_through_all_stages(swan_run: Any, config: DockerConfig, engine: str) -> None:
    results = LocalPipelineBackend().execute(
        swan_run,
        backend_config=config,
        processor=NoopPostprocessorConfig(),
        run_kwargs={"engine": engine, "rules": "swan"},
    )

    assert (results["success"], results["backend"]) == (True, "docker")
    assert results["stages_completed"] == ["generate", "run", "postprocess"]


def test_a_fatal_error_in_the_input_is_a_failure_though_swan_exits_0(
    swan_run: Any, config: DockerConfig, engine: str, report_of: ReportOf
) -> None:
    workspace = Path(swan_run.generate())
    (workspace / "bottom.grd").unlink()

    assert DockerRunBackend().run(swan_run, config, workspace, engine=engine, rules="swan") is False

    report = report_of(swan_run)
    assert (report.state, report.exit_code) == (RunState.FAILED, 0)
    assert "bottom.grd not found" in report.reason
