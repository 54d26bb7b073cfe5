from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.report.inspecting import Page, read_page

import rompy_report
from rompy_core import FilesConfig, ModelRun, RunReport, RunState, open_record

MODEL = """
import sys, time
print("Basin of 12 cells", flush=True)
for n in range(1, 6):
    time.sleep(0.06)
    print(f"step {n} of 5", flush=True)
if "diverge" in sys.argv:
    print("ERROR: <b>diverged</b> at cell 7", flush=True)
    time.sleep(60)
if "hang" in sys.argv:
    time.sleep(60)
open("out.dat", "wb").write(bytes(3000))
print("a note", file=sys.stderr)
"""
OPTIONS: dict[str, Any] = {
    "timeout": 30,
    "grace_s": 0.5,
    "memory": "512m",
    "sample_interval_s": 0.05,
    "env_vars": {"LICENCE_KEY": "do-not-show-me"},
    "rules": {"fatal": "^ERROR", "progress": r"step (?P<current>\d+) of (?P<total>\d+)"},
}


def real_run(top: Path, run_id: str, *words: str, **options: Any) -> ModelRun:
    """Run the little model by the local backend, in a pipeline."""
    model = ModelRun(run_id=run_id, output_dir=top, config=FilesConfig(files={"model.py": MODEL}))
    command = [sys.executable, "-I", "model.py", *words]
    model.pipeline(run_backend="local", run_kwargs={**OPTIONS, "command": command, **options})
    return model


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ModelRun:
    return real_run(tmp_path_factory.mktemp("finished"), "storm")


@pytest.fixture(scope="session")
def failed(tmp_path_factory: pytest.TempPathFactory) -> ModelRun:
    return real_run(tmp_path_factory.mktemp("failed"), "diverged", "diverge")


@pytest.fixture(scope="session")
def timed_out(tmp_path_factory: pytest.TempPathFactory) -> ModelRun:
    return real_run(tmp_path_factory.mktemp("timed-out"), "hanging", "hang", timeout=0.8)


@pytest.fixture(scope="session")
def finished_page(finished: ModelRun, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return read_page(rompy_report.write_report(finished.workspace_dir, tmp_path_factory.mktemp("page")))


@pytest.fixture
def record(tmp_path: Path) -> Callable[..., RunReport]:
    """Write the record of a run that never was, with these facts; what takes a run seconds takes this no time."""

    def write(run_id: str = "case", state: RunState = RunState.COMPLETED, reason: str = "", **facts: Any) -> RunReport:
        workspace = tmp_path / "runs" / "case"
        workspace.mkdir(parents=True, exist_ok=True)
        opened = open_record(workspace, run_id=run_id, backend=facts.pop("backend", "local"))
        for name, content in facts.pop("files", {}).items():
            (opened.directory / name).write_bytes(content)
            facts.setdefault(f"{name.partition('.')[0]}_path", opened.directory / name)
        return opened.finish(state, reason, **facts)

    return write


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., Page]:
    """Write the report of a run into a directory of the test, and read it."""

    def write(run: ModelRun | RunReport | Path, **options: Any) -> Page:
        path = run.workspace_dir if isinstance(run, ModelRun) else run.record_dir if isinstance(run, RunReport) else run
        assert path is not None
        return read_page(rompy_report.write_report(path, tmp_path / "page", **options))

    return write
