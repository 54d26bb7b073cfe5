"""The options of the Slurm backend."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, cast

import attrs

from rompy_core import BackendConfig, ConfigError, fields

_CLOCK: Final = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)", re.ASCII)
_OPTION: Final = re.compile(r"--([a-z][a-z-]*)(?:=(.*))?", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LINE: Final = re.compile(r"[^\x00-\x1f\x7f]+")
_OWN_OPTIONS: Final = {
    "account", "array", "chdir", "clusters", "comment", "constraint", "cpus-per-task", "error", "exclusive", "export",
    "export-file", "gres", "help", "input", "job-name", "mail-type", "mail-user", "mem", "no-requeue", "nodes",
    "ntasks", "ntasks-per-node", "open-mode", "output", "parsable", "partition", "qos", "quiet", "requeue",
    "reservation", "test-only", "time", "usage", "version", "wait", "wrap",
}  # fmt: skip
"""Options of ``sbatch`` that have a field here, or that the backend itself depends on."""
_OF_BASH: Final = {
    "BASHOPTS", "BASHPID", "BASH_ALIASES", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0", "BASH_CMDS", "BASH_COMMAND",
    "BASH_COMPAT", "BASH_LINENO", "BASH_MONOSECONDS", "BASH_SOURCE", "BASH_SUBSHELL", "BASH_VERSINFO", "BASH_XTRACEFD",
    "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO", "OLDPWD", "OPTIND",
    "PIPESTATUS", "PPID", "PWD", "RANDOM", "SECONDS", "SHELLOPTS", "SHLVL", "SRANDOM", "UID", "_",
}  # fmt: skip
"""Variables that bash does not pass on as they are set; some it computes, so that a value would be read as code."""


def _to_seconds(value: object) -> Any:
    """Read ``HH:MM:SS`` or ``D-HH:MM:SS``; leave the rest to the validator."""
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return fields.to_float(value)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


fields.adds(
    _to_seconds,
    {
        "type": "string",
        "pattern": fields.whole_match(r"([0-9]+-)?[0-9]+:[0-5]?[0-9]:[0-5]?[0-9]"),
        "format": fields.Format("rompy-time-limit", lambda text: _to_seconds(text) > 0),
    },
)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and _LINE.fullmatch(value) is not None and fields.is_os_text(value)


@fields.accepts({"type": "string", "minLength": 1}, "rompy-line")
def _line(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept text of one line: an option of Slurm is one word of its command line."""
    if not _is_line(value):
        raise ValueError(f"must be text of one line, without control characters, found {value!r}")


@fields.accepts({"type": "array", "items": _line})
def _lines(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple):
        raise ValueError(f"must be a list of lines, found {value!r}")  # noqa: TRY004 - one kind of error for all options
    items = cast("tuple[object, ...]", value)
    wrong = [n for n, item in enumerate(items) if not _is_line(item)]
    if wrong:
        problems = [f"[{n}]: must be text of one line, without control characters, found {items[n]!r}" for n in wrong]
        raise ConfigError("lines", problems)


def _to_list(value: object) -> Any:
    """Take one word for a list of it."""
    return (value,) if isinstance(value, str) else fields.to_words(value)


fields.adds(_to_list, {"type": "string", "minLength": 1, "format": fields.Format("rompy-mail-type", _is_line)})


def _options_among(items: Sequence[str]) -> None:
    """Refuse what is no option of ``sbatch``, or one that is not the user's to give."""
    problems: list[str] = []
    for n, item in enumerate(items):
        match = _OPTION.fullmatch(item)
        if match is None:
            problems.append(f"[{n}]: must be a long option of sbatch, such as '--nice=100', found {item!r}")
        elif match[1] in _OWN_OPTIONS:
            problems.append(f"[{n}]: --{match[1]} is what an option of its own is for, or the backend's own matter")
        elif meant := next((own for own in sorted(_OWN_OPTIONS) if own.startswith(match[1])), ""):
            problems.append(f"[{n}]: --{match[1]} is read as --{meant} by sbatch; write out the option that is meant")
    if problems:
        raise ConfigError("additional_options", problems)


