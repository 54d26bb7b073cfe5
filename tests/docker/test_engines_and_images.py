"""What the other tests stand on: the images run, the engines are apart, and what is left behind is noticed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
import requests
from tests.docker import engines
from tests.docker.images import Images

AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}

Put = Callable[..., str]


@contextlib.contextmanager
def connected(address: str) -> Generator[docker.APIClient]:
    with contextlib.closing(docker.APIClient(base_url=address, version="auto", timeout=30)) as client:
        yield client


def output_of(api: docker.APIClient, image: str, *words: str, host: dict[str, Any] | None = None, **spec: Any) -> str:
    """Run something to its end; what it says, if it succeeds."""
    host_config = api.create_host_config(network_mode="none", **host or {})
    container = api.create_container(
        image, list(words), name=f"rompy-{os.urandom(8).hex()}", host_config=host_config, **spec
    )
    try:
        api.start(container)
        code = api.wait(container)["StatusCode"]
        text = api.logs(container).decode()
    finally:
        api.remove_container(container, force=True)
    assert code == 0, text
    return text


def test_an_image_has_neither_users_nor_a_library(api: docker.APIClient, images: Images) -> None:
    found = output_of(api, images.busybox, "sh", "-c", "ls /etc /usr/lib; stat -c %a /tmp")

    assert "passwd" not in found
    assert ".so" not in found
    assert found.split()[-1] == "1777"


def test_python_has_its_standard_library(api: docker.APIClient, images: Images) -> None:
    source = (
        "import asyncio, ctypes, json, multiprocessing, resource, signal, socket, sqlite3, subprocess; print('all')"
    )

    assert output_of(api, images.python, "python3", "-c", source, user="12345:12345") == "all\n"


@pytest.mark.parametrize("mpi", ["mpich", "openmpi"])
@pytest.mark.parametrize("uid", [0, 12345])
def test_two_ranks_run(api: docker.APIClient, images: Images, tmp_path: Path, mpi: str, uid: int) -> None:
    (workspace := tmp_path / "workspace").mkdir()
    os.chown(workspace, uid, uid)
    mount = docker.types.Mount("/mounted", str(workspace), type="bind")
    host = {"mounts": [mount], "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"], "shm_size": 2**28}
    spec = {"working_dir": "/mounted", "user": f"{uid}:{uid}", "environment": {"HOME": "/tmp", **AS_ROOT}}

    found = output_of(api, getattr(images, mpi), "mpiexec", "-n", "2", "model", host=host, **spec)

    assert sorted(found.splitlines()) == ["rank 0 of 2", "rank 1 of 2"]
    assert {file.name: file.stat().st_uid for file in workspace.iterdir()} == {"rank-0.txt": uid, "rank-1.txt": uid}


def test_what_a_session_leaves_is_noticed_and_removed(
    api: docker.APIClient, engine: str, images: Images, tmp_path: Path
) -> None:
    name = f"rompy-{os.urandom(8).hex()}"
    kept = f"localhost/rompy-test/{name}"
    api.tag(images.busybox, kept, "latest")

    def leave() -> None:
        labels = {"rompy.record": f"{tmp_path}/record"}
        with engines.nothing_left(engine, tmp_path):
            api.create_container(images.busybox, ["true"], name=name, labels=labels)
            api.create_network(name, labels=labels)
            api.create_volume(name, labels=labels)

    with pytest.raises(AssertionError, match=name):
        leave()

    assert api.inspect_image(kept), "what was there before was removed"
    api.remove_image(kept)
    with pytest.raises(docker.errors.NotFound):
        api.inspect_container(name)
    assert name not in [network["Name"] for network in api.networks()]
    assert name not in [volume["Name"] for volume in api.volumes()["Volumes"] or []]


def test_an_image_comes_back_from_the_registry(
    api: docker.APIClient, images: Images, registry: engines.Registry
) -> None:
    name = registry.publish(images.busybox, "model:1")

    with pytest.raises(docker.errors.ImageNotFound):
        api.inspect_image(name)
    api.pull(name)

    assert output_of(api, name, "echo", "here") == "here\n"


def test_what_a_killed_engine_held_is_found_when_it_starts_again(own_engine: engines.PrivateEngine) -> None:
    with connected(own_engine.address) as api:
        host_config = api.create_host_config(init=True)
        container = api.create_container(Images().busybox, ["sleep", "100"], host_config=host_config)
        api.start(container)
        pid = api.inspect_container(container)["State"]["Pid"]

        own_engine.kill()

        assert not engines.is_listening(own_engine.address.removeprefix("unix://"))
        assert Path(f"/proc/{pid}").exists(), "the container died with the engine"

    own_engine.start()

    with connected(own_engine.address) as api:
        assert api.inspect_container(container)["Name"]


def test_a_frozen_engine_takes_connections_and_does_not_answer(own_engine: engines.PrivateEngine) -> None:
    own_engine.freeze()

    with (
        pytest.raises(requests.Timeout),
        contextlib.closing(docker.APIClient(base_url=own_engine.address, version="1.41", timeout=1)) as api,
    ):
        api.ping()

    own_engine.thaw()
    with connected(own_engine.address) as api:
        assert api.ping()


@pytest.mark.docker
def test_an_engine_that_is_stopped_leaves_nothing() -> None:
    with engines.private_engine("docker", "busybox") as private:
        with connected(private.address) as api:
            container = api.create_container(Images().busybox, ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
            api.start(container)
            pid = api.inspect_container(container)["State"]["Pid"]
        folder = str(Path(private.address.removeprefix("unix://")).parent)
        private.kill()

    assert not Path(f"/proc/{pid}").exists()
    assert not Path(folder).exists()
    assert [line for line in commands() if folder in line] == []


def commands() -> list[str]:
    """List what runs on this machine."""
    found: list[str] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_podman_runs_what_docker_runs(podman_engine: str) -> None:
    limits = [docker.types.Ulimit(name="stack", soft=-1, hard=-1)]
    host = {"init": True, "mem_limit": 2**26, "pids_limit": 50, "ulimits": limits, "cap_drop": ["ALL"]}

    with connected(podman_engine) as api:
        components = [component["Name"] for component in api.version()["Components"]]
        found = output_of(api, Images().busybox, "sh", "-c", "id -u; ulimit -s", user="12345:12345", host=host)

    assert "Podman Engine" in components
    assert found.split() == ["12345", "unlimited"]


def test_root_in_a_container_of_a_rootless_engine_is_its_user(rootless_engine: engines.RootlessEngine) -> None:
    workspace = rootless_engine.home / "workspace"
    workspace.mkdir()
    os.chown(workspace, rootless_engine.uid, rootless_engine.gid)
    mount = docker.types.Mount("/mounted", str(workspace), type="bind")

    with connected(rootless_engine.address) as api:
        found = output_of(api, Images().busybox, "sh", "-c", "id -u; touch /mounted/here", host={"mounts": [mount]})
        security = api.info()["SecurityOptions"]

    assert "name=rootless" in security
    assert found == "0\n"
    assert (workspace / "here").stat().st_uid == rootless_engine.uid != 0
