"""The handle of a queued run, and what it makes of each look at its job."""

from __future__ import annotations

import contextlib
import math
import time
from typing import Any, Final, final

import attrs

from rompy_core import (
    BaseHandle,
    LiveRun,
    Outcome,
    Progress,
    RecordError,
    RunLogger,
    RunRecord,
    RunReport,
    RunState,
    Usage,
    newest_progress,
    newest_usage,
    read_report,
)
from rompy_slurm import _files
from rompy_slurm._config import SlurmConfig
from rompy_slurm._ending import (
    End,
    Left,
    cause_by_the_clock,
    cause_of,
    facts_of,
    outcome_of,
    what_is_left,
    without_word,
)
from rompy_slurm._follow import Follower, last_line
from rompy_slurm._poller import ACCOUNTING_LAGS_S, ASK_AGAIN_S, SETTLES_S, poller
from rompy_slurm._scheduler import Job
from rompy_slurm._states import MAY_COME_BACK, JobState

_ANOTHER_AFTER_S: Final = 3600.0
"""A job with the number of ours that was submitted so much later is another one: Slurm has begun anew to count."""
_BY_REQUEST: Final = End(RunState.CANCELLED, "cancelled from another process, by a request in the record")


@final
class SlurmHandle(BaseHandle):
    """A ``RunHandle`` of a run in Slurm's queue. It may be dropped: the job goes on, and ``attach`` gives another.

    Its state is ``RUNNING`` also while its job waits in the queue; ``job_state`` tells. It is done when its job is gone
    and its report is complete.
    """

    def __init__(
        self,
        record: RunRecord,
        config: SlurmConfig,
        job: Job,
        log: RunLogger,
        *,
        period: object,
        submitted_at: float,
        is_new: bool = True,
    ) -> None:
        """Speak for *job*, which the poller is to watch.

        Args:
            record: The record of the run.
            config: The options.
            job: The job.
            log: Where to report what happens to it.
            period: The model run's period, for progress by dates.
            submitted_at: When it was submitted, seconds since the epoch.
            is_new: Whether it was submitted just now; the number of an older one may be that of another job by now.
        """
        super().__init__(record, log)
        self._config = config
        self._job = job
        self._period = period
        self._submitted_at = submitted_at
        self._is_certain = is_new
        self._view: JobState | None = None
        self._end: End | None = None
        self._asked_at = -math.inf
        self._ended_since: float | None = None
        self._missing_since: float | None = None
        self._is_judged = False
        self._written = 0
        self._follower: Follower | None = None

    @property
    def job(self) -> Job:
        """The job's number and cluster."""
        return self._job

    @property
    def job_state(self) -> JobState | None:
        """What Slurm said of the job when it was asked last, or ``None`` before that."""
        return self._view

    @property
    def progress(self) -> Progress | None:
        """How far the run is, or ``None`` where nothing says so."""
        if self._future.done():
            return self._future.result().progress
        attempt = _files.newest_attempt(self.record_dir)
        newest = newest_progress(self._seen(progress_path=attempt / _files.PROGRESS)) if attempt else None
        if newest is None:
            return None
        elapsed, fraction = newest
        return Progress(fraction=fraction, remaining_s=elapsed * (1 / fraction - 1) if fraction > 0 else None)

    @property
    def usage(self) -> Usage | None:
        """The newest sample, or ``None`` before the first one."""
        return newest_usage(self._seen(usage_path=self.record_dir / _files.USAGE))

    @property
    def last_line(self) -> str:
        """The newest line of output that is not blank."""
        return last_line(self.record_dir / _files.STDOUT, self.record_dir / _files.STDERR)

    def cancel(self) -> bool:
        """Ask for the end of the job and return at once; says whether it will end."""
        if self.done():
            return False
        self._stop(End(RunState.CANCELLED, "cancelled by its caller"))
        poller().poke()
        return True

    # What the poller asks and tells, from here on

    def is_to_end(self, now: float) -> bool:
        """Whether the scheduler is to be asked for the job's end now."""
        if self._end is None and self._record.cancel_requested():
            self._stop(_BY_REQUEST)
        if self._end is None or not self._is_certain or now < self._asked_at + ASK_AGAIN_S:
            return False
        self._asked_at = now
        return True

    def look(self, view: JobState | None, account: JobState | None, *, has_accounting: bool, now: float) -> bool:
        """Take note of what is known of the job; say whether anything has changed."""
        has_changed = False
        try:
            if not self._is_judged:
                self._follow()
                has_changed = self._look(self._ours(view), self._ours(account), has_accounting=has_accounting, now=now)
        except Exception as exc:  # noqa: BLE001 - a fault of ours, or of a logger, must neither hang who waits nor the others
            self._give_up(exc)
        self.has_news()  # what this look has written is no news
        return has_changed

    def _look(self, view: JobState | None, account: JobState | None, *, has_accounting: bool, now: float) -> bool:
        # What the accounting alone takes for alive has ended: it lags, or was never told.
        known = view or (account if account is not None and account.has_ended else None)
        has_changed = known is not None and known != self._view
        if known is not None and has_changed:
            self._take_note(known)
        if view is not None:
            self._missing_since = None
        if known is not None and not known.has_ended:
            self._ended_since = None
            self._mind_the_queue(known)
            return has_changed or self._end is not None
        if known is not None:
            self._ended_since = now if self._ended_since is None else self._ended_since
            self._conclude(known, now - self._ended_since)
        else:
            self._missing_since = now if self._missing_since is None else self._missing_since
            missing_s = now - self._missing_since
            if missing_s >= (ACCOUNTING_LAGS_S if has_accounting else 0.0):
                self._conclude(None, missing_s)
            else:
                self.look_alone()
        return True

    def look_alone(self) -> None:
        """Look at the record: the job may have completed it, whatever the scheduler is at."""
        if not self._is_judged:
            try:
                self._follow()
                report = self._standing()
                if report is not None and report.state.is_final:
                    self._complete(report)
            except Exception as exc:  # noqa: BLE001 - as above
                self._give_up(exc)

    def has_news(self) -> bool:
        """Whether something has come into the record since the last look: a word of the job, a request to end."""
        with contextlib.suppress(OSError):
            written = self.record_dir.stat().st_mtime_ns
            has_news, self._written = written != self._written, written
            return has_news
        return False

    def _give_up(self, exc: Exception) -> None:
        """Tell who waits what went wrong here; the job goes on, and can be attached to."""
        self._is_judged = True
        if self._follower is not None:
            self._follower.close()
        if not self._future.done():
            self._future.set_exception(exc)

    def _ours(self, state: JobState | None) -> JobState | None:
        """Give what Slurm says of our job; nothing where its number is that of another job by now."""
        if state is None or self._is_certain:
            return state
        is_later = (state.submitted_at or 0.0) > self._submitted_at + _ANOTHER_AFTER_S
        if is_later and not self._config.requeue:  # such a one may have come back into the queue since
            return None
        self._is_certain = True
        return state

    def _follow(self) -> None:
        if self._follower is None and self._config.stream_output:
            streams = {"stdout": self.record_dir / _files.STDOUT, "stderr": self.record_dir / _files.STDERR}
            self._follower = Follower(streams, self._log)

    def _stop(self, end: End) -> None:
        self._end = self._end or end

    def _mind_the_queue(self, view: JobState) -> None:
        limit = self._config.queue_timeout
        is_over = limit is not None and view.is_waiting and time.time() > self._submitted_at + limit
        if is_over and self._end is None and not (self.record_dir / _files.BEGUN).exists():
            reason = f"its job waited longer than its queue_timeout of {limit:g} s ({view.described()})"
            self._stop(End(RunState.NOT_STARTED, reason))
            poller().poke()

    def _take_note(self, view: JobState) -> None:
        self._view = view
        facts = {"state": view.word, "reason": view.reason, "nodes": view.nodes}
        self._log.info("job is %s", view.word, extra={"job": self._job.id, **facts})
        path = self.record_dir / _files.JOB
        with contextlib.suppress(OSError):
            noted = {"job_id": self._job.id, "cluster": self._job.cluster, **facts}
            _files.write_json(path, _files.read_json(path) | noted)

    def _conclude(self, view: JobState | None, since_s: float) -> None:
        """Complete the record of a job that has ended, as soon as it is certain how."""
        _files.refresh(self.record_dir)
        self.look_alone()
        if self._is_judged:
            return
        may_come_back = self._config.requeue and view is not None and view.word in MAY_COME_BACK and self._end is None
        if may_come_back and since_s < SETTLES_S:
            return
        left = what_is_left(self.record_dir, self._job.id, view.restarts if view else None)
        cause = cause_of(view, left, self._end)
        if cause is None and not left.is_conclusive and since_s < SETTLES_S:
            return
        with contextlib.ExitStack() as stack:
            if not stack.enter_context(_files.completing(self.record_dir)):
                return  # somebody else does; the next look finds it
            self.look_alone()
            if not self._is_judged:
                self._judge(view, left, cause, stack)

    def _judge(self, view: JobState | None, left: Left, cause: End | None, stack: contextlib.ExitStack) -> None:
        """Complete the record, which *stack* keeps for us until that is done."""
        record = RunRecord(self.record_dir, self._standing() or self._record.report)
        if left.exit is not None:
            self._judge_by_the_rules(record, outcome_of(left.exit, self._config, cause), stack)
            return
        verdict = left.verdict
        cause = cause or (cause_by_the_clock(left, self._config) if view is None else None)
        if cause is None and verdict is not None and verdict.state.is_final:
            cause = End(verdict.state, verdict.reason)
        cause = cause or without_word(view, left, str(self._job))
        facts = dict(facts_of(verdict))
        if left.attempt is not None and (left.attempt / _files.PROGRESS).is_file():
            with contextlib.suppress(OSError):
                (left.attempt / _files.PROGRESS).replace(self.record_dir / _files.PROGRESS)
                facts["progress_path"] = self.record_dir / _files.PROGRESS
        self._complete(record.finish(cause.state, cause.reason, **facts))

    def _judge_by_the_rules(self, record: RunRecord, outcome: Outcome, stack: contextlib.ExitStack) -> None:
        """Have the core judge the output of a command that ran without a supervisor."""
        self._is_judged = True
        begun = self.record_dir / _files.BEGUN
        with contextlib.suppress(OSError):  # what was written before that is none of this run's
            record.opened_at = begun.stat().st_mtime
        quiet = attrs.evolve(self._config, stream_output=False)
        judged = LiveRun(record, _Ended(outcome), quiet, self._log, period=self._period)
        kept = stack.pop_all()
        judged.future.add_done_callback(lambda _: kept.close())
        judged.future.add_done_callback(lambda future: self._complete(future.result(), is_logged=True))

    def _complete(self, report: RunReport, *, is_logged: bool = False) -> None:
        self._is_judged = True
        try:
            with contextlib.suppress(OSError):
                (self.record_dir / _files.ENVIRONMENT).unlink(missing_ok=True)
            if self._follower is not None:
                self._follower.close()
        finally:
            if is_logged:
                self._future.set_result(report)
            else:
                super()._complete(report)

    def _standing(self) -> RunReport | None:
        with contextlib.suppress(RecordError):
            return read_report(self.record_dir)
        return None

    def _seen(self, **paths: Any) -> RunReport:
        return attrs.evolve(self._record.report, **paths)


@final
class _Ended:
    """A command that has ended; what the core calls an ``Execution``."""

    usage: Usage | None = None

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def wait(self, timeout: float) -> Outcome | None:  # noqa: ARG002 - there is nothing to wait for
        return self._outcome

    def stop(self, ended_as: RunState, reason: str) -> None:
        """Do nothing: it has ended."""

    def close(self) -> None:
        """Do nothing: nothing is held."""
