from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import schemas

from rompy_core import config_schema
from rompy_slurm import SlurmConfig

IS_ACCEPTED = schemas.accepts(SlurmConfig)
IS_ACCEPTED_WITHOUT_FORMATS = schemas.accepts(SlurmConfig, checks_formats=False)

LINE = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)
TEXTS = {
    **schemas.TEXTS,
    "rompy-line": LINE,
    "rompy-mail-type": LINE,
    "rompy-sbatch-option": st.sampled_from(["--nice=100", "--hold", "--begin=now+1hour", "--mem-per-cpu=1G"]),
    "rompy-time-limit": st.from_regex(r"([0-9]{1,2}-)?[0-9]{1,3}:[0-5]?[0-9]:[0-5][1-9]", fullmatch=True),
}

SECONDS = st.sampled_from([None, 1, 0.5, 3600, 0, -1])
COUNTS = st.sampled_from([None, 1, 2, 4, 2**63 - 1, 0])
SIZES = st.from_regex(r"\s?[0-9.]{1,4} ?[kmgtiBb]{0,3}\s?", fullmatch=True) | COUNTS
TEXT = st.text("a '\n\x85\u2028", max_size=3) | st.none()
LINES = st.lists(TEXT, max_size=2)
NEAR_VALID = schemas.near_valid(
    {
        "timeout": SECONDS,
        "env_vars": st.dictionaries(
            st.sampled_from(["A", "a_1", "1a", "A-B", "UID", "RANDOM", "PATH", "A\n", "\u00e4"]),
            st.text(max_size=2) | st.none(),
            max_size=2,
        ),
        "memory": SIZES,
        "leftovers": st.sampled_from(["kill", "wait", "leave"]),
        "command": st.text("a \n'", max_size=4) | st.lists(st.text("a ", max_size=2), max_size=3),
        "partition": st.sampled_from(["a", "b", None, ""]),
        "queue": st.sampled_from(["a", "b", None, "\n"]),
        "nodes": COUNTS,
        "ntasks": COUNTS,
        "mem": SIZES,
        "time_limit": st.from_regex(r"([0-9]{1,2}-)?[0-9]{1,2}:[0-9]{0,2}(:[0-9]{1,2})?\n?", fullmatch=True) | SECONDS,
        "account": TEXT,
        "exclusive": st.booleans(),
        "job_name": TEXT,
        "mail_type": TEXT | LINES,
        "modules": LINES,
        "setup": LINES,
        "launcher": st.sampled_from(["none", "srun", "mpirun", "aprun", None]),
        "launcher_args": LINES,
        "additional_options": st.lists(
            st.sampled_from(
                ["--nice=1", "--hold", "--outp=x", "--output=x", "--o", "-p x", "--x=a\nb", "--x=\u2028", "--n\n"]
            ),
            max_size=2,
        ),
        "queue_timeout": SECONDS,
        "export": st.sampled_from(["ALL", "NONE", "all"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(data=schemas.from_schema(SlurmConfig, TEXTS))
def test_what_the_schema_describes_is_a_config(data: dict[str, Any]) -> None:
    assert schemas.is_structured(data, SlurmConfig)


@settings(max_examples=400, deadline=None)
@given(data=NEAR_VALID)
def test_the_schema_accepts_what_the_structuring_accepts(data: dict[str, Any]) -> None:
    is_config = schemas.is_structured(data, SlurmConfig)

    assert IS_ACCEPTED(data) == is_config
    assert IS_ACCEPTED_WITHOUT_FORMATS(data) or not is_config


@pytest.mark.parametrize("option", config_schema(SlurmConfig)["properties"])
def test_each_option_is_judged_alike_at_the_edges(option: str) -> None:
    tables = [{option: value} for value in schemas.EDGES]

    assert [data for data in tables if IS_ACCEPTED(data) != schemas.is_structured(data, SlurmConfig)] == []


@pytest.mark.parametrize(
    ("data", "is_config"),
    [
        ({}, True),
        ({"time_limit": "2-00:00:00"}, True),
        ({"time_limit": "00:00:00"}, False),
        ({"time_limit": f"{'9' * 400}:00:00"}, False),
        ({"mem": "4g", "memory": "3g", "nodes": 1}, True),
        ({"memory": "3g", "nodes": 2}, False),
        ({"memory": None, "nodes": 2}, True),
        ({"memory": "3g", "nodes": None}, True),
        ({"leftovers": "leave"}, False),
        ({"queue": "a", "partition": "a"}, True),
        ({"queue": "a", "partition": "b"}, False),
        ({"queue": None, "partition": "b"}, True),
        ({"launcher_args": ["-n"]}, False),
        ({"launcher_args": ["-n"], "launcher": "none"}, False),
        ({"launcher_args": ["-n"], "launcher": "srun"}, True),
        ({"launcher_args": []}, True),
        ({"env_vars": {"DEPTH_2": "3"}}, True),
        ({"env_vars": {"2DEPTH": "3"}}, False),
        ({"env_vars": {"OPTIND": "3"}}, False),
        ({"additional_options": ["--nice=100"]}, True),
        ({"additional_options": ["--output=x"]}, False),
        ({"additional_options": ["--outp=x"]}, False),
        ({"mail_type": "END"}, True),
        ({"mail_type": ["END", "FAIL"]}, True),
        ({"mail_type": ""}, False),
    ],
    ids=str,
)
def test_the_rules_of_a_job_are_in_the_schema(data: dict[str, Any], *, is_config: bool) -> None:
    assert IS_ACCEPTED(data) is is_config
    assert schemas.is_structured(data, SlurmConfig) is is_config


def test_an_editor_that_knows_no_format_sees_most_mistakes_too() -> None:
    wrong: list[dict[str, Any]] = [
        {"memory": "1g", "nodes": 2}, {"leftovers": "leave"}, {"launcher_args": ["-n"]}, {"launcher": "aprun"},
        {"env_vars": {"A-B": "x"}}, {"env_vars": {"UID": "1"}}, {"additional_options": ["-p x"]}, {"nodes": 0},
        {"time_limit": "1:00"}, {"setup": "ulimit -s unlimited"}, {"account": ""}, {"export": "all"},
    ]  # fmt: skip

    assert not any(map(IS_ACCEPTED_WITHOUT_FORMATS, wrong))
