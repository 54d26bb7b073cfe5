"""Checks and conversions for single options, for our configs and for those of plugin authors.

A converter turns the accepted spellings into one value and leaves anything else to the validator, so only the two
together make the field's type; hence ``Any``. A validator raises ``ValueError`` with a sentence that says what must be
and what was found; the name of the option is added by whoever asks. ``Checked`` makes a class list every problem at
once.

``accepts`` and ``adds`` say the same for ``config_schema``, beside the check that they speak of.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final, Self, TypeGuard, TypeVar, cast

import attrs

from rompy_core._errors import ConfigError
from rompy_core._problems import fields_of, problem_lines, shown

CheckT = TypeVar("CheckT", bound=Callable[..., Any])


class Format(str):
    """The name of a ``format`` in a schema, with the check that says what it means.

    It is for what JSON Schema cannot say: an editor passes it over, ``schema_formats`` gives the check to others.
    """

    _check: Callable[[Any], object]
    _kinds: tuple[type, ...]

    def __new__(cls, name: str, check: Callable[[Any], object], *kinds: type) -> Self:
        """Make one.

        Args:
            name: What it is called.
            check: Says no to a value by ``False`` or by an exception.
            *kinds: The types that it judges; ``str`` where none is given.
        """
        self = super().__new__(cls, name)
        self._check, self._kinds = check, kinds or (str,)
        return self

    def holds(self, value: object) -> bool:
        """Whether *value* has the format; one of a type that it does not judge has it."""
        if not isinstance(value, self._kinds):
            return True
        try:
            return self._check(value) is not False
        except Exception:  # noqa: BLE001 - as structure_config, to which any exception is a refusal
            return False


def accepts(schema: Any, format_name: str = "") -> Callable[[CheckT], CheckT]:
    """Say in JSON Schema what a check accepts.

    On a validator: which values. On ``__attrs_post_init__`` or ``__post_init__``: which combinations. Of a converter
    without a validator after it: which values it takes, as ``accepts(...)(converter)`` (see ``adds``).

    Args:
        schema: A schema, or a function that gives it where making it costs something. In it, a class stands for the
            schema of its objects, and a check that says what it accepts for that.
        format_name: Makes the check itself, a validator, the meaning of a ``format`` of this name for strings.
    """

    def say(check: CheckT) -> CheckT:
        named = {"format": Format(format_name, lambda value: check(None, None, value))} if format_name else {}
        vars(check)["__schema__"] = {**schema, **named} if named else schema
        return check

    return say


def adds(converter: Callable[..., Any], *spellings: Any) -> None:
    """Say which values a converter takes besides those that the validator after it accepts.

    It is no decorator, for mypy knows a converter of an attrs field only as a plain function.

    Args:
        converter: The converter.
        *spellings: Schemas, as ``accepts`` has them; none where it only changes the type.
    """
    vars(converter)["__spellings__"] = spellings


def said_by(check: object) -> Any:
    """Give what ``accepts`` says of *check*, or ``None``."""
    return getattr(check, "__schema__", None)


def spellings_of(converter: object) -> tuple[Any, ...] | None:
    """Give what *converter* ``adds``, or ``None`` where nothing is known."""
    return cast("tuple[Any, ...] | None", getattr(converter, "__spellings__", None))


def whole_match(regex: str) -> str:
    """Give the ``pattern`` of a schema for strings that match *regex* from end to end.

    In Python, ``$`` also matches before a newline at the end.
    """
    return rf"^(?:{regex})$(?!\n)"


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


WHOLE: Final = Format("rompy-whole", lambda _: False, float)
"""A number without a fraction: ``4``, not ``4.0``, which to JSON Schema is an integer too."""

FINITE: Final = Format("rompy-finite", is_number, int, float)
"""A finite number that a float can hold."""

OS_TEXT: Final = Format("rompy-os-text", is_os_text)
"""Text that can be a name, an argument or a variable of an operating system."""

WORDS: Final[Mapping[str, Any]] = {
    "type": "array",
    "minItems": 1,
    "prefixItems": [{"type": "string", "minLength": 1, "format": OS_TEXT}],
    "items": {"type": "string", "format": OS_TEXT},
}
"""The schema of a list of words of which the first is the program."""

_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE: Final = re.compile(r"\s*(\d+)(?:\.(\d+))?\s*(?:b|([kmgt])(?:i?b)?)?\s*", re.IGNORECASE | re.ASCII)


def to_bytes(value: object) -> int | None:
    """Read a size: a number of bytes, or a number with a unit of 1024, as ``docker run --memory`` takes it.

    Raises:
        ValueError: It is neither.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"must be a number of bytes, or such as '512m' or '4g', found {shown(value)}")
    whole, part, unit = match.groups(default="")
    return int(whole + part) * _UNITS[unit.lower()] // int("1" + "0" * len(part))


