"""Run models on this machine: supervised, limited, ended whole, recorded.

A name is imported when it is first used (PEP 562), for the supervisor of each run imports this package.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rompy_local._backend import LocalRunBackend
    from rompy_local._capabilities import capabilities
    from rompy_local._config import LocalConfig
    from rompy_local._sandbox import Sandbox, SandboxError, SandboxSpec

__all__ = ["LocalConfig", "LocalRunBackend", "Sandbox", "SandboxError", "SandboxSpec", "capabilities"]

_HOMES = {
    "LocalConfig": "_config",
    "LocalRunBackend": "_backend",
    "Sandbox": "_sandbox",
    "SandboxError": "_sandbox",
    "SandboxSpec": "_sandbox",
    "capabilities": "_capabilities",
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
