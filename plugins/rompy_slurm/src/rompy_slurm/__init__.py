"""Run models in the queue of a Slurm cluster: submitted, watched, judged, recorded, found again.

A name is imported when it is first used (PEP 562), so ``import rompy_slurm`` costs next to nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rompy_slurm._attach import attach
    from rompy_slurm._backend import SlurmRunBackend
    from rompy_slurm._capabilities import capabilities
    from rompy_slurm._config import SlurmConfig
    from rompy_slurm._handle import SlurmHandle
    from rompy_slurm._scheduler import Job

__all__ = ["Job", "SlurmConfig", "SlurmHandle", "SlurmRunBackend", "attach", "capabilities"]

_HOMES = {
    "Job": "_scheduler",
    "SlurmConfig": "_config",
    "SlurmHandle": "_handle",
    "SlurmRunBackend": "_backend",
    "attach": "_attach",
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
