from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import schemas

from rompy_core import config_schema
from rompy_docker import DockerConfig

IS_ACCEPTED = schemas.accepts(DockerConfig)
IS_ACCEPTED_WITHOUT_FORMATS = schemas.accepts(DockerConfig, checks_formats=False)

TEXTS = {
    **schemas.TEXTS,
    "rompy-image": st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3})?(:[a-z0-9]{1,3})?", fullmatch=True),
    "rompy-mount-point": st.from_regex(r"/[a-z]{1,3}(/\w)?", fullmatch=True),
    "rompy-volume": st.from_regex(r"[./]/[a-z ]{1,3}:/[a-z]{1,3}(:(ro|rw)(,z)?)?", fullmatch=True),
    "rompy-words": st.from_regex(r"[a-z/]{1,4}( -[a-z])?( \"[a-z ]\")?( '[;|]')?", fullmatch=True),
}

COUNTS = st.sampled_from([None, 1, 4, 2**63 - 1, 0])
SIZES = st.sampled_from(["6m", "5.9m", "6291456", "6291455b", 6291456, 6291455, "64m", None, "0"])
PATHS = st.sampled_from(["a", None, "."])
ARGUMENTS = st.dictionaries(st.text("A=\0", max_size=2), st.text(max_size=2) | st.none(), max_size=1)
NAMES = st.lists(st.text("A", max_size=2), max_size=2)
LINES = st.text("a '\"\\#;\n", max_size=5) | st.lists(st.text("a ;", max_size=2), max_size=2)
NEAR_VALID = schemas.near_valid(
    {
        "image": st.from_regex(r"[a-z:/@. \u00a0\n]{1,4}", fullmatch=True) | st.none(),
        "dockerfile": PATHS,
        "build_context": PATHS,
        "build_args": ARGUMENTS,
        "env_vars": ARGUMENTS,
        "executable": LINES,
        "mpiexec": LINES | st.none(),
        "cpu": COUNTS,
        "memory": SIZES,
        "shm_size": SIZES,
        "pids_limit": COUNTS,
        "leftovers": st.sampled_from(["kill", "wait"]),
        "rules": st.sampled_from(["swan", "swann", {"success": ["END"]}]),
        "volumes": st.lists(
            st.from_regex(r"[a./~_]{1,3}:[a./]{1,3}(:(ro|rw|z|Z|nocopy|slave|,)*)?", fullmatch=True), max_size=2
        ),
        "workspace_mount": st.from_regex(r"[a./:\n]{1,4}", fullmatch=True),
        "transfer": st.sampled_from(["auto", "mount", "copy", "send"]),
        "user": st.from_regex(r"[\wé.:\n-]{1,4}", fullmatch=True) | st.none(),
        "network": st.sampled_from(["none", "bridge", ""]),
        "pull": st.sampled_from(["missing", "always", "never", "sometimes"]),
        "platform": st.sampled_from(["linux/amd64", None, ""]),
        "ulimits": st.dictionaries(
            st.from_regex(r"[a-z\n]{1,3}", fullmatch=True),
            st.sampled_from([-2, -1, 0, 1.0, 2**63, "unlimited"]),
            max_size=2,
        ),
        "cap_drop": NAMES,
        "cap_add": NAMES,
        "gpus": st.sampled_from(["all", 1, 0, 1.0, None]) | NAMES,
        "engine": st.sampled_from(["unix:///run/docker.sock", None, ""]),
        "engine_timeout": st.sampled_from([1, 0, None, 0.5]),
        "init": st.booleans(),
    },
    {"image": "rompy/schism:latest"},
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(data=schemas.from_schema(DockerConfig, TEXTS))
def test_what_the_schema_describes_is_a_config(data: dict[str, Any]) -> None:
    assert schemas.is_structured(data, DockerConfig)


@settings(max_examples=400, deadline=None)
@given(data=NEAR_VALID)
def test_the_schema_accepts_what_the_structuring_accepts(data: dict[str, Any]) -> None:
    is_config = schemas.is_structured(data, DockerConfig)

    assert IS_ACCEPTED(data) == is_config
    assert IS_ACCEPTED_WITHOUT_FORMATS(data) or not is_config


@pytest.mark.parametrize("option", config_schema(DockerConfig)["properties"])
def test_each_option_is_judged_alike_at_the_edges(option: str) -> None:
    tables = [{"image": "x", option: value} for value in schemas.EDGES]
    tables += [{"dockerfile": "x", option: value} for value in schemas.EDGES]

    assert [data for data in tables if IS_ACCEPTED(data) != schemas.is_structured(data, DockerConfig)] == []


@pytest.mark.parametrize(
    ("data", "is_config"),
    [
        ({}, False),
        ({"image": "x"}, True),
        ({"image": None}, False),
        ({"image": "x", "dockerfile": "y"}, False),
        ({"image": "x", "dockerfile": None}, True),
        ({"dockerfile": "y", "build_context": ".", "build_args": {"A": "1"}}, True),
        ({"image": "x", "build_context": "."}, False),
        ({"image": "x", "build_args": {}}, True),
        ({"image": "x", "mpiexec": "mpirun"}, False),
        ({"image": "x", "mpiexec": None}, True),
        ({"image": "x", "mpiexec": "mpirun", "cpu": None}, False),
        ({"image": "x", "mpiexec": "mpirun", "cpu": 4}, True),
        ({"image": "x", "leftovers": "wait"}, False),
        ({"image": "x", "memory": "6m"}, True),
        ({"image": "x", "memory": "5m"}, False),
        ({"image": "x", "memory": 2**20}, False),
        ({"image": "x", "workspace_mount": "//"}, False),
        ({"image": "x", "volumes": ["./data://"]}, False),
        ({"image": "x", "ulimits": {"stack": "unlimited"}}, True),
        ({"image": "x", "executable": "a | b"}, False),
        ({"image": "x", "imag": "x"}, False),
    ],
    ids=str,
)
def test_the_rules_of_a_container_are_in_the_schema(data: dict[str, Any], *, is_config: bool) -> None:
    assert IS_ACCEPTED(data) is is_config
    assert schemas.is_structured(data, DockerConfig) is is_config


def test_secrets_are_for_writing_and_have_no_default() -> None:
    properties = config_schema(DockerConfig)["properties"]

    secrets = {name for name, schema in properties.items() if schema.get("writeOnly")}

    assert secrets == {"env_vars", "build_args"}
    assert not any("default" in properties[name] for name in secrets)
