"""Names, links and races that nobody would choose: a run works there as anywhere, or is refused with a reason."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rompy_core import (
    FilesConfig,
    ModelRun,
    RunReport,
    RunState,
    StartError,
    WorkspaceError,
    cancel,
    find_runs,
    read_report,
)
from rompy_local import LocalRunBackend

Until = Callable[..., None]

NAMES = {
    "spaces": "a b  c ",
    "a newline": "a\nb",
    "a tab and a bell": "a\tb\a",
    "a leading dash": "-rf",
    "two dashes": "--",
    "bytes that are no UTF-8": os.fsdecode(b"caf\xe9\xff"),
    "letters of other scripts": "größe-波浪-\N{WATER WAVE}",
    "quotes": "a'b\"c`d",
    "what a shell would do": "$(touch x);&|>*?[!]{}~",
    "percents and braces": "%s %(run_id)s {} {0}",
    "a colon": "a:b",
    "a backslash": "a\\b",
    "only dots": "...",
    "the longest": "x" * 255,
}


@pytest.fixture(params=NAMES.values(), ids=NAMES.keys())
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with an odd name, inside another one."""
    return tmp_path / str(request.param) / str(request.param)


def check_report(report: RunReport | None, workspace: Path) -> RunReport:
    """The report on disk is that of the run, and can be found by every way that leads to it."""
    assert report is not None
    assert report == read_report(workspace) == read_report(report.record_dir or workspace)
    assert report.workspace_dir == workspace
    assert [found.record_dir for found in find_runs(workspace.parent)] == [report.record_dir]
    json.loads((report.record_dir or workspace).joinpath("report.json").read_text("ascii"))
    return report


# Directories with odd names.


def test_an_output_dir_may_have_any_name(place: Path) -> None:
    model_run = ModelRun(run_id="case", output_dir=place, config=FilesConfig(files={"in": "x"}))

    results = model_run.pipeline(run_kwargs={"command": 'cp in "out file"', "timeout": 30})

    assert results["success"] is True
    check_report(model_run.report, place / "case")
    assert (place / "case" / "out file").read_text() == "x"


def test_a_workspace_that_is_given_may_have_any_name(place: Path, tmp_path: Path) -> None:
    place.mkdir(parents=True)
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "unused")

    assert model_run.run(command=[sys.executable, "-c", "open('out', 'w')"], workspace_dir=place) is True

    check_report(model_run.report, place)
    assert (place / "out").exists()
    assert not model_run.output_dir.exists()


def test_a_command_and_its_working_dir_may_have_any_name(place: Path, tmp_path: Path) -> None:
    place.mkdir(parents=True)
    program = place / "model.sh"
    program.write_text('#!/bin/sh\n: >"$1"\n')
    program.chmod(0o755)
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")

    assert model_run.run(command=[str(program), place.name[:200] + "-out"], working_dir=place) is True

    assert (place / f"{place.name[:200]}-out").exists()


def test_a_failure_in_any_place_is_cleaned_up_and_its_record_is_kept(place: Path) -> None:
    model_run = ModelRun(run_id="case", output_dir=place)
    place.mkdir(parents=True)
    (place / "mine").touch()

    results = model_run.pipeline(run_kwargs={"command": "touch out; exit 3"}, cleanup_on_failure=True)

    assert results["success"] is False
    assert {path.name for path in place.iterdir()} == {"mine", ".rompy-failed"}
    assert model_run.report is not None
    assert model_run.report == read_report(model_run.report.record_dir or place)


def test_a_run_in_any_place_can_be_cancelled_by_its_path(place: Path) -> None:
    model_run = ModelRun(run_id="case", output_dir=place)

    with model_run.submit(command="sleep 60", grace_s=0.2) as handle:
        report = cancel(place / "case", timeout=20)

    assert report.state is RunState.CANCELLED
    assert report == handle.wait(20) == read_report(place / "case")


def test_an_earlier_workspace_in_any_place_is_removed_when_asked(place: Path) -> None:
    model_run = ModelRun(run_id="case", output_dir=place, delete_existing=True)
    (model_run.generate() / "old").touch()

    assert model_run.run(command="[ ! -e old ]") is True


# Run ids.


