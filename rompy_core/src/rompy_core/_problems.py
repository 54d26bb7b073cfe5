"""What is wrong with the options of a config: findings, each with its path, on their way to one ``ConfigError``."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import attrs

from rompy_core._errors import ConfigError


class Problems(Exception):  # noqa: N818 - a collection of findings on its way to a ConfigError
    """Findings below one value, each with the path from that value."""

    def __init__(self, found: Iterable[tuple[str, str]]) -> None:
        self.found = tuple(found)
        super().__init__(self.found)


def problems_of(config_type: type[Any], values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Run the converters and validators of *config_type* over *values* and collect all that they object to."""
    found: list[tuple[str, str]] = []
    for name, field in fields_of(config_type).items():
        if values.get(name, attrs.NOTHING) is not attrs.NOTHING:  # attrs passes it on for a default that it has to make
            try:
                _check(field, values[name])
            except AttributeError:  # a validator that looks at other fields: it is asked again by __init__
                continue
            except Exception as exc:  # noqa: BLE001 - values and validators of other hands may raise anything
                found += below(name, found_by(exc), is_secret=has_secret(field))
    return found


def problem_lines(config_type: type[Any], values: Mapping[str, object]) -> list[str]:
    """Give ``problems_of`` as the lines of a ``ConfigError``."""
    return [line_of(*item) for item in problems_of(config_type, values)]


def shown(value: object) -> str:
    """Show a value in a message: its text where that is short and harmless, else its type."""
    text = repr(value) if value is None or type(value) in (str, bool, int, float) else ""
    return text if 0 < len(text) <= 60 else type(value).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of *known* was probably meant, as the end of a sentence; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def by_nearness(name: str, known: Iterable[str]) -> list[str]:
    """Sort *known*: what is near to *name* first, then by the alphabet."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=len(names) or 1, cutoff=0.6)
    return [*close, *(other for other in names if other not in close)]


def fields_of(config_type: type[Any]) -> Mapping[str, attrs.Attribute[Any]]:
    """Give the fields that ``__init__`` of an attrs class takes, by the names that it takes."""
    return _fields_of(cast("Any", config_type))


@functools.lru_cache(maxsize=256)
def _fields_of(config_type: type[Any]) -> Mapping[str, attrs.Attribute[Any]]:
    fields = attrs.fields(config_type) if attrs.has(config_type) else ()
    return {cast("str", field.alias): field for field in fields if field.init}


def has_secret(field: attrs.Attribute[Any] | dataclasses.Field[Any]) -> bool:
    """Whether the values of the field must not be shown (``metadata={"secret": True}``)."""
    return bool(field.metadata.get("secret"))


def below(step: str, found: Iterable[tuple[str, str]], *, is_secret: bool = False) -> Iterator[tuple[str, str]]:
    """Give findings as seen from one level up, where their value is at *step*; a secret one is not quoted."""
    for path, message in found:
        # "found" is our own way to quote a value, "(got" is that of attrs.
        yield _joined(step, path), re.split(r", found | \(got ", message)[0] if is_secret else message


def _joined(step: str, path: str) -> str:
    return f"{step}.{path}" if path and not path.startswith("[") else f"{step}{path}"


def found_by(exc: Exception) -> list[tuple[str, str]]:
    """Say what is wrong, each with its path from the value that was looked at."""
    if isinstance(exc, Problems):
        return list(exc.found)
    if isinstance(exc, ConfigError):
        return [_split(line) for line in exc.problems]
    if isinstance(exc, RecursionError):
        return [("", "nested too deeply to be read")]
    errors = cast("object", getattr(exc, "errors", None))
    if callable(errors):  # pydantic's ValidationError
        return [(_path_of(error["loc"]), error["msg"]) for error in cast("Any", errors())]
    # The validators of attrs put the attribute and the value behind their message.
    message: object = exc.args[0] if len(exc.args) > 1 and isinstance(exc.args[1], attrs.Attribute) else exc
    return [("", str(message) or type(exc).__name__)]


def _path_of(steps: Sequence[object]) -> str:
    path = ""
    for step in reversed(steps):
        path = _joined(step_to(step), path)
    return path


def step_to(name: object) -> str:
    """Give the step of a path from a table to what it has under *name*."""
    return name if isinstance(name, str) and re.fullmatch(r"[^\s:\[\]]+", name) else f"[{name!r}]"


def line_of(path: str, message: str) -> str:
    """Give a finding as a line of a ``ConfigError``."""
    return f"{path}: {message}" if path else message


def _split(line: str) -> tuple[str, str]:
    """Undo ``line_of`` for a problem of a nested config: only in brackets does a path have spaces and colons."""
    match = re.fullmatch(r"((?:[^\s:\[\]]+|\[[^\]]*\])+): (.*)", line, re.DOTALL)
    return (match[1], match[2]) if match else ("", line)


def _check(field: attrs.Attribute[Any], value: object) -> None:
    converter = converter_of(field)
    if isinstance(converter, attrs.Converter):  # it may need the object: it is asked by __init__
        return
    if converter is not None:
        value = converter(value)
    if field.validator is not None:
        field.validator(None, field, value)


def converter_of(field: Any) -> Callable[[object], object] | attrs.Converter[Any, Any] | None:
    """Give the converter of an ``attrs.Attribute``, whose stub knows only the second kind of it."""
    converter: Callable[[object], object] | attrs.Converter[Any, Any] | None = field.converter
    return converter
