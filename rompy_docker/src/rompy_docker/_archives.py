"""Tar archives as streams, in the form that engines take in and give out. No file is touched here."""

from __future__ import annotations

import enum
import os
import tarfile
from collections.abc import Iterable, Iterator
from typing import Final, final

import attrs

BLOCK: Final = 512
END: Final = b"\0" * 2 * BLOCK
_NAME_SIZE: Final = 100
_MOST_TIME: Final = 8**11 - 1
_MOST_EXTENSION: Final = 2**20
"""What a header may be extended by, in bytes: names have at most a few thousand."""
_MODE: Final = 0o7777
_LINKS_AND_DIRECTORIES: Final = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE)
_READ: Final = (b"path", b"linkpath", b"size", b"mtime")
_SPARSE: Final = b"GNU.sparse"
"""What a PAX header may say that is of interest here."""


class ArchiveError(Exception):
    """A stream is no whole tar archive; the text says why."""


class Kind(enum.Enum):
    """What an entry of an archive is; ``OTHER`` is a device, a pipe, or what only some programs know."""

    FILE = tarfile.REGTYPE
    HARD_LINK = tarfile.LNKTYPE
    SYMLINK = tarfile.SYMTYPE
    DIRECTORY = tarfile.DIRTYPE
    OTHER = b"?"


@attrs.frozen(kw_only=True)
class Entry:
    """One entry of an archive.

    Attributes:
        name: Its path, as the archive has it; in a hostile one it may be anything.
        kind: What it is.
        mode: Its permissions, with setuid, setgid and sticky.
        mtime_ns: When it was written, in nanoseconds since 1970.
        size: How many bytes of content follow.
        link: What a link refers to: a symbolic one as it is written, a hard one by a name in the archive.
    """

    name: str
    kind: Kind
    mode: int
    mtime_ns: int = 0
    size: int = 0
    link: str = ""


def header(entry: Entry, uid: int, gid: int) -> bytes:
    """Give what comes before the content of an entry: one block, and a PAX header where a block cannot hold it all."""
    name, link = os.fsencode(entry.name), os.fsencode(entry.link)
    if entry.kind is Kind.DIRECTORY:
        name += b"/"
    second, nanosecond = divmod(min(max(0, entry.mtime_ns), _MOST_TIME * 10**9), 10**9)
    numbers = {b"uid": (uid, 8**7), b"gid": (gid, 8**7), b"size": (entry.size, 8**11)}
    records = {key: b"%d" % value for key, (value, limit) in numbers.items() if value >= limit}
    records |= {
        key: value
        for key, value in ((b"path", name), (b"linkpath", link))
        if len(value) > _NAME_SIZE or not value.isascii()
    }
    if nanosecond:
        records[b"mtime"] = b"%d.%09d" % (second, nanosecond)
    short = {key: value if value < limit else 0 for key, (value, limit) in numbers.items()}
    block = _block(
        name, entry.kind.value, entry.mode, short[b"uid"], short[b"gid"], size=short[b"size"], time=second, link=link
    )
    return _extension(records) + block if records else block


def padding(size: int) -> bytes:
    """Give what comes after *size* bytes of content."""
    return b"\0" * (-size % BLOCK)


