"""Between plain data and typed objects: the only module that knows cattrs.

cattrs is lenient where an option must not be: it makes ``True`` of ``"false"``, ``3`` of ``3.7`` and letters of a
string that was given for a tuple of strings. The hooks here are exact, and they collect every problem with its path
instead of stopping at the first.
"""

from __future__ import annotations

import difflib
import enum
import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import Any, Literal, Protocol, TypeVar, Union, cast, get_args, get_origin

import attrs

from rompy_core._errors import ConfigError

T = TypeVar("T")


class _Problems(Exception):  # noqa: N818 - a collection of findings on its way to a ConfigError
    """Findings below one value, each with the path from that value."""

    def __init__(self, found: Iterable[tuple[str, str]]) -> None:
        self.found = tuple(found)
        super().__init__(self.found)

    def below(self, step: str) -> Iterator[tuple[str, str]]:
        """Give the findings as seen from one level up, where this value is at *step*."""
        for path, message in self.found:
            joint = "" if not path or path.startswith("[") else "."
            yield f"{step}{joint}{path}", message


def structure_config(data: object, config_type: type[T]) -> T:
    """Make an object of *config_type* from plain data, exactly or not at all.

    Args:
        data: A mapping of option names to values, or an instance of *config_type*, which is given back as it is.
        config_type: An attrs class, a pydantic class (by its ``model_validate``), or any other type that cattrs
            structures.

    Raises:
        ConfigError: With every problem at once, each with its path; for an unknown option, the nearest known one.
    """
    if isinstance(data, config_type):
        return data
    name = getattr(config_type, "__name__", str(config_type))
    validate = getattr(config_type, "model_validate", None)
    try:
        if validate is not None and not attrs.has(config_type):
            return cast("T", validate(data))
        return _converter().structure(data, config_type)
    except _Problems as found:
        raise ConfigError(name, [_line(*item) for item in found.found]) from None
    except ConfigError:
        raise
    except RecursionError:
        raise ConfigError(name, ["nested too deeply to be read"]) from None
    except Exception as exc:  # a config class of other hands may raise anything
        raise ConfigError(name, [_line("", _text(exc))]) from exc


def unstructure_config(config: object) -> dict[str, Any]:
    """Give the plain data of *config*, from which ``structure_config`` makes an equal object.

    The values of secret options are in it, for an equal object needs them: do not log it.
    """
    dump = getattr(config, "model_dump", None)
    if dump is not None and not attrs.has(type(config)):
        return cast("dict[str, Any]", dump(mode="json"))
    return cast("dict[str, Any]", _converter().unstructure(config))


def masked_config(config: object) -> dict[str, Any]:
    """Give the plain data of *config* with secret options (``metadata={"secret": True}``) by name only."""
    plain = unstructure_config(config)
    config_type = type(config)
    if attrs.has(config_type):
        for field in attrs.fields(config_type):
            if field.metadata.get("secret") and isinstance(plain.get(field.name), Mapping):
                plain[field.name] = sorted(plain[field.name])
    return plain


