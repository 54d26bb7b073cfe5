from __future__ import annotations

import collections
import dataclasses
import enum
import typing
from collections.abc import Mapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rompy_core import ConfigError, masked_config, structure_config, unstructure_config

if TYPE_CHECKING:
    from waves import Spectrum  # type: ignore[import-not-found]


NAIVE = datetime(2024, 5, 14)  # noqa: DTZ001 - as files have it


class Mode(enum.Enum):
    SERIAL = "serial"
    PARALLEL = 2


class Level(enum.StrEnum):
    LOW = "low"


@attrs.frozen(kw_only=True)
class Point:
    x: float
    y: float = 0.0


@attrs.frozen(kw_only=True)
class Options:
    """One option of each kind."""

    text: str = "a"
    raw: bytes = b""
    flag: bool = False
    count: int = 1
    number: float = 1.0
    path: Path = Path()
    posix: PurePosixPath = attrs.field(factory=PurePosixPath)
    when: datetime = NAIVE
    step: timedelta = timedelta(hours=1)
    mode: Mode = Mode.SERIAL
    level: Level = Level.LOW
    word: Literal["on", "off", 3] = "on"
    words: tuple[str, ...] = ()
    pair: tuple[int, str] = (1, "a")
    items: list[int] = attrs.field(factory=list)
    series: Sequence[float] = ()
    mutable: MutableSequence[int] = attrs.field(factory=list)
    names: set[str] = attrs.field(factory=set)
    frozen: frozenset[int] = frozenset()
    abstract: AbstractSet[str] = frozenset()
    changing: MutableSet[str] = attrs.field(factory=set)
    bare: tuple = ()  # type: ignore[type-arg]
    table: Mapping[str, int] = attrs.field(factory=dict)
    bare_table: dict = attrs.field(factory=dict)  # type: ignore[type-arg]
    maybe: int | None = None
    either: int | str = 1
    anything: Any = None
    noted: Annotated[int, "a note"] = 1
    point: Point = Point(x=0.0)
    points: tuple[Point, ...] = ()


def _problems(data: object, config_type: type[Any] = Options) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        structure_config(data, config_type)
    return caught.value.problems


