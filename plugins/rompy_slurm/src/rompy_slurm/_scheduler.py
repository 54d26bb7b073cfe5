"""Slurm's own commands: submit, states, accounting, cancel. The only module that starts one.

Another scheduler has the same four verbs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

from rompy_slurm._states import JobState

_ANSWERS_WITHIN_S: Final = 60.0
_TAKEN_WITHIN_S: Final = 5.0
"""How much later than an answer that did not come a job may appear in the queue."""
_STATES: Final = "JobArrayID:|,State:|,exit_code:|,NodeList:|,SubmitTime:|,RestartCnt:|,Reason:|"
_KEYS: Final = "JobArrayID:|,Comment:|"
_ACCOUNTS: Final = "JobID,State,ExitCode,NodeList,Submit,Reason"
_UNKNOWN_JOB: Final = "Invalid job id"
_NO_ACCOUNTING: Final = "accounting storage is disabled"
_MAY_HAVE_BEEN_TAKEN: Final = ("timed out", "Unexpected message", "Zero Bytes")
"""What ``sbatch`` says where it cannot know whether the controller took the job."""
_DECIDE_FOR_US: Final = ("SACCT_", "SCANCEL_", "SQUEUE_", "SBATCH_ARRAY_INX", "SBATCH_ERROR", "SBATCH_WAIT")
"""Beginnings of the variables by which a user gives these commands options; these would change what we make of it."""
_ABOUT_SLURM: Final = {"SLURM_CLUSTERS", "SLURM_CONF", "SLURM_JWT"}
"""Of the variables of a job, what another job that is submitted inside it may have, too. The rest tells ``srun`` how
many tasks, how much memory and which nodes the first one has, and how often that was started again."""


@attrs.frozen
class Job:
    """A job, told apart from those of other clusters.

    Attributes:
        id: Its number; of a task of an array, both numbers (``28_3``).
        cluster: The cluster's name where it is not the caller's own one; else empty.
    """

    id: str
    cluster: str = ""

    def __str__(self) -> str:
        return f"Slurm job {self.id}{f' of cluster {self.cluster}' if self.cluster else ''}"


class SchedulerError(Exception):
    """A command of Slurm failed; the text is what it said.

    Attributes:
        is_open: Whether what was asked may have happened all the same.
    """

    def __init__(self, text: str, *, is_open: bool = False) -> None:
        super().__init__(text)
        self.is_open = is_open


def submit(argv: Sequence[str], script: Callable[[], bytes]) -> Job:
    """Hand in a job.

    Args:
        argv: The words of ``sbatch``, with ``--parsable`` and no script.
        script: Gives the batch script. It is called while ``sbatch`` comes up, which takes as long as writing what the
            job needs; where it raises, nothing is submitted.

    Raises:
        SchedulerError: It was refused, or (``is_open``) nobody knows.
    """
    ended = _called(argv, script)
    if ended.returncode != 0:
        said = _said(ended.stderr)
        raise SchedulerError(said, is_open=any(text in said for text in _MAY_HAVE_BEEN_TAKEN))
    number, _, cluster = ended.stdout.strip().rpartition("\n")[2].partition(";")
    if not number.isdigit():
        raise SchedulerError(f"sbatch gave no job id, but {ended.stdout!r}", is_open=True)
    return Job(number, cluster)


def submit_or_find(argv: Sequence[str], script: Callable[[], bytes], key: str, cluster: str = "") -> Job:
    """Hand in a job with the comment *key*; where nobody knows whether that worked, look whether it is there.

    Raises:
        SchedulerError: It was refused, or it does not appear in the queue.
    """
    try:
        return submit(argv, script)
    except SchedulerError as exc:
        deadline = time.monotonic() + (_TAKEN_WITHIN_S if exc.is_open else 0.0)
        while time.monotonic() < deadline:
            if job := find_or_none(key, cluster):
                return job
            time.sleep(0.5)
        raise


def refusal(argv: Sequence[str]) -> str:
    """Say why ``sbatch`` would not take a job with these words; empty where it would. Nothing is submitted."""
    try:
        ended = _called([*argv, "--test-only"], lambda: b"#!/bin/sh\n")
    except SchedulerError as exc:
        return str(exc)
    return _said(ended.stderr) if ended.returncode else ""


def largest_array(cluster: str = "") -> int:
    """Give how many tasks an array may have; Slurm's own default where the controller does not say."""
    with contextlib.suppress(SchedulerError):
        for line in _called(["scontrol", *_on(cluster), "show", "config"]).stdout.splitlines():
            name, _, value = (part.strip() for part in line.partition("="))
            if name == "MaxArraySize" and value.isdigit():
                return max(int(value), 1)
    return 1001


def states(ids: Collection[str], cluster: str = "") -> Mapping[str, JobState]:
    """Ask the controller for jobs of one cluster, in one query; those that it does not know are left out.

    Raises:
        SchedulerError: It gave no answer; nothing follows for the jobs.
    """
    if not ids:
        return {}
    what = ["--noheader", "--array", "--states=all", f"--jobs={','.join(ids)}", f"--Format={_STATES}"]
    argv = ["squeue", *what, *_on(cluster)]
    ended = _called(argv)
    if ended.returncode != 0:
        if _UNKNOWN_JOB in ended.stderr:  # what it says where it knows none of them
            return {}
        raise SchedulerError(_said(ended.stderr))
    rows = (line.split("|", 6) for line in ended.stdout.splitlines())
    return {row[0]: _state(row) for row in rows if len(row) == 7}


