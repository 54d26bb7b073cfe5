"""What the executor and the tasks of its arrays hand each other: files on a file system that the nodes share.

``tasks/<number>`` waits to be taken; to take it is to rename it to ``claimed/<number>@<element>``, which one process
does with success. ``outbox/`` has the news of the elements, each a file that is renamed into place: ``<number>`` is a
result, ``begun-<element>`` and ``left-<element>`` are the first and the last word of an element. ``driver`` says who
waits for all this, changes as long as that process lives, and is gone once nobody waits. An element is a task of an
array, and has Slurm's name for it (``28_3``).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pickle
import random
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast, final

import attrs

from rompy_core import ProcessIdentity, identify, is_alive, replace_file, structure_config
from rompy_slurm import _files

PREFIX: Final = "rompy-array-"
BEAT_S: Final = 5.0
"""How often the driver changes its file."""
GONE_AFTER_S: Final = 60.0
"""A driver on another machine that has not changed its file for that long is gone."""
_PRIVATE: Final = 0o600
_BEGUN, _LEFT = "begun-", "left-"


@attrs.frozen(kw_only=True)
class Driver:
    """The process that waits for results, and what its elements must know.

    Attributes:
        process: Who it is.
        beat: A number that changes as long as it lives.
        path: Where it imports modules from.
        cwd: Its current directory.
        tasks: How many elements there are at most.
        minutes: The time limit of each, or ``None``.
        idle_timeout: After how many seconds without work an element ends.
        cluster: The cluster's name where it is not the caller's own one; else empty.
        jobs: The numbers of its arrays.
    """

    process: ProcessIdentity
    beat: int = 0
    path: tuple[str, ...] = ()
    cwd: str = "/"
    tasks: int = 1
    minutes: int | None = None
    idle_timeout: float = 60.0
    cluster: str = ""
    jobs: tuple[str, ...] = ()


@attrs.frozen
class News:
    """What the elements have said since the last time.

    Attributes:
        begun: The elements that have begun.
        left: The elements that have done their last piece.
        results: The numbers of the pieces of work that have a result.
    """

    begun: tuple[str, ...]
    left: tuple[str, ...]
    results: tuple[int, ...]


@final
class Spool:
    """The directory of one executor.

    Attributes:
        directory: Where it is, absolute.
        logs_dir: Where Slurm writes what each element prints.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs_dir = directory / "logs"
        self._tasks = directory / "tasks"
        self._claimed = directory / "claimed"
        self._outbox = directory / "outbox"
        self._driver = directory / "driver"

    @classmethod
    def make(cls, parent: Path) -> Spool:
        """Make a new one below *parent*, for its owner alone.

        Raises:
            OSError: The disk refuses it.
        """
        parent.mkdir(parents=True, exist_ok=True)
        spool = cls(parent / f"{PREFIX}{secrets.token_hex(8)}")
        for directory in (spool.directory, spool.logs_dir, spool._tasks, spool._claimed, spool._outbox):
            directory.mkdir(0o700)
        return spool

    # The driver's side

    def write_driver(self, driver: Driver) -> None:
        """Say who waits.

        Raises:
            OSError: The disk refuses it.
        """
        replace_file(self._driver, _files.as_json(attrs.asdict(driver)), mode=_PRIVATE)

    def retire(self) -> None:
        """Say that nobody waits any more: every element that sees it ends."""
        with contextlib.suppress(OSError):
            self._driver.unlink(missing_ok=True)

    def put(self, number: int, data: bytes) -> None:
        """Lay a piece of work out to be taken.

        Raises:
            OSError: The disk refuses it.
        """
        replace_file(self._tasks / _name(number), data, mode=_PRIVATE)

    def take_back(self, number: int) -> bool:
        """Withdraw a piece of work, unless it has been taken; says whether that worked."""
        try:
            (self._tasks / _name(number)).unlink()
        except OSError:
            return False
        return True

    def news(self) -> News:
        """Give what is new; words of elements are given once, results until they are read.

        Raises:
            OSError: The directory cannot be read.
        """
        _files.refresh(self._outbox)
        names = sorted(path.name for path in self._outbox.iterdir() if not path.name.startswith("."))
        for name in names:
            if name.startswith((_BEGUN, _LEFT)):
                (self._outbox / name).unlink(missing_ok=True)
        return News(
            begun=tuple(name.removeprefix(_BEGUN) for name in names if name.startswith(_BEGUN)),
            left=tuple(name.removeprefix(_LEFT) for name in names if name.startswith(_LEFT)),
            results=tuple(int(name) for name in names if name.isdigit()),
        )

    def read_result(self, number: int) -> bytes:
        """Read a result, and remove it.

        Raises:
            OSError: It cannot be read.
        """
        path = self._outbox / _name(number)
        data = path.read_bytes()
        path.unlink()
        return data

    def claimed_by(self, element: str) -> list[int]:
        """List what an element has taken and not done.

        Raises:
            OSError: The directory cannot be read.
        """
        _files.refresh(self._claimed)
        taken = (path.name.partition("@") for path in self._claimed.iterdir())
        return [int(number) for number, _, by in taken if by == element]

    def is_gone(self) -> bool:
        """Whether somebody has removed it."""
        return not self._outbox.is_dir()

    def remove(self) -> None:
        """Remove it with all that it has."""
        shutil.rmtree(self.directory, ignore_errors=True)

    # The side of an element

    def read_driver(self) -> Driver | None:
        """Say who waits; ``None`` where nobody does.

        Raises:
            OSError: It cannot be read now, though it may be there.
        """
        try:
            return structure_config(json.loads(self._driver.read_bytes()), Driver)
        except FileNotFoundError:
            return None
        except ValueError as exc:
            raise OSError(f"{str(self._driver)!r} cannot be read as a driver: {exc}") from exc

    def claim(self, element: str, window: int) -> int | None:
        """Take one of the *window* oldest pieces of work; ``None`` where there is none.

        Many elements reach for one piece at a time, so each tries them in an order of its own.
        """
        with contextlib.suppress(FileNotFoundError):
            _files.refresh(self._tasks)
            oldest = sorted(path.name for path in self._tasks.iterdir() if path.name.isdigit())[:window]
            for name in random.sample(oldest, len(oldest)):
                target = self._claimed / f"{name}@{element}"
                with contextlib.suppress(FileNotFoundError):
                    (self._tasks / name).rename(target)
                # Through a network, the answer that it was renamed may be lost, and the question asked again.
                if target.exists():
                    return int(name)
        return None

    def read_task(self, number: int, element: str) -> bytes:
        """Read what was taken, of which nothing stays on the disk but that it was taken.

        Raises:
            OSError: It cannot be read.
        """
        path = self._claimed / f"{_name(number)}@{element}"
        data = path.read_bytes()
        os.truncate(path, 0)
        return data

    def done(self, number: int, element: str, result: bytes) -> None:
        """Give the result of what was taken.

        Raises:
            OSError: The disk refuses it.
        """
        replace_file(self._outbox / _name(number), result, mode=_PRIVATE)
        (self._claimed / f"{_name(number)}@{element}").unlink(missing_ok=True)

    def say_begun(self, element: str) -> None:
        """Give the first word of an element.

        Raises:
            OSError: The disk refuses it.
        """
        replace_file(self._outbox / f"{_BEGUN}{element}", b"", mode=_PRIVATE)

    def say_left(self, element: str) -> None:
        """Give the last word of an element; where that fails, Slurm will tell."""
        with contextlib.suppress(OSError):
            replace_file(self._outbox / f"{_LEFT}{element}", b"", mode=_PRIVATE)


