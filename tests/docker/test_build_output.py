"""What a build says: all of it in a file without its secrets, its end in the reason, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rompy_docker._build_output import BuildOutput, Mask
from rompy_docker._engine import EngineError

SECRET = "hunter2hunter2"


def saved(path: Path, parts: Iterable[str], *secrets: str) -> str:
    with BuildOutput(path, Mask(secrets)) as output:
        for part in parts:
            output.take({"stream": part})
    return path.read_text()


@given(st.lists(st.text("ab\n", max_size=5), max_size=8))
@settings(max_examples=50, deadline=None)
def test_what_has_no_secret_is_saved_as_it_comes(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    path = tmp_path_factory.mktemp("output") / "log"

    assert saved(path, parts, "secret") == "".join(parts)


@pytest.mark.parametrize(
    "parts",
    [
        [f"a {SECRET} b\n"],
        [f"a {SECRET[:5]}", f"{SECRET[5:]} b"],
        list(f"a {SECRET} b"),
        [f"a {SECRET[:5]}", "\x1b[91m", f"{SECRET[5:]} b\x1b[0m"],
        [f"{SECRET}\n", SECRET],
        [json.dumps({"token": SECRET}), quote_plus(json.dumps({"token": SECRET}))],
        ["x" * (2**16 - 7), SECRET, "x" * 2**16],
        ["x" * (2**16 + 10) + SECRET[:5], SECRET[5:]],
    ],
    ids=["whole", "in two", "in letters", "coloured", "twice", "encoded", "across a long line", "at its cut"],
)
def test_a_secret_is_not_saved_however_it_comes(tmp_path: Path, parts: list[str]) -> None:
    text = saved(tmp_path / "log", parts, SECRET)

    assert SECRET not in text
    assert "<secret>" in text


@pytest.mark.parametrize("secret", ["two words", 'quo"te', "a&b=c d", "first line\nsecond line", "päss wörd"])
def test_a_secret_is_not_saved_in_another_form(tmp_path: Path, secret: str) -> None:
    forms = [secret, json.dumps(secret), quote_plus(secret), quote_plus(json.dumps(secret)), *secret.splitlines()]

    text = saved(tmp_path / "log", [f"{form}\n" for form in forms], secret)

    assert not [form for form in forms if form.strip('"') in text]


def test_what_is_too_short_for_a_secret_is_left_alone(tmp_path: Path) -> None:
    assert saved(tmp_path / "log", ["make -j 8\n"], "8", "") == "make -j 8\n"


def test_a_line_without_end_is_saved_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with BuildOutput(path, Mask([SECRET])) as output:
        for _ in range(100):
            output.take({"stream": "x" * 10_000})
        waiting = 1_000_000 - path.stat().st_size

    assert 0 < waiting < 100_000
    assert path.read_text() == "x" * 1_000_000


def test_the_reason_has_the_step_the_error_and_the_last_lines_of_the_step(tmp_path: Path) -> None:
    with BuildOutput(tmp_path / "log", Mask([SECRET])) as output:
        output.take({"stream": "Step 1/3 : FROM a\n ---> 0123\nfrom another step\n"})
        output.take({"stream": f"Step 2/3 : RUN use {SECRET}"})
        output.take({"stream": "\n ---> Running in 0123\n"})
        for number in range(20):
            output.take({"stream": f"line {number}\n"})
        output.take({"stream": f"the end {SECRET}"})
        reason = output.failure(f"it failed with {SECRET}\n")

    last = "line 16 | line 17 | line 18 | line 19 | the end <secret>"
    assert reason == f"at 'Step 2/3 : RUN use <secret>': it failed with <secret>; its last lines: {last}"
    assert (tmp_path / "log").read_text().endswith("the end <secret>\nit failed with <secret>\n")


def test_a_failure_without_a_step_is_what_the_engine_says(tmp_path: Path) -> None:
    with BuildOutput(tmp_path / "log", Mask([])) as output:
        assert output.failure("dockerfile parse error") == "dockerfile parse error"


def test_a_file_that_cannot_be_written_is_named() -> None:
    with (
        pytest.raises(EngineError, match="cannot be written to '/dev/full': No space left on device"),
        BuildOutput(Path("/dev/full"), Mask([])) as output,
    ):
        output.take({"stream": "x\n"})
