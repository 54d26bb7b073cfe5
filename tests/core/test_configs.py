from __future__ import annotations

import copy
import json
import math
import pickle
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rompy_core import (
    BackendConfig,
    ConfigError,
    OutputPattern,
    OutputRules,
    PipelineConfig,
    PostprocessorConfig,
    ProgressPattern,
    fields,
    masked_config,
    structure_config,
    unstructure_config,
)
from rompy_core._presets import PRESETS
from rompy_core._rules import as_rules

CANARY = "canary-7Yq"


@attrs.frozen(kw_only=True)
class WaveConfig(BackendConfig):
    """A config as a plugin author writes it: with the checks of ours, and without."""

    backend: ClassVar[str] = "wave@waves"

    command: tuple[str, ...] = attrs.field(default=(), converter=fields.to_words, validator=fields.names)
    depth: float = 10.0
    mode: Literal["serial", "mpi"] = "serial"
    levels: tuple[int, ...] = ()
    bathymetry: Path | None = None
    start: datetime | None = None
    step: timedelta | None = None
    watch: tuple[OutputPattern, ...] = ()
    tables: Mapping[str, tuple[float, ...]] = attrs.field(factory=dict)


def _problems(make: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        make()
    return caught.value.problems


# Values.


def test_the_defaults_are_those_of_the_contract() -> None:
    assert unstructure_config(BackendConfig()) == {
        "timeout": 3600.0,
        "grace_s": 10.0,
        "env_vars": {},
        "working_dir": None,
        "stall_timeout": None,
        "memory": None,
        "rules": unstructure_config(OutputRules()),
        "leftovers": "kill",
        "log_size_limit": None,
        "require": [],
        "stream_output": False,
    }
    assert unstructure_config(PostprocessorConfig()) == unstructure_config(PipelineConfig()) == {}


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("timeout", 60, 60.0),
        ("timeout", None, None),
        ("timeout", 2**60, 2.0**60),
        ("grace_s", 0, 0.0),
        ("working_dir", "sub", Path("sub")),
        ("working_dir", Path("sub"), Path("sub")),
        ("memory", "4g", 4 * 2**30),
        ("memory", 1000, 1000),
        ("memory", " 1.5 GiB ", 3 * 2**29),
        ("memory", "512m", 2**29),
        ("memory", "1kb", 1024),
        ("memory", "7 b", 7),
        ("memory", "9007199254740993", 9007199254740993),
        ("log_size_limit", "2T", 2**41),
        ("require", ["cgroup"], ("cgroup",)),
        ("rules", None, OutputRules()),
        ("rules", {"ignore_exit_code": True}, OutputRules(ignore_exit_code=True)),
        ("leftovers", "wait", "wait"),
        ("stream_output", True, True),
    ],
)
def test_each_spelling_gives_the_value_however_the_config_is_made(option: str, value: object, expected: object) -> None:
    made = BackendConfig(**{option: value})
    structured = structure_config({option: value}, BackendConfig)

    assert getattr(made, option) == expected
    assert type(getattr(made, option)) is type(expected)
    assert made == structured


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("timeout", 0, "must be a finite number > 0, found 0.0"),
        ("timeout", "60", "must be a finite number > 0, found '60'"),
        ("timeout", True, "must be a finite number > 0, found True"),
        ("timeout", math.nan, "must be a finite number > 0, found nan"),
        ("timeout", math.inf, "must be a finite number > 0, found inf"),
        ("grace_s", -0.1, "must be a finite number >= 0, found -0.1"),
        ("grace_s", None, "must be a finite number >= 0, found None"),
        ("grace_s", 10**400, "must be a finite number >= 0, found int"),
        ("stall_timeout", [], "must be a finite number > 0, found list"),
        ("working_dir", "", "must be a path, found ''"),
        ("working_dir", "a\0", "must be a path, found 'a\\x00'"),
        ("working_dir", "\ud800", "must be a path, found '\\ud800'"),
        ("working_dir", 3, "must be a path, found 3"),
        ("memory", "4 gallons", "must be a number of bytes, or such as '512m' or '4g', found '4 gallons'"),
        ("memory", "4bb", "must be a number of bytes, or such as '512m' or '4g', found '4bb'"),
        ("memory", "-1", "must be a number of bytes, or such as '512m' or '4g', found '-1'"),
        ("memory", 4e9, "must be a number of bytes, or such as '512m' or '4g', found 4000000000.0"),
        ("memory", True, "must be a number of bytes, or such as '512m' or '4g', found True"),
        ("memory", 0, "must be a whole number > 0 and < 2**63, found 0"),
        ("memory", "0.0001b", "must be a whole number > 0 and < 2**63, found 0"),
        ("memory", 2**63, "must be a whole number > 0 and < 2**63, found 9223372036854775808"),
        ("leftovers", "keep", "must be one of 'kill', 'wait', 'leave', found 'keep'"),
        ("leftovers", ["kill"], "must be one of 'kill', 'wait', 'leave', found list"),
        ("require", "cgroup", "must be a list of names, found 'cgroup'"),
        ("stream_output", "false", "must be true or false, found 'false'"),
        ("stream_output", 1, "must be true or false, found 1"),
        ("env_vars", "A=b", "must be a table of names and strings"),
        ("rules", 5, "must be a table of options of OutputRules, found 5"),
    ],
)
def test_a_wrong_value_is_refused_with_the_same_words_however_the_config_is_made(
    option: str, value: object, message: str
) -> None:
    expected = (f"{option}: {message}",)

    assert _problems(lambda: BackendConfig(**{option: value})) == expected
    assert _problems(lambda: structure_config({option: value}, BackendConfig)) == expected


