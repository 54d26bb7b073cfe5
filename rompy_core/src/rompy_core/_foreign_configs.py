"""Configs of other libraries: which plugin each is for, and what its fields are among that plugin's options.

Such a config is any object with ``get_backend_class()`` or ``get_postprocessor_class()``; its fields are what its
``model_dump()`` gives, or its attributes. Nothing of its library is imported. Where the class that it asks for is
rompy 0.6.4's own, the plugin of ours with the same purpose takes its place, and the fields are put into the words of
that plugin. Where it is any other class, that class is used, with the config as it is.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from rompy_core._errors import ConfigError, PluginLoadError
from rompy_core._plugins import Advertised, PluginKind, advertised
from rompy_core._problems import fields_of
from rompy_core._signatures import signature_of

PluginT = TypeVar("PluginT")
Options = dict[str, Any]
logger = logging.getLogger(__name__)

_ASKS: Final = {"rompy.run": "get_backend_class", "rompy.postprocess": "get_postprocessor_class"}
_BUILDS: Final = "build_processor"
_KIND: Final = ("type", "model_type")
"""Fields that say of which kind a config is."""
_COMMON: Final = ("timeout", "env_vars", "working_dir")
"""What rompy 0.6.4 gives every config of a postprocessor, and keeps from the postprocessor."""


def is_foreign_config(value: object) -> bool:
    """Whether *value* is an object that says which plugin it is for."""
    return any(_can(value, name) for name in (*_ASKS.values(), _BUILDS))


def plugin_for(kind: PluginKind[PluginT], config: Any) -> Advertised[PluginT]:
    """Give what *config* asks for: our plugin where it asks for rompy's own, else the class that it names.

    Raises:
        ConfigError: It is a config for another kind of plugin.
        PluginError: It does not give a class, or our plugin is not installed.
    """
    label = type(config).__name__
    if kind.group == "rompy.postprocess" and _can(config, _BUILDS):
        return Advertised(kind, label, f"{label}.{_BUILDS}()", _asked(kind.group, config, _BUILDS))
    if not _can(config, _ASKS.get(kind.group, "")):
        raise ConfigError(label, [f"is no config for a plugin of {kind.group}"])
    given = _asked(kind.group, config, _ASKS[kind.group])
    counterpart = _COUNTERPARTS.get(_reference(given))
    if counterpart is not None or isinstance(given, str):
        return advertised(kind, counterpart.plugin if counterpart else given)
    return Advertised(kind, getattr(given, "__name__", label), f"{_reference(given)}, which {label} asks for,", given)


def options_from(config: Any, config_type: type[Any]) -> Options:
    """Give the fields of *config* as options of *config_type*.

    A field that a user's own subclass added and that *config_type* has not, too, is that subclass's business: it is
    left out, with a warning where it was set.

    Raises:
        ConfigError: It is a config for another plugin, or a field has no counterpart.
    """
    counterpart = _counterpart(config)
    _refuse_for_another(config, config_type, counterpart)
    values = _translated(config, counterpart or _inherited(config, config_type))
    known: Collection[str] = fields_of(config_type) or values
    _warn_of(config, set(values) - set(known))
    return {name: value for name, value in values.items() if name in known}


def keywords_from(config: Any, method: Callable[..., Any]) -> Options:
    """Give the fields of *config* as keyword arguments of *method*, as far as it takes them.

    ``timeout``, ``env_vars`` and ``working_dir`` are given only to a method that names them: one with ``**kwargs`` was
    written for a rompy that keeps them to itself, and may pass on what it does not know.
    """
    values = _translated(config, _counterpart(config))
    signature = signature_of(method, positional=1)
    if signature is None:
        return values
    taken = {name for name in values if name in signature.names or (signature.is_open and name not in _COMMON)}
    _warn_of(config, set(values) - taken)
    return {name: value for name, value in values.items() if name in taken}


def fields_of_config(config: Any) -> Options:
    """Give the fields of a config of any make, with their values as they are.

    Raises:
        ConfigError: They cannot be read.
    """
    try:
        return _fields(config)
    except Exception as exc:
        # Code of other hands may raise anything.
        problem = f"its fields cannot be read: {type(exc).__name__}"
        raise ConfigError(type(config).__name__, [problem]) from exc


def kind_of(config: object) -> str | None:
    """Give the name that a config of another library has for its kind (``type``), if *config* is one and has it."""
    name = getattr(config, "type", None) if is_foreign_config(config) else None
    return name if isinstance(name, str) else None


def _refuse_for_another(config: object, config_type: type[Any], counterpart: _Counterpart | None) -> None:
    """Refuse a config of rompy's own that is for another backend: its command would run in the wrong place."""
    given: str | None = getattr(config_type, "backend", None)
    if counterpart is not None and given is not None and counterpart.plugin != given:
        found = f"config: {type(config).__name__} is for {counterpart.plugin!r}, not for {given!r}; "
        raise ConfigError(config_type.__name__, [f"{found}give it in the place of the backend's name"])


