r"""Text for people: sizes, times, and whatever other hands wrote, made visible.

Recorded text may hold anything: control characters, escape sequences of terminals, marks that turn the direction of
writing round, bytes that are no UTF-8. ``visible`` shows each as an escape such as ``\x1b``, so that nothing acts and
nothing is hidden. Escaping for HTML is the template's business.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import Final

import attrs

from rompy_core import fields

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_CANDIDATES: Final = re.compile(r"[^\n\t\x20-\x7e\xa1-\xac\xae-\u02ff]")
"""All characters but those that are certainly harmless."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS: Final = "\u200c\u200d"
"""Needed to write some languages, and harmless."""


@attrs.frozen
class Quantity:
    """A number as it is written, and its unit."""

    number: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.number}\N{NO-BREAK SPACE}{self.unit}" if self.unit else self.number


_BEYOND: Final = Quantity("out of range")
"""What stands for a number that no measurement gives."""


def visible(text: str) -> str:
    """Replace what cannot be seen, or would act on the text around it, by something that can be seen."""
    return _CANDIDATES.sub(_visible_character, text)


def size(count: float) -> Quantity:
    """Give a number of bytes in units of 1024, with three digits or more."""
    if not fields.is_number(count):
        return _BEYOND
    power = 0
    while abs(count) >= 1024 and power < len(_UNITS) - 1:
        count, power = count / 1024, power + 1
    return Quantity(f"{count:.0f}" if not power or count >= 100 else f"{count:.1f}", _UNITS[power])


def duration(seconds: float) -> Quantity:
    """Give a length of time in the units that a person would use."""
    if not fields.is_number(seconds):
        return _BEYOND
    if 0 < seconds < 0.0095:
        return Quantity(f"{seconds * 1000:.1f}", "ms")
    if seconds < 60:
        digits = 0 if seconds == int(seconds) else 2 if seconds < 9.995 else 1
        return Quantity(f"{seconds:.{digits}f}", "s")
    for large, small, step in (("d", "h", 3600), ("h", "min", 60), ("min", "s", 1)):
        whole, rest = divmod(round(seconds / step), 24 if step == 3600 else 60)
        if whole:
            return Quantity(f"{whole} {large} {rest:02d} {small}" if rest else f"{whole} {large}")
    return Quantity("60", "s")


def moment(date: datetime) -> str:
    """Give a date and time, UTC, to the second."""
    try:
        return f"{date.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    except OverflowError:  # within hours of the first or the last year
        return date.isoformat()


def number(value: float) -> str:
    """Give a number with four digits."""
    return f"{value:.4g}"


def plain_label(text: str, longest: int = 40) -> str:
    """Give text for a picture, whose font lacks most of Unicode: printable ASCII, and not too much of it."""
    ascii_only = "".join(character if " " <= character <= "~" else "?" for character in text)
    return ascii_only if len(ascii_only) <= longest else f"{ascii_only[: longest - 3]}..."


def _visible_character(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) not in _HIDDEN or character in _JOINERS:
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
