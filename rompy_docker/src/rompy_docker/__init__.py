"""Run models in containers of a Docker or Podman engine: limited, ended whole, recorded.

A name is imported when it is first used (PEP 562), and the docker SDK when an engine is first asked for something.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rompy_docker._backend import DockerRunBackend
    from rompy_docker._capabilities import capabilities
    from rompy_docker._config import DockerConfig
    from rompy_docker._reap import reap

__all__ = ["DockerConfig", "DockerRunBackend", "capabilities", "reap"]

_HOMES = {
    "DockerConfig": "_config",
    "DockerRunBackend": "_backend",
    "capabilities": "_capabilities",
    "reap": "_reap",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
