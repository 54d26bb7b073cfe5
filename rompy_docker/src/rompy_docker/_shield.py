"""Do what an interrupt must not break into."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final, TypeVar

ResultT = TypeVar("ResultT")

_LONGEST_WAIT_S: Final = 0.25
"""As in the core: a signal that comes just before a wait is seen when that wait is over."""


def shielded(
    work: Callable[[], ResultT], *, give_up: Callable[[], None], discard: Callable[[ResultT], None]
) -> ResultT:
    """Call *work* in a thread of its own if this is the main one, which waits meanwhile.

    An interrupt is raised wherever the main thread is. In the finalizer of a connection it is lost: Python clears what
    an object of ``io`` raises when it is closed for being no longer needed (``iobase_finalize``), and each answer of
    an engine ends so. Here it meets nothing but a wait.

    Args:
        work: What is to be done.
        give_up: Called when an interrupt has come; *work* is waited for then.
        discard: Takes what *work* has given nevertheless.

    Returns:
        What *work* gives; it raises what *work* raises, or the interrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    done: Future[ResultT] = Future()
    thread = threading.Thread(target=_settle, args=(done, work), name="rompy-docker-launch", daemon=True)
    try:
        thread.start()
        _wait(done)
    except BaseException:
        give_up()
        if thread.ident is not None:
            _wait(done)
            if done.exception() is None:
                discard(done.result())
        raise
    return done.result()


def _settle(done: Future[ResultT], work: Callable[[], ResultT]) -> None:
    try:
        done.set_result(work())
    except BaseException as exc:  # noqa: BLE001 - it is raised where it is waited for
        done.set_exception(exc)


def _wait(done: Future[ResultT]) -> None:
    while not done.done():
        wait([done], _LONGEST_WAIT_S)
