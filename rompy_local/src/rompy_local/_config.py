"""The options of the local backend."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, cast

import attrs

from rompy_core import BackendConfig, ConfigError, fields

_SIGNALS: Final = sorted(number.name for number in frozenset(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})


@fields.accepts({"anyOf": [{"enum": ["all", "none"]}, fields.names]})
def _inherit_env(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if value not in ("all", "none"):
        fields.names(None, __, value)


def _to_stack(value: object) -> int | Literal["unlimited"] | None:
    return "unlimited" if value == "unlimited" else fields.to_bytes(value)


fields.adds(_to_stack, fields.SIZE)


@fields.accepts({"anyOf": [{"enum": ["unlimited"]}, fields.positive_whole]})
def _stack(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if value != "unlimited":
        fields.positive_whole(None, __, value)


@fields.accepts({"type": "integer", "minimum": 0, "maximum": 19, "format": fields.WHOLE})
def _nice(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 19:
        raise ValueError(f"must be a whole number from 0 to 19, found {value!r}")


def _to_signal(value: object) -> Any:
    return f"SIG{value.upper().removeprefix('SIG')}" if isinstance(value, str) and value.isascii() else value


_SIGNAL: Final = fields.Format("rompy-signal", lambda word: _to_signal(word) in _SIGNALS)
fields.adds(_to_signal, {"type": "string", "format": _SIGNAL})


def _to_paths(value: object) -> Any:
    return tuple(map(fields.to_path, cast("Sequence[object]", value))) if isinstance(value, list | tuple) else value


fields.adds(_to_paths)


@fields.accepts({"type": "array", "items": fields.path})
def _paths(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple):
        raise ValueError(f"must be a list of paths, found {value!r}")  # noqa: TRY004 - one kind of error for all options
    for item in cast("tuple[object, ...]", value):
        fields.path(None, __, item)


@fields.accepts({"enum": _SIGNALS})
def _stop_signal(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if value not in _SIGNALS:
        raise ValueError(f"must be the name of a signal that can be caught, such as 'TERM', found {value!r}")


@attrs.frozen(kw_only=True)
class LocalConfig(BackendConfig):
    """How to run a command on this machine. Times are seconds, sizes are bytes.

    Attributes:
        command: A string is a shell command line (``/bin/sh``), a list of words runs without a shell. Without it, the
            model config's ``command`` is used, else its ``run(model_run)`` is called in a process of its own.
        inherit_env: Which variables the run gets from this process: ``all``, ``none``, or a list of names.
        cpu: How many processors it may use, by affinity; also sets ``OMP_NUM_THREADS`` unless that is set.
        cpu_time_limit: Limit for the user and system time of the whole process tree.
        max_processes: The most processes that it may have at once.
        stack_limit: Stack size of each process; ``unlimited`` is what Fortran models with large arrays need.
        file_size_limit: The largest file that it may write.
        nice: What is added to its niceness.
        stop_signal: The signal that asks it to end.
        isolation: ``bwrap`` runs the command in isolation by bubblewrap: the workspace is writable, the rest of the
            file system is not, ``/tmp`` is private.
        writable: With isolation: further paths that it may write; relative to the workspace.
        read_only: With isolation: paths that it may not write although they are below a writable one.
        network: With isolation: whether it has the network.
        cgroup: A cgroup v2 that was delegated to you and has no processes of its own: the run gets one of its own below
            it, where the kernel keeps ``memory`` and counts exactly. Without it, ``memory`` is kept by watching.
        measure_pss: Also sample the proportional set size, which counts shared pages once; slow for large processes.
        sample_interval_s: The longest time between two samples; they begin at 0.05 s.
    """

    backend: ClassVar[str] = "local@rompy-local"

    command: str | tuple[str, ...] | None = attrs.field(
        default=None, converter=fields.to_words, validator=attrs.validators.optional(fields.command)
    )
    inherit_env: Literal["all", "none"] | tuple[str, ...] = attrs.field(
        default="all", converter=fields.to_words, validator=_inherit_env
    )
    cpu: int | None = attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))
    cpu_time_limit: float | None = attrs.field(
        default=None, converter=fields.to_float, validator=attrs.validators.optional(fields.positive)
    )
    max_processes: int | None = attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))
    stack_limit: int | Literal["unlimited"] | None = attrs.field(
        default=None, converter=_to_stack, validator=attrs.validators.optional(_stack)
    )
    file_size_limit: int | None = attrs.field(
        default=None, converter=fields.to_bytes, validator=attrs.validators.optional(fields.positive_whole)
    )
    nice: int = attrs.field(default=0, validator=_nice)
    stop_signal: str = attrs.field(default="SIGTERM", converter=_to_signal, validator=_stop_signal)
    isolation: Literal["bwrap"] | None = attrs.field(
        default=None, validator=attrs.validators.optional(fields.one_of("bwrap"))
    )
    writable: tuple[Path, ...] = attrs.field(default=(), converter=_to_paths, validator=_paths)
    read_only: tuple[Path, ...] = attrs.field(default=(), converter=_to_paths, validator=_paths)
    network: bool = attrs.field(default=True, validator=fields.flag)
    cgroup: Path | None = attrs.field(
        default=None, converter=fields.to_path, validator=attrs.validators.optional(fields.path)
    )
    measure_pss: bool = attrs.field(default=False, validator=fields.flag)
    sample_interval_s: float = attrs.field(default=1.0, converter=fields.to_float, validator=fields.positive)

    @fields.accepts(
        {
            "if": {"properties": {"isolation": {"const": "bwrap"}}, "required": ["isolation"]},
            "then": {"properties": {"leftovers": {"const": "kill"}}},
            "else": {
                "properties": {"writable": {"maxItems": 0}, "read_only": {"maxItems": 0}, "network": {"const": True}}
            },
        }
    )
    def __attrs_post_init__(self) -> None:
        if self.isolation is None:
            asked = {"writable": self.writable, "read_only": self.read_only, "network": not self.network}
            problems = [f"{name}: needs isolation='bwrap'" for name, is_asked in asked.items() if is_asked]
        else:
            wrong = f"leftovers: must be 'kill' with isolation, which ends them at once; found {self.leftovers!r}"
            problems = [wrong] if self.leftovers != "kill" else []
        if problems:
            raise ConfigError("LocalConfig", problems)

    @property
    def argv(self) -> Sequence[str] | None:
        """The words to execute, or ``None`` where no command was given."""
        return to_argv(self.command)

    def start_dir(self, workspace_dir: Path) -> Path:
        """Where the command starts."""
        return workspace_dir / self.working_dir if self.working_dir else workspace_dir


def to_argv(command: str | Sequence[str] | None) -> Sequence[str] | None:
    """Give the words to execute for a command as a config has it."""
    return ["/bin/sh", "-c", command] if isinstance(command, str) else command
