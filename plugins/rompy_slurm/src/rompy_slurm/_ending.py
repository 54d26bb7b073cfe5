"""How a run ended, from what Slurm says, what the job left, and what we had asked for."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from rompy_core import Outcome, RecordError, RunReport, RunState, limit_reasons, read_report
from rompy_slurm import _files
from rompy_slurm._config import SlurmConfig
from rompy_slurm._states import ENDINGS, JobState

_MEMORY_IS_GONE: Final = ("exceeded memory limit", "Exceeded job memory limit", "oom_kill", "oom-kill")
"""What Slurm writes into a job's own log where it, or the kernel, killed the job for its memory."""
_START_S: Final = 5.0
"""How much longer than its command a job may run until its time is over."""
_TIMED_OUT: Final = 124
"""The exit code of ``timeout(1)`` where the command's time was over."""
_MEASURED: Final = (
    "exit_code", "exit_signal", "wall_time_s", "cpu_time_s", "peak_rss_bytes", "memory_method", "read_bytes",
    "write_bytes", "max_processes", "leftovers", "warnings", "progress",
)  # fmt: skip


@attrs.frozen
class End:
    """Why we ask for the end of a job."""

    state: RunState
    reason: str


@attrs.frozen(kw_only=True)
class Exit:
    """How a command without a supervisor ended.

    Attributes:
        code: The shell's word for it, above 128 for a signal; ``None`` where the job refused to run it.
        elapsed_s: Whole seconds from its start to its end.
        was_asked: Whether the job had been asked to end.
    """

    code: int | None
    elapsed_s: float
    was_asked: bool


@attrs.frozen(kw_only=True)
class Left:
    """What a job has left in its record.

    Attributes:
        has_begun: Whether it began at all.
        attempt: The folder of its last start under a supervisor, or ``None``.
        verdict: What the supervisor made of that, final or not; ``None`` where there is nothing.
        exit: How the command ended, where there was no supervisor.
        log: The end of the job's own log.
    """

    has_begun: bool
    attempt: Path | None
    verdict: RunReport | None
    exit: Exit | None
    log: str

    @property
    def is_conclusive(self) -> bool:
        """Whether the job has said how its command ended."""
        return self.exit is not None or (self.verdict is not None and self.verdict.state.is_final)

    @property
    def last_line(self) -> str:
        """The last line of the job's own log; empty where there is none."""
        return _files.last_line_of(self.log)


def what_is_left(record_dir: Path, job_id: str, restarts: int | None = None) -> Left:
    """Read what a job has left.

    Args:
        record_dir: The folder of the record.
        job_id: Its number; what another one left there does not count.
        restarts: How often it was started again, where that is known; what an earlier start left does not count.
    """
    begun = _files.read_words(record_dir / _files.BEGUN)
    has_begun = begun[:1] == [job_id]
    is_last_start = has_begun and (restarts is None or begun[1:] == [str(restarts)])
    attempt = _files.newest_attempt(record_dir) if is_last_start else None
    verdict: RunReport | None = None
    if attempt is not None:
        with contextlib.suppress(RecordError):
            verdict = read_report(attempt / _files.REPORT)
    return Left(
        has_begun=has_begun,
        attempt=attempt,
        verdict=verdict,
        exit=_exit(_files.read_words(record_dir / _files.EXIT), begun) if is_last_start else None,
        log=_files.tail_of(record_dir / _files.LOG),
    )


def cause_of(view: JobState | None, left: Left, end: End | None) -> End | None:
    """Say who or what ended the job where that was not the command itself, and with which state."""
    if end is not None:
        return end
    if view is None:
        return None
    killed_for_memory = any(text in left.log for text in _MEMORY_IS_GONE)
    if view.word == "OUT_OF_MEMORY" or (view.word == "FAILED" and killed_for_memory):
        return End(RunState.OUT_OF_MEMORY, _sentence(ENDINGS["OUT_OF_MEMORY"][1], view))
    if view.word in ("COMPLETED", "FAILED"):
        return None
    state, sentence = ENDINGS[view.word]
    if view.word == "DEADLINE" and not left.has_begun:
        state, sentence = RunState.NOT_STARTED, f"{sentence} before it began"
    return End(state, _sentence(sentence, view))


