"""The files that a run wrote."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from rompy_core import FAILED_RECORDS, RECORDS
from rompy_report._view import WrittenFile, WrittenFiles

_RECORDS: Final = (RECORDS, FAILED_RECORDS)
_SHOWN: Final = 100


def is_plain_file(path: Path) -> bool:
    """Whether *path* is a file and nothing else: no link that leads elsewhere, no pipe that would block."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def written_files(workspace_dir: Path, since: float, but: Path | None) -> WrittenFiles:
    """List the files below *workspace_dir* that were last written at *since* or later, the largest first.

    Args:
        workspace_dir: The workspace; symbolic links in it are not followed, and records are left out.
        since: Seconds since the epoch.
        but: A directory that is left out, or ``None``.
    """
    counter = _Counter()
    found = counter.counted(_files(workspace_dir, since, but))
    largest = heapq.nsmallest(_SHOWN, found, key=lambda file: (-file.size_bytes, file.name))
    return WrittenFiles(largest=tuple(largest), count=counter.count, size_bytes=counter.size_bytes)


def matching_files(workspace_dir: Path, glob: str, most: int) -> list[Path]:
    """Give the first *most* plain files that match *glob* and truly lie below *workspace_dir*, records left out."""
    home = workspace_dir.resolve()
    found: list[Path] = []
    try:
        for path in sorted(workspace_dir.glob(glob)):
            is_record = bool(set(_RECORDS) & set(path.relative_to(workspace_dir).parts))
            if not is_record and is_plain_file(path) and path.resolve().is_relative_to(home):
                found.append(path)
    except (OSError, ValueError):  # a directory may vanish while it is listed
        pass
    return found[:most]


@attrs.define
class _Counter:
    count: int = 0
    size_bytes: int = 0

    def counted(self, files: Iterator[WrittenFile]) -> Iterator[WrittenFile]:
        for file in files:
            self.count += 1
            self.size_bytes += file.size_bytes
            yield file


def _files(workspace_dir: Path, since: float, but: Path | None) -> Iterator[WrittenFile]:
    for folder, subfolders, names in os.walk(workspace_dir):
        here = Path(folder)
        subfolders[:] = [name for name in subfolders if name not in _RECORDS and here / name != but]
        for path in (here / name for name in names):
            try:
                status = path.lstat()
            except OSError:  # gone by now
                continue
            if is_plain_file(path) and status.st_mtime >= since:
                yield WrittenFile(
                    name=str(path.relative_to(workspace_dir)),
                    size_bytes=status.st_size,
                    written_at=datetime.fromtimestamp(status.st_mtime, UTC),
                )
