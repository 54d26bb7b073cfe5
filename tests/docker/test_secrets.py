"""Values of environment variables and of build arguments appear in no file, log line, ``repr`` or error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rompy_core import ConfigError, ModelRun, RunHandle, RunReport, StartError
from rompy_docker import DockerConfig

Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]

CANARY = "canary-5f2b"


@pytest.fixture
def is_kept_secret(model_run: ModelRun, caplog: pytest.LogCaptureFixture) -> Callable[..., None]:
    """Look for the secret in all that was written and said."""
    caplog.set_level(logging.DEBUG)

    def look(*things: object) -> None:
        for record in caplog.records:
            assert CANARY not in f"{record.getMessage()} {record.__dict__} {record.exc_info}"
        assert CANARY not in caplog.text
        for thing in things:
            assert CANARY not in f"{thing} {thing!r}"
        for path in model_run.output_dir.rglob("*"):
            assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path

    return look


def test_of_a_run_that_succeeds(run: Run, is_kept_secret: Callable[..., None], model_run: ModelRun) -> None:
    report = run(["sh", "-c", 'test -n "$SECRET"'], env_vars={"SECRET": CANARY, "DEPTH": "3"})

    assert report.ok, report
    assert report.options["env_vars"] == ["DEPTH", "SECRET"]
    is_kept_secret(report, model_run)


def test_of_a_run_that_fails(run: Run, is_kept_secret: Callable[..., None]) -> None:
    report = run("false", env_vars={"SECRET": CANARY}, stream_output=True)

    assert not report.ok
    is_kept_secret(report)


def test_of_a_run_that_cannot_be_started(submit: Submit, is_kept_secret: Callable[..., None]) -> None:
    with pytest.raises(StartError) as caught:
        submit("no-such-program", env_vars={"SECRET": CANARY})

    is_kept_secret(caught.value, caught.value.report, *_chain(caught.value))


def test_where_the_engine_refuses_the_container(submit: Submit, is_kept_secret: Callable[..., None]) -> None:
    with pytest.raises(StartError) as caught:
        submit("true", env_vars={"SECRET": CANARY}, network="container:no-such-container")

    is_kept_secret(caught.value, caught.value.report, *_chain(caught.value))


def test_of_a_build_that_fails(
    submit: Submit, is_kept_secret: Callable[..., None], tmp_path: Path, images: Any
) -> None:
    (tmp_path / "Dockerfile").write_text(
        f'FROM {images.busybox}\nARG TOKEN\nRUN test -n "$TOKEN" && echo the token is $TOKEN && false\n'
    )

    with pytest.raises(StartError) as caught:
        submit(
            "true", image=None, dockerfile=tmp_path / "Dockerfile", build_args={"TOKEN": CANARY},
            env_vars={"SECRET": CANARY},
        )  # fmt: skip

    is_kept_secret(caught.value, caught.value.report, *_chain(caught.value))


def test_of_options_that_are_wrong() -> None:
    with pytest.raises(ConfigError) as caught:
        DockerConfig(image="x", env_vars={"SECRET": CANARY}, build_args={"TOKEN": CANARY}, cpu=0)

    assert CANARY not in f"{caught.value} {caught.value!r}"


def test_of_the_options_themselves() -> None:
    config = DockerConfig(dockerfile="Dockerfile", env_vars={"SECRET": CANARY}, build_args={"TOKEN": CANARY})

    assert CANARY not in f"{config} {config!r}"
    assert "SECRET" in repr(config)
    assert "TOKEN" in repr(config)


def _chain(exc: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while exc is not None:
        found.append(exc)
        exc = exc.__cause__ or exc.__context__
    return found
