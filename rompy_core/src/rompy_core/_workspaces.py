"""Make and remove the directories that model runs work in, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import attrs

from rompy_core._errors import WorkspaceError
from rompy_core._records import MARKER, live_run, utc_now
from rompy_core._reports import RECORDS
from rompy_core._writing import write_json

_FORBIDDEN: Final = {"", ".", ".."}


def check_run_id(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a name for one directory.

    Raises:
        ValueError: It is empty, absolute, has a separator, is ``.`` or ``..``, or holds a control character.
    """
    if not isinstance(value, str):
        raise ValueError(f"run_id must be a string, found {type(value).__name__}")  # noqa: TRY004 - as any bad run_id
    separators = {os.sep, os.altsep or os.sep, "/", "\\"}
    if value in _FORBIDDEN or any(char in separators or not char.isprintable() for char in value):
        raise ValueError(f"run_id must name one directory (no separator, no control character), found {value!r}")
    if value == RECORDS or value.startswith(f"{RECORDS}-"):
        raise ValueError(f"run_id must not be {value!r}, where records are kept")
    try:
        too_long = len(os.fsencode(value)) > 255  # NAME_MAX of Linux and macOS
    except UnicodeEncodeError:
        raise ValueError(f"run_id must be text that a file system takes, found {value!r}") from None
    if too_long:
        raise ValueError(f"run_id must have at most 255 bytes, found {len(value)} characters")


def make_workspace(path: Path, run_id: str) -> None:
    """Make the directory *path*; it is marked as ours from its first moment on, and only where it was not there before.

    Raises:
        WorkspaceError: Something else is in its place.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            _make_marked(path, run_id)
    except OSError as exc:
        raise WorkspaceError(path, f"cannot be made: {exc.strerror or exc}") from exc
    if not path.is_dir():
        raise WorkspaceError(path, "cannot be a workspace, for it is no directory")


def _make_marked(path: Path, run_id: str) -> None:
    temporary = path.with_name(f"{RECORDS}-{secrets.token_hex(4)}")  # no run_id begins so
    try:
        (temporary / RECORDS).mkdir(parents=True)
        write_json(temporary / RECORDS / MARKER, {"run_id": run_id, "created_at": utc_now().isoformat()})
        temporary.rename(path)
    except BaseException as exc:
        shutil.rmtree(temporary, ignore_errors=True)
        if not (isinstance(exc, OSError) and path.is_dir()):  # a run of another process has been as quick
            raise


def clear_workspace(path: Path) -> None:
    """Empty a workspace that ``make_workspace`` made, earlier records included; symbolic links are not followed.

    The directory itself stays, with the mark that it is ours: whoever has claimed it goes on having it.

    Raises:
        WorkspaceError: It is not ours to empty, or a run is live in it.
    """
    if path.is_symlink():
        raise WorkspaceError(path, "is a symbolic link, which delete_existing does not follow; remove it yourself")
    if not path.exists():
        return
    if (path / RECORDS).is_symlink() or not (path / RECORDS / MARKER).is_file():
        detail = (
            f"was not made by a model run (it has no {RECORDS}/{MARKER}), so delete_existing does not remove it; "
            "remove it yourself, or choose another run_id"
        )
        raise WorkspaceError(path, detail)
    live = live_run(path)
    if live is not None:
        raise WorkspaceError(path, f"has a live run (record {str(live.record_dir)!r}); wait for it or cancel it")
    try:
        for child in (*path.iterdir(), *(path / RECORDS).iterdir()):
            if child.name not in (RECORDS, MARKER):
                _remove(child)
    except OSError as exc:
        raise WorkspaceError(path, f"cannot be removed: {exc.strerror or exc}") from exc


@contextlib.contextmanager
def claimed(path: Path) -> Generator[bool]:
    """Have a workspace for oneself until the block is left; gives whether that is so.

    This holds between threads and between processes, and ends with the process. Where there is no such directory, or
    its file system has no locks, nobody is kept out.
    """
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield True
        return
    try:
        yield _lock(directory)
    finally:
        with contextlib.suppress(OSError):  # a process that was forked meanwhile has this lock, too, until it is let go
            fcntl.flock(directory, fcntl.LOCK_UN)
        os.close(directory)


def _lock(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def snapshot(path: Path) -> frozenset[str] | None:
    """List all that is below *path*, relative to it; ``None`` where it does not exist."""
    if not path.is_dir():
        return None
    return frozenset(_below(path))


def remove_new(path: Path, before: frozenset[str] | None) -> None:
    """Remove what has come below *path* since the ``snapshot`` *before*, or all of it where it did not exist then."""
    if path.is_symlink() or not path.is_dir():
        return
    if before is None:
        shutil.rmtree(path)
        return
    for name in sorted(_below(path) - before, key=len, reverse=True):
        new = path / name
        if new.is_dir() and not new.is_symlink():
            new.rmdir()
        else:
            new.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except OSError as exc:
        if exc.errno != errno.ENOTEMPTY:
            raise
        shutil.rmtree(path)  # a run that was refused meanwhile has left its report there


def _below(path: Path) -> set[str]:
    found: set[str] = set()
    for folder, subfolders, files in os.walk(path):
        found.update(os.path.relpath(os.path.join(folder, name), path) for name in (*subfolders, *files))  # noqa: PTH118
    return found
