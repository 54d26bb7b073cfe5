"""What goes into a build: the files that ``.dockerignore`` lets through, their digest, and a tar stream of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from rompy_docker._archives import END, Entry, Kind, header, padding
from rompy_docker._ignore import IgnoreRules, Ruling, parse_ignore

_CHUNK: Final = 2**18
_RECORDS: Final = ".rompy"
"""What runs record below their workspaces: new with each run, and of no use in an image."""
_IGNORE: Final = ".dockerignore"


class ContextError(Exception):
    """The files of a build cannot be read, or not as they were; the text says which, and why."""


class _GoneError(ContextError):
    """A file that was there is there no more."""


@attrs.frozen
class ContextFile:
    """A file, a directory or a symbolic link that is sent.

    Attributes:
        path: Relative to the context.
        mode: Type and permissions, as in ``st_mode``.
        mtime_ns: When it was changed; this makes no other context of it.
        target: Where a symbolic link points to.
        content: The SHA-256 of a file's content.
    """

    path: str
    mode: int
    mtime_ns: int = attrs.field(eq=False)
    target: str = ""
    content: bytes = b""

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)


@attrs.frozen(kw_only=True)
class BuildContext:
    """The files of a build, as they were when they were read.

    Attributes:
        root: The directory that they are in.
        files: The files, those of a directory after the directory itself.
        dockerfile: The content of the Dockerfile.
        dockerfile_name: What the Dockerfile is called among the files.
        extras: Files that are sent in place of, or in addition to, those of the directory.
    """

    root: Path
    files: tuple[ContextFile, ...]
    dockerfile: bytes
    dockerfile_name: str
    extras: Mapping[str, bytes] = attrs.field(factory=dict[str, bytes])

    @property
    def digest(self) -> bytes:
        """The SHA-256 of all that the result depends on: not times or owners, and not where the files are."""
        total = hashlib.sha256()
        for part in self._parts():
            total.update(b"%d:%b," % (len(part), part))
        return total.digest()

    def tar(self) -> Iterator[bytes]:
        """Give the files as a tar stream, owned by root.

        Raises:
            ContextError: A file is not what it was; the stream has no end then, and nothing can be built from it.
        """
        return _joined(self._blocks())

    def _parts(self) -> Iterator[bytes]:
        yield self.dockerfile
        for file in self.files:
            mode = stat.S_IFLNK if file.target else file.mode
            yield from (b"%o" % mode, os.fsencode(file.path), os.fsencode(file.target), file.content)

    def _blocks(self) -> Iterator[bytes]:
        for file in self.files:
            if file.path not in self.extras:
                yield from _member(self.root / file.path, file)
        for name, data in self.extras.items():
            yield _header(ContextFile(name, stat.S_IFREG | 0o644, 0), len(data))
            yield data + padding(len(data))
        yield END


def read_context(root: Path, dockerfile: Path, check: Callable[[], None] = lambda: None) -> BuildContext:
    """Read the files of a build.

    As ``docker build``: what ``<dockerfile>.dockerignore``, or else ``.dockerignore`` in *root*, names is left out.
    In addition, so are sockets, FIFOs and devices, and what runs have recorded.

    Args:
        root: The directory of the context.
        dockerfile: The Dockerfile, in *root* or elsewhere.
        check: Is called again and again; what it raises ends the reading.

    Raises:
        ContextError: Something is missing, or cannot be read.
    """
    if not os.path.isdir(root):  # noqa: PTH112 - is_dir() may raise
        raise ContextError(f"the build context {str(root)!r} is no directory")
    content = _required(dockerfile, "the Dockerfile")
    rules = _rules(root, dockerfile)
    files = sorted(_walk(root, rules, check), key=lambda file: os.fsencode(file.path))
    name = os.path.relpath(dockerfile, root)
    sent = {file.path: file for file in files}
    if name in sent and sent[name].is_file:
        _same(dockerfile, sent[name], hashlib.sha256(content).digest())
        return BuildContext(root=root, files=tuple(files), dockerfile=content, dockerfile_name=name)
    # As the docker command does: under a name of its own, which the engine is told to leave out of the context.
    name = f".dockerfile.{hashlib.sha256(content).hexdigest()[:16]}"
    ignored = _required(root / _IGNORE, "the file") if _IGNORE in sent else os.fsencode(_IGNORE)
    extras = {name: content, _IGNORE: ignored + b"\n" + os.fsencode(name) + b"\n"}
    return BuildContext(root=root, files=tuple(files), dockerfile=content, dockerfile_name=name, extras=extras)


def _rules(root: Path, dockerfile: Path) -> IgnoreRules:
    own = Path(f"{dockerfile}{_IGNORE}")
    if (text := _content(own, "the file")) is not None:
        # The general one does not count then; Podman would obey it nevertheless, so it is not sent.
        return _parsed(own, text + os.fsencode(f"\n{_IGNORE}\n"))
    return _parsed(root / _IGNORE, _content(root / _IGNORE, "the file") or b"")


def _parsed(path: Path, text: bytes) -> IgnoreRules:
    try:
        return parse_ignore(os.fsdecode(text))
    except ValueError as exc:
        raise ContextError(f"{str(path)!r}: {exc}") from exc


def _required(path: Path, what: str) -> bytes:
    content = _content(path, what)
    if content is None:
        raise ContextError(f"{what} {str(path)!r} does not exist")
    return content


def _content(path: Path, what: str) -> bytes | None:
    """Read a whole file; ``None`` where there is none."""
    try:
        if path.exists() and not path.is_file():
            raise ContextError(f"{what} {str(path)!r} is no file")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ContextError(f"{what} {str(path)!r} cannot be read: {exc.strerror or exc}") from exc


def _walk(root: Path, rules: IgnoreRules, check: Callable[[], None]) -> Iterator[ContextFile]:
    """Give what is sent; directories that wait to be read are kept in a list, for trees may be deep."""
    waiting = [("", Ruling())]
    while waiting:
        directory, above = waiting.pop()
        for entry in _listing(root / directory):
            check()
            path = f"{directory}/{entry.name}" if directory else entry.name
            ruling = rules.rule(path, above)
            if entry.name == _RECORDS:
                continue
            if entry.is_dir(follow_symlinks=False) and (not ruling.is_ignored or rules.may_except_below(path)):
                waiting.append((path, ruling))
            if not ruling.is_ignored and (file := _file(root / path, path, check)) is not None:
                yield file


def _listing(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with _reading(directory), os.scandir(directory) as listing:
            return list(listing)
    except _GoneError:
        return []


def _file(location: Path, path: str, check: Callable[[], None]) -> ContextFile | None:
    """Read one file; ``None`` for what is not sent, or has vanished meanwhile."""
    try:
        with _reading(location):
            seen = location.lstat()
            mode, time = seen.st_mode, seen.st_mtime_ns
            if stat.S_ISLNK(mode):
                return ContextFile(path, mode, time, target=os.readlink(location))  # noqa: PTH115 - as it is written
        if stat.S_ISREG(mode):
            return ContextFile(path, mode, time, content=_digest(location, mode, check))
        return ContextFile(path, mode, time) if stat.S_ISDIR(mode) else None
    except _GoneError:
        return None


def _digest(location: Path, mode: int, check: Callable[[], None]) -> bytes:
    digest = hashlib.sha256()
    with _opened(location, mode) as (number, _):
        for chunk in _chunks(location, number):
            check()
            digest.update(chunk)
    return digest.digest()


def _member(location: Path, file: ContextFile) -> Iterator[bytes]:
    """Give one file as a member of a tar stream; the same file as was read, or none."""
    if not file.is_file:
        yield _header(file, 0)
        return
    digest = hashlib.sha256()
    with _opened(location, file.mode) as (number, size):
        yield _header(file, size)
        left = size
        for chunk in _chunks(location, number):
            left -= len(chunk)
            if left < 0:
                raise _changed(location)
            digest.update(chunk)
            yield chunk
    _same(location, file, digest.digest())
    yield padding(size)


def _same(location: Path, file: ContextFile, content: bytes) -> None:
    if file.content != content:
        raise _changed(location)


def _changed(location: Path, kind: type[ContextError] = ContextError) -> ContextError:
    advice = f"what changes all the time belongs into {_IGNORE}"
    return kind(f"{str(location)!r} changed while the build context was read; {advice}")


@contextlib.contextmanager
def _opened(location: Path, mode: int) -> Generator[tuple[int, int]]:
    """Open a regular file, and nothing that has taken its place: to open a FIFO would wait for a writer."""
    with _reading(location):
        number = os.open(location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        seen = os.fstat(number)
        if seen.st_mode != mode:
            raise _changed(location)
        yield number, seen.st_size
    finally:
        os.close(number)


def _chunks(location: Path, number: int) -> Iterator[bytes]:
    while True:
        with _reading(location):
            chunk = os.read(number, _CHUNK)
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _reading(location: Path) -> Generator[None]:
    """Name the file in what the operating system says of it."""
    try:
        yield
    except FileNotFoundError as exc:
        raise _changed(location, _GoneError) from exc
    except OSError as exc:
        raise ContextError(f"the build context cannot be read: {str(location)!r}: {exc.strerror or exc}") from exc


def _header(file: ContextFile, size: int) -> bytes:
    kind = Kind.SYMLINK if file.target else Kind.FILE if file.is_file else Kind.DIRECTORY
    mode = stat.S_IMODE(file.mode)
    entry = Entry(name=file.path, kind=kind, mode=mode, mtime_ns=file.mtime_ns, size=size, link=file.target)
    return header(entry, 0, 0)


def _joined(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Join small blocks, each of which would be sent by itself."""
    held = bytearray()
    for block in blocks:
        held += block
        if len(held) >= _CHUNK:
            yield bytes(held)
            held.clear()
    yield bytes(held)
