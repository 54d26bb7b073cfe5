"""The local run backend: config -> sandbox -> report. No code about processes here."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast, final

import psutil

from rompy_core import (
    ConfigError,
    LiveRun,
    Outcome,
    RunHandle,
    RunLogger,
    RunRecord,
    RunState,
    check_model_run,
    masked_config,
    open_record,
    refuse_missing,
    run_to_end,
)
from rompy_local._calls import ConfigCall
from rompy_local._capabilities import capabilities, refuse_cgroup
from rompy_local._config import LocalConfig, to_argv
from rompy_local._isolation import wrapped
from rompy_local._sandbox import Sandbox, SandboxError, SandboxSpec

logger = logging.getLogger(__name__)

_STDOUT: Final = Path("stdout.log")
_STDERR: Final = Path("stderr.log")
_USAGE: Final = Path("usage.csv")
_NAME: Final = "local"
_NEXT_PROCESSOR: Final = itertools.count()


@final
class LocalRunBackend:
    """Runs a model on this machine, as one supervised process tree."""

    config_type = LocalConfig

    def run(
        self,
        model_run: Any,
        config: LocalConfig | None = None,
        workspace_dir: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> bool:
        """Run to the end.

        Args:
            model_run: The model run.
            config: The options, as one object.
            workspace_dir: An existing directory with the inputs; without it, they are generated.
            options: The options by name; over those of *config*.

        Returns:
            ``True`` only where the verdict is success.

        Raises:
            ValueError: The model run or an option is wrong; nothing was written.
            TimeoutError: The run exceeded its wall-clock limit.
        """
        return run_to_end(self, model_run, config, workspace_dir, **options)

    def check(self, model_run: Any, config: LocalConfig) -> None:
        """Find what stands against a run before anything is written.

        Raises:
            ConfigError: There is nothing to run, or this machine lacks a guarantee that *config* requires.
        """
        _refuse_early(config)
        call, _ = _what_to_run(model_run, config)
        if call is not None:
            call.close()

    def submit(self, model_run: Any, config: LocalConfig, workspace_dir: Path) -> RunHandle:
        """Start the run in *workspace_dir* and return at once.

        Raises:
            ModelRunError: *model_run* is none.
            ConfigError: As ``check``.
            StartError: It could not be started at all; the error carries the report.
        """
        check_model_run(model_run)
        _refuse_early(config)
        call, argv = _what_to_run(model_run, config)
        log = RunLogger(logger, model_run.run_id, _NAME)
        period = getattr(model_run, "period", None)
        with contextlib.ExitStack() as held:
            if call is not None:
                held.callback(call.close)
            record, sandbox = _start(model_run, config, Path(os.path.abspath(workspace_dir)), argv, call)  # noqa: PTH100 - resolve() would follow symbolic links
            held.pop_all()
        return LiveRun(record, sandbox, config, log, period=period, amend=call.amend if call else _as_it_is)


def _start(
    model_run: Any, config: LocalConfig, workspace_dir: Path, argv: Sequence[str], call: ConfigCall | None
) -> tuple[RunRecord, Sandbox]:
    """Open the record and start the command; neither a process nor a directory is left where that fails."""
    pass_fds = call.pass_fds if call else ()
    with contextlib.ExitStack() as held:
        sandbox, problem = _supervisor(pass_fds)
        if sandbox is not None:
            held.callback(sandbox.close)
        record = open_record(
            workspace_dir,
            run_id=model_run.run_id,
            backend=_NAME,
            command=tuple(argv),
            stdout_path=_STDOUT,
            stderr_path=_STDERR,
            usage_path=_USAGE,
            env_names=tuple(sorted(config.env_vars)),
            options=masked_config(config),
            **({"supervisor": sandbox.identity} if sandbox else {}),
        )
        if sandbox is None:
            raise record.refusal(problem)
        try:
            has_tmp_dir = config.isolation is not None or "TMPDIR" in config.env_vars
            tmp_dir = None if has_tmp_dir else Path(tempfile.mkdtemp(prefix="rompy-"))
            sandbox.start(_spec(record, config, argv, tmp_dir, call))
        except (SandboxError, OSError) as exc:
            raise record.refusal(str(exc)) from exc
        except BaseException as exc:
            # An interrupt: nobody will get a handle, so the command ends here, and its record with it.
            sandbox.close()
            record.finish(RunState.CANCELLED, f"cancelled while it was being started: {type(exc).__name__}")
            raise
        held.pop_all()
    return record, sandbox


def _supervisor(pass_fds: Sequence[int]) -> tuple[Sandbox | None, str]:
    """Start the supervisor, or say why there is none; the record has to be opened either way."""
    try:
        return Sandbox(pass_fds), ""
    except SandboxError as exc:
        return None, str(exc)


def _spec(
    record: RunRecord,
    config: LocalConfig,
    argv: Sequence[str],
    tmp_dir: Path | None,
    call: ConfigCall | None,
) -> SandboxSpec:
    workspace_dir = record.report.workspace_dir
    env = _environment(config, tmp_dir)
    if config.isolation is not None:
        argv = wrapped(argv, config, workspace_dir, env, call.needs if call else ())
    return SandboxSpec(
        argv=argv,
        cwd=config.start_dir(workspace_dir),
        env=env,
        workspace_dir=workspace_dir,
        record_dir=record.directory,
        stdout_path=record.directory / _STDOUT,
        stderr_path=record.directory / _STDERR,
        usage_path=record.directory / _USAGE,
        tmp_dir=tmp_dir,
        timeout=config.timeout,
        grace_s=config.grace_s,
        stop_signal=signal.Signals[config.stop_signal],
        stall_timeout=config.stall_timeout,
        memory=config.memory,
        cpu_time_limit=config.cpu_time_limit,
        log_size_limit=config.log_size_limit,
        max_processes=config.max_processes,
        leftovers=config.leftovers,
        rlimits=_rlimits(config),
        cpus=_processors(config.cpu),
        nice=config.nice,
        sample_interval_s=config.sample_interval_s,
        with_pss=config.measure_pss,
        pass_fds=call.pass_fds if call else (),
        cgroup=config.cgroup,
        asks_command=config.isolation is None,
    )


def _refuse_early(config: LocalConfig) -> None:
    if required := _required(config):
        refuse_missing("LocalConfig", required, capabilities())
    if config.cgroup is not None:
        refuse_cgroup(config.cgroup, with_memory=config.memory is not None)


def _required(config: LocalConfig) -> Sequence[str]:
    """Give the guarantees without which the run would not be what was asked for."""
    asked = {"bubblewrap": config.isolation is not None, "pss": config.measure_pss, "affinity": config.cpu is not None}
    return (*config.require, *(name for name, is_asked in asked.items() if is_asked and name not in config.require))


def _environment(config: LocalConfig, tmp_dir: Path | None) -> dict[str, str]:
    if config.inherit_env == "all":
        env = dict(os.environ)
    elif config.inherit_env == "none":
        env = {}
    else:
        env = {name: os.environ[name] for name in config.inherit_env if name in os.environ}
    if config.cpu is not None:
        env.setdefault("OMP_NUM_THREADS", str(config.cpu))
    if config.isolation is not None:
        env["TMPDIR"] = "/tmp"  # noqa: S108 - its private one
    elif tmp_dir is not None:
        env["TMPDIR"] = str(tmp_dir)
    return env | dict(config.env_vars)


def _rlimits(config: LocalConfig) -> dict[str, int]:
    limits = {"RLIMIT_CORE": 0}
    if config.stack_limit is not None:
        limits["RLIMIT_STACK"] = -1 if config.stack_limit == "unlimited" else config.stack_limit
    if config.file_size_limit is not None:
        limits["RLIMIT_FSIZE"] = config.file_size_limit
    return limits


def _processors(count: int | None) -> Sequence[int]:
    """Choose *count* of the processors that this process may use; none where that is all of them.

    Each run begins where the last one ended, so that runs side by side do not share what they need not share.
    """
    if count is None:
        return ()
    mine = psutil.Process().cpu_affinity() or []
    if count > len(mine):
        logger.warning("cpu is more than there are processors", extra={"cpu": count, "available": len(mine)})
    if count >= len(mine):
        return ()
    first = next(_NEXT_PROCESSOR) * count
    return [mine[(first + number) % len(mine)] for number in range(count)]


def _what_to_run(model_run: Any, config: LocalConfig) -> tuple[ConfigCall | None, Sequence[str]]:
    """Find the command: the option, else the model config's ``command``, else its ``run`` in a process of its own."""
    model_config = getattr(model_run, "config", None)
    argv = config.argv or to_argv(cast("str | Sequence[str] | None", getattr(model_config, "command", None)))
    if argv:
        return None, argv
    if callable(getattr(model_config, "run", None)):
        call = ConfigCall(model_run)
        return call, call.argv
    found = "no config" if model_config is None else f"{type(model_config).__name__} with neither"
    detail = f"command: is required, for the model run's config has no command and no run(model_run); found {found}"
    raise ConfigError("LocalConfig", [detail])


def _as_it_is(outcome: Outcome) -> Outcome:
    return outcome
