"""What a container sees of the machine, and of its own image: mounts, directories, command, environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rompy_core import ConfigError, ModelRun, RunHandle, RunReport, RunState, StartError

Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]


def sh(source: str) -> list[str]:
    return ["sh", "-c", source]


def said(report: RunReport) -> str:
    assert report.ok, report
    assert report.stdout_path is not None
    return report.stdout_path.read_text()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of the machine with a file."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "bathymetry").write_text("deep\n")
    return folder


@pytest.fixture
def volume(api: Any) -> Iterator[str]:
    """A volume of the engine's, which is gone afterwards."""
    name = f"rompy-test-{os.getpid()}"
    yield name
    api.remove_volume(name, force=True)


# The workspace


def test_the_command_starts_in_the_workspace_with_its_inputs_and_leaves_its_outputs(
    run: Run, model_run: ModelRun
) -> None:
    (model_run.generate() / "input").write_text("in\n")

    report = run(sh("pwd; cat input; echo out > output"))

    assert said(report) == "/app/run_id\nin\n"
    assert (model_run.workspace_dir / "output").read_text() == "out\n"


def test_the_workspace_can_be_mounted_elsewhere(run: Run) -> None:
    assert said(run("pwd", workspace_mount="/data/run 1")) == "/data/run 1\n"


def test_names_with_blanks_and_commas_are_no_trouble(
    tmp_path: Path, engine_options: dict[str, Any], images: Any
) -> None:
    model = ModelRun(run_id="a run, of mine", output_dir=tmp_path / "out, put")

    model.run("docker", image=images.busybox, executable=sh("echo x > 'a file, too'"), **engine_options)

    assert (model.workspace_dir / "a file, too").read_text() == "x\n"


def test_a_working_dir_below_the_workspace(run: Run, model_run: ModelRun) -> None:
    (model_run.generate() / "grid").mkdir()

    assert said(run("pwd", working_dir="grid")) == "/app/run_id/grid\n"


def test_a_working_dir_of_the_container(run: Run) -> None:
    assert said(run("pwd", working_dir="/tmp")) == "/tmp\n"


def test_a_missing_working_dir_is_refused_and_not_made(submit: Submit, model_run: ModelRun) -> None:
    with pytest.raises(StartError, match="working_dir") as caught:
        submit("pwd", working_dir="nowhere")

    assert caught.value.report.state is RunState.NOT_STARTED
    assert not (model_run.workspace_dir / "nowhere").exists()


# Volumes


def test_a_relative_path_is_the_callers(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)

    for source in ("./data", "data/", f"../{data.parent.name}/data"):
        assert said(run(["cat", "/data/bathymetry"], volumes=[f"{source}:/data:ro"])) == "deep\n"


def test_the_home_directory_of_the_caller(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(data.parent))

    assert said(run(["cat", "/data/bathymetry"], volumes=["~/data:/data:ro"])) == "deep\n"


def test_one_file_can_be_mounted(run: Run, data: Path) -> None:
    assert said(run(["cat", "/etc/depth"], volumes=[f"{data}/bathymetry:/etc/depth:ro"])) == "deep\n"


@pytest.mark.parametrize("options", ["ro", "ro,z", "Z,ro", "ro,rprivate"])
def test_what_is_read_only_cannot_be_written(run: Run, data: Path, options: str) -> None:
    source = (
        "cat /data/bathymetry; echo x > /data/mine && echo written; echo x > /data/bathymetry && echo written; true"
    )

    report = run(sh(source), volumes=[f"{data}:/data:{options}"], user="0:0")

    assert said(report) == "deep\n"
    assert [path.name for path in data.iterdir()] == ["bathymetry"]


@pytest.mark.parametrize("options", ["", ":rw", ":z", ":rw,Z"])
def test_what_is_not_read_only_can_be_written(run: Run, data: Path, options: str) -> None:
    report = run(sh("echo x > /data/mine"), volumes=[f"{data}:/data{options}"])

    assert report.ok, report
    assert (data / "mine").read_text() == "x\n"


def test_the_same_folder_can_be_mounted_twice(run: Run, data: Path) -> None:
    source = "cat /a/bathymetry /b/bathymetry; echo x > /b/mine; echo x > /a/mine 2>/dev/null || echo refused"

    report = run(sh(source), volumes=[f"{data}:/a:ro", f"{data}:/b"])

    assert said(report) == "deep\ndeep\nrefused\n"
    assert (data / "mine").exists()


