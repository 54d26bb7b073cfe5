"""Interleaved rounds: in each of them every contender has its turn, and one that fails is out with its reason."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from contenders import CONTENDERS, Contender, ContenderError, Worker

ResultT = TypeVar("ResultT")


@dataclass
class Results(Generic[ResultT]):
    """What each contender gave, a value a round, and why others gave nothing.

    Attributes:
        values: By contender; a contender that failed later keeps what it gave before.
        problems: By contender.
    """

    values: dict[Contender, list[ResultT]] = field(default_factory=dict)
    problems: dict[Contender, str] = field(default_factory=dict)

    def of(self, contender: Contender) -> list[ResultT]:
        """Give the values of one contender; none where it failed."""
        return [] if contender in self.problems else self.values.get(contender, [])

    def good(self) -> dict[Contender, list[ResultT]]:
        """Give the values of all that did not fail."""
        return {contender: values for contender, values in self.values.items() if contender not in self.problems}

    def failures(self) -> list[tuple[str, ...]]:
        """Give the rows of those that failed."""
        return [(contender.name, problem) for contender, problem in self.problems.items()]


def interleaved(
    case: str,
    rounds: int,
    measure: Callable[[Contender], ResultT],
    contenders: Sequence[Contender] = CONTENDERS,
) -> Results[ResultT]:
    """Have each contender measured once a round, each round beginning with the next one."""
    results: Results[ResultT] = Results()
    taking_part = [contender for contender in contenders if case in contender.cases]
    for contender in taking_part:
        try:
            contender.check_installed()
        except ContenderError as exc:
            results.problems[contender] = str(exc)
    for number in range(rounds):
        first = number % len(taking_part)
        for contender in [*taking_part[first:], *taking_part[:first]]:
            if contender in results.problems:
                continue
            print(f"{case} {number + 1}/{rounds}: {contender.name}", file=sys.stderr)
            try:
                results.values.setdefault(contender, []).append(measure(contender))
            except ContenderError as exc:
                results.problems[contender] = str(exc)
    return results


@contextlib.contextmanager
def kept_alive() -> Iterator[Callable[[Contender], Worker]]:
    """Give what finds a contender's worker, which lives on for the next round."""
    workers: dict[Contender, Worker] = {}
    with contextlib.ExitStack() as held:

        def find(contender: Contender) -> Worker:
            if contender not in workers:
                workers[contender] = held.enter_context(contender.working())
            return workers[contender]

        yield find
