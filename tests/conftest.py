"""What all tests share: processes that can be told from others, waiting for events, coverage of the small processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rompy_docker import _watchdog
from rompy_local import _calls, _sandbox

pytest_plugins = ["tests.slurm.clusters"]
TOKEN = "ROMPY_TEST_TOKEN"
ROOT = Path(__file__).resolve().parents[1]

_MEASURED = (
    "import sys; sys.path.append(sys.argv[1]); import coverage; coverage.process_startup(); from {} import main; main()"
)
_SUPERVISED = ("docker", "local")
"""Folders whose tests are for the supervisor, the guard of a container and the process of ``config.run``."""
_BESIDES = (*_SUPERVISED, "cli", "ensemble", "slurm")
"""Folders whose tests are for what other processes do: commands, drivers, workers and jobs as well."""


@pytest.fixture(scope="session", autouse=True)
def _hear_interrupts() -> None:
    """End what was started also where the tests themselves are ended.

    A shell has its background jobs ignore the interrupt, and so would all that the tests start.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def _measure_other_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where coverage is measured, measure it in the processes that are started, too, by the tests that are for those.

    Not by all tests: it takes each process a fraction of a second. The supervisor runs isolated and without
    site-packages, so coverage has to be put into its bootstrap; the others find it by the environment.
    """
    folder = request.path.parent.name
    is_measured = "coverage" in sys.modules and sys.modules["coverage"].Coverage.current() is not None
    with pytest.MonkeyPatch.context() as patch:
        if is_measured and folder in _BESIDES:
            patch.setenv("COVERAGE_PROCESS_START", str(ROOT / "pyproject.toml"))
            patch.setenv("COVERAGE_FILE", str(Path(os.environ.get("COVERAGE_FILE", ROOT / ".coverage")).absolute()))
        if is_measured and folder in _SUPERVISED:
            patch.setattr(_sandbox, "_BOOTSTRAP", _MEASURED.format("rompy_local._supervisor"))
            patch.setattr(_sandbox, "_INTERPRETER_FLAGS", ())
            guard = _MEASURED.format("rompy_docker._guard").replace("main()", "main(int(sys.argv[2]))")
            patch.setattr(_watchdog, "_BOOTSTRAP", guard)
            patch.setattr(_watchdog, "_INTERPRETER_FLAGS", ())
            patch.setattr(_calls, "_BOOTSTRAP", _MEASURED.format("rompy_local._called"))
        yield


@pytest.fixture
def until() -> Callable[..., None]:
    """Wait for a condition, with a deadline."""

    def wait(condition: Callable[[], object], what: str = "", timeout: float = 15.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited {timeout} s in vain for {what or condition}"
            time.sleep(0.005)

    return wait


@pytest.fixture
def token(request: pytest.FixtureRequest) -> str:
    """A value that marks the processes of one test: they carry it in their environment."""
    return f"{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture
def marked(token: str) -> Callable[[], list[psutil.Process]]:
    """Find the processes that carry the token and have not ended."""

    def find() -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    return find


@pytest.fixture
def living(marked: Callable[[], list[psutil.Process]]) -> Callable[[], list[str]]:
    """List the commands of those processes."""

    def find() -> list[str]:
        found: list[str] = []
        for process in marked():
            with contextlib.suppress(psutil.Error):
                found.append(" ".join(process.cmdline()))
        return found

    return find
