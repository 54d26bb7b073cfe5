"""The caller's side of the process beside each run; see ``_guard``."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final, final

from rompy_core import ProcessIdentity, identify

_BOOTSTRAP: Final = (
    "import sys; sys.path.append(sys.argv[1]); from rompy_docker._guard import main; main(int(sys.argv[2]))"
)
_HOME: Final = str(Path(__file__).resolve().parents[1])
_INTERPRETER_FLAGS: Final = ("-I", "-S")
_GOODBYE_S: Final = 5.0


class WatchdogError(Exception):
    """The process could not be started; the text says why."""


@final
class Watchdog:
    """A process that ends the container if this one dies first."""

    def __init__(self) -> None:
        """Start the process; it guards nothing yet.

        Raises:
            WatchdogError: It could not be started.
        """
        self._sending = threading.Lock()
        self._process = _spawn()
        self.identity: ProcessIdentity = identify(self._process.pid)

    @property
    def is_alive(self) -> bool:
        """Whether it still guards; another process may have killed it."""
        return self._process.poll() is None

    def guard(self, **order: Any) -> None:
        """Say what to do if this process dies: the arguments of ``_reap.end_abandoned``."""
        self._send(json.dumps(order | {"path": [os.path.abspath(entry) for entry in sys.path]}))  # noqa: PTH100 - "" is this directory

    def release(self) -> None:
        """Let it go, for the run has ended and its record is complete."""
        self._send("\nrelease" if self.is_alive else "")
        with self._sending, contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:  # somebody has stopped it
            self._process.kill()
            self._process.wait()

    def _send(self, line: str) -> None:
        with self._sending, contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(line.encode("ascii") + b"\n")
                self._process.stdin.flush()


def _spawn() -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise WatchdogError("there is no Python interpreter to guard the run: sys.executable is not set")
    try:
        # No preexec_fn: it would turn vfork into fork, which takes hundreds of milliseconds from a large process.
        return subprocess.Popen(
            [sys.executable, *_INTERPRETER_FLAGS, "-c", _BOOTSTRAP, _HOME, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    except OSError as exc:
        raise WatchdogError(f"the process that guards the run could not be started: {exc.strerror or exc}") from exc