def accounting(ids: Collection[str], cluster: str = "") -> Mapping[str, JobState] | None:
    """Ask the accounting, which remembers jobs that the controller has forgotten; ``None`` where there is none.

    It lags behind the controller by seconds.

    Raises:
        SchedulerError: It gave no answer.
    """
    if shutil.which("sacct") is None:
        return None
    argv = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(ids)}", f"--format={_ACCOUNTS}"]
    ended = _called([*argv, *_on(cluster)])
    if ended.returncode != 0:
        if _NO_ACCOUNTING in ended.stderr:
            return None
        raise SchedulerError(_said(ended.stderr))
    rows = (line.split("|", 5) for line in ended.stdout.splitlines())
    return {row[0]: _account(row) for row in rows if len(row) == 6}


def accounting_problem() -> str:
    """Say why there is no accounting; empty where there is one."""
    try:
        ended = _called(["sacct", "--noheader", "--allocations", "--jobs=0"])
    except SchedulerError as exc:
        return str(exc)
    return _said(ended.stderr) if ended.returncode else ""


def cancel(ids: Collection[str], cluster: str = "", *, waiting_only: bool = False) -> None:
    """Ask for the end of jobs, or of those of them that wait; those that have ended are left as they are.

    Raises:
        SchedulerError: The controller did not take the request.
    """
    if ids:
        ended = _called(["scancel", "--quiet", *(["--state=PENDING"] if waiting_only else []), *_on(cluster), *ids])
        if ended.returncode != 0 and _UNKNOWN_JOB not in ended.stderr:
            raise SchedulerError(_said(ended.stderr))


def find(key: str, cluster: str = "") -> Job | None:
    """Find the job of ours that has the comment *key*, as long as the controller knows it.

    Raises:
        SchedulerError: It gave no answer.
    """
    # --all: of hidden partitions, too
    argv = ["squeue", "--noheader", "--states=all", "--me", "--all", f"--Format={_KEYS}", *_on(cluster)]
    ended = _called(argv)
    if ended.returncode != 0:
        raise SchedulerError(_said(ended.stderr))
    for line in ended.stdout.splitlines():
        number, _, comment = line.rstrip("|").partition("|")
        if comment == key:
            return Job(number.partition("_")[0], cluster)
    return None


def find_or_none(key: str, cluster: str = "") -> Job | None:
    """Find the job as ``find`` does; none also where there was no answer."""
    with contextlib.suppress(SchedulerError):
        return find(key, cluster)
    return None


def _state(row: Sequence[str]) -> JobState:
    _, word, code, nodes, submitted, restarts, reason = row
    status = int(code) if code.isdigit() else 0
    return JobState(
        word=word,
        reason="" if (reason := reason.rstrip("|")) == "None" else reason,
        nodes=nodes,
        exit_code=None if status & 0x7F else status >> 8,
        exit_signal=status & 0x7F or None,
        restarts=int(restarts) if restarts.isdigit() else None,
        submitted_at=float(submitted) if submitted.isdigit() else None,
    )


def _account(row: Sequence[str]) -> JobState:
    _, state, status, nodes, submitted, reason = row
    word, _, by = state.partition(" by ")
    code, _, signal = status.partition(":")
    number = int(signal) if signal.isdigit() else 0
    return JobState(
        word=word,
        by=by,
        reason="" if reason == "None" else reason,
        nodes="" if nodes == "None assigned" else nodes,
        exit_code=int(code) if code.isdigit() and not number else None,
        exit_signal=number or None,
        submitted_at=float(submitted) if submitted.isdigit() else None,
    )


def _on(cluster: str) -> Iterable[str]:
    return [f"--clusters={cluster}"] if cluster else []


def _said(stderr: str) -> str:
    """Give what a command said, in one line, without its own name before each part."""
    lines = [line.partition("error: ")[2] or line for line in stderr.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines)) or "it gave no reason"


def _called(argv: Sequence[str], standard_input: Callable[[], bytes] | None = None) -> subprocess.CompletedProcess[str]:
    """Call a command to its end; a job that is being handed in may have been taken although it gives no answer."""
    try:
        # In a session of its own: an interrupt of the caller's terminal must not end it halfway.
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if standard_input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(argv[0]),
            start_new_session=True,
        )
    except OSError as exc:
        raise SchedulerError(f"{argv[0]} cannot be executed: {exc.strerror or exc}") from exc
    with process:
        try:
            data = None if standard_input is None else standard_input()
        except BaseException:
            process.kill()  # before the end of its input, which it waits for
            raise
        try:
            stdout, stderr = process.communicate(data, timeout=_ANSWERS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            detail = f"{argv[0]} gave no answer within {_ANSWERS_WITHIN_S:g} s"
            raise SchedulerError(detail, is_open=standard_input is not None) from None
        except BaseException:
            # What was asked for goes on; whoever catches the interrupt must know what came of it.
            if process.stdin is not None:
                process.stdin.close()  # or, where nothing was written yet, both would wait
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ANSWERS_WITHIN_S)
            raise
    told, complained = (text.decode("utf-8", "replace") for text in (stdout, stderr))
    return subprocess.CompletedProcess(argv, process.returncode, told, complained)


def _environment(command: str) -> Mapping[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(_DECIDE_FOR_US)}
    if command != "sbatch":
        return env | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}
    # sbatch hands the caller's environment on to the job, the language included.
    is_inside_a_job = "SLURM_JOB_ID" in env
    return {
        name: value
        for name, value in env.items()
        if not (is_inside_a_job and name.startswith("SLURM_")) or name in _ABOUT_SLURM
    }
