"""JSON Schemas of configs (draft 2020-12), for editors and for tools that do not run Python.

msgspec derives one from the types of an attrs class alone and would refuse ``memory="4g"`` and take ``timeout=-1``;
pydantic takes no attrs class. Here the checks themselves say what they accept (``fields.accepts``, ``fields.adds``),
and for the rest the types do, read as ``_structure`` reads them.

A schema speaks of JSON. Where it cannot say all, it takes more than ``structure_config`` and never less.
"""

from __future__ import annotations

import enum
import inspect
import json
import re
import textwrap
import types
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin

import attrs

from rompy_core import fields
from rompy_core._errors import ConfigError
from rompy_core._problems import converter_of
from rompy_core._structure import (
    LISTS,
    TABLES,
    Option,
    has_fields,
    is_pydantic,
    masked_config,
    options_of,
    unstructure_config,
)

Schema = dict[str, Any]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_NEVER: Final[Schema] = {"not": {}}
_NULL: Final[Schema] = {"type": "null"}
_SCALARS: Final = ["string", "number", "boolean", "null"]
_FLOAT: Final = fields.Format("rompy-float", float, int)
_DAYS: Final = {"minimum": -86_399_999_913_600, "exclusiveMaximum": 86_400_000_000_000}  # as a timedelta, in seconds
_DATE_TIME: Final[Schema] = fields.said_by(fields.date_time)

_OPEN: Final[Collection[Any]] = (Any, object)

_EXACT: Final[Mapping[type, Schema]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "format": fields.WHOLE},
    float: {"type": "number", "format": _FLOAT},
    types.NoneType: _NULL,
}
"""What JSON has itself; a value of a subclass cannot be written in JSON."""

_READ: Final[Mapping[type, Schema]] = {
    float: _EXACT[float],
    datetime: _DATE_TIME,
    timedelta: {"type": "number", **_DAYS, "format": fields.FINITE},
    PurePath: {"type": "string", "minLength": 1, "pattern": r"^[^\u0000]*$"},
}
"""What is read from something that JSON has, subclasses too."""


