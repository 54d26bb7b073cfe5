"""Ask an engine for a container's state, and wait for the answer only as long as one can."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final, final

from rompy_docker._engine import Engine

State = Mapping[str, Any]


@final
class Looks:
    """One look after the other at one container, each in a thread of its own: an engine that hangs holds up nothing."""

    def __init__(self, engine: Engine, container: str) -> None:
        """Look at nothing yet.

        Args:
            engine: The engine.
            container: The container's id.
        """
        self._engine: Final = engine
        self._container: Final = container
        self._asked: Future[State] | None = None

    def state(self, patience_s: float) -> State | None:
        """Give the container's state, or ``None`` where there is no answer yet; the next call waits for the same one.

        Raises:
            EngineError: The engine is lost, or refuses; it was asked at most its own timeout ago.
        """
        if self._asked is None:
            self._asked = self._ask()
        try:
            state = self._asked.result(patience_s)
        except TimeoutError:
            return None
        except BaseException:
            self._asked = None
            raise
        self._asked = None
        return state

    def _ask(self) -> Future[State]:
        asked: Future[State] = Future()
        try:
            threading.Thread(target=self._look, args=[asked], name="rompy-docker-look", daemon=True).start()
        except RuntimeError:  # no more threads to be had
            self._look(asked)
        return asked

    def _look(self, asked: Future[State]) -> None:
        try:
            asked.set_result(self._engine.inspect(self._container)["State"])
        except BaseException as exc:  # noqa: BLE001 - it is raised where the answer is waited for
            asked.set_exception(exc)
