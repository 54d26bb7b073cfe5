from __future__ import annotations

import collections
import dataclasses
import enum
import json
import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, NewType

import attrs
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import schemas

from rompy_core import (
    BackendConfig,
    ConfigError,
    FilesConfig,
    OutputRules,
    PipelineConfig,
    PostprocessorConfig,
    TemplateConfig,
    config_schema,
    fields,
    load_config,
    schema_formats,
    structure_config,
    unstructure_config,
)
from rompy_docker import DockerConfig
from rompy_local import LocalConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "schema.md"
CANARY = "canary-3Rt"


class Mode(enum.Enum):
    SERIAL = "serial"
    PARALLEL = 2


Depth = NewType("Depth", float)


@attrs.frozen(kw_only=True)
class Point:
    """A place.

    Attributes:
        x: To the east, in ``m``.
    """

    x: float
    y: float = 0.0


@dataclasses.dataclass(kw_only=True)
class Grid:
    nx: int
    names: list[str] = dataclasses.field(default_factory=list)
    key: str = dataclasses.field(default="", metadata={"secret": True})
    kind: str = dataclasses.field(default="a", metadata={"schema": {"enum": ["a", "b"]}})


class Spectrum:
    def __init__(self, peak: float, *, name: str = "jonswap", **rest: Any) -> None:
        self.facts = peak, name, rest


@attrs.frozen(kw_only=True)
class WaveConfig(BackendConfig):
    """A config as a plugin author writes it: types, and no checks of ours.

    Attributes:
        depth (float): How deep it is,
            in metres.
    """

    backend: ClassVar[str] = "wave@waves"

    depth: float = 10.0
    limit: Depth = Depth(1.0)
    count: int = 1
    flag: bool = False
    label: str = "a"
    raw: bytes = b""
    path: Path = Path()
    posix: PurePosixPath | None = None
    when: datetime | None = None
    step: timedelta = timedelta(hours=1)
    mode: Mode = Mode.SERIAL
    word: Literal["on", "off", 3] = "on"
    words: tuple[str, ...] = ()
    pair: tuple[int, str] = (1, "a")
    series: Sequence[float] = ()
    names: AbstractSet[str] = frozenset()
    bare: set = attrs.field(factory=set)  # type: ignore[type-arg]
    table: Mapping[str, int] = attrs.field(factory=dict)
    numbered: dict[int, str] = attrs.field(factory=dict)
    placed: dict[Path, Point] = attrs.field(factory=dict)
    either: int | str | None = 1
    noted: Annotated[int, "a note"] = 1
    anything: Any = None
    point: Point = Point(x=0.0)
    points: tuple[Point, ...] = ()
    grid: Grid | None = None
    above: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    within: int | None = attrs.field(
        default=None, validator=attrs.validators.optional([attrs.validators.ge(0), attrs.validators.lt(9)])
    )
    chosen: str = attrs.field(default="a", validator=attrs.validators.in_(("a", "b")))
    powers: float = attrs.field(default=1, validator=attrs.validators.in_((1, 2, 4)))
    modes: Mode = attrs.field(default=Mode.SERIAL, validator=attrs.validators.in_((Mode.SERIAL,)))
    short: str = attrs.field(default="", validator=[attrs.validators.min_len(0), attrs.validators.max_len(2)])
    size: int | None = attrs.field(
        default=None, converter=fields.to_bytes, validator=attrs.validators.optional(fields.positive_whole)
    )


