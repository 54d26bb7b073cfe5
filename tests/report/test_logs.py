from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rompy_report import _logs
from rompy_report._logs import read_tail

pieces = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", b"\xff", "ü".encode(), b"ERR 7"]), max_size=60)


def plainly(data: bytes) -> list[str]:
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n") if text else []


@settings(max_examples=200, deadline=None)
@example(parts=[b"a", b"\r", b"\n", b"b"], block=1, window=2)
@given(parts=pieces, block=st.integers(1, 7), window=st.integers(1, 30))
def test_lines_have_the_numbers_that_a_plain_reading_gives_them(parts: list[bytes], block: int, window: int) -> None:
    data = b"".join(parts)

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        path.write_bytes(data)
        patch.setattr(_logs, "_BLOCK", block)
        patch.setattr(_logs, "_WINDOW_PER_LINE", 1)
        patch.setattr(_logs, "_LARGEST_WINDOW", window)
        tail = read_tail(path, "stdout", 3, [])

    every = plainly(data)
    assert tail.size_bytes == len(data)
    assert tail.line_count == len(every)
    assert [line.number for line in tail.lines] == list(range(len(every) - len(tail.lines) + 1, len(every) + 1))
    for line in tail.lines[1:]:  # the first one may have begun before what was looked at
        assert line.text == every[line.number - 1]


def test_the_last_lines_are_given_and_the_fatal_ones_marked(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"step {n}\n" for n in range(1, 1001)) + "ERROR here\nbye")

    tail = read_tail(tmp_path / "log", "stdout", 3, [re.compile("^ERROR"), re.compile("nothing")])

    assert [(line.number, line.text, line.is_fatal) for line in tail.lines] == [
        (1000, "step 1000", False),
        (1001, "ERROR here", True),
        (1002, "bye", False),
    ]
    assert tail.fatal_lines == (1001,)


def test_a_very_long_line_is_shortened_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 5_000_000)

    (line,) = read_tail(tmp_path / "log", "stdout", 3, []).lines

    assert len(line.text) < 3000
    assert line.text.endswith("more characters)")


def test_an_empty_log_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")

    tail = read_tail(tmp_path / "log", "stdout", 3, [])

    assert (tail.lines, tail.line_count) == ((), 0)
