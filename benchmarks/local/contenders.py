"""Who is compared: one entry each, and the process that runs commands for it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from environments import EnvironmentMissingError, python_with

_WORKERS: Final = Path(__file__).resolve().parent / "workers"
_START_LIMIT_S: Final = 60.0


class ContenderError(Exception):
    """The contender cannot be measured; the text says why."""


@dataclass(frozen=True)
class Contender:
    """One row of the tables.

    Attributes:
        name: As the tables show it.
        worker: The file below ``workers/``, or anywhere, that runs its commands, and its options.
        cases: The cases that it takes part in.
        requirement: What is installed for it; ``None`` where this project's environment has it.
        program: Where only its command line is measured: the program in its environment, and options.
        replaces: Run instead of the case's command.
    """

    name: str
    worker: tuple[str, ...]
    cases: frozenset[str]
    requirement: str | None = None
    program: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()

    def argv(self, command: Sequence[str]) -> list[str]:
        """Give the words that its worker runs for *command*."""
        if self.replaces:
            return list(self.replaces)
        if self.program and self.requirement is not None:
            name, *options = self.program
            return [str(python_with(self.requirement).parent / name), *options, *command]
        return list(command)

    def check_installed(self) -> None:
        """Install it where it is not.

        Raises:
            ContenderError: It cannot be installed.
        """
        try:
            if self.requirement is not None:
                python_with(self.requirement)
        except EnvironmentMissingError as exc:
            raise ContenderError(str(exc)) from exc

    @contextlib.contextmanager
    def working(self) -> Iterator[Worker]:
        """Start a worker of this contender, warm it up with one run, and end it.

        Raises:
            ContenderError: It does not start, or fails at ``true``.
        """
        script, *options = self.worker
        python = python_with(self.requirement) if self.requirement and not self.program else Path(sys.executable)
        with tempfile.TemporaryDirectory(prefix="rompy-compare-") as folder:
            worker = Worker([str(python), str(_WORKERS / script), *options], Path(folder, "stderr.log"))
            try:
                worker.run(self.argv(["true"]))
                yield worker
            finally:
                worker.close()


@dataclass(frozen=True)
class Measured:
    """What a worker measured: one time a run, and its own resident memory over all of them."""

    seconds: Sequence[float]
    growth_bytes: int
    timed_out: bool
    stdout_bytes: int | None


@final
class Worker:
    """A process that is kept alive and runs one command after another for one contender."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self._log = log
        self._unread = b""
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                words, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0
            )
        try:
            self._answer(_START_LIMIT_S)
        except ContenderError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def hold(self, size: int) -> None:
        """Have it keep *size* bytes in its memory from now on."""
        self._send({"hold": size})
        self._answer(60.0)

    def run(
        self,
        argv: Sequence[str],
        *,
        times: int = 1,
        timeout: float | None = None,
        grace_s: float = 5.0,
        limit_s: float = 120.0,
    ) -> Measured:
        """Run a command *times* times and give what was measured.

        Raises:
            ContenderError: The contender failed, or did not return within *limit_s*.
        """
        with self.running(argv, times=times, timeout=timeout, grace_s=grace_s, limit_s=limit_s) as result:
            pass
        return result[0]

    @contextlib.contextmanager
    def running(
        self,
        argv: Sequence[str],
        *,
        times: int = 1,
        timeout: float | None = None,
        grace_s: float = 5.0,
        limit_s: float = 120.0,
    ) -> Iterator[list[Measured]]:
        """As ``run``, with something else to do meanwhile; the list has the result after the block."""
        result: list[Measured] = []
        with tempfile.TemporaryDirectory(prefix="rompy-compare-", ignore_cleanup_errors=True) as directory:
            asked = {"argv": argv, "directory": directory, "times": times, "timeout": timeout, "grace_s": grace_s}
            self._send(asked)
            yield result
            result.append(Measured(**self._answer(limit_s)))

    def close(self) -> None:
        """End it."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:  # threads of a library that wait for a process that it left behind
            self._process.kill()
            self._process.wait()

    def _send(self, request: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except OSError as exc:
            raise ContenderError(self._gone()) from exc

    def _answer(self, limit_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        number, deadline = self._process.stdout.fileno(), time.monotonic() + limit_s
        while b"\n" not in self._unread:
            ready, _, _ = select.select([number], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self._process.kill()
                raise ContenderError(f"did not return within {limit_s:.0f} s")
            data = os.read(number, 2**16)
            if not data:
                raise ContenderError(self._gone())
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer

    def _gone(self) -> str:
        said = self._log.read_text(errors="replace").strip().splitlines()
        return f"its worker ended: {said[-1] if said else 'without a word'}"


_ALL: Final = frozenset({"true", "big-caller", "output", "timeouts", "monitor"})
_BENCHEXEC: Final = "benchexec==3.35"
_CON_DUCT: Final = "con-duct==0.23.0"

PLAIN: Final = Contender("`subprocess.run`", ("subprocess_worker.py",), _ALL)
BARE: Final = Contender(
    "`python -I -S -c pass`",
    ("subprocess_worker.py",),
    frozenset({"true"}),
    replaces=(sys.executable, "-I", "-S", "-c", "pass"),
)
OURS: Final = Contender("**rompy-local**", ("ours_worker.py",), _ALL)
OURS_STREAMING: Final = Contender(
    "**rompy-local**, also to a logger", ("ours_worker.py", "--stream"), frozenset({"output"})
)
RUNEXEC: Final = Contender(
    "runexec, no container", ("runexec_worker.py", "--no-container"), _ALL, requirement=_BENCHEXEC
)
RUNEXEC_CONTAINER: Final = Contender("runexec, container", ("runexec_worker.py",), _ALL, requirement=_BENCHEXEC)
CONTENDERS: Final = (
    PLAIN,
    BARE,
    OURS,
    OURS_STREAMING,
    Contender("upstream rompy, buffered", ("rompy_worker.py",), _ALL - {"monitor"}, requirement="rompy==0.6.4"),
    Contender("con-duct", ("con_duct_worker.py",), _ALL, requirement=_CON_DUCT),
    Contender(
        "con-duct, to files only", ("con_duct_worker.py", "--to-file"), frozenset({"output"}), requirement=_CON_DUCT
    ),
    Contender(
        "con-duct, command line (starts an interpreter)",
        ("subprocess_worker.py",),
        frozenset({"true"}),
        requirement=_CON_DUCT,
        program=("con-duct", "run"),
    ),
    Contender("PSI/J", ("psij_worker.py",), _ALL - {"monitor"}, requirement="psij-python==0.9.11"),
    RUNEXEC,
    RUNEXEC_CONTAINER,
    Contender(
        "runexec, command line (starts an interpreter)",
        ("subprocess_worker.py", "--expect", "returnvalue=0"),
        frozenset({"true"}),
        requirement=_BENCHEXEC,
        program=("runexec", "--read-only-dir", "/", "--dir", "/", "--output", os.devnull, "--"),
    ),
)
