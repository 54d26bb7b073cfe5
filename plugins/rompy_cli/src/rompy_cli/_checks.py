"""Whether the plugins that a file names are there and take their options; nothing is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from rompy_core import ConfigError, LocalPipelineBackend, NoopPostprocessor, check_options

_OPEN: Final[Mapping[str, Callable[..., Any]]] = {
    "noop": NoopPostprocessor().process,
    "local": LocalPipelineBackend().execute,
}
"""Plugins of the core that take any option and ignore those that they do not know, as their interface has it."""
_OF_STAGES: Final = ("run_backend", "run_kwargs", "processor", "process_kwargs", "backend_config")


def check_run_backend(name: str, options: Mapping[str, Any]) -> None:
    """Find a run backend and check its options.

    Raises:
        PluginError: It cannot be used.
        ConfigError: An option is wrong.
    """
    check_options("rompy.run", name, options)


def check_postprocessor(name: str, options: Mapping[str, Any]) -> None:
    """Find a postprocessor and check its options; raises as ``check_run_backend``."""
    check_options("rompy.postprocess", name, options)
    _refuse_ignored(name, "noop", options)


def check_pipeline(name: str, options: Mapping[str, Any]) -> None:
    """Find a pipeline and check its options, as far as it says what it takes; raises as ``check_run_backend``."""
    of_stages = [option for option in _OF_STAGES if option in options]
    problems = [f"{option}: belongs into the tables run and postprocess" for option in of_stages]
    own = {option: value for option, value in options.items() if option not in of_stages}
    try:
        check_options("rompy.pipeline", name, own, supplied=_OF_STAGES)
        _refuse_ignored(name, "local", own)
    except ConfigError as exc:
        problems += exc.problems
    if problems:
        raise ConfigError("pipeline", problems)


def _refuse_ignored(name: str, ours: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a plugin of the core would pass over: in a file, they are mistakes."""
    if name not in (ours, f"{ours}@rompy-core"):
        return
    parameters = inspect.signature(_OPEN[ours]).parameters.values()
    known = {item.name for item in parameters if item.kind is not item.VAR_KEYWORD}
    known -= {"model_run", "show_progress", *_OF_STAGES}
    strange = [option for option in options if option not in known and option != "plugin_options"]
    if strange:
        takes = ", ".join(sorted(known))
        raise ConfigError(name, [f"{option}: {ours} has no such option; it takes {takes}" for option in strange])