def _translated(config: object, counterpart: _Counterpart | None) -> Options:
    """Give the fields of *config*, in our words where it is one of rompy's own."""
    values = {name: value for name, value in fields_of_config(config).items() if name not in _KIND}
    if counterpart is None:
        return values
    chosen = cast("Collection[str]", getattr(config, "model_fields_set", values))
    unused = counterpart.only_where_chosen.difference(chosen)
    return counterpart.translate({name: value for name, value in values.items() if name not in unused})


def _fields(config: Any) -> Options:
    if _can(config, "model_dump"):
        return dict(config.model_dump())
    names: Collection[str] = fields_of(type(cast("object", config)))
    if dataclasses.is_dataclass(config):
        names = [field.name for field in dataclasses.fields(config)]
    return {name: getattr(config, name) for name in names or vars(config) if not name.startswith("_")}


def _warn_of(config: object, unused: Collection[str]) -> None:
    chosen = cast("Collection[str]", getattr(config, "model_fields_set", unused))
    if names := sorted(set(unused) & set(chosen)):
        logger.warning("fields of a config are not used, for its plugin has no such option: %s", ", ".join(names))


def _can(value: object, name: str) -> bool:
    try:
        return not inspect.isclass(value) and callable(getattr(value, name, None))
    except Exception:  # noqa: BLE001 - looking at an attribute of other hands may run their code
        return False


def _asked(group: str, config: object, name: str) -> Any:
    label = type(config).__name__
    try:
        return getattr(config, name)()
    except (Exception, SystemExit) as exc:
        # Code of other hands may raise anything, and most import their plugin here.
        raise PluginLoadError(group, label, f"{label}.{name}() raised {type(exc).__name__}: {exc}") from exc


def _reference(value: object) -> str:
    return f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', type(value).__name__)}"


@attrs.frozen
class _Counterpart:
    """A plugin of ours that takes the place of one of rompy's.

    Attributes:
        plugin: The name of ours.
        config: The class of rompy's configs for it.
        translate: Puts the fields of such a config into the words of ours.
        only_where_chosen: The fields whose default there means nothing to ours.
    """

    plugin: str
    config: str
    translate: Callable[[Options], Options]
    only_where_chosen: frozenset[str] = frozenset()


def _counterpart(config: object) -> _Counterpart | None:
    return _COUNTERPARTS.get(_reference_asked(config))


def _inherited(config: object, config_type: type[Any]) -> _Counterpart | None:
    """Find out whether the class of *config*, which asks for a class of ours, has the fields of one of rompy's."""
    bases = {_reference(base) for base in type(config).__mro__}
    plugin: str | None = getattr(config_type, "backend", None)
    return next((one for one in _COUNTERPARTS.values() if one.plugin == plugin and one.config in bases), None)


def _reference_asked(config: object) -> str:
    """Say where the class is that *config* asks for; empty where it builds its plugin itself."""
    return next((_reference(_asked(group, config, name)) for group, name in _ASKS.items() if _can(config, name)), "")


def _local(values: Options) -> Options:
    """Put rompy's ``LocalConfig`` into our words.

    ``shell=False``: the command is split into words, which run without a shell. ``capture_output=False``: the output is
    sent on as it comes; it is kept in files either way, for the verdict is read from it.
    """
    command = values.get("command") or None
    if not values.pop("shell", True) and isinstance(command, str):
        command = _words("command", command)
    streams = not values.pop("capture_output", True) or values.get("stream_output", False)
    return {**_placed(values), "command": command, "stream_output": streams}


def _docker(values: Options) -> Options:
    """Put rompy's ``DockerConfig`` into our words.

    There, ``executable`` is a piece of a ``bash`` command line, ``volumes`` have paths of the host (never the names of
    volumes), the container is that of an ordinary ``docker run``, whose root may do what root may, and ``working_dir``
    is a directory of the host: it is mounted at the same place.
    """
    values = _placed(values)
    volumes = [_on_host(volume) for volume in values.get("volumes", ())]
    if values.get("working_dir") is not None:
        volumes.append(f"{values['working_dir']}:{values['working_dir']}")
    if values.get("user") == "root":
        values["user"] = "0:0"  # which needs no passwd file in the image
        values.setdefault("cap_drop", [])
    return {**values, **_program(values), "volumes": volumes}


