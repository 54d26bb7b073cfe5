"""What happens to a run when its caller ends, in any way: a real caller in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rompy_core import RecordError, RunReport, RunState, read_report

Living = Callable[[], list[str]]
Until = Callable[..., None]

PRELUDE = """\
import logging, os, signal, sys, threading, time
from pathlib import Path
from rompy_core import ModelRun
model = ModelRun(run_id="case", output_dir=sys.argv[1])
options = dict(command="echo begun; setsid sleep 300 & sleep 300", timeout=60, grace_s=5,
               env_vars={"ROMPY_TEST_TOKEN": sys.argv[2]})
"""


@pytest.fixture
def call(tmp_path: Path, token: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a caller: a Python process with the source that is given."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PRELUDE + source, str(tmp_path), token]
        caller = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
        started.append(caller)
        return caller

    yield start
    for caller in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(caller.pid, signal.SIGKILL)
        caller.communicate()


@pytest.fixture
def report(tmp_path: Path) -> Callable[[], RunReport | None]:
    """Read the report of the caller's run, where there is one already."""

    def read() -> RunReport | None:
        try:
            return read_report(tmp_path / "case")
        except RecordError:
            return None

    return read


@pytest.fixture
def has_begun(report: Callable[[], RunReport | None], until: Until, living: Living) -> Callable[[], None]:
    """Wait until the caller's run is under way."""

    def wait() -> None:
        until(
            lambda: (now := report()) and now.stdout_path and now.stdout_path.exists() and now.stdout_path.read_text()
        )
        until(lambda: len(living()) >= 2)

    return wait


def _final(report: Callable[[], RunReport | None], until: Until) -> RunReport:
    until(lambda: (now := report()) and now.state is not RunState.RUNNING, "the end of the record")
    final = report()
    assert final is not None
    return final


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_run_ends_with_a_caller_that_is_killed(
    call: Callable[[str], subprocess.Popen[str]],
    has_begun: Callable[[], None],
    report: Callable[[], RunReport | None],
    living: Living,
    until: Until,
    number: int,
) -> None:
    caller = call("model.run('local', **options)")
    has_begun()

    os.kill(caller.pid, number)
    caller.wait(10)

    final = _final(report, until)
    assert living() == []
    assert final.state is RunState.CANCELLED
    assert f"its caller (pid {caller.pid})" in final.reason
    assert final.finished_at is not None
    assert final.cpu_time_s is not None


def test_the_run_ends_with_a_caller_whose_pool_thread_had_ended(
    call: Callable[[str], subprocess.Popen[str]],
    has_begun: Callable[[], None],
    report: Callable[[], RunReport | None],
    living: Living,
    until: Until,
) -> None:
    caller = call(
        "t = threading.Thread(target=lambda: model.submit('local', **options)); t.start(); t.join(); time.sleep(300)"
    )
    has_begun()

    caller.kill()

    assert _final(report, until).state is RunState.CANCELLED
    assert living() == []


def test_the_run_ends_with_a_caller_that_does_not_wait(
    call: Callable[[str], subprocess.Popen[str]],
    report: Callable[[], RunReport | None],
    living: Living,
    until: Until,
) -> None:
    caller = call("model.submit('local', **options)")

    assert caller.wait(15) == 0
    assert _final(report, until).state is RunState.CANCELLED
    assert living() == []


def test_the_run_ends_with_a_caller_that_becomes_another_program(
    call: Callable[[str], subprocess.Popen[str]],
    report: Callable[[], RunReport | None],
    living: Living,
    until: Until,
) -> None:
    call("model.submit('local', **options); os.execv('/bin/sleep', ['sleep', '30'])")

    assert _final(report, until).state is RunState.CANCELLED
    assert living() == []


def test_an_interrupt_cancels_the_run_and_goes_on(
    call: Callable[[str], subprocess.Popen[str]],
    has_begun: Callable[[], None],
    report: Callable[[], RunReport | None],
    living: Living,
) -> None:
    caller = call(
        "try: model.run('local', **options)\n"
        "except KeyboardInterrupt: print('interrupted', model.report.state, flush=True)"
    )
    has_begun()

    caller.send_signal(signal.SIGINT)
    output, errors = caller.communicate(timeout=20)

    assert output == "interrupted CANCELLED\n", errors
    assert living() == []
    final = report()
    assert final is not None
    assert final.state is RunState.CANCELLED


def test_a_fork_of_the_caller_does_not_keep_the_run_alive(
    call: Callable[[str], subprocess.Popen[str]],
    has_begun: Callable[[], None],
    report: Callable[[], RunReport | None],
    living: Living,
    until: Until,
) -> None:
    caller = call(
        "handle = model.submit('local', **options)\nif os.fork() == 0: time.sleep(30); os._exit(0)\ntime.sleep(300)"
    )
    has_begun()

    caller.kill()

    assert _final(report, until).state is RunState.CANCELLED
    assert living() == []


def test_a_command_that_had_ended_before_its_caller_is_not_called_a_success(
    call: Callable[[str], subprocess.Popen[str]],
    report: Callable[[], RunReport | None],
    until: Until,
) -> None:
    # The caller is stopped, so it cannot judge; then it is killed.
    caller = call(
        "options['command'] = 'exit 0'\n"
        "import rompy_core._live as live\n"
        "live.judge = lambda *_: (print('ended', flush=True), time.sleep(300))\n"
        "model.run('local', **options)"
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == "ended\n"

    caller.kill()

    final = _final(report, until)
    assert (final.state, final.exit_code) == (RunState.CANCELLED, 0)
    assert "before the verdict" in final.reason


def test_nothing_of_the_callers_surroundings_is_changed(call: Callable[[str], subprocess.Popen[str]]) -> None:
    caller = call(
        """
import ctypes
def look():
    flag = ctypes.c_int()
    ctypes.CDLL(None).prctl(37, ctypes.byref(flag), 0, 0, 0)
    mask = os.umask(0); os.umask(mask)
    handlers = [signal.getsignal(n) for n in range(1, 32)]
    files = sorted(os.listdir('/proc/self/fd'))
    return os.getcwd(), dict(os.environ), mask, handlers, flag.value, files, threading.active_count()
options['command'] = 'true'
model.run('local', **options)
before = look()
model.run('local', **options)
assert look() == before, (before, look())
print('same')
"""
    )
    output, errors = caller.communicate(timeout=30)

    assert output == "same\n", errors
