"""``docs/migrating.md``: each block of its code is run as it is printed, no field of rompy's configs is forgotten."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rompy.backends import DockerConfig, LocalConfig
from rompy.postprocess.config import NoopPostprocessorConfig

from rompy_core import RunReport, RunState, find_runs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "migrating.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def block(with_this: str) -> str:
    """Give the one block that has *with_this* in it."""
    (found,) = [text for text in BLOCKS if with_this in text]
    return str(found)


def run_as_printed(text: str) -> list[RunReport]:
    """Run a block in the test's directory, and give the reports of the runs that it made there."""
    exec(compile(text, "docs/migrating.md", "exec"), {"__name__": "migrating"})
    return find_runs("simulations")


def test_every_block_of_the_page_is_run_here() -> None:
    assert {block(mark) for mark in ("rompy_core_local", "local@rompy", "load_config", "DockerRunBackend")} == set(
        BLOCKS
    )
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_objects_of_rompys_are_run_by_ours(capsys: pytest.CaptureFixture[str]) -> None:
    reports = run_as_printed(block("rompy_core_local"))

    assert [report.state for report in reports] == [RunState.COMPLETED] * 4
    assert reports[-1].options["memory"] == 8 * 2**30
    assert capsys.readouterr().out.startswith("COMPLETED ")


def test_our_model_run_takes_names_and_configs() -> None:
    reports = run_as_printed(block("local@rompy"))

    assert [report.backend for report in reports] == ["local"] * 4


def test_rompys_files_are_read(swan_exe: Path) -> None:
    Path("case.yml").write_text("run_id: case\noutput_dir: simulations\nconfig:\n  model_type: base\n")
    Path("local.yml").write_text(
        f"type: local\ncommand: {swan_exe}\ntimeout: 7200\nenv_vars:\n  OMP_NUM_THREADS: '4'\n"
    )

    (report,) = run_as_printed(block("load_config"))

    assert report.run_id == "case"
    assert report.env_names == ("OMP_NUM_THREADS",)
    assert (report.workspace_dir / "PRINT").exists()


@pytest.mark.docker
def test_a_container_is_run_for_either_model_run(
    engine: str, build_context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = build_context / "bin" / "model.exe"
    shutil.copy(build_context / "bin" / "shown.exe", program)
    build_context.rename("image")
    monkeypatch.setenv("DOCKER_HOST", engine)

    reports = run_as_printed(block("DockerRunBackend"))

    assert [(report.backend, report.state) for report in reports] == [("docker", RunState.COMPLETED)] * 2


@pytest.mark.parametrize("config_type", [LocalConfig, DockerConfig, NoopPostprocessorConfig])
def test_each_field_of_rompys_configs_has_its_place_in_the_page(config_type: Any) -> None:
    names = set(re.findall(r"`(\w+)(?:=[^`]*)?`", PAGE))

    assert set(config_type.model_fields) - {"type"} <= names
