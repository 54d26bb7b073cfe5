"""What the tests beside rompy 0.6.4 share; where that is not installed, nothing is collected here (``.ci/compat``)."""

from __future__ import annotations

import contextlib
import importlib.util
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import rompy_core

HERE = Path(__file__).parent
collect_ignore_glob = [] if importlib.util.find_spec("rompy") else ["test_*.py"]

if not collect_ignore_glob:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of its dependencies are none of ours
        import rompy.model


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.compat)
            item.add_marker(pytest.mark.timeout(300))  # a fresh interpreter takes long to import all of rompy
            for category in ("DeprecationWarning", "FutureWarning", "UserWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{category}"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have relative paths, which rompy likes, end up in the test's own directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def their_run(tmp_path: Path) -> Callable[..., Any]:
    """Make a model run of rompy's."""

    def make(**fields: Any) -> Any:
        return rompy.model.ModelRun(**{"run_id": "case", "output_dir": tmp_path / "out", **fields})

    return make


@pytest.fixture
def our_run(tmp_path: Path) -> Callable[..., rompy_core.ModelRun]:
    """Make a model run of ours."""

    def make(**fields: Any) -> rompy_core.ModelRun:
        return rompy_core.ModelRun(**{"run_id": "case", "output_dir": tmp_path / "out", **fields})

    return make


@pytest.fixture(params=["ours", "theirs"])
def any_run(request: pytest.FixtureRequest, our_run: Callable[..., Any], their_run: Callable[..., Any]) -> Any:
    """A model run of either library."""
    return our_run() if request.param == "ours" else their_run()


@pytest.fixture
def with_config() -> Callable[[Callable[[Any], object]], Any]:
    """Make a model config of rompy's whose ``run()`` is the given function."""
    from rompy.core.config import BaseConfig

    def make(called: Callable[[Any], object]) -> Any:
        class Config(BaseConfig):
            def run(self, model_run: Any) -> object:
                return called(model_run)

        return Config()

    return make


@pytest.fixture
def counting() -> Any:
    """A model config of rompy's that counts how often its inputs were generated."""
    from rompy.core.config import BaseConfig

    class Counting(BaseConfig):
        def render(self, context: dict[str, Any], output_dir: Any) -> None:
            super().render(context, output_dir)
            with Path(context["runtime"]["staging_dir"], "generated").open("a") as file:
                file.write("x")

    return Counting()


@pytest.fixture
def report_of() -> Callable[[Any], rompy_core.RunReport]:
    """Give the report of the newest attempt of a run that keeps none itself."""
    return lambda model_run: rompy_core.find_runs(model_run.output_dir)[-1]


def bathymetry(directory: Path) -> Path:
    import numpy as np
    import xarray as xr

    lon, lat = np.linspace(115, 116, 11), np.linspace(-33, -32, 11)
    depth = (("lat", "lon"), np.full((11, 11), 30.0))
    path = directory / "bathymetry.nc"
    xr.Dataset({"depth": depth}, coords={"lon": lon, "lat": lat}).to_netcdf(path)
    return path


@pytest.fixture
def swan_run(tmp_path: Path) -> Any:
    """A SWAN case by rompy-swan, from a file alone: no network."""
    from rompy.core.source import SourceFile
    from rompy.core.time import TimeRange
    from rompy_swan.config import SwanConfig
    from rompy_swan.data import SwanDataGrid

    bottom = SwanDataGrid(
        var="bottom",
        source=SourceFile(uri=bathymetry(tmp_path)),
        z1="depth",
        coords={"x": "lon", "y": "lat"},
        crop_data=False,
    )
    grid = {"xp": 115.2, "yp": -32.8, "alp": 0, "xlen": 0.6, "ylen": 0.6, "mx": 6, "my": 6}
    block = {"model_type": "block", "sname": "COMPGRID", "fname": "swangrid.nc", "output": ["hsign", "depth"]}
    config = SwanConfig(
        startup={"model_type": "startup", "project": {"model_type": "project", "name": "case", "nr": "0001"}},
        cgrid={"model_type": "regular", "spectrum": {"mdc": 36, "flow": 0.04, "fhigh": 0.4}, "grid": grid},
        inpgrid={"model_type": "data_interface", "bottom": bottom},
        output={"model_type": "output", "block": block},
        lockup={"model_type": "lockup", "compute": {"model_type": "nonstat"}},
    )
    period = TimeRange(start="2023-01-01T00", end="2023-01-01T03", interval="1h")
    return rompy.model.ModelRun(run_id="storm", output_dir=tmp_path / "out", period=period, config=config)


@pytest.fixture
def swan_exe(tmp_path: Path) -> Path:
    """A stand-in for the SWAN program, in a directory of its own."""
    program = tmp_path / "bin" / "swan.exe"
    program.parent.mkdir()
    program.write_bytes((HERE / "swan.sh").read_bytes())
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return program


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The address of the engine that the containers run on; the images that are built meanwhile are removed from it."""
    import docker
    from tests.docker import engines, images

    with (
        engines.tested_engine(tmp_path_factory.getbasetemp()) as address,
        contextlib.closing(docker.APIClient(base_url=address, version="auto")) as api,
    ):
        made = engines.put_images(address, "busybox")
        before = {image["Id"] for image in api.images()}
        yield address
        for image in api.images(filters={"label": "rompy.built"}):
            if image["Id"] not in before:
                api.remove_image(image["Id"], force=True)
        images.remove(address, made)


DOCKERFILE = """\
FROM {base}
COPY bin/ /bin/
"""
SCRIPTS = {
    "bash": 'exec /bin/sh "$@"',
    "mpiexec": 'echo "mpiexec $*"; shift 2; exec "$@"',
    "shown.exe": 'echo "shown.exe $# $* in $PWD"',
}


@pytest.fixture
def build_context(tmp_path: Path, swan_exe: Path) -> Path:
    """A directory with a Dockerfile: SWAN's stand-in and what a model's image has, without MPI."""
    from tests.docker.images import Images

    context = tmp_path / "context"
    (context / "bin").mkdir(parents=True)
    (context / "Dockerfile").write_text(DOCKERFILE.format(base=Images().busybox))
    for name, source in {**SCRIPTS, "swan.exe": swan_exe.read_text()}.items():
        path = context / "bin" / name
        path.write_text(f"#!/bin/sh\n{source}\n")
        path.chmod(0o755)
    return context


@pytest.fixture
def run_beside(tmp_path: Path) -> Callable[..., str]:
    """Run code in a fresh interpreter of this environment, and give what it printed last."""

    def run(code: str, *words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    return run
