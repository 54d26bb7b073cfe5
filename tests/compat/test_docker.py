"""rompy's contract and its faults 8 to 11 with containers: its own configs, run by our docker backend."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import docker
import pytest
from rompy.backends import DockerConfig
from tests.docker.images import Images

from rompy_core import LocalPipelineBackend, RunHandle, RunReport, RunState
from rompy_docker import DockerConfig as OurDockerConfig
from rompy_docker import DockerRunBackend

pytestmark = pytest.mark.docker

Make = Callable[..., Any]
CANARY = "canary-8Jd"


@pytest.fixture
def api(engine: str) -> Generator[docker.APIClient]:
    with contextlib.closing(docker.APIClient(base_url=engine, version="auto")) as client:
        yield client


@pytest.fixture
def run(their_run: Make, engine: str, report_of: Callable[[Any], RunReport]) -> Callable[..., RunReport]:
    """Run a config of theirs to its end, with a run of theirs."""

    def to_the_end(config: Any = None, model_run: Any = None, **options: Any) -> RunReport:
        model_run = model_run or their_run()
        with contextlib.suppress(TimeoutError):
            assert DockerRunBackend().run(model_run, config, engine=engine, **options) is report_of(model_run).ok
        return report_of(model_run)

    return to_the_end


def config(executable: str, **fields: Any) -> DockerConfig:
    """One of theirs; its image needs no bash for mere words."""
    return DockerConfig(**{"image": Images().busybox, "executable": executable, **fields})


def said(report: RunReport) -> list[str]:
    assert report.ok, report.reason
    assert report.stdout_path is not None
    return report.stdout_path.read_text().splitlines()


# image missing, no daemon, container exit n


def test_what_cannot_start_or_fails_is_false_and_says_why(run: Callable[..., RunReport], their_run: Make) -> None:
    missing = run(config("true", image="rompy-no-such-image"))
    failed = run(config("sh -c 'exit 7'"))
    assert DockerRunBackend().run(their_run(), config("true"), engine="unix:///no/such/socket") is False

    assert (missing.state, failed.state) == (RunState.NOT_STARTED, RunState.FAILED)
    assert "rompy-no-such-image" in missing.reason
    assert failed.exit_code == 7


# docker command


def test_the_program_runs_in_the_workspace_and_nothing_runs_before_it(
    run: Callable[..., RunReport], build_context: Path
) -> None:
    image = {"image": None, "dockerfile": Path("Dockerfile"), "build_context": build_context}

    alone = run(config("shown.exe -x 'a b'", **image))
    ranks = run(config("shown.exe", mpiexec="mpiexec", cpu=2, **image))
    line = run(config("shown.exe && shown.exe $HOME", **image))

    assert said(alone) == ["shown.exe 2 -x a b in /app/run_id"]
    assert said(ranks) == ["mpiexec -n 2 shown.exe", "shown.exe 0  in /app/run_id"]
    assert len(said(line)) == 2


def test_by_default_the_program_is_theirs(run: Callable[..., RunReport], build_context: Path) -> None:
    (build_context / "Dockerfile").open("a").write("COPY run.sh /usr/local/bin/run.sh\n")
    (build_context / "run.sh").write_text("#!/bin/sh\necho run.sh\n")
    (build_context / "run.sh").chmod(0o755)

    report = run(DockerConfig(dockerfile=Path("Dockerfile"), build_context=build_context))

    assert said(report) == ["run.sh"]


# 8


def test_08_memory_is_limited(run: Callable[..., RunReport]) -> None:
    report = run(config("sh -c 'head -c 200m /dev/zero | tail -n 1 >/dev/null'", memory="32m"))

    assert report.state is RunState.OUT_OF_MEMORY


def test_08_the_user_is_who_was_asked_for(run: Callable[..., RunReport]) -> None:
    assert said(run(config("id -u"))) == ["0"]
    assert said(run(config("id -u", user="1234:1234"))) == ["1234"]


def test_08_the_timeout_ends_the_container(run: Callable[..., RunReport], api: docker.APIClient) -> None:
    report = run(config("sleep 60"), timeout=1, grace_s=0.5)

    assert report.state is RunState.TIMED_OUT
    assert not api.containers(all=True, filters={"label": f"rompy.record={report.record_dir}"})


def test_08_a_container_is_kept_where_that_was_asked_for_and_has_the_limits(
    run: Callable[..., RunReport], api: docker.APIClient
) -> None:
    report = run(config("true", remove_container=False, cpu=1, memory="64m"))

    [kept] = api.containers(all=True, filters={"label": f"rompy.record={report.record_dir}"})
    limits = api.inspect_container(kept["Id"])["HostConfig"]
    api.remove_container(kept["Id"], force=True)
    assert (limits["Memory"], limits["NanoCpus"]) == (64 * 2**20, 10**9)


# 9


def test_09_volumes_are_mounted_as_they_say(run: Callable[..., RunReport], tmp_path: Path) -> None:
    data = tmp_path / "here" / "data"
    data.mkdir()
    (data / "tide").write_text("high")
    volumes = ["./data:/data:ro", "data:/labelled:ro,z", f"{data}:/writable"]

    reads = "cat /data/tide /labelled/tide; ! touch /data/x; ! touch /labelled/x"

    report = run(config(f"sh -c '{reads}; touch /writable/y'", volumes=volumes))

    assert said(report) == ["highhigh"]
    assert {path.name for path in data.iterdir()} == {"tide", "y"}


def test_09_the_workspace_may_be_mounted_elsewhere_as_well(run: Callable[..., RunReport], their_run: Make) -> None:
    model_run = their_run()
    workspace = Path(model_run.generate())

    report = run(config("sh -c 'touch /model/a; touch /app/run_id/b'", volumes=[f"{workspace}:/model"]), model_run)

    assert report.ok
    assert {"a", "b"} <= {path.name for path in workspace.iterdir()}


def test_a_working_dir_of_the_host_is_where_the_program_starts(run: Callable[..., RunReport], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()

    assert run(config("touch here.nc", working_dir=tmp_path / "elsewhere")).ok

    assert (tmp_path / "elsewhere" / "here.nc").exists()


# 10


def test_10_the_output_is_kept_and_no_log_has_a_secret(
    run: Callable[..., RunReport], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    report = run(config("sh -c 'echo ${#TOKEN}; echo warned >&2'", env_vars={"TOKEN": CANARY}))

    assert said(report) == [str(len(CANARY))]
    assert report.stderr_path is not None
    assert report.stderr_path.read_text() == "warned\n"
    assert not [record for record in caplog.records if CANARY in record.getMessage() + repr(vars(record))]


def test_10_an_image_may_be_named_by_its_digest() -> None:
    digest = f"swan@sha256:{'0' * 64}"

    assert OurDockerConfig(image=digest).image == digest
    with pytest.raises(ValueError, match="image"):
        DockerConfig(image=digest)


# 11


def test_11_a_changed_source_is_another_image(run: Callable[..., RunReport], build_context: Path) -> None:
    image = {"image": None, "dockerfile": Path("Dockerfile"), "build_context": build_context}
    first = run(config("shown.exe", **image))
    (build_context / "bin" / "shown.exe").write_text("#!/bin/sh\necho changed\n")

    second = run(config("shown.exe", **image))

    assert said(first) != said(second)
    assert said(second) == ["changed"]


# What is beside the table.


def test_what_their_config_does_not_say_is_the_default_of_ours(
    run: Callable[..., RunReport], api: docker.APIClient
) -> None:
    report = run(config("true", remove_container=False))

    [kept] = api.containers(all=True, filters={"label": f"rompy.record={report.record_dir}"})
    limits = api.inspect_container(kept["Id"])["HostConfig"]
    api.remove_container(kept["Id"], force=True)
    assert limits["NetworkMode"] == "none"
    assert limits["NanoCpus"] == 10**9  # theirs says one processor where nobody does
    assert "no-new-privileges" in str(limits["SecurityOpt"])
    assert not limits["CapDrop"]


def test_a_config_of_theirs_can_be_submitted_and_cancelled(our_run: Make, engine: str) -> None:
    handle: RunHandle = our_run().submit(config("sleep 60"), engine=engine, grace_s=0.5)

    handle.cancel()

    assert handle.wait(30).state is RunState.CANCELLED


def test_a_pipeline_with_a_config_of_theirs_reports_the_failure_of_its_container(their_run: Make, engine: str) -> None:
    results = LocalPipelineBackend().execute(
        their_run(), backend_config=config("sh -c 'exit 3'"), run_kwargs={"engine": engine}, cleanup_on_failure=True
    )

    assert (results["success"], results["stage"]) == (False, "run")
    assert "exit code 3" in results["error"]
