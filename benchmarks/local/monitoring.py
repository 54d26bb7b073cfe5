"""What watching a tree of processes costs."""

from __future__ import annotations

import time
from typing import Final

import processes
from contenders import OURS, Contender, ContenderError
from rounds import interleaved
from tables import Chart, Table, at_most, bars, median, spread

_TREE_SIZE: Final = 30
_WATCHED_S: Final = 10.0
_START_LIMIT_S: Final = 2.0
_TREE: Final = f"for i in $(seq {_TREE_SIZE - 1}); do sleep {_WATCHED_S + _START_LIMIT_S + 1:.0f} & done; wait"


def monitor(rounds: int) -> Table:
    """Let a tree of sleeping processes be watched."""
    results = interleaved("monitor", rounds, _share)
    shares = {contender: median(values) for contender, values in results.good().items()}
    return Table(
        f"`monitor`: watching {_TREE_SIZE} processes",
        f"{rounds} rounds: CPU time of the caller and its helpers, the watched processes apart, over the "
        f"{_WATCHED_S:.0f} s from the moment that all of them run; per cent of one core, median (range). "
        "`subprocess.run` watches nothing and is here for comparison; runexec reads its cgroups at the end of a run "
        "only.",
        ("contender", "% of one core"),
        [
            *(
                (contender.name, spread(results.of(contender), ".2f"))
                for contender, _ in sorted(shares.items(), key=lambda item: item[1])
            ),
            *results.failures(),
        ],
        [at_most("rompy-local,", shares.get(OURS, float("nan")), 1.0, "{:.2f} %")],
        Chart(f"watching {_TREE_SIZE} processes, % of one core (less is better)", bars(shares, ".2f")),
    )


def _share(contender: Contender) -> float:
    with processes.token() as token, contender.working() as worker:
        argv = contender.argv(processes.marked(["sh", "-c", _TREE], token))
        with worker.running(argv) as result:
            started = processes.count(token, _TREE_SIZE, _START_LIMIT_S)
            began, before = time.monotonic(), processes.spent(worker.pid, processes.living(token))
            time.sleep(_WATCHED_S)
            watched = processes.living(token)
            after, taken = processes.spent(worker.pid, watched), time.monotonic() - began
        if started < _TREE_SIZE or len(watched) < _TREE_SIZE:
            raise ContenderError(f"watched {started}, at the end {len(watched)} processes, not {_TREE_SIZE}")
        assert result
        return (after - before) / taken * 100