def problems_of(config_type: type[Any], values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Run the converters and validators of *config_type* over *values* and collect all that they object to."""
    found: list[tuple[str, str]] = []
    for name, field in _options(config_type).items():
        if values.get(name, attrs.NOTHING) is not attrs.NOTHING:  # attrs passes it on for a default that it has to make
            try:
                _check(field, values[name])
            except ConfigError as exc:
                found += _Problems(_split(line) for line in exc.problems).below(name)
            except (ValueError, TypeError) as exc:
                found.append((name, _text(exc)))
            except AttributeError:  # a validator that looks at other fields: it is asked again by __init__
                continue
    return found


def problem_lines(config_type: type[Any], values: Mapping[str, object]) -> list[str]:
    """Give ``problems_of`` as the lines of a ``ConfigError``."""
    return [_line(*item) for item in problems_of(config_type, values)]


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of *known* was probably meant, as the end of a sentence; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _options(config_type: type[Any]) -> dict[str, attrs.Attribute[Any]]:
    """Give the fields that ``__init__`` takes, by the names that it takes."""
    return {cast("str", field.alias): field for field in attrs.fields(config_type) if field.init}


def _line(path: str, message: str) -> str:
    return f"{path}: {message}" if path else message


def _split(line: str) -> tuple[str, str]:
    """Undo ``_line`` for a problem of a nested config; paths have no spaces, messages begin after the first one."""
    path, colon, message = line.partition(": ")
    return (path, message) if colon and " " not in path else ("", line)


def _text(exc: BaseException) -> str:
    return str(exc) or type(exc).__name__


def _shown(value: object) -> str:
    """Show a value in a message by its type and, where it is short and harmless, its text."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    return f"{type(value).__name__} {text}".rstrip() if len(text) <= 60 else type(value).__name__


def _check(field: attrs.Attribute[Any], value: object) -> None:
    converter = _converter_of(field)
    if converter is not None and not isinstance(converter, attrs.Converter):
        value = converter(value)
    if field.validator is not None:
        field.validator(None, field, value)


def _converter_of(field: Any) -> Callable[[object], object] | attrs.Converter[Any, Any] | None:
    """Give the converter of an ``attrs.Attribute``, whose stub knows only the second kind of it."""
    converter: Callable[[object], object] | attrs.Converter[Any, Any] | None = field.converter
    return converter


class _Converter(Protocol):
    """The part of ``cattrs.Converter`` that is used here, with the types that cattrs leaves open."""

    def structure(self, obj: object, cl: type[T]) -> T: ...
    def unstructure(self, obj: object) -> Any: ...
    def register_structure_hook(self, cl: Any, func: Callable[[object, Any], object]) -> object: ...
    def register_structure_hook_func(
        self, check_func: Callable[[Any], bool], func: Callable[[object, Any], object]
    ) -> object: ...
    def register_structure_hook_factory(
        self, predicate: Callable[[Any], bool], factory: Callable[[Any], Callable[[object, Any], object]]
    ) -> object: ...
    def register_unstructure_hook(self, cls: Any, func: Callable[[Any], object]) -> object: ...
    def register_unstructure_hook_func(
        self, check_func: Callable[[Any], bool], func: Callable[[Any], object]
    ) -> object: ...


@functools.cache
def _converter() -> _Converter:
    import cattrs

    converter = cast("_Converter", cattrs.Converter(unstruct_collection_overrides={}))
    for exact in (str, bool, int):
        converter.register_structure_hook(exact, functools.partial(_exactly, exact))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(datetime, _datetime)
    converter.register_structure_hook(timedelta, _timedelta)
    converter.register_structure_hook_func(_is_path, _path)
    converter.register_structure_hook_func(lambda t: t is Any or t is object, lambda value, _: value)
    converter.register_structure_hook_func(lambda t: _is_subclass(t, enum.Enum), _enum)
    converter.register_structure_hook_func(lambda t: get_origin(t) is Literal, _literal)
    converter.register_structure_hook_factory(
        lambda t: _is_subclass(get_origin(t) or t, Sequence) and not _is_subclass(t, str | bytes), _sequence_hook
    )
    converter.register_structure_hook_factory(lambda t: _is_subclass(get_origin(t) or t, Mapping), _mapping_hook)
    converter.register_structure_hook_factory(lambda t: get_origin(t) in (Union, types.UnionType), _union_hook)
    converter.register_structure_hook_factory(attrs.has, _attrs_hook)
    converter.register_unstructure_hook_func(lambda t: _is_subclass(t, PurePath), str)
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_unstructure_hook(timedelta, timedelta.total_seconds)
    converter.register_unstructure_hook_func(lambda t: _is_subclass(get_origin(t) or t, tuple), _unstructured_list)
    return converter


def _unstructured_list(value: Iterable[object]) -> list[Any]:
    return [_converter().unstructure(item) for item in value]


def _is_subclass(candidate: Any, of: type | types.UnionType) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, of)


def _is_path(candidate: Any) -> bool:
    return _is_subclass(candidate, PurePath)


def _reject(expected: str, value: object) -> _Problems:
    return _Problems([("", f"must be {expected}, found {_shown(value)}")])


def _exactly(expected: type[T], value: object, _: object) -> T:
    if type(value) is expected:
        return value
    names = {str: "a string", bool: "true or false", int: "a whole number"}
    raise _reject(names[cast("type[str | bool | int]", expected)], value)