def _program(values: Mapping[str, Any]) -> Options:
    """Give ``executable`` and ``mpiexec``: words where they are mere words, else a line for bash."""
    line, mpiexec = values.get("executable") or None, values.get("mpiexec") or None
    if not isinstance(line, str) or _MERE_WORDS.fullmatch(line):
        return {"executable": _words("executable", line) if isinstance(line, str) else line, "mpiexec": mpiexec}
    ranks = f"{mpiexec} -n {values.get('cpu', 1)} " if mpiexec else ""
    return {"executable": ("bash", "-c", ranks + line), "mpiexec": None}


_MERE_WORDS: Final = re.compile(
    r"""[ \t]* (?!\w+=)                                # not: NAME=value program
        (?: [\w@%+:,./=-] | '[^']*' | "[^"$`\\!]*" )+
        (?: [ \t]+ (?: [\w@%+:,./=-] | '[^']*' | "[^"$`\\!]*" )+ )* [ \t]*""",
    re.VERBOSE | re.ASCII,
)
"""A line that means the same with a shell and without one."""


def _slurm(values: Options) -> Options:
    """Put rompy's ``SlurmConfig`` into our words.

    There, ``command`` is a piece of a bash script, and an additional option is anything that may follow ``#SBATCH``;
    some of them are options of their own here. ``timeout`` ends the wait there and leaves the job; here it ends the
    command, so its default, an hour, would cut short a job whose ``time_limit`` is longer.
    """
    values = _placed(values)
    command = values.get("command")
    if isinstance(command, str):
        values["command"] = ("bash", "-c", command)
    mail_type = values.get("mail_type") if values.get("mail_user") else None  # rompy gives both or none
    values["mail_type"] = mail_type or ()
    left: list[object] = []
    for option in values.get("additional_options", ()):
        name, value = _of_its_own(option)
        if name is None:
            left.append(option)
        else:
            values[name] = value
    return {**values, "additional_options": left}


def _of_its_own(option: object) -> tuple[str | None, Any]:
    """Give the field that an option of ``sbatch`` has here, and its value in our words; no field where it has none."""
    match = _DIRECTIVE.fullmatch(option) if isinstance(option, str) else None
    if match is None:
        return None, None
    name, value = match.groups()
    match name, value:
        case ("exclusive", None):
            return name, True
        case ("constraint" | "gres", str()):
            return name, value
        case ("mem", str()) if size := re.fullmatch(r"([1-9][0-9]*)([KMGT]?)", value):
            return name, f"{size[1]}{size[2] or 'M'}"
        case ("ntasks-per-node", str()) if value.isdecimal():
            return "ntasks_per_node", int(value)
        case _:
            return None, None


_DIRECTIVE: Final = re.compile(r"--(constraint|exclusive|gres|mem|ntasks-per-node)(?:[= ]+(\S+))?\s*", re.ASCII)
"""The options of ``sbatch`` that rompy's config has no field for and ours has, as they may follow ``#SBATCH``."""


def _noop(values: Options) -> Options:
    """Put rompy's ``NoopPostprocessorConfig`` into our words: it runs nothing, so it needs no environment."""
    values = _placed(values)
    values.pop("env_vars", None)
    return {**values, "output_dir": values.pop("working_dir", None)}


def _placed(values: Options) -> Options:
    """Take ``working_dir`` from the caller's directory, as rompy does; with us it is relative to the workspace."""
    directory = values.get("working_dir")
    return values if directory is None else {**values, "working_dir": os.path.abspath(directory)}  # noqa: PTH100 - resolve() would follow symbolic links


def _on_host(volume: object) -> object:
    if not isinstance(volume, str):
        return volume
    source, colon, target = volume.partition(":")
    return f"{os.path.abspath(source)}{colon}{target}"  # noqa: PTH100 - as above


def _words(option: str, line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line))
    except ValueError as exc:
        raise ConfigError("config", [f"{option}: cannot be split into words: {exc}"]) from None


_COUNTERPARTS: Final[Mapping[str, _Counterpart]] = {
    "rompy.run:LocalRunBackend": _Counterpart("local@rompy-local", "rompy.backends.config:LocalConfig", _local),
    "rompy.run.docker:DockerRunBackend": _Counterpart(
        "docker@rompy-docker", "rompy.backends.config:DockerConfig", _docker
    ),
    "rompy.run.slurm:SlurmRunBackend": _Counterpart(
        "slurm@rompy-slurm", "rompy.backends.config:SlurmConfig", _slurm, frozenset({"timeout"})
    ),
    "rompy.postprocess:NoopPostprocessor": _Counterpart(
        "noop@rompy-core", "rompy.postprocess.config:NoopPostprocessorConfig", _noop
    ),
}
"""The classes of rompy 0.6.4 that its own configs ask for, each with the plugin of ours that takes its place."""