def test_every_problem_is_listed_at_once_however_the_config_is_made() -> None:
    wrong: dict[str, Any] = {
        "timeout": -1,
        "env_vars": {"A=B": "x", "OK": "y", "N": 3, "NUL": "\0", "": "z"},
        "leftovers": "keep",
        "require": ["cgroup", "", 3],
        "rules": {"fatal": [5, {"regex": "("}], "required_files": ["", "../up"], "progres": 1},
        "depth": 1.0,
    }
    in_common = {
        "timeout: must be a finite number > 0, found -1.0",
        "env_vars['A=B']: is no name for a variable",
        "env_vars['N']: must be a string",
        "env_vars['NUL']: holds what no operating system takes, such as a NUL character",
        "env_vars['']: is no name for a variable",
        "leftovers: must be one of 'kill', 'wait', 'leave', found 'keep'",
        "require[1]: must be a name, found ''",
        "require[2]: must be a name, found 3",
        "rules.progres: OutputRules has no such option; did you mean 'progress'?",
        "rules.fatal[0]: must be a table of options of OutputPattern, found 5",
        "rules.fatal[1].regex: is no regular expression: missing ), unterminated subpattern at position 0 in '('",
        "rules.required_files[0]: must be a file name or glob below the workspace, found ''",
        "rules.required_files[1]: must stay below the workspace, found '../up'",
    }

    made = _problems(lambda: WaveConfig(**wrong))
    structured = _problems(lambda: structure_config({**wrong, "timeou": 1, "levels": "1"}, WaveConfig))

    assert set(made) == in_common
    assert set(structured) == in_common | {
        "timeou: WaveConfig has no such option; did you mean 'timeout'?",
        "levels: must be a list, found '1'",
    }


def test_an_unknown_keyword_is_pythons_own_error_where_python_sees_it_first() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'timeou'"):
        BackendConfig(timeou=1)  # type: ignore[call-arg]


def test_a_config_of_a_plugin_author_may_have_positional_options() -> None:
    @attrs.frozen
    class Positional(BackendConfig):
        depth: float = attrs.field(default=1.0, validator=fields.positive)
        width: float = attrs.field(default=1.0, validator=fields.positive)

    assert Positional(2.0, timeout=5).depth == 2.0
    assert set(_problems(lambda: Positional(-2.0, -3.0, timeout=-5))) == {
        "depth: must be a finite number > 0, found -2.0",
        "width: must be a finite number > 0, found -3.0",
        "timeout: must be a finite number > 0, found -5.0",
    }


