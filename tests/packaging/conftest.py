from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from tests.packaging.wheels import DISTRIBUTIONS, uv


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of each distribution, built from a copy of its own folder alone."""
    folder = tmp_path_factory.mktemp("wheels")
    for name, distribution in DISTRIBUTIONS.items():
        source = tmp_path_factory.mktemp("source") / name
        shutil.copytree(distribution, source, ignore=shutil.ignore_patterns("__pycache__"))
        uv("build", "--quiet", "--python", sys.executable, "--sdist", "--wheel", "--out-dir", folder, source)
    return folder
