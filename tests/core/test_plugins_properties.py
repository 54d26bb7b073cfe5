from __future__ import annotations

import contextlib
import importlib
import itertools
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from rompy_core import PluginConflictError, PluginContractError, PluginError, PluginLoadError, _plugins, list_plugins
from rompy_core._plugins import load_plugin

GROUPS = {"rompy.run": "run", "rompy.postprocess": "process", "rompy.pipeline": "execute"}
OURS = ("rompy-core", "rompy-local")
PREFIX = "arbitrary_"

SOURCES = {
    "class": "class Plugin:\n    def {method}(self, model_run, **kwargs): return __name__\n",
    "factory": "class _P:\n    def {method}(self, model_run, **kwargs): return __name__\ndef Plugin(): return _P()\n",
    "instance": "class _P:\n    def {method}(self, model_run, **kwargs): return __name__\nPlugin = _P()\n",
    "needs an option": "class Plugin:\n    def __init__(self, token): pass\n    def {method}(self, model_run): pass\n",
    "raises on import": "raise RuntimeError('no licence')\n",
    "exits on import": "raise SystemExit(3)\n",
    "no Python": "def (:\n",
    "no such attribute": "other = 1\n",
    "raises when made": "class Plugin:\n    def __init__(self): raise OSError()\n    def {method}(self): pass\n",
    "wrong shape": "class Plugin: pass\n",
    "no plugin": "Plugin = 42\n",
}
"""What a plugin's module may hold; the first three are good ones."""
GOOD = ("class", "factory", "instance")
NUMBERS = itertools.count()


@attrs.frozen
class Fake:
    """A distribution with its plugins: group, name and what the module holds."""

    name: str
    plugins: Sequence[tuple[str, str, str]]
    damage: str

    def write(self, site: Path, modules: Sequence[str]) -> None:
        """Install it into *site*, with one module for each plugin."""
        dist_info = site / f"{self.name}-1.0.dist-info"
        dist_info.mkdir(parents=True)
        if self.damage != "no metadata":
            (dist_info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {self.name}\nVersion: 1.0\n")
        lines: list[str] = []
        for (group, name, source), module in zip(self.plugins, modules, strict=True):
            (site / f"{module}.py").write_text(SOURCES[source].format(method=GROUPS[group]))
            lines += [f"[{group}]", f"{name} = {module}:Plugin"]
        text = "\n".join(lines).encode()
        (dist_info / "entry_points.txt").write_bytes(b"\xff\xfe" + text if self.damage == "no text" else text)


plugin = st.tuples(st.sampled_from([*GROUPS]), st.sampled_from("abc"), st.sampled_from([*SOURCES]))
fakes = st.lists(
    st.builds(
        Fake,
        st.sampled_from([*OURS, "waves", "my_tides", "Surge.Tools", "x"]),
        st.lists(plugin, max_size=4, unique_by=lambda item: item[:2]),
        st.sampled_from(["", "", "", "", "no metadata", "no text"]),
    ),
    max_size=5,
    unique_by=lambda fake: (fake.name, fake.damage == "no metadata")[fake.damage == "no metadata"],
)


@contextlib.contextmanager
def installed(distributions: Sequence[Fake]) -> Iterator[list[str]]:
    """Have these distributions, and none else, and give the places where they are."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as undo:
        sites = [str(Path(folder, f"site-{number}")) for number in range(len(distributions))]
        for site, fake in zip(sites, distributions, strict=True):
            fake.write(Path(site), [f"{PREFIX}{next(NUMBERS)}" for _ in fake.plugins])
        undo.callback(forget)
        yield sites


def forget() -> None:
    for name in imported():
        del sys.modules[name]
    _plugins._log_precedence.cache_clear()
    _plugins._scan.cache_clear()
    importlib.invalidate_caches()


def imported() -> set[str]:
    return {name for name in sys.modules if name.startswith(PREFIX)}


@contextlib.contextmanager
def searched(sites: Sequence[str]) -> Iterator[None]:
    """Look for distributions and modules in *sites*, in that order."""
    with mock.patch.object(sys, "path", [*sites]):
        forget()
        yield


def outcome(group: str, name: str) -> tuple[object, ...]:
    """What comes of asking for a plugin."""
    try:
        made = load_plugin(group, name)
    except PluginError as exc:
        return type(exc), str(exc)
    return ("made", getattr(made, GROUPS[group])(None))


def everything() -> tuple[object, dict[tuple[str, str], tuple[object, ...]]]:
    listed = list_plugins()
    assert imported() == set()
    asked = {(info.group, name) for info in listed for name in (info.name, f"{info.name}@{info.distribution}")}
    return listed, {(group, name): outcome(group, name) for group, name in sorted(asked)}


@settings(max_examples=100, deadline=None)
@given(distributions=fakes, data=st.data())
def test_whatever_is_installed_in_whatever_order_gives_the_same_plugins(
    distributions: list[Fake], data: st.DataObject
) -> None:
    with installed(distributions) as sites:
        with searched(sites):
            first = everything()
        with searched(data.draw(st.permutations(sites))):
            second = everything()

    assert first == second


@settings(max_examples=100, deadline=None)
@given(distributions=fakes)
def test_asking_for_one_plugin_imports_that_one_and_no_other(distributions: list[Fake]) -> None:
    with installed(distributions) as sites, searched(sites):
        for info in list_plugins():
            for name in sorted(imported()):
                del sys.modules[name]
            _, found = info.name, outcome(info.group, f"{info.name}@{info.distribution}")

            module = info.reference.partition(":")[0]
            assert imported() <= {module}
            assert found[0] != "made" or imported() == {module}


@settings(max_examples=100, deadline=None)
@given(distributions=fakes)
def test_every_name_gives_the_plugin_or_an_error_that_says_why(distributions: list[Fake]) -> None:
    with installed(distributions) as sites, searched(sites):
        listed, outcomes = everything()

    assert isinstance(listed, list)
    sources = _by_reference(distributions, listed)
    for info in listed:
        of_that_name = [other for other in listed if (other.group, other.name) == (info.group, info.name)]
        ours = [other for other in of_that_name if other.distribution in OURS]
        found = outcomes[info.group, f"{info.name}@{info.distribution}"]
        assert _is_as_expected(found, sources[info.reference])
        if len(of_that_name) == 1 or ours == [info]:
            assert outcomes[info.group, info.name] == _as_if_asked(found, info)
        elif len(ours) != 1:
            assert outcomes[info.group, info.name][0] is PluginConflictError


def _by_reference(distributions: Sequence[Fake], listed: Sequence[Any]) -> dict[str, str]:
    """What is in the module of each plugin that is listed, found by where it is advertised."""
    sources: dict[tuple[str, str, str], str] = {}
    for fake in distributions:
        name = "unknown" if fake.damage == "no metadata" else re.sub(r"[-_.]+", "-", fake.name).lower()
        sources.update({(name, group, plugin): source for group, plugin, source in fake.plugins})
    return {info.reference: sources[info.distribution, info.group, info.name] for info in listed}


def _is_as_expected(found: tuple[object, ...], source: str) -> bool:
    if source in GOOD:
        return found[0] == "made"
    return found[0] is (PluginContractError if source in ("wrong shape", "no plugin") else PluginLoadError)


def _as_if_asked(found: tuple[object, ...], info: Any) -> tuple[object, ...]:
    """The same outcome for the bare name, which is what an error begins with."""
    if found[0] == "made":
        return found
    return found[0], str(found[1]).replace(f"{info.name}@{info.distribution}", info.name, 1)
