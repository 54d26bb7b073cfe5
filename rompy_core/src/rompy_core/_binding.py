"""From a backend's name and options to a backend with its config, both checked; nothing is written here.

Cheap failures come first: every mistake in names and options is found before a run begins.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import attrs

from rompy_core._configs import BackendConfig
from rompy_core._errors import ConfigError, PluginContractError
from rompy_core._files import load_mapping
from rompy_core._foreign import check_model_run
from rompy_core._plugins import RUN_BACKENDS, load
from rompy_core._problems import nearest, step_to
from rompy_core._protocols import CheckingBackend, Configured, RunBackend
from rompy_core._structure import structure_config, unstructure_config


@attrs.frozen
class BoundBackend:
    """A backend with its options, both checked.

    Attributes:
        name: What the backend is called in records and logs.
        plugin: The backend.
        config: The typed options, or ``None`` where the backend takes plain ones.
        options: The plain options of a backend without a config.
    """

    name: str
    plugin: RunBackend
    config: Any
    options: Mapping[str, Any]


def bind_backend(backend: object, options: Mapping[str, Any]) -> BoundBackend:
    """Find the backend and check its options; nothing is written.

    Args:
        backend: A plugin's name, a config object, or a backend object.
        options: The backend's options; with ``config=`` (a config, a mapping or a file) as their base.

    Raises:
        PluginError: The backend cannot be used.
        ConfigError: An option is wrong.
    """
    if isinstance(backend, str):
        return bind_plugin(_bare(backend), load(RUN_BACKENDS, backend), options, is_advertised=True)
    if isinstance(backend, BackendConfig):
        return bind_backend(_backend_of(backend, options), {**options, "config": backend})
    if not RUN_BACKENDS.accepts(backend):
        detail = "give a name, a config, or an object with run(model_run, **kwargs)"
        raise PluginContractError(RUN_BACKENDS.group, type(backend).__name__, detail)
    return bind_plugin(type(backend).__name__, backend, options)


def _backend_of(config: BackendConfig, options: Mapping[str, Any]) -> str:
    """Give the name of the backend that *config* is for."""
    config_type = type(config)
    if "config" in options:
        raise ConfigError(config_type.__name__, ["config: is given twice, as the backend and as an option"])
    name = getattr(config_type, "backend", None)
    if not isinstance(name, str):
        raise ConfigError(config_type.__name__, ["names no backend; give the backend, and this as config="])
    return name


def _bare(name: str) -> str:
    """Give a plugin's name without the distribution."""
    return name.rpartition("@")[0] or name


def bind_plugin(
    name: str, plugin: RunBackend, options: Mapping[str, Any], *, is_advertised: bool = False
) -> BoundBackend:
    """Check the options of a backend object; raises as ``bind_backend``."""
    config_type = config_type_of(plugin, RUN_BACKENDS.group, name)
    if config_type is not None:
        return BoundBackend(name, plugin, as_config(config_type, options, name if is_advertised else None), {})
    check_call(plugin.run, options, name, supplied=("workspace_dir",))
    return BoundBackend(name, plugin, None, dict(options))


def config_type_of(plugin: object, group: str, name: str) -> type[Any] | None:
    """Give the class that the options of *plugin* are structured into, or ``None`` where it takes plain ones.

    Raises:
        PluginContractError: Its ``config_type`` is no class.
    """
    config_type = cast("object", plugin.config_type) if isinstance(plugin, Configured) else None
    if config_type is None or isinstance(config_type, type):
        return cast("type[Any] | None", config_type)
    raise PluginContractError(group, name, f"its config_type must be a class, found {type(config_type).__name__}")


def as_config(config_type: type[Any], options: Mapping[str, Any], name: str | None = None) -> Any:
    """Make the config of *config_type* from keyword arguments, over the ``config`` among them if there is one.

    Args:
        config_type: The class.
        options: The keyword arguments.
        name: The plugin's name, which the ``type`` in a file must agree with.

    Raises:
        ConfigError: With every problem at once.
    """
    given = dict(options)
    base = given.pop("config", None)
    if isinstance(base, str | os.PathLike):
        path = cast("str | os.PathLike[str]", base)
        base = load_mapping(path)
        kind = base.pop("type", name)
        if name is not None and not (isinstance(kind, str) and _bare(kind) == name):
            raise ConfigError(str(path), [f"type: must be {name!r}, which was asked for, found {kind!r}"])
    if isinstance(base, config_type) and not given:
        return base
    if isinstance(base, config_type):
        base = unstructure_config(base)
    if base is not None and not isinstance(base, Mapping):
        found = f"config: must be {config_type.__name__}, a table or a file, found {type(base).__name__}"
        raise ConfigError(config_type.__name__, [found])
    return structure_config({**(base or {}), **given}, config_type)


def load_config(path: str | os.PathLike[str]) -> Any:
    """Read the config of a run backend from a JSON, TOML or YAML file.

    Args:
        path: The file: a table of options, with ``type`` as the backend's name.

    Returns:
        An object of the backend's ``config_type``, ready for ``ModelRun.run``.

    Raises:
        ConfigError: The file cannot be read, names no backend, or an option in it is wrong.
        PluginError: The backend cannot be used.
    """
    data = load_mapping(path)
    name = data.pop("type", None)
    if not isinstance(name, str):
        raise ConfigError(str(path), ["type: must be the name of a run backend, such as 'local'"])
    config_type = config_type_of(load(RUN_BACKENDS, name), RUN_BACKENDS.group, name)
    if config_type is None:
        raise ConfigError(str(path), [f"type: the backend {name!r} takes no config; pass its options to run()"])
    try:
        return structure_config(data, config_type)
    except ConfigError as exc:
        raise ConfigError(str(path), exc.problems) from None


def check_call(
    method: Callable[..., Any], options: Mapping[str, Any], name: str, *, supplied: Sequence[str] = ()
) -> None:
    """Find options that a plugin's method cannot take, before it is called.

    Args:
        method: What takes the model run first, and then the options.
        options: The options.
        name: What the plugin is called.
        supplied: The parameters that need no option.

    Raises:
        ConfigError: With each such option, or the one that the method needs and did not get.
    """
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # a method of an extension module: it will say so itself
        return
    parameters = list(signature.parameters.values())
    model_run = [p.name for p in parameters[:1]]
    known = {p.name: p for p in parameters[1:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    is_open = any(p.kind is p.VAR_KEYWORD for p in parameters)
    problems = [
        f"{step_to(option)}: {name} has no such option{nearest(str(option), known)}"
        for option in cast("Mapping[object, object]", options)
        if option not in known and not (is_open and isinstance(option, str) and option not in model_run)
    ]
    problems += [
        f"{option}: is required"
        for option, p in known.items()
        if p.default is p.empty and option not in supplied and option not in options
    ]
    if problems:
        raise ConfigError(name, problems)


def check_bound(bound: BoundBackend, model_run: Any) -> None:
    """Let the backend say early what stands against the run.

    Raises:
        ModelRunError: *model_run* is none.
        ConfigError: The backend cannot run it so.
    """
    check_model_run(model_run)
    if isinstance(bound.plugin, CheckingBackend):
        bound.plugin.check(model_run, bound.config)
