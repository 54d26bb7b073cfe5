"""The example in a container, and the recipes of ``docs/images.md``: built and run as they are printed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rompy_core import FilesConfig, ModelRun, RunReport, RunState

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "backends" / "02_docker_run.py"
IMAGE = EXAMPLE.parent / "dam_break" / "image"
BASE = "rompy-example/recipes:test"
PACKAGES = ["gfortran", "libc6-dev", "mpich", "libmpich-dev"]

FORTRAN = """
program model
  integer :: steps
  namelist /case/ steps
  open (10, file="INPUT", status="old")
  read (10, case)
  open (11, file="result.txt")
  write (11, "(i0)") steps * (steps + 1) / 2
end program
"""
MPI = """
program model
  use mpi
  integer :: rank, ranks, total, error
  call MPI_Init(error)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, error)
  call MPI_Comm_size(MPI_COMM_WORLD, ranks, error)
  call MPI_Reduce(rank + 1, total, 1, MPI_INTEGER, MPI_SUM, 0, MPI_COMM_WORLD, error)
  if (rank == 0) then
    open (11, file="result.txt")
    write (11, "(i0, ' of ', i0)") total, ranks
  end if
  call MPI_Finalize(error)
end program
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("anuga") is None,
    reason="anuga is not installed; run: uv run --group test --group examples pytest tests/examples",
)


def _recipe(heading: str) -> str:
    """Give the Dockerfile in a section of the page."""
    page = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")
    sections = dict(section.split("\n", 1) for section in page.split("\n## ")[1:])
    (dockerfile,) = re.findall(r"^```dockerfile\n(.*?)^```$", sections[heading], re.DOTALL | re.MULTILINE)
    return str(dockerfile)


def _table(ended: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Read what the example prints as facts beside their names."""
    return {line[:13].strip(): line[13:] for line in ended.stdout.splitlines()}


@pytest.fixture(scope="module")
def base(engine: str) -> str:
    """An image of Debian's packages that has all that the recipes install."""
    subprocess.run([IMAGE / "make-base", BASE, *PACKAGES], env={**os.environ, "DOCKER_HOST": engine}, check=True)
    return BASE


@pytest.fixture
def run_recipe(tmp_path: Path, engine: str, base: str) -> Callable[..., RunReport]:
    """Build what a section of the page says, with a program, and run that."""

    def run(heading: str, program: str, **options: Any) -> RunReport:
        context = tmp_path / "image"
        context.mkdir()
        (context / "Dockerfile").write_text(_recipe(heading), encoding="utf-8")
        (context / "model.f90").write_text(program, encoding="utf-8")
        config = FilesConfig(files={"INPUT": "&case steps = 10 /\n"})
        model = ModelRun(run_id="recipe", output_dir=tmp_path / "out", config=config)
        model.run(
            "docker", dockerfile=context / "Dockerfile", build_args={"BASE": base}, engine=engine, timeout=60, **options
        )
        assert model.report is not None
        return model.report

    return run


@pytest.fixture
def example(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run the example in the test's directory, with an engine."""

    def run(address: str) -> subprocess.CompletedProcess[str]:
        env = {key: value for key, value in os.environ.items() if key not in ("PYTHONWARNINGS", "DOCKER_CONTEXT")}
        env["DOCKER_HOST"] = address
        command = [sys.executable, str(EXAMPLE)]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=850, check=False)

    return run


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_the_model_runs_on_two_ranks_in_an_image_that_is_built_once(
    example: Callable[[str], subprocess.CompletedProcess[str]], engine: str, tmp_path: Path
) -> None:
    first, again = example(engine), example(engine)

    for ended in (first, again):
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stderr == ""
        rows = _table(ended)
        assert rows["state"] == "COMPLETED"
        found = re.search(r"differs from Stoker's solution by ([\d.]+)", rows["result"])
        assert found is not None
        assert 0.0 < float(found[1]) < 0.005
    assert "build of an image" in first.stdout
    assert "build of an image" not in again.stdout
    log = Path(_table(again)["report"]).with_name("stdout.log")
    assert "Ranks = 2" in log.read_text(encoding="utf-8").splitlines()  # a rank may warn of what another one does
    output = tmp_path / "simulations" / "dam-break-docker" / "dam.sww"
    assert (output.stat().st_uid, output.stat().st_gid) == (os.getuid(), os.getgid())
    assert sorted(file.name for file in output.parent.iterdir()) == [".rompy", "case.json", "dam.sww", "model.py"]


def test_the_example_fails_and_says_so_where_there_is_no_engine(
    example: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    wheels = tmp_path / "simulations" / "dam-break-image" / "wheels"  # there, as far as the example can see
    wheels.mkdir(parents=True)
    (wheels / "requirements.txt").write_bytes((IMAGE / "requirements.txt").read_bytes())

    ended = example(f"unix://{tmp_path}/no.sock")

    assert ended.returncode == 1
    assert f"{tmp_path}/no.sock" in ended.stdout + ended.stderr


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_a_static_program_runs_in_an_image_of_nothing_else(run_recipe: Callable[..., RunReport]) -> None:
    report = run_recipe("A Fortran program, and nothing else", FORTRAN, executable="/model")

    assert report.state is RunState.COMPLETED, report.reason
    assert (report.workspace_dir / "result.txt").read_text(encoding="utf-8") == "55\n"
    assert (report.workspace_dir / "result.txt").stat().st_uid == os.getuid()


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_a_program_with_mpi_runs_on_two_ranks(run_recipe: Callable[..., RunReport]) -> None:
    report = run_recipe("A program with MPI", MPI, executable="model", mpiexec="mpiexec", cpu=2, read_only=True)

    assert report.state is RunState.COMPLETED, report.reason
    assert (report.workspace_dir / "result.txt").read_text(encoding="utf-8") == "3 of 2\n"


def test_the_page_shows_the_dockerfile_of_the_example() -> None:
    dockerfile = (IMAGE / "Dockerfile").read_text(encoding="utf-8")

    shown = _recipe("A Python model")

    assert shown == dockerfile


def test_the_image_has_the_version_of_the_model_that_the_other_examples_run() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    anuga = next(pin for pin in pins if pin.startswith("anuga=="))

    required = (IMAGE / "requirements.txt").read_text(encoding="utf-8").split()

    assert anuga in required