@fields.accepts(
    {
        "type": "array",
        "items": {
            "allOf": [
                _line,
                {
                    "type": "string",
                    "pattern": fields.whole_match(_OPTION.pattern),
                    "format": fields.Format("rompy-sbatch-option", lambda item: _options_among([item])),
                },
            ]
        },
    }
)
def _options(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    _lines(None, __, value)
    _options_among(cast("tuple[str, ...]", value))


def _has_one_queue(options: Mapping[str, object]) -> bool:
    queue, partition = options.get("queue"), options.get("partition")
    return queue is None or partition in (None, queue)


_ONE_QUEUE: Final = fields.Format("rompy-one-queue", _has_one_queue, dict)


def _optional_text() -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(_line))


def _optional_count() -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))


@attrs.frozen(kw_only=True)
class SlurmConfig(BackendConfig):
    """How to run a command as a job of a Slurm cluster. Times are seconds, sizes are bytes.

    The limits of ``BackendConfig`` are kept inside the job by the supervisor of ``rompy-local``, where that is
    installed for ``python``; the usage that it measures is that of the job's first node. An option that is left out is
    not passed to ``sbatch``, so the defaults are the cluster's.

    Attributes:
        timeout: Wall-clock limit of the command once it runs, or ``None`` for ``time_limit`` alone.
        command: A string is a shell command line (``/bin/sh``), a list of words runs without a shell. Without it, the
            model config's ``command`` is used.
        partition: As ``--partition``.
        queue: Another name of ``partition``, as other systems have it.
        nodes: As ``--nodes``.
        ntasks: As ``--ntasks``.
        ntasks_per_node: As ``--ntasks-per-node``.
        cpus_per_task: As ``--cpus-per-task``; also sets ``OMP_NUM_THREADS`` unless that is set.
        mem: Memory for each node, as ``--mem``; without it, ``memory`` and a little for the supervisor.
        time_limit: The job's own limit, as ``--time``: seconds, ``HH:MM:SS`` or ``D-HH:MM:SS``; Slurm rounds it up to
            minutes. Without it, ``timeout`` and ``grace_s`` and a minute more.
        account: As ``--account``.
        qos: As ``--qos``.
        reservation: As ``--reservation``.
        constraint: As ``--constraint``.
        gres: As ``--gres``.
        exclusive: As ``--exclusive``.
        cluster: As ``--clusters``, with one name.
        job_name: As ``--job-name``; without it, the run's identifier.
        mail_type: As ``--mail-type``.
        mail_user: As ``--mail-user``.
        modules: Loaded on the node before the command, each as ``module load`` takes it.
        setup: Lines of bash that are executed before the command, after the modules; verbatim. Where one fails, the
            run does.
        launcher: What starts the command's tasks.
        launcher_args: Words between the launcher and the command.
        additional_options: Further options of ``sbatch``, such as ``--nice=100``.
        queue_timeout: How long the job may wait until it begins; then it is cancelled. Kept by whoever watches it.
        requeue: Whether Slurm may start the job again after its node failed or it was preempted.
        export: As ``--export``: what the job gets of the caller's environment.
        python: The Python interpreter inside the job, for the supervisor; without it, the caller's.
    """

    backend: ClassVar[str] = "slurm@rompy-slurm"

    timeout: float | None = attrs.field(
        default=None, converter=fields.to_float, validator=attrs.validators.optional(fields.positive)
    )
    command: str | tuple[str, ...] | None = attrs.field(
        default=None, converter=fields.to_words, validator=attrs.validators.optional(fields.command)
    )
    partition: str | None = _optional_text()
    queue: str | None = _optional_text()
    nodes: int | None = _optional_count()
    ntasks: int | None = _optional_count()
    ntasks_per_node: int | None = _optional_count()
    cpus_per_task: int | None = _optional_count()
    mem: int | None = attrs.field(
        default=None, converter=fields.to_bytes, validator=attrs.validators.optional(fields.positive_whole)
    )
    time_limit: float | None = attrs.field(
        default=None, converter=_to_seconds, validator=attrs.validators.optional(fields.positive)
    )
    account: str | None = _optional_text()
    qos: str | None = _optional_text()
    reservation: str | None = _optional_text()
    constraint: str | None = _optional_text()
    gres: str | None = _optional_text()
    exclusive: bool = attrs.field(default=False, validator=fields.flag)
    cluster: str | None = _optional_text()
    job_name: str | None = _optional_text()
    mail_type: tuple[str, ...] = attrs.field(default=(), converter=_to_list, validator=_lines)
    mail_user: str | None = _optional_text()
    modules: tuple[str, ...] = attrs.field(default=(), converter=fields.to_words, validator=_lines)
    setup: tuple[str, ...] = attrs.field(default=(), converter=fields.to_words, validator=_lines)
    launcher: Literal["none", "srun", "mpirun", "mpiexec"] = attrs.field(
        default="none", validator=fields.one_of("none", "srun", "mpirun", "mpiexec")
    )
    launcher_args: tuple[str, ...] = attrs.field(default=(), converter=fields.to_words, validator=_lines)
    additional_options: tuple[str, ...] = attrs.field(default=(), converter=fields.to_words, validator=_options)
    queue_timeout: float | None = attrs.field(
        default=None, converter=fields.to_float, validator=attrs.validators.optional(fields.positive)
    )
    requeue: bool = attrs.field(default=False, validator=fields.flag)
    export: Literal["ALL", "NONE"] = attrs.field(default="ALL", validator=fields.one_of("ALL", "NONE"))
    python: str | None = _optional_text()

    @fields.accepts(
        {
            "properties": {
                "env_vars": {
                    "propertyNames": {
                        "pattern": fields.whole_match(_VARIABLE.pattern),
                        "not": {"enum": sorted(_OF_BASH)},
                    }
                },
                "leftovers": {"enum": ["kill", "wait"]},
            },
            "not": {
                "required": ["memory", "nodes"],
                "properties": {"memory": {"not": {"type": "null"}}, "nodes": {"type": "integer", "minimum": 2}},
            },
            "if": {"properties": {"launcher": {"const": "none"}}},
            "then": {"properties": {"launcher_args": {"maxItems": 0}}},
            "format": _ONE_QUEUE,
        }
    )
    def __attrs_post_init__(self) -> None:
        problems = [
            f"env_vars[{name!r}]: must be letters, digits and _, for a shell sets it on the node"
            for name in self.env_vars
            if not _VARIABLE.fullmatch(name)
        ]
        problems += [
            f"env_vars[{name!r}]: is bash's own, which sets it on the node"
            for name in self.env_vars
            if name in _OF_BASH
        ]
        if not _has_one_queue({"queue": self.queue, "partition": self.partition}):
            problems.append(f"queue: is another name of partition, which is {self.partition!r}; give one of them")
        if self.leftovers == "leave":
            problems.append(
                "leftovers: 'leave' cannot be kept, for Slurm ends what is left of a job; use 'kill' or 'wait'"
            )
        if self.memory is not None and (self.nodes or 1) > 1:
            problems.append("memory: is watched on one node only; use mem, which Slurm keeps on each, with nodes > 1")
        if self.launcher == "none" and self.launcher_args:
            problems.append("launcher_args: need a launcher")
        if problems:
            raise ConfigError("SlurmConfig", problems)

    @property
    def minutes(self) -> int | None:
        """The limit that Slurm is to keep, whole minutes; ``None`` for that of the partition."""
        if self.time_limit is not None:
            return math.ceil(self.time_limit / 60)
        return None if self.timeout is None else math.ceil((self.timeout + self.grace_s) / 60) + 1

    @property
    def megabytes(self) -> int | None:
        """The memory to ask for on each node, MB; ``None`` for the cluster's default."""
        if self.mem is not None:
            return math.ceil(self.mem / 2**20)
        return None if self.memory is None else math.ceil(self.memory / 2**20) + SUPERVISOR_MB

    @property
    def kept_inside(self) -> Sequence[str]:
        """The options that nobody but the supervisor inside the job can keep."""
        asked: Mapping[str, bool] = {
            "stall_timeout": self.stall_timeout is not None,
            "log_size_limit": self.log_size_limit is not None,
            "memory": self.memory is not None,
            "leftovers": self.leftovers != "kill",
        }
        return [name for name, is_asked in asked.items() if is_asked]

    def argv(self, command: str | Sequence[str] | None) -> Sequence[str]:
        """Give the words to execute on the node.

        Args:
            command: The model config's own, for a config without one.

        Returns:
            No words where there is no command at all.
        """
        given = self.command or command
        words = ["/bin/sh", "-c", given] if isinstance(given, str) else list(given or ())
        return [self.launcher, *self.launcher_args, *words] if words and self.launcher != "none" else words


SUPERVISOR_MB: Final = 64
"""What the processes of ours take inside a job, beside the command."""
