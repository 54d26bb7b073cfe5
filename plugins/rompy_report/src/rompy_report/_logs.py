"""The end of a log: its last lines, their numbers, and which of them the run's own rules call fatal."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Final

from rompy_report._view import LogLine, LogTail

_BLOCK: Final = 2**20
_WINDOW_PER_LINE: Final = 2**11
"""How many bytes at the end are looked at for each line that is shown."""
_LARGEST_WINDOW: Final = 2**22
_LONGEST_JUDGED: Final = 2**16
_LONGEST_SHOWN: Final = 2000


def read_tail(path: Path, name: str, count: int, fatal: Sequence[re.Pattern[str]]) -> LogTail:
    """Read the last *count* lines of the plain file *path*; all that is before them is counted, and not kept.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        window = min(max(count * _WINDOW_PER_LINE, _BLOCK), _LARGEST_WINDOW)
        before, is_within_end = _count_line_ends(file, max(size - window, 0))
        data = _read_exactly(file, min(size, window))
    lines = _lines(data.removeprefix(b"\n") if is_within_end else data)
    first = max(len(lines) - count, 0)
    # The first line of a window is the end of one that began before it; it has that one's number.
    shown = [
        LogLine(number=before + n + 1, text=_shortened(line), is_fatal=_is_fatal(line, fatal))
        for n, line in enumerate(lines[first:], start=first)
    ]
    return LogTail(name=name, size_bytes=size, line_count=before + len(lines), lines=tuple(shown))


def _count_line_ends(file: FileIO, end: int) -> tuple[int, bool]:
    """Count the ends of lines in the first *end* bytes: newlines, and carriage returns that stand alone.

    Returns:
        The count, and whether the last byte is a carriage return, whose newline may follow.
    """
    count, left, after_return = 0, end, False
    block = bytearray(_BLOCK)
    while left > 0 and (got := file.readinto(memoryview(block)[:left])):
        left -= got
        count += block.count(b"\n", 0, got)
        if after_return and block[0] == 0x0A:
            count -= 1
        if b"\r" in block:
            count += block.count(b"\r", 0, got) - block.count(b"\r\n", 0, got)
        after_return = block[got - 1] == 0x0D
    return count, after_return


def _read_exactly(file: FileIO, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0 and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _lines(data: bytes) -> list[str]:
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def _is_fatal(line: str, fatal: Sequence[re.Pattern[str]]) -> bool:
    return any(pattern.search(line, 0, _LONGEST_JUDGED) for pattern in fatal)


def _shortened(line: str) -> str:
    if len(line) <= _LONGEST_SHOWN:
        return line
    return f"{line[:_LONGEST_SHOWN]} \N{HORIZONTAL ELLIPSIS} ({len(line) - _LONGEST_SHOWN} more characters)"
