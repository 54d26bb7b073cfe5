from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rompy_docker import DockerConfig
from rompy_docker._engine import EngineAddress, EngineFacts, _facts, find_address
from rompy_docker._spec import ContainerSpec, container_spec

CALLER = f"{os.getuid()}:{os.getgid()}"


def _facts_of(**changes: Any) -> EngineFacts:
    known: dict[str, Any] = {
        "name": "docker", "version": "1", "cpus": 4, "is_rootless": False, "has_selinux": False, "cannot": frozenset(),
    }  # fmt: skip
    return EngineFacts(**known | changes)


def _spec(
    argv: tuple[str, ...] = ("model",), *, is_copied: bool = False, facts: Any = None, **options: Any
) -> ContainerSpec:
    return container_spec(
        DockerConfig(image="x", **options),
        argv,
        image_id="sha256:1",
        facts=facts or _facts_of(),
        workspace_dir=Path("/runs/storm"),
        is_copied=is_copied,
        labels={"a": "b"},
    )


def test_the_words_are_run_as_they_are() -> None:
    arguments = _spec(("model", "-v")).arguments

    assert (arguments["entrypoint"], arguments["command"]) == (["model"], ["-v"])


def test_the_images_own_entrypoint_is_used_where_asked_for_or_where_there_are_no_words() -> None:
    asked, no_words = _spec(("-v",), use_entrypoint=True).arguments, _spec(()).arguments

    assert (asked["entrypoint"], asked["command"]) == (None, ["-v"])
    assert (no_words["entrypoint"], no_words["command"]) == (None, None)


def test_the_workspace_is_mounted_where_the_command_starts() -> None:
    arguments = _spec(working_dir="grid", workspace_mount="/run").arguments

    assert arguments["working_dir"] == "/run/grid"
    assert arguments["host_config"]["mounts"] == [
        {"Type": "bind", "Source": "/runs/storm", "Target": "/run", "ReadOnly": False}
    ]


