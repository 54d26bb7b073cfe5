"""Make a tar archive of one directory, bit by bit; nothing of it is kept."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Final, final

import attrs

from rompy_docker._archives import END, Entry, Kind, header, padding

_CHUNK: Final = 2**18
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_GONE: Final = (errno.ENOENT, errno.ELOOP, errno.ENXIO)
"""What was a file a moment ago is gone, or is a link or a socket by now."""
_PERMISSIONS: Final = 0o777
_WRITE: Final = 0o222
_SECOND: Final = 10**9


class SendingError(Exception):
    """The directory cannot be sent; the text says which part of it, and why."""


@attrs.frozen(kw_only=True)
class Sent:
    """What a name was when it was sent.

    Attributes:
        entry: As it was in the archive; a hard link as the file that it is.
        mtime_ns: When the file here was written; the archive may say an earlier time.
    """

    entry: Entry
    mtime_ns: int

    def looks_like(self, entry: Entry) -> bool:
        """Whether a file that comes back may be the one that was sent.

        Docker's engine gives times down to whole seconds, Podman's the nearest ones.
        """
        is_same_size = self.entry.kind is Kind.FILE and self.entry.size == entry.size
        return is_same_size and -_SECOND < entry.mtime_ns - self.entry.mtime_ns <= _SECOND // 2

    def is_still(self, here: os.stat_result) -> bool:
        """Whether the file here is as it was sent."""
        return stat.S_ISREG(here.st_mode) and (here.st_size, here.st_mtime_ns) == (self.entry.size, self.mtime_ns)


@final
class Sender:
    """One directory, to be sent.

    Attributes:
        sent: What was sent, by its path below the directory.
    """

    def __init__(
        self,
        directory: Path,
        target: str,
        *,
        uid: int,
        gid: int,
        read_only: bool,
        latest_ns: int,
        skips: Callable[[str], bool],
    ) -> None:
        """Prepare to send.

        Args:
            directory: The directory.
            target: The path that it will have.
            uid: Who is to own it.
            gid: The group that is to own it.
            read_only: Whether nobody gets the right to write.
            latest_ns: The latest time that a file may have; later ones are said to be of then.
            skips: Whether a path below it stays out.

        Raises:
            SendingError: It is no directory, or cannot be read.
        """
        self._directory = directory
        self._target = target
        self._uid, self._gid = uid, gid
        self._mask = _PERMISSIONS & ~_WRITE if read_only else _PERMISSIONS
        self._latest_ns = latest_ns
        self._skips = skips
        self._first_names: dict[tuple[int, int], str] = {}
        self.sent: dict[str, Sent] = {}
        try:
            self._status = directory.stat()
        except OSError as exc:
            raise SendingError(f"{str(directory)!r} cannot be read: {exc.strerror}") from exc
        if not stat.S_ISDIR(self._status.st_mode):
            raise SendingError(f"{str(directory)!r} is no directory, and only directories can be copied")

    def root(self, name: str) -> bytes:
        """Give an archive of the bare directory itself, by the name *name*."""
        return self._header(self._entry(name, Kind.DIRECTORY, self._status)) + END

    def chunks(self) -> Generator[bytes]:
        """Give the archive of all of it, in chunks that are worth a packet.

        Raises:
            SendingError: Something cannot be read, or became shorter while it was read.
        """
        held: list[bytes] = []
        size = 0
        for part in self._archive():
            held.append(part)
            size += len(part)
            if size >= _CHUNK:
                yield b"".join(held)
                held, size = [], 0
        yield b"".join(held)

    def _archive(self) -> Iterator[bytes]:
        yield self._header(self._entry("./", Kind.DIRECTORY, self._status))
        folders = [""]
        while folders:
            for name in self._names(folders.pop()):
                status = self._look(name)
                if status is None or self._skips(name):
                    continue
                yield from self._one(name, status)
                if stat.S_ISDIR(status.st_mode):
                    folders.append(name)
        yield END

    def _names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._directory / folder) as entries:
                return sorted(posixpath.join(folder, entry.name) for entry in entries)
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise _unreadable(folder, exc) from exc

    def _look(self, name: str) -> os.stat_result | None:
        try:
            return os.lstat(self._directory / name)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise _unreadable(name, exc) from exc

    def _one(self, name: str, status: os.stat_result) -> Iterator[bytes]:
        if stat.S_ISREG(status.st_mode):
            yield from self._file(name)
        elif stat.S_ISDIR(status.st_mode):
            yield self._send(self._entry(name, Kind.DIRECTORY, status), status)
        elif stat.S_ISLNK(status.st_mode):
            yield self._send(self._entry(name, Kind.SYMLINK, status, link=self._link(name)), status)

    def _file(self, name: str) -> Iterator[bytes]:
        try:
            fd = os.open(self._directory / name, _FILE)
        except OSError as exc:
            if exc.errno in _GONE:
                return
            raise _unreadable(name, exc) from exc
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                yield from self._content(name, status, fd)
        finally:
            os.close(fd)

    def _content(self, name: str, status: os.stat_result, fd: int) -> Iterator[bytes]:
        inode = status.st_dev, status.st_ino
        entry = self._entry(name, Kind.FILE, status, size=status.st_size)
        first = self._first_names.get(inode)
        if first is not None:
            # What comes back may name the file by either name first, hence it is noted as a file.
            self.sent[name] = Sent(entry=entry, mtime_ns=status.st_mtime_ns)
            yield self._header(self._entry(name, Kind.HARD_LINK, status, link=first))
            return
        yield self._send(entry, status)
        yield from _whole(name, fd, status.st_size)
        yield padding(status.st_size)
        if status.st_nlink > 1:
            self._first_names[inode] = name

    def _link(self, name: str) -> str:
        """Give a symbolic link as it is to be sent.

        Docker's engine refuses a whole archive for one relative link that leads out of the directory, yet takes
        absolute ones; there, both mean the same.
        """
        try:
            text = os.readlink(self._directory / name)  # noqa: PTH115 - a Path would tidy up what it says
        except OSError as exc:
            raise _unreadable(name, exc) from exc
        folder = posixpath.dirname(name)
        if posixpath.normpath(posixpath.join(folder, text)).split("/", 1)[0] != "..":
            return text
        return posixpath.normpath(posixpath.join(self._target, folder, text))

    def _send(self, entry: Entry, status: os.stat_result) -> bytes:
        self.sent[entry.name] = Sent(entry=entry, mtime_ns=status.st_mtime_ns)
        return self._header(entry)

    def _header(self, entry: Entry) -> bytes:
        return header(entry, self._uid, self._gid)

    def _entry(self, name: str, kind: Kind, status: os.stat_result, *, size: int = 0, link: str = "") -> Entry:
        return Entry(
            name=name,
            kind=kind,
            mode=status.st_mode & self._mask,
            mtime_ns=min(status.st_mtime_ns, self._latest_ns),
            size=size,
            link=link,
        )


def _whole(name: str, fd: int, size: int) -> Iterator[bytes]:
    """Give exactly as much as the header has promised; what a program appends meanwhile is left."""
    while size:
        try:
            piece = os.read(fd, min(_CHUNK, size))
        except OSError as exc:
            raise _unreadable(name, exc) from exc
        if not piece:
            raise SendingError(f"{name!r} became shorter while it was read")
        size -= len(piece)
        yield piece


def _unreadable(name: str, exc: OSError) -> SendingError:
    return SendingError(f"{name or '.'!r} cannot be read: {exc.strerror or exc}")
