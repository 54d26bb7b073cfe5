from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.report.conftest import real_run
from tests.report.inspecting import Page, read_page

from rompy_core import ConfigError, ModelRun, RunReport, RunState, list_plugins, load_plugin, read_report
from rompy_report import ReportConfig, ReportPostprocessor


def test_it_is_advertised_by_its_name() -> None:
    (plugin,) = [one for one in list_plugins("rompy.postprocess") if one.name == "report"]

    assert plugin.distribution == "rompy-report"
    assert isinstance(load_plugin("rompy.postprocess", "report"), ReportPostprocessor)


def test_the_results_name_what_was_written(finished: ModelRun, tmp_path: Path) -> None:
    results = finished.postprocess("report", output_dir=tmp_path / "new" / "folder")

    assert results == {
        "success": True,
        "message": f"report written: {tmp_path / 'new' / 'folder' / 'report.html'}",
        "run_id": "storm",
        "state": "COMPLETED",
        "ok": True,
        "report_path": str(tmp_path / "new" / "folder" / "report.html"),
        "image_paths": [str(tmp_path / "new" / "folder" / "timeline.png")],
    }
    assert Path(results["image_paths"][0]).read_bytes().startswith(b"\x89PNG")


def test_a_run_that_failed_is_reported_on(failed: ModelRun, tmp_path: Path) -> None:
    results = failed.postprocess("report", output_dir=str(tmp_path))

    assert (results["success"], results["state"], results["ok"]) == (True, "FAILED", False)
    assert "ended at a fatal line" in read_page(tmp_path / "report.html").words


def test_in_a_pipeline_the_page_lies_in_the_run_s_own_record(tmp_path: Path) -> None:
    model = ModelRun(run_id="piped", output_dir=tmp_path)

    results = model.pipeline(processor="report", run_kwargs={"command": [sys.executable, "-c", "print('hello')"]})

    assert results["success"], results
    record_dir = read_report(tmp_path / "piped").record_dir
    assert results["postprocess_results"]["report_path"] == str(record_dir) + "/report.html"
    assert "hello" in read_page(Path(results["postprocess_results"]["report_path"])).words


def test_a_missing_workspace_is_a_failure_with_its_name(tmp_path: Path) -> None:
    results = ModelRun(run_id="never-ran", output_dir=tmp_path).postprocess("report")

    assert not results["success"]
    assert str(tmp_path / "never-ran") in results["message"]
    assert results["report_path"] is None


def test_a_workspace_that_was_cleaned_up_is_reported_on_by_its_kept_record(tmp_path: Path) -> None:
    model = ModelRun(run_id="gone", output_dir=tmp_path)
    model.pipeline(run_kwargs={"command": [sys.executable, "-c", "exit(3)"]}, cleanup_on_failure=True)

    results = model.postprocess("report")

    assert results["success"], results
    assert ".rompy-failed/gone" in results["report_path"]
    page = read_page(Path(results["report_path"]))
    assert "exit code 3" in page.words
    assert "The workspace is not there any more." in page.words


def test_files_without_a_record_are_reported_on_as_such(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "hs.txt").write_text("1.5\n")

    results = ModelRun(run_id="old", output_dir=tmp_path).postprocess("report")

    assert results["report_path"] == str(tmp_path / "old" / "report" / "report.html")
    page = read_page(Path(results["report_path"]))
    assert "No record" in page.words
    assert "hs.txt" in page.words


def test_a_record_that_is_damaged_is_a_failure_that_names_it(tmp_path: Path) -> None:
    model = real_run(tmp_path, "torn")
    record_dir = read_report(tmp_path / "torn").record_dir
    assert record_dir is not None
    (record_dir / "report.json").write_text('{"run_id": ')

    results = model.postprocess("report")

    assert not results["success"]
    assert "report.json" in results["message"]


def test_a_page_that_cannot_be_written_is_a_failure_that_says_where(finished: ModelRun, tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_text("")

    results = finished.postprocess("report", output_dir=tmp_path / "in-the-way")

    assert not results["success"]
    assert "in-the-way" in results["message"]


def test_wrong_options_are_told_all_at_once_and_before_anything_is_written(finished: ModelRun) -> None:
    with pytest.raises(ConfigError) as caught:
        finished.postprocess("report", log_lines=0, point=[1], netcdf="yes", outptu_dir="x")

    text = str(caught.value)
    for name in ("log_lines", "point", "netcdf", "outptu_dir"):
        assert name in text


def test_a_config_is_as_good_as_options(finished: ModelRun, tmp_path: Path) -> None:
    config = ReportConfig(output_dir=tmp_path, log_lines=2, point=(1, 2.5))

    results = finished.postprocess("report", config=config)

    assert results["success"]
    assert config.point == (1.0, 2.5)
    assert "last 2 of 6 lines" in read_page(tmp_path / "report.html").words


def test_asking_for_the_plugin_s_name_imports_neither_matplotlib_nor_jinja() -> None:
    source = (
        "import json, sys, rompy_core, rompy_report, rompy_report._entry_points; rompy_core.list_plugins();"
        "print(json.dumps([name for name in ('matplotlib', 'jinja2', 'xarray', 'numpy') if name in sys.modules]))"
    )

    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=30)

    assert json.loads(done.stdout) == []


def test_a_lost_run_is_reported_on(record: Callable[..., RunReport], page_of: Callable[..., Page]) -> None:
    page = page_of(record("lost", RunState.LOST, "the process that had to complete this record is gone"))

    assert "Lost" in page.words
    assert "is gone" in page.words