def config_schema(config_type: Any, *, file_type: str | None = None) -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of what ``structure_config`` takes for *config_type*.

    Its formats have names of ours; ``schema_formats`` gives their checks. With formats checked it accepts the JSON that
    our own configs accept, no more and no less; without, it refuses none of it. Of classes by other hands it knows the
    types, the checks of ``fields`` and the common validators of attrs; a field says more by ``metadata={"schema":
    ...}``, and a converter that says nothing takes anything. pydantic classes give their own.

    Args:
        config_type: What ``structure_config`` takes for it.
        file_type: For files of ``load_config``: what ``type`` must be in them, such as ``"local"``.

    Returns:
        Plain data, the same in each process.

    Raises:
        ConfigError: *config_type* is an object of a class, or the types of a class cannot be resolved.
        TypeError: The ``schema`` of a field holds what JSON cannot.
    """
    schema = _Schemas(config_type).root
    if file_type is not None:
        tag = {"description": "The run backend that takes these options.", "const": file_type}
        schema["properties"] = {"type": tag, **schema.get("properties", {})}
        schema["required"] = ["type", *schema.get("required", [])]
    return cast("dict[str, Any]", json.loads(json.dumps(schema, allow_nan=False)))


def schema_formats(config_type: Any) -> dict[str, Callable[[object], bool]]:
    """Give the checks of the formats of ours in the schema of *config_type*, by name.

    Each tells whether a value has the format; what is of another type than it judges has it.
    """
    found = {str(named): named.holds for named in _formats_in(_Schemas(config_type).root)}
    return dict(sorted(found.items()))


def _formats_in(node: object) -> Iterator[fields.Format]:
    if isinstance(node, fields.Format):
        yield node
    elif isinstance(node, Mapping | list):
        table = cast("Mapping[str, object] | list[object]", node)
        for item in table.values() if isinstance(table, Mapping) else table:
            yield from _formats_in(item)


class _Schemas:
    """The schema of one type, and of the classes below it, as ``$defs``."""

    def __init__(self, config_type: Any) -> None:
        if not isinstance(config_type, type) and has_fields(type(config_type)):
            name = type(config_type).__name__
            raise ConfigError(name, [f"the schema is that of a class: give {name}, found an object of it"])
        self._names: dict[Any, str] = {config_type: "#"}
        self._defs: dict[str, Schema] = {}
        body = self._object(config_type) if _has_options(config_type) else self._of(config_type)
        self.root: Schema = {"$schema": _DIALECT, **body}
        if self._defs:
            self.root["$defs"] = dict(sorted(self._defs.items()))

    # Types.

    def _of(self, kind: Any) -> Schema:
        """Give the schema of what is structured into *kind*."""
        kind = _bare(kind)
        origin, args = get_origin(kind), get_args(kind)
        if origin is Literal:
            return _choice(args)
        if origin in (Union, types.UnionType):
            return _any_of(map(self._of, args))
        if (origin or kind) in LISTS:
            return self._list(origin or kind, args)
        if (origin or kind) in TABLES:
            key, value = map(self._of, args or (Any, Any))
            return {"type": "object", **_present(propertyNames=key, additionalProperties=value)}
        return self._class(origin or kind)

    def _list(self, kind: type, args: Sequence[Any]) -> Schema:
        if kind is tuple and args and args[-1] is not Ellipsis:
            items = [self._of(arg) for arg in args]
            return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
        items_ = self._of(args[0]) if args else {}
        if issubclass(kind, AbstractSet) and not items_:
            items_ = {"type": _SCALARS}  # a set takes no list and no table
        return {"type": "array", **_present(items=items_)}

    def _class(self, kind: Any) -> Schema:
        if not isinstance(kind, type) or kind in _OPEN:
            return {}
        if kind in _EXACT:
            return _EXACT[kind]
        if issubclass(kind, enum.Enum):
            return _choice(member.value for member in kind)
        read = next((schema for base, schema in _READ.items() if issubclass(kind, base)), None)
        if read is not None:
            return read
        if issubclass(kind, (str, bytes, int)):
            return _NEVER
        return self._ref(kind) if _has_options(kind) else {}

    def _ref(self, kind: Any) -> Schema:
        if kind not in self._names:
            taken, name, count = self._names.values(), kind.__name__, 1
            while f"#/$defs/{name}" in taken:
                count += 1
                name = f"{kind.__name__}-{count}"
            self._names[kind] = f"#/$defs/{name}"
            self._defs[name] = self._object(kind)
        return {"$ref": self._names[kind]}

    # Classes with options.

    def _object(self, kind: Any) -> Schema:
        if is_pydantic(kind):
            return self._of_pydantic(kind)
        try:
            options, is_open = options_of(kind)
        except NameError as exc:
            raise ConfigError(kind.__name__, [f"the types of its options cannot be read: {exc}"]) from exc
        summary, documented = _documented(kind)
        together = getattr(kind, "__attrs_post_init__", None) or getattr(kind, "__post_init__", None)
        rules = self._said(fields.said_by(together))
        return {
            **_present(title=kind.__name__, description=summary),
            "type": "object",
            "properties": {name: self._property(name, option, documented) for name, option in options.items()},
            **_present(required=[name for name, option in options.items() if option.is_required]),
            **({} if is_open else {"additionalProperties": False}),
            **_present(allOf=[rules] if rules else []),
        }

    def _of_pydantic(self, kind: Any) -> Schema:
        """Give what the class itself says, with its definitions moved to ours under names of their own."""
        own = self._names[kind].rpartition("/")[2].replace("#", kind.__name__)
        try:
            schema: Schema = kind.model_json_schema(ref_template=f"#/$defs/{own}.{{model}}")
        except Exception:  # noqa: BLE001 - a class of other hands may hold what JSON cannot say, or only look alike
            return {}
        for name, inner in schema.pop("$defs", {}).items():
            self._defs[f"{own}.{name}"] = inner
        return schema

    def _property(self, name: str, option: Option, documented: Mapping[str, str]) -> Schema:
        text = documented.get(name) or documented.get(f"_{name}", "")
        schema = {**_present(description=text), **self._option(option)}
        if option.is_secret:
            return {**schema, "writeOnly": True}
        return schema if option.is_required else {**schema, **_default(option)}

    def _option(self, option: Option) -> Schema:
        """Give the schema of one option: what the field says, else what its checks say, else its type."""
        field = option.field
        said = field.metadata.get("schema") if field is not None else None
        if said is not None:
            return self._said(said)
        if not isinstance(field, attrs.Attribute):
            return self._of(option.type)
        validator: Any = cast("Any", field).validator
        judged = self._judged(validator)
        converter = converter_of(field)
        if converter is None:
            return _both(self._of(option.type), judged)
        if validator is None:
            return self._said(fields.said_by(converter))
        spellings = fields.spellings_of(converter)
        return {} if spellings is None else _any_of([judged, *map(self._said, spellings)])

    def _judged(self, validator: Any) -> Schema:
        """Give the schema of what a validator accepts, as far as it is known."""
        said = fields.said_by(validator)
        if said is not None:
            return self._said(said)
        if type(validator) is _OPTIONAL:
            return _any_of([self._judged(validator.validator), _NULL])
        if type(validator) is _AND:
            schema: Schema = {}
            for part in validator._validators:  # noqa: SLF001 - attrs has no other way to ask
                schema = _both(schema, self._judged(part))
            return schema
        return _of_attrs(validator)

    def _said(self, said: Any) -> Schema:
        """Give the schema that a check or a field says, where classes and checks stand for theirs."""
        if said is None:
            return {}
        if isinstance(said, type):
            return self._of(said)
        if callable(said):
            return self._said(said() if fields.said_by(said) is None else fields.said_by(said))
        return cast("Schema", self._without_objects(said))

    def _without_objects(self, node: Any) -> Any:
        if isinstance(node, Mapping):
            return {name: self._without_objects(item) for name, item in cast("Mapping[str, Any]", node).items()}
        if isinstance(node, list | tuple):
            return [self._without_objects(item) for item in cast("Sequence[Any]", node)]
        return self._said(node) if callable(node) else node


_OPTIONAL: Final[Any] = type(attrs.validators.optional(fields.flag))
_AND: Final[Any] = type(attrs.validators.and_(fields.flag, fields.text))
_IN: Final[Any] = type(attrs.validators.in_(()))
_BOUND: Final[Any] = type(attrs.validators.gt(0))
_LONGEST: Final[Any] = type(attrs.validators.max_len(0))
_SHORTEST: Final[Any] = type(attrs.validators.min_len(0))
_FACTORY: Final[Any] = attrs.Factory
_BOUNDS: Final = {">": "exclusiveMinimum", ">=": "minimum", "<": "exclusiveMaximum", "<=": "maximum"}


def _of_attrs(validator: Any) -> Schema:
    """Give what a validator of attrs says of the value that was structured, as far as JSON shows it."""
    if type(validator) is _IN and type(validator.options) in (list, tuple):
        options = [
            item.value if isinstance(item, enum.Enum) else item for item in cast("Sequence[Any]", validator.options)
        ]
        return {"enum": options} if options and all(type(item) in _EXACT for item in options) else {}
    if type(validator) is _BOUND and fields.is_number(validator.bound):
        return {_BOUNDS[validator.compare_op]: validator.bound}
    if type(validator) is _LONGEST:
        return {"maxLength": validator.max_length}  # a set has fewer items than the list that it is given as
    if type(validator) is _SHORTEST:
        return dict.fromkeys(("minLength", "minItems", "minProperties"), validator.min_length)
    return {}


def _bare(kind: Any) -> Any:
    """Give the type that is meant by one with notes, or with a name of its own."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    if hasattr(kind, "__supertype__"):
        return _bare(kind.__supertype__)
    return types.NoneType if kind is None else kind


