"""What a schema says of data, what the structuring says of it, and data to ask both about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jsonschema
from hypothesis import strategies as st

from rompy_core import ConfigError, config_schema, schema_formats, structure_config

EDGES: Sequence[Any] = (
    *(None, True, False, 0, 1, -1, 7, 2**63 - 1, 2**63, 10**400, 0.0, 4.0, 0.5, -0.5, 1e14, 1e300),
    *(float("inf"), float("-inf")),
    *("", " ", "a", "a\n", "\n", "\0", "a\0", "\ud800", "\udc80", "é", "4g", "0", "4 gallons", "9" * 30, "1.5 KiB\n"),
    *("/", "//", "/a", "..", "a/../b", "a**", "**/a", "(", "(?P<percent>.)", "2024-05-14", "kill", "all", "none"),
    *([], [""], ["a"], ["a", ""], ["", "a"], ["a", 1], [1], [None], [[]], [{}], ["\0"], ["\ud800"], ["a", "/"]),
    *({}, {"a": "b"}, {"a": 1}, {"a": None}, {"": "b"}, {"a=": "b"}, {"a": "\0"}, {"a\n": "b"}, {"stack": 1}),
    *({"regex": "a"}, {"regex": "("}, {"file": "a"}, {"regex": "a", "file": "../b"}, {"regex": "a", "other": 1}),
)
"""Values at which something may go wrong, for any option."""

TEXTS: Mapping[str, st.SearchStrategy[str]] = {
    "rompy-os-text": st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8),
    "rompy-size": st.from_regex(r"[1-9][0-9]{0,3}(\.[0-9])?[ \t]?([kmg]i?)b?", fullmatch=True),
    "rompy-glob": st.from_regex(r"(\*\*/)?[a-z*?.]?[a-z]\*?", fullmatch=True),
    "rompy-regex": st.sampled_from(["ERROR", "^end$", r"(?P<percent>\d+) %", "a|b"]),
    "rompy-progress": st.sampled_from([r"(?P<percent>\d+) %", "(?P<current>.) of (?P<total>.)", "at (?P<date>.*)"]),
    "rompy-date-format": st.sampled_from(["%Y%m%d.%H%M%S", "%c", "%d.%m.%y"]),
    "rompy-date-time": st.datetimes().map(str) | st.dates().map(str),
}
"""Text in the formats of the core."""


def accepts(config_type: Any, *, checks_formats: bool = True) -> Callable[[object], bool]:
    """Give the judgement of the schema."""
    schema = config_schema(config_type)
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.FormatChecker(formats=())
    for name, holds in schema_formats(config_type).items():
        checker.checks(name)(holds)
    return jsonschema.Draft202012Validator(schema, format_checker=checker if checks_formats else None).is_valid


def is_structured(data: object, config_type: Any) -> bool:
    """Give the judgement of ``structure_config``, which may raise nothing else."""
    try:
        structure_config(data, config_type)
    except ConfigError:
        return False
    return True


def from_schema(config_type: Any, texts: Mapping[str, st.SearchStrategy[str]] = TEXTS) -> st.SearchStrategy[Any]:
    """Make what the schema describes, formats included.

    hypothesis-jsonschema would, but it knows no draft after 7, and its newest release (0.23.1) makes no objects with
    Hypothesis 6.170, whose internals it uses.
    """
    schema = config_schema(config_type)
    return _Values(schema, texts).of(schema).filter(accepts(config_type))


class _Values:
    """Strategies for the schemas that ``config_schema`` gives."""

    def __init__(self, root: Mapping[str, Any], texts: Mapping[str, st.SearchStrategy[str]]) -> None:
        self.root = root
        self.texts = texts

    def of(self, schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
        if "$ref" in schema:
            path = schema["$ref"].removeprefix("#").split("/")[1:]
            target: Any = self.root
            for step in path:
                target = target[step]
            return st.deferred(lambda: self.of(target))
        if "enum" in schema or "const" in schema:
            return st.sampled_from(schema.get("enum") or [schema["const"]])
        if "anyOf" in schema:
            return st.one_of(*map(self.of, schema["anyOf"]))
        if schema.get("not") == {}:
            return st.nothing()
        kinds = schema.get("type", ["string", "integer", "boolean", "null"])
        return st.one_of(*(getattr(self, f"of_{kind}")(schema) for kind in ([kinds] if type(kinds) is str else kinds)))

    def of_null(self, _: object) -> st.SearchStrategy[None]:
        return st.none()

    def of_boolean(self, _: object) -> st.SearchStrategy[bool]:
        return st.booleans()

    def of_integer(self, schema: Mapping[str, Any]) -> st.SearchStrategy[int]:
        beyond = schema.get("exclusiveMaximum")
        return st.integers(schema.get("minimum"), schema.get("maximum") if beyond is None else beyond - 1)

    def of_number(self, schema: Mapping[str, Any]) -> st.SearchStrategy[float]:
        least = schema.get("minimum", schema.get("exclusiveMinimum"))
        most = schema.get("maximum", schema.get("exclusiveMaximum"))
        floats = st.floats(
            least,
            most,
            exclude_min="exclusiveMinimum" in schema,
            exclude_max="exclusiveMaximum" in schema,
            allow_nan=False,
            allow_infinity=False,
        )
        return floats | floats.map(int).filter(lambda value: value not in (least, most))

    def of_string(self, schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
        if "format" in schema:
            return self.texts[schema["format"]].filter(lambda text: len(text) >= schema.get("minLength", 0))
        if "pattern" in schema:
            return st.from_regex(schema["pattern"])
        return st.text(min_size=schema.get("minLength", 0), max_size=6)

    def of_array(self, schema: Mapping[str, Any]) -> st.SearchStrategy[list[Any]]:
        first = [self.of(item) for item in schema.get("prefixItems", ())]
        rest = (
            st.just([])
            if schema.get("maxItems") == len(first)
            else st.lists(self.of(schema.get("items", {})), max_size=2)
        )
        least = max(0, schema.get("minItems", 0) - len(first))
        return st.tuples(st.tuples(*first), rest.filter(lambda items: len(items) >= least)).map(
            lambda parts: [*parts[0], *parts[1]]
        )

    def of_object(self, schema: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
        if "properties" not in schema:
            names = self.of({"type": "string", **schema.get("propertyNames", {})})
            return st.dictionaries(names, self.of(schema.get("additionalProperties", {})), max_size=2)
        choices = [rule["oneOf"] for rule in schema.get("allOf", ()) if "oneOf" in rule]
        return st.one_of(*(self._table(schema, choice) for choice in (choices[0] if choices else [{}])))

    def _table(self, schema: Mapping[str, Any], choice: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
        properties = {name: self.of(inner) for name, inner in schema["properties"].items()}
        for name in choice.get("required", ()):
            properties[name] = properties[name].filter(
                jsonschema.Draft202012Validator(choice["properties"][name]).is_valid
            )
        needed = {*schema.get("required", ()), *choice.get("required", ())}
        others = st.lists(st.sampled_from(sorted(properties)), max_size=5) if properties else st.just([])
        return others.flatmap(
            lambda names: st.fixed_dictionaries({name: properties[name] for name in sorted(needed.union(names))})
        )


@st.composite
def near_valid(
    draw: st.DrawFn, values: Mapping[str, st.SearchStrategy[Any]], required: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Make tables of a few options, most of them right, of some wrong values and of some unknown names.

    Args:
        draw: Given by Hypothesis.
        values: What is right, or nearly so, by option.
        required: Options that are there unless they are drawn otherwise.
    """
    names = draw(st.lists(st.sampled_from(sorted(values)), max_size=3, unique=True))
    data = dict(required or {})
    for name in names:
        is_edge = draw(st.integers(0, 7)) == 0
        data[name] = draw(st.sampled_from(EDGES) if is_edge else values[name])
    if draw(st.integers(0, 15)) == 0:
        data[draw(st.sampled_from(["", "no_such", "timeou", "$schema", "type"]))] = draw(st.sampled_from(EDGES))
    if required and draw(st.integers(0, 7)) == 0:
        del data[draw(st.sampled_from(sorted(required)))]
    return data
