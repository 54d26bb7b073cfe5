from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from rompy_core import RunRecord, RunState

Invoke = Callable[..., Result]
MakeRun = Callable[..., RunRecord]
Start = Callable[..., "subprocess.Popen[str]"]
Until = Callable[..., None]

HOSTILE = b"\x1b[2J\x1b]0;title\x07[bold]x\xff\x9b1m\r\nback\x08\rover \xe2\x80\xae\n"


def on_a_terminal(command: list[str]) -> bytes:
    """Run a command whose standard output is a terminal, and give what arrives there."""
    master, slave = pty.openpty()
    try:
        with subprocess.Popen(command, stdout=slave, stderr=subprocess.DEVNULL) as process:
            os.close(slave)
            arrived = b""
            while True:
                try:
                    piece = os.read(master, 2**16)
                except OSError:  # Linux's word for the end of a terminal
                    break
                if not piece:
                    break
                arrived += piece
            assert process.wait(20) == 0
    finally:
        os.close(master)
    return arrived


def test_each_stream_goes_to_its_own(make_run: MakeRun, invoke: Invoke) -> None:
    make_run("storm", stdout=b"out\n", stderr=b"err\n")

    both, only_out, only_err = (invoke("logs", "storm", *words) for words in ([], ["--stdout"], ["--stderr"]))

    assert (both.stdout, both.stderr) == ("out\n", "err\n")
    assert (only_out.stdout, only_out.stderr) == ("out\n", "")
    assert (only_err.stdout, only_err.stderr) == ("err\n", "")


def test_bytes_go_through_a_pipe_as_they_are(make_run: MakeRun, invoke: Invoke) -> None:
    make_run("storm", stdout=HOSTILE * 10_000)

    assert invoke("logs", "storm").stdout_bytes == HOSTILE * 10_000


def test_on_a_terminal_nothing_acts_unless_it_is_asked_for(make_run: MakeRun, rompyrun: str) -> None:
    record = make_run("storm", stdout=HOSTILE)
    command = [rompyrun, "logs", str(record.directory)]

    shown, raw = on_a_terminal(command), on_a_terminal([*command, "--raw"])

    lines = shown.decode().splitlines()
    assert lines == [r"\x1b[2J\x1b]0;title\x07[bold]x\xff\x9b1m", r"back\x08", r"over \u202e"]
    assert b"\x1b[2J" in raw


def test_json_is_one_document_with_both_streams(make_run: MakeRun, invoke: Invoke) -> None:
    make_run("storm", stdout="höhe\n".encode(), stderr=b"\xff\n")

    both, one = (json.loads(invoke("logs", "storm", "--json", *more).stdout) for more in ([], ["--stderr"]))

    assert (both["stdout"], both["stderr"]) == ("höhe\n", "\\xff\n")
    assert both["run"]["state"] == "COMPLETED"
    assert one.keys() == {"run", "stderr"}


def test_a_run_without_captured_output_has_none(make_run: MakeRun, invoke: Invoke) -> None:
    record = make_run("storm", RunState.NOT_STARTED)
    for name in ("stdout.log", "stderr.log"):
        (record.directory / name).unlink()

    results = [invoke("logs", "storm", *words) for words in ([], ["-f"])]

    assert [(result.exit_code, result.output) for result in results] == [(0, "")] * 2


def test_follow_passes_on_what_comes_and_ends_with_the_run(
    living_file: Path, start: Start, here: Path, until: Until
) -> None:
    run = start("run", living_file)
    until((here / "simulations/storm/ready").exists)
    follower = start("logs", "-f", "storm")
    as_json = start("logs", "-f", "storm", "--json")

    assert follower.stdout is not None
    first = follower.stdout.readline()
    assert follower.poll() is None
    (here / "simulations/storm/go").touch()
    rest, err = follower.communicate(timeout=20)
    documents = [json.loads(line) for line in as_json.communicate(timeout=20)[0].splitlines()]

    run.communicate(timeout=20)
    assert (first, rest, err) == ("first\n", "last\n", "oops\n")
    assert (run.returncode, follower.returncode, as_json.returncode) == (0, 0, 0)
    *lines, end = documents
    assert {"stream": "stderr", "text": "oops\n"} in lines
    assert [line["text"] for line in lines if line["stream"] == "stdout"] == ["first\n", "last\n"]
    assert end["end"]["state"] == "COMPLETED"


def test_a_line_that_never_ends_is_followed_in_pieces(make_run: MakeRun, invoke: Invoke) -> None:
    make_run("storm", stdout=b"x" * 200_000 + b"\nend")

    lines = [json.loads(line) for line in invoke("logs", "storm", "-f", "--json").stdout.splitlines()]

    texts = [line["text"] for line in lines if line.get("stream") == "stdout"]
    assert "".join(texts) == "x" * 200_000 + "\nend"
    assert max(map(len, texts)) < 200_000


def test_following_a_record_that_a_failed_pipeline_moves_away_ends_well(
    make_run: MakeRun, start: Start, here: Path
) -> None:
    record = make_run("storm", RunState.RUNNING, stdout=b"first\n")
    follower = start("logs", "-f", "storm")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "first\n"

    record.finish(RunState.FAILED, "it failed")
    kept = here / "simulations/.rompy-failed/storm" / record.directory.name
    kept.parent.mkdir(parents=True)
    record.directory.rename(kept)
    _, err = follower.communicate(timeout=20)

    assert (follower.returncode, err) == (0, "")


@pytest.mark.parametrize("words", ["logs storm", "logs storm -f", "ls --json", "logs storm --json"])
def test_a_reader_that_goes_away_is_no_reason_to_complain(
    words: str, make_run: MakeRun, rompyrun: str, here: Path
) -> None:
    make_run("storm", stdout=b"line\n" * 200_000, reason="r" * 300_000)
    script = f'"$0" {words} | head -n 1 >/dev/null; echo "${{PIPESTATUS[0]}}"'

    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # it hides broken pipes
    done = subprocess.run(
        ["bash", "-c", script, rompyrun], cwd=here, env=env, capture_output=True, text=True, timeout=30, check=False
    )

    assert (done.stdout, done.stderr) == ("141\n", "")