@final
class ArchiveReader:
    """The entries of an archive, one after the other, and the content of the one that was given last.

    Iterating raises ``ArchiveError`` where the stream is no tar archive or ends before the archive does, and whatever
    the stream itself raises. Memory is bounded, whatever the archive holds.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = memoryview(b"")
        self._content = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        extended: dict[bytes, bytes] = {}
        while (info := self._next()) is not None:
            if info.type == tarfile.XHDTYPE:
                extended |= _records(self._whole_content())
            elif info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                key = b"path" if info.type == tarfile.GNUTYPE_LONGNAME else b"linkpath"
                extended[key] = self._whole_content().rstrip(b"\0")
            elif info.type != tarfile.XGLTYPE:
                entry = _entry(info, extended)
                self._expect(entry.size)
                yield entry
                extended = {}
        for _ in self._chunks:  # so that the connection can be used again
            pass

    def content(self) -> Iterator[memoryview]:
        """Give what is left of the newest entry's content, in pieces of any size."""
        while self._content:
            yield self._piece(self._content)

    def _next(self) -> tarfile.TarInfo | None:
        for _ in self.content():
            pass
        self._take(self._padding)
        block = self._take(BLOCK)
        if not any(block):
            return None
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError as exc:
            raise ArchiveError(f"the stream is no tar archive: {exc}") from exc
        self._expect(info.size)
        return info

    def _expect(self, size: int) -> None:
        if size < 0:
            raise ArchiveError("the archive has an entry of less than no bytes")
        self._content, self._padding = size, -size % BLOCK

    def _whole_content(self) -> bytes:
        if self._content > _MOST_EXTENSION:
            raise ArchiveError(f"the archive has a name of {self._content} bytes")
        return self._take(self._content)

    def _take(self, size: int) -> bytes:
        taken = bytearray()
        while len(taken) < size:
            taken += self._piece(size - len(taken))
        return bytes(taken)

    def _piece(self, most: int) -> memoryview:
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise ArchiveError("the stream broke off")
            self._held = memoryview(chunk)
        piece, self._held = self._held[:most], self._held[most:]
        self._content = max(0, self._content - len(piece))
        return piece


def _entry(info: tarfile.TarInfo, extended: dict[bytes, bytes]) -> Entry:
    if info.type == tarfile.GNUTYPE_SPARSE:
        raise ArchiveError(f"the archive has {info.name!r} in GNU's old form for files with holes")
    kind = Kind.FILE if info.isreg() else Kind(info.type) if info.type in _LINKS_AND_DIRECTORIES else Kind.OTHER
    if _SPARSE in extended:
        kind = Kind.OTHER
    has_content = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
    try:
        size = int(extended.get(b"size", info.size))
        second = int(extended[b"mtime"].partition(b".")[0]) if b"mtime" in extended else int(info.mtime)
    except ValueError:
        raise ArchiveError(f"the archive has {info.name!r} with a number that is none") from None
    return Entry(
        name=os.fsdecode(extended.get(b"path", info.name.encode("utf-8", "surrogateescape"))),
        kind=kind,
        mode=info.mode & _MODE,
        mtime_ns=second * 10**9,
        size=size if has_content else 0,
        link=os.fsdecode(extended.get(b"linkpath", info.linkname.encode("utf-8", "surrogateescape"))),
    )


def _records(data: bytes) -> dict[bytes, bytes]:
    """Read the records of a PAX header: ``<length> <key>=<value>`` and a line end, the length being that of it all."""
    found: dict[bytes, bytes] = {}
    while data:
        digits, _, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        record = data[len(digits) + 1 : length - 1]
        key, equals, value = record.partition(b"=")
        if not equals or data[length - 1 : length] != b"\n":
            raise ArchiveError("the archive has a PAX header that is none")
        if key.startswith(_SPARSE):
            found[_SPARSE] = value
        elif key in _READ:
            found[key] = value
        data = data[length:]
    return found


def _extension(records: dict[bytes, bytes]) -> bytes:
    data = b"".join(_record(key, value) for key, value in records.items())
    return _block(b"PaxHeader", tarfile.XHDTYPE, 0o644, 0, 0, size=len(data)) + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" %s=%s\n" % (key, value)
    length = len(rest)
    while len(record := b"%d%s" % (length, rest)) != length:
        length = len(record)
    return record


def _block(
    name: bytes, kind: bytes, mode: int, uid: int, gid: int, *, size: int, time: int = 0, link: bytes = b""
) -> bytes:
    before = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (_field(name), mode, uid, gid, size, time)
    after = (kind + _field(link) + b"ustar\x0000").ljust(BLOCK - len(before) - 8, b"\0")
    return b"%s%06o\0 %s" % (before, sum(before) + 8 * ord(" ") + sum(after), after)


def _field(text: bytes) -> bytes:
    return text[:_NAME_SIZE].ljust(_NAME_SIZE, b"\0")
