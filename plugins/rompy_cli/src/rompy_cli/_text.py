"""Text for people: nothing that it was made of can act on a terminal."""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from typing import Final, final

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def harmless(text: object, keep: str = "") -> str:
    r"""Show a text on a terminal as what it is: what is no visible character becomes its escape, such as ``\x1b``.

    Escapes are shown for control characters, ANSI codes, marks that turn the direction of writing, lone surrogates
    (bytes of a file name that are no UTF-8) and unassigned characters.

    Args:
        text: Anything; its ``str()`` is taken.
        keep: Characters that are left as they are, such as a newline.
    """
    return "".join(char if _is_visible(char) or char in keep else _escaped(char) for char in str(text))


def _is_visible(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


@final
class HarmlessStream:
    """Makes bytes that come in pieces safe for a terminal; a carriage return begins a new line."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._after_return = False

    def __call__(self, data: bytes, *, is_last: bool = False) -> str:
        """Give what *data* adds to the text; a character that is not complete waits for its rest."""
        text = self._decoder.decode(data, is_last)
        if self._after_return and text.startswith("\n"):
            text = text[1:]
        if text:
            self._after_return = text.endswith("\r")
        return harmless(text.replace("\r\n", "\n").replace("\r", "\n"), keep="\n\t")


def shown_duration(seconds: float | None) -> str:
    """Show a length of time, such as ``4.2 s``, ``3 min 05 s``, ``2 h 10 min`` or ``3 d 4 h``; empty for ``None``."""
    if seconds is None:
        return ""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"


def shown_bytes(count: int | None) -> str:
    """Show a size with the largest unit of 1024 that leaves a number of 1 or more; empty for ``None``."""
    if count is None:
        return ""
    size, steps = float(count), 0
    while size >= 1024 and steps < len(_UNITS) - 1:
        size, steps = size / 1024, steps + 1
    return f"{size:.1f} {_UNITS[steps]}" if steps else f"{count} B"


def shown_date(date: datetime | None) -> str:
    """Show a moment in the time zone of this machine, to the second; empty for ``None``."""
    return date.astimezone().strftime("%Y-%m-%d %H:%M:%S") if date else ""


def listed(lines: Iterable[str]) -> str:
    """Put each line on one of its own, marked as an item."""
    return "".join(f"\n  - {line}" for line in lines)