def to_float(value: object) -> Any:
    """Turn whole numbers into floats, so that 3600 and 3600.0 make equal configs; leave the rest to the validator."""
    return float(value) if isinstance(value, int) and is_number(value) else value


adds(to_float)


def to_path(value: object) -> Any:
    """Turn text into a path; leave the rest to the validator."""
    return Path(value) if isinstance(value, str) and value else value


adds(to_path)


def to_words(value: object) -> Any:
    """Turn a list of words into a tuple; leave the rest to the validator."""
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


adds(to_words)


def to_table(value: object) -> Any:
    """Copy a mapping, so that the caller's later changes do not reach the config."""
    return dict(cast("Mapping[object, object]", value)) if isinstance(value, Mapping) else value


adds(to_table)


@accepts({"type": "number", "exclusiveMinimum": 0, "format": FINITE})
def positive(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a finite number above 0."""
    if not is_number(value) or not value > 0:
        raise ValueError(f"must be a finite number > 0, found {shown(value)}")


@accepts({"type": "number", "minimum": 0, "format": FINITE})
def not_negative(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a finite number of 0 or more."""
    if not is_number(value) or not value >= 0:
        raise ValueError(f"must be a finite number >= 0, found {shown(value)}")


@accepts({"type": "integer", "minimum": 1, "exclusiveMaximum": 2**63, "format": WHOLE})
def positive_whole(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a whole number above 0 that fits into 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise ValueError(f"must be a whole number > 0 and < 2**63, found {shown(value)}")


SIZE: Final[Mapping[str, Any]] = {
    "type": "string",
    "pattern": r"^[ \t-\r]*[0-9]+(\.[0-9]+)?[ \t-\r]*([bB]|[kKmMgGtT]([iI]?[bB])?)?[ \t-\r]*$",
    "format": Format("rompy-size", lambda text: positive_whole(None, cast("Any", None), to_bytes(text))),
}
"""The schema of a size of more than 0 bytes that is written with a unit, or as text."""

adds(to_bytes, SIZE)


@accepts({"type": "boolean"})
def flag(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept true or false and nothing else."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, found {shown(value)}")  # noqa: TRY004 - one kind of error for all options


@accepts({"type": "string", "minLength": 1, "format": OS_TEXT})
def path(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a path."""
    if not isinstance(value, PurePath) or not is_os_text(str(value)):
        raise ValueError(f"must be a path, found {shown(str(value) if isinstance(value, PurePath) else value)}")


@accepts({"anyOf": [{"type": "string", "pattern": r"\S", "format": OS_TEXT}, WORDS]})
def command(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a shell command line, or a tuple of words of which the first is the program."""
    found = shown(value)
    words = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    good = bool(words and words[0]) and all(isinstance(word, str) and is_os_text(word) for word in words)
    if not good and not (isinstance(value, str) and value.strip() and is_os_text(value)):
        raise ValueError(f"must be a shell command line or a list of words, found {found}")


@accepts(
    {
        "type": "object",
        "propertyNames": {"minLength": 1, "pattern": "^[^=]*$", "format": OS_TEXT},
        "additionalProperties": {"type": "string", "format": OS_TEXT},
    }
)
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


@accepts({"type": "string", "minLength": 1}, "rompy-glob")
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


adds(to_datetime)


def to_timedelta(value: object) -> Any:
    """Read a number of seconds; leave anything else to the validator."""
    return timedelta(seconds=value) if is_number(value) and abs(value) < 1e13 else value


adds(to_timedelta)


@accepts({"type": "string", "format": Format("rompy-date-time", datetime.fromisoformat)})
def date_time(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a date with a time."""
    if not isinstance(value, datetime):
        raise ValueError(f"must be a date and time, found {shown(value)}")  # noqa: TRY004 - as in flag


@accepts({"type": "number", "exclusiveMinimum": -(10**13), "exclusiveMaximum": 10**13, "format": FINITE})
def duration(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a length of time."""
    if not isinstance(value, timedelta):
        raise ValueError(f"must be a number of seconds, found {shown(value)}")  # noqa: TRY004 - as in flag


@accepts({"type": "string", "minLength": 1})
def text(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be text, found {shown(value)}")


def one_of(*options: str) -> Callable[[Any, attrs.Attribute[Any], object], None]:
    """Give a validator that accepts one of these words."""

    @accepts({"enum": list(options)})
    def validator(_: Any, __: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or value not in options:
            raise ValueError(f"must be one of {', '.join(map(repr, options))}, found {shown(value)}")

    return validator


def names_only(value: object) -> str:
    """Show a table of secrets by its names."""
    return f"<names: {sorted(map(str, cast('Mapping[object, object]', value)))}>"


@accepts({"type": "array", "items": {"type": "string", "minLength": 1}})
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
