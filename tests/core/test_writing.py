from __future__ import annotations

import contextlib
import os
import resource
import stat
from collections.abc import Generator
from pathlib import Path

import pytest

from rompy_core import replace_file

SMALL = 2**16


@contextlib.contextmanager
def small_disk() -> Generator[None]:
    """Let no file grow beyond SMALL bytes: a larger write is cut short first, and refused then."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def umask() -> Generator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("name", ["report.json", "n" * 255, "\udcff"])
@pytest.mark.parametrize("earlier", [None, b"", b"the old one, which is longer"])
def test_a_file_holds_what_was_written(tmp_path: Path, earlier: bytes | None, name: str) -> None:
    path = tmp_path / name
    if earlier is not None:
        path.write_bytes(earlier)

    replace_file(path, b"the new one\n")

    assert path.read_bytes() == b"the new one\n"
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_the_old_file_goes_on_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    replace_file(path, b"old")

    with path.open("rb") as file:
        replace_file(path, b"new")

        assert file.read() == b"old"


def test_a_link_is_replaced_and_what_it_names_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.write_bytes(b"as it was")
    path = tmp_path / "report.json"
    path.symlink_to(other)

    replace_file(path, b"new")

    assert (path.is_symlink(), path.read_bytes(), other.read_bytes()) == (False, b"new", b"as it was")


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(("mode", "wanted"), [(0o666, 0o644), (0o600, 0o600)])
def test_the_mode_is_that_which_was_asked_for(tmp_path: Path, mode: int, wanted: int) -> None:
    path = tmp_path / "environment"
    path.touch(0o644)

    replace_file(path, b"TOKEN=secret\n", mode=mode)

    assert stat.S_IMODE(path.stat().st_mode) == wanted


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    replace_file(path, b"old")

    with pytest.raises(OSError, match="File too large"), small_disk():
        replace_file(path, b"new" * SMALL)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_replaced_is_left_with_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()

    with pytest.raises(OSError, match="Is a directory"):
        replace_file(tmp_path / "report.json", b"new")

    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
