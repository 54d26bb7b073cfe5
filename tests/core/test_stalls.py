"""A standstill is noticed in time, growth of any kind is none, and what is said of a limit is said before the run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import rompy_core
from rompy_core import StallDetector, _stalls, limit_reasons

TIMEOUT_S = 10.0


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "waves.nc").write_bytes(b"waves")
    (tmp_path / ".rompy").mkdir()
    return tmp_path


def write_more(workspace: Path) -> None:
    with (workspace / "deep" / "waves.nc").open("ab") as file:
        file.write(b"more")


def write_over(workspace: Path) -> None:
    path = workspace / "deep" / "waves.nc"
    path.write_bytes(b"other")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def write_another(workspace: Path) -> None:
    (workspace / "deep" / "empty").touch()


def write_a_record(workspace: Path) -> None:
    (workspace / ".rompy" / "usage.csv").write_text("1,2,3\n")


def link_to_nowhere(workspace: Path) -> None:
    (workspace / "current").symlink_to("nowhere")


def test_no_growth_for_the_whole_time_is_a_stall(workspace: Path) -> None:
    detector = StallDetector(workspace, TIMEOUT_S)
    began = time.monotonic()

    found = [detector.is_stalled(began + second, output=7) for second in (0, TIMEOUT_S - 0.1, TIMEOUT_S)]

    assert found == [False, False, True]


def test_output_is_growth(workspace: Path) -> None:
    detector = StallDetector(workspace, TIMEOUT_S)
    began = time.monotonic()

    found = [detector.is_stalled(began + size * TIMEOUT_S * 0.9, output=size) for size in range(5)]

    assert not any(found)


@pytest.mark.parametrize("grow", [write_more, write_over, write_another, link_to_nowhere])
def test_a_file_that_changes_is_growth(workspace: Path, grow: Callable[[Path], None]) -> None:
    detector = StallDetector(workspace, TIMEOUT_S)
    began = time.monotonic()
    detector.is_stalled(began, output=0)

    grow(workspace)

    assert not detector.is_stalled(began + TIMEOUT_S, output=0)
    assert detector.is_stalled(began + 2 * TIMEOUT_S, output=0)


def test_our_own_records_are_no_growth(workspace: Path) -> None:
    detector = StallDetector(workspace, TIMEOUT_S)
    began = time.monotonic()
    detector.is_stalled(began, output=0)

    write_a_record(workspace)

    assert detector.is_stalled(began + TIMEOUT_S, output=0)


def test_no_run_is_called_stalled_without_a_look_however_long_looks_take(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    look = _stalls._fingerprint

    def look_slowly(directory: Path) -> tuple[int, int, int]:
        clock[0] += TIMEOUT_S / 2
        return look(directory)

    monkeypatch.setattr(_stalls, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(_stalls, "_fingerprint", look_slowly)
    detector = StallDetector(workspace, TIMEOUT_S)
    detector.is_stalled(0.0, output=0)

    write_more(workspace)

    assert not detector.is_stalled(TIMEOUT_S, output=0)
    assert detector.is_stalled(2 * TIMEOUT_S, output=0)


def test_a_workspace_that_is_gone_does_not_grow(tmp_path: Path) -> None:
    detector = StallDetector(tmp_path / "gone", TIMEOUT_S)
    began = time.monotonic()

    found = [detector.is_stalled(began + second, output=0) for second in (0, TIMEOUT_S)]

    assert found == [False, True]


def test_a_bare_interpreter_can_detect_stalls_without_importing_what_is_slow() -> None:
    home = str(Path(rompy_core.__file__).parents[1])
    slow = ["typing", "contextlib", "pathlib", "re", "attrs", "attr", "json"]
    code = (
        "import sys; before = set(sys.modules); sys.path.append(sys.argv[1]); from rompy_core import StallDetector;"
        f"print(sorted((set(sys.modules) - before) & set({slow!r})))"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, home], capture_output=True, text=True, check=True, timeout=30
    )

    assert done.stdout.strip() == "[]"


def test_a_limit_that_is_not_set_has_no_reason() -> None:
    assert limit_reasons(timeout=None, stall_timeout=None, log_size_limit=None) == {}


def test_each_limit_is_said_with_its_value() -> None:
    reasons = limit_reasons(timeout=0.5, stall_timeout=3600, log_size_limit=2**20)

    assert reasons == {
        "timeout": "exceeded its timeout of 0.5 s",
        "stall_timeout": "neither its output nor a file of the workspace grew for 3600 s",
        "log_size_limit": "its output exceeded log_size_limit (1048576 bytes)",
    }
