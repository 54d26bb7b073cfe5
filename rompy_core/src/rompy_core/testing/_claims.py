"""What claims are made of: their sentence, waiting, errors that must come, files. No pytest here."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
ErrorT = TypeVar("ErrorT", bound=BaseException)

NO_MODEL_RUNS: Final = (None, SimpleNamespace(output_dir="."), SimpleNamespace(run_id=None, output_dir="."))
_POLL_S: Final = 0.005


def claim(test: Callable[P, None]) -> Callable[P, None]:
    """Have *test*, however it fails, say which promise was broken: the first line of its docstring."""
    promise = (inspect.getdoc(test) or test.__name__).partition("\n")[0]

    @functools.wraps(test)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            test(*args, **kwargs)
        except Exception as exc:  # a plugin may raise anything
            found = str(exc) if isinstance(exc, AssertionError) else f"{type(exc).__name__}: {exc}"
            raise AssertionError(f"broken promise: {promise} Found: {found}") from exc

    return checked


def wait_until(condition: Callable[[], object], timeout: float, what: str = "") -> None:
    """Wait for an event, with a deadline.

    Args:
        condition: Called again and again, until it gives something true.
        timeout: How many seconds to wait at most.
        what: What is waited for, for the message.

    Raises:
        AssertionError: The event did not come in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what or 'an event'}")
        time.sleep(_POLL_S)


def error_of(kind: type[ErrorT], call: Callable[..., object], *args: Any, **kwargs: Any) -> ErrorT:
    """Give the error of *kind* that the call raises; another one goes on.

    Raises:
        AssertionError: It raised nothing.
    """
    try:
        given = call(*args, **kwargs)
    except kind as exc:
        return exc
    raise AssertionError(f"no {kind.__name__} was raised, {given!r} was given")


def files_below(directory: Path) -> list[Path]:
    """List the files below *directory*, at any depth."""
    return [path for path in directory.rglob("*") if path.is_file()]


def content_of(path: Path) -> bytes | None:
    """Give what is in a file, or ``None`` where there is none."""
    return path.read_bytes() if path.is_file() else None
