"""What lies in the record of a queued run beside the report, and reading and writing it.

Several machines look at these files through a network's file system, so each is written whole and renamed into place.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from rompy_core import replace_file

STDOUT: Final = "stdout.log"
STDERR: Final = "stderr.log"
USAGE: Final = "usage.csv"
PROGRESS: Final = "progress.csv"
REPORT: Final = "report.json"
CANCEL: Final = "cancel"

SCRIPT: Final = "job.sh"
"""What ``sbatch`` was given."""
COMMAND: Final = "command.sh"
"""What the job runs: setup, environment, the command."""
ENVIRONMENT: Final = "environment"
"""The values of ``env_vars``, mode 0600; removed when the command begins, or at the end where it may begin again."""
JOB: Final = "job.json"
"""What whoever submitted or watches the job knows of it, and the model run's period."""
SUBMITTED: Final = "submitted"
"""The number of the job, and its cluster; ``job.json`` has them, too, once Slurm has been asked for the job."""
LOG: Final = "job.log"
"""What the job itself printed, and Slurm about it; the output of the command is not in it."""
BEGUN: Final = "begun"
"""Which job has begun, written by that job: its number and how often it was started again."""
EXIT: Final = "exit"
"""How the command ended, written by a job without a supervisor."""
WITHDRAWN: Final = "withdrawn"
"""Where this is, the job has nothing to do any more, if it should begin yet."""
LOCK: Final = ".lock"
"""Locked by whoever completes the report: the job, or one of those who watch it."""

_LOCK_ROUND_S: Final = 0.05
_TAIL: Final = 2**13
_LONGEST_LINE: Final = 500


@contextlib.contextmanager
def completing(record_dir: Path, *, wait_s: float = 0.0) -> Generator[bool]:
    """Be the one who completes a record; on a file system without locks, everybody is for some milliseconds.

    Args:
        record_dir: The folder of the record.
        wait_s: How long to wait for somebody else who is about to do so.

    Yields:
        Whether nobody else is about to do so.
    """
    with contextlib.ExitStack() as stack:
        is_mine = True
        with contextlib.suppress(OSError):
            lock = os.open(record_dir / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            stack.callback(os.close, lock)
            deadline = time.monotonic() + wait_s
            while not (is_mine := _is_locked(lock)) and time.monotonic() < deadline:
                time.sleep(_LOCK_ROUND_S)
        yield is_mine


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def attempt_dir(record_dir: Path, restarts: int) -> Path:
    """Give the folder in which the supervisor of one start of the job keeps its own record."""
    return record_dir / f"attempt-{restarts}"


def newest_attempt(record_dir: Path) -> Path | None:
    """Give the folder of the last start of the job, or ``None`` where no supervisor has begun."""
    found = sorted(record_dir.glob("attempt-*"), key=lambda path: int(path.name.partition("-")[2] or 0))
    return found[-1] if found else None


def write_new(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file that nobody looks for yet, which costs less than replacing one; *mode* says who will see it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(data)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write *data* as JSON."""
    replace_file(path, as_json(data))


def as_json(data: Mapping[str, Any]) -> bytes:
    """Give *data* as JSON that people can read."""
    return (json.dumps(data, indent=2, default=str) + "\n").encode("ascii")


def read_json(path: Path) -> dict[str, Any]:
    """Read a table; an empty one where there is none, or what is there cannot be read as one."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        plain = json.loads(path.read_bytes())
        if isinstance(plain, dict):
            return cast("dict[str, Any]", plain)
    return {}


def read_words(path: Path) -> list[str]:
    """Read the words of a small file; none where it is not there."""
    with contextlib.suppress(OSError):
        return path.read_text("utf-8", "replace").split()
    return []


def tail_of(path: Path) -> str:
    """Give the end of a log; empty where there is none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL, 0))
        return file.read().decode("utf-8", "replace")
    return ""


def last_line_of(text: str) -> str:
    """Give the last line that is not blank, or the beginning of a long one; empty where there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")[:_LONGEST_LINE]


def refresh(directory: Path) -> None:
    """Have a network's file system forget what it remembers of *directory*: a change of its own makes it ask again."""
    with contextlib.suppress(OSError):
        probe = directory / f".probe-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
