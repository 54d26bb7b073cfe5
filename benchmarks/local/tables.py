"""What a case found: a Markdown table, the targets that it held or not, and a chart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contenders import Contender

_NONE: Final = "-"


@dataclass(frozen=True)
class Bar:
    """One bar of a chart, with what is written beside it."""

    label: str
    value: float
    text: str


@dataclass(frozen=True)
class Chart:
    """The case as a picture: bars from the least to the most."""

    title: str
    bars: Sequence[Bar]
    is_logarithmic: bool = False


@dataclass(frozen=True)
class Target:
    """What ours has to keep."""

    promise: str
    measured: str
    held: bool


def at_most(promise: str, value: float, limit: float, form: str) -> Target:
    """Say whether a value that may be missing (not a number) is within its limit."""
    measured = "not measured" if math.isnan(value) else form.format(value)
    return Target(f"{promise} at most {form.format(limit)}", measured, held=value <= limit)


@dataclass(frozen=True)
class Table:
    """The result of one case."""

    title: str
    explanation: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target]
    chart: Chart

    def markdown(self) -> str:
        """Give the table as Markdown."""
        lines = [f"### {self.title}", "", self.explanation, ""]
        lines += [_line(self.header), _line(["---"] + ["--:"] * (len(self.header) - 1))]
        lines += [_line([*row, *[""] * (len(self.header) - len(row))]) for row in self.rows]
        if self.targets:
            lines.append("")
        for target in self.targets:
            lines.append(f"- {'held' if target.held else 'NOT HELD'}: {target.promise}: {target.measured}")
        return "\n".join([*lines, ""])


def ratios(values: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Divide round by round."""
    return [one / other for one, other in zip(values, baseline, strict=False)]


def median(values: Sequence[float]) -> float:
    """Give the median; not a number where there is no value."""
    return statistics.median(values) if values else float("nan")


def spread(values: Sequence[float], form: str = ".1f") -> str:
    """Show the median and the range."""
    if not values:
        return _NONE
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def bars(values: Mapping[Contender, float], form: str) -> list[Bar]:
    """Give a bar for each contender."""
    return [Bar(contender.name, value, f"{value:{form}}") for contender, value in values.items()]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
