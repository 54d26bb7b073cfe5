"""How a run ended: states, measurements, the report. Values only; the disk is the business of ``_records``."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs


class RunState(enum.StrEnum):
    """Where a run stands: ``RUNNING``, then exactly one of the others."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    """The command ended by itself and the verdict is success."""
    FAILED = "FAILED"
    """The command ended by itself, or by a fatal line, and the verdict is failure."""
    TIMED_OUT = "TIMED_OUT"
    """Ended at the wall-clock limit."""
    STALLED = "STALLED"
    """Ended because neither its output nor its files grew."""
    CANCELLED = "CANCELLED"
    """Ended on request, or because the process that had started it is gone."""
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    """Ended at a limit of CPU time, log size, file size or processes."""
    NOT_STARTED = "NOT_STARTED"
    """The command could not be started at all."""
    LOST = "LOST"
    """The record says ``RUNNING``, but whoever had to complete it is gone."""

    @property
    def is_final(self) -> bool:
        """Whether a run in this state has ended."""
        return self is not RunState.RUNNING


RECORDS: Final = ".rompy"
"""In a workspace: the folder with the records of its runs."""
FAILED_RECORDS: Final = f"{RECORDS}-failed"
"""Below ``output_dir``: the records of failed runs whose workspace was cleaned up, in a folder for each ``run_id``."""


@attrs.frozen(kw_only=True)
class ProcessIdentity:
    """One process, told apart from any other that may get its number later.

    Attributes:
        host: The machine's name.
        boot_id: The kernel's identifier of this boot; ``None`` where there is none.
        pid: The process's number in its own PID namespace.
        start_time: When it started, in the platform's own unit; ``None`` where that cannot be read.
        pid_namespace: Which PID namespace the number belongs to (Linux); ``None`` where there is none.
    """

    host: str
    pid: int
    boot_id: str | None = None
    start_time: str | None = None
    pid_namespace: str | None = None


@attrs.frozen(kw_only=True)
class Usage:
    """One sample of a run's whole process tree.

    Attributes:
        elapsed_s: Seconds since the command started.
        cpu_time_s: User and system time so far, ended processes included as far as they were seen.
        rss_bytes: Sum of the resident memory of all processes; counts shared pages once for each of them.
        hwm_bytes: Sum of the high-water marks of resident memory; catches peaks between two samples.
        read_bytes: Bytes fetched from storage so far.
        write_bytes: Bytes sent to storage so far.
        processes: How many processes there are.
        threads: How many threads there are.
        pss_bytes: Sum of the proportional set sizes (shared pages are counted once), where it was measured.
    """

    elapsed_s: float
    cpu_time_s: float = 0.0
    rss_bytes: int = 0
    hwm_bytes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    processes: int = 0
    threads: int = 0
    pss_bytes: int | None = None


@attrs.frozen(kw_only=True)
class Progress:
    """How far a run is, by its own output.

    Attributes:
        fraction: Between 0 and 1; never goes back.
        text: The line of output that said so.
        remaining_s: Seconds to the end at the pace so far, or ``None`` before there is a pace.
        model_time: Where it is in the model's own time, as the model prints it: the date, or the step and how many
            there are; empty where it prints a percentage.
    """

    fraction: float
    text: str = ""
    remaining_s: float | None = None
    model_time: str = ""


@attrs.frozen(kw_only=True)
class Outcome:
    """What a backend found out about one command that has ended; no judgement yet.

    Attributes:
        ended_as: Why the backend ended it, or ``None`` where it ended by itself.
        reason: The sentence for that, naming the limit; empty where it ended by itself.
        exit_code: Its exit code, or ``None`` where a signal ended it.
        exit_signal: The number of the signal that ended it, or ``None``.
        wall_time_s: From the start of the command to the end of the last process of it.
        cpu_time_s: User and system time of all processes, or ``None`` where it is not known.
        peak_rss_bytes: The best estimate for the whole tree, or ``None``.
        memory_method: How that estimate was made.
        read_bytes: Bytes fetched from storage, or ``None``.
        write_bytes: Bytes sent to storage, or ``None``.
        max_processes: The most processes seen at once, or ``None``.
        leftovers: The processes that outlived the command, one sentence each.
        warnings: What went wrong beside the run, one sentence each.
        traceback: Where the command is Python code of the model config, what it raised.
    """

    ended_as: RunState | None = None
    reason: str = ""
    exit_code: int | None = None
    exit_signal: int | None = None
    wall_time_s: float = 0.0
    cpu_time_s: float | None = None
    peak_rss_bytes: int | None = None
    memory_method: str | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    max_processes: int | None = None
    leftovers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    traceback: str | None = None


@attrs.frozen(kw_only=True)
class RunReport:
    """One attempt to run a model: what was run, how it ended, what it cost.

    Attributes:
        run_id: The model run's identifier.
        backend: The name of the backend.
        state: Where the run stands.
        reason: One sentence for a person: what happened, with the line, file, limit or signal.
        exit_code: The command's exit code, or ``None``. Never set together with ``exit_signal``.
        exit_signal: The number of the signal that ended the command, or ``None``.
        command: The words that were run, or ``None`` where the backend alone knows.
        started_at: When the attempt began, UTC.
        finished_at: When it had ended and every process of it was gone, UTC; ``None`` while it runs.
        wall_time_s: Seconds from the command's start to the end of its last process.
        cpu_time_s: User and system seconds of all processes.
        peak_rss_bytes: Peak resident memory of the whole tree, the best estimate there is.
        memory_method: How it was measured: ``cgroup``, ``sampled cgroup`` (where the kernel's own maximum was not to be
            had), ``PSS``, ``sum of high-water marks``, ``sampled RSS sum``, or ``largest process`` (what the kernel
            says of ended processes, where that is more than the samples saw).
        read_bytes: Bytes fetched from storage.
        write_bytes: Bytes sent to storage.
        max_processes: The most processes seen at once.
        workspace_dir: The directory with the model's inputs and outputs.
        record_dir: The directory of this record.
        stdout_path: The captured standard output, raw.
        stderr_path: The captured standard error, raw.
        usage_path: The time series of samples (CSV).
        progress_path: How far the run was and when (CSV), or ``None`` where nothing said so.
        progress: The last progress that was seen.
        host: The machine that the run was on.
        versions: Versions of the packages and of Python.
        env_names: Names of the environment variables that the run was given; values are recorded nowhere.
        options: The options of the run; secret ones by name only.
        leftovers: Processes that outlived the command, one sentence each.
        warnings: What went wrong beside the run, one sentence each.
        traceback: What the model config's ``run()`` raised, or ``None``.
        is_cancellable: Whether ``cancel()`` can end it while it runs.
        supervisor: The process that will complete this record.
        keeper: What keeps the run where that is more than a process, such as a job in a queue: it may live, and the
            record be completed, although ``supervisor`` is gone. ``None`` for a run that ends with its supervisor.
    """

    run_id: str
    backend: str
    state: RunState
    reason: str = ""
    exit_code: int | None = None
    exit_signal: int | None = None
    command: tuple[str, ...] | None = None
    started_at: datetime
    finished_at: datetime | None = None
    wall_time_s: float | None = None
    cpu_time_s: float | None = None
    peak_rss_bytes: int | None = None
    memory_method: str | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    max_processes: int | None = None
    workspace_dir: Path
    record_dir: Path | None = None
    stdout_path: Path | None = None
    stderr_path: Path | None = None
    usage_path: Path | None = None
    progress_path: Path | None = None
    progress: Progress | None = None
    host: str = ""
    versions: Mapping[str, str] = attrs.field(factory=dict[str, str])
    env_names: tuple[str, ...] = ()
    options: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)
    leftovers: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    traceback: str | None = attrs.field(default=None, repr=False)
    is_cancellable: bool = True
    supervisor: ProcessIdentity | None = None
    keeper: str | None = None

    @property
    def ok(self) -> bool:
        """The verdict: whether the run truly worked."""
        return self.state is RunState.COMPLETED

    @property
    def current_workspace_dir(self) -> Path:
        """The workspace, by where the record is: it may have been moved since ``workspace_dir`` was written.

        A workspace that was cleaned up, or that its record was taken out of, is not there.
        """
        record_dir = self.record_dir
        if record_dir is not None and record_dir.parent.name == RECORDS:
            return record_dir.parent.parent
        if record_dir is not None and record_dir.parent.parent.name == FAILED_RECORDS:
            return record_dir.parents[2] / record_dir.parent.name
        return self.workspace_dir