SECONDS = st.sampled_from([None, 1, 0.5, 0, -1, 3600])
TEXTS = st.text(max_size=3)
POINTS = st.fixed_dictionaries({}, optional={"x": SECONDS, "y": SECONDS, "z": SECONDS})
GLOBS = st.from_regex(r"[a*/.]{1,5}", fullmatch=True)
REGEXES = st.from_regex(r"[a(?)|\\]{1,4}|\(\?P<(date|percents?|current)>.\)", fullmatch=True)
PATTERNS = REGEXES | st.fixed_dictionaries({}, optional={"regex": REGEXES, "file": GLOBS | st.none()})
DATES = st.sampled_from(["2024-05-14", "2024-05-14T00:00Z", "20240514", "2024-W20-2", "soon", None, 5])
RULES = st.fixed_dictionaries(
    {},
    optional={
        "required_files": GLOBS | st.lists(GLOBS, max_size=2),
        "fatal": PATTERNS | st.lists(PATTERNS, max_size=2),
        "progress": REGEXES
        | st.fixed_dictionaries(
            {"regex": REGEXES},
            optional={
                "total": SECONDS,
                "date_format": st.from_regex(r"(%[%YydxcG]){1,3}", fullmatch=True),
                "start": DATES,
            },
        ),
        "on_fatal": st.sampled_from(["stop", "fail", "ignore"]),
        "ignore_exit_code": st.booleans() | st.none(),
    },
)
BASE: Mapping[str, st.SearchStrategy[Any]] = {
    "timeout": SECONDS,
    "grace_s": SECONDS,
    "env_vars": st.dictionaries(st.text("A=\0", max_size=2), TEXTS | st.none(), max_size=2),
    "working_dir": TEXTS | st.none(),
    "stall_timeout": SECONDS,
    "memory": st.from_regex(r"\s?[0-9.]{1,4}\s?[kmgtiBb]{0,3}\s?", fullmatch=True) | SECONDS,
    "rules": RULES | st.sampled_from(["swan", "swann"]),
    "leftovers": st.sampled_from(["kill", "wait", "leave"]),
    "log_size_limit": st.sampled_from(["2g", "0", 1, 2**63, None]),
    "require": st.lists(TEXTS, max_size=2),
    "stream_output": st.booleans(),
}
TYPED: Mapping[str, st.SearchStrategy[Any]] = {
    "depth": SECONDS,
    "limit": SECONDS,
    "count": SECONDS,
    "label": TEXTS,
    "path": TEXTS,
    "posix": TEXTS | st.none(),
    "when": DATES,
    "step": st.sampled_from([0, -86399999913600, -86399999913601, 86399999999999.9, 8.64e13, 0.5, "1"]),
    "mode": st.sampled_from(["serial", 2, 2.0, "parallel"]),
    "word": st.sampled_from(["on", 3, 3.0, True]),
    "words": st.lists(TEXTS | st.none(), max_size=2),
    "pair": st.lists(st.sampled_from([1, "a"]), max_size=3),
    "series": st.lists(SECONDS, max_size=2),
    "names": st.lists(TEXTS, max_size=2),
    "bare": st.lists(st.sampled_from([1, "a", None, [1], {}]), max_size=2),
    "table": st.dictionaries(TEXTS, st.sampled_from([1, "a"]), max_size=2),
    "numbered": st.dictionaries(st.sampled_from(["1"]), TEXTS),
    "placed": st.dictionaries(TEXTS, POINTS, max_size=1),
    "either": st.sampled_from([1, "a", None, 1.0]),
    "noted": st.sampled_from([1, "a", 1.0]),
    "anything": st.sampled_from([1, [{}], None]),
    "point": POINTS,
    "points": st.lists(POINTS, max_size=2),
    "grid": st.fixed_dictionaries({}, optional={"nx": SECONDS, "names": st.lists(TEXTS, max_size=1), "key": TEXTS}),
    "above": SECONDS,
    "within": st.sampled_from([None, 0, 8, 9, -1, 4.0]),
    "chosen": st.sampled_from(["a", "b", "c"]),
    "powers": st.sampled_from([1, 2.0, 3, True]),
    "modes": st.sampled_from(["serial", 2]),
    "short": st.text(max_size=4),
    "size": st.sampled_from(["1k", 0, "0", None, 1]),
}


def _accepts(schema: Mapping[str, Any], data: object) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(data)


def _property(config_type: Any, name: str) -> dict[str, Any]:
    schema: dict[str, Any] = config_schema(config_type)["properties"][name]
    return {key: value for key, value in schema.items() if key not in ("default", "description")}


# The schema and the structuring accept the same.


@settings(max_examples=100, deadline=None)
@given(data=schemas.from_schema(WaveConfig))
def test_what_the_schema_describes_is_a_config(data: dict[str, Any]) -> None:
    assert schemas.is_structured(data, WaveConfig)


IS_ACCEPTED = schemas.accepts(WaveConfig)
IS_ACCEPTED_WITHOUT_FORMATS = schemas.accepts(WaveConfig, checks_formats=False)


@settings(max_examples=500, deadline=None)
@given(data=schemas.near_valid(BASE) | schemas.near_valid(TYPED))
def test_the_schema_accepts_what_the_structuring_accepts(data: dict[str, Any]) -> None:
    is_config = schemas.is_structured(data, WaveConfig)

    assert IS_ACCEPTED(data) == is_config
    assert IS_ACCEPTED_WITHOUT_FORMATS(data) or not is_config


@pytest.mark.parametrize("option", config_schema(WaveConfig)["properties"])
def test_each_option_is_judged_alike_at_the_edges(option: str) -> None:
    tables = [{option: value} for value in schemas.EDGES]

    assert [data for data in tables if IS_ACCEPTED(data) != schemas.is_structured(data, WaveConfig)] == []