def test_a_config_is_frozen_and_does_not_change_with_what_it_was_made_of() -> None:
    env_vars, words = {"A": "1"}, ["a"]
    config = WaveConfig(env_vars=env_vars, command=words)

    env_vars["B"] = "2"
    words.append("b")

    assert config.env_vars == {"A": "1"}
    assert config.command == ("a",)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.timeout = 1.0  # type: ignore[misc]


def test_a_config_survives_pickling_copying_and_evolving() -> None:
    config = WaveConfig(env_vars={"A": "1"}, rules={"fatal": "ERROR"}, command=["a"])

    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config
    assert attrs.evolve(config, timeout=5).timeout == 5.0


# Rules.


def test_a_single_item_stands_for_a_list_of_it() -> None:
    rules = OutputRules(required_files="*.nc", fatal="ERROR", success={"regex": "END"}, progress="(?P<percent>.)%")

    assert rules == OutputRules(
        required_files=("*.nc",),
        fatal=(OutputPattern(regex="ERROR"),),
        success=[OutputPattern(regex="END", file=None)],
        progress=ProgressPattern(regex="(?P<percent>.)%"),
    )
    assert OutputRules(fatal=OutputPattern(regex="a")).fatal == (OutputPattern(regex="a"),)


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"required_files": 5}, "required_files: must be a list, found 5"),
        ({"forbidden_files": [5]}, "forbidden_files[0]: must be a file name or glob below the workspace, found 5"),
        ({"forbidden_files": "/etc/passwd"}, "forbidden_files[0]: must stay below the workspace, found '/etc/passwd'"),
        ({"forbidden_files": "."}, "forbidden_files[0]: must stay below the workspace, found '.'"),
        (
            {"required_files": "a**/b"},
            "required_files[0]: must have '**' only as a whole part of a path, found 'a**/b'",
        ),
        ({"fatal": ""}, "fatal[0].regex: must be a regular expression, found ''"),
        ({"fatal": {"file": "log"}}, "fatal[0].regex: is required"),
        ({"fatal": [{"regex": "a", "file": "../log"}]}, "fatal[0].file: must stay below the workspace, found '../log'"),
        ({"success": {"regex": 3}}, "success[0].regex: must be a string, found 3"),
        (
            {"progress": "(?P<percentage>.)"},
            "progress.regex: must have a named group 'percent', 'current' or 'date': '(?P<percentage>.)'",
        ),
        ({"progress": 3}, "progress: must be a table of options of ProgressPattern, found 3"),
        (
            {"progress": {"regex": "(?P<date>.)", "start": "soon"}},
            "progress.start: must be a date and time such as 2024-05-14T00:00:00, found 'soon'",
        ),
        ({"progress": {"regex": "(?P<date>.)", "end": 5}}, "progress.end: must be a date and time, found 5"),
        (
            {"progress": {"regex": "(?P<current>.)", "total": 0}},
            "progress.total: must be a finite number > 0, found 0.0",
        ),
        ({"progress": {"regex": "(?P<date>.)", "date_format": ""}}, "progress.date_format: must be text, found ''"),
        (
            {"progress": {"regex": "(?P<date>.)", "date_format": "%d.%m. %%Y"}},
            (
                "progress.date_format: must tell the year (%Y), or no date can be placed between two others; "
                "found '%d.%m. %%Y'"
            ),
        ),
        ({"on_fatal": "explode"}, "on_fatal: must be one of 'stop', 'fail', found 'explode'"),
        ({"ignore_exit_code": "no"}, "ignore_exit_code: must be true or false, found 'no'"),
        ({"fatal": "a{99999999999}"}, None),
        ({"fatal": "(" * 5000 + ")" * 5000}, None),
    ],
)
def test_a_wrong_rule_is_refused_with_its_path(rules: dict[str, Any], problem: str | None) -> None:
    found = _problems(lambda: BackendConfig(rules=rules))

    assert len(found) == 1
    if problem is not None:
        assert found == (f"rules.{problem}",)
        assert _problems(lambda: OutputRules(**rules)) == (problem,)


