"""Container engines that the tests start for themselves, a registry beside one, and what a session leaves in one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import urlsplit

import docker
import docker.errors
import pytest
import requests
from tests.docker.images import CannotMakeError, Images, cache_folder, make, remove

from rompy_docker._engine import EngineError, find_address

_SCRIPT: Final = Path(__file__).resolve().parents[2] / ".ci" / "start-docker"
_NEEDED: Final = {
    "docker": ["dockerd", "docker"],
    "podman": ["podman", "docker"],
    "rootless": ["dockerd", "docker", "rootlesskit", "newuidmap"],
}


def unavailable(reason: str) -> NoReturn:
    """Skip what cannot be tested here; where the project's checks run, nothing may be skipped."""
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 20.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.02)


# Engines


def default_engine() -> str | None:
    """Give the address of the engine that the ``docker`` command would use, where it answers and is of this machine."""
    try:
        found = find_address(None)
    except EngineError:
        return None
    url = urlsplit(found.url)
    if url.scheme != "unix" or not is_listening(url.path):
        return None
    try:
        with contextlib.closing(docker.APIClient(base_url=found.url, version="1.41", timeout=5)) as api:
            api.ping()
    except (docker.errors.DockerException, requests.RequestException):
        return None
    return found.url


def is_listening(path: str) -> bool:
    """Whether somebody takes connections at a socket; the SDK would leave an open one behind where nobody does."""
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(path) == 0


@contextlib.contextmanager
def tested_engine(folder: Path) -> Generator[str]:
    """Give the address of the engine that the tests run against; nothing of theirs may be left in it.

    Args:
        folder: Where the tests have their files.
    """
    with contextlib.ExitStack() as stack:
        address = os.environ.get("ROMPY_TEST_ENGINE") or default_engine()
        if address is None:
            address = stack.enter_context(private_engine("docker")).address
        stack.enter_context(nothing_left(address, folder))
        yield address


class PrivateEngine:
    """An engine that a test may do anything to.

    Attributes:
        kind: ``docker``, ``podman`` or ``rootless``.
        address: Where it listens.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.address = ""
        self._folder = folder

    @property
    def pid(self) -> int:
        """The engine's process; of a rootless one, the process that holds it."""
        return int((self._folder / "pid").read_text())

    def start(self) -> None:
        """Start it, for the first time or after it was killed: what it held is still there."""
        self.address = self._do(self.kind, self._folder).strip()

    def stop(self) -> None:
        """End it with all that it holds."""
        self._do("stop", self._folder)

    def kill(self) -> None:
        """Have it die at once; its containers live on."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        # Nobody may be there to collect it.
        wait_for(lambda: _states(pid) <= {"Z", "X"}, "the end of the engine")

    def freeze(self) -> None:
        """Have it take connections and never answer."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_for(lambda: _states(self.pid) == {"T"}, "all threads to stop")

    def thaw(self) -> None:
        """Have it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def _do(self, *words: object) -> str:
        command = [str(_SCRIPT), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout


_PRIVATE: Final[set[str]] = set()
"""Engines that nobody else uses."""


class RootlessEngine(NamedTuple):
    """An engine that an ordinary user runs.

    Attributes:
        address: Where it listens.
        user: Who runs it.
        uid: The user's number.
        gid: The number of the user's group.
        home: A directory of the user's.
    """

    address: str
    user: str
    uid: int
    gid: int
    home: Path


@contextlib.contextmanager
def private_engine(kind: str, *images: str) -> Generator[PrivateEngine]:
    """Have an engine of one's own, with some images."""
    missing = [program for program in _NEEDED[kind] if shutil.which(program) is None]
    if missing:
        unavailable(f"not on this machine: {', '.join(missing)}; on Debian: .ci/start-docker install")
    if os.geteuid() != 0:
        unavailable("only root can start an engine; .ci/start-docker starts one, ROMPY_TEST_ENGINE names it")
    # Not below pytest's directory, which other users cannot enter.
    with tempfile.TemporaryDirectory(prefix="rompy-engine-") as folder:
        Path(folder).chmod(0o755)
        engine = PrivateEngine(kind, Path(folder, "e"))
        engine.start()
        _PRIVATE.add(engine.address)
        try:
            if images:
                put_images(engine.address, *images)
            yield engine
        finally:
            engine.stop()


@contextlib.contextmanager
def rootless_engine(*images: str) -> Generator[RootlessEngine]:
    """Have an engine that an ordinary user runs, with some images."""
    with private_engine("rootless", *images) as engine:
        home = Path(urlsplit(engine.address).path).parents[1] / "home"
        user = pwd.getpwuid(home.stat().st_uid)
        yield RootlessEngine(engine.address, user.pw_name, user.pw_uid, user.pw_gid, home)


def _states(pid: int) -> set[str]:
    """Give the states of a process's threads; none where it is gone."""
    states: set[str] = set()
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            states.add(file.read_text().rpartition(")")[2].split()[0])
    return states


# What they hold


def put_images(address: str, *names: str) -> list[str]:
    """Put images into an engine, all that there are or some; give the full names of those that it did not have."""
    try:
        return make(address, names or Images._fields)
    except CannotMakeError as exc:
        unavailable(str(exc))