FILES = st.dictionaries(st.sampled_from(["INPUT", "a/b", "../a", "/a", ".rompy/a", "", "."]), st.sampled_from(["a", 1]))


@given(data=schemas.near_valid({"files": FILES, "command": st.sampled_from(["a", "", ["a"], []])}))
def test_given_files_are_judged_alike(data: dict[str, Any]) -> None:
    assert schemas.accepts(FilesConfig)(data) == schemas.is_structured(data, FilesConfig)


@given(
    data=schemas.near_valid(
        {
            "template_dir": st.sampled_from(["a", "", None]),
            "values": st.dictionaries(st.sampled_from(["hs", "run", ""]), st.none() | st.integers()),
        }
    )
)
def test_templates_are_judged_alike(data: dict[str, Any]) -> None:
    assert schemas.accepts(TemplateConfig)(data) == schemas.is_structured(data, TemplateConfig)


@pytest.mark.parametrize("option", config_schema(OutputRules)["properties"])
def test_each_rule_is_judged_alike_at_the_edges(option: str) -> None:
    values = [*schemas.EDGES, *([value] for value in schemas.EDGES)]
    tables = [{"rules": {option: value}} for value in values]

    assert [data for data in tables if IS_ACCEPTED(data) != schemas.is_structured(data, WaveConfig)] == []


@pytest.mark.parametrize(
    ("data", "is_config"),
    [
        ({"memory": "4g"}, True),
        ({"memory": " 1.5 GiB\t"}, True),
        ({"memory": 0}, False),
        ({"memory": "0"}, False),
        ({"memory": "9999999t"}, False),
        ({"memory": 4.0}, False),
        ({"memory": "4\x1fg"}, False),
        ({"memory": "4g\x1f"}, False),
        ({"timeout": 10**400}, False),
        ({"timeout": math.nan}, False),
        ({"step": math.nan}, False),
        ({"timeou": 1}, False),
        ({"rules": "swan"}, True),
        ({"rules": "swann"}, False),
        ({"rules": {"fatal": ["ERROR", {"regex": "a", "file": "*.log"}], "progress": "(?P<percent>.)"}}, True),
        ({"rules": {"fatal": "("}}, False),
        ({"rules": {"progress": "(?P<percents>.)"}}, False),
        ({"rules": {"required_files": "../up"}}, False),
        ({"rules": {"progres": None}}, False),
        ({"count": 1.0}, False),
        ({"word": 3.0}, False),
        ({"raw": "abc"}, False),
        ({"grid": {"nx": 1, "kind": "b"}}, True),
        ([], False),
    ],
    ids=str,
)
def test_both_judge_what_the_contract_says(data: object, *, is_config: bool) -> None:
    assert IS_ACCEPTED(data) is is_config
    assert schemas.is_structured(data, WaveConfig) is is_config


@pytest.mark.parametrize("config_type", [BackendConfig, WaveConfig, OutputRules, LocalConfig])
def test_the_defaults_are_those_of_the_class_and_are_accepted(config_type: type[Any]) -> None:
    schema = config_schema(config_type)
    defaults = {name: part["default"] for name, part in schema["properties"].items() if "default" in part}
    plain = unstructure_config(config_type())

    assert defaults == {name: plain[name] for name in defaults}
    assert set(plain) - set(defaults) <= {"env_vars", "raw"}
    assert schemas.accepts(config_type)(defaults)


# What a schema is like.


@pytest.mark.parametrize("config_type", [BackendConfig, PostprocessorConfig, PipelineConfig, LocalConfig, DockerConfig])
def test_every_config_has_a_schema_that_is_one(config_type: type[Any]) -> None:
    schema = config_schema(config_type)

    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert all(part.get("description") for part in schema["properties"].values())


def test_a_schema_is_plain_and_the_same_in_each_process(run_python: Callable[..., str]) -> None:
    code = (
        "import json; from rompy_core import config_schema; from rompy_docker import DockerConfig;"
        "print(json.dumps(config_schema(DockerConfig)))"
    )

    printed = run_python(code)

    assert printed.strip() == json.dumps(config_schema(DockerConfig))


def test_what_an_option_means_is_taken_from_the_docstrings_of_the_class_and_its_bases() -> None:
    schema = config_schema(WaveConfig)

    assert schema["description"] == "A config as a plugin author writes it: types, and no checks of ours."
    assert schema["properties"]["depth"]["description"] == "How deep it is, in metres."
    assert schema["properties"]["timeout"]["description"] == "Wall-clock limit of the run, or `None` for no limit."
    assert schema["$defs"]["Point"]["properties"]["x"]["description"] == "To the east, in `m`."
    assert "description" not in schema["$defs"]["Grid"]


