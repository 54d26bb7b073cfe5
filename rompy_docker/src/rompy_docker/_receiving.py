"""Write what an archive holds below one directory, and nothing anywhere else, whatever the archive says."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import posixpath
import secrets
import stat
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, final

from rompy_docker._archives import Entry, Kind
from rompy_docker._sending import Sent

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_DIRECTORY: Final = (errno.ENOTDIR, errno.ELOOP)
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_OLD: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_PERMISSIONS: Final = 0o777
"""What is kept of a mode: no setuid, setgid or sticky."""
_OWNER: Final = 0o700
"""What the owner may always do with a directory, so that all of it can be deleted."""
_CHUNK: Final = 2**18

Parts = tuple[str, ...]
"""A path below the directory, without empty parts, ``.`` and ``..``."""


class RefusedError(Exception):
    """An entry of an archive is not written; the text says why."""


class FullError(OSError):
    """There is no room left."""


def parts_of(name: str) -> Parts:
    """Split a name of an archive.

    Raises:
        RefusedError: It leads upwards, or no file can have it.
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts or "\0" in name:
        raise RefusedError("its name leads out of the directory")
    return parts


@final
class Receiver:
    """Writes entries below one directory.

    Each step down is made from a descriptor of the directory above and follows no link, so that neither the archive
    nor what is here already leads anywhere else. A file is written beside its place and moved there when it is whole.
    """

    def __init__(self, directory: Path, target: str, sent: Mapping[str, Sent]) -> None:
        """Open the directory.

        Args:
            directory: Where to write.
            target: The path of the directory where the archive comes from.
            sent: What was sent there, by its path below the directory. What comes back as it was is left as it is.

        Raises:
            OSError: It cannot be opened.
        """
        self._target = target
        self._sent = sent
        self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self._at: Parts = ()
        self._folder = os.dup(self._root)
        self._files: set[Parts] = set()

    def close(self) -> None:
        """Close the directory."""
        os.close(self._folder)
        os.close(self._root)

    def receive(self, parts: Parts, entry: Entry, link: Parts, content: Iterator[bytes | memoryview]) -> None:
        """Write one entry.

        Args:
            parts: Its path below the directory; not empty.
            entry: What it is.
            link: The path of what it is a hard link to.
            content: What it holds, if it is a file; what is not needed is left.

        Raises:
            RefusedError: It is not written, for it could do harm or cannot be had here.
            FullError: There is no room for it.
            OSError: It cannot be written. In either case, what was there before is whole.
        """
        try:
            if entry.kind is Kind.FILE:
                self._file(parts, entry, content)
            elif entry.kind is Kind.HARD_LINK:
                self._hard_link(parts, link)
            elif entry.kind is Kind.SYMLINK:
                self._symlink(parts, entry)
            elif entry.kind is Kind.DIRECTORY:
                self._directory(parts, entry)
            else:
                raise RefusedError("it is neither a file nor a directory nor a link")
        except OSError as exc:
            if exc.errno in _FULL:
                raise FullError(exc.errno, exc.strerror) from exc
            raise

    def _file(self, parts: Parts, entry: Entry, content: Iterator[bytes | memoryview]) -> None:
        folder, name = self._enter(parts[:-1]), parts[-1]
        self._files.add(parts)
        here, sent, mode = _look(folder, name), self._sent.get("/".join(parts)), entry.mode & _PERMISSIONS
        if here is None or sent is None or not sent.looks_like(entry):
            _replace(folder, name, mode, content)
            return
        if not sent.is_still(here):
            raise RefusedError("it was changed here meanwhile, and not in the container")
        # A program may keep the size and the time of what it writes, so the bytes decide.
        with _opened(folder, name) as original:
            same, other = _compared(original, content)
            if other is not None:
                _replace(folder, name, mode, itertools.chain(_pieces(original, same), (other,), content))
            elif sent.entry.mode != mode:
                os.fchmod(original, mode)

    def _hard_link(self, parts: Parts, link: Parts) -> None:
        if link not in self._files:
            raise RefusedError(f"it is a hard link to {'/'.join(link)!r}, which did not come before it")
        folder, name = self._enter(parts[:-1]), parts[-1]
        with contextlib.ExitStack() as held:
            source = self._walk(self._root, link[:-1])
            held.callback(os.close, source)
            original = held.enter_context(_opened(source, link[-1]))
            there, here = os.fstat(original), _look(folder, name)
            if not stat.S_ISREG(there.st_mode):
                raise RefusedError(f"it is a hard link to {'/'.join(link)!r}, which is no file here")
            self._files.add(parts)
            if here is not None and os.path.samestat(here, there):
                return
            new = held.enter_context(_beside(folder))
            try:
                os.link(link[-1], new, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
            except OSError:  # the file is another user's, or the file system has no hard links
                _write(folder, new, there.st_mode & _PERMISSIONS, _pieces(original, there.st_size))
            _move(folder, new, name)

    def _symlink(self, parts: Parts, entry: Entry) -> None:
        folder, name = self._enter(parts[:-1]), parts[-1]
        sent = self._sent.get("/".join(parts))
        if sent is not None and (sent.entry.kind, sent.entry.link) == (entry.kind, entry.link):
            return
        text = self._text_inside(parts[:-1], entry.link)
        with _beside(folder) as new:
            os.symlink(text, new, dir_fd=folder)
            _move(folder, new, name)

    def _directory(self, parts: Parts, entry: Entry) -> None:
        folder, name = self._enter(parts[:-1]), parts[-1]
        here, sent, mode = _look(folder, name), self._sent.get("/".join(parts)), entry.mode & _PERMISSIONS
        if here is not None and stat.S_ISDIR(here.st_mode):
            if sent is None or sent.entry.kind is not Kind.DIRECTORY or sent.entry.mode == mode:
                return
        else:
            if here is not None:
                os.unlink(name, dir_fd=folder)
            os.mkdir(name, _OWNER, dir_fd=folder)
        with _opened(folder, name) as new:
            os.fchmod(new, mode | _OWNER)

    def _text_inside(self, folder: Parts, link: str) -> str:
        """Give a symbolic link in a form that cannot lead out of the directory: ``..`` only at its beginning.

        After a name, ``..`` may lead anywhere, for the name may be a link itself.
        """
        if not link or "\0" in link:
            raise RefusedError("it is a symbolic link that refers to nothing")
        if link.startswith("/"):
            text = posixpath.relpath(link, posixpath.join(self._target, *folder))
        else:
            text = posixpath.normpath(link)
        if posixpath.normpath(posixpath.join(*folder, text)).split("/", 1)[0] == "..":
            raise RefusedError(f"it is a symbolic link that leads out of the directory, to {link!r}")
        return text

    def _enter(self, parts: Parts) -> int:
        """Give a descriptor of a directory, which is good until the next one is entered."""
        if parts != self._at:
            is_below = parts[: len(self._at)] == self._at
            folder = self._walk(self._folder, parts[len(self._at) :]) if is_below else self._walk(self._root, parts)
            os.close(self._folder)
            self._folder, self._at = folder, parts
        return self._folder

    def _walk(self, start: int, parts: Parts) -> int:
        folder = os.dup(start)
        for part in parts:
            try:
                below = _step(folder, part)
            finally:
                os.close(folder)
            folder = below
        return folder


def _step(folder: int, name: str) -> int:
    try:
        with contextlib.suppress(FileNotFoundError):
            return os.open(name, _FOLDER, dir_fd=folder)
        os.mkdir(name, dir_fd=folder)
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as exc:
        if exc.errno in _NO_DIRECTORY:
            raise RefusedError(f"it is below {name!r}, which is no directory here") from exc
        raise


def _look(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _opened(folder: int, name: str) -> Generator[int]:
    fd = os.open(name, _OLD, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _beside(folder: int) -> Generator[str]:
    """Give a name that is free; what still has it in the end is removed."""
    name = f".rompy-{secrets.token_hex(8)}.part"
    try:
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _replace(folder: int, name: str, mode: int, content: Iterable[bytes | memoryview]) -> None:
    with _beside(folder) as new:
        _write(folder, new, mode, content)
        _move(folder, new, name)


def _write(folder: int, name: str, mode: int, content: Iterable[bytes | memoryview]) -> None:
    fd = os.open(name, _NEW, _OWNER, dir_fd=folder)
    try:
        for piece in content:
            left = memoryview(piece)
            while left:
                left = left[os.write(fd, left) :]
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _move(folder: int, new: str, name: str) -> None:
    try:
        os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    except IsADirectoryError:
        os.rmdir(name, dir_fd=folder)  # one that holds something stays
        os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)


def _compared(fd: int, content: Iterator[bytes | memoryview]) -> tuple[int, bytes | memoryview | None]:
    """Give how many bytes of a file and of *content* are the same, and the first piece that differs, if one does."""
    same = 0
    for piece in content:
        if os.read(fd, len(piece)) != bytes(piece):
            return same, piece
        same += len(piece)
    return same, None


def _pieces(fd: int, size: int) -> Iterator[bytes]:
    """Give the first *size* bytes of a file."""
    offset = 0
    while offset < size:
        piece = os.pread(fd, min(_CHUNK, size - offset), offset)
        if not piece:
            raise OSError(errno.EIO, "it became shorter while it was read")
        yield piece
        offset += len(piece)
