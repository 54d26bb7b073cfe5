"""What becomes of a container when its caller ends or is interrupted: a real caller in a process of its own."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rompy_core import ModelRun, RecordError, RunHandle, RunReport, RunState, read_report

Call = Callable[[str], subprocess.Popen[str]]
Containers = Callable[[], list[dict[str, Any]]]
Submit = Callable[..., RunHandle]
Until = Callable[..., None]
ReportOf = Callable[[], RunReport | None]

PRELUDE = """\
import json, logging, os, signal, sys, threading, time
from rompy_core import ModelRun
from rompy_docker import _launch as launch
from rompy_docker._engine import Engine
model = ModelRun(run_id="case", output_dir=sys.argv[1])
options = dict(json.loads(sys.argv[2]), executable=["sh", "-c", "echo begun; sleep 300"], timeout=100, grace_s=5)
def hold(owner, name, after=None):
    # Stay at a call of the backend's, or just after it, until the end or a line on standard input.
    inner = getattr(owner, name)
    def held(*args, **kwargs):
        value = inner(*args, **kwargs) if after else None
        print("held", flush=True)
        sys.stdin.readline()
        return value if after else inner(*args, **kwargs)
    setattr(owner, name, held)
"""
DURING_PREPARATION = "hold(launch, 'ready_image'); model.run('docker', **options)"
BEFORE_CREATE = "hold(Engine, 'create'); model.run('docker', **options)"
AFTER_CREATE = "hold(Engine, 'create', 1); model.run('docker', **options)"
BEFORE_START = "hold(Engine, 'start'); model.run('docker', **options)"
AFTER_START = "hold(Engine, 'start', 1); model.run('docker', **options)"


@pytest.fixture
def call(tmp_path: Path, engine_options: dict[str, Any], images: Any, containers: Containers) -> Iterator[Call]:
    """Start a caller: a Python process with the source that is given."""
    started: list[subprocess.Popen[str]] = []
    options = json.dumps({"image": images.busybox, **engine_options})

    def start(source: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PRELUDE + source, str(tmp_path), options]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        caller = subprocess.Popen(command, text=True, process_group=0, **pipes)
        started.append(caller)
        return caller

    yield start
    for caller in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(caller.pid, signal.SIGKILL)
        caller.communicate()


@pytest.fixture
def report(tmp_path: Path) -> ReportOf:
    """Read the report of the caller's run, where there is one already."""

    def read() -> RunReport | None:
        try:
            return read_report(tmp_path / "case")
        except RecordError:
            return None

    return read


@pytest.fixture
def has_begun(report: ReportOf, until: Until) -> Callable[[], None]:
    """Wait until the caller's container speaks."""

    def has_spoken() -> bool:
        now = report()
        return bool(now and now.stdout_path and now.stdout_path.exists() and now.stdout_path.read_text())

    return lambda: until(has_spoken, "the container's first word")


def _final(report: ReportOf, until: Until) -> RunReport:
    until(lambda: (now := report()) and now.state is not RunState.RUNNING, "the end of the record")
    final = report()
    assert final is not None
    return final


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_container_goes_with_a_caller_that_is_killed(
    call: Call, has_begun: Callable[[], None], report: ReportOf, containers: Containers, until: Until, number: int
) -> None:
    caller = call("model.run('docker', **options)")
    has_begun()

    os.kill(caller.pid, number)
    killed_at = time.monotonic()
    until(lambda: containers() == [], "the end of the container")
    took_s = time.monotonic() - killed_at

    final = _final(report, until)
    assert (final.state, final.reason) == (RunState.CANCELLED, "its caller ended before it did")
    assert final.finished_at is not None
    assert took_s < 2.5


@pytest.mark.parametrize(
    "source", [DURING_PREPARATION, BEFORE_CREATE, AFTER_CREATE, BEFORE_START, AFTER_START],
    ids=["during_preparation", "before_create", "after_create", "before_start", "after_start"],
)  # fmt: skip
def test_a_caller_that_is_killed_while_it_starts_a_container_leaves_none(
    call: Call, report: ReportOf, containers: Containers, until: Until, source: str
) -> None:
    caller = call(source)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "held\n", caller.communicate()

    caller.kill()

    final = _final(report, until)
    assert (final.state, final.reason) == (RunState.CANCELLED, "its caller ended before it did")
    assert containers() == []


