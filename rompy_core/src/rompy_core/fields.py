"""Checks and conversions for single options, for our configs and for those of plugin authors.

A converter turns the accepted spellings into one value and leaves anything else to the validator, so only the two
together make the field's type; hence ``Any``. A validator raises ``ValueError`` with a sentence that says what must be
and what was found; the name of the option is added by whoever asks. ``Checked`` makes a class list every problem at
once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final, TypeGuard, cast

import attrs

from rompy_core._errors import ConfigError
from rompy_core._problems import fields_of, problem_lines, shown

_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE: Final = re.compile(r"(\d+)(?:\.(\d+))?\s*(?:b|([kmgt])(?:i?b)?)?", re.IGNORECASE | re.ASCII)


def to_bytes(value: object) -> int | None:
    """Read a size: a number of bytes, or a number with a unit of 1024, as ``docker run --memory`` takes it.

    Raises:
        ValueError: It is neither.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"must be a number of bytes, or such as '512m' or '4g', found {shown(value)}")
    whole, part, unit = match.groups(default="")
    return int(whole + part) * _UNITS[unit.lower()] // int("1" + "0" * len(part))


def to_float(value: object) -> Any:
    """Turn whole numbers into floats, so that 3600 and 3600.0 make equal configs; leave the rest to the validator."""
    return float(value) if isinstance(value, int) and is_number(value) else value


def to_path(value: object) -> Any:
    """Turn text into a path; leave the rest to the validator."""
    return Path(value) if isinstance(value, str) and value else value


def to_words(value: object) -> Any:
    """Turn a list of words into a tuple; leave the rest to the validator."""
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def to_table(value: object) -> Any:
    """Copy a mapping, so that the caller's later changes do not reach the config."""
    return dict(cast("Mapping[object, object]", value)) if isinstance(value, Mapping) else value


def positive(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a finite number above 0."""
    if not is_number(value) or not value > 0:
        raise ValueError(f"must be a finite number > 0, found {shown(value)}")


def not_negative(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a finite number of 0 or more."""
    if not is_number(value) or not value >= 0:
        raise ValueError(f"must be a finite number >= 0, found {shown(value)}")


def positive_whole(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a whole number above 0 that fits into 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise ValueError(f"must be a whole number > 0 and < 2**63, found {shown(value)}")


def flag(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept true or false and nothing else."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, found {shown(value)}")  # noqa: TRY004 - one kind of error for all options


def path(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a path."""
    if not isinstance(value, PurePath) or not is_os_text(str(value)):
        raise ValueError(f"must be a path, found {shown(str(value) if isinstance(value, PurePath) else value)}")


def command(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a shell command line, or a tuple of words of which the first is the program."""
    found = shown(value)
    words = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    good = bool(words and words[0]) and all(isinstance(word, str) and is_os_text(word) for word in words)
    if not good and not (isinstance(value, str) and value.strip() and is_os_text(value)):
        raise ValueError(f"must be a shell command line or a list of words, found {found}")


def environment(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a mapping of names to strings that an operating system takes; values are never quoted in a message."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of names and strings, found {type(value).__name__}")  # noqa: TRY004
    wrong: list[str] = []
    for name, text in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not name or "=" in name or not is_os_text(name):
            wrong.append(f"[{name!r}]: is no name for a variable")
        elif not isinstance(text, str):
            wrong.append(f"[{name!r}]: must be a string, found {type(text).__name__}")
        elif not is_os_text(text):
            wrong.append(f"[{name!r}]: holds what no operating system takes, such as a NUL character")
    if wrong:
        raise ConfigError("environment", wrong)


def glob(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a file name or glob that stays below the workspace."""
    if not isinstance(value, str) or not value or not is_os_text(value):
        raise ValueError(f"must be a file name or glob below the workspace, found {shown(value)}")
    parsed = PurePosixPath(value)
    if parsed.is_absolute() or ".." in parsed.parts or not parsed.parts:
        raise ValueError(f"must stay below the workspace, found {shown(value)}")
    if any("**" in part and part != "**" for part in parsed.parts):
        raise ValueError(f"must have '**' only as a whole part of a path, found {shown(value)}")


def to_datetime(value: object) -> Any:
    """Read ISO 8601 text, and a date for its first moment; leave anything else to the validator."""
    if isinstance(value, date) and not isinstance(value, datetime):  # as TOML and YAML read a date
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the zone is not ours to add
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f"must be a date and time such as 2024-05-14T00:00:00, found {shown(value)}") from None


def to_timedelta(value: object) -> Any:
    """Read a number of seconds; leave anything else to the validator."""
    return timedelta(seconds=value) if is_number(value) and abs(value) < 1e13 else value


def date_time(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a date with a time."""
    if not isinstance(value, datetime):
        raise ValueError(f"must be a date and time, found {shown(value)}")  # noqa: TRY004 - as in flag


def duration(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a length of time."""
    if not isinstance(value, timedelta):
        raise ValueError(f"must be a number of seconds, found {shown(value)}")  # noqa: TRY004 - as in flag


def text(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be text, found {shown(value)}")


def one_of(*options: str) -> Callable[[Any, attrs.Attribute[Any], object], None]:
    """Give a validator that accepts one of these words."""

    def validator(_: Any, __: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or value not in options:
            raise ValueError(f"must be one of {', '.join(map(repr, options))}, found {shown(value)}")

    return validator


def is_number(value: object) -> TypeGuard[float]:
    """Whether *value* is a number that a float can hold, finite, and not a truth value."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def is_os_text(value: str) -> bool:
    """Whether *value* can be a name, an argument or a variable of an operating system."""
    try:
        return b"\0" not in value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def names_only(value: object) -> str:
    """Show a table of secrets by its names."""
    return f"<names: {sorted(map(str, cast('Mapping[object, object]', value)))}>"


def names(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a tuple of strings that are not empty."""
    if not isinstance(value, tuple):
        raise ValueError(f"must be a list of names, found {shown(value)}")  # noqa: TRY004 - as in flag
    items = cast("tuple[object, ...]", value)
    wrong = [n for n, item in enumerate(items) if not isinstance(item, str) or not item]
    if wrong:
        raise ConfigError("names", [f"[{n}]: must be a name, found {shown(items[n])}" for n in wrong])


class Checked:
    """Base of attrs classes that list every problem at once, however they are made.

    attrs calls ``__attrs_pre_init__`` with the arguments of ``__init__``, before the first converter can stop it.
    """

    __slots__ = ()

    def __attrs_pre_init__(self, *args: object, **values: object) -> None:
        positional = (name for name, field in fields_of(type(self)).items() if not field.kw_only)
        if problems := problem_lines(type(self), {**dict(zip(positional, args, strict=False)), **values}):
            raise ConfigError(type(self).__name__, problems)
