"""Build the wheels and install them as a user would, into environments of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.packaging.wheels import DISTRIBUTIONS, uv

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(300)]

Install = Callable[..., Path]


def ask(python: Path, source: str) -> object:
    done = subprocess.run(
        [python, "-c", f"import json; {source}"], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def install(wheels: Path, tmp_path: Path) -> Install:
    """Install requirements from the wheels (and what they need from the index), and give the environment's Python."""

    def into_a_fresh_environment(*requirements: str) -> Path:
        python = tmp_path / "environment" / "bin" / "python"
        uv("venv", "--quiet", "--python", sys.executable, tmp_path / "environment")
        uv("pip", "install", "--quiet", "--python", python, "--find-links", wheels, *requirements)
        uv("pip", "check", "--python", python)
        return python

    return into_a_fresh_environment


def installed(python: Path) -> set[str]:
    return {entry["name"] for entry in json.loads(uv("pip", "list", "--python", python, "--format", "json"))}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_wheel_holds_its_package_and_nothing_else(wheels: Path, name: str) -> None:
    (wheel,) = wheels.glob(f"{name}-*.whl")

    files = zipfile.ZipFile(wheel).namelist()

    tops = {file.split("/")[0] for file in files}
    assert tops == {name, f"{name}-0.1.0.dist-info"}
    assert f"{name}/py.typed" in files
    assert not [file for file in files if "test_" in file or "conftest" in file]
    assert [file for file in files if file.endswith("/licenses/LICENSE")]


def test_the_core_alone_brings_attrs_and_cattrs(install: Install) -> None:
    python = install("rompy-core")

    assert installed(python) == {"rompy-core", "attrs", "cattrs", "typing-extensions"}
    assert ask(python, "import rompy_core as r; print(json.dumps([p.name for p in r.list_plugins()]))") == [
        "local",
        "noop",
    ]
    assert ask(
        python,
        "import rompy_core as r, tempfile; m = r.ModelRun(run_id='a', output_dir=tempfile.mkdtemp()); m.generate(); "
        "print(json.dumps(m.postprocess('noop')['success']))",
    )


@pytest.mark.parametrize("backend", ["local", "docker"])
def test_the_core_alone_says_how_to_get_a_backend(install: Install, backend: str) -> None:
    python = install("rompy-core")

    said = ask(
        python,
        f"import rompy_core as r\ntry: r.ModelRun(run_id='a').run('{backend}', command='true')\n"
        "except ValueError as exc: print(json.dumps(str(exc)))",
    )

    assert f'pip install "rompy-core[{backend}]"' in str(said)


def test_the_extra_brings_the_local_backend(install: Install) -> None:
    python = install("rompy-core[local]")

    assert installed(python) == {
        "rompy-core", "rompy-local", "attrs", "cattrs", "typing-extensions", "psutil", "cloudpickle",
    }  # fmt: skip
    assert ask(
        python,
        "import rompy_core as r, tempfile; m = r.ModelRun(run_id='a', output_dir=tempfile.mkdtemp()); "
        "print(json.dumps(m.run(command='echo hello')))",
    )


def test_the_extra_brings_the_docker_backend(install: Install) -> None:
    python = install("rompy-core[docker]")

    assert {"rompy-docker", "docker"} <= installed(python)
    assert not {"rompy-local", "psutil"} & installed(python)
    said = ask(
        python,
        "import rompy_core as r, tempfile\n"
        "m = r.ModelRun(run_id='a', output_dir=tempfile.mkdtemp())\n"
        "done = m.run('docker', image='x', engine='unix:///no-such-engine.sock')\n"
        "print(json.dumps([done, m.report.state, m.report.reason]))",
    )
    assert isinstance(said, list)
    assert said[:2] == [False, "NOT_STARTED"]
    assert "unix:///no-such-engine.sock" in said[2]


def test_every_extra_can_be_installed(install: Install) -> None:
    python = install("rompy-core[all]")

    assert {"rompy-docker", "rompy-local", "jinja2", "pyyaml"} <= installed(python)


def test_the_command_is_a_distribution_of_its_own(install: Install) -> None:
    python = install("rompy-cli")

    assert not {"rompy-local", "rompy-docker", "tqdm", "matplotlib"} & installed(python)
    said = subprocess.run([python.with_name("rompyrun"), "plugins"], capture_output=True, text=True, check=True).stdout
    assert "noop" in said


def test_the_report_is_a_distribution_of_its_own(install: Install) -> None:
    python = install("rompy-report")

    assert not {"rompy-local", "rompy-docker", "xarray", "netcdf4"} & installed(python)
    assert ask(
        python, "import rompy_core as r; print(json.dumps([p.name for p in r.list_plugins('rompy.postprocess')]))"
    ) == ["noop", "report"]