def _number(value: object, _: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise _reject("a number that a float can hold", value) from None
    raise _reject("a number", value)


def _datetime(value: object, _: object) -> datetime:
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(cast("str", value))
    except (TypeError, ValueError):
        raise _reject("a date and time such as 2024-05-14T00:00:00Z", value) from None


def _timedelta(value: object, _: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=_number(value, float))
    except OverflowError:
        raise _reject("a number of seconds that a timedelta can hold", value) from None


def _path(value: object, expected: type[Any]) -> object:
    if isinstance(value, PurePath):
        return value
    if isinstance(value, str) and value and "\0" not in value:
        return (Path if expected in (Path, PurePath) else expected)(value)
    raise _reject("a path", value)


def _enum(value: object, expected: type[enum.Enum]) -> enum.Enum:
    if isinstance(value, expected):
        return value
    try:
        return expected(value)
    except ValueError:
        raise _reject("one of " + ", ".join(repr(member.value) for member in expected), value) from None


def _literal(value: object, expected: Any) -> object:
    for option in get_args(expected):
        if type(option) is type(value) and option == value:
            return value
    raise _reject("one of " + ", ".join(repr(option) for option in get_args(expected)), value)


def _sequence_hook(expected: Any) -> Callable[[object, Any], object]:
    origin = get_origin(expected) or expected
    args = get_args(expected)
    fixed = None if not args or args[-1] is Ellipsis or origin is not tuple else args
    is_mutable = _is_subclass(origin, MutableSequence)

    def hook(value: object, _: Any) -> object:
        if not isinstance(value, list | tuple):
            raise _reject("a list", value)
        items = cast("Sequence[object]", value)
        if fixed is not None and len(items) != len(fixed):
            raise _reject(f"a list of {len(fixed)} items", items)
        types_ = fixed if fixed is not None else (args[0] if args else Any,) * len(items)
        done = _each((f"[{n}]", item, kind) for n, (item, kind) in enumerate(zip(items, types_, strict=True)))
        return done if is_mutable else tuple(done)

    return hook


def _mapping_hook(expected: Any) -> Callable[[object, Any], dict[Any, Any]]:
    key_type, value_type = get_args(expected) or (Any, Any)

    def hook(value: object, _: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise _reject("a table of names and values", value)
        pairs = list(cast("Mapping[object, object]", value).items())
        keys = _each((f"[{key!r}]", key, key_type) for key, _ in pairs)
        return dict(zip(keys, _each((f"[{key!r}]", item, value_type) for key, item in pairs), strict=True))

    return hook


def _each(parts: Iterable[tuple[str, object, Any]]) -> list[Any]:
    """Structure each part, and report the problems of all of them together."""
    done: list[Any] = []
    found: list[tuple[str, str]] = []
    for step, value, kind in parts:
        try:
            done.append(_converter().structure(value, kind))
        except _Problems as exc:
            found += exc.below(step)
        except ConfigError as exc:
            found += _Problems(_split(line) for line in exc.problems).below(step)
    if found:
        raise _Problems(found)
    return done


def _union_hook(expected: Any) -> Callable[[object, Any], object]:
    members = [member for member in get_args(expected) if member is not types.NoneType]
    optional = len(members) < len(get_args(expected))

    def hook(value: object, _: Any) -> object:
        if value is None and optional:
            return None
        found: list[tuple[str, str]] = []
        for member in members:
            try:
                return _converter().structure(value, member)
            except _Problems as exc:
                found = found or list(exc.found)
        raise _Problems(found if len(members) == 1 else [("", _no_member(members, value))])

    return hook


def _no_member(members: Iterable[Any], value: object) -> str:
    names = " or ".join(getattr(member, "__name__", str(member)) for member in members)
    return f"must be {names}, found {_shown(value)}"


def _attrs_hook(config_type: type[Any]) -> Callable[[object, Any], Any]:
    attrs.resolve_types(config_type)
    fields = _options(config_type)

    def hook(value: object, _: Any) -> Any:
        if isinstance(value, config_type):
            return value
        if not isinstance(value, Mapping):
            raise _reject(f"a table of options of {config_type.__name__}", value)
        data = cast("Mapping[object, object]", value)
        found = [
            (str(name), f"{config_type.__name__} has no such option{nearest(str(name), fields)}")
            for name in data
            if name not in fields
        ]
        found += [
            (name, "is required")
            for name, field in fields.items()
            if field.default is attrs.NOTHING and name not in data
        ]
        values: MutableMapping[str, Any] = {}
        for name in data:
            if isinstance(name, str) and name in fields:
                found += _structured_into(values, name, fields[name], data[name])
        if found:
            raise _Problems([*found, *problems_of(config_type, values)])
        return _made(config_type, values)

    return hook


def _structured_into(
    values: MutableMapping[str, Any], name: str, field: attrs.Attribute[Any], value: object
) -> Iterable[tuple[str, str]]:
    """Put the value of one option into *values*, or give its problems; a converter takes what it takes."""
    if _converter_of(field) is not None:
        values[name] = value
        return ()
    try:
        values[name] = _converter().structure(value, cast("type[Any]", field.type or Any))
    except _Problems as exc:
        return list(exc.below(name))
    return ()


def _made(config_type: type[T], values: Mapping[str, Any]) -> T:
    found = problems_of(config_type, values)
    if found:
        raise _Problems(found)
    try:
        return config_type(**values)
    except ConfigError as exc:
        raise _Problems(_split(line) for line in exc.problems) from None
    except (ValueError, TypeError) as exc:
        raise _Problems([("", _text(exc))]) from exc
