from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rompy_core import FilesConfig, ModelRun, NoopPostprocessor, RunState, open_record


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out", config=FilesConfig(files={"a.txt": "a", "b/c.txt": ""}))


def process(model_run: Any, **options: Any) -> dict[str, Any]:
    return NoopPostprocessor().process(model_run, **options)


def test_a_directory_with_outputs_is_a_success(model_run: ModelRun) -> None:
    workspace = model_run.generate()

    results = process(model_run)

    assert results == {
        "success": True,
        "message": f"nothing to process; 2 files in {workspace}",
        "run_id": "case",
        "output_dir": str(workspace),
        "validated": True,
        "file_count": 2,
    }


def test_records_are_no_outputs(model_run: ModelRun) -> None:
    workspace = model_run.generate()
    open_record(workspace, run_id="case", backend="local").finish(RunState.COMPLETED, "fine")

    assert process(model_run)["file_count"] == 2


def test_a_directory_that_cannot_be_looked_through_in_time_is_a_failure(model_run: ModelRun) -> None:
    workspace = model_run.generate()

    results = process(model_run, timeout=-1)

    assert results["success"] is False
    assert results["message"] == f"output directory not looked through within the timeout of -1 s: {workspace}"
    assert process(model_run, timeout=60)["file_count"] == 2


def test_an_empty_directory_is_a_success_as_well(tmp_path: Path) -> None:
    results = process(SimpleNamespace(run_id="case"), output_dir=tmp_path)

    assert (results["success"], results["file_count"]) == (True, 0)


def test_a_missing_directory_is_a_failure_with_its_name_and_no_exception(model_run: ModelRun) -> None:
    results = process(model_run)

    assert results == {
        "success": False,
        "message": f"output directory not found: {model_run.workspace_dir}",
        "run_id": "case",
        "output_dir": str(model_run.workspace_dir),
        "validated": True,
        "file_count": None,
    }
    assert not model_run.output_dir.exists()


def test_a_file_in_place_of_the_directory_is_a_failure_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "case").write_text("no directory")

    results = process(SimpleNamespace(run_id="case", output_dir=tmp_path))

    assert results["success"] is False
    assert results["message"] == f"output directory is not a directory: {tmp_path / 'case'}"


@pytest.mark.parametrize("make", [str, Path])
def test_another_directory_can_be_looked_at(model_run: ModelRun, tmp_path: Path, make: Any) -> None:
    (tmp_path / "custom").mkdir()
    (tmp_path / "custom" / "waves.nc").touch()

    results = process(model_run, output_dir=make(tmp_path / "custom"))

    assert (results["success"], results["file_count"]) == (True, 1)
    assert results["output_dir"] == str(tmp_path / "custom")


def test_without_validation_nothing_is_looked_at(model_run: ModelRun) -> None:
    results = process(model_run, validate_outputs=False, output_dir="/nowhere")

    assert results == {
        "success": True,
        "message": "nothing to process; outputs were not validated",
        "run_id": "case",
        "output_dir": "/nowhere",
        "validated": False,
        "file_count": None,
    }


def test_the_signature_is_that_of_the_interface(tmp_path: Path) -> None:
    results = NoopPostprocessor().process(SimpleNamespace(run_id="case"), True, tmp_path, create_plots=True)

    assert results["success"] is True


@pytest.mark.parametrize("run_id_subdir", [True, False])
@pytest.mark.parametrize("make", [str, Path])
def test_a_model_run_of_another_library_is_as_good(tmp_path: Path, run_id_subdir: bool, make: Any) -> None:
    (tmp_path / "case").mkdir()
    model_run = SimpleNamespace(run_id="case", output_dir=make(tmp_path), run_id_subdir=run_id_subdir)

    results = process(model_run)

    assert results["success"] is True
    assert results["output_dir"] == str(tmp_path / "case" if run_id_subdir else tmp_path)


@pytest.mark.parametrize("validate", [True, False])
def test_a_model_run_without_a_directory_has_nothing_to_validate(validate: bool) -> None:
    results = process(SimpleNamespace(run_id="case"), validate_outputs=validate)

    assert results["success"] is not validate
    assert results["output_dir"] is None
    assert ("no output_dir" in results["message"]) is validate


@pytest.mark.parametrize(
    ("model_run", "message"),
    [
        (None, "model_run cannot be None"),
        (SimpleNamespace(), "must have a run_id"),
        (SimpleNamespace(run_id=None), "must have a run_id"),
        (SimpleNamespace(run_id=""), "must have a run_id"),
        (SimpleNamespace(run_id=3), "must have a run_id"),
        ("case", "must have a run_id"),
    ],
)
def test_what_is_no_model_run_is_a_value_error(model_run: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        process(model_run)
