"""The image of a run is found, pulled or built: when, under which name, and what is said where none can be had."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.docker.engines import PrivateEngine, Registry

from rompy_core import RunLogger
from rompy_docker import DockerConfig, _engine, _images
from rompy_docker._engine import Engine, EngineAddress, EngineError, EngineLostError
from rompy_docker._images import ready_image

Until = Callable[..., None]
LOG = RunLogger(logging.getLogger("rompy_docker"), "case", "docker")
NOWHERE = "127.0.0.1:1"
SECRET = "hunter2hunter2"


class CancelledError(Exception):
    pass


@attrs.define
class Kitchen:
    """Asks for images of one engine, built from one directory; all that is built carries a label of the test's own."""

    engine: Engine
    base: str
    token: str
    context: Path
    build_log: Path

    def dockerfile(self, *lines: str, base: str = "") -> Path:
        path = self.context / "Dockerfile"
        path.write_text("\n".join([f"FROM {base or self.base}", f"LABEL rompy.test={self.token}", *lines, ""]))
        return path

    def ready(self, check: Callable[[], None] = lambda: None, **options: Any) -> dict[str, Any]:
        config = DockerConfig(**options)
        return ready_image(self.engine, config, log=LOG, build_log=self.build_log, check=check)

    def built(self, *lines: str, **options: Any) -> dict[str, Any]:
        return self.ready(dockerfile=self.dockerfile(*lines), **options)

    def running(self) -> list[str]:
        return [str(container["Id"]) for container in self.engine.containers([f"rompy.test={self.token}"])]

    def output(self) -> str:
        return self.build_log.read_text() if self.build_log.exists() else ""

    def clean(self) -> None:
        api: Any = self.engine.api
        for _ in range(2):  # the parents of what is removed first
            for image in api.images(all=True, filters={"label": f"rompy.test={self.token}"}):
                with contextlib.suppress(Exception):  # it went with another one
                    api.remove_image(image["Id"], force=True)


@pytest.fixture
def kitchen(engine: str, images: Any, token: str, tmp_path: Path, until: Until) -> Iterator[Kitchen]:
    context = tmp_path / "model"
    context.mkdir()
    connected = Engine(EngineAddress(url=engine), 30)
    kitchen = Kitchen(connected, images.busybox, token, context, tmp_path / "build.log")
    yield kitchen
    until(lambda: not kitchen.running(), "the containers of builds to go")
    kitchen.clean()
    connected.close()


def test_an_image_that_is_there_is_found(kitchen: Kitchen) -> None:
    image = kitchen.ready(image=kitchen.base)

    assert image["Id"] == kitchen.ready(image=image["Id"].removeprefix("sha256:"), pull="never")["Id"]
    assert not kitchen.build_log.exists()


def test_a_missing_image_is_not_pulled_where_that_is_forbidden(kitchen: Kitchen) -> None:
    with pytest.raises(EngineError, match="'rompy-no-such:1' is not on the engine, and pull is 'never'"):
        kitchen.ready(image="rompy-no-such:1", pull="never")


@pytest.mark.parametrize("pull", ["missing", "always"])
def test_a_failed_pull_says_what_the_registry_said(kitchen: Kitchen, pull: str) -> None:
    name = f"{NOWHERE}/rompy/model@sha256:{'0' * 64}"

    with pytest.raises(EngineError) as caught:
        kitchen.ready(image=name, pull=pull)

    assert str(caught.value).startswith(f"the image {name!r} could not be pulled: ")
    assert NOWHERE in str(caught.value).partition("pulled: ")[2]


def test_an_image_that_is_there_is_pulled_where_that_is_always_asked_for(kitchen: Kitchen) -> None:
    name = f"{NOWHERE}/rompy/model:{kitchen.token}"
    api: Any = kitchen.engine.api
    api.tag(kitchen.base, f"{NOWHERE}/rompy/model", kitchen.token)
    try:
        assert kitchen.ready(image=name)

        with pytest.raises(EngineError, match="could not be pulled"):
            kitchen.ready(image=name, pull="always")
    finally:
        api.remove_image(name)


