"""The docker run backend: config -> container -> report."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast, final

from rompy_core import (
    ConfigError,
    LiveRun,
    RunHandle,
    RunLogger,
    RunRecord,
    check_model_run,
    masked_config,
    open_record,
    refuse_missing,
    run_to_end,
)
from rompy_docker._config import DockerConfig
from rompy_docker._watchdog import Watchdog, WatchdogError

logger = logging.getLogger(__name__)

_NAME: Final = "docker"
_STDOUT: Final = Path("stdout.log")
_STDERR: Final = Path("stderr.log")
_USAGE: Final = Path("usage.csv")


@final
class DockerRunBackend:
    """Runs a model in a container of a Docker or Podman engine."""

    config_type = DockerConfig

    def run(
        self,
        model_run: Any,
        config: DockerConfig | None = None,
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

    def check(self, model_run: Any, config: DockerConfig) -> None:
        """Find what stands against a run before anything is written.

        Raises:
            ConfigError: A path of the host is missing, the model run's own command needs a shell, or the engine does
                not keep a guarantee that *config* requires.
        """
        _refuse_early(model_run, config)

    def submit(self, model_run: Any, config: DockerConfig, workspace_dir: Path) -> RunHandle:
        """Start the run in *workspace_dir*; returns once its image is there and its container runs.

        Raises:
            ModelRunError: *model_run* is none.
            ConfigError: As ``check``.
            StartError: It could not be started at all; the error carries the report.
        """
        # Here and not above: the SDK takes longer to import than all the rest, and a config does not need it.
        from rompy_docker._launch import started

        check_model_run(model_run)
        argv = _refuse_early(model_run, config)
        log = RunLogger(logger, model_run.run_id, _NAME)
        workspace_dir = Path(os.path.abspath(workspace_dir))  # noqa: PTH100 - resolve() would follow symbolic links
        watchdog, problem = _watchdog()
        with contextlib.ExitStack() as held:
            if watchdog is not None:
                held.callback(watchdog.release)
            record = _open_record(model_run, config, workspace_dir, argv, watchdog)
            if watchdog is None:
                raise record.refusal(problem)
            container = started(record, config, argv, watchdog, log)
            held.pop_all()
        return LiveRun(record, container, config, log, period=getattr(model_run, "period", None))


def _open_record(
    model_run: Any, config: DockerConfig, workspace_dir: Path, argv: Sequence[str], watchdog: Watchdog | None
) -> RunRecord:
    return open_record(
        workspace_dir,
        run_id=model_run.run_id,
        backend=_NAME,
        command=tuple(argv) or None,
        stdout_path=_STDOUT,
        stderr_path=_STDERR,
        usage_path=_USAGE,
        env_names=tuple(sorted(config.env_vars)),
        options=masked_config(config),
        **({"supervisor": watchdog.identity} if watchdog else {}),
    )


def _watchdog() -> tuple[Watchdog | None, str]:
    """Start the process that guards the run, or say why there is none; the record has to be opened either way."""
    try:
        return Watchdog(), ""
    except WatchdogError as exc:
        return None, str(exc)


def _refuse_early(model_run: Any, config: DockerConfig) -> Sequence[str]:
    """Find what stands against the run, and give the words to run."""
    problems = [
        f"volumes[{number}]: there is no {str(path)!r} on this machine; make it, or correct the path"
        for number, path in _host_paths(config)
        if not path.exists()
    ]
    argv: Sequence[str] = ()
    try:
        argv = config.argv(_command_of(model_run))
    except ValueError as exc:
        problems.append(f"executable: the model run's own command {exc}")
    if config.mpiexec is not None and not argv:
        problems.append("executable: is required with mpiexec, for the model run's config has no command")
    if problems:
        raise ConfigError("DockerConfig", problems)
    if config.require:
        from rompy_docker._capabilities import capabilities

        offered = capabilities(config.engine, engine_timeout=config.engine_timeout)
        refuse_missing("DockerConfig", config.require, offered)
    return argv


def _host_paths(config: DockerConfig) -> Sequence[tuple[int, Path]]:
    return [(number, volume.host_path()) for number, volume in enumerate(config.mounts) if volume.is_path]


def _command_of(model_run: Any) -> str | Sequence[str] | None:
    return cast("str | Sequence[str] | None", getattr(getattr(model_run, "config", None), "command", None))
