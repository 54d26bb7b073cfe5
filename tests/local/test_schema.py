from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import schemas

from rompy_core import config_schema
from rompy_local import LocalConfig

IS_ACCEPTED = schemas.accepts(LocalConfig)
IS_ACCEPTED_WITHOUT_FORMATS = schemas.accepts(LocalConfig, checks_formats=False)

TEXTS = {**schemas.TEXTS, "rompy-signal": st.sampled_from(["SIGTERM", "term", "Sigusr1", "INT"])}

SECONDS = st.sampled_from([None, 1, 0.5, 3600, 0, -1])
COUNTS = st.sampled_from([None, 1, 4, 2**63 - 1, 0])
SIZES = st.from_regex(r"\s?[0-9.]{1,4} ?[kmgtiBb]{0,3}\s?", fullmatch=True) | COUNTS
PATHS = st.sampled_from([None, "a", "a/b", "/", "."])
PATH_LISTS = st.lists(PATHS, max_size=2)
NEAR_VALID = schemas.near_valid(
    {
        "timeout": SECONDS,
        "grace_s": SECONDS,
        "env_vars": st.dictionaries(st.text(max_size=2), st.text(max_size=2) | st.none(), max_size=2),
        "working_dir": PATHS,
        "memory": SIZES,
        "rules": st.sampled_from(["swan", "swann", {"fatal": "ERROR"}, {"fatal": "("}, {"progres": None}]),
        "leftovers": st.sampled_from(["kill", "wait", "leave"]),
        "command": st.text("a \n'", max_size=4) | st.lists(st.text("a ", max_size=2), max_size=3),
        "inherit_env": st.sampled_from(["all", "none", ["PATH"], [], "some"]),
        "cpu": COUNTS,
        "cpu_time_limit": SECONDS,
        "max_processes": COUNTS,
        "stack_limit": SIZES | st.just("unlimited"),
        "file_size_limit": SIZES,
        "nice": st.integers(-1, 20),
        "stop_signal": st.sampled_from(
            ["TERM", "SIGTERM", "sigint", "KILL", "SIGSIGTERM", "\u017fIGTERM", "15", " TERM"]
        ),
        "isolation": st.sampled_from(["bwrap", "bwrap", None, "docker"]),
        "writable": PATH_LISTS,
        "read_only": PATH_LISTS,
        "network": st.booleans(),
        "cgroup": PATHS,
        "measure_pss": st.booleans(),
        "sample_interval_s": SECONDS,
    }
)


@settings(max_examples=60, deadline=None)
@given(data=schemas.from_schema(LocalConfig, TEXTS))
def test_what_the_schema_describes_is_a_config(data: dict[str, Any]) -> None:
    assert schemas.is_structured(data, LocalConfig)


@settings(max_examples=300, deadline=None)
@given(data=NEAR_VALID)
def test_the_schema_accepts_what_the_structuring_accepts(data: dict[str, Any]) -> None:
    is_config = schemas.is_structured(data, LocalConfig)

    assert IS_ACCEPTED(data) == is_config
    assert IS_ACCEPTED_WITHOUT_FORMATS(data) or not is_config


@pytest.mark.parametrize("option", config_schema(LocalConfig)["properties"])
def test_each_option_is_judged_alike_at_the_edges(option: str) -> None:
    tables = [{option: value} for value in schemas.EDGES]

    assert [data for data in tables if IS_ACCEPTED(data) != schemas.is_structured(data, LocalConfig)] == []


@pytest.mark.parametrize(
    ("data", "is_config"),
    [
        ({"memory": "4g"}, True),
        ({"memory": 0}, False),
        ({"memory": "0g"}, False),
        ({"memory": 4.0}, False),
        ({"stop_signal": "term"}, True),
        ({"stop_signal": "KILL"}, False),
        ({"writable": ["a"]}, False),
        ({"writable": ["a"], "isolation": "bwrap"}, True),
        ({"writable": ["a"], "isolation": None}, False),
        ({"isolation": "bwrap", "leftovers": "wait"}, False),
        ({"isolation": "bwrap", "network": False}, True),
        ({"network": False}, False),
        ({"commands": "a"}, False),
        ({"stack_limit": "unlimited"}, True),
        ({"inherit_env": ["PATH"], "nice": 19}, True),
    ],
    ids=str,
)
def test_the_rules_of_a_local_run_are_in_the_schema(data: dict[str, Any], *, is_config: bool) -> None:
    assert IS_ACCEPTED(data) is is_config
    assert schemas.is_structured(data, LocalConfig) is is_config


def test_an_editor_that_knows_no_format_sees_most_mistakes_too() -> None:
    wrong: list[dict[str, Any]] = [
        {"memory": "4 gallons"}, {"memory": 0}, {"cpu": 1.5}, {"rules": "swann"}, {"leftovers": "keep"},
        {"network": False}, {"timeout": -1}, {"env_vars": {"A=": "b"}}, {"command": []}, {"nice": 20},
    ]  # fmt: skip

    assert not any(map(IS_ACCEPTED_WITHOUT_FORMATS, wrong))
