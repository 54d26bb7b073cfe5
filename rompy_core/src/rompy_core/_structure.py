"""Between plain data and typed objects: the only module that knows cattrs.

cattrs is lenient where an option must not be: it makes ``True`` of ``"false"``, ``3`` of ``3.7`` and letters of a
string that was given for a tuple of strings. The hooks here are exact, and they collect every problem with its path
instead of stopping at the first.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, timedelta
from pathlib import Path, PurePath
from typing import Any, Final, Literal, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import attrs

from rompy_core._errors import ConfigError
from rompy_core._problems import (
    Problems,
    below,
    converter_of,
    fields_of,
    found_by,
    has_secret,
    line_of,
    nearest,
    problems_of,
    shown,
    step_to,
)

T = TypeVar("T")


def structure_config(data: object, config_type: type[T]) -> T:
    """Make an object of *config_type* from plain data, exactly or not at all.

    Args:
        data: A mapping of option names to values, or an instance of *config_type*, which is given back as it is.
        config_type: An attrs class, a dataclass, a pydantic class (by its ``model_validate``), any other class (by
            the parameters of its ``__init__``), or a type that cattrs structures.

    Raises:
        ConfigError: With every problem at once, each with its path; for an unknown option, the nearest known one.
    """
    try:
        return _converter().structure(data, config_type)
    except Exception as exc:  # noqa: BLE001 - a config class of other hands may raise anything, and so may its data
        cause = None if isinstance(exc, Problems | RecursionError) else exc
        name = getattr(config_type, "__name__", str(config_type))
        raise ConfigError(name, [line_of(*item) for item in found_by(exc)]) from cause


def unstructure_config(config: object) -> dict[str, Any]:
    """Give the plain data of *config*, from which ``structure_config`` makes an equal object.

    The values of secret options are in it, for an equal object needs them: do not log it.
    """
    return cast("dict[str, Any]", _converter().unstructure(config))


def masked_config(config: object) -> dict[str, Any]:
    """Give the plain data of *config* for a record: secret options (``metadata={"secret": True}``) by name only."""
    return cast("dict[str, Any]", _converter(is_masking=True).unstructure(config))


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
    def register_unstructure_hook_factory(
        self, predicate: Callable[[Any], bool], factory: Callable[[Any], Callable[[Any], object]]
    ) -> object: ...


@functools.cache
def _converter(*, is_masking: bool = False) -> _Converter:
    import cattrs

    # Not detailed: cattrs would wrap what the hooks here raise.
    made = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False, structure_fallback_factory=_foreign_hook)
    converter = cast("_Converter", made)
    for exact in _EXACT:
        converter.register_structure_hook(exact, _exactly)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(datetime, _datetime)
    converter.register_structure_hook(timedelta, _timedelta)
    for kind in (Path, PurePath):
        converter.register_structure_hook(kind, _path)
    converter.register_structure_hook_func(lambda t: t is Any or t is object, lambda value, _: value)
    converter.register_structure_hook(enum.Enum, _enum)
    converter.register_structure_hook_func(lambda t: get_origin(t) is Literal, _literal)
    converter.register_structure_hook_factory(lambda t: (get_origin(t) or t) in LISTS, _list_hook)
    converter.register_structure_hook_factory(lambda t: (get_origin(t) or t) in TABLES, _table_hook)
    converter.register_structure_hook_factory(lambda t: get_origin(t) in (Union, types.UnionType), _union_hook)
    converter.register_structure_hook_factory(has_fields, _options_hook)
    converter.register_structure_hook_func(is_pydantic, _validated)
    converter.register_unstructure_hook_func(lambda t: _is_subclass(t, PurePath), str)
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_unstructure_hook(timedelta, timedelta.total_seconds)
    converter.register_unstructure_hook_func(
        lambda t: (get_origin(t) or t) in LISTS, lambda items: list(map(converter.unstructure, _ordered(items)))
    )
    converter.register_unstructure_hook_factory(has_fields, lambda t: _unstructure_hook(made, t, is_masking=is_masking))
    converter.register_unstructure_hook_func(is_pydantic, lambda value: value.model_dump(mode="json"))
    return converter


def _ordered(items: Iterable[Any]) -> Iterable[Any]:
    return sorted(items, key=repr) if isinstance(items, AbstractSet) else items


def _unstructure_hook(converter: Any, config_type: type[Any], *, is_masking: bool) -> Callable[[Any], object]:
    from cattrs.gen import make_dict_unstructure_fn, override

    fields = attrs.fields(config_type) if attrs.has(config_type) else dataclasses.fields(config_type)
    masked: dict[str, Any] = {
        field.name: override(unstruct_hook=_masked) for field in fields if is_masking and has_secret(field)
    }
    return make_dict_unstructure_fn(config_type, converter, _cattrs_use_alias=True, **masked)


def _masked(value: object) -> object:
    if isinstance(value, Mapping):
        return sorted(map(str, cast("Mapping[object, object]", value)))
    return None if value is None else "<secret>"


def has_fields(candidate: Any) -> bool:
    """Whether *candidate* is an attrs class or a dataclass."""
    return attrs.has(candidate) or (isinstance(candidate, type) and dataclasses.is_dataclass(candidate))


def _validated(value: object, config_type: Any) -> object:
    return value if isinstance(value, config_type) else config_type.model_validate(value)


def is_pydantic(candidate: Any) -> bool:
    """Whether *candidate* is a class that reads plain data by itself, as those of pydantic do."""
    return isinstance(candidate, type) and hasattr(candidate, "model_validate") and not attrs.has(candidate)


def _is_subclass(candidate: Any, of: type | types.UnionType) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, of)


def _reject(expected: str, value: object) -> Problems:
    return Problems([("", f"must be {expected}, found {shown(value)}")])


_EXACT: Final = {str: "a string", bytes: "bytes", bool: "true or false", int: "a whole number"}


def _exactly(value: object, expected: type[Any]) -> object:
    if _is_subclass(expected, enum.Enum):  # cattrs takes the hook of a class for its subclasses too, such as a StrEnum
        return _enum(value, expected)
    if type(value) is expected:
        return value
    raise _reject(_EXACT.get(expected, expected.__name__), value)


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
    if isinstance(value, date):  # as TOML and YAML read a date
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the zone is not ours to add
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
    for member in expected:
        if type(member.value) is type(value) and member.value == value:
            return member
    raise _reject("one of " + ", ".join(repr(member.value) for member in expected), value)


def _literal(value: object, expected: Any) -> object:
    for option in get_args(expected):
        if type(option) is type(value) and option == value:
            return value
    raise _reject("one of " + ", ".join(repr(option) for option in get_args(expected)), value)


LISTS: Final[dict[Any, Callable[[list[Any]], object]]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    Sequence: tuple,
    MutableSequence: list,
    AbstractSet: frozenset,
    MutableSet: set,
}
"""The types that are given as a list, and what is made of it."""

TABLES: Final = (dict, Mapping, MutableMapping)
"""The types that are given as a table."""


def _list_hook(expected: Any) -> Callable[[object, Any], object]:
    origin = get_origin(expected) or expected
    args = get_args(expected)
    fixed = None if not args or args[-1] is Ellipsis or origin is not tuple else args
    accepted = (list, tuple, set, frozenset) if issubclass(origin, AbstractSet) else (list, tuple)

    def hook(value: object, _: Any) -> object:
        if not isinstance(value, accepted):
            raise _reject("a list", value)
        items = list(cast("Iterable[object]", value))
        if fixed is not None and len(items) != len(fixed):
            raise _reject(f"a list of {len(fixed)} items", items)
        types_ = fixed if fixed is not None else (args[0] if args else Any,) * len(items)
        done = _each((f"[{n}]", item, kind) for n, (item, kind) in enumerate(zip(items, types_, strict=True)))
        return LISTS[origin](done)

    return hook


def _table_hook(expected: Any) -> Callable[[object, Any], dict[Any, Any]]:
    key_type, value_type = get_args(expected) or (Any, Any)

    def hook(value: object, _: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise _reject("a table of names and values", value)
        pairs = cast("Mapping[object, object]", value).items()
        done = _each((f"[{key!r}]", *part) for key, item in pairs for part in ((key, key_type), (item, value_type)))
        return dict(zip(done[::2], done[1::2], strict=True))

    return hook


def _each(parts: Iterable[tuple[str, object, Any]]) -> list[Any]:
    """Structure each part, and report the problems of all of them together."""
    done: list[Any] = []
    found: list[tuple[str, str]] = []
    for step, value, kind in parts:
        try:
            done.append(_converter().structure(value, kind))
        except Exception as exc:  # noqa: BLE001 - as in structure_config
            found += below(step, found_by(exc))
    if found:
        raise Problems(found)
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
            except Exception as exc:  # noqa: BLE001 - as in structure_config
                found = found or found_by(exc)
        raise Problems(found if len(members) == 1 else [("", _no_member(members, value))])

    return hook


def _no_member(members: Iterable[Any], value: object) -> str:
    names = " or ".join(getattr(member, "__name__", str(member)) for member in members)
    return f"must be {names}, found {shown(value)}"


@attrs.frozen(kw_only=True)
class Option:
    """What is known of an option before its value is there; *field* is that of an attrs class or a dataclass."""

    type: Any
    is_required: bool
    default: object = attrs.NOTHING
    field: Any = None
    is_converted: bool = False
    is_secret: bool = False


def options_of(config_type: type[Any]) -> tuple[dict[str, Option], bool]:
    """Give the options that a class takes, and whether it takes any others as well."""
    if not attrs.has(config_type):
        return _parameters(config_type)
    attrs.resolve_types(config_type)
    options = {
        name: Option(
            type=field.type or Any,
            is_required=field.default is attrs.NOTHING,
            default=field.default,
            field=field,
            is_converted=converter_of(field) is not None,
            is_secret=has_secret(field),
        )
        for name, field in fields_of(config_type).items()
    }
    return options, False


def _parameters(config_type: type[Any]) -> tuple[dict[str, Option], bool]:
    """Do so for a dataclass or a plain class, by the parameters of its ``__init__``."""
    try:
        parameters = list(inspect.signature(config_type).parameters.values())
    except (TypeError, ValueError):  # a class of an extension module: only its objects will do
        return {}, False
    types_ = _types_of(config_type.__init__)
    fields = dataclasses.fields(config_type) if dataclasses.is_dataclass(config_type) else ()
    known = {field.name: field for field in fields}
    options = {
        p.name: Option(
            type=types_.get(p.name, Any),
            is_required=p.default is p.empty,
            default=p.default,
            field=known.get(p.name),
            is_secret=p.name in known and has_secret(known[p.name]),
        )
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    return options, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _types_of(init: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(init)
    except Exception:  # noqa: BLE001 - annotations may name what only type checkers import
        return {}


def _foreign_hook(config_type: Any) -> Callable[[object, Any], Any]:
    if not isinstance(config_type, type):
        raise TypeError(f"no option can be of type {config_type!r}")
    return _options_hook(config_type)


def _options_hook(config_type: type[Any]) -> Callable[[object, Any], Any]:
    """Structure a table of options into an object of a class."""
    options, is_open = options_of(config_type)

    def hook(value: object, _: Any) -> Any:
        if isinstance(value, config_type):
            return value
        if not isinstance(value, Mapping):
            raise _reject(f"a table of options of {config_type.__name__}", value)
        data = cast("Mapping[object, object]", value)
        found = [
            (step_to(name), f"{config_type.__name__} has no such option{nearest(str(name), options)}")
            for name in data
            if name not in options and not (is_open and isinstance(name, str))
        ]
        found += [(name, "is required") for name, option in options.items() if option.is_required and name not in data]
        values: dict[str, Any] = {}
        for name, item in data.items():
            if isinstance(name, str) and (is_open or name in options):
                found += _structured_into(values, name, options.get(name), item)
        found += problems_of(config_type, values)
        if found:
            raise Problems(found)
        return config_type(**values)

    return hook


def _structured_into(
    values: MutableMapping[str, Any], name: str, option: Option | None, value: object
) -> Iterable[tuple[str, str]]:
    """Put the value of one option into *values*, or give its problems; a converter takes what it takes."""
    if option is None or option.is_converted:
        values[name] = value
        return ()
    try:
        values[name] = _converter().structure(value, option.type)
    except Exception as exc:  # noqa: BLE001 - as in structure_config
        return below(name, found_by(exc), is_secret=option.is_secret)
    return ()
