"""What an ensemble keeps on disk beside the records of the runs: below ``output_dir``, in ``.rompy-ensemble/``.

``members/<run_id>.jsonl`` has the attempts of a member, and is locked by whoever works on it. It only ever grows, by
whole lines: one when an attempt begins and one when it has ended, which costs a fraction of replacing a file.
``<name>.json`` says which process drives the ensemble, and is replaced whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import json
import os
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Final, final

import attrs

from rompy_core import (
    ProcessIdentity,
    RecordError,
    RompyError,
    RunState,
    identify,
    is_alive,
    replace_file,
    structure_config,
)

HOME: Final = ".rompy-ensemble"
_POLL_S: Final = 0.05


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt at a member: plain values, as they are on disk and as they travel between processes.

    Attributes:
        inputs: The hash of what the member computes from; empty where it could not be read.
        state: A ``RunState``; ``COMPLETED`` only where the whole pipeline is a success.
        reason: One sentence.
        stage: The stage of the pipeline that failed, or empty.
        started_at: ISO 8601, UTC.
        finished_at: ISO 8601, UTC; empty while it goes on.
        record_dir: The record of the run, relative to ``output_dir``; empty where no run came to be.
        earlier: Names of the records that were in the workspace before.
        scaled: Options that had grown.
        wall_time_s: As in ``RunReport``.
        cpu_time_s: As in ``RunReport``.
        peak_rss_bytes: As in ``RunReport``.
    """

    inputs: str = ""
    state: str
    started_at: str
    reason: str = ""
    stage: str = ""
    finished_at: str = ""
    record_dir: str = ""
    earlier: tuple[str, ...] = ()
    scaled: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    wall_time_s: float | None = None
    cpu_time_s: float | None = None
    peak_rss_bytes: int | None = None

    @property
    def run_state(self) -> RunState:
        """The state as what it is."""
        return RunState(self.state)


@final
class MemberFile:
    """The attempts of one member. Only who holds the lock writes.

    Attributes:
        path: Where they are: lines of JSON. Of several about one attempt, the last one counts.
    """

    def __init__(self, home: Path, run_id: str) -> None:
        self.path = home / "members" / f"{run_id}.jsonl"
        self._file = -1
        self._written: tuple[Attempt, ...] = ()

    def read(self) -> tuple[Attempt, ...]:
        """Give the attempts, oldest first. A last line without its end is being written, or was never finished.

        Raises:
            RecordError: The file cannot be read as one of ours.
        """
        found: dict[int, Attempt] = {}
        try:
            for line in _whole_lines(self.path.read_bytes()).splitlines():
                data = json.loads(line)
                found[int(data["attempt"])] = _attempt(data)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise RecordError(self.path, f"cannot be read as the attempts of a member: {exc}") from exc
        self._written = tuple(found[number] for number in sorted(found))
        return self._written

    def write(self, attempts: tuple[Attempt, ...]) -> None:
        """Add what is new among *attempts* since they were read or written last; needs the lock.

        Raises:
            OSError: The disk refuses it; the file is as it was.
        """
        known = (*self._written, *(None,) * len(attempts))
        new = [(number, one) for number, one in enumerate(attempts) if one != known[number]]
        _append(self._file, "".join(_line(number, one) for number, one in new).encode("ascii"))
        self._written = attempts

    @contextlib.contextmanager
    def locked(self, timeout: float, is_cancelled: Callable[[], bool]) -> Generator[bool]:
        """Have the member for oneself until the block is left; gives whether that is so, within *timeout* seconds.

        This holds between threads and processes, and ends with the process.
        """
        flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = file = os.open(self.path, flags, 0o666)
        try:
            yield wait_for(lambda: _lock(file), timeout, is_cancelled)
        finally:
            self._file = -1
            with contextlib.suppress(OSError):  # a process that was forked meanwhile would go on having it
                fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)

    def is_free(self) -> bool:
        """Whether nobody works on the member now."""
        with self.locked(0.0, lambda: False) as is_free:
            return is_free


