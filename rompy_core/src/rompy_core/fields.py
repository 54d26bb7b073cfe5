"""Checks and conversions for single options, for our configs and for those of plugin authors.

A converter turns the accepted spellings into one value and leaves anything else to the validator, so only the two
together make the field's type; hence ``Any``. A validator raises ``ValueError`` with a sentence that says what must be
and what was found; the name of the option is added by whoever asks. ``Checked`` makes a class list every problem at
once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final, TypeGuard, cast

import attrs

from rompy_core._errors import ConfigError
from rompy_core._structure import problem_lines

_UNITS: Final = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[bkmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)


def to_bytes(value: object) -> int | None:
    """Read a size: a number of bytes, or a number with a unit of 1024, as ``docker run --memory`` takes it.

    Raises:
        ValueError: It is neither.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"must be a number of bytes, or such as '512m' or '4g', found {value!r}")
    return int(float(match["number"]) * _UNITS[match["unit"].lower()])


def to_float(value: object) -> Any:
    """Turn whole numbers into floats, so that 3600 and 3600.0 make equal configs; leave the rest to the validator."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    return value


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
        raise ValueError(f"must be a finite number > 0, found {value!r}")


def not_negative(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a finite number of 0 or more."""
    if not is_number(value) or not value >= 0:
        raise ValueError(f"must be a finite number >= 0, found {value!r}")


def positive_whole(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"must be a whole number > 0, found {value!r}")


def flag(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept true or false and nothing else."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, found {value!r}")  # noqa: TRY004 - one kind of error for all options


def path(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a path."""
    if not isinstance(value, PurePath) or "\0" in str(value):
        raise ValueError(f"must be a path, found {value!r}")


def environment(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a mapping of names to strings that an operating system takes; values are never quoted in a message."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of names and strings, found {type(value).__name__}")  # noqa: TRY004
    wrong: list[str] = []
    for name, text in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            wrong.append(f"{name!r} is no name for a variable")
        elif not isinstance(text, str):
            wrong.append(f"the value of {name!r} must be a string, found {type(text).__name__}")
        elif "\0" in text:
            wrong.append(f"the value of {name!r} holds a NUL character")
    if wrong:
        raise ValueError("; ".join(wrong))


def glob(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a file name or glob that stays below the workspace."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"must be a file name or glob below the workspace, found {value!r}")
    parsed = PurePosixPath(value)
    if parsed.is_absolute() or ".." in parsed.parts or not parsed.parts:
        raise ValueError(f"must stay below the workspace, found {value!r}")


def to_datetime(value: object) -> Any:
    """Read ISO 8601 text; leave anything else that is no text to the validator."""
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f"must be a date and time such as 2024-05-14T00:00:00, found {value!r}") from None


def to_timedelta(value: object) -> Any:
    """Read a number of seconds; leave anything else to the validator."""
    return timedelta(seconds=value) if is_number(value) and abs(value) < 1e13 else value


def is_number(value: object) -> TypeGuard[float]:
    """Whether *value* is a finite number and not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def names_only(value: object) -> str:
    """Show a table of secrets by its names."""
    return f"<names: {sorted(map(str, cast('Mapping[object, object]', value)))}>"


def names(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a tuple of strings that are not empty."""
    if not isinstance(value, tuple) or not all(
        isinstance(item, str) and item for item in cast("Sequence[object]", value)
    ):
        raise ValueError(f"must be a list of names, found {value!r}")


class Checked:
    """Base of attrs classes that list every problem at once, however they are made.

    attrs calls ``__attrs_pre_init__`` with the arguments of ``__init__``, before the first converter can stop it.
    """

    __slots__ = ()

    def __attrs_pre_init__(self, **values: object) -> None:
        if problems := problem_lines(type(self), values):
            raise ConfigError(type(self).__name__, problems)