@settings(max_examples=30, deadline=None)
@given(run_id=st.text(max_size=6) | st.sampled_from([*NAMES.values(), "..", "a/b", "/abs", "-", "~root", "a\0b"]))
@example(run_id="-rf")
@example(run_id=" ")
def test_any_run_id_is_refused_or_names_one_directory(tmp_path_factory: pytest.TempPathFactory, run_id: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    try:
        model_run = ModelRun(run_id=run_id, output_dir=folder / "out")
    except ValueError:
        assert not list(folder.iterdir())
        return

    assert model_run.run(command="touch out.nc") is True

    assert os.listdir(folder) == ["out"]  # noqa: PTH208 - the name as it is
    assert os.listdir(folder / "out") == [run_id]  # noqa: PTH208 - as above
    check_report(model_run.report, folder / "out" / run_id)


@pytest.mark.parametrize("run_id", [*NAMES.values(), "sub/case", "/", "a\n/b"])
def test_a_run_id_of_another_library_is_a_label_and_no_path_of_ours(tmp_path: Path, run_id: str) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    model_run = SimpleNamespace(run_id=run_id, output_dir=tmp_path / "out", generate=lambda: workspace)

    assert LocalRunBackend().run(model_run, command="touch out.nc") is True

    assert {path.name for path in tmp_path.iterdir()} == {"workspace"}
    assert read_report(workspace).run_id == run_id


# Symbolic links.


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("mine")
    return tmp_path / "elsewhere"


def test_an_output_dir_that_is_a_link_is_used_as_it_is_named(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(elsewhere)
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "link")

    assert model_run.run(command="touch out.nc") is True

    report = check_report(model_run.report, tmp_path / "link" / "case")
    assert (elsewhere / "case" / "out.nc").exists()
    assert read_report(elsewhere / "case").reason == report.reason


def test_a_workspace_that_is_a_link_is_run_in_and_never_removed(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "case").symlink_to(elsewhere)
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")

    assert model_run.run(command="touch out.nc") is True
    results = model_run.pipeline(run_kwargs={"command": "touch new; exit 3"}, cleanup_on_failure=True)
    model_run.delete_existing = True
    with pytest.raises(WorkspaceError, match="is a symbolic link"):
        model_run.run(command="true")

    assert results["success"] is False
    assert (tmp_path / "out" / "case").is_symlink()
    assert {"precious", "out.nc", ".rompy"} <= {path.name for path in elsewhere.iterdir()}


@pytest.mark.parametrize("target", ["nowhere", "loop", "file"])
def test_a_link_that_leads_nowhere_is_no_workspace(tmp_path: Path, target: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "file").touch()
    link = tmp_path / "out" / "case"
    link.symlink_to({"nowhere": tmp_path / "nowhere", "loop": link, "file": tmp_path / "file"}[target])

    with pytest.raises(WorkspaceError, match="cannot be a workspace"):
        ModelRun(run_id="case", output_dir=tmp_path / "out").run(command="true")

    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("kind", ["link", "link to nowhere", "file"])
def test_records_are_written_into_the_workspace_or_nowhere(elsewhere: Path, tmp_path: Path, kind: str) -> None:
    workspace = tmp_path / "out" / "case"
    workspace.mkdir(parents=True)
    if kind == "file":
        (workspace / ".rompy").touch()
    else:
        (workspace / ".rompy").symlink_to(elsewhere if kind == "link" else tmp_path / "nowhere")
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")

    with pytest.raises(StartError, match="cannot write a record in the workspace"):
        model_run.submit(command="touch out.nc")

    assert [path.name for path in elsewhere.iterdir()] == ["precious"]
    assert not (tmp_path / "nowhere").exists()
    assert not (workspace / "out.nc").exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    workspace = tmp_path / "out" / "case"
    (workspace / ".rompy").mkdir(parents=True)
    (workspace / ".rompy" / "lock").symlink_to(tmp_path / "nowhere")

    with pytest.raises(StartError, match="cannot write a record in the workspace"):
        ModelRun(run_id="case", output_dir=tmp_path / "out").submit(command="true")

    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["report.json", "stdout.log", "stderr.log", "usage.csv"])
@pytest.mark.parametrize("how", ["ln -sf", "ln -f"])
def test_what_a_model_makes_of_its_record_harms_nothing_else(
    elsewhere: Path, tmp_path: Path, name: str, how: str
) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")
    precious = elsewhere / "precious"

    report = model_run.submit(
        command=f"{how} '{precious}' .rompy/2*/{name}; echo noise; echo noise >&2; sleep 0.3"
    ).wait(30)

    assert precious.read_text() == "mine"
    assert report.state is RunState.COMPLETED
    assert read_report(model_run.workspace_dir) == report


def test_a_cleanup_does_not_follow_links_that_the_model_made(elsewhere: Path, tmp_path: Path) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out")
    command = (
        f"ln -s '{elsewhere}' link; ln -s '{elsewhere}/precious' file; mkdir d; ln -s '{elsewhere}' d/link; exit 3"
    )

    model_run.pipeline(run_kwargs={"command": command}, cleanup_on_failure=True)

    assert (elsewhere / "precious").read_text() == "mine"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".rompy-failed"]