def test_an_image_for_another_machine_does_not_do(kitchen: Kitchen) -> None:
    image = kitchen.ready(image=kitchen.base)
    mine = f"{image['Os']}/{image['Architecture']}"

    assert kitchen.ready(image=kitchen.base, pull="never", platform=mine)["Id"] == image["Id"]
    with pytest.raises(EngineError, match=f"is for {mine}, not for linux/riscv64, and pull is 'never'"):
        kitchen.ready(image=kitchen.base, pull="never", platform="linux/riscv64")


def test_an_image_is_pulled_once_by_its_tag_or_digest_and_no_other_tag_comes_with_it(
    kitchen: Kitchen, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    built = kitchen.built("RUN true")["Id"]
    other = registry.publish(built, f"{kitchen.token}:other")
    name = registry.publish(built, f"{kitchen.token}:latest").removesuffix(":latest")
    caplog.set_level(logging.INFO, "rompy_docker")
    caplog.clear()

    image = kitchen.ready(image=name)
    again = kitchen.ready(image=name)
    by_digest = kitchen.ready(image=next(one for one in image["RepoDigests"] if one.startswith(name)))
    always = kitchen.ready(image=name, pull="always")

    assert {found["Id"] for found in (image, again, by_digest, always)} == {built}
    assert kitchen.engine.image(other) is None
    assert [record.getMessage() for record in caplog.records] == [
        "pull of an image started",
        "pull of an image ended",
    ] * 2
    registry.forget()


def test_a_tag_that_the_registry_does_not_have_is_said_so(kitchen: Kitchen, registry: Registry) -> None:
    name = registry.publish(kitchen.base, f"{kitchen.token}:1").removesuffix(":1")

    with pytest.raises(EngineError, match=r"could not be pulled: .*(not found|manifest unknown)"):
        kitchen.ready(image=f"{name}:2")


def test_the_base_of_a_build_is_pulled_as_images_are(kitchen: Kitchen, registry: Registry) -> None:
    base = registry.publish(kitchen.base, f"{kitchen.token}:1")
    first = kitchen.ready(dockerfile=kitchen.dockerfile("RUN true", base=base))
    registry.publish(kitchen.built("RUN echo newer > /base")["Id"], f"{kitchen.token}:1")
    api: Any = kitchen.engine.api
    api.tag(kitchen.base, *base.rsplit(":", 1))  # which to publish the newer one has taken away

    same = kitchen.ready(dockerfile=kitchen.dockerfile("RUN true", base=base))
    newer = kitchen.ready(dockerfile=kitchen.dockerfile("RUN true", base=base), pull="always")

    assert same["Id"] == first["Id"] != newer["Id"]
    kitchen.clean()
    registry.forget()
    for digest in kitchen.ready(image=kitchen.base)["RepoDigests"]:
        if digest.startswith(registry.address):  # which nothing of that name refers to any more
            api.remove_image(digest)


def test_a_build_gives_the_image_that_the_dockerfile_describes(kitchen: Kitchen) -> None:
    (kitchen.context / "data").mkdir()
    (kitchen.context / "data" / "grid é.nc").write_bytes(os.urandom(70_000))
    (kitchen.context / "data" / "run").write_text("#!/bin/sh\necho ran > /ran\n")
    (kitchen.context / "data" / "run").chmod(0o750)
    (kitchen.context / "data" / "link").symlink_to("run")
    (kitchen.context / "data" / "core.1").write_text("huge")
    (kitchen.context / ".dockerignore").write_text("**/core.*\n")

    image = kitchen.built(
        "COPY data /data",
        "RUN /data/link && test \"$(stat -c '%a %u %g' /data/run)\" = '750 0 0'",
        "RUN test \"$(wc -c < '/data/grid é.nc')\" = 70000 && ! test -e /data/core.1 && test -e /ran",
        'CMD ["/data/run"]',
    )

    assert image["Config"]["Cmd"] == ["/data/run"]
    assert image["Config"]["Labels"][_images.BUILT_LABEL] in image["RepoTags"][0]
    assert "/rompy-built/" in f"/{image['RepoTags'][0]}"


def test_what_was_built_is_not_built_again_until_it_changes(kitchen: Kitchen) -> None:
    file = kitchen.context / "model.f90"
    file.write_text("end\n")
    first = kitchen.built("COPY . /src")
    kitchen.build_log.unlink()
    os.utime(file, (1, 1))

    again = kitchen.built("COPY . /src")
    is_built_again = kitchen.build_log.exists()
    file.write_text("END\n")
    changed = kitchen.built("COPY . /src")

    assert again["Id"] == first["Id"]
    assert not is_built_again
    assert kitchen.build_log.exists()
    assert changed["Id"] != first["Id"]


def test_other_arguments_make_another_image(kitchen: Kitchen) -> None:
    lines = ("ARG KIND=release", "RUN echo $KIND > /kind")

    ids = [kitchen.built(*lines, build_args=args)["Id"] for args in ({}, {"KIND": "debug"}, {"KIND": "fast"}, {})]

    assert len(set(ids)) == 3
    assert ids[0] == ids[3]


def test_a_base_that_has_become_another_image_is_built_upon_anew(kitchen: Kitchen) -> None:
    base = f"rompy-base-{kitchen.token}:1"
    ids: list[str] = []
    bases: list[str] = []
    for content in ("old", "new"):
        bases.append(kitchen.built(f"RUN echo {content} > /base")["Id"])
        api: Any = kitchen.engine.api
        api.tag(bases[-1], *base.split(":"), force=True)

        ids.append(kitchen.ready(dockerfile=kitchen.dockerfile("RUN cat /base", base=base))["Id"])
        assert content in kitchen.output()

    assert len({*bases, *ids}) == 4
    kitchen.engine.api.remove_image(base)


def test_the_bases_of_a_build_are_not_pulled_where_that_is_forbidden(kitchen: Kitchen) -> None:
    dockerfile = kitchen.dockerfile("RUN true", base=f"{NOWHERE}/no-such")

    with pytest.raises(EngineError, match=rf"Dockerfile' needs another image: .*{NOWHERE}/no-such.* pull is 'never'"):
        kitchen.ready(dockerfile=dockerfile, pull="never")


def test_a_dockerfile_is_relative_to_its_context_and_else_to_the_caller(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.dockerfile("COPY . /here")
    (kitchen.context / "sub").mkdir()
    monkeypatch.chdir(kitchen.context.parent)

    by_context = kitchen.ready(dockerfile="Dockerfile", build_context="model")
    by_caller = kitchen.ready(dockerfile="model/Dockerfile")
    outside = kitchen.ready(dockerfile="../Dockerfile", build_context="model/sub")

    assert by_context["Id"] == by_caller["Id"] != outside["Id"]


def test_a_dockerfile_outside_of_its_context_leaves_no_trace_in_the_image(kitchen: Kitchen) -> None:
    sub = kitchen.context / "sub"
    sub.mkdir()
    (sub / "file").touch()

    kitchen.built("COPY . /here", 'RUN echo "here: $(ls -A /here)"', build_context=sub)

    assert "here: file\n" in kitchen.output()


def test_a_failed_build_names_its_step_and_shows_its_end(kitchen: Kitchen) -> None:
    with pytest.raises(EngineError) as caught:
        kitchen.built("RUN seq 1 1000; echo no compiler >&2; exit 3", "RUN true")

    reason = str(caught.value)
    assert reason.startswith(f"the image of '{kitchen.context}/Dockerfile' could not be built: at '")
    assert re.search(r"at '(?i:step) 3/\d ?: RUN seq 1 1000", reason)
    assert re.search(r"(code|status):? 3", reason)
    assert "its last lines: " in reason
    assert "no compiler" in reason
    assert "1000" in reason
    assert "990" not in reason
    assert str(kitchen.build_log) in reason
    assert "\n" not in reason
    assert "\n990\n" in kitchen.output()
    assert "\x1b" not in kitchen.output()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(("COPY no-such-file /",), "no-such-file"), (("RUN no-such-command",), "127"), (("FROM",), "FROM")],
    ids=["no such file", "no such command", "syntax"],
)
def test_every_failure_of_a_build_is_said_in_the_words_of_the_engine(
    kitchen: Kitchen, lines: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(EngineError, match=rf"could not be built: .*{expected}"):
        kitchen.built(*lines)


def test_a_build_that_failed_is_tried_again(kitchen: Kitchen) -> None:
    with pytest.raises(EngineError):
        kitchen.built("COPY late /")
    (kitchen.context / "late").touch()

    assert kitchen.built("COPY late /")


def test_what_is_missing_for_a_build_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"the Dockerfile '.*/no-such' does not exist"):
        kitchen.ready(dockerfile=tmp_path / "no-such")
    with pytest.raises(EngineError, match=r"the build context '.*/no-such' is no directory"):
        kitchen.ready(dockerfile=kitchen.dockerfile(), build_context=tmp_path / "no-such")
    with pytest.raises(
        EngineError, match=r"the output of the build cannot be written to '.*/no-such/log': No such file"
    ):
        attrs.evolve(kitchen, build_log=tmp_path / "no-such" / "log").built("RUN true")