def test_a_container_that_was_asked_for_just_before_its_callers_death_is_found(
    call: Call, report: ReportOf, containers: Containers, until: Until
) -> None:
    # A child of the caller makes the container half a second after it: as an engine does that is slow to answer.
    caller = call(
        "create = Engine.create\n"
        "def late(*args):\n"
        "    print('held', flush=True)\n"
        "    if os.fork() == 0: time.sleep(0.5); create(*args); os._exit(0)\n"
        "    time.sleep(300)\n"
        "Engine.create = late\n"
        "model.run('docker', **options)"
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == "held\n", caller.communicate()

    caller.kill()

    assert _final(report, until).state is RunState.CANCELLED
    assert containers() == []


def test_the_container_goes_with_a_caller_that_does_not_wait(
    call: Call, report: ReportOf, containers: Containers, until: Until
) -> None:
    caller = call("model.submit('docker', **options)")

    assert caller.wait(15) == 0
    assert _final(report, until).state is RunState.CANCELLED
    assert containers() == []


def test_the_container_goes_with_a_caller_that_becomes_another_program(
    call: Call, report: ReportOf, containers: Containers, until: Until
) -> None:
    call("model.submit('docker', **options); os.execv('/bin/sleep', ['sleep', '30'])")

    assert _final(report, until).state is RunState.CANCELLED
    assert containers() == []


def test_the_container_outlives_the_thread_that_started_it(call: Call, report: ReportOf, until: Until) -> None:
    call(
        "options['executable'] = ['sh', '-c', 'sleep 0.5; echo alive']\n"
        "t = threading.Thread(target=lambda: model.submit('docker', **options)); t.start(); t.join(); time.sleep(300)"
    )

    assert _final(report, until).state is RunState.COMPLETED


def test_a_fork_of_the_caller_does_not_keep_the_container_alive(
    call: Call, has_begun: Callable[[], None], report: ReportOf, containers: Containers, until: Until
) -> None:
    caller = call(
        "handle = model.submit('docker', **options)\nif os.fork() == 0: time.sleep(30); os._exit(0)\ntime.sleep(300)"
    )
    has_begun()

    caller.kill()

    assert _final(report, until).state is RunState.CANCELLED
    assert containers() == []


def test_an_interrupt_cancels_the_run_and_goes_on(
    call: Call, has_begun: Callable[[], None], report: ReportOf, containers: Containers
) -> None:
    caller = call(
        "try: model.run('docker', **options)\n"
        "except KeyboardInterrupt: print('interrupted', model.report.state, flush=True)"
    )
    has_begun()

    caller.send_signal(signal.SIGINT)
    output, errors = caller.communicate(timeout=20)

    assert output == "interrupted CANCELLED\n", errors
    assert containers() == []
    final = report()
    assert final is not None
    assert final.state is RunState.CANCELLED


def test_an_interrupt_waits_for_a_stubborn_command_no_longer_than_its_grace(
    call: Call, has_begun: Callable[[], None], containers: Containers, until: Until
) -> None:
    caller = call(
        "options['executable'][2] = \"trap '' TERM; echo begun; while :; do sleep 0.05; done\"\n"
        "with model.submit('docker', **options | {'grace_s': 0.5}) as handle: print('held', flush=True); handle.wait()"
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == "held\n", caller.communicate()
    has_begun()

    caller.send_signal(signal.SIGINT)
    interrupted_at = time.monotonic()
    until(lambda: containers() == [], "the end of the container")
    took_s = time.monotonic() - interrupted_at

    assert 0.5 <= took_s < 0.5 + 1.5


@pytest.mark.parametrize(
    "source", [DURING_PREPARATION, AFTER_CREATE, AFTER_START], ids=["during_preparation", "after_create", "after_start"]
)
def test_an_interrupt_while_the_container_is_being_started_leaves_none(
    call: Call, report: ReportOf, containers: Containers, source: str
) -> None:
    caller = call(source)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "held\n", caller.communicate()

    caller.send_signal(signal.SIGINT)
    _, errors = caller.communicate("go on\n", timeout=20)

    assert "KeyboardInterrupt" in errors
    assert containers() == []
    final = report()
    assert final is not None
    assert final.state is RunState.CANCELLED
    assert "KeyboardInterrupt" in final.reason


def test_an_exception_in_the_block_cancels_the_run_and_goes_on(submit: Submit, containers: Containers) -> None:
    with pytest.raises(RuntimeError, match="mine"), submit("sleep 300") as handle:
        raise RuntimeError("mine")

    assert handle.state is RunState.CANCELLED
    assert containers() == []


class _Failing(logging.Handler):
    def __init__(self, message: str) -> None:
        super().__init__()
        self._message = message

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == self._message:
            raise RuntimeError("a handler of the application")


@pytest.fixture
def failing_at(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[str], None]]:
    """Have the application's log handler raise at a message."""
    caplog.set_level(logging.INFO)
    handlers: list[logging.Handler] = []

    def add(message: str) -> None:
        handlers.append(_Failing(message))
        logging.getLogger("rompy_docker").addHandler(handlers[-1])

    yield add
    for handler in handlers:
        logging.getLogger("rompy_docker").removeHandler(handler)


def test_a_handler_that_raises_at_the_start_ends_the_container_and_the_exception_goes_on(
    submit: Submit, model_run: ModelRun, containers: Containers, failing_at: Callable[[str], None]
) -> None:
    failing_at("run started")

    with pytest.raises(RuntimeError, match="a handler of the application"):
        submit("sleep 300")

    assert containers() == []
    assert read_report(model_run.workspace_dir).state is RunState.CANCELLED


def test_a_handler_that_raises_at_a_line_ends_the_container(
    submit: Submit, containers: Containers, failing_at: Callable[[str], None]
) -> None:
    failing_at("boom")

    report = submit(["sh", "-c", "echo boom; sleep 300"], stream_output=True).wait(20)

    assert report.state is RunState.FAILED
    assert "a handler of the application" in report.reason
    assert containers() == []


def test_a_watchdog_that_was_killed_is_replaced(
    call: Call, has_begun: Callable[[], None], report: ReportOf, containers: Containers, until: Until
) -> None:
    caller = call("model.run('docker', **options)")
    has_begun()
    first = _watchdog(report)

    psutil.Process(first).kill()
    until(lambda: _watchdog(report) != first, "another watchdog")
    second = _watchdog(report)

    assert psutil.Process(second).ppid() == caller.pid
    caller.kill()
    assert _final(report, until).state is RunState.CANCELLED
    assert containers() == []


def test_the_watchdog_ends_with_the_run(submit: Submit) -> None:
    before = psutil.Process().children()  # such as the registry of other tests
    handle = submit("true")

    report = handle.wait(20)

    assert report.supervisor is not None
    assert not psutil.pid_exists(report.supervisor.pid)
    assert set(psutil.Process().children()) <= set(before)


def test_nothing_of_the_callers_surroundings_is_changed(call: Call) -> None:
    caller = call(
        """
def look():
    mask = os.umask(0); os.umask(mask)
    handlers = [signal.getsignal(n) for n in range(1, 32)]
    files = sorted(os.listdir('/proc/self/fd'))
    return os.getcwd(), dict(os.environ), mask, handlers, files, threading.active_count()
options['executable'] = 'true'
model.run('docker', **options)
before = look()
model.run('docker', **options)
assert look() == before, (before, look())
print('same')
"""
    )
    output, errors = caller.communicate(timeout=30)

    assert output == "same\n", errors


def _watchdog(report: ReportOf) -> int:
    now = report()
    assert now is not None
    assert now.supervisor is not None
    return now.supervisor.pid
