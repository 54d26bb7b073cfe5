"""``docs/plugin-template.md``: its files are a distribution that can be installed, found, used and tested as told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.wheels import ROOT, uv

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(300)]

PAGE = (ROOT / "docs" / "plugin-template.md").read_text(encoding="utf-8")
_BLOCK = r"```(?:console|python|toml)\n(.*?)^```$"
FILES = dict(re.findall(rf"^`([\w./]+)`:[^\n]*(?:\n[^\n`]+)*\n\n{_BLOCK}", PAGE, re.DOTALL | re.MULTILINE))
COMMANDS, USE = (
    text for text in re.findall(rf"^{_BLOCK}", PAGE, re.DOTALL | re.MULTILINE) if text not in FILES.values()
)

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page, each at its place."""
    project = tmp_path_factory.mktemp("template") / "rompy-launch"
    for name, text in FILES.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def python(project: Path, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Call the Python of an environment with the template, our wheels, and what they need from the index."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    interpreter = environment / "bin" / "python"
    uv("venv", "--quiet", "--python", sys.executable, environment)
    uv("pip", "install", "--quiet", "--python", interpreter, "--find-links", wheels, f"{project}[test]")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON", "COV"))}

    def call(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [interpreter, "-W", "error", *words],
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )

    return call


def test_it_is_found_by_its_name(python: Call, tmp_path: Path) -> None:
    (command,) = re.findall(r'^\$ python -c "(.*)"$', COMMANDS, re.MULTILINE)

    listed = python("-c", command, cwd=tmp_path)

    assert listed.returncode == 0, listed.stderr
    assert "name='launch', group='rompy.run', distribution='rompy-launch', version='0.1.0'" in listed.stdout


def test_it_runs_a_model_as_the_page_says(python: Call, tmp_path: Path) -> None:
    ended = python("-c", USE, cwd=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "simulations" / "storm" / "hs.txt").read_text() == "3.2\n"


def test_its_own_tests_pass(python: Call, project: Path) -> None:
    ended = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", cwd=project)

    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr
    assert re.search(r"^\d{2,} passed in", ended.stdout, re.MULTILINE), ended.stdout
