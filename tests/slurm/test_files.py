from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rompy_slurm import _files


def test_a_new_file_is_written_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    content = b"export TOKEN=secret\n" * 10_000

    _files.write_new(tmp_path / "environment", content, 0o600)

    assert (tmp_path / "environment").read_bytes() == content
    assert stat.S_IMODE((tmp_path / "environment").stat().st_mode) == 0o600


def test_a_new_file_takes_no_others_place(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"as it was")
    (tmp_path / "job.sh").symlink_to(tmp_path / "precious")

    with pytest.raises(FileExistsError):
        _files.write_new(tmp_path / "job.sh", b"new")

    assert (tmp_path / "precious").read_bytes() == b"as it was"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("\n \n", ""),
        ("one\ntwo\n", "two"),
        ("one\n  two  \n\n", "two"),
        ("cut off, before: \x00\n" + "x" * 600, "x" * 500),
    ],
)
def test_the_last_line_is_the_last_that_says_something(tmp_path: Path, text: str, line: str) -> None:
    log = tmp_path / "job.log"
    log.write_text(text)

    assert _files.last_line_of(_files.tail_of(log)) == line


def test_a_log_that_is_not_there_has_no_last_line(tmp_path: Path) -> None:
    assert _files.tail_of(tmp_path / "job.log") == ""


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    log.write_bytes(b"line\n" * 100_000 + b"the end\n")

    assert len(_files.tail_of(log)) < 10_000
    assert _files.last_line_of(_files.tail_of(log)) == "the end"