# Strictness.


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("text", 1, "must be a string, found 1"),
        ("text", None, "must be a string, found None"),
        ("text", Level.LOW, "must be a string, found Level"),
        ("raw", 3, "must be bytes, found 3"),
        ("raw", "abc", "must be bytes, found 'abc'"),
        ("flag", "false", "must be true or false, found 'false'"),
        ("flag", 0, "must be true or false, found 0"),
        ("count", 3.7, "must be a whole number, found 3.7"),
        ("count", 3.0, "must be a whole number, found 3.0"),
        ("count", True, "must be a whole number, found True"),
        ("count", "3", "must be a whole number, found '3'"),
        ("number", True, "must be a number, found True"),
        ("number", "1e3", "must be a number, found '1e3'"),
        ("number", 10**400, "must be a number that a float can hold, found int"),
        ("path", "", "must be a path, found ''"),
        ("path", "a\0b", "must be a path, found 'a\\x00b'"),
        ("path", 3, "must be a path, found 3"),
        ("when", "yesterday", "must be a date and time such as 2024-05-14T00:00:00Z, found 'yesterday'"),
        ("when", 1715644800, "must be a date and time such as 2024-05-14T00:00:00Z, found 1715644800"),
        ("step", "1h", "must be a number, found '1h'"),
        ("step", 1e300, "must be a number of seconds that a timedelta can hold, found 1e+300"),
        ("mode", "parallel", "must be one of 'serial', 2, found 'parallel'"),
        ("mode", 2.0, "must be one of 'serial', 2, found 2.0"),
        ("mode", [], "must be one of 'serial', 2, found list"),
        ("word", "maybe", "must be one of 'on', 'off', 3, found 'maybe'"),
        ("word", 3.0, "must be one of 'on', 'off', 3, found 3.0"),
        ("words", "abc", "must be a list, found 'abc'"),
        ("words", {"a": 1}, "must be a list, found dict"),
        ("words", {"a"}, "must be a list, found set"),
        ("names", "abc", "must be a list, found 'abc'"),
        ("pair", [1], "must be a list of 2 items, found list"),
        ("table", ["a"], "must be a table of names and values, found list"),
        ("maybe", "1", "must be a whole number, found '1'"),
        ("either", 1.5, "must be int or str, found 1.5"),
        ("noted", "1", "must be a whole number, found '1'"),
        ("point", "0,0", "must be a table of options of Point, found '0,0'"),
        ("point", {}, "x: is required"),
        ("text", 10**59, "must be a string, found 1" + "0" * 59),
        ("text", 10**60, "must be a string, found int"),
        ("text", object, "must be a string, found type"),
    ],
)
def test_a_value_is_taken_exactly_or_not_at_all(option: str, value: object, message: str) -> None:
    joint = "." if message == "x: is required" else ": "

    assert _problems({option: value}) == (f"{option}{joint}{message}",)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("number", 3, 3.0),
        ("path", "a/b", Path("a/b")),
        ("path", Path("a"), Path("a")),
        ("posix", "a", PurePosixPath("a")),
        ("when", "2024-05-14T06:00:00Z", datetime(2024, 5, 14, 6, tzinfo=UTC)),
        ("when", "2024-05-14", NAIVE),
        ("when", date(2024, 5, 14), NAIVE),
        ("when", NAIVE, NAIVE),
        ("step", 90, timedelta(seconds=90)),
        ("step", timedelta(1), timedelta(1)),
        ("mode", "serial", Mode.SERIAL),
        ("mode", Mode.PARALLEL, Mode.PARALLEL),
        ("level", "low", Level.LOW),
        ("word", 3, 3),
        ("words", ["a", "b"], ("a", "b")),
        ("pair", [1, "a"], (1, "a")),
        ("items", (1, 2), [1, 2]),
        ("series", [1, 2.5], (1.0, 2.5)),
        ("mutable", [1], [1]),
        ("names", ["a", "b", "a"], {"a", "b"}),
        ("names", {"a"}, {"a"}),
        ("frozen", [1], frozenset({1})),
        ("abstract", ["a"], frozenset({"a"})),
        ("changing", ["a"], {"a"}),
        ("bare", [1, "a"], (1, "a")),
        ("table", {"a": 1}, {"a": 1}),
        ("bare_table", {1: "a"}, {1: "a"}),
        ("maybe", None, None),
        ("maybe", 1, 1),
        ("either", "a", "a"),
        ("anything", {"a": [1]}, {"a": [1]}),
        ("noted", 3, 3),
        ("point", {"x": 1}, Point(x=1.0)),
        ("point", Point(x=2.0), Point(x=2.0)),
    ],
)
def test_a_value_has_the_type_of_its_option(option: str, value: object, expected: object) -> None:
    found = getattr(structure_config({option: value}, Options), option)

    assert found == expected
    assert type(found) is type(expected)


def test_a_table_is_copied() -> None:
    given = {"a": 1}

    config = structure_config({"table": given}, Options)
    given["b"] = 2

    assert config.table == {"a": 1}


def test_an_object_of_the_class_is_given_back_as_it_is() -> None:
    config = Options(text="b")

    assert structure_config(config, Options) is config


# Problems.


def test_every_problem_is_listed_at_once_with_its_path() -> None:
    data = {
        "txt": "a",
        "count": "3",
        "words": ["a", 1, None],
        "pair": ["1", 2],
        "table": {"a": "1", 2: 3, "b c": None},
        "points": [{"x": 1}, {"y": "0", "z": 1}],
        "point": {"x": True},
    }

    assert sorted(_problems(data)) == sorted(
        (
            "txt: Options has no such option; did you mean 'text'?",
            "count: must be a whole number, found '3'",
            "words[1]: must be a string, found 1",
            "words[2]: must be a string, found None",
            "pair[0]: must be a whole number, found '1'",
            "pair[1]: must be a string, found 2",
            "table['a']: must be a whole number, found '1'",
            "table[2]: must be a string, found 2",
            "table['b c']: must be a whole number, found None",
            "points[1].z: Point has no such option",
            "points[1].x: is required",
            "points[1].y: must be a number, found '0'",
            "point.x: must be a number, found True",
        )
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a b", "['a b']"), ("a:b", "['a:b']"), ("", "['']"), (3, "[3]"), (None, "[None]"), ("größe", "größe")],
)
def test_an_odd_option_name_is_shown_so_that_it_can_be_found(name: object, shown: str) -> None:
    assert _problems({"point": {name: 1, "x": 1}}) == (f"point.{shown}: Point has no such option".replace(".[", "["),)


