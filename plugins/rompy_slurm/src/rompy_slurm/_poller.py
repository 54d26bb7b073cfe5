"""One thread, and one query a round, for all live jobs of this process."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol, final

from rompy_slurm import _scheduler
from rompy_slurm._scheduler import Job, SchedulerError
from rompy_slurm._states import JobState

logger = logging.getLogger(__name__)

ASK_AGAIN_S: Final = 5.0
"""How soon a request to end is repeated to a scheduler that still shows the job."""
SETTLES_S: Final = 5.0
"""How much later than the end of a job its last words may reach this machine, through a network's file system."""
ACCOUNTING_LAGS_S: Final = 30.0
"""How much later than the controller has forgotten a job the accounting may know it."""
_SHORTEST_S: Final = 0.5
_LONGEST_S: Final = 30.0
_GROWTH: Final = 1.5
_JOBS_PER_S: Final = 200
"""The shortest interval grows by a second for each so many jobs: an answer about 1,000 of them takes its time."""
_GLANCES: Final = 20
"""At how many records a glance is taken at once, whether their job has said something; the others have their turn."""
_GLANCE_S: Final = 0.2
_GOES_S: Final = 0.15
"""How much later than the last word of a job Slurm may say that it has ended."""


class Watched(Protocol):
    """A job that somebody waits for."""

    @property
    def job(self) -> Job:
        """Which job."""
        ...

    def is_to_end(self, now: float) -> bool:
        """Whether the scheduler is to be asked for its end now."""
        ...

    def look(self, view: JobState | None, account: JobState | None, *, has_accounting: bool, now: float) -> bool:
        """Take note of what is known; say whether anything has changed."""
        ...

    def look_alone(self) -> None:
        """Take note that the scheduler gave no answer."""
        ...

    def has_news(self) -> bool:
        """Whether the job has changed its record since the last look; costs next to nothing."""
        ...

    def done(self) -> bool:
        """Whether there is nothing more to watch."""
        ...


@final
class Poller:
    """Watches jobs until they are done. Its thread lives as long as there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._watched: list[Watched] = []
        self._thread: threading.Thread | None = None
        self._interval_s = _SHORTEST_S
        self._has_complained = False

    def watch(self, one: Watched) -> None:
        """Watch a job from now on."""
        with self._lock:
            self._watched.append(one)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="rompy-slurm-poller", daemon=True)
                self._thread.start()
        self._interval_s = _SHORTEST_S

    def poke(self) -> None:
        """Look at once: something is to be ended."""
        self._interval_s = _SHORTEST_S
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._rest()
            with self._lock:
                watched = list(self._watched)
            try:
                self._round(watched)
            except Exception:  # a fault of ours: who waits must not hang for it
                logger.warning("a look at the jobs failed, and is taken again", exc_info=True)
                self._interval_s = min(self._interval_s * _GROWTH, _LONGEST_S)
            with self._lock:
                self._watched = [one for one in self._watched if not one.done()]
                if not self._watched:
                    self._thread = None
                    return

    def _rest(self) -> None:
        """Wait until the next round is due, or a job has completed its record, or something is to be ended."""
        began = time.monotonic()
        while (left := began + self._pause_s() - time.monotonic()) > 0 and not self._wake.wait(min(left, _GLANCE_S)):
            with self._lock:
                glanced = self._watched[:_GLANCES]
                self._watched = [*self._watched[_GLANCES:], *glanced]
            news = [one.has_news() for one in glanced]  # each of them, or the next glance tells old news
            if any(news):
                self._interval_s = _SHORTEST_S
                self._wake.wait(_GOES_S)
                break
        self._wake.clear()

    def _pause_s(self) -> float:
        """How long a rest is; it gets shorter where a job comes in meanwhile."""
        return min(self._interval_s + len(self._watched) / _JOBS_PER_S, _LONGEST_S)

    def _round(self, watched: Sequence[Watched]) -> None:
        has_changed = False
        for cluster, group in itertools.groupby(sorted(watched, key=_cluster_of), key=_cluster_of):
            members = list(group)
            try:
                has_changed |= self._look_at(members, cluster)
            except SchedulerError as exc:
                self._complain(exc)
                for one in members:
                    one.look_alone()
            else:
                self._has_complained = False
        self._interval_s = _SHORTEST_S if has_changed else min(self._interval_s * _GROWTH, _LONGEST_S)

    def _look_at(self, members: Sequence[Watched], cluster: str) -> bool:
        now = time.monotonic()
        try:
            _scheduler.cancel([one.job.id for one in members if one.is_to_end(now)], cluster)
        except SchedulerError as exc:  # it is asked for again; the others must not wait for that
            self._complain(exc)
        views = _scheduler.states([one.job.id for one in members], cluster)
        accounts = _accounts([one.job.id for one in members if one.job.id not in views], cluster)
        changes = [
            one.look(
                views.get(one.job.id),
                (accounts or {}).get(one.job.id),
                has_accounting=accounts is not None,
                now=time.monotonic(),
            )
            for one in members
        ]
        return any(changes)

    def _complain(self, exc: SchedulerError) -> None:
        if not self._has_complained:
            logger.warning("Slurm gave no answer, and is asked again: %s", exc)
        self._has_complained = True


def _accounts(ids: Collection[str], cluster: str) -> Mapping[str, JobState] | None:
    """Look jobs up that the controller has forgotten; one that gives no answer may give it later."""
    try:
        return _scheduler.accounting(ids, cluster) if ids else None
    except SchedulerError as exc:
        logger.debug("the accounting gave no answer: %s", exc)
        return {}


def _cluster_of(one: Watched) -> str:
    return one.job.cluster


_of_process: dict[int, Poller] = {}


def poller() -> Poller:
    """Give the poller of this process; a child that was forked has one of its own."""
    return _of_process.setdefault(os.getpid(), Poller())