def _has_options(kind: Any) -> bool:
    """Whether *kind* is a class that takes a table of options, and none that cattrs reads in its own way."""
    if not isinstance(kind, type) or kind in _EXACT or kind in _OPEN:
        return False
    if is_pydantic(kind) or has_fields(kind):
        return True
    return not issubclass(kind, (Collection, enum.Enum, int, *_READ))


def _choice(values: Iterable[object]) -> Schema:
    """Give the schema of these values, or of those of them that JSON can write."""
    known = [value for value in values if type(value) in _EXACT]
    if not known:
        return _NEVER
    kinds = set(map(type, known))
    return {"enum": known, **({"format": fields.WHOLE} if int in kinds and float not in kinds else {})}


def _any_of(schemas: Iterable[Schema]) -> Schema:
    """Give the schema of what one of *schemas* accepts, as plainly as it can be said."""
    members: list[Schema] = []
    for schema in schemas:
        for member in schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]:
            if member not in members and member != _NEVER:
                members.append(member)
    if {} in members:
        return {}
    if not members:
        return _NEVER
    members.sort(key=lambda member: member == _NULL)
    return {"anyOf": members} if len(members) > 1 else members[0]


def _both(one: Schema, other: Schema) -> Schema:
    """Give the schema of what *one* and *other* accept, as plainly as it can be said."""
    if _implies(one, other):
        return one
    if _implies(other, one):
        return other
    if _is_optional(one) and _is_optional(other):
        return _any_of([_both(_any_of(one["anyOf"][:-1]), _any_of(other["anyOf"][:-1])), _NULL])
    return {"allOf": [one, other]} if one.keys() & other.keys() else {**one, **other}


