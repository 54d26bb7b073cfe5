from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "report.md"


def test_the_pictures_that_the_page_shows_are_there_and_small() -> None:
    shown = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE.read_text("utf-8"))

    assert len(shown) == 5
    for name in shown:
        assert 10_000 < (PAGE.parent / name).stat().st_size < 200_000, name
