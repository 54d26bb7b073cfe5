"""From a backend's name and options to a run, for any object that is like a model run.

Cheap failures come first: ``bind_backend`` finds every mistake in names and options before anything is written.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeGuard, cast, final, runtime_checkable

import attrs

from rompy_core._configs import BackendConfig
from rompy_core._errors import (
    ConfigError,
    ModelRunError,
    PluginContractError,
    RecordError,
    RompyError,
    StartError,
    WorkspaceError,
)
from rompy_core._files import load_mapping
from rompy_core._live import CallHandle, log_end
from rompy_core._logs import RunLogger
from rompy_core._plugins import RUN_BACKENDS, load
from rompy_core._problems import nearest, step_to
from rompy_core._protocols import CheckingBackend, Configured, RunBackend, RunHandle, SubmittingBackend
from rompy_core._records import open_record, read_report, refuse_live, utc_now
from rompy_core._reports import RunReport, RunState
from rompy_core._structure import structure_config, unstructure_config

logger = logging.getLogger(__name__)


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


@runtime_checkable
class _Remembers(Protocol):
    def remember(self, run: RunHandle | RunReport) -> None: ...


def check_model_run(model_run: object) -> None:
    """Refuse what cannot be a model run.

    Raises:
        ModelRunError: It is ``None``, or has no ``run_id``.
    """
    if model_run is None:
        raise ModelRunError("model_run cannot be None; give an object with a run_id")
    run_id = getattr(model_run, "run_id", None)
    if not isinstance(run_id, str) or not run_id:
        raise ModelRunError(
            f"model_run must have a run_id (a string), found {type(model_run).__name__} with {run_id!r}"
        )


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
        return _bound(_bare(backend), load(RUN_BACKENDS, backend), options, is_advertised=True)
    if isinstance(backend, BackendConfig):
        return bind_backend(_backend_of(backend, options), {**options, "config": backend})
    if not RUN_BACKENDS.accepts(backend):
        detail = "give a name, a config, or an object with run(model_run, **kwargs)"
        raise PluginContractError(RUN_BACKENDS.group, type(backend).__name__, detail)
    return _bound(type(backend).__name__, backend, options)


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


def _bound(name: str, plugin: RunBackend, options: Mapping[str, Any], *, is_advertised: bool = False) -> BoundBackend:
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


def submit_bound(bound: BoundBackend, model_run: Any, workspace_dir: Path) -> RunHandle:
    """Start a run in *workspace_dir*.

    Raises:
        StartError: It could not be started at all.
    """
    if _is_submitting(bound.plugin):
        return _remembered(model_run, functools.partial(bound.plugin.submit, model_run, bound.config, workspace_dir))
    return _remembered(model_run, lambda: _call_handle(bound, model_run, workspace_dir).start())


def run_in(bound: BoundBackend, model_run: Any, workspace_dir: str | os.PathLike[str] | None) -> RunReport:
    """Run to the end in the given workspace, or else in one that is generated; see ``run_bound``."""
    try:
        path = workspace_of(bound, model_run, workspace_dir)
    except StartError as exc:
        return _not_started(exc)
    return run_bound(bound, model_run, path)


def _not_started(exc: StartError) -> RunReport:
    log_end(RunLogger(logger, exc.report.run_id, exc.report.backend), exc.report)
    return exc.report


def run_bound(
    bound: BoundBackend, model_run: Any, workspace_dir: Path, take_note: Callable[[RunReport], None] = lambda _: None
) -> RunReport:
    """Run to the end in *workspace_dir*; a run that could not be started is a report, too.

    An exception in this thread, such as ``KeyboardInterrupt``, cancels the run and goes on after its end; *take_note*
    is called with the report then.
    """
    handle: RunHandle | None = None
    begun_at = utc_now()
    try:
        if _is_submitting(bound.plugin):
            with submit_bound(bound, model_run, workspace_dir) as handle:
                return handle.wait()
        # In the caller's own thread, where an interrupt reaches the backend's code.
        handle = _remembered(model_run, lambda: _call_handle(bound, model_run, workspace_dir))
        return cast("CallHandle", handle).run().wait()
    except StartError as exc:
        return _not_started(exc)
    except BaseException:
        report = _interrupted(handle, workspace_dir, begun_at)
        if report is not None:
            take_note(report)
            _remember(model_run, report)
        raise


def _interrupted(handle: RunHandle | None, workspace_dir: Path, begun_at: datetime) -> RunReport | None:
    """Give the report of a run that an interrupt has ended, also where it came before there was a handle."""
    if handle is not None:
        return handle.wait() if handle.done() else None
    with contextlib.suppress(RecordError):
        report = read_report(workspace_dir)
        if report.state.is_final and report.started_at >= begun_at:
            return report
    return None


def _is_submitting(plugin: RunBackend) -> TypeGuard[SubmittingBackend[Any]]:
    return isinstance(plugin, SubmittingBackend)


def to_bool(report: RunReport) -> bool:
    """Give the verdict as ``run()`` does.

    Raises:
        TimeoutError: The run exceeded its wall-clock limit.
    """
    if report.state is RunState.TIMED_OUT:
        raise TimeoutError(f"run {report.run_id!r}: {report.reason}")
    return report.ok


def run_to_end(
    backend: SubmittingBackend[Any],
    model_run: Any,
    config: Any = None,
    workspace_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> bool:
    """Be the ``run()`` of a backend that has ``submit()``.

    Raises:
        ValueError: The model run or an option is wrong.
        TimeoutError: The run exceeded its wall-clock limit.
    """
    bound = _bound(type(backend).__name__, backend, options if config is None else {"config": config, **options})
    check_bound(bound, model_run)
    return to_bool(run_in(bound, model_run, workspace_dir))


def workspace_of(bound: BoundBackend, model_run: Any, workspace_dir: str | os.PathLike[str] | None) -> Path:
    """Give the given workspace, or else generate it, unless a run is live in it.

    Raises:
        WorkspaceError: The given one is no directory.
        StartError: A run is live where the inputs would be written.
    """
    if workspace_dir is None:
        refuse_live_workspace(bound, model_run)
        return generate_workspace(model_run)
    path = Path(workspace_dir)
    if not path.is_dir():
        raise WorkspaceError(path, "workspace_dir is no directory; leave it out to have the inputs generated")
    return path


def refuse_live_workspace(bound: BoundBackend, model_run: Any) -> None:
    """Refuse to generate where a run is live, as far as it can be told before where that is.

    Raises:
        StartError: A run is live there.
    """
    expected = expected_workspace(model_run)
    if expected is None:
        return
    try:
        refuse_live(expected, run_id=model_run.run_id, backend=bound.name)
    except StartError as exc:
        _remember(model_run, exc.report)
        raise


def generate_workspace(model_run: Any) -> Path:
    """Have *model_run* generate its inputs, once, and give the directory with them.

    ``generate()`` may give a path, nothing, or an object with ``staging_dir`` and maybe ``success``. A model run
    without ``generate()`` has its directory made, empty.

    Raises:
        WorkspaceError: There is no such directory afterwards.
        RompyError: The object that was given back says that it failed.
    """
    generate = getattr(model_run, "generate", None)
    made = generate() if callable(generate) else None
    if success_of(made) is False:
        raise RompyError(f"generate() of run {model_run.run_id!r} reports failure: {message_of(made) or repr(made)}")
    names = _workspace_names(model_run, made)
    path = next((Path(name) for name in names if is_path(name) and name), None)
    if path is None:
        raise ModelRunError(f"no workspace: generate() gave {made!r} and the model run has no output_dir")
    if not callable(generate):
        path.mkdir(parents=True, exist_ok=True)
    if not path.is_dir():
        raise WorkspaceError(path, "is no directory after generate()")
    return path


def _workspace_names(model_run: Any, made: object) -> Iterator[object]:
    # One after the other: reading an attribute of another library's model run may be work.
    yield made
    yield getattr(made, "staging_dir", None)
    yield getattr(model_run, "staging_dir", None)
    yield expected_workspace(model_run)


def is_path(value: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether *value* names a file or a directory."""
    return isinstance(value, str | os.PathLike)


