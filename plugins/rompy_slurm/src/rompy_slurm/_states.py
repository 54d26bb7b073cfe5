"""From the states of Slurm's jobs to ours, each with its cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from rompy_core import RunState

ENDINGS: Final[Mapping[str, tuple[RunState, str]]] = {
    "BOOT_FAIL": (RunState.NOT_STARTED, "a node of its job did not boot"),
    "CANCELLED": (RunState.CANCELLED, "its job was cancelled by somebody else"),
    "COMPLETED": (RunState.FAILED, "its job ended, but left no word of how the command did"),
    "DEADLINE": (RunState.TIMED_OUT, "the deadline of its job passed"),
    "FAILED": (RunState.FAILED, "its job failed"),
    "LAUNCH_FAILED": (RunState.NOT_STARTED, "its job could not be launched"),
    "NODE_FAIL": (RunState.LOST, "a node of its job failed"),
    "OUT_OF_MEMORY": (RunState.OUT_OF_MEMORY, "its job took more memory than it had asked for"),
    "PREEMPTED": (RunState.CANCELLED, "its job was preempted by another one"),
    "RECONFIG_FAIL": (RunState.NOT_STARTED, "a node of its job could not be configured"),
    "REVOKED": (RunState.LOST, "its job was taken over by another cluster of the federation"),
    "TIMEOUT": (RunState.TIMED_OUT, "its job exceeded its time_limit"),
}
"""The states in which a job has ended, and what they mean for a run whose command left no verdict."""

WAITING: Final = frozenset(
    {
        "CONFIGURING",
        "PENDING",
        "POWER_UP_NODE",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
    }
)
"""The states in which no process of a job runs, although it lives. Any other state that is no ending is a running one,
also one that a later Slurm invents: what is not known is neither success nor failure."""

MAY_COME_BACK: Final = frozenset({"BOOT_FAIL", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "PREEMPTED"})
"""The endings after which a job that may be requeued can be there again a moment later."""


@attrs.frozen(kw_only=True)
class JobState:
    """What the scheduler says of one job.

    Attributes:
        word: Slurm's state, such as ``PENDING``.
        reason: Slurm's reason for it; empty where it gives none.
        nodes: The nodes, as Slurm writes them (``c[1-2]``); empty before there are any.
        exit_code: The exit code of the batch script, or ``None``.
        exit_signal: The signal that ended the batch script, or ``None``.
        by: Who cancelled it, where accounting says so.
        restarts: How often it was started again, or is to be; or ``None``.
        submitted_at: When it was submitted, or came back into the queue, seconds since the epoch; or ``None``.
    """

    word: str
    reason: str = ""
    nodes: str = ""
    exit_code: int | None = None
    exit_signal: int | None = None
    by: str = ""
    restarts: int | None = None
    submitted_at: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the job will not run any more, as far as its state tells."""
        return self.word in ENDINGS

    @property
    def is_waiting(self) -> bool:
        """Whether it lives, but none of its processes does."""
        return self.word in WAITING

    def described(self) -> str:
        """Say what Slurm says, for a report."""
        parts = [self.word, self.reason, f"on {self.nodes}" if self.nodes else ""]
        return f"Slurm: {', '.join(part for part in parts if part)}"
