"""The tutorial, with the real model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from tests.docs.test_pages import ROOT, run


@pytest.mark.timeout(180)
@pytest.mark.skipif(
    importlib.util.find_spec("anuga") is None,
    reason="anuga is not installed; run: uv run --group test --group examples pytest tests/examples",
)
def test_the_code_of_the_tutorial_runs_as_it_is_printed(tmp_path: Path) -> None:
    run(ROOT / "docs" / "tutorial.md", tmp_path, "anuga", PYTHONPATH=str(ROOT / "examples" / "backends"))
