"""What a model run did, on one page; and many runs side by side.

A name is imported when it is first used (PEP 562), for matplotlib takes a while.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rompy_report._comparing import compare
    from rompy_report._config import ReportConfig
    from rompy_report._postprocessor import ReportPostprocessor
    from rompy_report._writing import write_report

__all__ = ["ReportConfig", "ReportPostprocessor", "compare", "write_report"]

_HOMES = {
    "ReportConfig": "_config",
    "ReportPostprocessor": "_postprocessor",
    "compare": "_comparing",
    "write_report": "_writing",
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