def test_the_values_of_arguments_are_in_no_log_name_error_or_label(
    kitchen: Kitchen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lines = ("ARG TOKEN", "RUN echo the token is $TOKEN; printf ${TOKEN%%2*} >&2; sleep 0.3; printf 2hunter2 >&2")
    args = {"build_args": {"TOKEN": SECRET}}

    image = kitchen.built(*lines, **args)
    output = kitchen.output()
    with pytest.raises(EngineError) as caught:
        kitchen.built(*lines, "RUN echo bad $TOKEN; false", **args)

    seen = [output, kitchen.output(), str(caught.value), caplog.text, str(image["RepoTags"]), str(image["Config"])]
    seen += [str(record.__dict__) for record in caplog.records]
    assert not [text for text in seen if SECRET in text]
    assert "the token is <secret>" in output
    assert "bad <secret>" in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None  # they would show the address of the request


def test_a_file_that_changes_while_it_is_sent_makes_no_image(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    file = kitchen.context / "data"
    file.write_bytes(bytes(2**22))
    read = _images.read_context

    def read_and_change(*args: Any) -> Any:
        context = read(*args)
        file.write_bytes(b"x" * 2**22)
        return context

    monkeypatch.setattr(_images, "read_context", read_and_change)

    with pytest.raises(EngineError, match="data' changed while the build context was read"):
        kitchen.built("COPY . /data")

    assert kitchen.output() == ""


SLOW = ("RUN echo be''gun; sleep 6",)


def test_a_build_that_is_cancelled_ends_on_the_engine_as_well(kitchen: Kitchen, until: Until) -> None:
    ended: list[float] = []

    def cancel_when_it_has_begun() -> None:
        if "\nbegun" in kitchen.output():
            ended.append(time.monotonic())
            raise CancelledError

    with pytest.raises(CancelledError):
        kitchen.built(*SLOW, check=cancel_when_it_has_begun)

    assert time.monotonic() - ended[0] < 1
    until(lambda: not kitchen.running(), timeout=4)
    assert "begun" in kitchen.output()


def test_an_interrupt_ends_a_build(kitchen: Kitchen, until: Until) -> None:
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        until(lambda: "\nbegun" in kitchen.output())
        signal.pthread_kill(main, signal.SIGINT)

    with ThreadPoolExecutor() as pool:
        interrupted = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            kitchen.built(*SLOW)
        interrupted.result()

    until(lambda: not kitchen.running(), timeout=4)


def test_a_build_that_takes_too_long_is_ended_and_says_where_it_was(kitchen: Kitchen, until: Until) -> None:
    with pytest.raises(EngineError, match=r"not ready within prepare_timeout=1\.5 s; .* at .(?i:step) 3/.*sleep 6"):
        kitchen.built(*SLOW, prepare_timeout=1.5)

    until(lambda: not kitchen.running(), timeout=4)


def test_waiting_is_asked_about_all_the_time(kitchen: Kitchen) -> None:
    calls: list[float] = []

    kitchen.built("RUN sleep 1", check=lambda: calls.append(time.monotonic()))

    assert len(calls) >= 8
    assert max(later - earlier for earlier, later in itertools.pairwise(calls)) < 0.6


def test_a_silent_step_may_take_longer_than_the_engine_may_for_an_answer(kitchen: Kitchen, engine: str) -> None:
    impatient = Engine(EngineAddress(url=engine), 1)
    try:
        assert attrs.evolve(kitchen, engine=impatient).built("RUN sleep 2")
    finally:
        impatient.close()


def test_the_same_content_is_built_once_by_all_who_want_it_at_once(kitchen: Kitchen, tmp_path: Path) -> None:
    dockerfile = kitchen.dockerfile("RUN sleep 1")
    kitchens = [attrs.evolve(kitchen, build_log=tmp_path / f"{number}.log") for number in range(4)]

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda one: one.ready(dockerfile=dockerfile), kitchens))

    assert len({image["Id"] for image in images}) == 1
    assert sum(one.build_log.exists() for one in kitchens) == 1