@contextlib.contextmanager
def with_images(address: str) -> Generator[Images]:
    """Have all images in an engine; the last of several sessions removes those that were not there before."""
    users = cache_folder() / f"users-{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    with users.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        print(*put_images(address), file=file, flush=True)
        try:
            yield Images()
        finally:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.seek(0)
                remove(address, file.read().split())
                file.truncate(0)


@contextlib.contextmanager
def nothing_left(address: str, folder: Path | None = None) -> Generator[None]:
    """See to it that no container, image, network or volume of ours is left in an engine.

    An engine that others may use as well, at the same time, is another matter: there it is only what is labelled with
    a path in the folder.

    Args:
        address: The engine.
        folder: Where the tests have their files.
    """
    is_exclusive = address in _PRIVATE or "CI" in os.environ
    with contextlib.closing(docker.APIClient(base_url=address, version="auto")) as api:
        before = _held(api)
    yield
    with contextlib.closing(docker.APIClient(base_url=address, version="auto")) as api:
        if is_exclusive:
            _remove_parts(api)
        new = {thing: text for thing, text in _held(api).items() if thing not in before}
        is_known = _is_ours if is_exclusive else lambda text: folder is not None and f"{folder}/" in text
        left = {thing: text for thing, text in new.items() if is_known(text)}
        for kind, name in left:
            with contextlib.suppress(docker.errors.APIError):
                _REMOVALS[kind](api, name)
    assert not left, f"left in the engine: {left}"


def _remove_parts(api: docker.APIClient) -> None:
    """Remove what builds that failed or were given up have left without a name: the engine's cache, as it is with all.

    It can come late, when the test that made it has cleaned up.
    """
    for _ in range(2):  # the parents of what is removed first
        for image in api.images(all=True, filters={"dangling": True, "label": "rompy-test"}):
            with contextlib.suppress(docker.errors.APIError):
                api.remove_image(image["Id"], force=True)


_REMOVALS: Final[dict[str, Callable[[docker.APIClient, str], object]]] = {
    "container": lambda api, name: api.remove_container(name, v=True, force=True),
    "image": lambda api, name: api.remove_image(name, force=True),
    "network": lambda api, name: api.remove_network(name),
    "volume": lambda api, name: api.remove_volume(name, force=True),
}


def _held(api: docker.APIClient) -> dict[tuple[str, str], str]:
    """List what an engine holds, by kind and id; containers first, for they hold the rest."""
    things: dict[str, list[dict[str, Any]]] = {
        "container": api.containers(all=True),
        "image": api.images(all=True),
        "network": api.networks(),
        "volume": api.volumes()["Volumes"] or [],
    }
    named = ("Name", "Names", "Image", "RepoTags", "Labels")
    return {
        (kind, one.get("Id") or one["Name"]): " ".join(str(one[key]) for key in named if one.get(key))
        for kind, several in things.items()
        for one in several
    }


def _is_ours(text: str) -> bool:
    """Whether something is called after us, or has no name at all: what a build or an image's VOLUME leaves."""
    return "rompy" in text or re.fullmatch(r"([0-9a-f]{64})?|\['<none>:<none>'\]", text) is not None


# A registry


class Registry:
    """A registry that the engine can reach.

    Attributes:
        address: Its host and port, as the engine sees them; the beginning of the names of its images.
    """

    def __init__(self, address: str, engine: str) -> None:
        self.address = address
        self._engine = engine

    def publish(self, image: str, name: str) -> str:
        """Push an image of the engine's under another name, that the engine itself does not know afterwards.

        Args:
            image: The image.
            name: Such as ``model:1``.

        Returns:
            The name to pull it by.
        """
        repository, _, tag = f"{self.address}/{name}".rpartition(":")
        with contextlib.closing(docker.APIClient(base_url=self._engine, version="auto")) as api:
            api.tag(image, repository, tag)
            try:
                errors = [line for line in api.push(repository, tag, stream=True, decode=True) if "error" in line]
            finally:
                api.remove_image(f"{repository}:{tag}")
        assert not errors, errors
        return f"{repository}:{tag}"

    def forget(self) -> None:
        """Remove the images that the engine has pulled from here."""
        with contextlib.closing(docker.APIClient(base_url=self._engine, version="auto")) as api:
            names = [name for image in api.images() for name in image["RepoTags"] or image["RepoDigests"] or ()]
        remove(self._engine, [name for name in names if name.startswith(f"{self.address}/")])


@contextlib.contextmanager
def registry_beside(engine: str, folder: Path) -> Generator[Registry]:
    """Have a registry in the network of an engine."""
    if shutil.which("docker-registry") is None:
        unavailable("not on this machine: docker-registry; on Debian: .ci/start-docker install")
    address = f"127.0.0.1:{_free_port()}"
    config, log = folder / "config.yml", folder / "log"
    config.write_text(
        f"version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '{address}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder}/data'}}}}\n"
    )
    with log.open("wb") as output:
        command = [*_entering_the_network_of(engine), "docker-registry", "serve", str(config)]
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    registry = Registry(address, engine)
    try:
        wait_for(lambda: b"listening on" in log.read_bytes() or process.poll() is not None, "the registry")
        assert process.poll() is None, log.read_text()
        yield registry
        registry.forget()
    finally:
        process.kill()
        process.wait()


def _entering_the_network_of(engine: str) -> list[str]:
    pid_file = Path(urlsplit(engine).path).with_name("pid")
    return ["nsenter", f"--net=/proc/{pid_file.read_text().strip()}/ns/net"] if pid_file.exists() else []


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
