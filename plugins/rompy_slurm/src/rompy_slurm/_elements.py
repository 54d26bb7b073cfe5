"""What is known of one task of an array: by Slurm, and by its own word."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from rompy_slurm._ending import Left, cause_of, without_word
from rompy_slurm._files import tail_of
from rompy_slurm._poller import ACCOUNTING_LAGS_S, ASK_AGAIN_S, SETTLES_S
from rompy_slurm._scheduler import Job
from rompy_slurm._states import JobState


@final
class Element:
    """One task of an array, which the poller watches and the pool counts on.

    Attributes:
        job: Which one.
        has_begun: Whether it has given its first word.
        has_left: Whether it has given its last word.
    """

    def __init__(self, job: Job, wake: Callable[[], None]) -> None:
        self.job = job
        self.has_begun = False
        self.has_left = False
        self._wake = wake
        self._view: JobState | None = None
        self._ended_at: float | None = None
        self._missing_since: float | None = None
        self._is_to_end = False
        self._asked_at = -math.inf
        self._has_news = False

    @property
    def is_at_hand(self) -> bool:
        """Whether it does work, or will."""
        return self._ended_at is None and not self.has_left

    def is_settled(self) -> bool:
        """Whether it has ended, and all that it has written can be seen."""
        if self._ended_at is None:
            return False
        return self.has_left or time.monotonic() - self._ended_at > SETTLES_S

    def say(self, *, has_begun: bool = False, has_left: bool = False) -> None:
        """Take note of its own word; after the last one, Slurm is asked soon."""
        self.has_begun |= has_begun or has_left
        self.has_left |= has_left
        self._has_news |= has_left

    def end(self) -> None:
        """Have it ended: the poller asks for that again and again, as the first request may not have arrived."""
        self._is_to_end = True
        self._asked_at = time.monotonic()

    def ending(self, logs_dir: Path) -> str:
        """Say how it ended, with Slurm's state and reason, and the last line of its log."""
        log = tail_of(logs_dir / self.job.id)
        view = self._view if self._view is not None and self._view.has_ended else None
        left = Left(has_begun=self.has_begun, attempt=None, verdict=None, exit=None, log=log)
        end = cause_of(view, left, None) or without_word(view, left, str(self.job))
        return end.reason.replace("job.log", "log")

    # What the poller asks and tells, from here on

    def is_to_end(self, now: float) -> bool:
        """Whether the scheduler is to be asked for its end now."""
        if not self._is_to_end or now < self._asked_at + ASK_AGAIN_S:
            return False
        self._asked_at = now
        return True

    def look(self, view: JobState | None, account: JobState | None, *, has_accounting: bool, now: float) -> bool:
        """Take note of what Slurm knows; say whether anything has changed, or is about to."""
        known = view or account
        if known is None:
            self._missing_since = now if self._missing_since is None else self._missing_since
            if now - self._missing_since >= (ACCOUNTING_LAGS_S if has_accounting else 0.0):
                self._ended(now)
            return True
        self._missing_since = None
        has_changed, self._view = known != self._view, known
        if known.has_ended:
            self._ended(now)
        return has_changed or self._is_to_end or self.has_left

    def look_alone(self) -> None:
        """Do nothing: where Slurm gives no answer, nothing follows from that."""

    def has_news(self) -> bool:
        """Whether it has given its last word since the last look."""
        has_news, self._has_news = self._has_news, False
        return has_news

    def done(self) -> bool:
        """Whether Slurm need not be asked any more."""
        return self._ended_at is not None

    def _ended(self, now: float) -> None:
        self._ended_at = self._ended_at or now
        self._wake()