@final
class DriverWatch:
    """Tells an element whether its driver is gone."""

    def __init__(self, spool: Spool, driver: Driver) -> None:
        self.driver = driver
        self._spool = spool
        self._is_retired = False
        self._changed_at = time.monotonic()

    def has_died(self) -> bool:
        """Whether nobody waits any more, and nobody has said so."""
        return self.is_over() and not self._is_retired

    def is_over(self) -> bool:
        """Whether nobody waits any more."""
        try:
            driver = self._spool.read_driver()
        except OSError:  # nothing follows from it, but that nothing was heard
            driver = self.driver
        if driver is None:
            self._is_retired = True
            return True
        if driver.beat != self.driver.beat:
            self._changed_at = time.monotonic()
        self.driver = driver
        return is_gone(driver, time.monotonic() - self._changed_at)


def is_gone(driver: Driver, silent_s: float) -> bool:
    """Whether the driver is known to be gone, or is on another machine and has been silent for long."""
    lives = is_alive(driver.process)
    return not lives if lives is not None else silent_s > GONE_AFTER_S


def abandoned(parent: Path) -> Iterator[tuple[Spool, Driver]]:
    """Find the spools of mine below *parent* whose driver was a process of this machine that is gone."""
    for directory in sorted(parent.glob(f"{PREFIX}*")):
        spool = Spool(directory)
        with contextlib.suppress(OSError):
            is_mine = directory.lstat().st_uid == os.getuid() and directory.is_dir() and not directory.is_symlink()
            driver = spool.read_driver() if is_mine else None
            if driver is not None and is_gone(driver, 0.0):
                yield spool, driver


def driver_of_this_process(**facts: Any) -> Driver:
    """Give this process as a driver."""
    return Driver(process=identify(), path=tuple(map(os.path.abspath, sys.path)), cwd=str(Path.cwd()), **facts)


def dumps(value: object) -> bytes:
    """Pickle; by cloudpickle where that is installed, so that what is defined in a script travels, too."""
    try:
        pickler: Any = importlib.import_module("cloudpickle")
    except ImportError:
        pickler = pickle
    return cast("bytes", pickler.dumps(value, pickle.HIGHEST_PROTOCOL))


def pause_s(silent_s: float, longest_s: float) -> float:
    """Say how long to rest before the next look, where nothing has happened for *silent_s* seconds: a part of that."""
    return min(max(silent_s / 50, 0.01), longest_s)


def _name(number: int) -> str:
    return f"{number:08d}"