def test_a_named_volume_keeps_what_is_written(run: Run, volume: str) -> None:
    run(sh("echo x > /cache/file"), volumes=[f"{volume}:/cache"], user="0:0")

    report = run(["cat", "/cache/file"], volumes=[f"{volume}:/cache:ro"])

    assert said(report) == "x\n"


def test_a_missing_path_is_refused_before_anything_is_written(submit: Submit, model_run: ModelRun) -> None:
    with pytest.raises(ConfigError, match=r"volumes\[1\]: there is no '/no/such/folder'"):
        submit("true", volumes=["/etc:/a:ro", "/no/such/folder:/b"])

    assert not model_run.output_dir.exists()
    assert not Path("/no/such").exists()


def test_the_anonymous_volumes_of_an_image_go_with_the_container(
    run: Run, api: Any, images: Any, engine_options: dict[str, Any]
) -> None:
    image = _derived(api, images.busybox, ["VOLUME /scratch"])
    before = {one["Name"] for one in api.volumes()["Volumes"] or ()}

    try:
        report = run(sh("echo x > /scratch/file; ls /scratch"), image=image, user="0:0")
    finally:
        api.remove_image(image)

    assert said(report) == "file\n"
    assert {one["Name"] for one in api.volumes()["Volumes"] or ()} <= before


# The image's own words, and the environment


@pytest.fixture
def spoken(api: Any, images: Any) -> Iterator[str]:
    """An image with an entrypoint, a command, a variable and a directory of its own."""
    changes = ['ENTRYPOINT ["echo", "entrypoint"]', 'CMD ["command"]', "ENV DEPTH=3", "WORKDIR /elsewhere"]
    image = _derived(api, images.busybox, changes)
    yield image
    api.remove_image(image)


def _derived(api: Any, image: str, changes: list[str]) -> str:
    """Make an image out of another one, with other settings."""
    container = api.create_container(image, ["true"])["Id"]
    api.commit(container, "localhost/rompy-test/derived", f"t{os.getpid()}", changes=changes)
    api.remove_container(container)
    return f"localhost/rompy-test/derived:t{os.getpid()}"


def test_without_an_executable_the_image_runs_what_it_says_itself(run: Run, spoken: str) -> None:
    report = run(image=spoken)

    assert said(report) == "entrypoint command\n"
    assert report.command is None


def test_words_are_run_as_they_are_whatever_the_images_entrypoint_is(run: Run, spoken: str) -> None:
    assert said(run(["echo", "mine"], image=spoken)) == "mine\n"


def test_words_can_be_given_to_the_images_entrypoint(run: Run, spoken: str) -> None:
    assert said(run(["mine", "too"], image=spoken, use_entrypoint=True)) == "entrypoint mine too\n"


def test_the_workspace_is_the_working_directory_whatever_the_image_says(run: Run, spoken: str) -> None:
    assert said(run("pwd", image=spoken)) == "/app/run_id\n"


def test_variables_reach_the_command_and_go_over_those_of_the_image(run: Run, spoken: str) -> None:
    source = sh('echo "$DEPTH|$OTHER|$NOBODY"')

    assert said(run(source, image=spoken)) == "3||\n"
    assert said(run(source, image=spoken, env_vars={"DEPTH": "4", "OTHER": "two words; $(id)\n"})) == (
        "4|two words; $(id)\n|\n"
    )


def test_the_path_of_the_options_finds_the_command(run: Run, model_run: ModelRun) -> None:
    tools = model_run.generate() / "tools"
    tools.mkdir()
    (tools / "deeper").write_text("#!/bin/sh\necho deeper\n")
    (tools / "deeper").chmod(0o755)

    assert said(run("deeper", env_vars={"PATH": "/app/run_id/tools:/bin"})) == "deeper\n"


def test_the_callers_own_environment_stays_outside(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROMPY_TEST_MINE", "mine")

    assert "ROMPY_TEST_MINE" not in said(run("env"))


def test_nothing_needs_a_shell_or_a_user_in_the_image(run: Run, api: Any, images: Any) -> None:
    # busybox: FROM scratch, without /etc/passwd; started by its own name, no shell is asked.
    report = run(["/bin/busybox", "echo", "here"], image=images.busybox)

    assert said(report) == "here\n"


def test_a_line_is_split_as_a_shell_would_split_it(run: Run) -> None:
    assert said(run("echo 'two  words' \"$HOME\" a\\ b")) == "two  words $HOME a b\n"


def test_standard_input_is_empty(run: Run) -> None:
    assert said(run(sh("cat; echo end"))) == "end\n"