# Hard links, and inputs that are links to what others use as well.


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_inputs_are_written_anew_and_not_through_a_link(
    elsewhere: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out", config=FilesConfig(files={"in": "generated"}))
    model_run.workspace_dir.mkdir(parents=True)
    link(elsewhere / "precious", model_run.workspace_dir / "in")

    assert model_run.run(command="grep -q generated in") is True

    assert (elsewhere / "precious").read_text() == "mine"


def test_removing_a_workspace_leaves_what_its_links_share(elsewhere: Path, tmp_path: Path) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out", delete_existing=True)
    workspace = model_run.generate()
    os.link(elsewhere / "precious", workspace / "hard")
    (workspace / "soft").symlink_to(elsewhere)

    assert model_run.run(command="[ ! -e hard ] && [ ! -e soft ]") is True

    assert (elsewhere / "precious").read_text() == "mine"


# Races.

RACER = """
import pathlib, sys, time
from rompy_core import ModelRun, StartError

class Slow:
    "A model whose inputs are torn for a while each time that they are generated."
    def generate(self, workspace_dir, model_run):
        path = workspace_dir / "input"
        path.write_text("torn")
        time.sleep(0.05)
        path.write_text("whole")

WATCH = '''
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    [ "$(cat input)" = whole ] || exit 9
    sleep 0.02
done
echo x >>ran
'''
folder, call, delete_existing = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
model_run = ModelRun(run_id="case", output_dir=folder / "out", config=Slow(), delete_existing=delete_existing)
print("ready", flush=True)
while not (folder / "go").exists():
    time.sleep(0.001)
if call == "pipeline":
    model_run.pipeline(run_kwargs={"command": WATCH, "timeout": 30}, cleanup_on_failure=True)
else:
    model_run.run(command=WATCH, timeout=30)
print(model_run.report.state, model_run.report.reason)
"""
"""A process that runs the same as others, at once, and gives what came of it."""


@pytest.mark.parametrize("delete_existing", [False, True])
@pytest.mark.parametrize("call", ["run", "pipeline"])
def test_of_several_runs_at_once_one_runs_at_a_time_and_the_others_are_refused(
    tmp_path: Path, call: str, delete_existing: bool
) -> None:
    words = [sys.executable, "-c", RACER, str(tmp_path), call, str(delete_existing)]
    racers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()

    ended = [racer.communicate(timeout=50)[0].strip() for racer in racers]

    won = [said for said in ended if said.startswith("COMPLETED")]
    refused = [said for said in ended if re.match("NOT_STARTED .*(has a live run|another run is generating)", said)]
    assert len(won) >= 1, ended  # on a busy machine, one may come when another has ended
    assert len(won) + len(refused) == 4, ended
    assert (tmp_path / "out" / "case" / "ran").read_text() == "x\n" * (1 if delete_existing else len(won))
    if not delete_existing:
        assert len(find_runs(tmp_path)) == 4


def test_threads_exclude_each_other_as_well(tmp_path: Path) -> None:
    in_generate, go_on = threading.Event(), threading.Event()

    def generate(workspace_dir: Path, model_run: Any) -> None:
        in_generate.set()
        assert go_on.wait(20)

    model = SimpleNamespace(generate=generate)
    first, second = (ModelRun(run_id="case", output_dir=tmp_path, config=model) for _ in range(2))
    thread = threading.Thread(target=first.run, kwargs={"command": "true"})
    thread.start()
    assert in_generate.wait(20)

    with pytest.raises(StartError, match="another run is generating its inputs in the workspace"):
        second.submit(command="true")
    results = second.pipeline(run_kwargs={"command": "true"}, cleanup_on_failure=True)
    go_on.set()
    thread.join()

    assert (results["success"], results["stage"]) == (False, "generate")
    assert first.report is not None
    assert first.report.ok
    assert second.report is not None
    assert second.report.state is RunState.NOT_STARTED
    assert second.run(command="true") is True


def test_one_after_the_other_each_has_its_record(tmp_path: Path) -> None:
    model_runs = [ModelRun(run_id="case", output_dir=tmp_path) for _ in range(5)]

    verdicts = [model_run.run(command=f"exit {number % 2}") for number, model_run in enumerate(model_runs)]

    assert verdicts == [True, False, True, False, True]
    assert [report.ok for report in find_runs(tmp_path)] == verdicts
    assert len({report.record_dir for report in find_runs(tmp_path)}) == 5


def test_two_callers_from_a_shell_do_not_lose_each_others_records(tmp_path: Path) -> None:
    code = (
        "import sys, rompy_core as r; print(r.ModelRun(run_id='case', output_dir=sys.argv[1]).run(command='sleep 0.5'))"
    )
    callers: Sequence[subprocess.Popen[str]] = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    said = [caller.communicate(timeout=50)[0].strip() for caller in callers]

    reports = find_runs(tmp_path)
    assert len(reports) == 3
    assert said.count("True") == sum(report.ok for report in reports) >= 1
    assert {report.state for report in reports} <= {RunState.COMPLETED, RunState.NOT_STARTED}