def test_problems_of_a_nested_config_keep_their_paths_through_its_own_error() -> None:
    @attrs.frozen
    class Inner:
        def __attrs_post_init__(self) -> None:
            raise ConfigError("Inner", ["['a b'][0].c: is wrong: very", "together they are wrong"])

    @attrs.frozen
    class Outer:
        inner: Any = attrs.field(converter=lambda value: Inner())

    assert _problems({"inner": 1}, Outer) == ("inner['a b'][0].c: is wrong: very", "inner: together they are wrong")


def test_what_is_nested_too_deeply_is_a_config_error() -> None:
    deep: Any = []
    for _ in range(10_000):
        deep = [deep]
    nested = list[Any]
    for _ in range(60):
        nested = list[nested]  # type: ignore[misc, valid-type]

    @attrs.frozen
    class Endless:
        inner: Any = attrs.field(default=None, converter=lambda value: structure_config({"inner": value}, Endless))

    assert structure_config({"anything": deep}, Options).anything is deep
    assert _problems({"inner": 1}, Endless)[0].endswith("nested too deeply to be read")
    structure_config(deep, nested)


def test_no_attrs_class_is_needed_for_a_type() -> None:
    assert structure_config([1, "2"], tuple[int, str]) == (1, "2")  # type: ignore[arg-type]
    assert _problems([1, 2], tuple[int, str]) == ("[1]: must be a string, found 2",)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"no option can be of type"):
        structure_config(1, typing.TypeVar("V"))  # type: ignore[arg-type]


# Converters and validators of a class.


@attrs.frozen(kw_only=True)
class Judged:
    positive: int = attrs.field(default=1, validator=attrs.validators.gt(0))
    typed: str = attrs.field(default="a", validator=attrs.validators.instance_of(str), converter=lambda v: v)
    chosen: str = attrs.field(default="a", validator=attrs.validators.in_(("a", "b")))
    shouted: str = attrs.field(default="a", converter=str.upper)
    relative: int = attrs.field(default=0)
    by_self: int = attrs.field(
        default=0, converter=attrs.Converter(lambda value, self: int(value) + self.positive, takes_self=True)
    )
    by_field: str = attrs.field(
        default="", converter=attrs.Converter(lambda value, field: f"{field.name}={value}", takes_field=True)
    )

    @relative.validator
    def _above(self, _: object, value: int) -> None:
        if value > self.positive:
            raise ValueError("must not be above positive")


def test_what_validators_say_survives_without_their_baggage() -> None:
    assert _problems({"positive": 0, "typed": 3, "chosen": "c", "shouted": 5}, Judged) == (
        "positive: 'positive' must be > 0: 0",
        "typed: 'typed' must be <class 'str'> (got 3 that is a <class 'int'>).",
        "chosen: 'chosen' must be in ('a', 'b') (got 'c')",
        "shouted: descriptor 'upper' for 'str' objects doesn't apply to a 'int' object",
    )


def test_a_validator_that_looks_at_other_fields_is_asked_once_they_are_there() -> None:
    assert structure_config({"relative": 2, "positive": 3}, Judged).relative == 2
    assert _problems({"relative": 2}, Judged) == ("must not be above positive",)


def test_a_converter_that_takes_the_object_or_the_field_is_obeyed() -> None:
    config = structure_config({"by_self": "2", "by_field": "a"}, Judged)

    assert (config.by_self, config.by_field) == (3, "by_field=a")
    assert _problems({"by_self": "x"}, Judged) == ("invalid literal for int() with base 10: 'x'",)


@attrs.frozen(kw_only=True)
class Private:
    _depth: int
    made: int = attrs.field(init=False, default=3)
    alias: int = attrs.field(default=1, alias="other")


def test_options_are_named_as_the_constructor_names_them() -> None:
    config = structure_config({"depth": 2, "other": 4}, Private)

    assert config == Private(depth=2, other=4)
    assert unstructure_config(config) == {"depth": 2, "other": 4}
    assert sorted(_problems({"_depth": 1, "made": 1}, Private)) == [
        "_depth: Private has no such option; did you mean 'depth'?",
        "depth: is required",
        "made: Private has no such option",
    ]


# Classes of other kinds.


@dataclasses.dataclass(kw_only=True)
class Grid:
    nx: int
    ny: int = 1
    names: list[str] = dataclasses.field(default_factory=list)
    key: str = dataclasses.field(default="", metadata={"secret": True})


