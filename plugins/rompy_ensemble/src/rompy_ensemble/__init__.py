"""Many members of a model, one pipeline each, on an engine that somebody else wrote.

The seam to engines is ``concurrent.futures.Executor``. One is found by name in the entry-point group
``rompy.executors``, or given as an object. An entry point of that group is a factory::

    def factory(*, max_workers: int, **options) -> concurrent.futures.Executor: ...

``max_workers`` is how many members are handed to the engine at once, never more; ``options`` are what the ensemble was
given as ``executor_kwargs``. Where the factory has a method ``check(**options)``, it is called before anything is
written and says by ``ConfigError`` what is wrong with them, or what is not installed. The ensemble calls three methods
of what the factory gives:

- ``submit(function, task)``, from one thread. ``function`` is a function of a module and ``task`` one object, and both
  pickle where the member's config does. The future gives what the function returned. An exception in it means that the
  engine lost the member (its worker died, its node is gone): the function itself turns every failure of a member into
  a value.
- ``Future.cancel()`` for members that have not begun, and ``shutdown(wait=True, cancel_futures=True)`` at the end.
  Members that run are ended by the records on disk, so an engine needs no way to end them.

The function, called where the member shall run, needs the same file system under the same paths. It takes the member's
lock, waits until no earlier attempt lives, and writes what came of it; called twice for one member, it runs it once. So
an engine may run a task again by itself when it lost a worker.

A name of this package is imported when it is first used (PEP 562).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rompy_ensemble._dask import DaskConfig
    from rompy_ensemble._ensemble import Ensemble
    from rompy_ensemble._reports import EnsembleProgress, EnsembleReport, MemberRow
    from rompy_ensemble._retries import RetryRule

__all__ = ["DaskConfig", "Ensemble", "EnsembleProgress", "EnsembleReport", "MemberRow", "RetryRule"]

_HOMES = {
    "DaskConfig": "_dask",
    "Ensemble": "_ensemble",
    "EnsembleProgress": "_reports",
    "EnsembleReport": "_reports",
    "MemberRow": "_reports",
    "RetryRule": "_retries",
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