def expected_workspace(model_run: Any) -> Path | None:
    """Say where *model_run* will generate its inputs, where that can be told without doing it."""
    own = getattr(model_run, "workspace_dir", None)
    if isinstance(own, Path):
        return own
    output_dir: object = getattr(model_run, "output_dir", None)
    if not is_path(output_dir):
        return None
    path = Path(output_dir)
    return path / model_run.run_id if getattr(model_run, "run_id_subdir", True) else path


def _remembered(model_run: Any, start: Callable[[], RunHandle]) -> RunHandle:
    try:
        handle = start()
    except StartError as exc:
        _remember(model_run, exc.report)
        raise
    _remember(model_run, handle)
    return handle


def _remember(model_run: Any, run: RunHandle | RunReport) -> None:
    if isinstance(model_run, _Remembers):
        model_run.remember(run)


def remember_moved(model_run: Any, record_dir: Path) -> None:
    """Have *model_run* show its newest report with the paths of *record_dir*, where the record is now."""
    with contextlib.suppress(RecordError):  # where no run came to be, there is no report
        _remember(model_run, read_report(record_dir))


def _call_handle(bound: BoundBackend, model_run: Any, workspace_dir: Path) -> CallHandle:
    record = open_record(workspace_dir, run_id=model_run.run_id, backend=bound.name, is_cancellable=False)
    log = RunLogger(logger, model_run.run_id, bound.name)
    return CallHandle(record, log, functools.partial(_call, bound, model_run, workspace_dir))


