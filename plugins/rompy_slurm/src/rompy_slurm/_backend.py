"""The Slurm run backend: config -> job -> report."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast, final

from rompy_core import (
    ConfigError,
    RunHandle,
    RunLogger,
    RunRecord,
    RunState,
    StartError,
    check_model_run,
    identify,
    masked_config,
    prepare_record,
    refuse_missing,
    run_to_end,
    unstructure_config,
)
from rompy_slurm import _files, _scheduler, _script, _settings
from rompy_slurm._attach import attach
from rompy_slurm._config import SlurmConfig
from rompy_slurm._handle import SlurmHandle
from rompy_slurm._poller import poller
from rompy_slurm._scheduler import Job, SchedulerError

logger = logging.getLogger(__name__)

_NAME: Final = "slurm"
_KEEPER: Final = "a job in the queue of Slurm; rompy_slurm.attach() goes on with it"


@final
class SlurmRunBackend:
    """Runs a model as a job of a Slurm cluster."""

    config_type = SlurmConfig

    def run(
        self,
        model_run: Any,
        config: SlurmConfig | None = None,
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

    def check(self, model_run: Any, config: SlurmConfig) -> None:
        """Find what stands against a run before anything is written.

        Raises:
            ConfigError: There is nothing to run, or a guarantee that *config* requires does not hold.
        """
        _refuse_early(model_run, config)

    def submit(self, model_run: Any, config: SlurmConfig, workspace_dir: Path) -> RunHandle:
        """Hand in the job and return at once; it may wait in the queue for long.

        The workspace must be on a file system that the nodes share.

        Raises:
            ModelRunError: *model_run* is none.
            ConfigError: As ``check``.
            StartError: Slurm did not take it; the error carries the report.
        """
        check_model_run(model_run)
        argv = _refuse_early(model_run, config)
        record = prepare_record(
            Path(os.path.abspath(workspace_dir)),  # noqa: PTH100 - resolve() would follow symbolic links
            run_id=model_run.run_id,
            backend=_NAME,
            command=tuple(argv),
            stdout_path=Path(_files.STDOUT),
            stderr_path=Path(_files.STDERR),
            usage_path=Path(_files.USAGE),
            env_names=tuple(sorted(config.env_vars)),
            options=masked_config(config),
            supervisor=None,
            keeper=_KEEPER,
        )
        period = getattr(model_run, "period", None)
        job, submitted_at = _handed_in(record, config, argv, period)
        log = RunLogger(logger, model_run.run_id, _NAME)
        try:
            handle = SlurmHandle(record, config, job, log, period=period, submitted_at=submitted_at)
            log.info("run started", extra={"record_dir": str(record.directory), "job": job.id})
            poller().watch(handle)
        except BaseException as exc:
            _take_back(record, job)
            record.finish(RunState.CANCELLED, f"cancelled while it was being started: {type(exc).__name__}")
            raise
        return handle

    def attach(self, record: str | os.PathLike[str]) -> SlurmHandle:
        """Be ``rompy_slurm.attach``, which the core calls for runs that this process did not start."""
        return attach(record)


def _handed_in(record: RunRecord, config: SlurmConfig, argv: Sequence[str], period: object) -> tuple[Job, float]:
    """Open the record, write what the job needs, and submit it; where that fails, nothing of it is left in the queue.

    All of that is done while ``sbatch`` comes up.

    Returns:
        The job, and when it was submitted, seconds since the epoch.
    """
    key = f"rompy-{secrets.token_hex(12)}"
    cluster = config.cluster or ""
    noted: dict[str, Any] = {"key": key, "cluster": cluster, "submitted_at": time.time()}
    job: Job | None = None

    def script() -> bytes:
        record.open()
        text = _script.job_script(config, record.directory)
        _write_files(record, config, argv, text)
        noted["script_sha256"] = hashlib.sha256(_encoded(text)).hexdigest()
        noted.update(submitter=unstructure_config(identify()), period=_settings.plain_period(period))
        _files.write_new(record.directory / _files.JOB, _files.as_json(noted))
        return _encoded(text)

    try:
        words = _script.sbatch_argv(config, key=key, run_id=record.report.run_id, record_dir=record.directory)
        job = _scheduler.submit_or_find(words, script, key, cluster)
        _files.write_new(record.directory / _files.SUBMITTED, f"{job.id} {job.cluster}\n".encode())
    except (SchedulerError, OSError) as exc:
        _take_back(record, job)
        raise record.refusal(f"Slurm did not take the job: {exc}") from exc
    except StartError:  # the record could not be opened, and so nothing was submitted
        raise
    except BaseException as exc:
        _take_back(record, job or _scheduler.find_or_none(key, cluster))
        record.finish(RunState.CANCELLED, f"cancelled while it was being started: {type(exc).__name__}")
        raise
    return job, noted["submitted_at"]


def _write_files(record: RunRecord, config: SlurmConfig, argv: Sequence[str], script: str) -> None:
    directory = record.directory
    command = _script.command_script(config, argv, workspace_dir=record.report.workspace_dir, record_dir=directory)
    _files.write_new(directory / _files.SCRIPT, _encoded(script))
    _files.write_new(directory / _files.COMMAND, _encoded(command))
    # By file, not by --export: the controller keeps what is exported, on its own disk and for its administrators.
    _files.write_new(directory / _files.ENVIRONMENT, _encoded(_script.environment_script(config.env_vars)), 0o600)


def _take_back(record: RunRecord, job: Job | None) -> None:
    """See to it that the job does nothing: one that is there is ended, one that appears later finds the note."""
    with contextlib.suppress(OSError):
        (record.directory / _files.ENVIRONMENT).unlink(missing_ok=True)
        (record.directory / _files.WITHDRAWN).touch()
    if job is not None:
        with contextlib.suppress(SchedulerError):
            _scheduler.cancel([job.id], job.cluster)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _refuse_early(model_run: Any, config: SlurmConfig) -> Sequence[str]:
    """Find what stands against the run, and give the words to run."""
    model_config = getattr(model_run, "config", None)
    argv = config.argv(cast("str | Sequence[str] | None", getattr(model_config, "command", None)))
    if not argv:
        found = "no config" if model_config is None else f"{type(model_config).__name__} without one"
        detail = "its run(model_run) is not sent to a queue" if callable(getattr(model_config, "run", None)) else found
        raise ConfigError("SlurmConfig", [f"command: is required, for the model run's config has none; found {detail}"])
    if config.require:
        from rompy_slurm._capabilities import capabilities

        refuse_missing("SlurmConfig", config.require, capabilities())
    return argv