class Plain:
    def __init__(self, depth: float, *, name: str = "a", spectrum: Spectrum | None = None) -> None:
        if depth < 0:
            raise ValueError("must be under water")
        self.facts = depth, name, spectrum


class Typed:
    def __init__(self, depth: float, grid: Grid | None = None, **rest: Any) -> None:
        self.facts = depth, grid, rest


class Validated:
    """As pydantic's models, seen from here."""

    model_fields: typing.ClassVar = {"depth": None}

    def __init__(self, depth: int) -> None:
        self.depth = depth

    @classmethod
    def model_validate(cls, data: Any) -> Validated:
        errors = [{"loc": (name, 0, "in put"), "msg": "is wrong"} for name in map(str, data) if name != "depth"]
        if errors:
            exc = ValueError(f"{len(errors)} validation errors")
            exc.errors = lambda: errors  # type: ignore[attr-defined]
            raise exc
        return cls(**data)

    def model_dump(self, mode: str) -> dict[str, Any]:
        return {"depth": self.depth, "mode": mode}


@attrs.frozen(kw_only=True)
class Foreign:
    grid: Grid | None = None
    plain: Any = None
    typed: Typed | None = None
    validated: Validated | None = None
    steps: range = range(3)


def test_a_dataclass_is_as_good_as_an_attrs_class() -> None:
    grid = structure_config({"nx": 2, "names": ["a"], "key": "k"}, Grid)

    assert grid == Grid(nx=2, names=["a"], key="k")
    assert structure_config(unstructure_config(grid), Grid) == grid
    assert masked_config(grid) == {"nx": 2, "ny": 1, "names": ["a"], "key": "<secret>"}
    assert sorted(_problems({"ny": "1", "nxx": 1, "key": 12345}, Grid)) == [
        "key: must be a string",
        "nx: is required",
        "nxx: Grid has no such option; did you mean 'nx'?",
        "ny: must be a whole number, found '1'",
    ]


def test_a_plain_class_is_made_by_its_parameters() -> None:
    assert structure_config({"depth": 2.0, "name": "b"}, Plain).facts == (2.0, "b", None)
    assert structure_config({"depth": 2, "grid": {"nx": 1}, "more": 3}, Typed).facts == (2.0, Grid(nx=1), {"more": 3})
    assert _problems({"depth": -1.0}, Plain) == ("must be under water",)
    assert sorted(_problems({"nam": "a"}, Plain)) == [
        "depth: is required",
        "nam: Plain has no such option; did you mean 'name'?",
    ]
    assert sorted(_problems({"grid": {}, 3: 4}, Typed)) == [
        "[3]: Typed has no such option",
        "depth: is required",
        "grid.nx: is required",
    ]


def test_a_class_with_model_validate_decides_for_itself() -> None:
    config = structure_config({"validated": {"depth": 3}}, Foreign)

    assert isinstance(config.validated, Validated)
    assert unstructure_config(config.validated) == {"depth": 3, "mode": "json"}
    assert structure_config(config.validated, Validated) is config.validated
    assert _problems({"validated": {"width": 1}}, Foreign) == ("validated.width[0]['in put']: is wrong",)
    assert _problems({"width": 1}, Validated) == ("width[0]['in put']: is wrong",)


def test_of_a_class_without_a_signature_only_an_object_will_do() -> None:
    assert structure_config({"steps": range(2)}, Foreign).steps == range(2)
    assert _problems({"steps": "0-2"}, Foreign) == ("steps: must be a table of options of range, found '0-2'",)
    assert _problems({"steps": {"stop": 2}}, Foreign) == ("steps.stop: range has no such option",)


def test_an_annotation_that_only_type_checkers_can_read_is_a_config_error_that_names_it() -> None:
    @attrs.frozen
    class Unreadable:
        spectrum: Spectrum

    assert _problems({"spectrum": 1}, Unreadable) == ("name 'Spectrum' is not defined",)


# Secrets.

CANARY = "canary-7Yq"


@attrs.frozen(kw_only=True)
class Inner:
    token: str | None = attrs.field(default=None, repr=False, metadata={"secret": True})