def cause_by_the_clock(left: Left, config: SlurmConfig) -> End | None:
    """Say that a job was ended at its time limit where Slurm does not know it any more, but its time was over."""
    verdict, minutes = left.verdict, config.minutes
    if verdict is None or verdict.state is not RunState.CANCELLED or minutes is None:
        return None
    if (verdict.wall_time_s or 0.0) < minutes * 60 - _START_S:
        return None
    return End(
        RunState.TIMED_OUT, f"its job exceeded its time_limit of {minutes * 60} s, or so it seems: {verdict.reason}"
    )


def without_word(view: JobState | None, left: Left, job: str) -> End:
    """Say what is known of a run whose job left no verdict, and that nobody had reason to end: no success, ever."""
    if view is None:
        state, reason = RunState.LOST, f"Slurm does not know {job} any more, and it left no word of how it ended"
    elif view.word == "FAILED" and view.reason == "JobLaunchFailure" and not left.has_begun:
        state, reason = RunState.NOT_STARTED, _sentence("its job could not be launched", view)
    else:
        state, sentence = ENDINGS[view.word]
        ending = f" with exit code {view.exit_code}" if view.exit_code else ""
        ending = f" by signal {view.exit_signal}" if view.exit_signal else ending
        reason = _sentence(f"{sentence}{ending}" if view.word == "FAILED" else sentence, view)
    return End(state, f"{reason}; the last line of its job.log: {left.last_line!r}" if left.last_line else reason)


def facts_of(verdict: RunReport | None) -> Mapping[str, Any]:
    """Give what the supervisor measured, for the report."""
    return {} if verdict is None else {name: getattr(verdict, name) for name in _MEASURED}


def outcome_of(ended: Exit, config: SlurmConfig, cause: End | None) -> Outcome:
    """Turn the word of a job without a supervisor into an outcome, for the rules to judge."""
    if ended.code is None:
        options = ", ".join(config.kept_inside)
        reason = f"nobody can keep {options} on its node: there is no rompy-local for the interpreter {config.python!r}"
        return Outcome(ended_as=RunState.NOT_STARTED, reason=f"{reason}; install it there, or name another python")
    signal_number = ended.code - 128 if 128 < ended.code <= 128 + signal.SIGRTMAX else None
    unwatched = () if not config.rules.fatal else ("fatal lines were looked for at the end only, without rompy-local",)
    is_late = config.timeout is not None and ended.elapsed_s >= int(config.timeout)
    if cause is None and is_late and ended.code in (_TIMED_OUT, 128 + signal.SIGKILL):
        reasons = limit_reasons(timeout=config.timeout, stall_timeout=None, log_size_limit=None)
        cause = End(RunState.TIMED_OUT, reasons["timeout"])
    elif cause is None and ended.was_asked:
        cause = End(RunState.CANCELLED, "its job was asked to end")
    return Outcome(
        ended_as=cause.state if cause else None,
        reason=cause.reason if cause else "",
        exit_code=None if signal_number else ended.code,
        exit_signal=signal_number,
        wall_time_s=ended.elapsed_s,
        warnings=unwatched,
    )


def _sentence(sentence: str, view: JobState) -> str:
    by = f" (by {view.by})" if view.by else ""
    return f"{sentence}{by} ({view.described()})"


def _exit(words: list[str], begun: list[str]) -> Exit | None:
    """Read the word of the start of the job that *begun* tells of."""
    if len(words) != 5 or words[:2] != begun:
        return None
    code, elapsed, asked = words[2:]
    number = int(code) if code.isdigit() else None
    return Exit(code=number, elapsed_s=float(elapsed), was_asked=asked == "1")