def _call(bound: BoundBackend, model_run: Any, workspace_dir: Path) -> tuple[RunState, str]:
    options = dict(bound.options)
    if bound.config is not None:
        options["config"] = bound.config
    if _takes(bound.plugin.run, "workspace_dir"):
        options["workspace_dir"] = workspace_dir
    result = bound.plugin.run(GeneratedRun(model_run, workspace_dir), **options)
    success = success_of(result)
    if success is None:
        return RunState.FAILED, f"the backend gave {type(result).__name__}, which says neither success nor failure"
    return (RunState.COMPLETED, "the backend reports success") if success else (RunState.FAILED, _why(result))


def success_of(result: object) -> bool | None:
    """Read a plugin's result by its ``success``, or as a plain truth value; ``None`` where it says neither."""
    if isinstance(result, Mapping):
        result = cast("Mapping[str, object]", result).get("success")
    elif hasattr(result, "success"):
        result = cast("Any", result).success
    return bool(result) if is_truth_value(result) else None


def is_truth_value(value: object) -> bool:
    """Whether *value* is true or false; numpy has a kind of its own, which is no subclass of bool."""
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")


def message_of(result: object) -> str:
    """Give what a plugin's result says of itself, in one sentence; empty where it says nothing."""
    for name in ("error", "message", "reason"):
        if isinstance(result, Mapping):
            text = cast("Mapping[str, object]", result).get(name)
        else:
            text = getattr(result, name, None)
        if isinstance(text, str) and text:
            return text
    return ""


def _why(result: object) -> str:
    message = message_of(result)
    return f"the backend reports failure: {message}" if message else "the backend reports failure"


def _takes(method: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False


@final
class GeneratedRun:
    """A model run whose inputs are there already: its ``generate()`` gives the workspace and writes nothing.

    Backends of other hands often call ``generate()`` themselves; this is how the inputs are generated once all the
    same. It is otherwise the model run that it stands for, also for ``isinstance``.
    """

    __slots__ = ("__model_run", "__workspace_dir")
    __model_run: object
    __workspace_dir: Path

    def __init__(self, model_run: Any, workspace_dir: Path) -> None:
        object.__setattr__(self, "_GeneratedRun__model_run", model_run)
        object.__setattr__(self, "_GeneratedRun__workspace_dir", workspace_dir)

    @property  # type: ignore[misc]  # object's can be set; whose class this is, is not to be changed
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # as above
        """The class of the model run."""
        return type(self.__model_run)

    def generate(self) -> Path:
        """Give the workspace."""
        return self.__workspace_dir

    @property
    def workspace_dir(self) -> Path:
        """The workspace, also where the model run itself names another."""
        return self.__workspace_dir

    def __reduce__(self) -> tuple[Any, ...]:
        return GeneratedRun, (self.__model_run, self.__workspace_dir)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__model_run, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__model_run, name, value)

    def __repr__(self) -> str:
        return repr(self.__model_run)
