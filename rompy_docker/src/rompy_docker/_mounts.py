"""Read ``source:target[:options]``, the form of ``docker run --volume``. Text in, values out; the disk is not asked."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import attrs

from rompy_core import fields

_ACCESS: Final = ("ro", "rw")
_LABELS: Final = ("z", "Z")
_PROPAGATION: Final = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_OTHERS: Final = ("nocopy",)
_KNOWN: Final = (*_ACCESS, *_LABELS, *_PROPAGATION, *_OTHERS)
_NAME_BEGINS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_NAME_GOES_ON: Final = _NAME_BEGINS | set("_.-")


@attrs.frozen(kw_only=True)
class VolumeSpec:
    """One volume, as it was asked for.

    Attributes:
        source: A path of the host as it was written, or the name of a volume.
        target: The absolute path in the container.
        is_path: Whether *source* is a path of the host.
        read_only: Whether the container may not write it.
        label: ``z`` (shared) or ``Z`` (private) to have SELinux allow it, or ``None``.
        propagation: How later mounts below it propagate, or ``None`` for the engine's way.
        no_copy: Whether a new named volume stays empty, instead of beginning with what the image has there.
    """

    source: str
    target: PurePosixPath
    is_path: bool
    read_only: bool = False
    label: Literal["z", "Z"] | None = None
    propagation: str | None = None
    no_copy: bool = False

    def host_path(self) -> Path:
        """Give the path on the host: relative ones are taken from this process's directory, ``~`` is the user's."""
        return Path(os.path.abspath(Path(self.source).expanduser()))  # noqa: PTH100 - resolve() would follow symbolic links


def parse_volume(text: str) -> VolumeSpec:
    """Read one volume.

    As ``docker run --volume``: a source without a slash is the name of a volume, anything else a path; unlike there, a
    relative path need not begin with a dot.

    Raises:
        ValueError: It is none; the sentence says what was found and what to do.
    """
    if not fields.is_os_text(text):
        raise ValueError(f"holds what no operating system takes, such as a NUL character: {text!r}")
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"must be 'source:target' or 'source:target:options', found {text!r}")
    source, target = parts[0], PurePosixPath(parts[1])
    if not target.is_absolute() or ".." in target.parts or len(target.parts) < 2:
        raise ValueError(f"the target must be an absolute path in the container below '/', found {parts[1]!r}")
    return _with_options(text, source, target, parts[2].split(",") if len(parts) == 3 else [])


def _with_options(text: str, source: str, target: PurePosixPath, options: list[str]) -> VolumeSpec:
    unknown = [option for option in options if option not in _KNOWN]
    if unknown:
        raise ValueError(f"unknown option {unknown[0]!r} of {text!r}; known: {', '.join(_KNOWN)}")
    for choice in (_ACCESS, _LABELS, _PROPAGATION):
        if sum(option in choice for option in options) > 1:
            raise ValueError(f"only one of {', '.join(choice)} at once, found {text!r}")
    is_path = "/" in source or source in (".", "..") or source.startswith("~")
    if not is_path and not (source[0] in _NAME_BEGINS and set(source) <= _NAME_GOES_ON):
        raise ValueError(f"{source!r} is no name for a volume; for a path of the host write './{source}'")
    if "nocopy" in options and is_path:
        raise ValueError(f"'nocopy' is for named volumes, found {text!r}")
    propagation = next((option for option in options if option in _PROPAGATION), None)
    if propagation and not is_path:
        raise ValueError(f"{propagation!r} is for paths of the host, found {text!r}")
    return VolumeSpec(
        source=source,
        target=target,
        is_path=is_path,
        read_only="ro" in options,
        label="z" if "z" in options else "Z" if "Z" in options else None,
        propagation=propagation,
        no_copy="nocopy" in options,
    )