def test_secrets_are_for_writing_and_have_no_default() -> None:
    account = attrs.make_class("Account", {"key": attrs.field(type=str, default=CANARY, metadata={"secret": True})})
    holder = attrs.make_class("Holder", {"account": attrs.field(type=account, default=account())})

    schema = config_schema(holder)

    assert schema["$defs"]["Account"]["properties"]["key"] == {"type": "string", "writeOnly": True}
    assert CANARY not in json.dumps(schema)


def test_a_default_that_is_made_anew_each_time_is_left_out() -> None:
    ticks = iter(range(9))

    @attrs.frozen
    class Ticking:
        tick: int = attrs.field(factory=lambda: next(ticks))
        items: list[int] = attrs.field(factory=list[int])

    schema = config_schema(Ticking)

    assert "default" not in schema["properties"]["tick"]
    assert schema["properties"]["items"]["default"] == []


def test_two_classes_of_one_name_do_not_mix_and_one_may_hold_itself() -> None:
    first = attrs.make_class("Part", {"a": attrs.field(type=int)})
    second = attrs.make_class("Part", {"b": attrs.field(type=str)})
    both = attrs.make_class("Both", {"first": attrs.field(type=first), "second": attrs.field(type=second)})
    attrs.resolve_types(Tree, {"Tree": Tree})

    assert schemas.accepts(both)({"first": {"a": 1}, "second": {"b": "x"}})
    assert not schemas.accepts(both)({"first": {"b": "x"}, "second": {"b": "x"}})
    assert schemas.accepts(Tree)({"children": [{"children": []}]})
    assert not schemas.accepts(Tree)({"children": [{"child": []}]})


@attrs.frozen
class Tree:
    children: tuple[Tree, ...] = ()


# What classes of other hands say.


def test_a_field_says_more_by_its_metadata() -> None:
    steps = fields.Format("wave-steps", lambda text: text.count(",") == 2)

    @attrs.frozen
    class Steps:
        own: Any = attrs.field(
            default="1,2,3",
            converter=lambda text: tuple(text.split(",")),
            metadata={"schema": {"anyOf": [{"type": "string", "format": steps}, Point, fields.positive_whole]}},
        )

    schema = config_schema(Steps)

    assert [part.get("$ref") or part.get("format") for part in schema["properties"]["own"]["anyOf"]] == [
        "wave-steps", "#/$defs/Point", "rompy-whole",
    ]  # fmt: skip
    assert schema_formats(Steps)["wave-steps"]("1,2,3")
    assert not schema_formats(Steps)["wave-steps"]("1,2")
    assert schema_formats(Steps)["wave-steps"](5)


def test_a_check_of_an_author_says_what_it_accepts_as_ours_do() -> None:
    @fields.accepts({"type": "string"}, "wave-name")
    def check_name(_: Any, __: attrs.Attribute[Any], value: object) -> None:
        if value != "swan":
            raise ValueError("must be swan")

    def to_name(value: object) -> object:
        return "swan" if value is None else value

    fields.adds(to_name, {"type": "null"})

    @attrs.frozen
    class Named:
        model: str = attrs.field(default="swan", converter=to_name, validator=check_name)

        @fields.accepts({"minProperties": 1})
        def __attrs_post_init__(self) -> None: ...

    is_accepted = schemas.accepts(Named)

    assert is_accepted({"model": "swan"})
    assert is_accepted({"model": None})
    assert not is_accepted({"model": "xbeach"})
    assert not is_accepted({})


@attrs.frozen
class Judged:
    place: Path = attrs.field(default=Path("a"), validator=attrs.validators.in_((Path("a"), Path("b"))))
    few: frozenset[str] = attrs.field(default=frozenset("a"), validator=attrs.validators.max_len(1))
    late: timedelta = attrs.field(default=timedelta(1), validator=attrs.validators.gt(timedelta(0)))


@pytest.mark.parametrize("data", [{"place": "a"}, {"place": "a/"}, {"few": ["a", "a"]}, {"late": 1}], ids=str)
def test_a_validator_that_judges_what_json_does_not_show_refuses_nothing_that_is_right(data: dict[str, Any]) -> None:
    assert schemas.is_structured(data, Judged)
    assert schemas.accepts(Judged)(data)


