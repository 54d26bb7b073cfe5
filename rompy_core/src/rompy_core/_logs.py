"""Logging with the run's identity on every record; no handlers, no filters, nothing at import."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

make_room: Final[list[Callable[[], None]]] = []
"""What is called before each line: a display in the terminal gets out of its way."""


@final
class RunLogger(_Adapter):
    """Adds ``run_id`` and ``backend`` to each record and keeps what the call itself passes as ``extra``.

    The standard adapter drops the call's own ``extra``; this one merges both.
    """

    def __init__(self, logger: logging.Logger, run_id: str, backend: str) -> None:
        super().__init__(logger, {"run_id": run_id, "backend": backend})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Merge the identity of the run with the call's own fields."""
        for call in make_room:
            call()
        own: Mapping[str, object] = self.extra or {}
        given: Mapping[str, object] = kwargs.get("extra") or {}
        return msg, {**kwargs, "extra": {**own, **given}}
