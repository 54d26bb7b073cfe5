"""Pass the lines of a run's output on to the logger while they come."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

from rompy_core import RunLogger
from rompy_slurm._files import last_line_of, tail_of

_LOOK_S: Final = 0.25
_BACKLOG: Final = 2**16
"""The logger gets lines only while it is at most this far behind; what it misses is counted in bytes."""


@final
class Follower:
    """Reads both streams in a thread of its own."""

    def __init__(self, streams: Mapping[str, Path], log: RunLogger) -> None:
        """Begin to read the files of *streams*, which need not exist yet."""
        self._streams = streams
        self._log = log
        self._positions = dict.fromkeys(streams, 0)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rompy-slurm-output", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Pass on what has come by now, and end."""
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            self._look()
        self._look(at_end=True)

    def _look(self, *, at_end: bool = False) -> None:
        for name, path in self._streams.items():
            with contextlib.suppress(OSError):
                self._pass_on(name, path, at_end=at_end)

    def _pass_on(self, name: str, path: Path, *, at_end: bool) -> None:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < self._positions[name]:  # begun anew, by a job that was started again
                self._positions[name] = 0
            skipped = max(size - self._positions[name] - _BACKLOG, 0)
            file.seek(self._positions[name] + skipped)
            data = file.read(_BACKLOG)
        if skipped:
            self._log.info("output skipped, for the logger is too slow", extra={"stream": name, "bytes": skipped})
        whole = len(data) if at_end else data.rfind(b"\n") + 1
        self._positions[name] += skipped + whole
        for line in data[:whole].decode("utf-8", "replace").splitlines():
            self._log.info("%s", line, extra={"stream": name})


def last_line(*paths: Path) -> str:
    """Give the last line that is not blank, of the file that was written last."""
    newest_first = sorted(paths, key=_written_at, reverse=True)
    return next((line for path in newest_first if (line := last_line_of(tail_of(path)))), "")


def _written_at(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns
    return 0