def test_rules_are_taken_as_they_are_as_a_table_by_a_presets_name_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PRESETS, "wavewatch", {"fatal": "ERROR"})  # type: ignore[misc]
    rules = OutputRules(fatal="ERROR")

    assert BackendConfig(rules=rules).rules is rules
    assert as_rules({"fatal": "ERROR"}) == as_rules("wavewatch") == rules
    assert as_rules(None) == OutputRules()


def test_an_unknown_preset_lists_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "wavewatch", {})  # type: ignore[misc]

    (problem,) = _problems(lambda: BackendConfig(rules="wavewach"))

    assert problem.startswith("rules: no preset is called 'wavewach'; did you mean 'wavewatch'?; known: ")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2024-05-14T06:00:00", datetime(2024, 5, 14, 6, tzinfo=None)),  # noqa: DTZ001 - as given
        ("2024-05-14T06:00:00Z", datetime(2024, 5, 14, 6, tzinfo=UTC)),
        (date(2024, 5, 14), datetime(2024, 5, 14)),  # noqa: DTZ001 - as TOML and YAML give it
        (None, None),
    ],
)
def test_the_dates_of_a_progress_may_be_text_or_dates(given: object, expected: datetime | None) -> None:
    assert ProgressPattern(regex="(?P<date>.)", start=given).start == expected  # type: ignore[arg-type]


# Secrets.


def test_the_values_of_variables_are_in_no_repr_and_no_error() -> None:
    config = WaveConfig(env_vars={"TOKEN": CANARY, "A": CANARY})
    wrong: list[Any] = [{"TOKEN": [CANARY]}, {"TOKEN": f"{CANARY}\0"}, {3: CANARY}, [CANARY], CANARY, {"A=": CANARY}]

    errors = [_outcome(lambda value=value: WaveConfig(env_vars=value)) for value in wrong]
    errors += [_outcome(lambda value=value: structure_config({"env_vars": value}, WaveConfig)) for value in wrong]

    assert {type(error) for error in errors} == {ConfigError}
    assert "env_vars=<names: ['A', 'TOKEN']>" in repr(config)
    for text in (repr(config), str(masked_config(config)), *(f"{error}{error!r}" for error in errors)):
        assert CANARY not in text


def test_the_masked_config_has_the_names_of_variables_only() -> None:
    config = WaveConfig(env_vars={"TOKEN": CANARY, "A": "1"})

    assert masked_config(config) == {**unstructure_config(config), "env_vars": ["A", "TOKEN"]}


# Whatever comes.


def _whole(most: int) -> st.SearchStrategy[int]:
    return st.integers(1, most)


def _rules() -> st.SearchStrategy[Any]:
    globs = st.sampled_from(["*.nc", "out/*", "ERROR", "a b", "[x]?.log"])
    regex = st.text(min_size=1, max_size=5).map(re.escape) | st.sampled_from(["^a+$", "(?i)error", r"\d+ [A-Z]"])
    pattern = regex | st.fixed_dictionaries({"regex": regex}, optional={"file": globs | st.none()})
    patterns = pattern | st.lists(pattern, max_size=3)
    moments = st.datetimes().map(datetime.isoformat) | st.datetimes(timezones=st.just(UTC)) | st.dates()
    progress = st.fixed_dictionaries(
        {"regex": st.sampled_from(["(?P<percent>.+)%", "(?P<current>.)/(?P<total>.)", "(?P<date>.+)"])},
        optional={"file": globs, "total": _whole(99), "date_format": st.just("%Y"), "start": moments, "end": moments},
    )
    return st.none() | st.fixed_dictionaries(
        {},
        optional={
            "required_files": globs | st.lists(globs, max_size=2),
            "forbidden_files": globs | st.tuples(globs, globs),
            "fatal": patterns,
            "success": patterns,
            "progress": st.none() | progress | st.just("(?P<percent>.)"),
            "on_fatal": st.sampled_from(["stop", "fail"]),
            "ignore_exit_code": st.booleans(),
        },
    )


