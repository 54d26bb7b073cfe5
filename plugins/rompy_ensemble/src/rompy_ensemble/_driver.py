"""Drive the members of an ensemble through an engine: the one loop of it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, final

import attrs

from rompy_core import RecordError, RunState, newest_progress, read_report
from rompy_ensemble._attempts import Task, cancel_run, is_finished
from rompy_ensemble._engines import Engine, EngineBrokenError
from rompy_ensemble._files import Attempt, Driver, MemberFile
from rompy_ensemble._hashing import InputsHasher
from rompy_ensemble._rendering import Renderer
from rompy_ensemble._reports import EnsembleProgress, MemberRow
from rompy_ensemble._retries import RetryRule, scaled
from rompy_ensemble._schedule import Schedule

logger = logging.getLogger(__name__)
_TICK_S: Final = 0.25
"""How long a wait may be: a signal that comes just before a wait is seen after it."""
_POLL_S: Final = 0.05
_LONGEST_END_S: Final = 120.0
"""How long to wait for members that an engine has let go of, after they were asked to end."""
_MOST_LOSSES: Final = 3


@attrs.frozen(kw_only=True)
class Plan:
    """What is to be done with each member.

    Attributes:
        run_backend: As for a pipeline.
        run_kwargs: As for a pipeline.
        processor: As for a pipeline.
        process_kwargs: As for a pipeline.
        retries: The rules.
        max_failures: After how many failures nothing begins any more, or ``None``.
        max_workers: How many members the engine has at once.
        resume: Whether what is finished is left as it is.
        rerun_changed: Whether what is finished with other inputs is run again.
        live_timeout: How many seconds to wait for an earlier attempt that still lives.
    """

    run_backend: Any
    run_kwargs: Mapping[str, Any]
    processor: Any
    process_kwargs: Mapping[str, Any]
    retries: tuple[RetryRule, ...]
    max_failures: int | None
    max_workers: int
    resume: bool
    rerun_changed: bool
    live_timeout: float


@attrs.define
class _Member:
    """A member that is not finished, while it is worked on."""

    since: int
    known: tuple[Attempt, ...]
    begun: int


@final
class Drive:
    """One start of an ensemble."""

    def __init__(self, plan: Plan, renderer: Renderer, engine: Engine, driver: Driver) -> None:
        self._plan = plan
        self._renderer = renderer
        self._engine = engine
        self._driver = driver
        self._home = driver.stop_path.parent
        self._hash = InputsHasher()
        self._members: dict[int, _Member] = {}
        self._ok = 0
        self._total = len(renderer.rows)
        self._schedule = Schedule(self._total, plan.retries, max_failures=plan.max_failures, max_losses=_MOST_LOSSES)
        self._why_stopped = ""

    def progress(self) -> EnsembleProgress:
        """Say how far it is; reads the records of the members that run."""
        running = {name: self._fraction(name) for name in (self._renderer.names[i] for i in self._schedule.running)}
        return EnsembleProgress(total=self._total, ok=self._ok, failed=self._schedule.failures, running=running)

    def rows(self, tick: Callable[[], None]) -> Generator[MemberRow]:
        """Run the members and give the row of each as it ends; in the end, those of members that were not run.

        Left early, by an exception or by being closed, it ends all members before it goes on.
        """
        reported: set[int] = set()
        try:
            while not self._schedule.is_done:
                for member, row in (*self._begin(), *self._ended()):
                    reported.add(member)
                    yield row
                tick()
        except BaseException:
            self._end_all()
            raise
        for member in sorted(set(range(self._total)) - reported):
            yield self._row_of_rest(member)

    def _begin(self) -> Generator[tuple[int, MemberRow]]:
        """Hand over as many members as the engine may have; gives those that need no run."""
        if self._driver.stop_path.exists():
            self._stop("its end was asked for")
            self._end_all()
        while len(self._schedule.running) < self._plan.max_workers:
            member = self._schedule.next(time.monotonic())
            if member is None:
                return
            row = self._finished_before(member) if member not in self._members else None
            if row is not None:
                self._schedule.ended(member, RunState.COMPLETED, 0.0)
                self._ok += 1
                yield member, row
            else:
                yield from self._hand_over(member)

    def _finished_before(self, member: int) -> MemberRow | None:
        """Give the row of a member that is finished and stays so; else take note of it."""
        attempts = self._read(member)
        since = 0 if self._plan.resume else len(attempts)
        self._members[member] = _Member(since, attempts, len(attempts))
        newest = attempts[-1] if attempts[since:] else None
        if newest is None or newest.run_state is not RunState.COMPLETED or not self._has_record(newest):
            return None
        is_changed = not is_finished(newest, self._inputs(member)[1])
        if is_changed and self._plan.rerun_changed:
            return None
        row = self._row(member, is_changed=is_changed)
        del self._members[member]
        if is_changed:
            logger.warning("a finished member has other inputs by now", extra={"run_id": row.run_id})
        return row

    def _read(self, member: int) -> tuple[Attempt, ...]:
        """Read the attempts; where they cannot be read, the attempt at the member will say so, and hurt no other."""
        with contextlib.suppress(RecordError):
            return MemberFile(self._home, self._renderer.names[member]).read()
        return ()

    def _has_record(self, attempt: Attempt) -> bool:
        return not attempt.record_dir or (self._home.parent / attempt.record_dir).is_dir()

    def _inputs(self, member: int) -> tuple[Any, str]:
        """Give the model run and the hash of its inputs; empty where they cannot be read, and so are other ones."""
        model_run = self._renderer(member)
        with contextlib.suppress(OSError):
            return model_run, self._hash(model_run, self._plan.run_kwargs)
        return model_run, ""

    def _hand_over(self, index: int) -> Generator[tuple[int, MemberRow]]:
        try:
            self._engine.submit(index, self._task(index))
        except EngineBrokenError as exc:
            self._stop(f"the engine takes no members any more: {exc}")
            self._schedule.lost(index, time.monotonic())
            yield index, self._lost_row(index, self._why_stopped)

    def _task(self, index: int) -> Task:
        member, plan = self._members[index], self._plan
        model_run, inputs = self._inputs(index)
        # A success whose record has been removed is none.
        since = member.since if all(map(self._has_record, member.known)) else len(member.known)
        endings = [one.run_state for one in member.known if one.inputs == inputs]
        return Task(
            run_id=self._renderer.names[index],
            model_run=model_run,
            home=self._home,
            inputs=inputs,
            since=since,
            run_backend=plan.run_backend,
            run_kwargs=plan.run_kwargs,
            processor=plan.processor,
            process_kwargs=plan.process_kwargs,
            scaled=scaled(plan.retries, plan.run_kwargs, endings),
            live_timeout=plan.live_timeout,
            driver=self._driver,
        )

    def _ended(self) -> Generator[tuple[int, MemberRow]]:
        """Wait for members to end; gives those that will not be tried again."""
        due = self._schedule.next_due()
        wait = _TICK_S if due is None else min(_TICK_S, max(due - time.monotonic(), 0.0))
        if not self._schedule.running and due is None:
            return
        item = self._engine.next(wait)
        while item is not None:
            member, result = item
            row = self._lost(member, result) if isinstance(result, BaseException) else self._came_back(member, result)
            if row is not None:
                yield member, row
            item = self._engine.next(0.0) if self._schedule.running else None

    def _came_back(self, member: int, attempts: tuple[Attempt, ...]) -> MemberRow | None:
        self._members[member].known = attempts
        state = attempts[-1].run_state
        if not self._schedule.ended(member, state, time.monotonic()):
            logger.info("a member is tried again", extra={"run_id": self._renderer.names[member], "state": str(state)})
            return None
        self._ok += state is RunState.COMPLETED
        row = self._row(member)
        del self._members[member]
        return row

    def _lost(self, member: int, exc: BaseException) -> MemberRow | None:
        reason = f"the engine lost it: {type(exc).__name__}: {exc}".rstrip(": ")
        logger.warning("%s", reason, extra={"run_id": self._renderer.names[member]})
        return self._lost_row(member, reason) if self._schedule.lost(member, time.monotonic()) else None

    def _lost_row(self, member: int, reason: str) -> MemberRow:
        row = attrs.evolve(self._row(member), state=RunState.LOST, reason=reason)
        self._members.pop(member, None)
        return row

    def _row(self, index: int, *, is_changed: bool = False) -> MemberRow:
        member = self._members[index]
        return row_of(self._renderer, self._home, index, member.known, begun=member.begun, is_changed=is_changed)

    def _row_of_rest(self, member: int) -> MemberRow:
        """Give the row of a member that this start did not bring to an end."""
        known = self._members.get(member)
        if known is not None and known.known:
            return self._row(member)
        attempts = self._read(member)
        row = row_of(self._renderer, self._home, member, attempts, begun=len(attempts))
        return row if attempts else attrs.evolve(row, reason=f"not run: {self._why_not_run()}")

    def _why_not_run(self) -> str:
        return self._why_stopped or f"{self._schedule.failures} members had failed, which is as many as max_failures"

    def _stop(self, why: str) -> None:
        if not self._why_stopped:
            self._why_stopped = why
            logger.error("the ensemble stops: %s", why)
        self._schedule.stop()

    def _end_all(self) -> None:
        """End every member, and wait until the engine has given all of them back."""
        with contextlib.suppress(OSError):
            self._driver.stop_path.touch()
        self._schedule.stop()
        names = [self._renderer.names[index] for index in self._schedule.running]
        self._engine.cancel_waiting()
        while self._engine.has_members:
            for name in names:
                cancel_run(self._home.parent / name)
            item = self._engine.next(_TICK_S)
            while item is not None:
                member, result = item
                if not isinstance(result, BaseException):
                    self._members[member].known = result
                self._schedule.lost(member, 0.0)
                item = self._engine.next(0.0)
        deadline = time.monotonic() + _LONGEST_END_S
        for name in names:  # an engine may call a member cancelled that still runs
            while time.monotonic() < deadline and not MemberFile(self._home, name).is_free():
                cancel_run(self._home.parent / name)
                time.sleep(_POLL_S)

    def _fraction(self, name: str) -> float | None:
        return fraction_of(self._home.parent / name)


def fraction_of(workspace_dir: Any) -> float | None:
    """Read how far the newest run in a workspace is; ``None`` where it does not say."""
    with contextlib.suppress(RecordError, OSError):
        newest = newest_progress(read_report(workspace_dir))
        return newest[1] if newest is not None else None
    return None


def row_of(
    renderer: Renderer,
    home: Any,
    index: int,
    attempts: tuple[Attempt, ...],
    *,
    begun: int,
    is_changed: bool = False,
) -> MemberRow:
    """Give the row of a member by its attempts, of which *begun* are of earlier starts."""
    row = MemberRow(
        run_id=renderer.names[index],
        parameters=renderer.rows[index],
        workspace_dir=home.parent / renderer.names[index],
        is_changed=is_changed,
    )
    if not attempts:
        return row
    newest = attempts[-1]
    changed = "finished before with other inputs than it has now; rerun_changed=True runs it again"
    return attrs.evolve(
        row,
        state=newest.run_state,
        reason=changed if is_changed else newest.reason,
        stage=newest.stage,
        attempts=len(attempts),
        ran=max(len(attempts) - begun, 0),
        scaled=newest.scaled,
        wall_time_s=newest.wall_time_s,
        cpu_time_s=newest.cpu_time_s,
        peak_rss_bytes=newest.peak_rss_bytes,
        started_at=newest.started_at,
        finished_at=newest.finished_at,
        record_dir=home.parent / newest.record_dir if newest.record_dir else None,
    )
