"""The notebook: run whole, and what it shows in the repository is what it gives."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "backend_examples.ipynb"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("anuga") is None or importlib.util.find_spec("nbclient") is None,
    reason="anuga or nbclient is missing; run: uv run --group test --group examples pytest tests/examples",
)


def kinds_of_output(notebook: Any) -> list[list[str]]:
    """Give the kinds of what each cell shows; a stream may come in several pieces."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [sorted({getattr(output, "name", output.output_type) for output in cell.outputs}) for cell in cells]


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_the_notebook_runs_and_keeps_what_it_shows(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    for name in ("examples", "notebooks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("simulations"))
    monkeypatch.setenv("DOCKER_HOST", engine)
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    kept = nbformat.read(NOTEBOOK, as_version=4)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []

    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path / "notebooks"}}).execute()

    assert kinds_of_output(notebook) == kinds_of_output(kept)
    assert any("display_data" in kinds for kinds in kinds_of_output(kept))


def test_the_notebook_names_no_path_of_a_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")

    assert "/home/" not in text
    assert str(ROOT) not in text
    assert "site-packages" not in text
