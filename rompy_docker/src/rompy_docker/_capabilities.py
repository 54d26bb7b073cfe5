"""Which guarantees an engine keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rompy_core import Capability
from rompy_docker._engine import Engine, EngineError, find_address

_LIMITS: Final = ("memory", "cpu", "pids_limit")


def capabilities(engine: str | None = None, *, engine_timeout: float = 60.0) -> Mapping[str, Capability]:
    """Say which guarantees an engine keeps, by the names that ``require`` takes.

    ``engine``: it answers. ``memory``, ``cpu``, ``pids_limit``: it keeps that limit. ``rootless``: it runs without
    root's rights. ``mount``: the workspace is mounted, not copied.

    Args:
        engine: Its address, as the option of ``DockerConfig``.
        engine_timeout: How long it may take to answer, seconds.
    """
    try:
        connection = Engine(find_address(engine), engine_timeout)
        try:
            facts, address = connection.facts, connection.address
        finally:
            connection.close()
    except EngineError as exc:
        return dict.fromkeys(("engine", *_LIMITS, "rootless", "mount"), Capability(holds=False, detail=str(exc)))
    called = f"{facts.name} {facts.version} at {address.url}"
    limits = {
        name: Capability(name not in facts.cannot, called if name not in facts.cannot else f"{called} cannot limit it")
        for name in _LIMITS
    }
    return {
        "engine": Capability(holds=True, detail=called),
        **limits,
        "rootless": Capability(facts.is_rootless, called),
        "mount": Capability(address.is_local, called if address.is_local else f"{called} is reached by a network"),
    }
