"""Find plugins by their entry points: lazy, isolated, never ambiguous. The only module that knows importlib.metadata.

Listing reads what distributions advertise and imports nothing. A plugin is imported when it is asked for, so one that
is broken hurts only who asks for it.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeGuard, TypeVar, cast

import attrs

from rompy_core._errors import PluginConflictError, PluginContractError, PluginLoadError, PluginNotFoundError
from rompy_core._protocols import PipelineBackend, Postprocessor, RunBackend
from rompy_core._structure import nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PluginT = TypeVar("PluginT")
logger = logging.getLogger(__name__)

_OURS: Final = {
    "rompy-core": 'pip install "rompy-core"',
    "rompy-local": 'pip install "rompy-core[local]"',
}
"""Our distributions, and how each is installed."""

_UNKNOWN: Final = "unknown"
_PROVIDERS: Final = {
    ("rompy.run", "local"): "rompy-local",
    ("rompy.postprocess", "noop"): "rompy-core",
    ("rompy.pipeline", "local"): "rompy-core",
}
"""Which of our distributions advertises a name, for the hint where it is not installed."""


@attrs.frozen(kw_only=True)
class PluginInfo:
    """What a distribution says about a plugin of its own.

    Attributes:
        name: The entry point's name.
        group: The entry-point group.
        distribution: The distribution's name, normalised as in PEP 503.
        version: The distribution's version.
        reference: Where the object is, as ``module:attribute``.
    """

    name: str
    group: str
    distribution: str
    version: str
    reference: str


@attrs.frozen
class PluginKind(Generic[PluginT]):
    """One kind of plugin.

    Attributes:
        group: The entry-point group where it is advertised.
        accepts: Whether an object has what the kind asks for.
        role: The method that makes it one.
    """

    group: str
    accepts: Callable[[object], TypeGuard[PluginT]]
    role: str


def is_run_backend(obj: object) -> TypeGuard[RunBackend]:
    """Whether *obj* can run a model run."""
    return isinstance(obj, RunBackend) and callable(obj.run)


def is_postprocessor(obj: object) -> TypeGuard[Postprocessor]:
    """Whether *obj* can process the outputs of a run."""
    return isinstance(obj, Postprocessor) and callable(obj.process)


def is_pipeline_backend(obj: object) -> TypeGuard[PipelineBackend]:
    """Whether *obj* can execute a pipeline."""
    return isinstance(obj, PipelineBackend) and callable(obj.execute)


RUN_BACKENDS: Final = PluginKind("rompy.run", is_run_backend, "run(model_run, **kwargs)")
POSTPROCESSORS: Final = PluginKind("rompy.postprocess", is_postprocessor, "process(model_run, **kwargs)")
PIPELINE_BACKENDS: Final = PluginKind("rompy.pipeline", is_pipeline_backend, "execute(model_run, **kwargs)")
_KINDS: Final = cast("tuple[PluginKind[Any], ...]", (RUN_BACKENDS, POSTPROCESSORS, PIPELINE_BACKENDS))


def list_plugins(group: str | None = None) -> list[PluginInfo]:
    """List what is advertised, sorted by group, name and distribution; imports no plugin.

    Args:
        group: One entry-point group, or ``None`` for ``rompy.run``, ``rompy.postprocess`` and ``rompy.pipeline``.
    """
    groups = [group] if group is not None else [kind.group for kind in _KINDS]
    found = (_info(ep) for name in groups for ep in _advertised(name))
    return sorted(found, key=lambda info: (info.group, info.name, info.distribution))


def load_plugin(group: str, name: str, **plugin_options: Any) -> Any:
    """Import, make and check the one plugin called *name*.

    Args:
        group: ``rompy.run``, ``rompy.postprocess`` or ``rompy.pipeline``.
        name: The entry point's name, or ``name@distribution`` where several distributions advertise it.
        plugin_options: Passed to the plugin's class or factory.

    Raises:
        PluginError: It is not known, not unique, does not import, or lacks what its kind must have.
    """
    for kind in _KINDS:
        if kind.group == group:
            return load(kind, name, **plugin_options)
    groups = ", ".join(kind.group for kind in _KINDS)
    raise PluginNotFoundError(group, name, f"no such group of plugins; the groups are {groups}")


def load(kind: PluginKind[PluginT], name: str, **plugin_options: Any) -> PluginT:
    """Import, make and check the one plugin of *kind* called *name*; raises as ``load_plugin``."""
    entry_point = find(kind.group, name)
    made = _made(kind, name, load_object(kind.group, name, entry_point), entry_point, plugin_options)
    if not kind.accepts(made):
        where = f"{entry_point.value} of {_distribution(entry_point)}"
        raise PluginContractError(kind.group, name, f"{where} gives {type(made).__name__}, which has no {kind.role}")
    return made


def load_object(group: str, name: str, entry_point: EntryPoint | None = None) -> Any:
    """Import what the entry point *name* refers to, and do not make anything of it; raises as ``load_plugin``."""
    entry_point = entry_point or find(group, name)
    try:
        return entry_point.load()
    except (Exception, SystemExit) as exc:
        # Code of other hands may raise anything, and so may a malformed reference.
        where = f"{entry_point.value} of {_distribution(entry_point)}"
        raise PluginLoadError(group, name, f"{where} does not import: {type(exc).__name__}: {exc}") from exc


def find(group: str, name: str) -> EntryPoint:
    """Find the one entry point called *name*, or ``name@distribution``; never by the order of installation.

    Raises:
        PluginNotFoundError: Nothing of that name is advertised; lists what is.
        PluginConflictError: Several distributions of other hands advertise it; lists the spellings to choose from.
    """
    bare, _, distribution = name.rpartition("@") if "@" in name else (name, "", "")
    everything = _advertised(group)
    found = [
        ep for ep in everything if ep.name == bare and distribution in ("", _distribution(ep), _raw_distribution(ep))
    ]
    different = {ep.value: ep for ep in sorted(found, key=_distribution, reverse=True)}
    if not different:
        raise PluginNotFoundError(group, name, _not_found(group, bare, everything))
    if len(different) == 1:
        return different.popitem()[1]
    ours = [ep for ep in different.values() if _distribution(ep) in _OURS]
    if len(ours) == 1:
        others = ", ".join(sorted(f"{bare}@{_distribution(ep)}" for ep in different.values() if ep not in ours))
        _log_precedence(group, bare, _distribution(ours[0]), others)
        return ours[0]
    spellings = ", ".join(sorted(f"{bare}@{_distribution(ep)}" for ep in different.values()))
    raise PluginConflictError(group, name, f"several distributions advertise it; ask for one of {spellings}")


def _made(
    kind: PluginKind[PluginT], name: str, advertised: Any, entry_point: EntryPoint, plugin_options: dict[str, Any]
) -> object:
    """Make an instance, unless an instance was advertised."""
    if not inspect.isclass(advertised) and kind.accepts(advertised):
        return advertised
    where = f"{entry_point.value} of {_distribution(entry_point)}"
    if not callable(advertised):
        detail = f"{where} is {type(advertised).__name__}, neither a class nor callable, and has no {kind.role}"
        raise PluginContractError(kind.group, name, detail)
    try:
        return advertised(**plugin_options)
    except Exception as exc:
        # Constructors of other hands may raise anything.
        raise PluginLoadError(kind.group, name, f"{where} cannot be made: {type(exc).__name__}: {exc}") from exc


def _not_found(group: str, name: str, everything: Iterable[EntryPoint]) -> str:
    known = sorted({ep.name for ep in everything}, key=lambda known: (not nearest(name, [known]), known))
    detail = f"no installed distribution advertises it{nearest(name, known)}; known: {', '.join(known) or 'none'}"
    provider = _PROVIDERS.get((group, name))
    return f"{detail}; install it with: {_OURS[provider]}" if provider else detail


@functools.cache
def _log_precedence(group: str, name: str, ours: str, others: str) -> None:
    """Say once that a name of ours hides another's; the cache is what makes it once."""
    logger.info(
        "plugin name is advertised more than once; ours is taken",
        extra={"group": group, "plugin": name, "taken": f"{name}@{ours}", "others": others},
    )