def test_who_waits_for_the_build_of_another_can_be_cancelled(kitchen: Kitchen, tmp_path: Path, until: Until) -> None:
    dockerfile = kitchen.dockerfile("RUN echo be''gun; sleep 2")
    waiting = attrs.evolve(kitchen, build_log=tmp_path / "waiting.log")

    def cancel() -> None:
        raise CancelledError

    with ThreadPoolExecutor() as pool:
        building = pool.submit(kitchen.ready, dockerfile=dockerfile)
        until(lambda: "\nbegun" in kitchen.output())
        with pytest.raises(CancelledError):
            waiting.ready(dockerfile=dockerfile, check=cancel)
        assert not building.done()
        assert building.result(timeout=20)


def test_an_engine_that_dies_during_a_build_is_lost(own_engine: PrivateEngine, kitchen: Kitchen) -> None:
    engine = Engine(EngineAddress(url=own_engine.address), 5)

    def kill_when_it_has_begun() -> None:
        if "\nbegun" in kitchen.output() and not killed:
            killed.append(None)
            own_engine.kill()

    killed: list[None] = []
    try:
        with pytest.raises(EngineLostError):
            attrs.evolve(kitchen, engine=engine).built(*SLOW, check=kill_when_it_has_begun)
    finally:
        engine.close()


