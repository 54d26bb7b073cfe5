"""From a backend's name and options to a backend with its config, both checked; nothing is written here.

Cheap failures come first: every mistake in names and options is found before a run begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, cast

import attrs

from rompy_core._configs import BackendConfig
from rompy_core._errors import ConfigError, PluginContractError, PluginNotFoundError
from rompy_core._files import load_mapping
from rompy_core._foreign import check_model_run
from rompy_core._foreign_configs import fields_of_config, is_foreign_config, keywords_from, options_from, plugin_for
from rompy_core._plugins import (
    PIPELINE_BACKENDS,
    POSTPROCESSORS,
    RUN_BACKENDS,
    Advertised,
    PluginKind,
    advertised,
    is_advertised,
    kind_of_group,
    load_object,
)
from rompy_core._protocols import (
    CheckingBackend,
    Configured,
    PipelineBackend,
    Postprocessor,
    RunBackend,
    SubmittingBackend,
)
from rompy_core._signatures import names_parameter, signature_of
from rompy_core._structure import structure_config, unstructure_config

PluginT = TypeVar("PluginT")


@attrs.frozen
class Bound(Generic[PluginT]):
    """A plugin with its options, both checked.

    Attributes:
        name: What the plugin is called in records and logs.
        plugin: The plugin.
        method: Its method that takes the model run.
        config: The typed options, or ``None`` where the plugin takes plain ones.
        options: The plain options of a plugin without a config.
    """

    name: str
    plugin: PluginT
    method: Callable[..., Any]
    config: Any
    options: Mapping[str, Any]

    def __call__(self, model_run: Any, **supplied: Any) -> Any:
        """Call the plugin with its options, and with those of *supplied* that its method names."""
        given = {**self.options, **_config_keywords(self.method, self.config)}
        more = {name: value for name, value in supplied.items() if names_parameter(self.method, name)}
        return self.method(model_run, **{**given, **more})


BoundBackend: TypeAlias = Bound[RunBackend]


def bind_backend(backend: object, options: Mapping[str, Any]) -> BoundBackend:
    """Find the backend and check its options; nothing is written.

    Args:
        backend: A plugin's name, a config object (ours or another library's), or a backend object.
        options: The backend's options; with ``config=`` (a config, a mapping or a file) as their base, and with
            ``plugin_options=`` for what the backend's class or factory takes.

    Raises:
        PluginError: The backend cannot be used.
        ConfigError: An option is wrong.
    """
    if isinstance(backend, BackendConfig):
        return bind_backend(_backend_of(backend, options), {**options, "config": backend})
    return _bind(RUN_BACKENDS, backend, options, "a name, a config, or an object", supplied=("workspace_dir",))


def bind_postprocessor(processor: object, options: Mapping[str, Any]) -> Bound[Postprocessor]:
    """Find the postprocessor and check its options; as ``bind_backend``."""
    return _bind(POSTPROCESSORS, processor, options, "a name, a config, or an object")


def bind_pipeline(pipeline: object, options: Mapping[str, Any]) -> Bound[PipelineBackend]:
    """Find the pipeline backend and check its options; as ``bind_backend``."""
    return _bind(PIPELINE_BACKENDS, pipeline, options, "a name, or an object")


def check_options(
    group: str,
    plugin: object,
    options: Mapping[str, Any],
    *,
    supplied: Sequence[str] = (),
    model_run: Any = None,
) -> None:
    """Find a plugin and check options for it as a call does, without the call; nothing is written.

    Args:
        group: ``rompy.run``, ``rompy.postprocess`` or ``rompy.pipeline``.
        plugin: A name, a config or an object, as the calls take it.
        options: The options.
        supplied: Names of options that will be there in the call.
        model_run: With it, a run backend also says what stands against this run.

    Raises:
        PluginError: The plugin cannot be used, or there is no such group.
        ConfigError: An option is wrong, with every problem, or the backend cannot run *model_run* so.
        ModelRunError: *model_run* is none.
    """
    if group == RUN_BACKENDS.group:
        bound = bind_backend(plugin, options)
        if model_run is not None:
            check_bound(bound, model_run)
    else:
        _bind(kind_of_group(group, plugin), plugin, options, "a name, a config, or an object", supplied)


def _bind(
    kind: PluginKind[PluginT], plugin: object, options: Mapping[str, Any], asked: str, supplied: Sequence[str] = ()
) -> Bound[PluginT]:
    if isinstance(plugin, str):
        try:
            found = advertised(kind, plugin)
        except PluginNotFoundError:
            if not is_advertised(_group_of_configs(kind), plugin):
                raise
            config, left = _advertised_config(kind, plugin, options)
            return attrs.evolve(_bind(kind, config, left, asked, supplied), name=_bare(plugin))
        return _bind_made(found, _bare(plugin), options, supplied, file_type=_bare(plugin))
    label = type(plugin).__name__
    if kind.accepts(plugin):
        return _bind_made(Advertised(kind, label, label, plugin), label, options, supplied)
    if is_foreign_config(plugin):
        _refuse_second_config(plugin, options)
        meant = plugin_for(kind, plugin)
        return _bind_made(meant, _bare(meant.name), {**options, "config": plugin}, supplied)
    raise PluginContractError(kind.group, label, f"give {asked} with {kind.role}")


def _group_of_configs(kind: PluginKind[Any]) -> str:
    """Give the group where distributions for rompy advertise configs, each of which asks for its plugin."""
    return f"{kind.group}.config"


def _advertised_config(
    kind: PluginKind[Any], name: str, options: Mapping[str, Any]
) -> tuple[object, Mapping[str, Any]]:
    """Make the config that is advertised as *name*, and give what is left for the plugin itself."""
    config_type = load_object(_group_of_configs(kind), name)
    values = {option: value for option, value in options.items() if option != "plugin_options"}
    left = {option: value for option, value in options.items() if option == "plugin_options"}
    return as_config(config_type, values, _bare(name)), left


def _bind_made(
    found: Advertised[PluginT],
    name: str,
    options: Mapping[str, Any],
    supplied: Sequence[str],
    file_type: str | None = None,
) -> Bound[PluginT]:
    """Make the plugin with what *options* has for that, and check the rest against its method."""
    left = dict(options)
    plugin_options = _plugin_options(name, left.pop("plugin_options", None))
    takes_config = found.needs("config") and "config" not in plugin_options
    if takes_config:
        config_type = config_type_of(found.value, found.kind.group, name)
        if config_type is not None:
            left = {"config": as_config(config_type, left, file_type)}
        if "config" in left:
            plugin_options["config"] = left["config"]
    plugin = found.make(plugin_options)
    method = found.kind.method_of(plugin)
    if takes_config and not (names_parameter(method, "config") or _has_submit(plugin)):
        del left["config"]
        check_call(method, left, name, supplied=supplied)
        return Bound(name, plugin, method, None, left)
    return _bind_call(found.kind, name, plugin, left, supplied, file_type)


def _bind_call(
    kind: PluginKind[PluginT],
    name: str,
    plugin: PluginT,
    options: Mapping[str, Any],
    supplied: Sequence[str],
    file_type: str | None = None,
) -> Bound[PluginT]:
    """Check *options* against the config of *plugin*, or else against its method."""
    method = kind.method_of(plugin)
    config_type = config_type_of(plugin, kind.group, name)
    if config_type is not None:
        config = as_config(config_type, options, file_type)
        if not _has_submit(plugin):
            check_call(method, _config_keywords(method, config), name, supplied=supplied)
        return Bound(name, plugin, method, config, {})
    left = _with_fields(kind, method, options)
    check_call(method, left, name, supplied=supplied)
    return Bound(name, plugin, method, None, left)


def _has_submit(plugin: object) -> bool:
    return isinstance(plugin, SubmittingBackend)


def _with_fields(kind: PluginKind[Any], method: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Give a config of another library as *method* takes it: as it is, or by its fields."""
    signature = signature_of(method, positional=1)
    config = options.get("config")
    if config is None or signature is None or "config" in signature.names or not is_foreign_config(config):
        return dict(options)
    if signature.is_open and kind.group == RUN_BACKENDS.group:  # so rompy calls every run backend
        return dict(options)
    rest = {name: value for name, value in options.items() if name != "config"}
    return {**keywords_from(config, method), **rest}


