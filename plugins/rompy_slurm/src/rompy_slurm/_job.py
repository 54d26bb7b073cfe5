"""Inside the job: run the command under the supervisor of rompy-local, judge it, and complete the record.

The verdict is made in a folder of this start of the job (``attempt-0``), and becomes the record's where the command
ended by itself, at a limit of ours or on our request. Where Slurm ended the job, it stays there: only the scheduler
knows why, and whether the job comes back; whoever watches the job asks it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import attrs

from rompy_core import LiveRun, RunLogger, RunRecord, RunReport, RunState, read_report, replace_file
from rompy_local import Sandbox, SandboxError, SandboxSpec
from rompy_slurm import _files, _settings
from rompy_slurm._config import SlurmConfig
from rompy_slurm._scheduler import Job

_LOOK_S: Final = 0.1
_ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGKILL)
_REACHES_ALL_S: Final = 0.05
"""Slurm signals the processes of a job one after the other; the command may have ended before this one hears of it."""
_OTHERS_TAKE_S: Final = 10.0
"""How long the record may be kept by somebody who takes the job for gone."""
ASKED: Final = "its job was asked to end"


def main() -> None:
    """Be the job of the record that the first argument names."""
    sys.exit(run(Path(sys.argv[1])))


def run(record_dir: Path) -> int:
    """Run the command of a record to its end; gives the exit code of the job."""
    asked = _Asked()
    signal.signal(signal.SIGTERM, asked.take_note)
    restarts = int(os.environ.get("SLURM_RESTART_COUNT") or 0)
    job = Job(os.environ["SLURM_JOB_ID"])
    replace_file(record_dir / _files.BEGUN, f"{job.id} {restarts}\n".encode("ascii"))
    report = read_report(record_dir)
    if report.state.is_final:
        return 0
    period = _settings.period_of(report)
    config = attrs.evolve(
        _settings.config_of(report), stream_output=False
    )  # whoever watches the job has a logger for it
    inner = _inner_record(record_dir, report, restarts)
    verdict = _supervised(RunRecord(record_dir, report), inner, config, job, asked, period)
    time.sleep(_REACHES_ALL_S)
    if not (asked.is_asked or _is_left_to_slurm(verdict, inner)):
        publish(record_dir, inner.directory, verdict)
    else:
        _files.refresh(record_dir)  # whoever watches the record sees that something has come
    return 0 if verdict.ok else verdict.exit_code or 1


def publish(record_dir: Path, attempt: Path, report: RunReport) -> RunReport:
    """Make the verdict of one start of the job that of the run; gives what counts.

    A record that is complete stays as it is, and so does that of a job that was started again meanwhile: a node that
    the controller had given up may go on for long.
    """
    with _files.completing(record_dir, wait_s=_OTHERS_TAKE_S):
        standing = read_report(record_dir)
        if standing.state.is_final or _files.newest_attempt(record_dir) != attempt:
            return standing
        (record_dir / _files.ENVIRONMENT).unlink(missing_ok=True)
        return _published(record_dir, attempt, report)


def _published(record_dir: Path, attempt: Path, report: RunReport) -> RunReport:
    progress = attempt / _files.PROGRESS
    if progress.is_file():
        progress.replace(record_dir / _files.PROGRESS)
    moved = {
        name: record_dir / path.name
        for name in ("stdout_path", "stderr_path", "usage_path", "progress_path")
        if (path := getattr(report, name)) is not None
    }
    return RunRecord(record_dir, attrs.evolve(report, record_dir=record_dir, **moved)).update()


class _Asked:
    """Whether Slurm has asked for the end; all that a signal handler may do is to take note."""

    def __init__(self) -> None:
        self.is_asked = False

    def take_note(self, _number: int, _frame: object) -> None:
        self.is_asked = True


def _is_left_to_slurm(report: RunReport, inner: RunRecord) -> bool:
    """Whether a signal ended the command that is none of ours, so that the scheduler may know why."""
    if report.state is RunState.CANCELLED:
        return not inner.cancel_requested()
    return report.state is RunState.FAILED and (
        report.exit_signal in _ENDING_SIGNALS or (report.exit_code or 0) - 128 in _ENDING_SIGNALS
    )


def _inner_record(record_dir: Path, report: RunReport, restarts: int) -> RunRecord:
    """Make the record of this start of the job; what an earlier start has captured moves to its own."""
    attempt = _files.attempt_dir(record_dir, restarts)
    earlier = _files.newest_attempt(record_dir)
    if earlier is not None and earlier != attempt:
        for name in (_files.STDOUT, _files.STDERR, _files.USAGE):
            with contextlib.suppress(FileNotFoundError):
                (record_dir / name).replace(earlier / name)
    attempt.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):  # a request to the run is one to this start of it
        (attempt / _files.CANCEL).symlink_to(Path("..", _files.CANCEL))
    return RunRecord(attempt, attrs.evolve(report, record_dir=attempt))


def _supervised(
    outer: RunRecord, inner: RunRecord, config: SlurmConfig, job: Job, asked: _Asked, period: object
) -> RunReport:
    sandbox = Sandbox()
    facts = {"supervisor": sandbox.identity, "host": socket.gethostname(), "keeper": str(job)}
    outer.update(**facts)
    inner.update(**facts)
    try:
        sandbox.start(_spec(outer.directory, inner, config))
    except (SandboxError, OSError) as exc:
        return inner.finish(RunState.NOT_STARTED, str(exc))
    log = RunLogger(logging.getLogger(__name__), inner.report.run_id, inner.report.backend)
    return _waited(LiveRun(inner, sandbox, config, log, period=period).wait, sandbox, asked)


def _waited(wait: Callable[[float], RunReport], sandbox: Sandbox, asked: _Asked) -> RunReport:
    while True:
        try:
            return wait(_LOOK_S)
        except TimeoutError:
            if asked.is_asked:
                sandbox.stop(RunState.CANCELLED, ASKED)


def _spec(record_dir: Path, inner: RunRecord, config: SlurmConfig) -> SandboxSpec:
    workspace_dir = inner.report.workspace_dir
    return SandboxSpec(
        argv=["/bin/bash", str(record_dir / _files.COMMAND)],
        cwd=workspace_dir,
        env=dict(os.environ),
        workspace_dir=workspace_dir,
        record_dir=inner.directory,
        stdout_path=record_dir / _files.STDOUT,
        stderr_path=record_dir / _files.STDERR,
        usage_path=record_dir / _files.USAGE,
        timeout=config.timeout,
        grace_s=config.grace_s,
        stall_timeout=config.stall_timeout,
        memory=config.memory,
        log_size_limit=config.log_size_limit,
        leftovers=config.leftovers,
    )