def _is_optional(schema: Schema) -> bool:
    return schema.keys() == {"anyOf"} and schema["anyOf"][-1] == _NULL


def _implies(narrow: Schema, wide: Schema) -> bool:
    """Whether it is plain that *wide* accepts all that *narrow* accepts."""
    if wide.items() <= narrow.items():
        return True
    if narrow.keys() == {"anyOf"}:
        return all(_implies(member, wide) for member in narrow["anyOf"])
    return wide.keys() == {"anyOf"} and any(_implies(narrow, member) for member in wide["anyOf"])


def _present(**parts: Any) -> Schema:
    return {name: part for name, part in parts.items() if part}


def _default(option: Option) -> Schema:
    """Give the default of an option as JSON has it, where it is always the same and holds no secret."""
    try:
        default: Any = _made(option)
        value = unstructure_config(default)
        if value != masked_config(default):
            return {}
        json.dumps(value, allow_nan=False)
    except Exception:  # noqa: BLE001 - a default of other hands may be anything, and so may what makes it
        return {}
    return {"default": value}


def _made(option: Option) -> object:
    """Give the default itself; a function that makes one may make another each time, so only classes are called."""
    default: Any = option.default
    factory: Any = getattr(option.field, "default_factory", None)
    if isinstance(default, _FACTORY) and not default.takes_self:
        factory = default.factory
    return factory() if isinstance(get_origin(factory) or factory, type) else default


_SECTION: Final = re.compile(r"^(?:Attributes|Args):\n((?:[ \t]+.*(?:\n|\Z)|\n)*)", re.MULTILINE)
_ENTRY: Final = re.compile(r"^\*{0,2}(\w+)(?: *\([^)\n]*\))?:(.*(?:\n(?:[ \t]+.*)?)*)", re.MULTILINE)


def _documented(kind: type) -> tuple[str, dict[str, str]]:
    """Give the summary of a class, and what the docstrings of it and of its bases say of its attributes."""
    texts = {base: inspect.cleandoc(vars(base).get("__doc__") or "") for base in reversed(kind.__mro__)}
    found = {
        entry[1]: _plain_text(entry[2])
        for text in texts.values()
        for section in _SECTION.finditer(text)
        for entry in _ENTRY.finditer(textwrap.dedent(section[1]))
    }
    summary = texts[kind].partition("\n\n")[0]
    return "" if summary.startswith(f"{kind.__name__}(") else _plain_text(summary), found  # that of a dataclass


def _plain_text(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")
