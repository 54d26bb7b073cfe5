from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_core import ConfigError, structure_config, unstructure_config
from rompy_docker import DockerConfig
from rompy_docker._config import split_words

CANARY = "canary-9Kx"
WORDS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1)


def _problems(**options: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        DockerConfig(**options)
    return caught.value.problems


def test_the_calls_of_the_document_are_configs() -> None:
    ready = DockerConfig(
        image="rompy/schism:latest",
        executable="/usr/local/bin/schism",
        cpu=4,
        volumes=["./data:/data:ro"],
        env_vars={"MODEL_CONFIG": "production"},
    )
    built = DockerConfig(
        dockerfile="./docker/Dockerfile",
        build_args={"MODEL_VERSION": "1.0.0"},
        executable="/usr/local/bin/model",
        mpiexec="mpiexec",
        cpu=8,
    )

    assert ready.argv() == ["/usr/local/bin/schism"]
    assert built.argv() == ["mpiexec", "-n", "8", "/usr/local/bin/model"]


def test_an_executable_is_split_as_a_shell_would() -> None:
    assert DockerConfig(image="x", executable="'/opt/my model/run' -n 2 \"a b\" c\\ d").argv() == [
        "/opt/my model/run", "-n", "2", "a b", "c d",
    ]  # fmt: skip


@pytest.mark.parametrize("line", ["a; b", "a ;b", "a && b", "a | b", "a > out", "a <in", "a &", "(a)", "a;b"])
def test_a_line_that_needs_a_shell_is_refused_with_the_way_to_get_one(line: str) -> None:
    (problem,) = _problems(image="x", executable=line)

    assert problem.startswith("executable: is run without a shell")
    assert "['sh', '-c', ...]" in problem


@pytest.mark.parametrize("line", ["a ';'", 'a "x|y"', "a '&&' b", "a 'x > y'"])
def test_a_quoted_operator_is_a_word(line: str) -> None:
    assert DockerConfig(image="x", executable=line).argv()[0] == "a"


@given(
    st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1), min_size=1)
)
def test_a_list_of_words_is_run_as_it_is(words: list[str]) -> None:
    assert DockerConfig(image="x", executable=words).argv() == words


@given(st.text())
def test_any_line_is_words_or_a_value_error(line: str) -> None:
    try:
        words = split_words(line)
    except ValueError:
        return

    assert words


def test_mpiexec_may_have_options_of_its_own() -> None:
    config = DockerConfig(image="x", executable="model", mpiexec="mpirun --bind-to none", cpu=3)

    assert config.argv() == ["mpirun", "--bind-to", "none", "-n", "3", "model"]


def test_the_model_runs_own_command_stands_in_for_an_executable() -> None:
    assert DockerConfig(image="x").argv("./model -v") == ["./model", "-v"]
    assert DockerConfig(image="x").argv(["./model", "a b"]) == ["./model", "a b"]
    assert DockerConfig(image="x", executable="other").argv("./model") == ["other"]
    assert DockerConfig(image="x").argv() == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "image: either an image or a dockerfile is required, found neither"),
        ({"image": "x", "dockerfile": "y"}, "image: either an image or a dockerfile is required, found both"),
        ({"image": "x", "build_args": {"A": "1"}}, "build_args: needs a dockerfile"),
        ({"image": "x", "build_context": "."}, "build_context: needs a dockerfile"),
        ({"image": "x", "mpiexec": "mpirun"}, "cpu: is required with mpiexec"),
        ({"image": "x", "leftovers": "leave"}, "leftovers: must be 'kill'"),
        ({"image": "x", "memory": "1m"}, "memory: must be at least 6m"),
        ({"image": "two words"}, "image: must be the name of an image"),
        ({"image": "x", "cpu": 0}, "cpu: must be a whole number > 0"),
        ({"image": "x", "cpu": 1.5}, "cpu: "),
        ({"image": "x", "volumes": ["./data:/data:or"]}, "volumes[0]: unknown option 'or'"),
        ({"image": "x", "volumes": "./data:/data"}, "volumes: must be a list of names"),
        ({"image": "x", "user": "a b"}, "user: must be 'uid:gid'"),
        ({"image": "x", "workspace_mount": "run"}, "workspace_mount: must be an absolute path"),
        ({"image": "x", "workspace_mount": "/"}, "workspace_mount: must be an absolute path"),
        ({"image": "x", "pull": "sometimes"}, "pull: must be one of"),
        ({"image": "x", "ulimits": {"stack": "8m"}}, "ulimits['stack']: must be a whole number"),
        ({"image": "x", "ulimits": {"a b": 1}}, "ulimits['a b']: is no name of a limit"),
        ({"image": "x", "gpus": 0}, "gpus: must be a whole number > 0"),
        ({"image": "x", "gpus": "some"}, "gpus: must be a whole number > 0"),
        ({"image": "x", "executable": ""}, "executable: "),
        ({"image": "x", "executable": "a 'b"}, "executable: cannot be split into words"),
        ({"image": "x", "env_vars": {"A": 1}}, "env_vars['A']: must be a string"),
        ({"image": "x", "no_such": 1}, "no_such"),
    ],
)
def test_what_is_wrong_is_said_with_its_name(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        structure_config(options, DockerConfig)

    assert any(problem in line for line in caught.value.problems), caught.value.problems


def test_every_problem_is_said_at_once() -> None:
    problems = _problems(image="x", cpu=0, pull="sometimes", volumes=["a", "/b:/c"])

    assert len(problems) == 3


def test_values_of_variables_and_build_arguments_are_shown_nowhere() -> None:
    config = DockerConfig(dockerfile="Dockerfile", env_vars={"TOKEN": CANARY}, build_args={"KEY": CANARY})

    assert CANARY not in repr(config)
    assert "TOKEN" in repr(config)
    assert "KEY" in repr(config)


def test_a_config_survives_every_trip() -> None:
    config = DockerConfig(
        image="x@sha256:0", executable=["a", "b c"], mpiexec="mpirun", cpu=2, volumes=["./d:/d:ro,z"], memory="4g",
        ulimits={"stack": "unlimited", "nofile": 1024}, gpus=["0", "1"], shm_size="64m", user="1000:1000",
        env_vars={"A": "1"}, engine="unix:///run/podman/podman.sock", platform="linux/amd64", rules="swan",
    )  # fmt: skip

    plain = json.loads(json.dumps(unstructure_config(config)))

    assert structure_config(plain, DockerConfig) == config
    assert pickle.loads(pickle.dumps(config)) == config
