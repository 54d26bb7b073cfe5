"""Draw the charts on standard input (JSON) into the file that is named; runs where matplotlib is."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import matplotlib.pyplot as plt

_OURS: Final = "#c2410c"
_OTHERS: Final = "#94a3b8"
_INCH_A_BAR: Final = 0.3


def main() -> None:
    """Draw one panel a chart, one below the other."""
    charts: list[dict[str, Any]] = json.load(sys.stdin)
    path = Path(sys.argv[1])
    mpl.use("Agg")
    # The same numbers give the same file, byte for byte.
    mpl.rcParams.update({"svg.hashsalt": "rompy", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 10})
    heights = [len(chart["bars"]) + 2.5 for chart in charts]
    figure, panels = plt.subplots(
        len(charts),
        1,
        figsize=(8, sum(heights) * _INCH_A_BAR),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for panel, chart in zip(panels[:, 0], charts, strict=True):
        _draw(panel, chart)
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw(panel: Any, chart: dict[str, Any]) -> None:
    entries = sorted(chart["bars"], key=lambda entry: entry["value"])
    values = [entry["value"] for entry in entries]
    colours = [_OURS if "rompy-local" in entry["label"] else _OTHERS for entry in entries]
    drawn = panel.barh([_plain(entry["label"]) for entry in entries], values, color=colours)
    panel.bar_label(drawn, labels=[entry["text"] for entry in entries], padding=3)
    panel.invert_yaxis()
    panel.set_title(chart["title"], loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    if not values:
        return
    if chart["is_logarithmic"]:
        panel.set_xscale("log")
        low = 10 ** math.floor(math.log10(min(values)))
        panel.set_xlim(low, max(values) * (max(values) / low) ** 0.15)
    else:
        panel.set_xlim(0, (max(values) or 1) * 1.7)


def _plain(text: str) -> str:
    return text.replace("*", "").replace("`", "")


if __name__ == "__main__":
    main()
