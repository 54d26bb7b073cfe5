from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from rompy_cli._files import PipelineFile
from rompy_core import RunState, find_runs

Invoke = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[str]"]
Until = Callable[..., None]


def file_of(here: Path, command: str, run: str = "", **more: str) -> Path:
    path = here / "case.toml"
    tables = "".join(f"\n[{name}]\n{text}" for name, text in more.items())
    config = f"[config]\nmodel_type = 'files'\ncommand = '''{command}'''"
    path.write_text(f"run_id = 'case'\n{config}\n[run]\n{run}\n{tables}\n")
    return path


@pytest.mark.parametrize(
    ("command", "run", "code", "state"),
    [
        ("true", "", 0, "COMPLETED"),
        ("false", "", 1, "FAILED"),
        ("sleep 30", "timeout = 0.2\ngrace_s = 0.1", 3, "TIMED_OUT"),
        ("true", "working_dir = 'gone'", 5, "NOT_STARTED"),
        ("true", "rules = { required_files = ['out'] }", 1, "FAILED"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "pipeline"])
def test_the_exit_code_says_how_the_run_ended(
    verb: str, command: str, run: str, code: int, state: str, here: Path, invoke: Invoke
) -> None:
    path = file_of(here, command, run)

    result = invoke(verb, path)

    assert result.exit_code == code, result.output
    assert f"case: {state}" in result.stdout
    (report,) = find_runs(here)
    assert report.state == state
    assert str(report.record_dir) in result.stdout


@pytest.mark.parametrize("verb", ["run", "pipeline"])
def test_json_is_one_document_with_the_code_and_the_report(verb: str, here: Path, invoke: Invoke) -> None:
    result = invoke(verb, file_of(here, "exit 3"), "--json")

    document = json.loads(result.stdout)
    assert (result.exit_code, document["exit_code"]) == (1, 1)
    assert (document["run"]["state"], document["run"]["exit_code"]) == ("FAILED", 3)
    if verb == "pipeline":
        assert document["results"]["stage"] == "run"


def test_a_postprocessor_that_fails_fails_the_pipeline_but_not_the_run(here: Path, invoke: Invoke) -> None:
    path = file_of(here, "true", postprocess="output_dir = 'gone'")

    result = invoke("pipeline", path)

    assert result.exit_code == 1
    assert "pipeline failed at stage 'postprocess': output directory not found: gone" in result.stdout
    assert "case: COMPLETED" in result.stdout


def test_inputs_that_cannot_be_made_are_a_run_that_could_not_begin(here: Path, invoke: Invoke) -> None:
    (here / "case.json").write_text(
        '{"run_id": "a", "config": {"model_type": "templates", "template_dir": "gone", "command": "true"}}'
    )

    codes = {verb: invoke(verb, "case.json") for verb in ("run", "pipeline")}

    assert {verb: result.exit_code for verb, result in codes.items()} == {"run": 5, "pipeline": 5}
    assert "'gone': template_dir is no directory" in codes["run"].stderr
    assert "'gone': template_dir is no directory" in codes["pipeline"].stdout


@pytest.mark.parametrize("verb", ["run", "pipeline"])
@pytest.mark.parametrize("name", ["gone.toml", "bad.toml"])
def test_a_bad_file_is_refused_before_anything_is_written(verb: str, name: str, here: Path, invoke: Invoke) -> None:
    (here / "bad.toml").write_text("run_id = 'a'\n[run]\ntimeuot = 3")

    result = invoke(verb, name)

    assert result.exit_code == 2
    assert name in result.stderr
    assert list(here.iterdir()) == [here / "bad.toml"]


def test_what_is_logged_is_said_with_v(here: Path, invoke: Invoke) -> None:
    path = file_of(here, "false")

    plain, verbose, quiet = (invoke("run", path, *words) for words in ([], ["-v"], ["-q"]))

    assert "ERROR run failed" in verbose.stderr
    assert (plain.stderr, quiet.stderr) == ("", ""), "the command says so itself"


def test_warnings_are_said_unless_q_and_the_logging_is_left_as_it_was(
    here: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(*_: object, **__: object) -> None:
        logging.getLogger("rompy_core").warning("beside the run: %s", "\x1b[2J")
        logging.getLogger("rompy_core").info("nothing new")

    monkeypatch.setattr(PipelineFile, "execute_run", warn)
    path = file_of(here, "true")

    plain, quiet, debugging = (invoke("run", path, *words) for words in ([], ["-q"], ["-vv"]))

    assert plain.stderr == "beside the run: \\x1b[2J\n"
    assert quiet.stderr == ""
    assert "WARNING beside the run" in debugging.stderr
    assert logging.getLogger().level == logging.WARNING


def test_output_that_cannot_be_written_is_told_in_one_line(here: Path, rompyrun: str) -> None:
    command = f"'{rompyrun}' plugins >/dev/full"

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=False)

    assert (done.returncode, done.stderr) == (70, "Error: [Errno 28] No space left on device\n")


def test_ctrl_c_ends_the_run_says_so_and_exits_with_130(
    living_file: Path, start: Start, here: Path, until: Until, living: Callable[[], list[str]]
) -> None:
    for verb in ("run", "pipeline"):
        (here / "simulations/storm/ready").unlink(missing_ok=True)
        process = start(verb, living_file)
        until((here / "simulations/storm/ready").exists)

        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

        assert process.returncode == 130, err
        assert "storm: CANCELLED" in out
        assert err.strip() == ""
        assert living() == []


def test_sigterm_ends_the_run_too(
    living_file: Path, start: Start, here: Path, until: Until, living: Callable[[], list[str]]
) -> None:
    process = start("run", living_file)
    until((here / "simulations/storm/ready").exists)

    process.terminate()
    process.communicate(timeout=20)

    until(lambda: not living(), "the run to end with its caller")
    (report,) = find_runs(here)
    assert process.returncode == -signal.SIGTERM
    assert report.state is RunState.CANCELLED


def test_a_progress_bar_that_is_asked_for_is_shown_on_standard_error(here: Path, invoke: Invoke) -> None:
    pytest.importorskip("tqdm")
    path = file_of(here, "echo 50 %; echo 100 %", "rules = { progress = '(?P<percent>\\d+) %' }")

    shown, hidden = invoke("run", path, "--progress"), invoke("run", path)

    assert (shown.exit_code, hidden.exit_code) == (0, 0), shown.output
    assert "case: COMPLETED" in shown.stderr
    assert hidden.stderr == ""


def test_a_progress_bar_that_cannot_be_made_is_an_error_only_where_it_was_asked_for(
    here: Path,
) -> None:
    code = (
        "import sys; sys.modules['tqdm'] = None; sys.stderr.isatty = lambda: True; from rompy_cli import main; main()"
    )
    command = [sys.executable, "-c", code, "run", str(file_of(here, "true"))]

    asked, left = (
        subprocess.run([*command, *words], capture_output=True, text=True, timeout=30, check=False)
        for words in (["--progress"], [])
    )

    assert (left.returncode, left.stderr) == (0, "")
    assert asked.returncode == 2
    assert "tqdm" in asked.stderr