@attrs.frozen(kw_only=True)
class Secretive:
    token: str | None = attrs.field(default=None, repr=False, metadata={"secret": True})
    keys: Mapping[str, str] = attrs.field(factory=dict, repr=False, metadata={"secret": True})
    judged: str = attrs.field(
        default="", repr=False, metadata={"secret": True}, validator=attrs.validators.in_(("", "fine"))
    )
    inners: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    "data",
    [
        {"token": [CANARY]},
        {"token": {CANARY: 1}},
        {"keys": CANARY},
        {"keys": {"a": [CANARY], "b": 1}},
        {"judged": CANARY},
        {"inners": [{"token": b"canary-7Yq"}]},
        {"tokem": CANARY},
    ],
)
def test_a_secret_is_in_no_message(data: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        structure_config(data, Secretive)

    assert next(iter(data))[:4] in str(caught.value)
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)


def test_the_plain_data_has_the_secrets_and_the_masked_data_only_their_names() -> None:
    config = Secretive(token=CANARY, keys={"b": CANARY, "a": CANARY}, inners=(Inner(token=CANARY), Inner()))

    plain, masked = unstructure_config(config), masked_config(config)

    assert structure_config(plain, Secretive) == config
    assert masked == {
        "token": "<secret>",
        "keys": ["a", "b"],
        "judged": "<secret>",
        "inners": [{"token": "<secret>"}, {"token": None}],
    }
    assert CANARY not in repr(masked)


class Sizes(typing.TypedDict):
    dx: float


class Name(str):
    __slots__ = ()


@attrs.frozen(kw_only=True)
class Known:
    sizes: Sizes
    queue: collections.deque[int] = attrs.field(factory=collections.deque)
    name: Name = attrs.field(factory=Name)


# Whatever comes.


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_input_makes_anything_but_a_config_or_a_config_error(
    junk: st.SearchStrategy[object], data: st.DataObject
) -> None:
    names = st.sampled_from([field.name for field in attrs.fields(Options)])
    options = data.draw(junk | st.dictionaries(names, junk, max_size=4))
    config_type = data.draw(st.sampled_from([Options, Judged, Private, Grid, Plain, Typed, Validated, Foreign]))

    outcome: object
    try:
        outcome = structure_config(options, config_type)
    except ConfigError as exc:
        outcome = exc

    if isinstance(outcome, ConfigError):
        assert outcome.problems
        assert all(isinstance(problem, str) and problem for problem in outcome.problems)
    else:
        assert isinstance(outcome, config_type)


def _options() -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.floats(allow_nan=False)
    whole = st.integers(-(2**63), 2**63)
    points = st.fixed_dictionaries({"x": numbers}, optional={"y": numbers | whole})
    values: dict[str, st.SearchStrategy[Any]] = {
        "text": st.text(),
        "flag": st.booleans(),
        "count": whole,
        "number": numbers | st.integers(-(2**53), 2**53),
        "path": st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=9),
        "when": st.datetimes().map(datetime.isoformat) | st.datetimes(timezones=st.just(UTC)),
        "step": st.timedeltas(timedelta(-9999), timedelta(9999)),
        "mode": st.sampled_from(["serial", 2, Mode.SERIAL]),
        "word": st.sampled_from(["on", "off", 3]),
        "words": st.lists(st.text(max_size=4), max_size=3),
        "pair": st.tuples(whole, st.text(max_size=4)),
        "items": st.lists(whole, max_size=3),
        "names": st.lists(st.text(max_size=4), max_size=3),
        "frozen": st.frozensets(whole, max_size=3),
        "table": st.dictionaries(st.text(max_size=4), whole, max_size=3),
        "maybe": st.none() | whole,
        "either": whole | st.text(max_size=4),
        "point": points,
        "points": st.lists(points, max_size=3),
    }
    return st.fixed_dictionaries({}, optional=values)


@settings(max_examples=50, deadline=None)
@given(options=_options())
def test_structure_unstructure_structure_is_the_identity(options: dict[str, Any]) -> None:
    config = structure_config(options, Options)

    plain = unstructure_config(config)

    assert structure_config(plain, Options) == config
    assert unstructure_config(structure_config(plain, Options)) == plain


def test_what_cattrs_knows_by_itself_is_exact_too() -> None:
    config = structure_config({"sizes": {"dx": 1}, "queue": [1], "name": Name("a")}, Known)

    assert config == Known(sizes={"dx": 1.0}, queue=collections.deque([1]), name=Name("a"))
    assert _problems({"sizes": {"dx": "1"}, "queue": ["1"], "name": "a"}, Known) == (
        "sizes: must be a number, found '1'",
        "queue: must be a whole number, found '1'",
        "name: must be Name, found 'a'",
    )
    assert "dy" in _problems({"sizes": {"dx": 1, "dy": 1}}, Known)[0]