def test_the_same_folder_can_be_mounted_twice() -> None:
    mounts = _spec(volumes=["/d:/a:ro", "/d:/b", "/runs/storm:/c"]).arguments["host_config"]["mounts"]

    assert [(mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in mounts] == [
        ("/runs/storm", "/app/run_id", False), ("/d", "/a", True), ("/d", "/b", False), ("/runs/storm", "/c", False),
    ]  # fmt: skip


def test_labels_for_selinux_keep_the_mount_read_only() -> None:
    host_config = _spec(volumes=["/d:/a:ro,z", "grids:/g:Z"]).arguments["host_config"]

    assert host_config["binds"] == ["/d:/a:ro,z", "grids:/g:rw,Z"]
    assert len(host_config["mounts"]) == 1


def test_selinux_is_told_of_the_workspace_where_it_guards() -> None:
    host_config = _spec(facts=_facts_of(has_selinux=True)).arguments["host_config"]

    assert host_config["binds"] == ["/runs/storm:/app/run_id:rw,z"]


def test_what_cannot_be_mounted_is_copied_to_volumes_of_its_own() -> None:
    spec = _spec(is_copied=True, volumes=["/d:/a:ro", "grids:/g"])

    assert [(str(copy.host_path()), str(copy.target), copy.read_only) for copy in spec.copies] == [
        ("/runs/storm", "/app/run_id", False), ("/d", "/a", True),
    ]  # fmt: skip
    assert [
        (mount["Type"], mount["Source"], mount["Target"], "VolumeOptions" in mount)
        for mount in spec.arguments["host_config"]["mounts"]
    ] == [("volume", "grids", "/g", False), ("volume", None, "/app/run_id", True), ("volume", None, "/a", True)]


@pytest.mark.parametrize(
    ("user", "is_rootless", "expected"),
    [
        (None, False, CALLER),
        (None, True, "0:0"),
        ("1000:100", False, "1000:100"),
        ("1000:100", True, "1000:100"),
        ("image", False, None),
        ("image", True, None),
    ],
)
def test_the_user_is_the_caller_unless_another_is_asked_for(
    user: str | None, is_rootless: bool, expected: str | None
) -> None:
    assert _spec(user=user, facts=_facts_of(is_rootless=is_rootless)).arguments["user"] == expected


def test_the_home_is_where_the_user_can_write_unless_it_is_given() -> None:
    assert _spec().arguments["environment"]["HOME"] == "/app/run_id"
    assert _spec(env_vars={"HOME": "/x"}).arguments["environment"]["HOME"] == "/x"
    assert "HOME" not in _spec(user="image").arguments["environment"]


def test_limits_are_those_asked_for_and_no_swap_comes_on_top() -> None:
    host_config = _spec(memory="1g", cpu=2, pids_limit=50, shm_size="64m", ulimits={"nofile": 99}).arguments[
        "host_config"
    ]

    assert (host_config["mem_limit"], host_config["memswap_limit"]) == (2**30, 2**30)
    assert (host_config["nano_cpus"], host_config["pids_limit"]) == (2 * 10**9, 50)
    assert host_config["shm_size"] == 64 * 2**20
    assert host_config["ulimits"] == [
        {"Name": "stack", "Soft": -1, "Hard": -1}, {"Name": "nofile", "Soft": 99, "Hard": 99},
    ]  # fmt: skip


def test_more_processors_than_there_are_is_clamped_for_the_limit_and_said() -> None:
    spec = _spec(cpu=8, mpiexec="mpirun", facts=_facts_of(cpus=2))

    assert spec.arguments["host_config"]["nano_cpus"] == 2 * 10**9
    assert spec.arguments["environment"]["OMPI_MCA_rmaps_base_oversubscribe"] == "true"
    assert "cpu is 8" in spec.warnings[0]


def test_an_engine_that_cannot_limit_is_said_so() -> None:
    spec = _spec(cpu=1, memory="1g", facts=_facts_of(cannot=frozenset({"memory", "cpu"})))

    assert spec.arguments["host_config"]["mem_limit"] is None
    assert spec.arguments["host_config"]["nano_cpus"] is None
    assert [warning.split()[0] for warning in spec.warnings] == ["memory", "cpu"]


def test_threads_are_as_many_as_processors_unless_there_are_ranks() -> None:
    assert _spec(cpu=3).arguments["environment"]["OMP_NUM_THREADS"] == "3"
    assert _spec(cpu=3, env_vars={"OMP_NUM_THREADS": "1"}).arguments["environment"]["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in _spec(cpu=3, mpiexec="mpirun").arguments["environment"]


def test_it_is_hardened_unless_asked_otherwise() -> None:
    hardened = _spec(read_only=True).arguments["host_config"]
    open_one = _spec(cap_drop=(), cap_add=("SYS_NICE",), no_new_privileges=False).arguments["host_config"]

    assert (hardened["cap_drop"], hardened["security_opt"]) == (["ALL"], ["no-new-privileges"])
    assert (hardened["read_only"], list(hardened["tmpfs"])) == (True, ["/tmp"])
    assert (open_one["cap_drop"], open_one["cap_add"], open_one["security_opt"]) == ([], ["SYS_NICE"], [])


@pytest.mark.parametrize(("gpus", "count", "ids"), [("all", -1, []), (2, 2, []), (["0", "GPU-1"], 0, ["0", "GPU-1"])])
def test_gpus_are_asked_for_by_number_or_by_name(gpus: Any, count: int, ids: list[str]) -> None:
    (request,) = _spec(gpus=gpus).arguments["host_config"]["device_requests"]

    assert (request["Count"], request["DeviceIDs"], request["Capabilities"]) == (count, ids, [["gpu"]])


def test_what_an_engine_says_of_itself_is_understood() -> None:
    rootless = _facts(
        {"NCPU": 8, "SecurityOptions": ["name=seccomp", "name=rootless"], "MemoryLimit": False, "CpuCfsQuota": False,
         "PidsLimit": True},
        {"Version": "20.10", "Components": [{"Name": "Engine"}]},
    )  # fmt: skip
    podman = _facts(
        {"NCPU": 2, "SecurityOptions": ["name=selinux"]},
        {"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}]},
    )

    assert (rootless.is_rootless, rootless.cannot) == (True, {"memory", "cpu"})
    assert (podman.name, podman.has_selinux, podman.cannot) == ("podman", True, frozenset())


@pytest.mark.parametrize(
    ("url", "is_local"),
    [("unix:///run/docker.sock", True), ("tcp://10.0.0.1:2376", False), ("ssh://u@host", False), ("http://h:1", False)],
)
def test_an_engine_behind_a_network_is_not_local(url: str, is_local: bool) -> None:
    assert EngineAddress(url=url).is_local is is_local


def test_the_engine_is_the_given_one_or_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///elsewhere.sock")

    assert find_address("unix:///given.sock").url == "unix:///given.sock"
    assert find_address(None).url == "unix:///elsewhere.sock"
