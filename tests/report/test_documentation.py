from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "report.md"


def test_the_page_s_examples_run_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}

    for block in blocks:
        exec(block, names)

    assert len(blocks) == 2
    assert names["results"]["success"] is True  # type: ignore[index]
    for name in ("page", "overview"):
        assert Path(str(names[name])).is_file()


def test_the_pictures_that_the_page_shows_are_there_and_small() -> None:
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE.read_text("utf-8"))

    assert len(shown) == 5
    for name in shown:
        assert 10_000 < (PAGE.parent / name).stat().st_size < 200_000, name
