"""Every way in which a run can end, with real processes: what the report says, and that nothing is left."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import psutil
import pytest

from rompy_core import ModelRun, RunHandle, RunReport, RunState, StartError, cancel, read_report

Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]
Living = Callable[[], list[str]]
Marked = Callable[[], list[psutil.Process]]
Until = Callable[..., None]

TREE = "sleep 300 & sleep 300"
DAEMON = """\
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open("daemon", "w").close()
        time.sleep(300)
    os._exit(0)
time.sleep(300)
"""
STUBBORN = """\
import signal, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
open("ready", "w").close()
time.sleep(300)
"""


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def test_exit_code_zero_is_success(run: Run) -> None:
    report = run(["true"])

    assert report.ok
    assert (report.exit_code, report.exit_signal) == (0, None)
    assert report.state is RunState.COMPLETED


def test_an_exit_code_is_reported_and_is_a_failure(run: Run) -> None:
    report = run("exit 7")

    assert (report.state, report.exit_code, report.exit_signal) == (RunState.FAILED, 7, None)
    assert "exit code 7" in report.reason


def test_a_signal_is_reported_as_a_signal(run: Run) -> None:
    report = run("kill -SEGV $$")

    assert (report.state, report.exit_code, report.exit_signal) == (RunState.FAILED, None, signal.SIGSEGV)
    assert "SIGSEGV" in report.reason


def test_a_shell_that_finds_no_command_says_so(run: Run) -> None:
    report = run("no-such-program-anywhere")

    assert report.exit_code == 127
    assert "not found" in report.reason


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["no-such-program-anywhere"], "No such file"),
        (["/no/such/program"], "No such file"),
        (["/"], "Permission denied"),
    ],
)
def test_what_cannot_be_executed_is_a_start_error_with_a_report(
    submit: Submit, model_run: ModelRun, command: list[str], problem: str
) -> None:
    # A PATH of its own: one with a directory that may not be read has "Permission denied" for what is nowhere.
    with pytest.raises(StartError, match=problem) as caught:
        submit(command, env_vars={"PATH": "/usr/bin:/bin"})

    assert caught.value.report.state is RunState.NOT_STARTED
    assert model_run.report == caught.value.report
    assert read_report(model_run.workspace_dir).state is RunState.NOT_STARTED


def test_a_file_that_is_no_program_is_a_start_error(submit: Submit, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x00\x01\x02")
    program.chmod(0o755)

    with pytest.raises(StartError, match="Exec format error"):
        submit([str(program)])


def test_a_file_that_is_not_executable_is_a_start_error(submit: Submit, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)

    with pytest.raises(StartError, match="Permission denied"):
        submit([str(program)])


def test_a_missing_working_dir_is_a_start_error(submit: Submit) -> None:
    with pytest.raises(StartError, match="working_dir"):
        submit(["true"], working_dir="nowhere")


def test_run_says_false_where_submit_raises(model_run: ModelRun, caplog: pytest.LogCaptureFixture) -> None:
    assert model_run.run("local", command=["/no/such/program"]) is False

    assert "cannot be executed" in caplog.text
    assert model_run.report is not None
    assert model_run.report.state is RunState.NOT_STARTED


def test_a_missing_interpreter_is_a_start_error(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")

    with pytest.raises(StartError, match="no Python interpreter"):
        submit(["true"])


def test_a_supervisor_that_cannot_start_is_a_start_error(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")

    with pytest.raises(StartError, match="supervisor could not be started"):
        submit(["true"])


def test_a_supervisor_that_dies_at_once_is_a_start_error(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")

    with pytest.raises(StartError, match="before it began"):
        submit(["true"])


@pytest.mark.parametrize("source", [None, DAEMON], ids=["tree", "daemon"])
def test_a_timed_out_run_leaves_no_process_behind(run: Run, living: Living, source: str | None) -> None:
    report = run(python(source) if source else TREE, timeout=0.7, grace_s=5)

    assert report.state is RunState.TIMED_OUT
    assert "0.7 s" in report.reason
    assert living() == []


def test_a_stubborn_run_is_killed_after_its_grace(run: Run, living: Living) -> None:
    report = run(python(STUBBORN), timeout=1.0, grace_s=0.3)

    assert (report.state, report.exit_signal) == (RunState.TIMED_OUT, signal.SIGKILL)
    assert living() == []
    assert any("grace_s" in warning for warning in report.warnings)


def test_a_stopped_run_can_be_ended(run: Run, living: Living) -> None:
    report = run("kill -STOP $$", timeout=0.5, grace_s=5)

    assert (report.state, report.exit_signal) == (RunState.TIMED_OUT, signal.SIGTERM)
    assert living() == []


def test_the_signal_that_asks_can_be_chosen(run: Run) -> None:
    report = run("trap 'echo asked; exit 3' USR1; while :; do sleep 0.02; done", timeout=0.5, stop_signal="USR1")

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "asked\n"
    assert (report.state, report.exit_code) == (RunState.TIMED_OUT, 3)


def test_run_raises_timeout_error_for_the_wall_clock_limit(model_run: ModelRun) -> None:
    with pytest.raises(TimeoutError, match=r"0\.3 s"):
        model_run.run("local", command="sleep 60", timeout=0.3)


def test_processes_that_outlive_the_command_are_ended_and_listed(run: Run, living: Living) -> None:
    report = run("setsid sleep 300 & exit 0")

    assert report.ok
    assert living() == []
    assert len(report.leftovers) == 1
    assert "sleep" in report.leftovers[0]


def test_a_run_can_wait_for_what_outlives_its_command(run: Run, model_run: ModelRun) -> None:
    report = run("(sleep 0.3; echo late > late) & exit 0", leftovers="wait")

    assert report.ok
    assert (model_run.workspace_dir / "late").exists()
    assert report.leftovers == ()


def test_waiting_for_what_outlives_the_command_has_the_limits_of_the_run(run: Run, living: Living) -> None:
    report = run("sleep 300 & exit 0", leftovers="wait", timeout=0.5)

    assert report.state is RunState.TIMED_OUT
    assert living() == []


def test_a_run_can_leave_what_outlives_its_command(run: Run, living: Living, marked: Marked) -> None:
    report = run("exec 2>&- >&-; setsid sleep 300 & exit 0", leftovers="leave")

    left = living()
    for process in marked():
        process.kill()
    assert report.ok
    assert left == ["sleep 300"]
    assert "left running" in report.leftovers[0]


def test_a_daemon_that_holds_the_output_holds_up_nothing(run: Run, living: Living) -> None:
    report = run("echo done; setsid sleep 300 & exit 0")

    assert report.ok
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "done\n"
    assert living() == []


def test_cancel_from_another_thread_ends_the_run(submit: Submit, living: Living) -> None:
    handle = submit(TREE)
    threading.Thread(target=handle.cancel).start()

    report = handle.wait(15)

    assert report.state is RunState.CANCELLED
    assert living() == []
    assert handle.cancel() is False


def test_cancel_by_the_record_ends_the_run(submit: Submit, model_run: ModelRun, living: Living) -> None:
    handle = submit(TREE)

    report = cancel(model_run.workspace_dir, timeout=15)

    assert report.state is RunState.CANCELLED
    assert "another process" in report.reason
    assert living() == []
    assert handle.wait(15).state is RunState.CANCELLED


def test_an_exception_in_the_block_cancels_the_run(submit: Submit, living: Living) -> None:
    with pytest.raises(RuntimeError, match="mine"), submit(TREE) as handle:
        raise RuntimeError("mine")

    assert handle.done()
    assert handle.state is RunState.CANCELLED
    assert living() == []


def test_a_handle_can_be_awaited(submit: Submit) -> None:
    async def both() -> list[RunReport]:
        async def one() -> RunReport:
            return await submit(["true"])

        return [await one(), await one()]

    reports = asyncio.run(both())

    assert [report.ok for report in reports] == [True, True]


def test_handles_can_be_waited_for_together(tmp_path: Path) -> None:
    runs = [ModelRun(run_id=f"run{number}", output_dir=tmp_path) for number in range(2)]
    slow, fast = (run.submit(command=words) for run, words in zip(runs, ("sleep 60", "true"), strict=True))

    done, pending = futures.wait([slow.future, fast.future], timeout=15, return_when=futures.FIRST_COMPLETED)

    assert (done, pending) == ({fast.future}, {slow.future})
    assert slow.future.cancel() is False
    slow.cancel()
    assert slow.future.result(15).state is RunState.CANCELLED


def test_a_wait_that_runs_out_leaves_the_run_alone(submit: Submit) -> None:
    handle = submit("sleep 60")

    with pytest.raises(TimeoutError, match="has not ended"):
        handle.wait(0.05)

    assert handle.state is RunState.RUNNING
    handle.cancel()
    assert handle.wait(15).state is RunState.CANCELLED


def test_a_second_run_in_a_live_workspace_is_refused(submit: Submit) -> None:
    with submit("sleep 60") as handle:
        with pytest.raises(StartError, match="live run already") as caught:
            submit(["true"])
        handle.cancel()

    assert caught.value.report.state is RunState.NOT_STARTED


def test_a_killed_supervisor_takes_the_command_with_it_and_the_run_is_lost(
    submit: Submit, living: Living, until: Until
) -> None:
    handle = submit("exec sleep 300")
    supervisor = handle._record.report.supervisor
    until(lambda: len(living()) >= 1)

    psutil.Process(supervisor.pid).kill()
    report = handle.wait(15)

    until(lambda: living() == [], "the command's death")
    assert report.state is RunState.LOST
    assert str(supervisor.pid) in report.reason


def test_a_supervisor_that_is_asked_to_end_ends_the_run(submit: Submit, living: Living) -> None:
    handle = submit("sleep 300")

    psutil.Process(handle._record.report.supervisor.pid).terminate()
    report = handle.wait(15)

    assert report.state is RunState.CANCELLED
    assert living() == []


def test_many_runs_at_once_do_not_mix(tmp_path: Path, token: str, living: Living) -> None:
    def one(number: int) -> RunHandle:
        run = ModelRun(run_id=f"run{number}", output_dir=tmp_path)
        return run.submit("local", command=f"echo {number}; exit {number % 3}", env_vars={"ROMPY_TEST_TOKEN": token})

    reports = [handle.wait(30) for handle in [one(number) for number in range(8)]]

    for number, report in enumerate(reports):
        assert report.stdout_path is not None
        assert report.stdout_path.read_text() == f"{number}\n"
        assert report.exit_code == number % 3
    assert living() == []


def test_the_cpu_time_of_the_whole_tree_is_counted(run: Run) -> None:
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"

    report = run(
        [
            sys.executable,
            "-c",
            f"import subprocess, sys\nfor _ in range(2): subprocess.run([sys.executable, '-c', {busy!r}])",
        ]
    )

    assert report.cpu_time_s is not None
    assert report.cpu_time_s >= 0.6
    assert report.wall_time_s is not None
    assert report.wall_time_s >= 0.6


def test_the_time_series_can_be_read_while_the_run_goes_on(submit: Submit, model_run: ModelRun, until: Until) -> None:
    with submit(python("import time; x = bytearray(2**26); time.sleep(60)")) as handle:
        until(lambda: handle.usage is not None and handle.usage.rss_bytes > 2**26, "a sample with the memory")
        usage_path = read_report(model_run.workspace_dir).usage_path
        assert usage_path is not None
        lines = usage_path.read_text().splitlines()
        handle.cancel()

    assert lines[0].startswith("elapsed_s,cpu_time_s,rss_bytes")
    assert all(line.count(",") == lines[0].count(",") for line in lines)
    assert handle.wait().peak_rss_bytes >= 2**26


def test_a_run_in_a_thread_that_has_ended_goes_on(submit: Submit, living: Living) -> None:
    handles: list[RunHandle] = []
    thread = threading.Thread(target=lambda: handles.append(submit("sleep 0.4; echo alive")))
    thread.start()
    thread.join()

    report = handles[0].wait(15)

    assert report.ok
    assert living() == []


def test_the_record_says_when(run: Run) -> None:
    before = time.time()

    report = run("sleep 0.1")

    assert report.finished_at is not None
    assert before - 1 <= report.started_at.timestamp() <= report.finished_at.timestamp() <= time.time() + 1
    assert report.started_at.utcoffset() is not None