def test_an_engine_that_says_nothing_does_not_hold_up_who_cancels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"unix://{tmp_path}/deaf"
    monkeypatch.setitem(_engine._API_VERSIONS, address, "1.41")
    began = time.monotonic()

    def cancel_soon() -> None:
        if time.monotonic() - began > 0.5:
            raise CancelledError

    with socket.socket(socket.AF_UNIX) as listener, contextlib.closing(Engine(EngineAddress(url=address), 30)) as deaf:
        listener.bind(str(tmp_path / "deaf"))
        listener.listen()
        config = DockerConfig(image="model:1", pull="always")
        with pytest.raises(CancelledError):
            ready_image(deaf, config, log=LOG, build_log=tmp_path / "log", check=cancel_soon)

    assert time.monotonic() - began < 2
    assert [thread for thread in threading.enumerate() if thread.name == "rompy-answer"] == []


def test_an_engine_that_is_gone_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"unix://{tmp_path}/no-such-socket"
    monkeypatch.setitem(_engine._API_VERSIONS, address, "1.41")
    config = DockerConfig(image="model:1", pull="always")

    with (
        contextlib.closing(Engine(EngineAddress(url=address), 30)) as gone,
        pytest.raises(EngineLostError, match=f"the engine at '{address}' could not pull an image: No such file"),
    ):
        ready_image(gone, config, log=LOG, build_log=tmp_path / "log", check=lambda: None)


