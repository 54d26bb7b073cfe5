"""What docs/cli.md shows is what happens; so is the example file."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rompy_cli._exits import MEANINGS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/cli.md").read_text("utf-8")
EXAMPLE = ROOT / "examples/cli/storm.toml"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [match[2] for match in _BLOCK.finditer(PAGE) if match[1] == kind]


def sessions() -> Iterator[tuple[str, str]]:
    """Give each command of the page with what it prints."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed


def test_the_sessions_of_the_page_happen_so(tmp_path: Path, rompyrun: str) -> None:
    for block in blocks("toml"):
        name = re.match(r"# (\S+\.toml)\n", block)
        assert name, "each file of the page begins with its name"
        (tmp_path / name[1]).write_text(block)
    env = {**os.environ, "PATH": f"{Path(rompyrun).parent}:{os.environ['PATH']}"}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    commands = list(sessions())

    for command, wanted in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )

        assert doctest.OutputChecker().check_output(wanted, done.stdout, flags), (
            f"$ {command}\nthe page has:\n{wanted}\nbut it printed:\n{done.stdout}"
        )

    assert len(commands) > 10


def test_the_page_lists_the_exit_codes_as_they_are_defined() -> None:
    rows = {int(code): meaning for code, meaning in re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)}

    assert rows == {int(code): meaning for code, meaning in MEANINGS.items()}


@pytest.mark.parametrize("verb", ["validate", "run", "pipeline"])
def test_the_example_file_works(verb: str, tmp_path: Path, rompyrun: str) -> None:
    shutil.copy(EXAMPLE, tmp_path)

    done = subprocess.run(
        [rompyrun, verb, "storm.toml"], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    if verb != "validate":
        assert (tmp_path / "simulations/storm/height.txt").read_text() == "3.34\n"
        assert "storm: COMPLETED" in done.stdout
