"""Find the engine by name, make it, and make it anew when it broke."""

from __future__ import annotations

import inspect
import logging
import os
import queue
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, Final, cast, final

from rompy_core import ConfigError, load_object
from rompy_ensemble._attempts import Task, run_attempt
from rompy_ensemble._files import Attempt

logger = logging.getLogger(__name__)
GROUP: Final = "rompy.executors"
_MOST_BREAKS: Final = 5
"""How often an engine is made anew without a member having ended in between."""

Factory = Callable[..., Executor]
Ended = tuple[int, "Future[tuple[Attempt, ...]]"]


class EngineBrokenError(Exception):
    """The engine takes no members any more, and cannot be made anew."""


def find_factory(executor: object, options: Mapping[str, Any]) -> Factory | None:
    """Give what makes the engine, or ``None`` for an executor that is there already.

    Args:
        executor: A name of the group ``rompy.executors``, a factory, or an executor.
        options: What the factory is to get beside ``max_workers``.

    Raises:
        PluginError: The name cannot be used.
        ConfigError: It is none of the three, or does not take the options.
    """
    if isinstance(executor, Executor):
        if options:
            raise ConfigError("Ensemble", ["executor_kwargs: are for a name or a factory, not for an executor object"])
        return None
    factory: object = load_object(GROUP, executor) if isinstance(executor, str) else executor
    if not callable(factory):
        found = type(executor).__name__
        raise ConfigError(
            "Ensemble", [f"executor: must be a name, an Executor or a function that makes one, found {found}"]
        )
    check: object = getattr(factory, "check", None)
    try:
        inspect.signature(factory).bind(max_workers=1, **options)
    except TypeError as exc:
        raise ConfigError("Ensemble", [f"executor_kwargs: {executor!r} does not take them: {exc}"]) from exc
    except ValueError:  # a builtin, which does not say what it takes
        pass
    if callable(check):
        check(**options)
    return cast("Factory", factory)


def processors() -> int:
    """Give how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@final
class Engine:
    """Hands members to an executor, and gives them back as they end."""

    def __init__(self, executor: object, factory: Factory | None, max_workers: int, options: Mapping[str, Any]) -> None:
        self._factory = factory
        self._options = {**options, "max_workers": max_workers}
        self._executor = executor if isinstance(executor, Executor) else None
        self._futures: dict[int, Future[tuple[Attempt, ...]]] = {}
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._breaks = 0

    def submit(self, member: int, task: Task) -> None:
        """Hand a member over.

        Raises:
            EngineBrokenError: Nothing can be handed over any more.
        """
        while True:
            executor = self._made()
            try:
                future = executor.submit(run_attempt, task)
                break
            except (BrokenExecutor, RuntimeError) as exc:
                self._forget(exc)
        self._futures[member] = future
        future.add_done_callback(lambda ended: self._ended.put((member, ended)))

    def next(self, timeout: float) -> tuple[int, tuple[Attempt, ...] | BaseException] | None:
        """Give a member that has ended, with its attempts or with why the engine lost it; waits *timeout* seconds."""
        try:
            member, future = self._ended.get(timeout=timeout)
        except queue.Empty:
            return None
        self._futures.pop(member, None)
        try:
            attempts = future.result()
        except BaseException as exc:  # noqa: BLE001 - an engine may raise anything, also what ended its worker
            return member, exc
        self._breaks = 0
        return member, attempts

    @property
    def has_members(self) -> bool:
        """Whether members were handed over that have not been given back."""
        return bool(self._futures)

    def cancel_waiting(self) -> None:
        """Cancel the members that have not begun, where the engine can."""
        for future in list(self._futures.values()):
            future.cancel()

    def close(self) -> None:
        """Shut the executor down, unless it was given."""
        if self._factory is not None and self._executor is not None:
            executor, self._executor = self._executor, None
            executor.shutdown(wait=True, cancel_futures=True)

    def _made(self) -> Executor:
        if self._executor is None:
            if self._factory is None or self._breaks > _MOST_BREAKS:
                raise EngineBrokenError("it was lost")
            self._executor = self._factory(**self._options)
        return self._executor

    def _forget(self, exc: Exception) -> None:
        self._breaks += 1
        if self._factory is None:
            raise EngineBrokenError(f"{type(exc).__name__}: {exc}") from exc
        logger.warning("the engine broke and is made anew: %s", exc, extra={"breaks": self._breaks})
        self.close()
        if self._breaks > _MOST_BREAKS:
            raise EngineBrokenError(f"it broke {self._breaks} times in a row: {exc}") from exc
