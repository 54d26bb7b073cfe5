"""Find plugins by their entry points: lazy, isolated, never ambiguous. The only module that knows importlib.metadata.

Listing reads what distributions advertise and imports nothing. A plugin is imported when it is asked for, so one that
is broken hurts only who asks for it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, TypeGuard, TypeVar, cast

import attrs

from rompy_core._errors import PluginConflictError, PluginContractError, PluginLoadError, PluginNotFoundError
from rompy_core._problems import by_nearness, nearest
from rompy_core._protocols import PipelineBackend, Postprocessor, RunBackend
from rompy_core._signatures import signature_of

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

PluginT = TypeVar("PluginT")
logger = logging.getLogger(__name__)

_OURS: Final = {
    "rompy-cli": 'pip install "rompy-cli"',
    "rompy-core": 'pip install "rompy-core"',
    "rompy-docker": 'pip install "rompy-core[docker]"',
    "rompy-ensemble": 'pip install "rompy-ensemble[dask]"',
    "rompy-local": 'pip install "rompy-core[local]"',
    "rompy-report": 'pip install "rompy-report"',
    "rompy-slurm": 'pip install "rompy-core[slurm]"',
}
"""Our distributions, and how each is installed."""

_UNKNOWN: Final = "unknown"
_PROVIDERS: Final = {
    ("rompy.run", "docker"): "rompy-docker",
    ("rompy.run", "local"): "rompy-local",
    ("rompy.run", "slurm"): "rompy-slurm",
    ("rompy.postprocess", "noop"): "rompy-core",
    ("rompy.postprocess", "report"): "rompy-report",
    ("rompy.pipeline", "dask"): "rompy-ensemble",
    ("rompy.pipeline", "local"): "rompy-core",
    ("rompy.executors", "dask"): "rompy-ensemble",
    ("rompy.executors", "slurm-array"): "rompy-slurm",
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
        ask_for: The name that always means it: with the distribution where the bare one stands for another, or none.
    """

    name: str
    group: str
    distribution: str
    version: str
    reference: str
    ask_for: str


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

    def method_of(self, plugin: PluginT) -> Callable[..., Any]:
        """Give the method that makes *plugin* one of this kind."""
        return cast("Callable[..., Any]", getattr(plugin, self.role.partition("(")[0]))


@attrs.frozen
class Advertised(Generic[PluginT]):
    """What a plugin's name refers to: a class, a factory or a ready instance.

    Attributes:
        kind: What it must give.
        name: The name that it was asked for by.
        where: Where it comes from, for messages.
        value: The class, factory or instance.
    """

    kind: PluginKind[PluginT]
    name: str
    where: str
    value: Any

    def needs(self, option: str) -> bool:
        """Whether it cannot be made without *option*."""
        signature = None if self.kind.accepts(self.value) or not callable(self.value) else signature_of(self.value)
        return signature is not None and option in signature.required

    def make(self, plugin_options: Mapping[str, Any]) -> PluginT:
        """Make an instance, unless it is one.

        Raises:
            PluginError: It cannot be made so, or is no plugin of its kind.
        """
        if self.kind.accepts(self.value):
            if plugin_options:
                raise self._breach(f"is a ready instance and takes no options, found {', '.join(plugin_options)}")
            return self.value
        if not callable(self.value):
            found = f"is {type(self.value).__name__}, neither a class nor callable"
            raise self._breach(f"{found}, and has no {self.kind.role}")
        self._check(plugin_options)
        try:
            made: object = self.value(**plugin_options)
        except (Exception, SystemExit) as exc:
            # Constructors of other hands may raise anything.
            raise self._failure(f"{type(exc).__name__}: {exc}") from exc
        if not self.kind.accepts(made):
            raise self._breach(f"gives {type(made).__name__}, which has no {self.kind.role}")
        return made

    def _check(self, plugin_options: Mapping[str, Any]) -> None:
        """Find what is missing and what is too much, before any code of the plugin runs."""
        signature = signature_of(self.value)
        if signature is None:
            return
        label: str = getattr(self.value, "__name__", "it")
        problems = signature.unknown(plugin_options, label)
        if missing := [name for name in signature.required if name not in plugin_options]:
            example = ", ".join(f"{name!r}: ..." for name in missing)
            problems.append(f"{label} needs {', '.join(missing)}; give plugin_options={{{example}}}")
        if problems:
            raise self._failure("; ".join(problems))

    def _breach(self, found: str) -> PluginContractError:
        return PluginContractError(self.kind.group, self.name, f"{self.where} {found}")

    def _failure(self, found: str) -> PluginLoadError:
        return PluginLoadError(self.kind.group, self.name, f"{self.where} cannot be made: {found}")


