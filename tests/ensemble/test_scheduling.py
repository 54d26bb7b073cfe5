"""Which attempts are made, in which order, and what the table says of them: by rules that are stated here again."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rompy_core import ModelRun, RunState
from rompy_ensemble import Ensemble, RetryRule
from rompy_ensemble._schedule import Schedule

from .fakes import InProcess, Scripted

OK = RunState.COMPLETED
ENDINGS = [state for state in RunState if state not in (RunState.RUNNING, RunState.LOST)]
FAILURES = [state for state in ENDINGS if state is not OK]
RULES = st.lists(
    st.builds(
        RetryRule,
        times=st.integers(0, 3),
        states=st.lists(st.sampled_from(FAILURES), min_size=1, max_size=4, unique=True).map(tuple),
    ),
    max_size=3,
)


class Told(NamedTuple):
    """What the rules say: the order of the attempts, and how each member ends (``None``: it was never tried)."""

    order: list[int]
    states: list[RunState | None]
    attempts: list[int]


def by_the_rules(
    endings: Sequence[Sequence[RunState]], rules: Sequence[RetryRule], max_failures: int | None, workers: int
) -> Told:
    told = Told([], [None] * len(endings), [0] * len(endings))
    again: list[int] = []
    new = list(range(len(endings)))
    left = [[rule.times for rule in rules] for _ in endings]
    failures = 0
    while (again or new) and (max_failures is None or failures < max_failures):
        begun = [(again or new).pop(0) for _ in range(min(workers, len(again) + len(new)))]
        told.order.extend(begun)
        for member in begun:
            state = endings[member][told.attempts[member]]
            told.attempts[member] += 1
            told.states[member] = state
            number = next((n for n, rule in enumerate(rules) if state in rule.states), None)
            is_stopped = max_failures is not None and failures >= max_failures
            if state is OK:
                continue
            if number is None or left[member][number] == 0 or is_stopped:
                failures += 1
            else:
                left[member][number] -= 1
                again.append(member)
    return told


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rules=RULES, max_failures=st.none() | st.integers(1, 3), workers=st.integers(1, 4))
def test_attempts_order_and_table_are_what_the_rules_say(
    data: st.DataObject, rules: list[RetryRule], max_failures: int | None, workers: int
) -> None:
    longest = 1 + sum(rule.times for rule in rules)
    states = st.lists(st.sampled_from(ENDINGS), min_size=longest, max_size=longest)
    endings = data.draw(st.lists(states, min_size=1, max_size=6))
    told = by_the_rules(endings, rules, max_failures, workers)
    names = [f"m-{number:04d}" for number in range(1, len(endings) + 1)]
    engine = InProcess()
    with tempfile.TemporaryDirectory() as directory:
        ensemble = Ensemble(
            members=[{} for _ in endings],
            model=ModelRun(run_id="m", output_dir=directory),
            run_backend=Scripted(dict(zip(names, endings, strict=True))),
            executor=engine,
            max_workers=workers,
            retries=rules,
            max_failures=max_failures,
        )

        report = ensemble.run()
        again = ensemble.read()

    assert engine.order == [names[member] for member in told.order]
    assert [row.run_id for row in report] == names
    assert [row.state for row in report] == told.states
    assert [row.attempts for row in report] == [row.ran for row in report] == told.attempts
    assert report.ok == all(state is OK for state in told.states)
    assert {row.run_id for row in report.failed} == {
        name for name, state in zip(names, told.states, strict=True) if state not in (None, OK)
    }
    assert [row.state for row in again] == told.states
    assert not engine.is_shut_down, "it was given, and is the giver's"


@settings(max_examples=40, deadline=None)
@given(losses=st.lists(st.integers(0, 6), min_size=1, max_size=5), workers=st.integers(1, 3))
def test_a_member_that_the_engine_loses_is_tried_again_three_times_without_any_rule(
    losses: list[int], workers: int
) -> None:
    names = [f"m-{number:04d}" for number in range(1, len(losses) + 1)]
    left = dict(zip(names, losses, strict=True))

    def loses(run_id: str) -> bool:
        left[run_id] -= 1
        return left[run_id] >= 0

    engine = InProcess(loses)
    with tempfile.TemporaryDirectory() as directory:
        ensemble = Ensemble(
            members=[{} for _ in losses],
            model=ModelRun(run_id="m", output_dir=directory),
            run_backend=Scripted({name: [OK] for name in names}),
            executor=engine,
            max_workers=workers,
        )

        report = ensemble.run()

    assert [row.state for row in report] == [OK if count <= 3 else RunState.LOST for count in losses]
    assert [engine.order.count(name) for name in names] == [min(count, 3) + 1 for count in losses]
    assert all("WorkerDiedError: gone" in row.reason for row in report.failed)


@given(
    rule=st.builds(
        RetryRule,
        wait_s=st.floats(0, 1e3),
        backoff=st.floats(1, 1e3),
        longest_wait_s=st.floats(0, 1e4),
    ),
    retry=st.integers(1, 1000),
)
def test_waits_grow_by_the_factor_and_never_beyond_the_longest(rule: RetryRule, retry: int) -> None:
    assert 0 <= rule.wait_before(retry) <= rule.wait_before(retry + 1) <= rule.longest_wait_s
    assert rule.wait_before(1) == min(rule.wait_s, rule.longest_wait_s)


def test_a_retry_waits_until_it_is_due_and_then_goes_before_new_members() -> None:
    schedule = Schedule(4, [RetryRule(times=2, wait_s=10)], max_failures=None, max_losses=0)
    assert [schedule.next(0), schedule.next(0)] == [0, 1]

    schedule.ended(0, RunState.FAILED, 0)

    assert schedule.next_due() == 10
    assert schedule.next(9) == 2
    assert schedule.next(10) == 0
    assert schedule.next(10) == 3
    schedule.ended(0, RunState.FAILED, 10)
    assert schedule.next_due() == 30, "twice the wait for the second retry"
    assert schedule.next(29) is None


def test_a_member_that_waits_for_its_retry_when_all_is_stopped_does_not_begin_again() -> None:
    schedule = Schedule(3, [RetryRule(times=1, states=("STALLED",), wait_s=60)], max_failures=1, max_losses=0)
    assert [schedule.next(0), schedule.next(0)] == [0, 1]

    schedule.ended(0, RunState.STALLED, 0)
    schedule.ended(1, RunState.FAILED, 0)

    assert schedule.is_done
    assert schedule.next(1000) is None
    assert schedule.next_due() is None


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"times": -1}, "times: must be a whole number >= 0"),
        ({"states": ["COMPLETED"]}, "states: must be some of"),
        ({"states": ["FALED"]}, "states: must be some of"),
        ({"backoff": 0.5}, "backoff: must be a number >= 1"),
        ({"scale": {"memory": 0.5}}, "scale: must be a number >= 1"),
        ({"scale": 2}, "scale: must be a table"),
        ({"wait_s": -1}, "wait_s: must be"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(wrong: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RetryRule(**wrong)  # type: ignore[arg-type]
