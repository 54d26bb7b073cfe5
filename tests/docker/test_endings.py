"""Every way in which a container can end: what the report, the record and ``run()`` say, and that nothing is left.

The fixture ``run`` compares the three with one another, and ``containers`` looks for what is left, in every test.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rompy_core import ModelRun, RunHandle, RunReport, RunState, StartError, cancel, read_report

Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]
Until = Callable[..., None]
Containers = Callable[[], list[dict[str, Any]]]
MB = 2**20

STUBBORN = "trap '' TERM; echo begun; while :; do sleep 0.05; done"


def sh(source: str) -> list[str]:
    return ["sh", "-c", source]


def stdout(report: RunReport) -> str:
    assert report.stdout_path is not None
    return report.stdout_path.read_text()


def test_exit_code_zero_is_success(run: Run) -> None:
    report = run("true")

    assert (report.state, report.exit_code, report.exit_signal) == (RunState.COMPLETED, 0, None)
    assert report.reason == "the command ended with exit code 0"
    assert report.warnings == ()


def test_an_exit_code_is_reported_and_is_a_failure(run: Run) -> None:
    report = run(sh("echo why >&2; exit 7"))

    assert (report.state, report.exit_code, report.exit_signal) == (RunState.FAILED, 7, None)
    assert report.reason == "the command ended with exit code 7; the last line of output: 'why'"


def test_a_signal_is_reported_as_a_signal(run: Run) -> None:
    report = run(sh("kill -SEGV $$"))

    assert (report.state, report.exit_code, report.exit_signal) == (RunState.FAILED, None, signal.SIGSEGV)
    assert "SIGSEGV" in report.reason


def test_a_kill_by_somebody_else_is_a_signal_and_not_a_matter_of_memory(run: Run) -> None:
    report = run(sh("kill -KILL $$"), memory="100m")

    assert (report.state, report.exit_signal) == (RunState.FAILED, signal.SIGKILL)
    assert "SIGKILL" in report.reason


def test_a_command_that_is_killed_for_its_memory_is_out_of_memory(run: Run, images: Any) -> None:
    report = run(["python3", "-c", f"x = b'x' * {300 * MB}"], image=images.python, memory="64m")

    assert (report.state, report.exit_code, report.exit_signal) == (RunState.OUT_OF_MEMORY, None, signal.SIGKILL)
    assert f"memory limit of {64 * MB} bytes" in report.reason


def test_process_1_that_is_killed_for_its_memory_is_out_of_memory(run: Run, images: Any) -> None:
    report = run(["python3", "-c", f"x = b'x' * {300 * MB}"], image=images.python, memory="64m", init=False)

    assert (report.state, report.exit_signal) == (RunState.OUT_OF_MEMORY, signal.SIGKILL)


def test_a_child_that_is_killed_for_its_memory_is_a_warning_where_the_command_succeeds(run: Run, images: Any) -> None:
    report = run(sh(f"python3 -c 'x = b\"x\" * {300 * MB}'; exit 0"), image=images.python, memory="64m")

    assert (report.state, report.exit_code) == (RunState.COMPLETED, 0)
    assert [warning for warning in report.warnings if f"memory limit of {64 * MB} bytes" in warning], report.warnings


def test_a_child_that_is_killed_for_its_memory_is_the_cause_where_the_command_fails(run: Run, images: Any) -> None:
    report = run(sh(f"python3 -c 'x = b\"x\" * {300 * MB}' || exit 5"), image=images.python, memory="64m")

    assert (report.state, report.exit_code) == (RunState.OUT_OF_MEMORY, 5)


def test_a_timeout_ends_the_container_and_keeps_its_output(run: Run) -> None:
    report = run(sh("echo out; echo err >&2; sleep 60"), timeout=1.0, grace_s=5)

    assert (report.state, report.exit_code, report.exit_signal) == (RunState.TIMED_OUT, None, signal.SIGTERM)
    assert report.reason == "exceeded its timeout of 1 s"
    assert stdout(report) == "out\n"
    assert report.stderr_path is not None
    assert report.stderr_path.read_text() == "err\n"
    assert report.warnings == ()


@pytest.mark.parametrize("init", [True, False])
def test_a_command_that_ignores_the_request_to_end_is_killed_after_its_grace(run: Run, init: bool) -> None:
    report = run(sh(STUBBORN), timeout=0.7, grace_s=0.5, init=init)

    assert (report.state, report.exit_signal) == (RunState.TIMED_OUT, signal.SIGKILL)
    assert report.wall_time_s is not None
    assert 1.2 <= report.wall_time_s <= 0.7 + 0.5 + 3  # 1 is promised; the machine may have other things to do
    assert any("grace_s (0.5 s)" in warning for warning in report.warnings)
    assert stdout(report) == "begun\n"


def test_any_time_above_zero_can_be_a_timeout(run: Run) -> None:
    report = run("sleep 60", timeout=0.001)

    assert (report.state, report.reason) == (RunState.TIMED_OUT, "exceeded its timeout of 0.001 s")


def test_without_a_grace_the_container_is_killed_at_once(run: Run) -> None:
    report = run(sh("trap 'echo asked' TERM; while :; do sleep 0.05; done"), timeout=0.5, grace_s=0)

    assert (report.state, report.exit_signal) == (RunState.TIMED_OUT, signal.SIGKILL)
    assert stdout(report) == ""
    assert report.warnings == ()


def test_a_stopped_container_can_be_ended(run: Run) -> None:
    report = run(sh("kill -STOP $$"), timeout=0.5, grace_s=0.5)

    assert report.state is RunState.TIMED_OUT


def test_a_paused_container_can_be_ended(submit: Submit, containers: Containers, api: Any) -> None:
    handle = submit("sleep 60", timeout=1.0, grace_s=0.3)
    api.pause(containers()[0]["Id"])

    report = handle.wait(20)

    assert report.state is RunState.TIMED_OUT
    assert containers() == []


def test_processes_of_their_own_session_end_with_the_container(run: Run, model_run: ModelRun) -> None:
    report = run(sh("setsid sh -c 'sleep 1; echo alive > late' & exit 0"))

    time.sleep(1.2)
    assert report.ok
    assert not (model_run.workspace_dir / "late").exists()


def test_cancel_ends_the_container(submit: Submit, containers: Containers) -> None:
    handle = submit("sleep 60")
    threading.Thread(target=handle.cancel).start()

    report = handle.wait(15)

    assert (report.state, report.reason) == (RunState.CANCELLED, "cancelled by its caller")
    assert containers() == []
    assert handle.cancel() is False
    assert read_report(report.workspace_dir) == report


def test_another_process_can_cancel_by_the_record(submit: Submit, model_run: ModelRun, containers: Containers) -> None:
    handle = submit("sleep 60")
    source = "import sys, rompy_core; print(rompy_core.cancel(sys.argv[1], timeout=15).state)"

    other = subprocess.run(
        [sys.executable, "-c", source, model_run.workspace_dir], capture_output=True, text=True, check=False
    )

    assert other.stdout == "CANCELLED\n", other.stderr
    assert containers() == []
    assert "another process" in handle.wait(15).reason


def test_a_run_can_be_cancelled_by_the_record_while_it_is_being_started(
    model_run: ModelRun, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rompy_docker._engine import Engine

    create = Engine.create

    def slow(*args: Any) -> str:
        container = create(*args)
        threading.Thread(target=cancel, args=[model_run.workspace_dir], kwargs={"timeout": 15}).start()
        while not list(model_run.workspace_dir.glob(".rompy/*/cancel")):
            time.sleep(0.01)
        return container

    monkeypatch.setattr(Engine, "create", slow)

    with pytest.raises(StartError, match="cancelled from another process") as caught:
        submit("sleep 60")

    assert caught.value.report.state is RunState.CANCELLED
    assert read_report(model_run.workspace_dir) == caught.value.report


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["no-such-program"], "'no-such-program' cannot be executed: No such file"),
        (["/no/such/program"], "'/no/such/program' cannot be executed: No such file"),
        (["./no-such-program"], "No such file"),
        (["./text"], "Permission denied: it is not executable"),
        (["/"], "it is a directory"),
        (["."], "it is a directory"),
        (["./deep"], "it is a directory"),
    ],
)
@pytest.mark.parametrize("init", [True, False])
def test_what_cannot_be_executed_is_not_started(
    run: Run, model_run: ModelRun, words: list[str], problem: str, init: bool
) -> None:
    workspace = model_run.generate()
    (workspace / "text").write_text("no program\n")
    (workspace / "deep").mkdir()

    report = run(words, init=init)

    assert (report.state, report.exit_code, report.exit_signal) == (RunState.NOT_STARTED, None, None)
    assert problem in report.reason


def test_a_script_whose_interpreter_is_missing_is_not_started(run: Run, model_run: ModelRun) -> None:
    program = model_run.generate() / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)

    report = run("./program")

    assert report.state is RunState.NOT_STARTED
    assert "the command cannot be executed" in report.reason
    assert "No such file or directory" in report.reason


@pytest.mark.parametrize("content", ["#!/no/such/interpreter\n", "\x7fELF and nothing else"])
def test_what_only_the_kernel_finds_not_executable_is_a_failure_that_says_so_without_init(
    run: Run, model_run: ModelRun, content: str
) -> None:
    program = model_run.generate() / "program"
    program.write_text(content)
    program.chmod(0o755)

    report = run("./program", init=False)

    assert not report.ok
    assert "./program" in report.reason


@pytest.mark.parametrize("code", [126, 127])
def test_a_command_that_itself_says_that_something_was_not_found_was_started(run: Run, code: int) -> None:
    report = run(sh(f"exit {code}"))

    assert (report.state, report.exit_code) == (RunState.FAILED, code)


def test_a_command_of_the_workspace_is_found_through_links(run: Run, model_run: ModelRun) -> None:
    workspace = model_run.generate()
    (workspace / "model").symlink_to("run-me")
    (workspace / "run-me").symlink_to("/app/run_id/program")
    (workspace / "program").write_text("#!/bin/sh\necho here\n")
    (workspace / "program").chmod(0o755)

    report = run("./model")

    assert stdout(report) == "here\n"


def test_submit_raises_where_run_says_false(submit: Submit, model_run: ModelRun) -> None:
    with pytest.raises(StartError, match="cannot be executed") as caught:
        submit("no-such-program")

    assert caught.value.report.state is RunState.NOT_STARTED
    assert model_run.report == caught.value.report
    assert read_report(model_run.workspace_dir) == caught.value.report


def test_an_image_that_is_not_there_and_must_not_be_pulled_is_not_started(run: Run) -> None:
    report = run("true", image="rompy-test-no-such-image:none", pull="never")

    assert report.state is RunState.NOT_STARTED
    assert "rompy-test-no-such-image:none" in report.reason


@pytest.mark.parametrize("pull", ["missing", "always"])
def test_an_image_that_cannot_be_pulled_is_not_started(run: Run, pull: str) -> None:
    # Nothing listens on that port, so no network is asked.
    report = run("true", image="127.0.0.1:9/rompy-test/no-such-image:none", pull=pull)

    assert report.state is RunState.NOT_STARTED
    assert "127.0.0.1:9/rompy-test/no-such-image:none" in report.reason


def test_an_engine_that_is_not_there_is_not_started(run: Run, tmp_path: Path) -> None:
    report = run("true", engine=f"unix://{tmp_path}/no-such-socket")

    assert report.state is RunState.NOT_STARTED
    assert f"{tmp_path}/no-such-socket" in report.reason
    assert "No such file" in report.reason


def test_a_socket_that_nobody_listens_on_is_not_started(run: Run, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as mine:
        mine.bind(f"{tmp_path}/deaf")

        report = run("true", engine=f"unix://{tmp_path}/deaf")

    assert report.state is RunState.NOT_STARTED
    assert "refused" in report.reason


def test_a_container_that_somebody_else_removes_is_a_failure(
    submit: Submit, containers: Containers, api: Any, until: Until
) -> None:
    handle = submit(sh("echo begun; sleep 60"))
    until(lambda: stdout(read_report(handle.record_dir)) == "begun\n")

    api.remove_container(containers()[0]["Id"], force=True)
    report = handle.wait(15)

    # The removal begins with a kill, and which of the two is seen first is a matter of luck.
    assert (report.state, report.exit_code) == (RunState.FAILED, None)
    assert "removed by somebody else" in report.reason or report.exit_signal == signal.SIGKILL
    assert stdout(report) == "begun\n"
    assert read_report(report.workspace_dir) == report


def test_too_much_output_ends_the_container(run: Run) -> None:
    report = run("yes", log_size_limit="1m", grace_s=1)

    assert report.state is RunState.LIMIT_EXCEEDED
    assert "log_size_limit" in report.reason
    assert report.stdout_path is not None
    assert report.stdout_path.stat().st_size < 40 * MB


def test_a_container_that_neither_speaks_nor_writes_is_stalled(run: Run) -> None:
    report = run(sh("echo begun; sleep 60"), stall_timeout=0.7, grace_s=1)

    assert report.state is RunState.STALLED
    assert "0.7 s" in report.reason


@pytest.mark.parametrize("growth", ["echo .", "echo . >> file"])
def test_growth_of_any_kind_is_no_stall(run: Run, growth: str) -> None:
    report = run(sh(f"for i in 1 2 3 4 5 6; do {growth}; sleep 0.2; done"), stall_timeout=0.8)

    assert report.ok, report.reason


def test_a_fatal_line_ends_the_container(run: Run) -> None:
    report = run(sh("echo fine; echo 'FATAL: depth'; sleep 60"), rules={"fatal": ["FATAL"]}, grace_s=1)

    assert report.state is RunState.FAILED
    assert "'FATAL: depth'" in report.reason


def test_a_rule_that_does_not_hold_fails_a_run_with_exit_code_0(run: Run) -> None:
    report = run("true", rules={"required_files": ["*.nc"]})

    assert (report.state, report.exit_code) == (RunState.FAILED, 0)
    assert "*.nc" in report.reason


def test_a_second_run_in_a_live_workspace_is_refused(submit: Submit) -> None:
    with submit("sleep 60") as handle:
        with pytest.raises(StartError, match="live run already"):
            submit("true")
        handle.cancel()
        handle.wait(15)


def test_the_record_says_what_was_run(run: Run, images: Any) -> None:
    report = run(["echo", "two words"], env_vars={"DEPTH": "3"})

    assert report.backend == "docker"
    assert report.command == ("echo", "two words")
    assert report.env_names == ("DEPTH",)
    assert report.options["image"] == images.busybox
