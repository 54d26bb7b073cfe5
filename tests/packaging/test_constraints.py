from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_pip_and_uv_read_the_same_pins() -> None:
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

    pins = (ROOT / "constraints.txt").read_text("utf-8").split()

    assert pins == workspace["tool"]["uv"]["constraint-dependencies"]


def test_every_distribution_carries_the_licence() -> None:
    licence = (ROOT / "LICENSE").read_bytes()

    for pyproject in [*ROOT.glob("rompy_*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]:
        assert pyproject.with_name("LICENSE").read_bytes() == licence
