"""What a command finds around it: input, output, environment, files; and what of it is left afterwards."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rompy_core import ModelRun, RunHandle, RunReport

Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def stdout(report: RunReport) -> str:
    assert report.stdout_path is not None
    return report.stdout_path.read_text()


def test_standard_input_is_empty(run: Run) -> None:
    report = run("cat; echo end")

    assert stdout(report) == "end\n"


def test_no_file_of_the_caller_is_inherited(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as mine:
        os.set_inheritable(mine.fileno(), True)
        report = run(python("import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:4])"))

    # The fourth is the directory that is being listed.
    assert stdout(report) == "[0, 1, 2, 3]\n"


def test_the_command_leads_a_session_of_its_own(run: Run) -> None:
    report = run(python("import os; print(os.getsid(0) == os.getpid() == os.getpgrp())"))

    assert stdout(report) == "True\n"


def test_signals_have_their_usual_effect(run: Run) -> None:
    ignored = "import re; print(re.search(r'SigIgn:\\s*(\\w+)', open('/proc/self/status').read())[1])"

    # Through a shell, for Python itself ignores some at its start.
    report = run("grep -E 'Sig(Ign|Blk)' /proc/self/status", env_vars={"X": ignored})

    assert [int(line.split()[1], 16) for line in stdout(report).splitlines()] == [0, 0]


def test_both_streams_are_kept_apart_byte_for_byte(run: Run) -> None:
    noise = bytes(range(256)) * 4096

    report = run(
        python(
            "import os, sys; b = bytes(range(256)) * 4096; sys.stdout.buffer.write(b); sys.stderr.buffer.write(b[::-1])"
        )
    )

    assert report.stdout_path is not None
    assert report.stderr_path is not None
    assert report.stdout_path.read_bytes() == noise
    assert report.stderr_path.read_bytes() == noise[::-1]


def test_a_tool_that_truncates_its_output_leaves_no_hole(run: Run) -> None:
    report = run("echo one; echo two > /dev/stdout; echo three")

    assert b"\0" not in (report.stdout_path or Path()).read_bytes()


@pytest.mark.parametrize(
    ("inherit_env", "expected"),
    [("all", ["a", "b"]), ("none", [None, None]), (["OURS_A"], ["a", None])],
)
def test_the_environment_is_what_the_config_says(
    run: Run, monkeypatch: pytest.MonkeyPatch, inherit_env: object, expected: list[object]
) -> None:
    monkeypatch.setenv("OURS_A", "a")
    monkeypatch.setenv("OURS_B", "b")
    source = "import json, os; print(json.dumps([os.environ.get(n) for n in ('OURS_A', 'OURS_B', 'OURS_C')]))"

    report = run(python(source), inherit_env=inherit_env, env_vars={"OURS_C": "two words; $(touch oops)"})

    assert json.loads(stdout(report)) == [*expected, "two words; $(touch oops)"]
    assert "OURS_C" in report.env_names
    assert "OURS_C" not in os.environ


def test_the_temporary_directory_is_private_and_removed(run: Run) -> None:
    report = run("echo $TMPDIR; mkdir -p $TMPDIR/a/b; echo x > $TMPDIR/a/b/c; ln -s / $TMPDIR/a/root; test -d $TMPDIR")

    directory = Path(stdout(report).strip())
    assert report.ok
    assert not directory.exists()


def test_the_private_temporary_directory_is_removed_when_the_command_does_not_start(
    submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))

    with pytest.raises(Exception, match="cannot be executed"):
        submit(["/no/such/program"])

    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_temporary_directory_that_was_given_is_kept(run: Run, tmp_path: Path) -> None:
    report = run("echo x > $TMPDIR/kept", env_vars={"TMPDIR": str(tmp_path)})

    assert report.ok
    assert (tmp_path / "kept").exists()


def test_the_working_dir_is_relative_to_the_workspace(run: Run, model_run: ModelRun) -> None:
    (model_run.generate() / "deep").mkdir()

    report = run("pwd", working_dir="deep")

    assert stdout(report).strip() == str(model_run.workspace_dir / "deep")


def test_lines_go_to_the_logger_as_they_come(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    run("echo out; echo err >&2", stream_output=True)

    lines = {(record.getMessage(), getattr(record, "stream", None)) for record in caplog.records}
    assert {("out", "stdout"), ("err", "stderr")} <= lines


def test_every_record_of_the_log_says_which_run(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    run("exit 3", stream_output=True)

    ours = [record for record in caplog.records if record.name.startswith("rompy_")]
    assert ours
    assert {(record.run_id, record.backend) for record in ours} == {("case", "local")}


def test_values_of_the_environment_are_kept_out_of_everything(
    run: Run, model_run: ModelRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    canary = "canary-5f2b"

    report = run("exit 3", env_vars={"SECRET": canary})

    assert canary not in caplog.text + repr(report) + report.reason
    assert report.options["env_vars"] == ["ROMPY_TEST_TOKEN", "SECRET"]
    for path in model_run.workspace_dir.rglob("*"):
        assert not path.is_file() or canary.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("gone", ["workspace", "record"])
def test_a_workspace_that_vanishes_is_a_failure_and_no_harm(run: Run, model_run: ModelRun, gone: str) -> None:
    what = model_run.workspace_dir if gone == "workspace" else model_run.workspace_dir / ".rompy"

    report = run(f"rm -rf '{what}'; exit 0")

    assert not report.ok
    assert "record" in report.reason
    assert report.exit_code == 0
