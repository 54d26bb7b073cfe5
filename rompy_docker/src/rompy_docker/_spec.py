"""From options to what the engine is asked for. Values in, values out: neither the engine nor the disk is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import attrs

from rompy_docker._config import DockerConfig
from rompy_docker._engine import EngineFacts
from rompy_docker._mounts import VolumeSpec

_ROOT: Final = "0:0"
_NANO: Final = 10**9
_UNLIMITED: Final = -1


@attrs.frozen(kw_only=True)
class ContainerSpec:
    """One container, before it exists.

    Attributes:
        arguments: What the SDK's ``create_container`` takes; ``host_config`` holds the limits and mounts.
        argv: The words that are run; none where the image itself knows.
        copies: The directories that are copied in, because the engine cannot mount them.
        warnings: What cannot be had as it was asked for, one sentence each.
    """

    arguments: Mapping[str, Any] = attrs.field(repr=False)
    argv: Sequence[str]
    copies: Sequence[VolumeSpec]
    warnings: Sequence[str]


def container_spec(
    config: DockerConfig,
    argv: Sequence[str],
    *,
    image_id: str,
    facts: EngineFacts,
    workspace_dir: Path,
    is_copied: bool,
    labels: Mapping[str, str],
) -> ContainerSpec:
    """Say what to ask the engine for.

    Args:
        config: The options.
        argv: The words to run; none for those of the image.
        image_id: The image.
        facts: What the engine can do.
        workspace_dir: The workspace, absolute.
        is_copied: Whether the workspace and the volumes of the host are copied in instead of mounted.
        labels: What the container says about itself.
    """
    workspace = VolumeSpec(
        source=str(workspace_dir),
        target=PurePosixPath(config.workspace_mount),
        is_path=True,
        label="z" if facts.has_selinux else None,
    )
    volumes = [workspace, *config.mounts]
    copies = [volume for volume in volumes if volume.is_path] if is_copied else []
    user = user_for(config, facts)
    warnings: list[str] = []
    host_config: dict[str, Any] = {
        "init": config.init,
        "network_mode": config.network,
        "shm_size": config.shm_size,
        "ulimits": _ulimits(config.ulimits),
        "cap_drop": list(config.cap_drop),
        "cap_add": list(config.cap_add),
        "security_opt": ["no-new-privileges"] if config.no_new_privileges else [],
        "read_only": config.read_only,
        "tmpfs": {"/tmp": "rw,mode=1777"} if config.read_only else None,  # noqa: S108 - the container's own
        # The output goes to our files. The engine's log of it would cost twice the time and fill its disk.
        "log_config": {"Type": "none", "Config": {}},
        "device_requests": _gpus(config.gpus),
        **_limits(config, facts, warnings),
        **_mounts([volume for volume in volumes if volume not in copies], copies, facts),
    }
    arguments: dict[str, Any] = {
        "image": image_id,
        "environment": _environment(config, user, facts),
        "user": user,
        "working_dir": config.start_dir,
        "labels": dict(labels),
        "platform": config.platform,
        "host_config": host_config,
        **_command(config, argv),
    }
    return ContainerSpec(arguments=arguments, argv=argv, copies=copies, warnings=warnings)


def user_for(config: DockerConfig, facts: EngineFacts) -> str | None:
    """Give who runs the command, as ``uid:gid`` or by names; ``None`` for whom the image says.

    Root in a container of a rootless engine is the user that the engine runs as, and files that any other one writes
    belong to a number that the user cannot even delete.
    """
    if config.user == "image":
        return None
    if config.user is not None:
        return config.user
    return _ROOT if facts.is_rootless else f"{os.getuid()}:{os.getgid()}"


def _command(config: DockerConfig, argv: Sequence[str]) -> dict[str, Any]:
    if not argv or config.use_entrypoint:
        return {"entrypoint": None, "command": list(argv) or None}
    return {"entrypoint": [argv[0]], "command": list(argv[1:])}


def _limits(config: DockerConfig, facts: EngineFacts, warnings: list[str]) -> dict[str, Any]:
    asked = {"memory": config.memory, "cpu": config.cpu, "pids_limit": config.pids_limit}
    for name, value in asked.items():
        if value is not None and name in facts.cannot:
            warnings.append(f"{name} is not limited: this engine ({facts.name} {facts.version}) cannot limit it here")
            asked[name] = None
    cpu = asked["cpu"]
    if cpu is not None and cpu > facts.cpus:
        warnings.append(f"cpu is {cpu}, but the engine's host has {facts.cpus} processors: limited to these")
        cpu = facts.cpus
    return {
        "mem_limit": asked["memory"],
        "memswap_limit": asked["memory"],  # memory and swap together: no swap above the limit
        "nano_cpus": cpu * _NANO if cpu is not None else None,
        "pids_limit": asked["pids_limit"],
    }


def _ulimits(ulimits: Mapping[str, int]) -> list[dict[str, Any]]:
    limits = {"stack": _UNLIMITED, **ulimits}
    return [{"Name": name, "Soft": limit, "Hard": limit} for name, limit in limits.items()]


def _gpus(gpus: str | int | tuple[str, ...] | None) -> list[dict[str, Any]] | None:
    if gpus is None:
        return None
    request: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]], "Options": {}}
    if isinstance(gpus, tuple):
        return [request | {"Count": 0, "DeviceIDs": list(gpus)}]
    return [request | {"Count": _UNLIMITED if gpus == "all" else gpus, "DeviceIDs": []}]


def _mounts(volumes: Sequence[VolumeSpec], copies: Sequence[VolumeSpec], facts: EngineFacts) -> dict[str, Any]:
    """Give mounts where they can say it, binds where not, and volumes without a name for what is copied in.

    A mount of a missing path is an error, a bind makes the path, as root; but only a bind can ask for SELinux labels,
    and Podman (4.3) takes no comma in a mount.
    Both are lists: the SDK's dictionary by host path would lose one of two mounts of the same folder.
    """
    binds = [volume for volume in volumes if volume.label or (facts.name == "podman" and _has_comma(volume))]
    return {
        "mounts": [*(_mount(volume) for volume in volumes if volume not in binds), *map(_empty_volume, copies)],
        "binds": [_bind(volume) for volume in binds],
    }


def _has_comma(volume: VolumeSpec) -> bool:
    return "," in f"{volume.host_path() if volume.is_path else ''}{volume.target}"


def _mount(volume: VolumeSpec) -> dict[str, Any]:
    mount: dict[str, Any] = {
        "Type": "bind" if volume.is_path else "volume",
        "Source": str(volume.host_path()) if volume.is_path else volume.source,
        "Target": str(volume.target),
        "ReadOnly": volume.read_only,
    }
    if volume.propagation:
        mount["BindOptions"] = {"Propagation": volume.propagation}
    if volume.no_copy:
        mount["VolumeOptions"] = {"NoCopy": True}
    return mount


def _empty_volume(volume: VolumeSpec) -> dict[str, Any]:
    """Give a volume that is removed with the container, and does not begin with what the image has there."""
    return {"Type": "volume", "Source": None, "Target": str(volume.target), "VolumeOptions": {"NoCopy": True}}


def _bind(volume: VolumeSpec) -> str:
    source = str(volume.host_path()) if volume.is_path else volume.source
    access = "ro" if volume.read_only else "rw"
    options = [access, volume.label, volume.propagation, "nocopy" if volume.no_copy else None]
    return f"{source}:{volume.target}:{','.join(option for option in options if option)}"


def _environment(config: DockerConfig, user: str | None, facts: EngineFacts) -> dict[str, str]:
    env: dict[str, str] = {}
    if user is not None:
        # A number without a name gets HOME=/, which it cannot write. The workspace is the one place that it can.
        env["HOME"] = config.workspace_mount
    if config.mpiexec is not None:
        env |= _mpi_environment(config.cpu or 1, facts.cpus)
    elif config.cpu is not None:
        env["OMP_NUM_THREADS"] = str(config.cpu)
    return env | dict(config.env_vars)


def _mpi_environment(ranks: int, cpus: int) -> dict[str, str]:
    """Give what Open MPI needs in a container; MPICH and others read none of it.

    It refuses to start as root unless both variables say so (its ``plm_base`` code), its ranks read one another's
    memory by calls that containers block (open-mpi issue 4948), and it counts processors, not ranks, as slots.
    """
    env = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    }
    if ranks > cpus:
        env["OMPI_MCA_rmaps_base_oversubscribe"] = "true"
    return env