def _line(number: int, attempt: Attempt) -> str:
    told = {field.name: getattr(attempt, field.name) for field in attrs.fields(Attempt)}
    plain = {name: value for name, value in told.items() if value not in ("", None)}
    return json.dumps({"attempt": number, **plain}, default=str) + "\n"


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _append(file: int, data: bytes) -> None:
    """Add *data* to the whole lines of a file, or nothing."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":  # left by a process that died in the middle of it
        size = len(_whole_lines(os.pread(file, size, 0)))
        os.ftruncate(file, size)
    if os.write(file, data) < len(data):
        os.ftruncate(file, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def wait_for(condition: Callable[[], bool], timeout: float, is_cancelled: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline or is_cancelled():
            return False
        time.sleep(_POLL_S)
    return True


@attrs.frozen(kw_only=True)
class Driver:
    """The process that drives an ensemble, and where to ask for its end.

    Attributes:
        process: Who it is.
        stop_path: A file that asks for the end of all members, once it is there.
    """

    process: ProcessIdentity
    stop_path: Path

    def is_mine(self) -> bool:
        """Whether it is this process."""
        return self.process.pid == os.getpid() and self.process == _identity_of(os.getpid())

    def is_over(self) -> bool:
        """Whether nothing is to begin any more: the end was asked for, or the process is known to be gone."""
        return self.stop_path.exists() or (not self.is_mine() and is_alive(self.process) is False)


@functools.lru_cache(maxsize=1)
def _identity_of(pid: int) -> ProcessIdentity:
    """Give the identity of this process; a process that was forked has another number."""
    return identify(pid)


@contextlib.contextmanager
def driving(home: Path, name: str) -> Generator[Driver]:
    """Be the one process that drives the ensemble *name*, until the block is left.

    Raises:
        RompyError: Another one does, or cannot be seen to be gone.
    """
    (home / "members").mkdir(parents=True, exist_ok=True)
    file = home / f"{name}.json"
    driver = Driver(process=identify(), stop_path=home / f"{name}-{secrets.token_hex(4)}.stop")
    with _exclusively(home / f"{name}.lock"):
        _refuse_second(file, name)
        facts = {"process": attrs.asdict(driver.process), "stop": driver.stop_path.name}
        replace_file(file, json.dumps(facts, indent=1).encode("ascii"))
        for old in home.glob(f"{name}-????????.stop"):
            old.unlink(missing_ok=True)
    try:
        yield driver
    finally:
        file.unlink(missing_ok=True)


def driver_of(home: Path, name: str) -> Driver | None:
    """Give the driver of an ensemble, as it is written down; ``None`` where nothing is."""
    try:
        data = json.loads((home / f"{name}.json").read_bytes())
        process = structure_config(data["process"], ProcessIdentity)
        return Driver(process=process, stop_path=home / str(data["stop"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refuse_second(file: Path, name: str) -> None:
    other = driver_of(file.parent, name)
    if other is not None and is_alive(other.process) is not False:
        where = f"pid {other.process.pid} on {other.process.host}"
        raise RompyError(
            f"the ensemble {name!r} is driven by another process already ({where}); wait for it, end it, or, if it is "
            f"on a machine that is gone, remove {str(file)!r}"
        )


@contextlib.contextmanager
def _exclusively(path: Path) -> Generator[None]:
    lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        with contextlib.suppress(OSError):  # a file system without locks leaves a gap of a few milliseconds
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here: the records of the runs keep others out
        return True
    return True


def _attempt(data: Mapping[str, Any]) -> Attempt:
    names = {field.name for field in attrs.fields(Attempt)}
    known: dict[str, Any] = {name: value for name, value in data.items() if name in names}
    known["earlier"] = tuple(known.get("earlier", ()))
    attempt = Attempt(**known)
    RunState(attempt.state)
    return attempt
