"""The reference: generated from the docstrings, so every public name has one, and is on a page."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PACKAGES = [page.stem for page in sorted(REFERENCE.glob("rompy_*.md"))]


def public_names(package: str) -> list[tuple[str, Any]]:
    """List what a package offers, and what its classes do."""
    module = importlib.import_module(package)
    found = [(f"{package}.{name}", getattr(module, name)) for name in module.__all__]
    for path, thing in list(found):
        if inspect.isclass(thing) and thing.__module__.startswith("rompy_"):
            found += [(f"{path}.{name}", member) for name, member in vars(thing).items() if is_method(name, member)]
    return found


def is_method(name: str, member: object) -> bool:
    return not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property | classmethod))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package: str) -> None:
    undocumented = [path for path, thing in public_names(package) if not (inspect.getdoc(thing) or "").strip()]

    assert undocumented == []


def test_every_package_has_a_page() -> None:
    root = REFERENCE.parents[1]
    packages = {path.name for path in [*root.glob("rompy_*/src/rompy_*"), *root.glob("plugins/*/src/rompy_*")]}

    assert set(PACKAGES) == packages
