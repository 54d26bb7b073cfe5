"""What a timeout leaves behind, and how late it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import processes
from contenders import OURS, Contender, ContenderError
from rounds import interleaved
from tables import Bar, Chart, Table, Target, median

_TIMEOUT_S: Final = 1.0
_GRACE_S: Final = 0.5
_SEEN_FROM_S: Final = 0.4
_SEEN_UNTIL_S: Final = 0.9
_ALIVE_AFTER_S: Final = 5.0
_SHAPES: Final = {
    "tree": ("sleep 300 & sleep 300", 2),
    "daemon": ("(setsid sleep 300 &); sleep 300; exit 0", 2),
    "stubborn": ("trap '' TERM INT; sleep 300 & sleep 300", 2),
}


@dataclass(frozen=True)
class Ended:
    """One timeout: how many processes there were, how many still live, and how late it returned."""

    started: int
    left: int
    late_s: float


def timeouts(rounds: int) -> Table:
    """End three kinds of trees by a timeout."""
    results = interleaved("timeouts", rounds, _one_of_each)
    left, late = {}, {}
    for contender, values in results.good().items():
        left[contender] = {shape: sum(one[shape].left for one in values) for shape in _SHAPES}
        late[contender] = {shape: [one[shape].late_s for one in values] for shape in _SHAPES}
    rows = []
    for contender, values in sorted(results.good().items(), key=lambda item: sum(left[item[0]].values())):
        cells = []
        for shape in _SHAPES:
            started = sum(one[shape].started for one in values)
            delays = late[contender][shape]
            cells.append(f"{left[contender][shape]} of {started}, {median(delays):.2f} s ({max(delays):.2f})")
        rows.append((contender.name, *cells))
    return Table(
        "`timeouts`: what a timeout leaves behind",
        f"{rounds} rounds: processes still alive {_ALIVE_AFTER_S:.0f} s later, of those that had been started; then "
        f"the time from the deadline ({_TIMEOUT_S:.0f} s after the call) to the return, median (worst). tree: "
        "`sh -c 'sleep 300 & sleep 300'`. daemon: a double fork with `setsid` beside the command. stubborn: a tree "
        f"that ignores TERM and INT; rompy-local's grace is {_GRACE_S} s. PSI/J: `wait(timeout)`, then `cancel()`. "
        "Upstream accepts no timeout below 60 s; that check is gone round.",
        ("contender", *_SHAPES),
        [*rows, *results.failures()],
        _targets(left.get(OURS, {}), late.get(OURS, {})),
        Chart(
            f"processes alive {_ALIVE_AFTER_S:.0f} s after three timeouts (less is better)",
            [_bar(contender, left[contender], late[contender], rounds) for contender in left],
        ),
    )


def _bar(contender: Contender, left: dict[str, int], late: dict[str, list[float]], rounds: int) -> Bar:
    value = sum(left.values()) / rounds
    return Bar(contender.name, value, f"{value:.3g} (latest return +{max(map(max, late.values())):.2f} s)")


def _targets(left: dict[str, int], late: dict[str, list[float]]) -> list[Target]:
    if not left:
        return [Target("nothing left", "not measured", held=False)]
    targets = []
    for shape in _SHAPES:
        limit = 0.15 + (_GRACE_S if shape == "stubborn" else 0.0)
        count, worst = left[shape], max(late[shape])
        promise = f"{shape}: none left, back at most {limit:.2f} s after the deadline"
        held = count == 0 and worst <= limit
        targets.append(Target(promise, f"{count} left, worst {worst:.2f} s", held=held))
    return targets


def _one_of_each(contender: Contender) -> dict[str, Ended]:
    """Time out one command of each shape; the workers live on meanwhile, for some end things after they returned."""
    with contextlib.ExitStack() as held:
        endings = {shape: held.enter_context(_timed_out(contender, *facts)) for shape, facts in _SHAPES.items()}
        time.sleep(_ALIVE_AFTER_S)
        return {
            shape: Ended(started, len(processes.living(token)), late_s)
            for shape, (token, started, late_s) in endings.items()
        }


@contextlib.contextmanager
def _timed_out(contender: Contender, script: str, expected: int) -> Iterator[tuple[str, int, float]]:
    """Let one command run into its timeout; give its token, how many processes it had, and how late the return was."""
    with processes.token() as token, contender.working() as worker:
        argv = contender.argv(processes.marked(["sh", "-c", script], token))
        with worker.running(argv, timeout=_TIMEOUT_S, grace_s=_GRACE_S, limit_s=30.0) as result:
            time.sleep(_SEEN_FROM_S)
            started = processes.count(token, expected, _SEEN_UNTIL_S - _SEEN_FROM_S)
        if not result[0].timed_out:
            raise ContenderError("returned without a timeout")
        if started < expected:
            raise ContenderError(f"had only {started} of {expected} processes when the timeout came")
        yield token, started, result[0].seconds[0] - _TIMEOUT_S
