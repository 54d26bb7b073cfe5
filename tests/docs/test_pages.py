"""The pages of the documentation: each block of code is run as it is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .run_page import blocks_of

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "cluster.md": "tests/slurm has a Slurm",
    "cli.md": "tests/cli compares the sessions with what they print",
    "images.md": "tests/examples builds and runs its recipes",
    "migrating.md": "tests/compat has rompy 0.6.4",
    "plugin-template.md": "tests/packaging makes the distribution",
}
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in ELSEWHERE]
LANGUAGES = {"python", "console", "text", "toml", "yaml", "json", "dockerfile", "mermaid", "html", "csv"}


def run(page: Path, directory: Path, *needs: str, **env: str) -> None:
    path = os.pathsep.join(
        [str(Path(__file__).with_name("programs")), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    ended = subprocess.run(
        [sys.executable, Path(__file__).with_name("run_page.py"), page, *needs],
        cwd=directory,
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "error", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{page.name}:\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_as_it_is_printed(page: Path, tmp_path: Path) -> None:
    run(page, tmp_path)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_each_block_has_a_language_and_is_run_or_says_why_not(page: Path) -> None:
    blocks = list(blocks_of(page))

    assert {block.language for block in blocks} <= LANGUAGES
    assert all(block.remarks["not run"] for block in blocks if "not run" in block.remarks)
    if page.name not in ELSEWHERE:
        assert sum("not run" in block.remarks for block in blocks) <= 1
