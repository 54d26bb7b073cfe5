"""What the tests of packaging share: our distributions, and uv, which builds and installs them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = (*(ROOT / name for name in ("rompy_core", "rompy_docker", "rompy_local")), *ROOT.glob("plugins/rompy_*"))
DISTRIBUTIONS = {folder.name: folder for folder in sorted(_FOLDERS)}
"""The folder of each distribution by the name of its package."""


def uv(*words: str | Path) -> str:
    """Call uv, and give what it prints."""
    done = subprocess.run([shutil.which("uv") or "uv", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
