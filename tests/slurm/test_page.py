"""The page about clusters: each block of code runs as it is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Cluster


@pytest.mark.timeout(120)
def test_the_code_of_the_page_runs_as_it_is_printed(slurm: Cluster, tmp_path: Path) -> None:
    page = ROOT / "docs" / "cluster.md"

    ended = subprocess.run(
        [sys.executable, ROOT / "tests" / "docs" / "run_page.py", page, "slurm"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-4000:]
