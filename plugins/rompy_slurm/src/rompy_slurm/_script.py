"""From a config to the texts of the job and the words of ``sbatch``: values in, values out.

Nothing that a user wrote is read as shell code, but ``setup``, and ``command`` where it is a shell command line.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from rompy_slurm import _files
from rompy_slurm._config import SlurmConfig

ELEMENT: Final = "%A_%a"
"""How ``sbatch`` writes the number of an array's task in a path."""
_PROBE: Final = (
    "import importlib.util, sys; "
    "sys.exit(sys.version_info < (3, 11) or not all(map(importlib.util.find_spec, ('rompy_slurm', 'rompy_local'))))"
)
_BOOTSTRAP: Final = "from rompy_slurm._job import main; main()"
_ARRAY_BOOTSTRAP: Final = "from rompy_slurm._array_task import main; main()"
_ALL_TO_TASKS: Final = "unset SLURM_EXPORT_ENV\n"
"""``sbatch --export=NONE`` sets it, and ``srun`` would start its tasks without what the script has set."""
_MODULES: Final = """\
if ! type module >/dev/null 2>&1; then
    for init in "${MODULESHOME-}/init/bash" "${LMOD_PKG-}/init/bash" \\
        /etc/profile.d/*modules.sh /etc/profile.d/*lmod.sh; do
        if [ -r "$init" ]; then . "$init"; break; fi
    done
fi
"""
"""A job has the command ``module`` only if its environment brings it along."""

_JOB: Final = """\
#!/bin/sh
# A job of rompy-slurm: runs command.sh, which lies beside it, under a supervisor if there is one here.
record={record}
python={python}
kept_inside={kept_inside}
if [ -e "$record/withdrawn" ]; then exit 0; fi
if "$python" -P -c {probe} 2>/dev/null; then
    exec "$python" -P -c {bootstrap} "$record"
fi

leave() {{ # NAME WORD ...: leave a file of words, whole or not at all
    name=$1; shift
    printf '%s\\n' "$*" >"$record/.$name.$$" && mv "$record/.$name.$$" "$record/$name"
}}

job=$SLURM_JOB_ID restarts=${{SLURM_RESTART_COUNT:-0}}
leave begun "$job" "$restarts"
if [ -n "$kept_inside" ]; then
    leave exit "$job" "$restarts" refused 0 0
    exit 1
fi
rm -f "$record/exit"
asked=0 child=
trap 'asked=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM
begun=$(date +%s)
{timeout}/bin/bash "$record/command.sh" >>"$record/stdout.log" 2>>"$record/stderr.log" </dev/null &
child=$!
wait "$child"; code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
leave exit "$job" "$restarts" "$code" "$(($(date +%s) - begun))" "$asked"
exit "$code"
"""

_COMMAND: Final = """\
#!/bin/bash
set -eo pipefail
{setup}{threads}. {environment}
{forget}cd -- {start}
set +eo pipefail
exec {words}
"""
"""``rm`` is named by its path, for the environment may have a ``PATH`` of its own."""

_ARRAY: Final = """\
#!/bin/bash
# A task of an array of rompy-slurm: does what lies in the spool, one piece after the other.
set -eo pipefail
{setup}{threads}set +eo pipefail
exec {python} -P -c {bootstrap} {spool}
"""


def job_script(config: SlurmConfig, record_dir: Path) -> str:
    """Give the batch script, for ``/bin/sh``."""
    limit = ""
    if config.timeout is not None:
        limit = f"timeout --kill-after={config.grace_s:.3f} {config.timeout:.3f} "
    return _JOB.format(
        record=_quoted(str(record_dir)),
        python=_quoted(config.python or sys.executable or "python3"),
        kept_inside=_quoted(" ".join(config.kept_inside)),
        probe=_quoted(_PROBE),
        bootstrap=_quoted(_BOOTSTRAP),
        timeout=limit,
    )


def command_script(config: SlurmConfig, argv: Sequence[str], *, workspace_dir: Path, record_dir: Path) -> str:
    """Give the script that becomes the command, for ``/bin/bash``."""
    start = workspace_dir / config.working_dir if config.working_dir else workspace_dir
    environment = _quoted(str(record_dir / _files.ENVIRONMENT))
    return _COMMAND.format(
        setup=_setup(config),
        threads=_threads(config),
        environment=environment,
        forget="" if config.requeue else f"/bin/rm -f -- {environment}\n",
        start=_quoted(str(start)),
        words=" ".join(map(_quoted, argv)),
    )


