"""What the tests of the core share: distributions that are not there, arbitrary values, fresh interpreters."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import importlib
import itertools
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from rompy_core import _plugins

PLUGINS = """
class Fine:
    def run(self, model_run, **kwargs):
        return True

    def process(self, model_run, **kwargs):
        return {"success": True}

    def execute(self, model_run, **kwargs):
        return {"success": True}
"""
"""A module with a plugin of every kind."""


@pytest.fixture
def fake_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a distribution that exists for one test: metadata and modules, in a folder of its own on ``sys.path``."""
    made: set[str] = set()
    numbers = itertools.count()

    def make(
        name: str,
        *,
        run: Mapping[str, str] | None = None,
        groups: Mapping[str, Mapping[str, str]] | None = None,
        modules: Mapping[str, str] | None = None,
        version: str = "1.0",
        entry_points: str | None = None,
        site: Path | None = None,
        is_first: bool = True,
    ) -> Path:
        folder = site or tmp_path / f"site-{next(numbers)}"
        dist_info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        dist_info.mkdir(parents=True)
        (dist_info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        sections = {**({"rompy.run": run} if run else {}), **(groups or {})}
        lines = [line for group, names in sections.items() for line in (f"[{group}]", *_assignments(names), "")]
        text = "\n".join(lines) if entry_points is None else entry_points
        (dist_info / "entry_points.txt").write_text(text, "utf-8")
        for module, source in (modules or {}).items():
            (folder / f"{module}.py").write_text(source, "utf-8")
            made.add(module)
        if str(folder) not in sys.path:
            path = [str(folder), *sys.path] if is_first else [*sys.path, str(folder)]
            monkeypatch.setattr(sys, "path", path)
        else:  # the clocks of file systems are coarse, and a change within one tick is none
            changed = folder.stat().st_mtime_ns + 1_000_000_000
            os.utime(folder, ns=(changed, changed))
        importlib.invalidate_caches()
        return folder

    _plugins._log_precedence.cache_clear()
    yield make
    _plugins._log_precedence.cache_clear()
    for module in made:
        sys.modules.pop(module, None)


def _assignments(names: Mapping[str, str]) -> Iterator[str]:
    return (f"{name} = {reference}" for name, reference in names.items())


@pytest.fixture
def fine_plugin(fake_distribution: Callable[..., Path]) -> str:
    """Install a run backend called ``fine``, of the distribution ``fine-waves``."""
    fake_distribution("fine-waves", run={"fine": "fine_waves:Fine"}, modules={"fine_waves": PLUGINS})
    return "fine"


@pytest.fixture
def without_distribution(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a distribution not installed."""

    def remove(name: str) -> None:
        scan = _plugins._scan

        def scan_the_rest(search_path: Any) -> Any:
            return tuple(ep for ep in scan(search_path) if _plugins._distribution(ep) != name)

        monkeypatch.setattr(_plugins, "_scan", scan_the_rest)

    return remove


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """Run code in a fresh interpreter and give what it printed."""

    def run(code: str, *search_path: Path) -> str:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, search_path))}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=50
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


class _Hostile:
    """Whoever looks at it gets an error."""

    def __repr__(self) -> str:
        raise RuntimeError("do not look at me")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare me")

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise RuntimeError("I am neither")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("do not touch me")


class _HostileTable(Mapping[str, object]):
    """A table that cannot be read."""

    def __getitem__(self, name: str) -> object:
        raise RuntimeError("torn page")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no pages")

    def __len__(self) -> int:
        return 1


def _cycle() -> list[object]:
    items: list[object] = []
    items.append(items)
    return items


@pytest.fixture(scope="session")
def junk() -> st.SearchStrategy[object]:
    """Any nested data as a file may hold it, and Python objects as nobody expects them."""
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=8),
        st.binary(max_size=4),
    )
    strange: tuple[object, ...] = (
        object(),
        int,
        len,
        10**400,
        -(10**5000),
        1j,
        "\ud800",
        "9" * 400 + "g",
        Path("a"),
        uuid.UUID(int=1),
        decimal.Decimal("1.5"),
        fractions.Fraction(1, 3),
        dt.date(2024, 5, 14),
        dt.timedelta.max,
        {1, 2},
        frozenset("ab"),
        range(3),
        iter("ab"),
        NotImplemented,
        ...,
        _cycle(),
        _Hostile(),
        _HostileTable(),
    )
    return st.recursive(
        # By number, for Hypothesis looks at what it is given.
        plain | st.integers(0, len(strange) - 1).map(lambda number: strange[number]),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner, inner),
            st.dictionaries(
                st.text(max_size=6) | st.integers() | st.sampled_from(["regex", "file"]), inner, max_size=3
            ),
        ),
        max_leaves=6,
    )
