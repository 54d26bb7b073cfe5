"""Where the engine cannot mount what is on this machine: which directories are copied in, and back out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from rompy_docker._engine import Engine
from rompy_docker._mounts import VolumeSpec
from rompy_docker._transfer import Copied, TransferError, copy_in, copy_out

_RECORDS: Final = ".rompy"


def refuse_uncopied(volumes: Sequence[VolumeSpec], user: str | None, image: Mapping[str, Any]) -> tuple[int, int]:
    """Refuse what cannot be copied in, before there is a container; give whose the copies will be.

    Args:
        volumes: What is to be copied.
        user: Who runs the command, ``None`` for whom the image says.
        image: What the engine knows of the image.

    Returns:
        The numbers of the user and of the group.

    Raises:
        TransferError: A volume is a single file, or only the image knows the user's numbers.
    """
    for volume in volumes:
        if not volume.host_path().is_dir():
            found = str(volume.host_path())
            raise TransferError(f"{found!r} is no directory: an engine elsewhere gets copies of whole directories only")
    settings: Mapping[str, Any] = image.get("Config") or {}
    words = (settings.get("User") or "0:0") if user is None else user
    uid, _, gid = str(words).partition(":")
    if not uid.isdigit() or not (gid or "0").isdigit():
        raise TransferError(
            f"the user {str(words)!r} is a name, and whose the files are to be that are copied to an engine elsewhere "
            "must be known by numbers: give user='uid:gid'"
        )
    return int(uid), int(gid or 0)


def copied_in(
    engine: Engine, container: str, volumes: Sequence[VolumeSpec], owner: tuple[int, int], check: Callable[[], None]
) -> Sequence[Copied]:
    """Copy directories into a container that has not been started; see ``copy_in``."""
    trees = [
        Copied(
            volume.host_path(),
            str(volume.target),
            read_only=volume.read_only,
            skip=(_RECORDS, *_below(volume.target, [other.target for other in volumes])),
        )
        for volume in volumes
    ]
    for tree in trees:
        copy_in(engine, container, tree, uid=owner[0], gid=owner[1], check=check)
    return trees


def copied_out(engine: Engine, container: str, trees: Sequence[Copied]) -> Sequence[str]:
    """Copy back what may have changed, and give warnings; see ``copy_out``."""
    writable = [tree for tree in trees if not tree.read_only]
    return [warning for tree in writable for warning in copy_out(engine, container, tree, check=lambda: None)]


def _below(target: PurePosixPath, others: Sequence[PurePosixPath]) -> Sequence[str]:
    """Give the others that lie below *target*, relative to it: an engine gives them out as a part of it."""
    return [str(other.relative_to(target)) for other in others if other != target and other.is_relative_to(target)]
