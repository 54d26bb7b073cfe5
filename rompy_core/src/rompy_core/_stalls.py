"""Noticing that a run has come to a standstill.

The local backend's supervisor imports this, so it takes the standard library alone, and as little of that as will do.
"""

from __future__ import annotations

import os
import time

_RECORDS = ".rompy"


class StallDetector:
    """Notices when neither the output nor a file of the workspace has grown for a time."""

    def __init__(self, workspace_dir: str | os.PathLike[str], timeout_s: float) -> None:
        """Begin to watch; what is there already counts as growth once.

        Args:
            workspace_dir: The directory whose files are watched, our own records left out.
            timeout_s: How long there may be no growth.
        """
        self._workspace_dir = workspace_dir
        self._timeout_s = timeout_s
        self._last = time.monotonic()
        self._next_look = self._last
        self._output: int = -1
        self._files: tuple[int, int, int] | None = None

    def is_stalled(self, now: float, output: int) -> bool:
        """Whether there has been no growth for the whole time.

        Args:
            now: The time, as ``time.monotonic()`` has it.
            output: The present size of the captured output, bytes.
        """
        if output != self._output:
            self._output, self._last = output, now
        # However rare the looks are, no run is called stalled without one.
        if now >= min(self._next_look, self._last + self._timeout_s):
            files = _fingerprint(self._workspace_dir)
            if files != self._files:
                self._files, self._last = files, now
            # A look at many files takes long; it may take a fiftieth of the time, no more.
            self._next_look = now + max(self._timeout_s / 10, 50 * (time.monotonic() - now))
        return now - self._last >= self._timeout_s


def _fingerprint(directory: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Sum up the files below *directory*: how many, how large, when last written; our own records left out."""
    count = size = newest = 0
    for folder, subfolders, files in os.walk(directory):
        if _RECORDS in subfolders:
            subfolders.remove(_RECORDS)
        for name in files:
            try:
                status = os.lstat(f"{folder}/{name}")
            except OSError:
                continue
            count += 1
            size += status.st_size
            newest = max(newest, status.st_mtime_ns)
    return count, size, newest
