"""Copy directories into a container and out again, where the engine cannot mount them; streamed, never in between."""

from __future__ import annotations

import contextlib
import posixpath
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final, final

from rompy_docker._archives import ArchiveError, ArchiveReader, Entry, Kind
from rompy_docker._engine import Engine, EngineError
from rompy_docker._receiving import FullError, Parts, Receiver, RefusedError, parts_of
from rompy_docker._sending import Sender, SendingError, Sent

_APART_NS: Final = 2 * 10**9
"""How old a file is said to be at least. Engines give times back in whole seconds, and what a run writes at once must
be told from what it was given."""
_MOST_SENTENCES: Final = 20


class TransferError(OSError):
    """Something cannot be copied; the text says what, and why."""


class _StoppedError(Exception):
    """What the caller's check raised, on its way through code that takes an ``OSError`` for one of its own."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


@final
class Copied:
    """One directory that is copied into a container, and what went there.

    Attributes:
        local: The directory here.
        target: Its path in the container, where a volume is.
        read_only: Whether the run may not write it: nobody gets the right to, and nothing is copied out.
        skip: Paths below it that stay out, both ways.
        sent: What went there, by its path below the directory.
    """

    def __init__(self, local: Path, target: str, *, read_only: bool, skip: Sequence[str] = ()) -> None:
        self.local = local
        self.target = posixpath.normpath(target)
        self.read_only = read_only
        self.skip = frozenset(skip)
        self.sent: dict[str, Sent] = {}

    def skips(self, parts: Parts) -> bool:
        """Whether a path stays out."""
        return any("/".join(parts[:depth]) in self.skip for depth in range(1, len(parts) + 1))


def copy_in(engine: Engine, container: str, tree: Copied, *, uid: int, gid: int, check: Callable[[], None]) -> None:
    """Copy a directory into a container that has a volume in its place.

    Modes and times are kept, but for setuid and the like, and for times of the last two seconds. Symbolic links stay
    links; one that leads out of the directory leads to the same path of the container. Sockets, pipes and devices stay
    out, and so does what is appended to a file meanwhile.

    Args:
        engine: The engine.
        container: The container, which has not been started.
        tree: The directory.
        uid: Who owns it in the container.
        gid: The group that owns it there.
        check: Is called again and again; what it raises ends the copying, and is raised here.

    Raises:
        TransferError: Something of the directory cannot be read.
        EngineError: The engine does not take it.
    """
    try:
        sender = Sender(
            tree.local,
            tree.target,
            uid=uid,
            gid=gid,
            read_only=tree.read_only,
            latest_ns=time.time_ns() - _APART_NS,
            skips=lambda name: name in tree.skip,
        )
        if engine.facts.name != "podman":
            _own_volume(engine, container, tree.target, sender)
        with contextlib.closing(sender.chunks()) as chunks:
            engine.put_archive(container, tree.target, _checked(chunks, check))
    except SendingError as exc:
        raise TransferError(f"{str(tree.local)!r} was not copied into the container: {exc}") from exc
    except _StoppedError as exc:
        raise exc.reason from None
    tree.sent = sender.sent


def copy_out(engine: Engine, container: str, tree: Copied, *, check: Callable[[], None]) -> list[str]:
    """Copy what a run has written in a container to the directory here.

    Files that come back as they went are left alone. All others belong to the caller and get the time of their copying,
    for this machine's clock says what was written since a run began. What the run has deleted stays here.

    Args:
        engine: The engine.
        container: The container, which has ended.
        tree: The directory, as it was copied in.
        check: Is called again and again; what it raises ends the copying, and is raised here.

    Returns:
        What was left out, because it could do harm or cannot be had here; one sentence each.

    Raises:
        TransferError: Something was not copied; says what. Each file that is here is whole.
    """
    if tree.read_only:
        return []
    try:
        receiver = Receiver(tree.local, tree.target, tree.sent)
    except OSError as exc:
        raise TransferError(f"nothing was copied to {str(tree.local)!r}: {exc.strerror}") from exc
    chunks = engine.get_archive(container, tree.target)
    with contextlib.closing(receiver), contextlib.closing(chunks):
        receipt = _Receipt(tree, receiver)
        try:
            receipt.take(ArchiveReader(_checked(chunks, check)))
        except _StoppedError as exc:
            raise exc.reason from None
        except (EngineError, ArchiveError, FullError) as exc:
            raise TransferError(f"{receipt.rest} not copied out of the container: {_why(exc)}") from exc
    return receipt.warnings()


@final
class _Receipt:
    """What became of each entry of an archive."""

    def __init__(self, tree: Copied, receiver: Receiver) -> None:
        self._tree = tree
        self._receiver = receiver
        self._top: Parts | None = None
        self._begun = ""
        self._done = ""
        self._refused = _Sentences()
        self._failed = _Sentences()

    def take(self, archive: ArchiveReader) -> None:
        """Have all of it written that can be."""
        for entry in archive:
            self._begun = entry.name
            try:
                self._one(entry, archive)
            except RefusedError as exc:
                self._refused.add(f"{self._begun!r} was not copied out of the container: {exc}")
            except FullError:
                raise
            except OSError as exc:
                self._failed.add(f"{self._begun!r}: {_why(exc)}")
            self._begun, self._done = "", self._begun

    @property
    def rest(self) -> str:
        """What is missing where the copying broke off, with its verb."""
        if self._begun:
            return f"{self._begun!r} and what comes after it were"
        return f"what comes after {self._done!r} was" if self._done else "what the run wrote was"

    def warnings(self) -> list[str]:
        """Give what was left out.

        Raises:
            TransferError: Something else is missing, too.
        """
        if self._failed:
            raise TransferError(f"not all was copied out of the container: {'; '.join(self._failed.all())}")
        return self._refused.all()

    def _one(self, entry: Entry, archive: ArchiveReader) -> None:
        if self._top is None:
            if entry.kind is not Kind.DIRECTORY:
                raise ArchiveError(f"it begins with {entry.name!r}, which is no directory")
            self._top = parts_of(entry.name)  # Docker's engine says the name of the directory, Podman's says nothing
            return
        parts = self._below(entry.name)
        if not parts or self._tree.skips(parts):
            return
        self._begun = "/".join(parts)
        link = self._below(entry.link) if entry.kind is Kind.HARD_LINK else ()
        self._receiver.receive(parts, entry, link, archive.content())

    def _below(self, name: str) -> Parts:
        parts, top = parts_of(name), self._top or ()
        if parts[: len(top)] != top:
            raise RefusedError(f"it is not below {'/'.join(top)!r}")
        return parts[len(top) :]


@final
class _Sentences:
    """A list that is never too long to be read."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, sentence: str) -> None:
        """Add one, or count it."""
        self._count += 1
        if len(self._first) < _MOST_SENTENCES:
            self._first.append(sentence)

    def all(self) -> list[str]:
        """Give the first ones, and how many there are besides."""
        more = self._count - len(self._first)
        return [*self._first, f"the same befell {more} more"] if more else self._first


def _own_volume(engine: Engine, container: str, target: str, sender: Sender) -> None:
    """Make the volume itself the user's.

    Docker's engine leaves ``./`` as it is, so the volume is named from the directory above it. Where the image's files
    are read-only, the engine writes to volumes alone; it can be named from within there, except by the engines that
    have refused ``..`` since 2026 (moby/go-archive, pull request 45).

    Raises:
        EngineError: It is such an engine, or it refuses anyway.
    """
    path = PurePosixPath(target)
    try:
        engine.put_archive(container, str(path.parent), iter([sender.root(path.name)]))
    except EngineError as exc:
        if "read-only" not in str(exc):
            raise
        try:
            engine.put_archive(container, target, iter([sender.root(f"../{path.name}")]))
        except EngineError as refused:
            raise EngineError(
                f"this engine cannot make {target!r} writable where the image's files are read-only: {refused}",
                refused.status,
            ) from exc


def _checked(chunks: Iterator[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    for chunk in chunks:
        try:
            check()
        except Exception as exc:
            raise _StoppedError(exc) from exc
        yield chunk


def _why(exc: Exception) -> str:
    return str((isinstance(exc, OSError) and exc.strerror) or exc)