def _options() -> st.SearchStrategy[dict[str, Any]]:
    seconds = st.floats(1e-6, 1e9) | _whole(10**9)
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=5)
    size = st.none() | _whole(2**40) | st.sampled_from(["4g", "1.5 MiB", "7b"])
    return st.fixed_dictionaries(
        {},
        optional={
            "timeout": st.none() | seconds,
            "grace_s": seconds | st.just(0),
            "env_vars": st.dictionaries(text.filter(lambda name: "=" not in name), text | st.just(""), max_size=3),
            "working_dir": st.none() | text,
            "stall_timeout": st.none() | seconds,
            "memory": size,
            "rules": _rules(),
            "leftovers": st.sampled_from(["kill", "wait", "leave"]),
            "log_size_limit": size,
            "require": st.lists(text, max_size=2),
            "stream_output": st.booleans(),
            "command": st.lists(text, max_size=3),
            "depth": st.floats(allow_nan=False) | st.integers(-99, 99),
            "mode": st.sampled_from(["serial", "mpi"]),
            "levels": st.lists(st.integers(), max_size=3),
            "bathymetry": st.none() | text,
            "start": st.none() | st.datetimes().map(datetime.isoformat),
            "step": st.none() | st.integers(-9999, 9999),
            "watch": st.lists(st.fixed_dictionaries({"regex": st.just("a")}), max_size=2),
            "tables": st.dictionaries(text, st.lists(st.floats(-9, 9), max_size=2), max_size=2),
        },
    )


@settings(max_examples=50, deadline=None)
@given(options=_options())
def test_structure_unstructure_structure_is_the_identity(options: dict[str, Any]) -> None:
    config = structure_config(options, WaveConfig)

    plain = unstructure_config(config)

    assert structure_config(plain, WaveConfig) == config
    assert unstructure_config(structure_config(plain, WaveConfig)) == plain
    assert structure_config(json.loads(json.dumps(plain)), WaveConfig) == config
    assert structure_config(config, WaveConfig) is config


@settings(max_examples=40, deadline=None)
@given(options=_options())
def test_keywords_give_the_same_as_a_table(options: dict[str, Any]) -> None:
    typed = {"levels", "bathymetry", "start", "step", "watch", "tables", "depth"}  # no converter: as Python has them
    common = {name: value for name, value in options.items() if name not in typed}

    assert WaveConfig(**common) == structure_config(common, WaveConfig)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_input_makes_anything_but_a_config_or_a_config_error(
    junk: st.SearchStrategy[object], data: st.DataObject
) -> None:
    names = st.sampled_from([field.name for field in attrs.fields(WaveConfig)])
    rules = st.dictionaries(st.sampled_from([field.name for field in attrs.fields(OutputRules)]), junk, max_size=3)
    tables = st.dictionaries(names, junk, max_size=4) | rules.map(lambda found: {"rules": found})
    options = data.draw(junk | tables)

    outcomes = [_outcome(lambda: structure_config(options, WaveConfig))]
    if isinstance(options, dict) and set(options) <= {field.name for field in attrs.fields(BackendConfig)}:
        outcomes.append(_outcome(lambda: BackendConfig(**options)))

    for outcome in outcomes:
        assert isinstance(outcome, BackendConfig) or outcome.problems


def _outcome(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ConfigError as exc:
        return exc


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=12) | st.from_regex(r"\A\s*\d{0,3}(\.\d{0,3})?\s*[bkmgtiBKMGT]{0,3}\s*\Z"))
def test_a_size_is_a_whole_number_of_bytes_or_a_value_error(text: str) -> None:
    try:
        size = fields.to_bytes(text)
    except ValueError:
        size = None

    assert size is None or (type(size) is int and size >= 0)


@settings(max_examples=100, deadline=None)
@given(value=st.floats() | st.integers() | st.timedeltas() | st.none() | st.booleans() | st.just(10**400))
def test_a_number_of_seconds_is_a_duration_or_left_to_the_validator(value: object) -> None:
    found = fields.to_timedelta(value)

    assert found is value or isinstance(found, timedelta)
