"""Go on with a run whose caller is gone."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any, Final

from rompy_core import (
    ProcessIdentity,
    RecordError,
    RunLogger,
    RunRecord,
    RunReport,
    RunState,
    is_alive,
    read_report,
    structure_config,
)
from rompy_slurm import _files, _scheduler, _settings
from rompy_slurm._handle import SlurmHandle
from rompy_slurm._poller import poller
from rompy_slurm._scheduler import Job, SchedulerError

logger = logging.getLogger(__name__)

_APPEARS_WITHIN_S: Final = 30.0
"""How long after its caller's last sign a job may still appear in the queue."""
_ROUND_S: Final = 0.5


def attach(record: str | os.PathLike[str]) -> SlurmHandle:
    """Give a handle of a run that another process has submitted; its job goes on meanwhile, or has ended.

    Whoever had submitted it may be gone, and may be still there: each of them gets the same report.

    Args:
        record: A record of the backend ``slurm``, or a workspace, whose newest record is meant.

    Raises:
        RecordError: There is no such record.
        RuntimeError: Slurm gives no answer, and the number of the job is not on record.
    """
    report = read_report(record)
    directory = report.record_dir
    if report.backend != "slurm" or directory is None:
        raise RecordError(record, f"is no record of a job of Slurm; found one of the backend {report.backend!r}")
    config, period = _settings.config_of(report), _settings.period_of(report)
    log = RunLogger(logger, report.run_id, report.backend)
    opened = RunRecord(directory, report)
    job = None if report.state.is_final else _job_of(directory)
    if job is None and not report.state.is_final:
        report = _given_up(opened)
    submitted_at = float(_files.read_json(directory / _files.JOB).get("submitted_at", time.time()))
    job = job or _job_on_record(directory) or Job("")
    handle = SlurmHandle(opened, config, job, log, period=period, submitted_at=submitted_at, is_new=False)
    if report.state.is_final:
        handle.look_alone()
    else:
        poller().watch(handle)
    return handle


def _job_of(directory: Path) -> Job | None:
    """Find the job: by its number on record, by its own word, or by its key in the queue."""
    deadline = time.monotonic() + _APPEARS_WITHIN_S
    while True:
        noted = _files.read_json(directory / _files.JOB)
        is_due = time.monotonic() > deadline or not _is_being_submitted(noted)
        try:
            job = _job_on_record(directory) or _scheduler.find(str(noted.get("key")), str(noted.get("cluster") or ""))
        except SchedulerError as exc:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the job of {str(directory)!r} cannot be found: {exc}") from exc
        else:
            if job is not None or is_due:
                return job
        time.sleep(_ROUND_S)


def _given_up(record: RunRecord) -> RunReport:
    """Complete the record of a run that has no job, unless somebody has done so; gives what counts."""
    with _files.completing(record.directory, wait_s=_APPEARS_WITHIN_S):
        standing = read_report(record.directory)
        if standing.state.is_final:
            return standing
        (record.directory / _files.WITHDRAWN).touch()  # a job that appears all the same has nothing to do
        reason = "whoever submitted it ended before that was done: no job in the queue has its key, and none has begun"
        return record.finish(RunState.NOT_STARTED, reason)


def _job_on_record(directory: Path) -> Job | None:
    submitted = _files.read_words(directory / _files.SUBMITTED)
    if submitted:
        return Job(*submitted)
    begun = _files.read_words(directory / _files.BEGUN)
    return Job(begun[0], str(_files.read_json(directory / _files.JOB).get("cluster") or "")) if begun else None


def _is_being_submitted(noted: dict[str, Any]) -> bool:
    """Whether the process that is to write down the number of the job may still do so."""
    submitter = noted.get("submitter")
    return submitter is not None and is_alive(structure_config(submitter, ProcessIdentity)) is not False
