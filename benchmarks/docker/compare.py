"""Measure the docker backend side by side with its peers, on one engine; print Markdown tables.

    export DOCKER_HOST=$(.ci/start-docker DIR)
    uv run --group test python benchmarks/docker/compare.py --image IMAGE [--rounds N] [CASE ...]

Cases: true, output, burst; without names, all are run. IMAGE must be there, and have ``bash`` and ``yes`` (bash is what
upstream's backend needs). Tables go to standard output, progress to standard error. Linux only.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "local"))

from contenders import Contender  # noqa: E402 - found by the line above, as the next two
from rounds import Results, interleaved, kept_alive  # noqa: E402
from tables import Chart, Table, Target, at_most, median, ratios, spread  # noqa: E402

AT_ONCE: Final = 20
LINE: Final = "a line of output as long as those of a model that tells all that it does, step by step, all the day"
OUTPUT: Final = 200_000_000
MB: Final = 10**6
CASES: Final = frozenset({"true", "output", "burst"})


def _worker(name: str, *options: str) -> tuple[str, ...]:
    return (str(HERE / "workers" / f"{name}_worker.py"), *options)


CLI: Final = Contender("`docker run --rm`", _worker("cli"), CASES)
OURS: Final = Contender("**rompy-docker**", _worker("ours"), CASES)
CONTENDERS: Final = (
    CLI,
    Contender("`docker run --rm --network none`", _worker("cli", "--network=none"), CASES),
    OURS,
    Contender("**rompy-docker**, also to a logger", _worker("ours", "--stream"), frozenset({"output"})),
    Contender("SDK, `containers.run(remove=True)`", _worker("sdk"), CASES),
    Contender("upstream rompy", _worker("rompy"), CASES, requirement="rompy==0.6.4"),
)


def _at_once(contender: Contender) -> Contender:
    return Contender(
        contender.name, (*contender.worker, "--at-once", str(AT_ONCE)), contender.cases, contender.requirement
    )


def true(rounds: int) -> Table:
    """Run the shortest command."""
    with kept_alive() as worker_of:
        results = interleaved(
            "true", rounds, lambda contender: worker_of(contender).run(["true"]).seconds[0] * 1000, CONTENDERS
        )
    return _compared(
        "`true`: what one run costs",
        f"{rounds} interleaved rounds of one run by a process that is kept alive, the workspace mounted.",
        results,
        [(1.0, OURS)],
    )


def burst(rounds: int) -> Table:
    """Run many at once from one process."""
    results = interleaved("burst", rounds, lambda contender: _one_burst(_at_once(contender)) * 1000, CONTENDERS)
    return _compared(
        f"`burst`: {AT_ONCE} runs at once from one process",
        f"{rounds} interleaved rounds of {AT_ONCE} runs of `true` in as many threads; the time until all have ended.",
        results,
        [(1.0, OURS)],
    )


def _one_burst(contender: Contender) -> float:
    with contender.working() as worker:
        return worker.run(["true"]).seconds[0]


def output(rounds: int) -> Table:
    """Run a command that says much."""
    grown: dict[str, list[int]] = {}
    command = ["bash", "-c", f"yes '{LINE}' | head -c {OUTPUT}"]

    def measure(contender: Contender) -> float:
        with contender.working() as worker:
            measured = worker.run(command, limit_s=300)
        grown.setdefault(contender.name, []).append(measured.growth_bytes)
        if contender.name.startswith("**") and measured.stdout_bytes != OUTPUT:
            raise AssertionError(f"{measured.stdout_bytes} bytes arrived, not {OUTPUT}")
        return measured.seconds[0] * 1000

    results = interleaved("output", rounds, measure, CONTENDERS)
    growth = median([value / MB for value in grown.get(OURS.name, [])])
    table = _compared(
        f"`output`: {OUTPUT // MB} MB of standard output",
        f"{rounds} interleaved rounds, each by a new process. Growth: how much its peak memory exceeds what it had.",
        results,
        [(1.5, OURS)],
        extra=(
            "growth, MB",
            {name: f"{median([value / MB for value in values]):.1f}" for name, values in grown.items()},
        ),
    )
    return Table(
        table.title, table.explanation, table.header, table.rows,
        [*table.targets, at_most("the caller grows, MB,", growth, 10.0, "{:.1f}")],
        table.chart,
    )  # fmt: skip


def _compared(
    title: str,
    explanation: str,
    results: Results[float],
    limits: list[tuple[float, Contender]],
    extra: tuple[str, dict[str, str]] | None = None,
) -> Table:
    cli = results.of(CLI)
    rows = []
    for contender, values in sorted(results.good().items(), key=lambda item: median(item[1])):
        row = [contender.name, f"{median(values):.0f}", spread(ratios(values, cli), ".2f")]
        rows.append((*row, extra[1].get(contender.name, "")) if extra else tuple(row))
    targets: list[Target] = [
        at_most("as a ratio to `docker run --rm`,", median(ratios(results.of(contender), cli)), limit, "{:.2f}")
        for limit, contender in limits
    ]
    header = ("contender", "ms", "x of `docker run --rm`", *([extra[0]] if extra else []))
    explanation += " Ratios are taken within a round: median (range)."
    return Table(title, explanation, header, [*rows, *results.failures()], targets, Chart(title, []))


RUNS: Final[dict[str, tuple[Callable[[int], Table], int]]] = {
    "true": (true, 24),
    "output": (output, 3),
    "burst": (burst, 5),
}


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True, help="an image that the engine has")
    parser.add_argument("--rounds", type=int, help="rounds of each case, instead of its own number")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(RUNS)}")
    asked = parser.parse_args()
    if unknown := [name for name in asked.cases if name not in RUNS]:
        parser.error(f"no case is called {', '.join(unknown)}; there are {', '.join(RUNS)}")
    os.environ["ROMPY_BENCHMARK_IMAGE"] = asked.image
    held = True
    for name in asked.cases or RUNS:
        case, rounds = RUNS[name]
        table = case(asked.rounds or rounds)
        print(table.markdown(), flush=True)
        held = held and all(target.held for target in table.targets)
    sys.exit(not held)


if __name__ == "__main__":
    main()