class Shop:
    """Stands in for an engine: it tells what it is told to, and has its image from then on."""

    address = EngineAddress(url="unix:///nowhere")

    def __init__(self, image: dict[str, Any] | None, *told: dict[str, Any]) -> None:
        self._image = image
        self._told = told
        self._is_sold = False

    def image(self, name: str) -> dict[str, Any] | None:
        return self._image if self._is_sold else None

    def pull(self, name: str, **_: Any) -> Iterator[dict[str, Any]]:
        yield from self._told
        self._is_sold = True

    def ready(self, **options: Any) -> dict[str, Any]:
        engine: Any = self
        config = DockerConfig(image="model:1", **options)
        return ready_image(engine, config, log=LOG, build_log=Path("/nowhere"), check=lambda: None)


def test_the_progress_of_a_pull_is_logged_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def layer(name: str, current: int) -> dict[str, Any]:
        detail = {"current": current, "total": 40_000_000}
        return {"id": name, "status": "Downloading", "progressDetail": detail, "progress": "[==>  ]"}

    told = [layer("a", 10_000_000), layer("b", 20_000_000), layer("a", 40_000_000), {"status": "Pull complete"}]
    caplog.set_level(logging.INFO, "rompy_docker")

    Shop({"Id": "1"}, *told).ready()
    seldom = [record.getMessage() for record in caplog.records]
    monkeypatch.setattr(_images, "_PROGRESS_EVERY_S", 0)
    caplog.clear()
    Shop({"Id": "1"}, *told).ready()

    assert seldom == ["pull of an image started", "pull of an image ended"]
    assert [record.getMessage() for record in caplog.records][1:-1] == [
        "pull of an image: 10 of 40 MB",
        "pull of an image: 30 of 80 MB",
        "pull of an image: 60 of 80 MB",
    ]
    assert {record.__dict__["image"] for record in caplog.records} == {"model:1"}


def test_an_error_at_the_end_of_a_pull_is_one() -> None:
    with pytest.raises(EngineError, match="the image 'model:1' could not be pulled: toomanyrequests: slow down"):
        Shop({"Id": "1"}, {"status": "Pulling"}, {"error": "toomanyrequests: slow down\n"}).ready()


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm64/v8", "arm64", "linux", "Linux/aarch64", None])
def test_an_image_that_is_for_the_platform_does(platform: str | None) -> None:
    image = {"Id": "1", "Os": "linux", "Architecture": "arm64", "Variant": "v8"}

    assert Shop(image).ready(platform=platform) == image


@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64/v9", "amd64", "windows/arm64"])
def test_an_image_that_was_pulled_for_another_platform_is_refused(platform: str) -> None:
    image = {"Id": "1", "Os": "linux", "Architecture": "arm64", "Variant": "v8"}

    with pytest.raises(EngineError, match=rf"was pulled, but is for linux/arm64(/v8)?, not for {platform}"):
        Shop(image).ready(platform=platform)


def test_an_image_that_is_not_there_after_its_pull_is_said_so() -> None:
    with pytest.raises(EngineError, match="the image 'model:1' was pulled, but is not on the engine"):
        Shop(None, {"status": "Pulling"}).ready()