def _config_keywords(method: Callable[..., Any], config: Any) -> dict[str, Any]:
    """Give a typed config as *method* takes it: as ``config=``, or by its fields."""
    if config is None:
        return {}
    signature = signature_of(method, positional=1)
    return {"config": config} if signature is None or signature.takes("config") else fields_of_config(config)


def _plugin_options(name: str, given: object) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        found = f"plugin_options: must be a table of what the plugin's class takes, found {type(given).__name__}"
        raise ConfigError(name, [found])
    return dict(cast("Mapping[str, Any]", given))


def _refuse_second_config(config: object, options: Mapping[str, Any]) -> None:
    if "config" in options:
        raise ConfigError(type(config).__name__, ["config: is given twice, as the plugin and as an option"])


def _backend_of(config: BackendConfig, options: Mapping[str, Any]) -> str:
    """Give the name of the backend that *config* is for."""
    config_type = type(config)
    _refuse_second_config(config, options)
    name = getattr(config_type, "backend", None)
    if not isinstance(name, str):
        raise ConfigError(config_type.__name__, ["names no backend; give the backend, and this as config="])
    return name


def _bare(name: str) -> str:
    """Give a plugin's name without the distribution."""
    return name.rpartition("@")[0] or name


def bind_plugin(name: str, plugin: RunBackend, options: Mapping[str, Any]) -> BoundBackend:
    """Check the options of a backend object; raises as ``bind_backend``."""
    return _bind_made(Advertised(RUN_BACKENDS, name, name, plugin), name, options, ("workspace_dir",))


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
    elif is_foreign_config(base):
        base = options_from(base, config_type)
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
    config_type = _advertised_config_type(name)
    if config_type is None:
        raise ConfigError(str(path), [f"type: the backend {name!r} takes no config; pass its options to run()"])
    try:
        return structure_config(data, config_type)
    except ConfigError as exc:
        raise ConfigError(str(path), exc.problems) from None


def _advertised_config_type(name: str) -> type[Any] | None:
    """Give the ``config_type`` of a run backend, which may need a config to be made."""
    found = advertised(RUN_BACKENDS, name)
    plugin: object = found.value if found.needs("config") else found.make({})
    return config_type_of(plugin, RUN_BACKENDS.group, name)


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
    signature = signature_of(method, positional=1)
    if signature is None:  # it will say so itself
        return
    problems = signature.unknown(options, name)
    problems += [f"{option}: is required" for option in signature.required if option not in (*supplied, *options)]
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