def is_run_backend(obj: object) -> TypeGuard[RunBackend]:
    """Whether *obj* can run a model run."""
    return _has_method(obj, "run")


def is_postprocessor(obj: object) -> TypeGuard[Postprocessor]:
    """Whether *obj* can process the outputs of a run."""
    return _has_method(obj, "process")


def is_pipeline_backend(obj: object) -> TypeGuard[PipelineBackend]:
    """Whether *obj* can execute a pipeline."""
    return _has_method(obj, "execute")


def _has_method(obj: object, name: str) -> bool:
    """Whether *obj* is an instance with such a method; isinstance() is content with any attribute of that name."""
    try:
        return not inspect.isclass(obj) and callable(getattr(obj, name, None))
    except Exception:  # noqa: BLE001 - looking at an attribute of other hands may run their code
        return False


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
    found = (_info(ep, everything) for everything in map(_advertised, groups) for ep in everything)
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
    return advertised(kind_of_group(group, name), name).make(plugin_options)


def kind_of_group(group: str, plugin: object) -> PluginKind[Any]:
    """Give the kind of plugins that a group has; *plugin* is what was looked for there.

    Raises:
        PluginNotFoundError: There is no such group.
    """
    for kind in _KINDS:
        if kind.group == group:
            return kind
    groups = ", ".join(kind.group for kind in _KINDS)
    raise PluginNotFoundError(group, str(plugin), f"no such group of plugins; the groups are {groups}")


def advertised(kind: PluginKind[PluginT], name: str) -> Advertised[PluginT]:
    """Import what *name* refers to, and make nothing of it yet; raises as ``load_plugin``."""
    entry_point = find(kind.group, name)
    where = f"{entry_point.value} of {_distribution(entry_point)}"
    return Advertised(kind, name, where, _imported(kind.group, name, entry_point))


def load_object(group: str, name: str, built_in: Iterable[str] = ()) -> Any:
    """Import what the entry point *name* refers to, and do not make anything of it; for groups of other packages.

    Args:
        group: The entry-point group, whose name begins with ``rompy.``.
        name: The entry point's name, or ``name@distribution``.
        built_in: Names that are known without an entry point, for the error.

    Raises:
        PluginError: It is not known, not unique, or does not import.
    """
    return _imported(group, name, find(group, name, built_in))


def _imported(group: str, name: str, entry_point: EntryPoint) -> Any:
    try:
        return entry_point.load()
    except (Exception, SystemExit) as exc:
        # Code of other hands may raise anything, and so may a malformed reference.
        where = f"{entry_point.value} of {_distribution(entry_point)}"
        raise PluginLoadError(group, name, f"{where} does not import: {type(exc).__name__}: {exc}") from exc


def find(group: str, name: str, built_in: Iterable[str] = ()) -> EntryPoint:
    """Find the one entry point called *name*, or ``name@distribution``; never by the order of installation.

    Raises:
        PluginNotFoundError: Nothing of that name is advertised; lists what is.
        PluginConflictError: Several distributions of other hands advertise it; lists the spellings to choose from.
    """
    everything = _advertised(group)
    ordered = sorted(_matching(everything, name), key=lambda ep: (_is_ours(ep), _distribution(ep)))
    different = {ep.value: ep for ep in ordered}  # the same object advertised twice is no conflict
    if not different:
        raise PluginNotFoundError(group, name, _not_found(group, name, everything, built_in))
    if len(different) == 1:
        return different.popitem()[1]
    spellings = {value: f"{ep.name}@{_distribution(ep)}" for value, ep in different.items()}
    ours = [ep for ep in different.values() if _is_ours(ep)]
    if len(ours) == 1:
        taken = spellings.pop(ours[0].value)
        _log_precedence(group, name, taken, ", ".join(sorted(spellings.values())))
        return ours[0]
    choice = sorted(set(spellings.values()))
    if len(choice) == 1:
        detail = f"{choice[0]} is advertised more than once, as {', '.join(sorted(different))}; mend that distribution"
    else:
        detail = f"several distributions advertise it; ask for one of {', '.join(choice)}"
    raise PluginConflictError(group, name, detail)


