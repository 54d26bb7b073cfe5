"""The two time series beside a report, as CSV: what a run used, and how far it was."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, TypeVar, final

import attrs

from rompy_core._reports import Progress, RunReport, Usage

PROGRESS: Final = "progress.csv"
_PROGRESS_COLUMNS: Final = ("elapsed_s", "fraction")
_USAGE_COLUMNS: Final = tuple(field.name for field in attrs.fields(Usage))
_COLUMNS: Final = frozenset((*_USAGE_COLUMNS, *_PROGRESS_COLUMNS))
_WRITE_EVERY_S: Final = 0.5
_SMALLEST_STEP: Final = 1e-5
"""Less progress than this waits for more of it, so the longest run has no more than 100,000 rows."""
_TAIL: Final = 2**12
"""Many rows at the end of a file, or its whole header at the beginning."""

ItemT = TypeVar("ItemT")
Row: TypeAlias = Mapping[str, float]
"""What one line says, by column."""


def read_usage(report: RunReport) -> Iterator[Usage]:
    """Read the samples of a run, which may still be running, in the order of time.

    Columns that ``Usage`` does not know are passed over, and so are lines that are no samples, such as the last one
    where it is torn. What a sample does not say is its default. A series that is not there has no samples.

    Raises:
        OSError: The file is there and cannot be read.
    """
    return _read(report.usage_path, _usage)


def read_progress(report: RunReport) -> Iterator[tuple[float, float]]:
    """Read when a run was how far: seconds since its start, and a fraction between 0 and 1; as ``read_usage``."""
    return _read(report.progress_path, _progress)


def newest_usage(report: RunReport) -> Usage | None:
    """Read the newest sample of a run, ``None`` where there is none; costs the same however long the series is.

    Raises:
        OSError: The file is there and cannot be read.
    """
    return _read_newest(report.usage_path, _usage)


def newest_progress(report: RunReport) -> tuple[float, float] | None:
    """Read the last row that ``read_progress`` would give, or ``None``; as ``newest_usage``."""
    return _read_newest(report.progress_path, _progress)


@final
class ProgressSeries:
    """Writes how far a run is, at most twice a second.

    Attributes:
        path: The file, once there is one.
        problem: Why it is not written, or not to its end; empty where all is well.
    """

    def __init__(self, directory: Path) -> None:
        self.path: Path | None = None
        self.problem = ""
        self._directory = directory
        self._file: BinaryIO | None = None
        self._seen = (0.0, -1.0)
        self._written = (-math.inf, -1.0)

    def add(self, elapsed_s: float, progress: Progress) -> None:
        """Take note of the progress, and write it down where that is due."""
        if progress.fraction > self._seen[1]:
            self._seen = elapsed_s, progress.fraction
        is_far = self._seen[1] - self._written[1] >= _SMALLEST_STEP
        if is_far and elapsed_s - self._written[0] >= _WRITE_EVERY_S:
            self._write()

    def close(self) -> None:
        """Write what was seen last and close the file."""
        if self._seen[1] > self._written[1]:
            self._write()
        if self._file is not None:
            with contextlib.suppress(OSError):  # each row has been written without a buffer
                self._file.close()
            self._file = None

    def _write(self) -> None:
        if self.problem:
            return
        try:
            if self._file is None:
                self._file = self._made(self._directory / PROGRESS)
                self._put(",".join(_PROGRESS_COLUMNS))
            self._put(f"{self._seen[0]:.3f},{self._seen[1]:.9g}")
        except OSError as exc:
            self.problem = f"the series of the progress could not be written to its end: {exc.strerror or exc}"
            return
        self._written = self._seen

    def _made(self, path: Path) -> BinaryIO:
        # The record's folder is new: whatever is there by that name is none of ours, and may be a pipe nobody reads.
        file = path.open("xb", buffering=0)
        self.path = path
        return file

    def _put(self, line: str) -> None:
        data = f"{line}\n".encode("ascii")
        if self._file is not None and self._file.write(data) != len(data):
            raise OSError("the disk took a part of a row only")


def _usage(row: Row) -> Usage | None:
    if "elapsed_s" not in row:
        return None
    known = {name: value for name, value in row.items() if name in _USAGE_COLUMNS}
    values: dict[str, Any] = {name: value if name.endswith("_s") else int(value) for name, value in known.items()}
    return Usage(**values)


def _progress(row: Row) -> tuple[float, float] | None:
    return (row["elapsed_s"], row["fraction"]) if row.keys() >= set(_PROGRESS_COLUMNS) else None


def _read(path: Path | None, kind: Callable[[Row], ItemT | None]) -> Iterator[ItemT]:
    with _opened(path) as file:
        header = _cells(file.readline())
        for line in file:
            item = kind(_row(header, line))
            if item is not None:
                yield item


def _read_newest(path: Path | None, kind: Callable[[Row], ItemT | None]) -> ItemT | None:
    with _opened(path) as file:
        first = file.readline(_TAIL)
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(len(first), size - _TAIL))
        lines = file.read(_TAIL).splitlines(keepends=True)
    # Where the tail begins within a line, its first one lacks a beginning, which the number of cells may not show.
    newest_first = reversed(lines if start == len(first) else lines[1:])
    items = (kind(_row(_cells(first), line)) for line in newest_first)
    return next((item for item in items if item is not None), None)


def _opened(path: Path | None) -> BinaryIO:
    """Open a series; one that is not there is empty."""
    if path is not None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return path.open("rb")
    return io.BytesIO()


def _row(header: Sequence[str], line: bytes) -> Row:
    """Read one line; empty where it is torn, or where a column that matters holds anything but a number."""
    cells = _cells(line)
    if len(cells) != len(header):
        return {}
    given = {name: cell for name, cell in zip(header, cells, strict=True) if cell and name in _COLUMNS}
    try:
        return {name: _number(cell) for name, cell in given.items()}
    except ValueError:
        return {}


def _cells(line: bytes) -> list[str]:
    """Split a line that has its end; what has none may lack the end of its last number, too."""
    return line.decode("ascii", "replace").strip().split(",") if line.endswith(b"\n") else []


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"not finite: {text}")
    return number
