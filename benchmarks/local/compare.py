"""Measure the local backend side by side with its peers; print Markdown tables and draw a plot.

    uv run --group test python benchmarks/local/compare.py [--rounds N] [--plot FILE] [CASE ...]

Cases: true, big-caller, output, timeouts, monitor; without names, all are run. The peers are installed into
environments of their own below ``benchmarks/.environments/``, once. Tables go to standard output, progress to standard
error. Linux only.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import processes
from contenders import CONTENDERS
from costs import big_caller, output, true
from endings import timeouts
from monitoring import monitor
from plots import draw
from tables import Table

_PLOT: Final = Path(__file__).resolve().parent / "compare.svg"


@dataclass(frozen=True)
class Case:
    """A case, and how many rounds it has unless asked otherwise."""

    run: Callable[[int], Table]
    rounds: int


CASES: Final = {
    "true": Case(true, 12),
    "big-caller": Case(big_caller, 6),
    "output": Case(output, 5),
    "timeouts": Case(timeouts, 4),
    "monitor": Case(monitor, 3),
}


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=_positive, metavar="N", help="rounds of each case, instead of its own number")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where the plot goes; with CASEs, there is none else")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    asked = parser.parse_args()
    if unknown := [name for name in asked.cases if name not in CASES]:
        parser.error(f"no case is called {', '.join(unknown)}; there are {', '.join(CASES)}")
    print(_surroundings(), flush=True)
    tables = []
    try:
        for name in asked.cases or CASES:
            table = CASES[name].run(asked.rounds or CASES[name].rounds)
            print(table.markdown(), flush=True)
            tables.append(table)
    finally:
        processes.kill_all()
    plot = asked.plot or (None if asked.cases else _PLOT)
    if plot is not None:
        print(draw([table.chart for table in tables], plot), file=sys.stderr)
    sys.exit(not all(target.held for table in tables for target in table.targets))


def _surroundings() -> str:
    system = platform.freedesktop_os_release()
    peers = sorted({contender.requirement for contender in CONTENDERS if contender.requirement})
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {os.cpu_count()} cores, {system.get('PRETTY_NAME', system['NAME'])}, "
        f"Linux {kernel}, Python {platform.python_version()}, load average at the start {os.getloadavg()[0]:.1f}. "
        f"Peers: {', '.join(peers)}.\n"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, found {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
