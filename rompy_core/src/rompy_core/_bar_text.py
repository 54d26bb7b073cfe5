"""The lines of a progress display: values in, one line of text out that is never wider than asked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import attrs

from rompy_core._reports import Progress, RunReport

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_MORE: Final = "..."
_SHORTEST_BAR: Final = 10
_SHORTEST_TEXT: Final = 8
_LONGEST_IN_LOG: Final = 300

Bar: TypeAlias = Callable[[str, float, str, int], str]
"""Draws a bar for a fraction between two texts, in that many columns."""


@attrs.frozen(kw_only=True)
class Look:
    """A run as it is shown.

    Attributes:
        elapsed_s: Seconds since it was started.
        progress: How far it is, or ``None``.
        memory_bytes: What it uses now, or ``None``.
        last_line: Its newest line of output, as it came.
    """

    elapsed_s: float = 0.0
    progress: Progress | None = None
    memory_bytes: int | None = None
    last_line: str = ""


def bar_line(name: str, look: Look, columns: int, bar: Bar) -> str:
    """Show a run that says how far it is by a bar, and another one by its last line of output."""
    memory = [size_text(look.memory_bytes)] if look.memory_bytes is not None else []
    if look.progress is None:
        return cut(" ".join([name, time_text(look.elapsed_s), *memory, one_line(look.last_line)]), columns)
    left = f"{name} {_percent(look.progress)}"
    remaining = "?" if look.progress.remaining_s is None else time_text(look.progress.remaining_s)
    parts = [f"{time_text(look.elapsed_s)}<{remaining}", *memory, one_line(look.progress.model_time)]
    right = " ".join(_fitting(parts, columns - width_of(left) - _SHORTEST_BAR - 3))
    return bar(left, look.progress.fraction, right, columns)


def log_line(name: str, look: Look) -> str:
    """Show a run in a line of a log."""
    parts = [f"{time_text(look.elapsed_s)} elapsed"]
    if look.progress is not None:
        parts.insert(0, _percent(look.progress).strip())
        if look.progress.remaining_s is not None:
            parts.append(f"{time_text(look.progress.remaining_s)} left")
    if look.memory_bytes is not None:
        parts.append(size_text(look.memory_bytes))
    text = one_line(look.progress.model_time if look.progress else look.last_line)
    return cut(f"{name}: {', '.join(parts)}{': ' if text else ''}{text}", _LONGEST_IN_LOG)


def end_line(name: str, report: RunReport, columns: int = _LONGEST_IN_LOG) -> str:
    """Tell how a run ended, and why where it failed."""
    after = f" after {time_text(report.wall_time_s)}" if report.wall_time_s is not None else ""
    peak = f", peak {size_text(report.peak_rss_bytes)}" if report.peak_rss_bytes is not None else ""
    reason = "" if report.ok else f": {one_line(report.reason)}"
    return cut(f"{name}: {report.state}{after}{peak}{reason}", columns)


def one_line(text: str) -> str:
    """Give *text* without colours, control characters and ends of lines."""
    kept = (one if unicodedata.category(one)[0] not in "CZ" else " " for one in _ESCAPES.sub("", text))
    return " ".join("".join(kept).split())


def width_of(text: str) -> int:
    """Say how many columns *text* takes at most."""
    return sum(map(_width, text))


def cut(text: str, columns: int) -> str:
    """Shorten *text* to that many columns."""
    if width_of(text) <= columns:
        return text
    return _begin(text, max(columns - len(_MORE), 0)) + _MORE[: max(columns, 0)]


def padded(text: str, columns: int) -> str:
    """Give *text* exactly that many columns."""
    text = cut(text, columns)
    return text + " " * (columns - width_of(text))


def time_text(seconds: float) -> str:
    """Give a duration as ``0:07``, ``12:34`` or ``1:02:03``."""
    minutes, second = divmod(max(int(seconds), 0), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"


def size_text(size: int) -> str:
    """Give a size as ``512 MiB`` or ``1.5 GiB``."""
    if size < 2**30:
        return f"{size / 2**20:.0f} MiB"
    return f"{size / 2**30:.1f} GiB"


def _percent(progress: Progress) -> str:
    # Never rounded up: only what is done is 100 %.
    return f"{int(100 * progress.fraction + 1e-9):3d}%"


def _width(one: str) -> int:
    return 2 if unicodedata.east_asian_width(one) in "FW" else 1


def _begin(text: str, columns: int) -> str:
    left = columns
    for at, one in enumerate(text):
        left -= _width(one)
        if left < 0:
            return text[:at]
    return text


def _fitting(parts: list[str], columns: int) -> Iterator[str]:
    """Give the parts that fit beside one another, the last one shortened if need be."""
    for part in filter(None, parts):
        if width_of(part) > columns:
            if columns >= _SHORTEST_TEXT:
                yield cut(part, columns)
            return
        columns -= width_of(part) + 1
        yield part
