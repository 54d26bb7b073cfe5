"""End what dead callers left: containers that still run, ended ones, and ones that were never started."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rompy_core import RecordError, RunState, reopen_record
from rompy_docker._engine import Engine, EngineError, find_address
from rompy_docker._labels import CALLER, KEPT, Owner, owner_of

logger = logging.getLogger(__name__)

_GRACE_S: Final = 0.5
"""How long a container may take to end by itself after its caller was killed: nobody is left to wait for it."""
_APPEARS_WITHIN_S: Final = 3.0
"""How long after its caller's death a container may still appear that was asked for just before."""
_ROUND_S: Final = 0.05
_LIVE: Final[set[str]] = set()
"""Names of the containers that runs of this process hold now."""


def hold(name: str) -> None:
    """Keep ``reap`` away from a container of this process while its run lives."""
    _LIVE.add(name)


def let_go(name: str) -> None:
    """Leave a container of this process to ``reap``, if there still is one."""
    _LIVE.discard(name)


def reap(engine: str | None = None, *, engine_timeout: float = 60.0) -> list[str]:
    """End and remove the containers whose caller is dead, and complete their records.

    A caller is told from another process that got its number by host, boot, PID namespace, number and start time. The
    containers of living callers, and of callers of another machine, are left alone. Each run does this, too, once its
    container has been started.

    Args:
        engine: Address of the engine, as the option of ``DockerConfig``.
        engine_timeout: How long the engine may take to answer, seconds.

    Returns:
        The names of the containers that were ended or removed.

    Raises:
        RuntimeError: The engine cannot be reached or refuses; the text says why.
    """
    try:
        connection = Engine(find_address(engine), engine_timeout)
        with contextlib.closing(connection):
            return reap_with(connection)
    except EngineError as exc:
        raise RuntimeError(str(exc)) from exc


def reap_with(engine: Engine) -> list[str]:
    """Be ``reap`` on a connection that exists."""
    ended: list[str] = []
    abandoned = list(_abandoned(engine))
    for container, _, _ in abandoned:
        with contextlib.suppress(EngineError):  # another one may be at it as well, here and below
            _ask(engine, container)
    insist_at = time.monotonic() + _GRACE_S
    for container, name, owner in abandoned:
        logger.info("a container that a dead caller left is ended", extra={"container": name})
        with contextlib.suppress(EngineError):
            _insist(engine, container, insist_at, is_kept=owner.is_kept)
            ended.append(name)
        _complete(owner.record_dir, "its caller was ended, and its container by a later run or by reap()")
    return ended


def end_abandoned(engine: str | None, engine_timeout: float, container: str, record_dir: str, is_kept: bool) -> None:  # noqa: FBT001 - called with what came as JSON
    """Be the caller after its death: end its container and complete its record.

    Args:
        engine: The address, as in the config.
        engine_timeout: How long the engine may take to answer, seconds.
        container: The container's name.
        record_dir: The folder of the record.
        is_kept: Whether the container stays when it has ended.
    """
    try:
        with contextlib.closing(Engine(find_address(engine), engine_timeout)) as connection:
            give_up_at = time.monotonic() + _APPEARS_WITHIN_S
            while not _end(connection, container, is_kept=is_kept) and time.monotonic() < give_up_at:
                time.sleep(_ROUND_S)
        problem = ""
    except EngineError as exc:
        problem = f"; its container {container!r} could not be ended: {exc}"
    _complete(Path(record_dir), f"its caller ended before it did{problem}")


def _abandoned(engine: Engine) -> Iterator[tuple[str, str, Owner]]:
    """Give the id, name and owner of each container that nobody is left to end."""
    for container in engine.containers([CALLER]):
        name, owner = _name(container), owner_of(container.get("Labels") or {})
        if owner is None or not (owner.is_gone or (owner.is_this_process and name not in _LIVE)):
            continue
        if not (owner.is_kept or name.endswith(KEPT)) or container.get("State") in ("running", "paused", "created"):
            yield str(container["Id"]), name, owner


def _end(engine: Engine, container: str, *, is_kept: bool) -> bool:
    """Ask, insist, remove; say whether there was such a container."""
    try:
        _ask(engine, container)
        return _insist(engine, container, time.monotonic() + _GRACE_S, is_kept=is_kept)
    except EngineError as exc:
        if exc.status == 404:
            return False
        raise


def _ask(engine: Engine, container: str) -> None:
    if _is_running(engine, container):
        engine.kill(container, "SIGTERM")


def _insist(engine: Engine, container: str, insist_at: float, *, is_kept: bool) -> bool:
    while time.monotonic() < insist_at and _is_running(engine, container):
        time.sleep(_ROUND_S)
    if is_kept:
        engine.kill(container, "SIGKILL")
    return is_kept or engine.destroy(container)


def _is_running(engine: Engine, container: str) -> bool:
    return bool(engine.inspect(container)["State"].get("Running"))


def _complete(record_dir: Path, reason: str) -> None:
    with contextlib.suppress(RecordError, OSError):
        record = reopen_record(record_dir)
        if record is not None:
            record.finish(RunState.CANCELLED, reason)


def _name(container: dict[str, Any]) -> str:
    names = container.get("Names") or [container["Id"]]
    return str(names[0]).lstrip("/")
