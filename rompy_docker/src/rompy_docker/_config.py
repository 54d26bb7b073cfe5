"""The options of the docker backend."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Final, Literal, cast

import attrs

from rompy_core import BackendConfig, ConfigError, fields
from rompy_docker._mounts import VolumeSpec, parse_volume

_USER: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?"
_LIMIT: Final = r"[a-z]+"
_LEAST_MEMORY: Final = 6 * 2**20
_ENOUGH_MEMORY: Final = fields.Format(
    "rompy-container-memory", lambda size: (fields.to_bytes(size) or 0) >= _LEAST_MEMORY
)
_OPERATORS: Final = frozenset("();<>|&")


def _to_limits(value: object) -> Any:
    table = fields.to_table(value)
    if not isinstance(table, dict):
        return table
    return {name: -1 if limit == "unlimited" else limit for name, limit in cast("dict[object, object]", table).items()}


fields.adds(_to_limits)


@fields.accepts(
    {
        "type": "object",
        "propertyNames": {"pattern": fields.whole_match(_LIMIT)},
        "additionalProperties": {
            "anyOf": [
                {"enum": ["unlimited"]},
                {"type": "integer", "minimum": -1, "exclusiveMaximum": 2**63, "format": fields.WHOLE},
            ]
        },
    }
)
def _limits(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of limits, found {type(value).__name__}")  # noqa: TRY004 - one kind of error for all options
    wrong: list[str] = []
    for name, limit in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not re.fullmatch(_LIMIT, name):
            wrong.append(f"[{name!r}]: is no name of a limit, such as 'stack' or 'nofile'")
        elif not isinstance(limit, int) or isinstance(limit, bool) or not -1 <= limit < 2**63:
            wrong.append(f"[{name!r}]: must be a whole number, or 'unlimited', found {limit!r}")
    if wrong:
        raise ConfigError("ulimits", wrong)


@fields.accepts(
    {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "format": fields.Format("rompy-volume", parse_volume)},
    }
)
def _volumes(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    fields.names(None, __, value)
    wrong: list[str] = []
    for number, text in enumerate(cast("tuple[str, ...]", value)):
        try:
            parse_volume(text)
        except ValueError as exc:
            wrong.append(f"[{number}]: {exc}")
    if wrong:
        raise ConfigError("volumes", wrong)


@fields.accepts({"type": "string", "pattern": r"\S"}, "rompy-words")
def _line(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    fields.command(None, __, value)
    split_words(cast("str", value))


@fields.accepts({"anyOf": [_line, fields.WORDS]})
def _words(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    check = _line if isinstance(value, str) else fields.command
    check(None, __, value)


@fields.accepts({"type": "string", "pattern": fields.whole_match(_USER)})
def _user(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not re.fullmatch(_USER, value):
        raise ValueError(f"must be 'uid:gid', or names, or 'image' for the image's own, found {value!r}")


@fields.accepts({"type": "string", "pattern": "^/"}, "rompy-mount-point")
def _mount_point(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    path = PurePosixPath(value) if isinstance(value, str) and fields.is_os_text(value) else PurePosixPath()
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2 or ":" in str(path):
        raise ValueError(f"must be an absolute path in the container below '/', without ':', found {value!r}")


@fields.accepts(
    {"anyOf": [{"enum": ["all"]}, fields.positive_whole, {"type": "array", "minItems": 1, "items": fields.text}]}
)
def _gpus(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, tuple):
        if not value:
            raise ValueError("must not be an empty list; leave it out for none")
        fields.names(None, __, cast("tuple[object, ...]", value))
    elif value != "all":
        fields.positive_whole(None, __, value)


@fields.accepts({"type": "string", "minLength": 1}, "rompy-image")
def _image(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value or re.search(r"\s", value) or not value.isprintable():
        raise ValueError(f"must be the name of an image, such as 'name:tag' or 'name@sha256:...', found {value!r}")


_OPTIONAL_TEXT: Final = attrs.validators.optional(fields.text)


@attrs.frozen(kw_only=True)
class DockerConfig(BackendConfig):
    """How to run a program in a container. Times are seconds, sizes are bytes.

    A container ends with its command, and nothing of it stays: ``leftovers`` can only be ``kill``.

    Attributes:
        image: The image: ``name``, ``name:tag`` or ``name@sha256:...``.
        dockerfile: In place of ``image``: a Dockerfile to build it from; relative to ``build_context`` where that is
            given, else to the caller's directory.
        build_context: The directory whose files the build may copy; without it, that of the Dockerfile.
        build_args: ``ARG`` values of the build. Values appear in no ``repr``, log, record or error.
        executable: What to run: words, or a string that is split as a shell would; no shell runs it. Without it, the
            model config's ``command``, else what the image itself runs.
        use_entrypoint: Whether the words are handed to the image's own entrypoint, as ``docker run`` does; else they
            are run as they are.
        mpiexec: Runs ``<mpiexec> -n <cpu> <executable>``.
        cpu: How many processors it may use, and how many ranks ``mpiexec`` starts; more than the host has is clamped
            for the limit, with a warning. Without ``mpiexec`` also sets ``OMP_NUM_THREADS`` unless that is set.
        volumes: ``source:target[:options]`` as ``docker run --volume`` takes it: a path of the host, relative to the
            caller's directory, or the name of a volume; ``ro``, ``z``, ``Z`` and more, separated by commas.
        workspace_mount: Where the workspace is in the container.
        transfer: How the workspace gets there: ``mount`` it, ``copy`` it in and its files out again, or ``auto``: copy
            where the engine is reached by a network.
        user: ``uid:gid`` or names; ``image`` for the image's own. Without it, the caller's; with a rootless engine,
            whose root is the caller, root.
        network: ``none``, ``bridge``, ``host`` or the name of a network.
        pull: When to pull the image: where it is ``missing``, ``always``, or ``never``.
        platform: The platform of the image, such as ``linux/amd64``.
        remove_container: Whether the container is removed at the end.
        init: Whether the engine's init is process 1: it passes signals on and collects orphans.
        shm_size: Size of ``/dev/shm``, which MPI and others share memory by; the engine's default (``None``) of
            64 MB is too little for them.
        pids_limit: The most processes and threads at once.
        ulimits: Limits of each process by their names (``stack``, ``nofile``); ``unlimited`` is -1. ``stack`` is
            unlimited unless it is given, which Fortran models with large arrays need.
        read_only: Whether the image's files are read-only; ``/tmp`` is writable memory then.
        no_new_privileges: Whether no program can gain privileges (setuid).
        cap_drop: Capabilities to drop.
        cap_add: Capabilities to add.
        gpus: ``all``, a number of GPUs, or a list of their ids.
        sample_interval_s: The longest time between two samples of what it uses.
        engine: Address of the engine, as ``DOCKER_HOST`` has it (``unix:///run/podman/podman.sock``); without it, as
            the ``docker`` command finds it: by the environment and its context.
        engine_timeout: How long the engine may take to answer; after that it counts as lost.
        prepare_timeout: How long a pull or a build may take.
    """

    backend: ClassVar[str] = "docker@rompy-docker"

    image: str | None = attrs.field(default=None, validator=attrs.validators.optional(_image))
    dockerfile: Path | None = attrs.field(
        default=None, converter=fields.to_path, validator=attrs.validators.optional(fields.path)
    )
    build_context: Path | None = attrs.field(
        default=None, converter=fields.to_path, validator=attrs.validators.optional(fields.path)
    )
    build_args: Mapping[str, str] = attrs.field(
        factory=dict[str, str],
        converter=fields.to_table,
        validator=fields.environment,
        repr=fields.names_only,
        metadata={"secret": True},
    )
    executable: str | tuple[str, ...] | None = attrs.field(
        default=None, converter=fields.to_words, validator=attrs.validators.optional(_words)
    )
    use_entrypoint: bool = attrs.field(default=False, validator=fields.flag)
    mpiexec: str | tuple[str, ...] | None = attrs.field(
        default=None, converter=fields.to_words, validator=attrs.validators.optional(_words)
    )
    cpu: int | None = attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))
    volumes: tuple[str, ...] = attrs.field(default=(), converter=fields.to_words, validator=_volumes)
    workspace_mount: str = attrs.field(default="/app/run_id", validator=_mount_point)
    transfer: Literal["auto", "mount", "copy"] = attrs.field(
        default="auto", validator=fields.one_of("auto", "mount", "copy")
    )
    user: str | None = attrs.field(default=None, validator=attrs.validators.optional(_user))
    network: str = attrs.field(default="none", validator=fields.text)
    pull: Literal["missing", "always", "never"] = attrs.field(
        default="missing", validator=fields.one_of("missing", "always", "never")
    )
    platform: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)
    remove_container: bool = attrs.field(default=True, validator=fields.flag)
    init: bool = attrs.field(default=True, validator=fields.flag)
    shm_size: int | None = attrs.field(
        default=cast("int | None", 2**30),  # mypy takes the default's type for that of the field
        converter=fields.to_bytes,
        validator=attrs.validators.optional(fields.positive_whole),
    )
    pids_limit: int | None = attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))
    ulimits: Mapping[str, int] = attrs.field(factory=dict[str, int], converter=_to_limits, validator=_limits)
    read_only: bool = attrs.field(default=False, validator=fields.flag)
    no_new_privileges: bool = attrs.field(default=True, validator=fields.flag)
    cap_drop: tuple[str, ...] = attrs.field(default=("ALL",), converter=fields.to_words, validator=fields.names)
    cap_add: tuple[str, ...] = attrs.field(default=(), converter=fields.to_words, validator=fields.names)
    gpus: Literal["all"] | int | tuple[str, ...] | None = attrs.field(
        default=None, converter=fields.to_words, validator=attrs.validators.optional(_gpus)
    )
    sample_interval_s: float = attrs.field(default=1.0, converter=fields.to_float, validator=fields.positive)
    engine: str | None = attrs.field(default=None, validator=_OPTIONAL_TEXT)
    engine_timeout: float = attrs.field(default=60.0, converter=fields.to_float, validator=fields.positive)
    prepare_timeout: float = attrs.field(default=3600.0, converter=fields.to_float, validator=fields.positive)

    @fields.accepts(
        {
            "oneOf": [
                {
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string"},
                        "dockerfile": {"type": "null"},
                        "build_context": {"type": "null"},
                        "build_args": {"maxProperties": 0},
                    },
                },
                {
                    "required": ["dockerfile"],
                    "properties": {"dockerfile": {"type": "string"}, "image": {"type": "null"}},
                },
            ],
            "if": {"required": ["mpiexec"], "properties": {"mpiexec": {"type": ["string", "array"]}}},
            "then": {"required": ["cpu"], "properties": {"cpu": {"type": "integer"}}},
            "properties": {
                "leftovers": {"const": "kill"},
                "memory": {"minimum": _LEAST_MEMORY, "format": _ENOUGH_MEMORY},
            },
        }
    )
    def __attrs_post_init__(self) -> None:
        problems: list[str] = []
        if (self.image is None) == (self.dockerfile is None):
            found = "neither" if self.image is None else "both"
            problems.append(f"image: either an image or a dockerfile is required, found {found}")
        if self.dockerfile is None:
            problems += [
                f"{name}: needs a dockerfile" for name in ("build_context", "build_args") if getattr(self, name)
            ]
        if self.mpiexec is not None and self.cpu is None:
            problems.append("cpu: is required with mpiexec, as its number of ranks")
        if self.leftovers != "kill":
            problems.append(f"leftovers: must be 'kill', for a container ends whole; found {self.leftovers!r}")
        if self.memory is not None and self.memory < _LEAST_MEMORY:
            problems.append(f"memory: must be at least 6m, as the engine demands; found {self.memory} bytes")
        if problems:
            raise ConfigError("DockerConfig", problems)

    @property
    def mounts(self) -> Sequence[VolumeSpec]:
        """What ``volumes`` asks for."""
        return [parse_volume(text) for text in self.volumes]

    @property
    def start_dir(self) -> str:
        """Where the command starts, in the container."""
        start = PurePosixPath(self.workspace_mount)
        return str(start / self.working_dir.as_posix()) if self.working_dir else str(start)

    def argv(self, command: str | Sequence[str] | None = None) -> list[str]:
        """Give the words to run; none where the image itself knows.

        Args:
            command: The command of the model run, in place of an ``executable`` that was not given.

        Raises:
            ValueError: *command* needs a shell.
        """
        words = to_words(self.executable if self.executable is not None else command)
        if self.mpiexec is None or not words:
            return words
        return [*to_words(self.mpiexec), "-n", str(self.cpu), *words]


def to_words(command: str | Sequence[str] | None) -> list[str]:
    """Give the words of a command as a config has it."""
    if command is None:
        return []
    return split_words(command) if isinstance(command, str) else list(command)


def split_words(line: str) -> list[str]:
    """Split as a shell would.

    Raises:
        ValueError: It cannot be split, or has an operator that only a shell understands.
    """
    try:
        words = shlex.split(line)
        # Not posix: there, the quotes that make an operator a mere word would be gone.
        tokens = shlex.shlex(line, posix=False, punctuation_chars=True)
        tokens.commenters = ""
        operator = next((token for token in tokens if set(token) <= _OPERATORS), None)
    except ValueError as exc:
        raise ValueError(f"cannot be split into words: {exc}") from None
    if operator is not None:
        raise ValueError(
            f"is run without a shell, so {operator!r} means nothing; for a shell of the image: ['sh', '-c', ...]"
        )
    if not words:
        raise ValueError("must have at least one word")
    return words