def array_script(config: SlurmConfig, spool_dir: Path) -> str:
    """Give the batch script of an array's tasks, for ``/bin/bash``."""
    return _ARRAY.format(
        setup=_setup(config),
        threads=_threads(config),
        python=_quoted(config.python or sys.executable or "python3"),
        bootstrap=_quoted(_ARRAY_BOOTSTRAP),
        spool=_quoted(str(spool_dir)),
    )


def _setup(config: SlurmConfig) -> str:
    modules = [f"module load {_quoted(name)}\n" for name in config.modules]
    return "".join((_ALL_TO_TASKS, _MODULES if modules else "", *modules, *(f"{line}\n" for line in config.setup)))


def _threads(config: SlurmConfig) -> str:
    threads = config.cpus_per_task
    return "" if threads is None else f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-{threads}}}"\n'


def environment_script(env_vars: Mapping[str, str]) -> str:
    """Give the shell code that sets the variables."""
    return "".join(f"export {name}={_quoted(value)}\n" for name, value in env_vars.items())


def sbatch_argv(config: SlurmConfig, *, key: str, run_id: str, record_dir: Path) -> list[str]:
    """Give the words of ``sbatch``.

    Args:
        config: The options.
        key: The job's comment, by which it is found where its number was not written down.
        run_id: The run's identifier.
        record_dir: The folder of the record, absolute.
    """
    output = _unexpanded(str(record_dir / _files.LOG))
    return _argv(config, key, run_id, output, may_come_back=config.requeue)


def array_argv(config: SlurmConfig, *, key: str, logs_dir: Path, size: int) -> list[str]:
    """Give the words of ``sbatch`` for an array.

    Args:
        config: The options; its tasks are never requeued.
        key: As for ``sbatch_argv``.
        logs_dir: Where each task has its log, absolute and without a backslash.
        size: How many tasks.
    """
    output = f"{_unexpanded(str(logs_dir))}/{ELEMENT}"
    return [*_argv(config, key, "rompy-array", output, may_come_back=False), f"--array=0-{size - 1}"]


def _argv(config: SlurmConfig, key: str, name: str, output: str, *, may_come_back: bool) -> list[str]:
    return [
        "sbatch",
        "--parsable",
        f"--comment={key}",
        f"--job-name={config.job_name or _one_line(name)}",
        f"--output={output}",
        "--open-mode=append",
        "--input=/dev/null",
        "--chdir=/",
        f"--export={config.export}",
        "--requeue" if may_come_back else "--no-requeue",
        *_asked(config),
        *config.additional_options,
    ]


def _asked(config: SlurmConfig) -> Iterator[str]:
    minutes, megabytes = config.minutes, config.megabytes
    values: Iterable[tuple[str, object]] = (
        ("clusters", config.cluster),
        ("partition", config.partition or config.queue),
        ("nodes", config.nodes),
        ("ntasks", config.ntasks),
        ("ntasks-per-node", config.ntasks_per_node),
        ("cpus-per-task", config.cpus_per_task),
        ("mem", None if megabytes is None else f"{megabytes}M"),
        ("time", minutes),
        ("account", config.account),
        ("qos", config.qos),
        ("reservation", config.reservation),
        ("constraint", config.constraint),
        ("gres", config.gres),
        ("mail-type", ",".join(config.mail_type) or None),
        ("mail-user", config.mail_user),
    )
    for name, value in values:
        if value is not None:
            yield f"--{name}={value}"
    if config.exclusive:
        yield "--exclusive"


def _unexpanded(path: str) -> str:
    """Write a path so that ``sbatch`` replaces nothing in it.

    A percent sign is doubled. Where there is a backslash, ``sbatch`` replaces no percent signs and takes one backslash
    away before each character.
    """
    return path.replace("\\", "\\\\") if "\\" in path else path.replace("%", "%%")


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "_" for letter in text) or "rompy"


def _quoted(text: str) -> str:
    return shlex.quote(text)