def is_advertised(group: str, name: str) -> bool:
    """Whether any distribution advertises *name*, or ``name@distribution``; imports nothing."""
    return bool(_matching(_advertised(group), name))


def _matching(everything: Iterable[EntryPoint], name: str) -> list[EntryPoint]:
    """Find what *name* may stand for: ``name@distribution`` first, for a plugin's own name may have an @, too."""
    bare, _, distribution = name.rpartition("@")
    named = [ep for ep in everything if ep.name == bare and _distribution(ep) == _normalised(distribution)]
    return named or [ep for ep in everything if ep.name == name]


def _is_ours(ep: EntryPoint) -> bool:
    return _distribution(ep) in _OURS


def _not_found(group: str, name: str, everything: Iterable[EntryPoint], built_in: Iterable[str]) -> str:
    bare, at, distribution = name.rpartition("@")
    known = {f"{ep.name}@{_distribution(ep)}" if at else ep.name for ep in everything} | set(built_in)
    listed = ", ".join(by_nearness(name, known)) or "none"
    detail = f"no installed distribution advertises it{nearest(name, known)}; known: {listed}"
    provider = _PROVIDERS.get((group, bare if at else name))
    if provider is None or (at and _normalised(distribution) != provider):
        return detail
    return f"{detail}; install it with: {_OURS[provider]}"


@functools.cache
def _log_precedence(group: str, name: str, taken: str, others: str) -> None:
    """Say once that a name of ours hides another's; the cache is what makes it once."""
    logger.info(
        "plugin name is advertised more than once; ours is taken",
        extra={"group": group, "plugin": name, "taken": taken, "others": others},
    )


def _info(ep: EntryPoint, everything: Iterable[EntryPoint]) -> PluginInfo:
    is_only_one = len({other.value for other in everything if other.name == ep.name}) == 1
    return PluginInfo(
        name=ep.name,
        group=ep.group,
        distribution=_distribution(ep),
        version=_metadata(ep)[1],
        reference=ep.value,
        ask_for=ep.name if is_only_one or _is_ours(ep) else f"{ep.name}@{_distribution(ep)}",
    )


@functools.cache
def versions() -> Mapping[str, str]:
    """Give the versions of Python and of the distributions of ours that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _OURS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _distribution(ep: EntryPoint) -> str:
    return _normalised(_metadata(ep)[0])


def _normalised(distribution: str) -> str:
    """Spell a distribution's name as PEP 503 does."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _metadata(ep: EntryPoint) -> tuple[str, str]:
    return (_UNKNOWN, _UNKNOWN) if ep.dist is None else _name_and_version(ep.dist)


@functools.lru_cache(maxsize=1024)
def _name_and_version(dist: Any) -> tuple[str, str]:
    """Read a distribution's metadata once: it is parsed as an e-mail message at every look."""
    try:
        metadata = dist.metadata
        return metadata.get("Name") or _UNKNOWN, metadata.get("Version") or _UNKNOWN
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
    from importlib.metadata import PackageNotFoundError, distribution, distributions

    found: list[EntryPoint] = []
    seen: set[object] = set()
    for dist in distributions():
        advertised = _entry_points(dist)
        name = _name_and_version(dist)[0] if advertised else _UNKNOWN
        key = _normalised(name) if name != _UNKNOWN else tuple(advertised)
        if advertised and key not in seen:
            seen.add(key)
            with contextlib.suppress(PackageNotFoundError):  # its folder has another name than its metadata
                first = distribution(name)
                if _name_and_version(first)[0] != _UNKNOWN:  # what an uninstallation left behind hides nothing
                    advertised = _entry_points(first)
            found += advertised
    return tuple(found)


def _entry_points(dist: Distribution) -> list[EntryPoint]:
    try:
        return [ep for ep in dist.entry_points if ep.group.startswith("rompy.")]
    except Exception:  # noqa: BLE001 - a broken installation must not hide the others
        name, _ = _name_and_version(dist)
        logger.warning("the entry points of a distribution cannot be read", extra={"distribution": name})
        return []
