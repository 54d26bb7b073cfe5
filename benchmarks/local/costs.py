"""What a run costs: by itself, from a large caller, and with much output."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from contenders import BARE, OURS, OURS_STREAMING, PLAIN, RUNEXEC, RUNEXEC_CONTAINER, Contender
from rounds import interleaved, kept_alive
from tables import Chart, Table, Target, at_most, bars, median, ratios, spread

_MB: Final = 10**6
_BATCH: Final = 5
_HELD: Final = 800 * _MB
_LINE: Final = 83
_LINES: Final = 12_000
_WRITES: Final = 502
_OUTPUT: Final = _LINE * _LINES * _WRITES


def true(rounds: int) -> Table:
    """Start, supervise and record the shortest command."""
    with kept_alive() as worker_of:

        def measure(contender: Contender) -> float:
            worker = worker_of(contender)
            return median(worker.run(contender.argv(["true"]), times=_BATCH).seconds) * 1000

        results = interleaved("true", rounds, measure)
    times = {contender: median(values) for contender, values in results.good().items()}
    plain, bare, ours = results.of(PLAIN), results.of(BARE), results.of(OURS)
    targets = [at_most("as a ratio to a bare interpreter,", median(ratios(ours, bare)), 3.0, "{:.2f}")]
    targets += [
        at_most(f"as a ratio to {other.name},", median(ratios(ours, results.of(other))), 1 / 3, "{:.2f}")
        for other in (RUNEXEC, RUNEXEC_CONTAINER)
    ]
    return Table(
        "`true`: what one run costs",
        f"{rounds} interleaved rounds, each with the median of {_BATCH} runs of `true` by a process that is kept "
        "alive. Ratios are taken within a round: median (range).",
        ("contender", "ms", "x of `subprocess.run`", "x of `python -I -S -c pass`"),
        [
            *(
                (
                    contender.name,
                    f"{time:.1f}",
                    spread(ratios(results.of(contender), plain)),
                    spread(ratios(results.of(contender), bare), ".2f"),
                )
                for contender, time in sorted(times.items(), key=lambda item: item[1])
            ),
            *results.failures(),
        ],
        targets,
        Chart("one run of true, ms (less is better)", bars(times, ".1f"), is_logarithmic=True),
    )


def big_caller(rounds: int) -> Table:
    """Do the same from a caller that holds much memory."""

    def fresh(contender: Contender, held: int) -> float:
        with contender.working() as worker:
            if held:
                worker.hold(held)
            return median(worker.run(contender.argv(["true"]), times=_BATCH).seconds) * 1000

    results = interleaved("big-caller", rounds, lambda contender: (fresh(contender, 0), fresh(contender, _HELD)))
    small = {contender: [one for one, _ in pairs] for contender, pairs in results.good().items()}
    big = {contender: [one for _, one in pairs] for contender, pairs in results.good().items()}
    grown = {contender: ratios(big[contender], small[contender]) for contender in big}
    return Table(
        f"`big-caller`: one run from a caller that holds {_HELD // _MB} MB",
        f"{rounds} interleaved rounds, each with the median of {_BATCH} runs of `true` by a new process that holds "
        "nothing and by one that holds the memory. Ratios are taken within a round: median (range).",
        ("contender", "ms, small caller", "ms, big caller", "big to small"),
        [
            *(
                (
                    contender.name,
                    f"{median(small[contender]):.1f}",
                    f"{median(big[contender]):.1f}",
                    spread(values, ".2f"),
                )
                for contender, values in sorted(grown.items(), key=lambda item: median(big[item[0]]))
            ),
            *results.failures(),
        ],
        [at_most("big caller to small caller,", median(grown.get(OURS, [])), 1.3, "{:.2f}")],
        Chart(
            f"the same from a caller with {_HELD // _MB} MB, ms (less is better)",
            bars({contender: median(values) for contender, values in big.items()}, ".1f"),
            is_logarithmic=True,
        ),
    )


def output(rounds: int) -> Table:
    """Write half a gigabyte of lines to standard output."""
    python = str(Path(sys.executable).resolve())  # not the one below a directory that a container may hide
    source = f"import os\nb = (b'x' * {_LINE - 1} + b'\\n') * {_LINES}\nfor _ in range({_WRITES}): os.write(1, b)"
    command = [python, "-c", source]

    def measure(contender: Contender) -> tuple[float, float, int | None]:
        os.sync()  # what the last one wrote is no burden for the next one
        with contender.working() as worker:
            measured = worker.run(contender.argv(command), limit_s=300.0)
        return _OUTPUT / _MB / measured.seconds[0], measured.growth_bytes / _MB, measured.stdout_bytes

    results = interleaved("output", rounds, measure)
    rates = {contender: [rate for rate, _, _ in values] for contender, values in results.good().items()}
    growth = {contender: max(grown for _, grown, _ in values) for contender, values in results.good().items()}
    kept = {contender: _kept([size for _, _, size in values]) for contender, values in results.good().items()}
    plain = rates.get(PLAIN, [])
    targets = []
    for contender in (OURS, OURS_STREAMING):
        ratio, grown = median(ratios(rates.get(contender, []), plain)), growth.get(contender, float("nan"))
        promise = f"{contender.name}: at least 0.8x of plain `subprocess`, at most 10 MB of growth"
        targets.append(Target(promise, f"{ratio:.2f}x, {grown:.1f} MB", held=ratio >= 0.8 and grown <= 10))
    return Table(
        f"`output`: {_OUTPUT / _MB:.0f} MB in lines of {_LINE} bytes",
        f"{rounds} interleaved rounds, each by a new process. Throughput as a ratio to `subprocess.run` with a file, "
        "taken within a round: median (range). Growth is that of the calling process's peak resident memory, in the "
        "worst round.",
        ("contender", "MB/s", "x of `subprocess.run` to a file", "the caller grew by, MB", "kept in a file"),
        [
            *(
                (
                    contender.name,
                    f"{median(values):.0f}",
                    spread(ratios(values, plain), ".2f"),
                    f"{growth[contender]:.1f}",
                    kept[contender],
                )
                for contender, values in sorted(rates.items(), key=lambda item: -median(item[1]))
            ),
            *results.failures(),
        ],
        targets,
        Chart(
            f"{_OUTPUT / _MB:.0f} MB of output, MB/s (more is better)",
            bars({contender: median(values) for contender, values in rates.items()}, ".0f"),
            is_logarithmic=True,
        ),
    )


def _kept(sizes: list[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    if not known:
        return "no"
    return "all" if min(known) >= _OUTPUT else f"{min(known) / _OUTPUT:.0%}"
