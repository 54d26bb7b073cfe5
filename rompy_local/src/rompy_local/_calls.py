"""Call ``config.run(model_run)`` in a Python process of its own, so that it runs under the same limits as a command.

The model run travels by cloudpickle, so classes of a script or a notebook work, and through files that have no name,
so nothing of it is left on a disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast, final

import attrs
import cloudpickle

from rompy_core import ConfigError, Outcome, RunState

_BOOTSTRAP: Final = "import sys; sys.path.append(sys.argv[1]); from rompy_local._called import main; main()"
_dumps = cast("Callable[[object], bytes]", cloudpickle.dumps)  # pyright: ignore[reportUnknownMemberType]  # it is untyped
_HOME: Final = str(Path(__file__).resolve().parents[1])


@final
class ConfigCall:
    """One call of ``model_run.config.run(model_run)``: its command, and what became of it.

    Attributes:
        pass_fds: The file descriptors that the process needs.
        argv: The words to execute.
        needs: Paths that the process must be able to read.
    """

    def __init__(self, model_run: Any) -> None:
        """Prepare the call.

        Raises:
            ConfigError: The model run cannot be pickled.
        """
        try:
            payload: bytes = pickle.dumps((sys.path, _dumps(model_run)))
        except Exception as exc:
            # Pickling calls into every object that the model run holds, which may raise anything.
            what = f"config.run: the model run cannot be sent to a process of its own: {type(exc).__name__}: {exc}"
            raise ConfigError("LocalConfig", [what]) from exc
        self._payload = _nameless()
        self._result = _nameless()
        self.pass_fds: Sequence[int] = (self._payload, self._result)
        self.argv: Sequence[str] = (sys.executable, "-c", _BOOTSTRAP, _HOME, str(self._payload), str(self._result))
        self.needs: Sequence[Path] = [Path(name) for name in dict.fromkeys((sys.prefix, _HOME, *sys.path)) if name]
        with os.fdopen(os.dup(self._payload), "wb") as file:
            file.write(payload)

    def close(self) -> None:
        """Let go of the files."""
        for fd in self.pass_fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self.pass_fds = ()

    def amend(self, outcome: Outcome) -> Outcome:
        """Add to *outcome* what the call came to, and let go of the files."""
        result = self._read_result()
        self.close()
        if outcome.ended_as is not None or not result:
            return outcome
        if result["ended"] == "raised":
            reason, traceback = f"config.run() raised {result['text']}", cast("str", result["traceback"])
            return attrs.evolve(outcome, ended_as=RunState.FAILED, reason=reason, traceback=traceback)
        if result["ended"] == "failure":
            return attrs.evolve(outcome, ended_as=RunState.FAILED, reason=f"config.run() gave {result['text']}")
        return outcome

    def _read_result(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            data = os.pread(self._result, os.fstat(self._result).st_size, 0)
            return cast("dict[str, Any]", json.loads(data))
        return {}


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("rompy")
    with tempfile.TemporaryFile() as file:  # pragma: no cover - not on Linux
        return os.dup(file.fileno())