def test_what_nothing_is_known_of_is_accepted() -> None:
    @attrs.frozen
    class Unknown:
        converted: int = attrs.field(default="A", converter=str.upper, validator=attrs.validators.in_(("A",)))
        judged: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))
        odd: ClassVar[int] = 1
        counted: collections.deque[int] | None = None

    assert _property(Unknown, "converted") == {}
    assert _property(Unknown, "judged") == {"type": "integer", "format": "rompy-whole"}
    assert _property(Unknown, "counted") == {}
    assert config_schema(Any) == {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def test_a_plain_class_is_described_by_its_parameters() -> None:
    schema = config_schema(Spectrum)

    assert schema["required"] == ["peak"]
    assert _accepts(schema, {"peak": 1, "name": "a", "more": []})
    assert not _accepts(schema, {"peak": "1"})
    assert structure_config({"peak": 1, "more": []}, Spectrum).facts == (1.0, "jonswap", {"more": []})


class Validated:
    """As pydantic's models, seen from here."""

    @classmethod
    def model_validate(cls, data: object) -> Validated:
        return cls()

    @classmethod
    def model_json_schema(cls, ref_template: str) -> dict[str, Any]:
        inner = {"$ref": ref_template.format(model="Point")}
        return {"type": "object", "properties": {"inner": inner}, "$defs": {"Point": {"type": "integer"}}}


class Mute(Validated):
    @classmethod
    def model_json_schema(cls, ref_template: str) -> dict[str, Any]:
        raise ValueError("cannot be said")


def test_a_pydantic_class_says_it_itself_and_keeps_its_own_definitions() -> None:
    @attrs.frozen
    class Holder:
        point: Point | None = None
        validated: Validated | None = None
        mute: Mute | None = None

    is_accepted = schemas.accepts(Holder)

    assert is_accepted({"point": {"x": 1}, "validated": {"inner": 1}, "mute": [1]})
    assert not is_accepted({"validated": {"inner": {"x": 1}}})
    assert not is_accepted({"point": 1})


def test_definitions_of_two_pydantic_classes_of_one_name_do_not_mix() -> None:
    other = type("Validated", (Validated,), {"model_json_schema": _says_text})
    both = attrs.make_class("Both", {"one": attrs.field(type=Validated), "other": attrs.field(type=other)})

    is_accepted = schemas.accepts(both)

    assert is_accepted({"one": {"inner": 1}, "other": {"inner": "a"}})
    assert not is_accepted({"one": {"inner": "a"}, "other": {"inner": "a"}})


@classmethod  # type: ignore[misc]
def _says_text(cls: type, ref_template: str) -> dict[str, Any]:
    inner = {"$ref": ref_template.format(model="Point")}
    return {"type": "object", "properties": {"inner": inner}, "$defs": {"Point": {"type": "string"}}}


def test_an_object_in_place_of_its_class_and_types_that_are_not_there_are_config_errors() -> None:
    @attrs.frozen
    class Lost:
        grid: Nowhere  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(ConfigError, match="give BackendConfig, found an object of it"):
        config_schema(BackendConfig())
    with pytest.raises(ConfigError, match="types of its options cannot be read: name 'Nowhere' is not defined"):
        config_schema(Lost)


def test_what_json_cannot_hold_is_refused_by_name() -> None:
    @attrs.frozen
    class Wrong:
        value: Any = attrs.field(default=None, metadata={"schema": {"const": b"raw"}})

    with pytest.raises(TypeError, match="bytes"):
        config_schema(Wrong)


# The page.


def _blocks(language: str) -> list[str]:
    return [textwrap.dedent(text) for text in re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.M | re.S)]


@pytest.mark.parametrize("language", ["yaml", "toml"])
def test_the_files_of_the_page_are_configs_and_obey_the_schema(tmp_path: Path, language: str) -> None:
    (block,) = _blocks(language)
    path = tmp_path / f"storm.{language}"
    path.write_text(block)

    config = load_config(path)

    schema = config_schema(LocalConfig, file_type="local")
    assert "local.schema.json" in block.splitlines()[0]
    assert isinstance(config, LocalConfig)
    assert _accepts(schema, {"type": "local", **unstructure_config(config)})
    assert not _accepts(schema, unstructure_config(config))
    assert not _accepts(schema, {"type": "docker", **unstructure_config(config)})


def test_the_settings_of_the_page_are_json_and_name_the_schema() -> None:
    (block,) = _blocks("json")

    assert json.loads(block)["json.schemas"][0]["url"] == "./local.schema.json"


def test_the_page_lists_every_format_and_no_other() -> None:
    listed = set(re.findall(r"^\| `(rompy-[a-z-]+)` \|", PAGE.read_text(), re.MULTILINE))

    config_types = LocalConfig, DockerConfig, FilesConfig, TemplateConfig, WaveConfig
    assert listed == {name for config_type in config_types for name in schema_formats(config_type)}
