from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_core import (
    ProcessIdentity,
    Progress,
    RecordError,
    RompyError,
    RunReport,
    RunState,
    StartError,
    _processes,
    _records,
    cancel,
    find_runs,
    identify,
    is_alive,
    open_record,
    prepare_record,
    read_report,
    reopen_record,
)

Until = Callable[..., None]
Child = Callable[..., subprocess.Popen[str]]
FINAL = [state for state in RunState if state.is_final]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "case"
    directory.mkdir()
    return directory


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    """Start a Python process whose input stays open; it is gone after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str, *args: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "import sys\nfrom pathlib import Path\nfrom rompy_core import *\n" + source]
        process = subprocess.Popen(
            [*command, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def attempt(workspace: Path, state: RunState = RunState.COMPLETED, **facts: Any) -> RunReport:
    """Leave the record of an attempt that has ended."""
    changes = {name: facts.pop(name) for name in ("started_at", "progress") if name in facts}
    record = open_record(workspace, **{"run_id": "case", "backend": "local", **facts})
    return record.finish(state, "as it was", **changes)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# Processes.


def test_this_process_is_alive() -> None:
    assert is_alive(identify()) is True
    assert identify() == identify(os.getpid())


def test_a_process_that_has_ended_is_not_alive_even_before_it_is_reaped(until: Until) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = identify(process.pid)
    assert is_alive(identity) is True

    process.kill()

    until(lambda: is_alive(identity) is False, "the end of the process, which is a zombie now")
    process.communicate()
    assert is_alive(identity) is False


@pytest.mark.parametrize(
    ("other", "alive"),
    [
        ({"start_time": "1"}, False),  # its number has gone to another process
        ({"boot_id": "an earlier one"}, False),
        ({"start_time": None}, False),
        ({"host": "elsewhere"}, None),
        ({"host": "elsewhere", "boot_id": "an earlier one", "start_time": "1"}, None),
        ({"pid_namespace": "pid:[1]", "start_time": "1"}, None),  # a container that shares this host's name
        ({"pid_namespace": None}, True),  # a record of before it was written down
    ],
)
def test_a_process_is_more_than_its_number(other: dict[str, Any], alive: bool | None) -> None:
    assert is_alive(attrs.evolve(identify(), **other)) is alive


def test_a_machine_without_a_boot_id_tells_processes_apart_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    _processes._boot_id.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(_processes, "Path", lambda path: Path(path.replace("boot_id", "none")))
        identity = identify()
        alive = is_alive(identity)
    _processes._boot_id.cache_clear()

    assert identity.boot_id is None
    assert alive is True


# A record from its beginning to its end.


def test_a_record_is_on_disk_as_running_before_anything_runs(workspace: Path) -> None:
    record = open_record(workspace, run_id="case", backend="local", command=("swan", "-x"), env_names=("DEPTH",))

    report = read_report(workspace)

    assert report == record.report
    assert (report.run_id, report.backend, report.state, report.ok) == ("case", "local", RunState.RUNNING, False)
    assert (report.command, report.env_names) == (("swan", "-x"), ("DEPTH",))
    assert report.workspace_dir == workspace
    assert report.record_dir == record.directory
    assert report.host == socket.gethostname()
    assert report.supervisor == identify()
    assert report.started_at.utcoffset() == timedelta(0)
    assert (report.finished_at, report.exit_code, report.exit_signal) == (None, None, None)
    assert {"python", "rompy-core"} <= report.versions.keys()


@pytest.mark.parametrize("state", FINAL)
def test_a_record_ends_in_the_state_that_it_is_given(workspace: Path, state: RunState) -> None:
    record = open_record(workspace, run_id="case", backend="local")

    given_back = record.finish(state, "it ended", exit_code=3, wall_time_s=1.5)

    assert given_back == read_report(workspace)
    assert given_back.state is state
    assert given_back.ok is (state is RunState.COMPLETED)
    assert (given_back.reason, given_back.exit_code, given_back.wall_time_s) == ("it ended", 3, 1.5)
    assert given_back.finished_at is not None
    assert given_back.started_at <= given_back.finished_at <= datetime.now(UTC)


def test_the_verdict_can_be_read_without_python(workspace: Path) -> None:
    report = attempt(workspace)
    assert report.record_dir is not None

    plain = json.loads((report.record_dir / "report.json").read_text("ascii"))

    assert (plain["state"], plain["ok"]) == ("COMPLETED", True)


def test_each_attempt_has_a_folder_of_its_own_and_leaves_the_earlier_ones_alone(workspace: Path) -> None:
    first = attempt(workspace, RunState.FAILED)
    before = contents(workspace)

    second = attempt(workspace)

    assert first.record_dir != second.record_dir
    assert {first.record_dir.parent, second.record_dir.parent} == {workspace / ".rompy"}  # type: ignore[union-attr]
    assert before.items() <= contents(workspace).items()


def test_two_attempts_never_share_a_folder(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = itertools.chain("a" * 12, "b" * 6)
    monkeypatch.setattr(_records.secrets, "choice", lambda _: next(letters))
    monkeypatch.setattr(_records, "utc_now", lambda: datetime(2024, 5, 14, tzinfo=UTC))

    made = [_records.new_record_dir(workspace).name for _ in range(2)]

    assert made == ["20240514T000000Z-aaaaaa", "20240514T000000Z-bbbbbb"]


def test_a_reader_never_sees_half_a_report(workspace: Path, child: Child) -> None:
    writer = child(
        'record = open_record(Path(sys.argv[1]), run_id="case", backend="local", reason="a" * 100_000)\n'
        "print(flush=True)\n"
        'for letter in "abcdefghij" * 20: record.update(reason=letter * 100_000)\n'
        'record.finish(RunState.COMPLETED, "z" * 100_000)\n'
        "print(flush=True); input()",
        workspace,
    )
    assert writer.stdout is not None
    writer.stdout.readline()

    seen = {read_report(workspace).reason}
    while "z" * 100_000 not in seen:
        seen.add(read_report(workspace).reason)

    assert all(len(reason) == 100_000 and len(set(reason)) == 1 for reason in seen)
    assert len(seen) > 1
    assert [path.name for path in (workspace / ".rompy").glob("*/*")] == ["report.json"]


texts = st.text(st.characters(), max_size=40)
sizes = st.none() | st.integers(0, 2**62)
seconds = st.none() | st.floats(0, 1e9)
identities = st.builds(ProcessIdentity, host=texts, pid=st.integers(1, 2**22), boot_id=st.none() | texts)
progress = st.builds(Progress, fraction=st.floats(0, 1), text=texts, remaining_s=seconds)


@given(
    changes=st.fixed_dictionaries(
        {
            "state": st.sampled_from(RunState),
            "started_at": st.datetimes(timezones=st.just(UTC)),
            "finished_at": st.none() | st.datetimes(timezones=st.just(UTC)),
        },
        optional={
            **dict.fromkeys(("run_id", "backend", "reason", "host"), texts),
            **dict.fromkeys(("exit_code", "exit_signal", "peak_rss_bytes", "read_bytes", "max_processes"), sizes),
            **dict.fromkeys(("wall_time_s", "cpu_time_s"), seconds),
            "command": st.none() | st.lists(texts).map(tuple),
            "versions": st.dictionaries(texts, texts),
            "options": st.dictionaries(texts, st.lists(texts) | sizes | st.dictionaries(texts, seconds)),
            "warnings": st.lists(texts).map(tuple),
            "traceback": st.none() | texts,
            "progress": st.none() | progress,
            # Of another machine, so that nobody can say that it is gone.
            "supervisor": identities.map(lambda identity: attrs.evolve(identity, host=identity.host + "\0")),
        },
    )
)
def test_what_is_written_is_what_is_read(changes: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("record")
    report = RunReport(
        **{"run_id": "case", "backend": "local", **changes},
        workspace_dir=directory.parent,
        record_dir=directory,
        stdout_path=directory / "stdout.log",
    )

    _records.write_report(directory, report)

    assert read_report(directory) == report


# Which record is meant.


def test_a_record_is_found_by_its_file_its_folder_and_its_workspace(workspace: Path) -> None:
    report = attempt(workspace)
    assert report.record_dir is not None

    found = [read_report(path) for path in (report.record_dir / "report.json", report.record_dir, workspace)]
    as_text = read_report(str(workspace))

    assert found == [report, report, report]
    assert as_text == report


def test_a_record_is_found_along_a_relative_path(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = attempt(workspace)
    assert report.record_dir is not None
    monkeypatch.chdir(report.record_dir)

    assert read_report("report.json") == read_report(".") == report


def test_a_workspace_stands_for_its_newest_attempt(workspace: Path) -> None:
    for number in range(12):  # most of them within one second, which is all that the folders' names tell
        newest = attempt(workspace, reason=str(number))

        assert read_report(workspace) == newest


def test_a_newer_attempt_whose_report_is_junk_is_not_passed_over_in_silence(workspace: Path) -> None:
    attempt(workspace)
    newer = workspace / ".rompy" / "29990101T000000Z-aaaaaa"
    newer.mkdir()
    (newer / "report.json").write_text("[" * 100_000)

    with pytest.raises(RecordError, match="29990101T000000Z-aaaaaa"):
        read_report(workspace)


def test_within_one_second_junk_counts_as_the_oldest(workspace: Path) -> None:
    report = attempt(workspace)
    assert report.record_dir is not None
    junk = report.record_dir.with_name(report.record_dir.name[:-6] + "zzzzzz")
    junk.mkdir()
    (junk / "report.json").write_text("[" * 100_000)

    assert read_report(workspace) == report


def test_a_report_json_of_the_model_itself_does_not_hide_the_record(workspace: Path) -> None:
    report = attempt(workspace)
    (workspace / "report.json").write_text('{"waves": 3}')

    assert read_report(workspace) == report


def test_a_workspace_may_be_called_report_json(tmp_path: Path) -> None:
    workspace = tmp_path / "report.json"
    workspace.mkdir()

    report = attempt(workspace)

    assert read_report(workspace) == report


def test_a_record_that_was_moved_reads_right(workspace: Path, tmp_path: Path) -> None:
    record = open_record(
        workspace, run_id="case", backend="local", stdout_path=Path("stdout.log"), usage_path=Path("usage.csv")
    )
    (record.directory / "stdout.log").write_text("calm seas")
    record.finish(RunState.COMPLETED, "fine")
    elsewhere = tmp_path / "archive" / record.directory.name
    shutil.copytree(record.directory, elsewhere)

    report = read_report(elsewhere)

    assert report.record_dir == elsewhere
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "calm seas"
    assert report.usage_path == elsewhere / "usage.csv"
    assert report.stderr_path is None
    assert report.ok


# Reports that cannot be read.


JUNK: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "no table": b"[1, 2]",
    "a number": b"3",
    "no UTF-8": b'{"run_id": "\xff"}',
    "nested without end": b"[" * 100_000,
    "no fields": b"{}",
    "fields of wrong types": b'{"run_id": 3, "backend": [], "state": "COMPLETED", "workspace_dir": null}',
    "a state of another planet": b'{"run_id": "a", "backend": "b", "state": "TIRED", "workspace_dir": "c",'
    b' "started_at": "2024-05-14T00:00:00+00:00"}',
    "a time without a zone": b'{"run_id": "a", "backend": "b", "state": "FAILED", "workspace_dir": "c",'
    b' "started_at": "2024-05-14T00:00:00"}',
    "an end without a zone": b'{"run_id": "a", "backend": "b", "state": "FAILED", "workspace_dir": "c",'
    b' "started_at": "2024-05-14T00:00:00+00:00", "finished_at": "2024-05-14T00:00:00"}',
    "a progress that is none": b'{"run_id": "a", "backend": "b", "state": "FAILED", "workspace_dir": "c",'
    b' "started_at": "2024-05-14T00:00:00+00:00", "progress": 3}',
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK.keys())
def test_what_is_no_report_is_a_record_error_with_the_file(workspace: Path, junk: bytes) -> None:
    file = workspace / ".rompy" / "20240514T000000Z-aaaaaa" / "report.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(junk)

    with pytest.raises(RecordError) as refused:
        read_report(workspace)

    assert str(file) in str(refused.value)
    assert isinstance(refused.value, ValueError)
    assert find_runs(workspace) == []


@given(
    name=st.sampled_from(list(attrs.fields_dict(RunReport))),
    value=st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4),
)
def test_no_content_of_a_field_makes_anything_but_a_record_error(
    name: str, value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("record")
    plain = {"run_id": "a", "backend": "b", "state": "FAILED", "workspace_dir": "c"}
    plain["started_at"] = "2024-05-14T00:00:00+00:00"
    (directory / "report.json").write_text(json.dumps({**plain, name: value}))

    try:
        report = read_report(directory)
    except RecordError:
        return

    assert isinstance(report, RunReport)


@pytest.mark.parametrize("name", ["", "nothing", "file.txt", "nothing/report.json", ".rompy"])
def test_where_nothing_ran_there_is_no_report(workspace: Path, name: str) -> None:
    (workspace / "file.txt").write_text("no record")
    (workspace / ".rompy").mkdir()

    with pytest.raises(RecordError):
        read_report(workspace / name)


def test_a_directory_in_place_of_the_report_is_a_record_error(workspace: Path) -> None:
    (workspace / ".rompy" / "20240514T000000Z-aaaaaa" / "report.json").mkdir(parents=True)

    with pytest.raises(RecordError):
        read_report(workspace)


def test_what_a_newer_version_adds_is_passed_over(workspace: Path) -> None:
    report = attempt(workspace, progress=Progress(fraction=0.5, text="half"), supervisor=identify())
    assert report.record_dir is not None
    file = report.record_dir / "report.json"
    plain = json.loads(file.read_text())
    plain["wave_height"] = {"unit": "m"}
    plain["progress"]["colour"] = "blue"
    plain["supervisor"]["mood"] = "calm"
    file.write_text(json.dumps(plain))

    assert read_report(workspace) == report


# Who is gone, and who is not.


def test_a_run_whose_supervisor_was_killed_is_lost(workspace: Path, child: Child, until: Until) -> None:
    owner = child('open_record(Path(sys.argv[1]), run_id="case", backend="local"); input()', workspace)
    until(lambda: list(workspace.glob(".rompy/*/report.json")), "the record of the child")
    assert read_report(workspace).state is RunState.RUNNING

    owner.send_signal(signal.SIGKILL)

    until(lambda: read_report(workspace).state is not RunState.RUNNING, "the loss to be seen")
    report = read_report(workspace)
    assert report.state is RunState.LOST
    assert report.state.is_final
    assert not report.ok
    assert str(owner.pid) in report.reason
    assert socket.gethostname() in report.reason
    assert json.loads((report.record_dir / "report.json").read_text())["state"] == "RUNNING"  # type: ignore[operator]


def test_a_run_that_was_lost_does_not_stand_in_the_way_of_the_next_one(
    workspace: Path, child: Child, until: Until
) -> None:
    owner = child('open_record(Path(sys.argv[1]), run_id="case", backend="local"); input()', workspace)
    until(lambda: list(workspace.glob(".rompy/*/report.json")), "the record of the child")
    owner.kill()
    owner.wait()

    record = open_record(workspace, run_id="case", backend="local")

    assert record.report.state is RunState.RUNNING


def test_a_run_that_was_lost_can_be_completed_by_another_process(workspace: Path, child: Child, until: Until) -> None:
    owner = child('open_record(Path(sys.argv[1]), run_id="case", backend="local"); input()', workspace)
    until(lambda: list(workspace.glob(".rompy/*/report.json")), "the record of the child")
    assert reopen_record(workspace) is None
    owner.kill()
    owner.wait()

    record = reopen_record(workspace)
    assert record is not None
    record.finish(RunState.CANCELLED, "its caller was killed")

    report = read_report(workspace)
    assert (report.state, report.reason) == (RunState.CANCELLED, "its caller was killed")
    assert reopen_record(workspace) is None


def test_a_run_that_is_left_to_this_process_can_be_completed_by_it(workspace: Path) -> None:
    open_record(workspace, run_id="case", backend="local", supervisor=identify())

    record = reopen_record(workspace)

    assert record is not None
    assert record.report.state is RunState.RUNNING


def test_a_run_of_another_host_is_never_called_lost(workspace: Path) -> None:
    elsewhere = attrs.evolve(identify(), host="elsewhere", pid=1, boot_id="another", start_time="1")

    open_record(workspace, run_id="case", backend="local", supervisor=elsewhere)

    assert read_report(workspace).state is RunState.RUNNING


@pytest.mark.parametrize("becomes", ["complete", "vanished", "unreadable"])
def test_a_run_that_ends_while_it_is_looked_at_is_judged_by_its_end(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    record = open_record(workspace, run_id="case", backend="local")

    def is_gone(_: ProcessIdentity) -> bool:  # between the reading of the report and this, the owner ends
        if becomes == "complete":
            record.finish(RunState.COMPLETED, "just in time")
        elif becomes == "vanished":
            shutil.rmtree(record.directory)
        else:
            (record.directory / "report.json").write_text("{")
        return False

    monkeypatch.setattr(_records, "is_alive", is_gone)

    report = read_report(record.directory)

    assert report.state is (RunState.COMPLETED if becomes == "complete" else RunState.LOST)


# One live run a workspace.


def test_a_second_run_is_refused_with_the_record_host_and_pid_of_the_first(workspace: Path) -> None:
    first = open_record(workspace, run_id="case", backend="local")

    with pytest.raises(StartError) as refused:
        open_record(workspace, run_id="case", backend="docker")

    for fact in (str(first.directory), socket.gethostname(), f"pid {os.getpid()}"):
        assert fact in str(refused.value)
    report = refused.value.report
    assert report.state is RunState.NOT_STARTED
    assert report.reason == str(refused.value)
    assert report.record_dir is not None
    assert read_report(report.record_dir) == report
    assert read_report(first.directory).state is RunState.RUNNING


def test_a_prepared_record_is_none_before_it_is_opened(workspace: Path) -> None:
    record = prepare_record(workspace, run_id="case", backend="queue")
    before = find_runs(workspace)

    record.open()

    assert before == []
    assert [report.record_dir for report in find_runs(workspace)] == [record.directory]
    assert read_report(workspace) == record.report


def test_a_prepared_record_whose_workspace_is_taken_meanwhile_is_refused(workspace: Path) -> None:
    record = prepare_record(workspace, run_id="case", backend="queue")
    first = open_record(workspace, run_id="case", backend="local")

    with pytest.raises(StartError, match=f"live run already: record {str(first.directory)!r}") as caught:
        record.open()

    assert caught.value.report.state is RunState.NOT_STARTED
    assert read_report(record.directory) == caught.value.report


def test_a_live_run_without_a_supervisor_is_respected_as_well(workspace: Path) -> None:
    open_record(workspace, run_id="case", backend="queue", supervisor=None)

    with pytest.raises(StartError, match=r"live run.* pid unknown"):
        open_record(workspace, run_id="case", backend="local")


def test_the_end_of_the_first_run_lets_the_second_one_start(workspace: Path) -> None:
    open_record(workspace, run_id="case", backend="local").finish(RunState.FAILED, "aground")

    assert open_record(workspace, run_id="case", backend="local").report.state is RunState.RUNNING


def test_of_processes_that_race_for_a_workspace_exactly_one_wins(workspace: Path, tmp_path: Path, child: Child) -> None:
    racer = (
        "import time\n"
        'print("ready", flush=True)\n'
        "while not Path(sys.argv[2]).exists(): pass\n"
        "try:\n"
        '    print(open_record(Path(sys.argv[1]), run_id="case", backend="local").directory, flush=True)\n'
        "except StartError as exc:\n"
        '    print("refused", exc, flush=True)\n'
        "input()"
    )
    racers = [child(racer, workspace, tmp_path / "go") for _ in range(4)]
    for one in racers:
        assert one.stdout is not None
        one.stdout.readline()

    (tmp_path / "go").touch()
    said = [one.stdout.readline().strip() for one in racers if one.stdout is not None]

    winners = [line for line in said if not line.startswith("refused")]
    assert len(winners) == 1
    assert all(winners[0] in line for line in said)
    assert sorted(report.state for report in find_runs(workspace)) == ["NOT_STARTED"] * 3 + ["RUNNING"]


# Workspaces that take no record.


def test_a_workspace_that_is_missing_is_a_start_error(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="nowhere") as refused:
        open_record(tmp_path / "nowhere", run_id="case", backend="local")

    assert refused.value.report.state is RunState.NOT_STARTED
    assert refused.value.report.finished_at is not None
    assert not (tmp_path / "nowhere").exists()


def test_a_file_in_place_of_the_records_is_a_start_error(workspace: Path) -> None:
    (workspace / ".rompy").write_text("mine")

    with pytest.raises(StartError, match="cannot write a record"):
        open_record(workspace, run_id="case", backend="local")

    assert (workspace / ".rompy").read_text() == "mine"


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_a_start_error(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_records, "write_json", full)

    with pytest.raises(StartError, match="No space left"):
        open_record(workspace, run_id="case", backend="local")


@pytest.mark.parametrize("state", FINAL)
def test_a_run_whose_record_cannot_be_completed_is_no_success(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, state: RunState
) -> None:
    record = open_record(workspace, run_id="case", backend="local")
    monkeypatch.setattr(_records, "write_json", full)

    report = record.finish(state, "as it was")

    assert not report.ok
    assert report.state is (RunState.FAILED if state is RunState.COMPLETED else state)
    assert "No space left" in report.warnings[0]
    if state is RunState.COMPLETED:
        assert "No space left" in report.reason
    else:
        assert report.reason == "as it was"


def test_a_run_whose_workspace_vanished_is_no_success(workspace: Path) -> None:
    record = open_record(workspace, run_id="case", backend="local")
    shutil.rmtree(workspace)

    report = record.finish(RunState.COMPLETED, "all went well")

    assert report.state is RunState.FAILED
    assert str(record.directory) in report.reason
    assert not workspace.exists()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    file = tmp_path / "report.json"
    _records.write_json(file, {"depth": 3})

    with pytest.raises(RuntimeError, match="no words"):
        _records.write_json(file, {"depth": Unspeakable()})

    assert contents(tmp_path) == {"report.json": b'{\n  "depth": 3\n}\n'}


def test_a_file_system_without_locks_is_good_enough(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(_records.fcntl, "flock", no_locks)

    assert open_record(workspace, run_id="case", backend="local").report.state is RunState.RUNNING


# Finding runs.


def test_runs_are_found_below_a_directory_oldest_first(tmp_path: Path) -> None:
    begin = datetime(2024, 5, 14, tzinfo=UTC)
    hours = {"b/two": 3, "a": 2, "b/one": 1, "c/deep/er": 0}
    for name, hour in hours.items():
        (tmp_path / name).mkdir(parents=True)
        attempt(tmp_path / name, started_at=begin + timedelta(hours=hour), run_id=name)

    found = find_runs(str(tmp_path))

    assert [report.run_id for report in found] == ["c/deep/er", "b/one", "a", "b/two"]


def test_all_attempts_of_a_workspace_are_found(workspace: Path) -> None:
    attempts = [attempt(workspace) for _ in range(3)]

    assert find_runs(workspace) == attempts


def test_records_that_a_cleanup_has_put_aside_are_found(tmp_path: Path, workspace: Path) -> None:
    report = attempt(workspace)
    assert report.record_dir is not None
    kept = tmp_path / ".rompy-failed" / "case" / report.record_dir.name
    kept.parent.mkdir(parents=True)
    shutil.move(report.record_dir, kept)

    assert [found.record_dir for found in find_runs(tmp_path)] == [kept]


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    report = attempt(elsewhere)
    assert report.record_dir is not None
    here = tmp_path / "here"
    (here / "copy" / ".rompy").mkdir(parents=True)
    (here / "link").symlink_to(elsewhere)
    (here / "loop").symlink_to(here)
    (here / "copy" / ".rompy" / report.record_dir.name).symlink_to(report.record_dir)
    (here / "records").mkdir()
    (here / "records" / ".rompy").symlink_to(elsewhere / ".rompy")

    assert find_runs(here) == []


def test_where_there_is_nothing_no_runs_are_found(tmp_path: Path) -> None:
    assert find_runs(tmp_path / "nowhere") == []


# Cancelling from elsewhere.


def test_a_run_that_has_ended_is_left_as_it_is(workspace: Path) -> None:
    report = attempt(workspace, RunState.FAILED)
    before = contents(workspace)

    assert cancel(workspace) == report

    assert contents(workspace) == before


def test_a_run_that_was_lost_is_left_as_it_is(workspace: Path) -> None:
    open_record(workspace, run_id="case", backend="local", supervisor=attrs.evolve(identify(), start_time="1"))
    before = contents(workspace)

    assert cancel(str(workspace)).state is RunState.LOST

    assert contents(workspace) == before


def test_a_run_whose_backend_cannot_end_it_is_refused(workspace: Path) -> None:
    open_record(workspace, run_id="case", backend="cloud", is_cancellable=False)

    with pytest.raises(RompyError, match="'case' cannot be cancelled: backend 'cloud'"):
        cancel(workspace)


@pytest.mark.parametrize("timeout", [30.0, None])
def test_a_request_to_end_waits_for_the_end(workspace: Path, timeout: float | None, until: Until) -> None:
    record = open_record(workspace, run_id="case", backend="local")

    def supervise() -> None:
        until(record.cancel_requested, "the request")
        record.finish(RunState.CANCELLED, "on request")

    supervisor = threading.Thread(target=supervise)
    supervisor.start()

    report = cancel(workspace, timeout=timeout)

    supervisor.join()
    assert report == record.report
    assert report.state is RunState.CANCELLED


def test_a_run_that_does_not_end_in_time_is_a_timeout_error(workspace: Path) -> None:
    record = open_record(workspace, run_id="case", backend="local")
    begun = time.monotonic()

    with pytest.raises(TimeoutError, match=r"still runs after 0.2 s"):
        cancel(record.directory, timeout=0.2)

    assert 0.2 <= time.monotonic() - begun < 5
    assert record.cancel_requested()
    assert read_report(workspace).state is RunState.RUNNING


def test_a_workspace_stands_for_its_live_run_when_it_is_to_be_ended(workspace: Path) -> None:
    first = open_record(workspace, run_id="case", backend="local")
    with pytest.raises(StartError):
        open_record(workspace, run_id="case", backend="local")

    with pytest.raises(TimeoutError):
        cancel(workspace, timeout=0)

    assert first.cancel_requested()


def test_where_nothing_ran_there_is_nothing_to_end(workspace: Path) -> None:
    with pytest.raises(RecordError):
        cancel(workspace)


def test_a_run_that_something_else_keeps_is_not_lost_with_its_supervisor(workspace: Path, child: Child) -> None:
    process = child("sys.stdin.read()")
    record = open_record(workspace, run_id="case", backend="queue", keeper="job 7", supervisor=identify(process.pid))
    process.kill()
    process.wait()

    found = read_report(record.directory)

    assert (found.state, found.keeper) == (RunState.RUNNING, "job 7")
    assert reopen_record(record.directory) is None
    with pytest.raises(StartError, match="kept by job 7"):
        open_record(workspace, run_id="case", backend="queue")


def test_cancel_has_the_backend_of_a_kept_run_look_after_it(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = open_record(workspace, run_id="case", backend="queue", keeper="job 7", supervisor=None)

    class Queue:
        def attach(self, path: Path) -> None:
            assert record.cancel_requested()
            record.finish(RunState.CANCELLED, f"job 7 of {path.name} was ended")

    monkeypatch.setattr("rompy_core._plugins.load_plugin", lambda *_: Queue())

    report = cancel(workspace, timeout=5)

    assert report.reason == f"job 7 of {record.directory.name} was ended"


def test_cancel_of_a_kept_run_without_its_backend_waits_for_whoever_looks_after_it(workspace: Path) -> None:
    open_record(workspace, run_id="case", backend="no-such-backend", keeper="job 7", supervisor=None)

    with pytest.raises(TimeoutError, match="was asked to end"):
        cancel(workspace, timeout=0.1)
