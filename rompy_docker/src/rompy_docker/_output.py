"""Write what a container says to the log files, whoever reads them and however slowly."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final, final

from rompy_docker._engine import Attached

_OVERSHOOT: Final = 2**25
"""How far the logs may grow past their limit, bytes, while the run is being ended; what comes after is dropped."""


@final
class Output:
    """The captured output of one container.

    It is read in a thread of its own that does nothing else: a container whose output is not read stops.

    Attributes:
        size: Bytes that came, both streams together.
        is_over: Whether the stream has ended: with the container, or with the engine.
        news: Set when the limit is passed, and at the end of the stream.
        problem: Why not all of it could be written; empty where it was.
    """

    def __init__(self, stdout_path: Path, stderr_path: Path, *, size_limit: int | None) -> None:
        """Open the files.

        Args:
            stdout_path: Where standard output goes.
            stderr_path: Where standard error goes.
            size_limit: Limit for both together, bytes.

        Raises:
            OSError: A file could not be opened.
        """
        self.size = 0
        self.is_over = False
        self.news = threading.Event()
        self.problem = ""
        self._limit = size_limit
        self._thread: threading.Thread | None = None
        self._stream: Attached | None = None
        self._files = [_opened(stdout_path)]
        try:
            self._files.append(_opened(stderr_path))
        except OSError:
            os.close(self._files[0])
            raise

    @property
    def is_past_limit(self) -> bool:
        """Whether there is more of it than is allowed."""
        return self._limit is not None and self.size > self._limit

    def follow(self, stream: Attached) -> None:
        """Read *stream* to its end, in a thread."""
        self.is_over = False
        self._stream = stream
        self._thread = threading.Thread(target=self._read, args=(stream,), name="rompy-docker-output", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Wait for the rest of the stream, at most so long, and close the files."""
        if self._thread is not None and self._stream is not None:
            self._thread.join(timeout_s)
            self._stream.interrupt()  # if the engine hangs, the stream has no end of its own
            self._thread.join()
        while self._files:
            os.close(self._files.pop())

    def _read(self, stream: Attached) -> None:
        try:
            for stdout, stderr in stream:
                for file, data in zip(self._files, (stdout, stderr), strict=True):
                    if data:
                        self._take(file, data)
        except Exception as exc:  # noqa: BLE001 - the SDK's and the operating system's errors; the run must not hang
            self.problem = self.problem or f"its output could not be read to the end: {type(exc).__name__}: {exc}"
        finally:
            stream.close()
            self.is_over = True
            self.news.set()

    def _take(self, file: int, data: bytes) -> None:
        was_past = self.is_past_limit
        self.size += len(data)
        if self.is_past_limit and not was_past:
            self.news.set()
        if self._limit is not None and self.size > self._limit + _OVERSHOOT:
            return
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError as exc:
            # Read on: a container whose output is not read stops, and there would be no end to report.
            self.problem = self.problem or f"its output could not be written: {exc.strerror or exc}"


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