def _info(ep: EntryPoint) -> PluginInfo:
    return PluginInfo(
        name=ep.name,
        group=ep.group,
        distribution=_distribution(ep),
        version=_metadata(ep)[1],
        reference=ep.value,
    )


def _distribution(ep: EntryPoint) -> str:
    """Give the distribution's name, normalised as in PEP 503."""
    return re.sub(r"[-_.]+", "-", _raw_distribution(ep)).lower()


def _raw_distribution(ep: EntryPoint) -> str:
    return _metadata(ep)[0]


def _metadata(ep: EntryPoint) -> tuple[str, str]:
    dist = ep.dist
    return (_UNKNOWN, _UNKNOWN) if dist is None else _name_and_version(dist)


@functools.lru_cache(maxsize=1024)
def _name_and_version(dist: Any) -> tuple[str, str]:
    """Read a distribution's metadata once: it is parsed as an e-mail message at every look."""
    try:
        metadata = dist.metadata
        return metadata["Name"] or _UNKNOWN, metadata["Version"] or _UNKNOWN
    except Exception:  # noqa: BLE001 - a broken installation must not hide the others
        return _UNKNOWN, _UNKNOWN


def _advertised(group: str) -> tuple[EntryPoint, ...]:
    return tuple(ep for ep in _scan(tuple(_search_path())) if ep.group == group)


def _search_path() -> Iterator[tuple[str, int]]:
    """Give each place where distributions may be, with the time of its last change: what a scan depends on."""
    for place in sys.path:
        try:
            yield place, os.stat(place or ".").st_mtime_ns  # noqa: PTH116 - a Path for each entry is slower
        except OSError:
            yield place, 0


@functools.lru_cache(maxsize=4)
def _scan(_search_path: tuple[tuple[str, int], ...]) -> tuple[EntryPoint, ...]:
    """Read all entry points that can matter here.

    A distribution whose metadata cannot be read is passed over with a warning. Of two installations of one
    distribution, the one that comes first on ``sys.path`` counts, as it does for imports.
    """
    from importlib.metadata import distributions

    found: list[EntryPoint] = []
    seen: set[str] = set()
    for dist in distributions():
        try:
            advertised = [ep for ep in dist.entry_points if ep.group.startswith("rompy.")]
        except Exception:  # noqa: BLE001 - a broken installation must not hide the others
            logger.warning("the entry points of a distribution cannot be read", extra={"distribution": str(dist)})
            continue
        name, _ = _name_and_version(dist) if advertised else ("", "")
        if advertised and (name == _UNKNOWN or name not in seen):
            seen.add(name)
            found += advertised
    return tuple(found)
