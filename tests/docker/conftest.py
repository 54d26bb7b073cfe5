"""The engines that the tests run against, what is in them, and a way to run something there.

Most tests use ``engine``: the one that ``ROMPY_TEST_ENGINE`` names, Docker or Podman, else the machine's own, else a
private one. Nothing that the tests make stays in it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import docker
import pytest
from tests.docker import engines
from tests.docker.images import Images

from rompy_core import ModelRun, RunHandle, RunReport, RunState, read_report

_ENGINES = {"engine", "own_engine", "podman_engine", "rootless_engine"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and _ENGINES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The address of the engine that the tests run against."""
    with engines.tested_engine(tmp_path_factory.getbasetemp()) as address:
        yield address


@pytest.fixture(scope="session")
def engine_options(engine: str) -> dict[str, Any]:
    """The options of a run that are the engine's matter."""
    return {"engine": engine}


@pytest.fixture(scope="session")
def images(engine: str) -> Generator[Images]:
    """The names of images that the engine has."""
    with engines.with_images(engine) as names:
        yield names


@pytest.fixture(scope="session")
def registry(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[engines.Registry]:
    """A registry that the engine can pull from."""
    with engines.registry_beside(engine, tmp_path_factory.mktemp("registry")) as beside:
        yield beside


@pytest.fixture
def own_engine() -> Generator[engines.PrivateEngine]:
    """A Docker engine of the test's own, which may be killed or frozen; it has the image ``busybox``."""
    with engines.private_engine("docker", "busybox") as private:
        yield private


@pytest.fixture(scope="session")
def podman_engine() -> Generator[str]:
    """The address of Podman's Docker-compatible service; it has the images ``busybox`` and ``python``."""
    with engines.private_engine("podman", "busybox", "python") as private, engines.nothing_left(private.address):
        yield private.address


@pytest.fixture(scope="session")
def rootless_engine() -> Generator[engines.RootlessEngine]:
    """A Docker engine that an ordinary user runs; it has the images ``busybox`` and ``python``."""
    with engines.rootless_engine("busybox", "python") as private, engines.nothing_left(private.address):
        yield private


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out")


@pytest.fixture
def api(engine: str) -> Generator[docker.APIClient]:
    """The engine itself, to look at what is there."""
    with contextlib.closing(docker.APIClient(base_url=engine, version="auto", timeout=30)) as client:
        yield client


@pytest.fixture
def containers(api: docker.APIClient, tmp_path: Path) -> Generator[Callable[[], list[dict[str, Any]]]]:
    """List the containers whose record lies below the test's directory; at the end there must be none."""

    def find() -> list[dict[str, Any]]:
        ours = api.containers(all=True, filters={"label": "rompy.record"})
        return [one for one in ours if one["Labels"]["rompy.record"].startswith(f"{tmp_path}/")]

    yield find
    left = find()
    for container in left:
        api.remove_container(container["Id"], force=True)
    assert [container["Names"] for container in left] == []


@pytest.fixture
def submit(
    model_run: ModelRun, engine_options: dict[str, Any], images: Images, containers: object
) -> Callable[..., RunHandle]:
    """Start words in a container."""

    def start(words: object = None, **options: Any) -> RunHandle:
        defaults = {"image": images.busybox, "executable": words, "timeout": 60, **engine_options}
        return model_run.submit("docker", **defaults | options)

    return start


@pytest.fixture
def run(
    model_run: ModelRun, engine_options: dict[str, Any], images: Images, containers: object
) -> Callable[..., RunReport]:
    """Run words in a container to the end; what ``run()`` says and what is on the disk agree with the report."""

    def to_the_end(words: object = None, **options: Any) -> RunReport:
        defaults = {"image": images.busybox, "executable": words, "timeout": 60, **engine_options}
        verdict: object
        try:
            verdict = model_run.run("docker", **defaults | options)
        except TimeoutError as exc:
            verdict = exc
        report = model_run.report
        assert report is not None
        is_as_promised = (
            isinstance(verdict, TimeoutError) if report.state is RunState.TIMED_OUT else verdict is report.ok
        )
        assert is_as_promised, (verdict, report)
        assert read_report(model_run.workspace_dir) == report
        return report

    return to_the_end
