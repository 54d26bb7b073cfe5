"""Which member is next: a state machine without clock, disk or threads, so that its rules can be tested as they stand.

Members begin in the order of the table. A retry that is due goes before members that have not begun; of several, the
one that was due first. After ``max_failures`` members have failed for good, nothing begins any more.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import final

import attrs

from rompy_core import RunState
from rompy_ensemble._retries import RetryRule, rule_for


@attrs.define
class _Budget:
    """What one member has used up, by rule, and how often it was lost with its worker."""

    retries: dict[int, int] = attrs.field(factory=dict[int, int])
    losses: int = 0


@final
class Schedule:
    """Decides, for members 0 to *total* - 1, what begins when and what is tried again.

    Attributes:
        failures: How many members have failed for good.
        running: The members that have begun and not ended.
    """

    def __init__(self, total: int, rules: Sequence[RetryRule], *, max_failures: int | None, max_losses: int) -> None:
        self.failures = 0
        self.running: set[int] = set()
        self._total = total
        self._rules = rules
        self._max_failures = max_failures
        self._max_losses = max_losses
        self._next = 0
        self._waiting: list[tuple[float, int, int]] = []
        self._turn = 0
        self._budgets: dict[int, _Budget] = {}
        self._is_stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether nothing begins any more."""
        return self._is_stopped or (self._max_failures is not None and self.failures >= self._max_failures)

    @property
    def is_done(self) -> bool:
        """Whether nothing runs and nothing will."""
        return not self.running and (self.is_stopped or (self._next >= self._total and not self._waiting))

    def stop(self) -> None:
        """Let nothing begin any more."""
        self._is_stopped = True

    def next(self, now: float) -> int | None:
        """Give the member to begin now, or ``None``."""
        if self.is_stopped:
            return None
        if self._waiting and self._waiting[0][0] <= now:
            member = heapq.heappop(self._waiting)[2]
        elif self._next < self._total:
            member = self._next
            self._next += 1
        else:
            return None
        self.running.add(member)
        return member

    def next_due(self) -> float | None:
        """Give the time of the next retry, or ``None`` where none is waiting or nothing begins any more."""
        return self._waiting[0][0] if self._waiting and not self.is_stopped else None

    def ended(self, member: int, state: RunState, now: float) -> bool:
        """Take note of how a member ended; gives whether that was its last attempt."""
        rule = None if state is RunState.COMPLETED else rule_for(self._rules, state)
        used = self._budget(member).retries.get(rule, 0) if rule is not None else 0
        if rule is None or used >= self._rules[rule].times or self.is_stopped:
            return self._for_good(member, is_failure=state is not RunState.COMPLETED)
        self._budget(member).retries[rule] = used + 1
        self._again(member, now + self._rules[rule].wait_before(used + 1))
        return False

    def lost(self, member: int, now: float) -> bool:
        """Take note that the engine lost a member, which is no fault of the member; gives what ``ended`` gives."""
        budget = self._budget(member)
        if budget.losses >= self._max_losses or self.is_stopped:
            return self._for_good(member, is_failure=True)
        budget.losses += 1
        self._again(member, now)
        return False

    def _budget(self, member: int) -> _Budget:
        return self._budgets.setdefault(member, _Budget())

    def _again(self, member: int, due: float) -> None:
        self.running.discard(member)
        self._turn += 1
        heapq.heappush(self._waiting, (due, self._turn, member))

    def _for_good(self, member: int, *, is_failure: bool) -> bool:
        self.running.discard(member)
        self._budgets.pop(member, None)
        self.failures += is_failure
        return True
