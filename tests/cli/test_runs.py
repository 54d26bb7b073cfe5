from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import Result

from rompy_core import Progress, RunRecord, RunState, find_runs

Invoke = Callable[..., Result]
MakeRun = Callable[..., RunRecord]
Start = Callable[..., "subprocess.Popen[str]"]
Until = Callable[..., None]


def rows_of(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


# ls.


def test_ls_lists_every_attempt_newest_first_and_marks_the_live_one(make_run: MakeRun, invoke: Invoke) -> None:
    make_run("old", RunState.FAILED)
    make_run("done", wall_time_s=65.0, progress=Progress(fraction=1.0))
    make_run("now", RunState.RUNNING, progress=Progress(fraction=0.256))

    head, *rows = rows_of(invoke("ls"))

    assert head == ["", "RUN", "STATE", "PROGRESS", "DURATION", "STARTED", "WORKSPACE"]
    assert [row[:4] for row in rows] == [
        ["*", "now", "RUNNING", "26 %"],
        ["", "done", "COMPLETED", "100 %"],
        ["", "old", "FAILED", ""],
    ]
    assert rows[1][4] == "1 min 05 s"
    assert rows[0][6] == "simulations/now"


def test_the_progress_of_a_live_run_is_what_its_series_says_now(make_run: MakeRun, invoke: Invoke) -> None:
    record = make_run("storm", RunState.RUNNING, progress_path=Path("progress.csv"))
    series = record.directory / "progress.csv"
    series.write_text("elapsed_s,fraction\n1.0,0.1\n2.0,0.42\n")

    shown = rows_of(invoke("ls"))[1][3]
    series.unlink()
    series.mkdir()  # cannot be read
    unreadable = rows_of(invoke("ls"))[1][3]

    assert (shown, unreadable) == ("42 %", "")


def test_show_tells_an_exit_code_from_a_signal(make_run: MakeRun, invoke: Invoke) -> None:
    make_run("code", RunState.FAILED, exit_code=3)
    make_run("signal", RunState.FAILED, exit_signal=9)

    shown = [invoke("show", run_id).stdout for run_id in ("code", "signal")]

    assert "  exit        code 3\n" in shown[0]
    assert "  exit        signal 9\n" in shown[1]


def test_ls_json_has_the_documented_shape_and_iso_dates(make_run: MakeRun, invoke: Invoke) -> None:
    record = make_run("storm", RunState.FAILED, reason="ended at a fatal line")

    (run,) = json.loads(invoke("ls", "simulations", "--json").stdout)["runs"]

    assert datetime.fromisoformat(run.pop("started_at")) == record.report.started_at
    assert datetime.fromisoformat(run.pop("finished_at")) == record.report.finished_at
    assert run.pop("duration_s") >= 0
    assert run == {
        "run_id": "storm",
        "state": "FAILED",
        "ok": False,
        "is_live": False,
        "reason": "ended at a fatal line",
        "backend": "local",
        "progress": None,
        "host": record.report.host,
        "workspace_dir": str(record.report.workspace_dir),
        "record_dir": str(record.directory),
    }


def test_ls_of_a_directory_without_runs_has_no_rows_and_of_none_is_bad_usage(here: Path, invoke: Invoke) -> None:
    assert len(rows_of(invoke("ls"))) == 1
    assert json.loads(invoke("ls", "--json").stdout) == {"runs": []}
    assert invoke("ls", "gone").exit_code == 2


# RUN.


@pytest.mark.parametrize("spell", ["run id", "workspace", "record", "report.json"])
def test_a_run_may_be_named_in_any_way(spell: str, make_run: MakeRun, invoke: Invoke) -> None:
    record = make_run("storm")
    make_run("other")
    names = {
        "run id": "storm",
        "workspace": record.report.workspace_dir,
        "record": record.directory,
        "report.json": record.directory / "report.json",
    }

    result = invoke("show", names[spell])

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("storm\n  state       COMPLETED\n")


def test_of_several_attempts_the_live_one_is_shown_or_else_the_newest_or_all(make_run: MakeRun, invoke: Invoke) -> None:
    make_run("storm", RunState.FAILED)
    live = make_run("storm", RunState.RUNNING)
    refused = live.directory.with_name("29991231T000000Z-aaaaaa")
    shutil.copytree(live.directory, refused)
    document = json.loads((refused / "report.json").read_text()) | {"state": "NOT_STARTED"}
    document["started_at"] = "2999-12-31T00:00:00+00:00"
    (refused / "report.json").write_text(json.dumps(document))

    one, everything = invoke("show", "storm"), invoke("show", "storm", "--all")
    of_record = json.loads(invoke("show", live.directory, "--all", "--json").stdout)
    live.finish(RunState.COMPLETED, "")
    newest = json.loads(invoke("show", "storm", "--json").stdout)

    assert "state       RUNNING (live)" in one.stdout
    assert "3 attempts; show all with --all" in one.stdout
    states = [line.split()[1] for line in everything.stdout.splitlines() if line.startswith("  state")]
    assert states == ["NOT_STARTED", "RUNNING", "FAILED"]
    assert [run["state"] for run in of_record["attempts"]] == states
    assert [run["state"] for run in newest["attempts"]] == ["NOT_STARTED"]


def test_a_record_that_was_moved_away_from_its_workspace_is_still_of_that_run(
    make_run: MakeRun, invoke: Invoke, here: Path
) -> None:
    first = make_run("storm", RunState.FAILED)
    moved = here / "simulations/.rompy-failed/storm" / first.directory.name
    moved.parent.mkdir(parents=True)
    shutil.move(first.directory, moved)
    make_run("storm")

    attempts = json.loads(invoke("show", "storm", "--all", "--json").stdout)["attempts"]

    assert [run["state"] for run in attempts] == ["COMPLETED", "FAILED"]
    assert {run["workspace_dir"] for run in attempts} == {str(here / "simulations/storm")}


def test_a_run_id_of_several_workspaces_is_refused_with_their_names(make_run: MakeRun, invoke: Invoke) -> None:
    make_run("storm", workspace="a/storm")
    make_run("storm", workspace="b/storm")

    result = invoke("show", "storm")

    assert result.exit_code == 6
    assert result.stderr.splitlines() == [
        "Error: several workspaces have a run 'storm'; give one of them:",
        "  - simulations/a/storm",
        "  - simulations/b/storm",
    ]


@pytest.mark.parametrize("verb", ["show", "logs", "cancel"])
def test_an_unknown_run_is_refused_with_the_nearest_one(verb: str, make_run: MakeRun, invoke: Invoke) -> None:
    make_run("storm-2024")

    result = invoke(verb, "strom-2024")

    assert result.exit_code == 6
    assert "no run 'strom-2024'" in result.stderr
    assert "did you mean 'storm-2024'?" in result.stderr


@pytest.mark.parametrize("run", ["", ".", "simulations", "nul\0", "x" * 300, "gone/storm"])
def test_what_is_no_run_is_none(run: str, make_run: MakeRun, invoke: Invoke) -> None:
    make_run("storm")

    assert invoke("show", run).exit_code == 6


def test_a_directory_that_has_the_name_of_a_run_does_not_hide_it(make_run: MakeRun, invoke: Invoke, here: Path) -> None:
    make_run("storm")
    (here / "storm").mkdir()

    assert invoke("show", "storm").exit_code == 0


# cancel.


def test_cancel_from_another_process_ends_the_run_and_waits_for_it(
    living_file: Path, start: Start, invoke: Invoke, here: Path, until: Until, living: Callable[[], list[str]]
) -> None:
    process = start("run", living_file)
    until((here / "simulations/storm/ready").exists)

    result = invoke("cancel", "storm")

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("storm: CANCELLED after ")
    (report,) = find_runs(here)
    assert report.state is RunState.CANCELLED
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 4
    assert "storm: CANCELLED" in out
    assert living() == []


def test_cancel_of_a_run_that_has_ended_leaves_it_and_says_so(make_run: MakeRun, invoke: Invoke) -> None:
    record = make_run("storm", RunState.FAILED)

    result, as_json = invoke("cancel", "storm"), invoke("cancel", "storm", "--json")

    assert (result.exit_code, as_json.exit_code) == (7, 7)
    assert "storm: FAILED" in result.stdout
    document = json.loads(as_json.stdout)
    assert (document["was_live"], document["run"]["state"], document["exit_code"]) == (False, "FAILED", 7)
    assert not (record.directory / "cancel").exists()


@pytest.mark.parametrize(
    ("is_cancellable", "message"),
    [(False, "has no way to end it"), (True, "was asked to end but still runs after 0.1 s")],
)
def test_cancel_that_does_not_end_the_run_says_why(
    is_cancellable: bool, message: str, make_run: MakeRun, invoke: Invoke
) -> None:
    make_run("storm", RunState.RUNNING, is_cancellable=is_cancellable)

    result = invoke("cancel", "storm", "--timeout", "0.1")

    assert result.exit_code == 8
    assert message in result.stderr
