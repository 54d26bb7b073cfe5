"""Pictures: the timeline of a run, variables on their mesh or grid, series at a point.

Each is drawn on a figure of its own, by Agg alone and without pyplot, whose figures and settings all threads share.
Labels are plain text: neither a font that lacks a letter nor a formula can come of what somebody else named so.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias, cast

import attrs
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rompy_core import PipelineStage
from rompy_report._decimating import decimate, rates
from rompy_report._text import duration, number, plain_label, size
from rompy_report._view import Field, Floats, PointSeries, Series

_Axes: TypeAlias = Any
"""matplotlib's own types leave too much open for a strict checker."""
_DPI: Final = 160
COLUMNS: Final = 900
"""At most so many places of a series are drawn."""
_MOST_TRIANGLES: Final = 200_000
_BINS: Final = 400
_NAMES_HEIGHT: Final = 0.22
_LETTER_WIDTH: Final = 0.078
"""The widest that a letter of a stage's name usually is, in inches."""
_FAR_LIMIT: Final = 4.0
"""A limit that is so many times the peak would press the curve to the ground; it is drawn at the top instead."""


@attrs.frozen(kw_only=True)
class Palette:
    """The colours of a picture."""

    surface: str
    ink: str
    muted: str
    line: str
    band: str
    cpu: str
    memory: str
    progress: str
    limit: str


LIGHT: Final = Palette(
    surface="#ffffff",
    ink="#1d2329",
    muted="#57616b",
    line="#dde1e5",
    band="#f2f5f7",
    cpu="#0b6a88",
    memory="#6a4fa3",
    progress="#1f7a4d",
    limit="#b3261e",
)
DARK: Final = Palette(
    surface="#171c21",
    ink="#e7eaed",
    muted="#9ca7b2",
    line="#2e363e",
    band="#1f262c",
    cpu="#5fbfdc",
    memory="#b7a1ee",
    progress="#58c690",
    limit="#ff8f80",
)


@attrs.frozen(kw_only=True)
class Timeline:
    """What the picture of a run's course shows.

    Attributes:
        started_at: When the run started: second 0 of the series.
        wall_time_s: How long it took, where that is known.
        series: What was sampled.
        stages: Of the pipeline.
        memory_limit: In bytes, or ``None``.
        time_limit_s: The wall-clock limit, or ``None``.
    """

    started_at: datetime
    wall_time_s: float | None
    series: Series
    stages: tuple[PipelineStage, ...]
    memory_limit: float | None
    time_limit_s: float | None

    def seconds(self, moment: datetime) -> float:
        """Give a moment in seconds since the run started."""
        return (moment - self.started_at).total_seconds()

    @property
    def span(self) -> tuple[float, float]:
        """The first and the last moment, in seconds since the run started."""
        moments = [0.0, self.wall_time_s or 0.0]
        for times in (self.series.elapsed_s, self.series.progress_s):
            moments += [float(times.max())] if times.size else []
        for stage in self.stages:
            moments += [self.seconds(moment) for moment in (stage.started_at, stage.finished_at) if moment is not None]
        return min(moments), max(*moments, min(moments) + 1e-3)


def draw_timeline(timeline: Timeline, palette: Palette, *, shape: Literal["wide", "narrow"]) -> bytes:
    """Draw CPU, memory and progress below one another, with the stages marked; gives a PNG."""
    panels = _panels(timeline)
    width = 10.4 if shape == "wide" else 4.6
    height = sum(panel.height for panel in panels) + (0.75 if timeline.stages else 0.5)
    figure = _figure(width, height, palette)
    heights = [*([_NAMES_HEIGHT] if timeline.stages else []), *(panel.height for panel in panels)]
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    axes: list[_Axes] = [figure.add_subplot(cell) for cell in grid]
    columns = COLUMNS if shape == "wide" else COLUMNS // 2
    if timeline.stages:
        _draw_stage_names(axes[0], timeline, palette, width)
    for panel, axis in zip(panels, axes[-len(panels) :], strict=True):
        _prepare(axis, palette)
        axis.set_title(panel.title, loc="left", fontsize=9.5, color=palette.ink, pad=5, fontweight="bold")
        axis.set_xlim(*_with_margin(timeline.span))
        panel.draw(axis, timeline, palette, columns)
        _mark_stages(axis, timeline, palette)
        _mark_timeout(axis, timeline, palette, is_named=panel is panels[0])
        axis.tick_params(labelbottom=panel is panels[-1])
    _time_axis(axes[-1], timeline, palette)
    return _png(figure)


def draw_field(field: Field, palette: Palette) -> bytes:
    """Draw a variable on its mesh or grid; gives a PNG."""
    figure = _figure(
        _width_of(field), 4.2, palette, layout="compressed" if _is_roughly_square(field) else "constrained"
    )
    axis: _Axes = figure.add_subplot()
    _prepare(axis, palette)
    axis.grid(visible=False)
    values = np.ma.masked_invalid(field.values)
    low, high = _limits(values)
    style: dict[str, Any] = {"cmap": "viridis", "vmin": low, "vmax": high, "rasterized": True}
    if field.triangles is None:
        image: Any = _draw_grid(axis, field, values, style)
    elif len(field.triangles) > _MOST_TRIANGLES:
        image = _draw_binned(axis, field, style)
    elif values.size == len(field.triangles):
        image = axis.tripcolor(field.x, field.y, field.triangles, facecolors=values.filled(np.nan), **style)
    else:
        image = axis.tripcolor(field.x, field.y, field.triangles, values.filled(np.nan), shading="gouraud", **style)
    bar: Any = figure.colorbar(image, ax=axis, fraction=0.05, pad=0.02)
    bar.set_label(plain_label(field.unit), color=palette.muted, fontsize=9, parse_math=False)
    bar.ax.tick_params(colors=palette.muted, labelsize=8, length=2.5)
    bar.outline.set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(5))
    for one in (axis.xaxis, axis.yaxis, bar.ax.yaxis):
        _write_ticks(one, _plain_number)
    if _is_roughly_square(field):
        axis.set_aspect("equal")
    axis.tick_params(axis="both", labelsize=8)
    return _png(figure)


def draw_point(series: PointSeries, palette: Palette) -> bytes:
    """Draw a series at a point; gives a PNG."""
    figure = _figure(6.0, 2.6, palette)
    axis: _Axes = figure.add_subplot()
    _prepare(axis, palette)
    times = series.times
    axis.plot(times, series.values, color=palette.cpu, linewidth=1.4)
    axis.set_xlabel(plain_label(series.time_label), color=palette.muted, fontsize=9, parse_math=False)
    axis.set_ylabel(plain_label(series.unit), color=palette.muted, fontsize=9, parse_math=False)
    if times.dtype.kind == "M":
        locator: Any = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axis.xaxis.set_major_locator(MaxNLocator(6))
        _write_ticks(axis.xaxis, _plain_number)
    _write_ticks(axis.yaxis, _plain_number)
    return _png(figure)


# --- panels of the timeline


@attrs.frozen(kw_only=True)
class _Panel:
    title: str
    height: float
    draw: Callable[[_Axes, Timeline, Palette, int], None]


def _panels(timeline: Timeline) -> Sequence[_Panel]:
    panels: list[_Panel] = []
    if timeline.series.elapsed_s.size >= 2:
        panels.append(_Panel(title="CPU, cores in use", height=1.25, draw=_draw_cpu))
        panels.append(_Panel(title="Memory", height=1.25, draw=_draw_memory))
    if timeline.series.progress_s.size >= 2:
        panels.append(_Panel(title="Progress", height=1.05, draw=_draw_progress))
    return panels


def _draw_cpu(axis: _Axes, timeline: Timeline, palette: Palette, columns: int) -> None:
    x, cores = rates(timeline.series.elapsed_s, timeline.series.cpu_time_s)
    _draw_band(axis, x, cores, columns, palette.cpu)
    axis.set_ylim(0, max(float(cores.max(initial=0.0)) * 1.12, 1.05))
    axis.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    _write_ticks(axis.yaxis, number)


def _draw_memory(axis: _Axes, timeline: Timeline, palette: Palette, columns: int) -> None:
    memory = timeline.series.memory_bytes
    _draw_band(axis, timeline.series.elapsed_s, memory, columns, palette.memory)
    peak = max(float(memory.max(initial=0.0)), 1.0)
    top, limit = peak * 1.15, timeline.memory_limit
    if limit is not None:
        is_far = limit > _FAR_LIMIT * peak
        top = peak * 1.3 if is_far else max(limit * 1.22, top)
        height = top * 0.985 if is_far else limit
        text = f"limit {size(limit)}" + (" (above this scale)" if is_far else "")
        axis.axhline(height, color=palette.limit, linewidth=1.4, linestyle=(0, (5, 2)))
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        box = {"facecolor": palette.surface, "edgecolor": "none", "pad": 1.0}
        side: dict[str, Any] = {"xytext": (4, -4), "va": "top"} if is_far else {"xytext": (4, 4), "va": "bottom"}
        axis.annotate(text, (0.0, height), **place, **side, fontsize=8.5, color=palette.limit, bbox=box)
    axis.set_ylim(0, top)
    step = _round_step(top / 4)
    axis.set_yticks([n * step for n in range(int(top / step) + 1)])
    _write_ticks(axis.yaxis, _plain_size)


def _draw_progress(axis: _Axes, timeline: Timeline, palette: Palette, columns: int) -> None:
    _draw_band(axis, timeline.series.progress_s, timeline.series.progress * 100, columns, palette.progress)
    axis.set_ylim(0, 105)
    axis.set_yticks([0, 50, 100])
    _write_ticks(axis.yaxis, lambda value: f"{value:.0f} %")


def _round_step(least: float) -> float:
    """Give the smallest round number of bytes, in units of 1024, that is at least *least*."""
    unit = 1024.0 ** int(np.log2(max(least, 1.0)) // 10)
    return unit * next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1024) if step * unit >= least)


def _plain_size(value: float) -> str:
    """Write a round number of bytes without a fraction that says nothing."""
    shown = size(value)
    return f"{shown.number.removesuffix('.0')} {shown.unit}" if value else "0"


def _draw_band(axis: _Axes, x: Floats, y: Floats, columns: int, colour: str) -> None:
    band = decimate(x, y, columns)
    if band.low is not band.high:
        axis.fill_between(band.x, band.low, band.high, color=colour, alpha=0.35, linewidth=0)
    axis.fill_between(band.x, 0, band.mean, color=colour, alpha=0.12, linewidth=0)
    axis.plot(band.x, band.mean, color=colour, linewidth=1.4)


def _draw_stage_names(axis: _Axes, timeline: Timeline, palette: Palette, width: float) -> None:
    """Write the stages' names above the panels, each where its stage begins, or after the name before it."""
    axis.set_axis_off()
    first, last = _with_margin(timeline.span)
    axis.set_xlim(first, last)
    axis.set_ylim(0, 1)
    per_letter = (last - first) * _LETTER_WIDTH / (width * 0.9)
    free_from = first
    for stage in timeline.stages:
        name = plain_label(stage.name, 20)
        room = (len(name) + 1.5) * per_letter
        x = min(max(timeline.seconds(stage.started_at), free_from), last - room)
        axis.text(x, 0.1, name, fontsize=8.5, color=palette.muted, va="bottom", parse_math=False)
        free_from = x + room


def _mark_stages(axis: _Axes, timeline: Timeline, palette: Palette) -> None:
    last = timeline.span[1]
    for n, stage in enumerate(timeline.stages):
        begin = timeline.seconds(stage.started_at)
        end = timeline.seconds(stage.finished_at) if stage.finished_at is not None else last
        if n % 2:
            axis.axvspan(begin, end, color=palette.band, zorder=0, linewidth=0)
        axis.axvline(begin, color=palette.muted, linewidth=0.8, linestyle=(0, (1, 2)))


def _mark_timeout(axis: _Axes, timeline: Timeline, palette: Palette, *, is_named: bool) -> None:
    limit = timeline.time_limit_s
    if limit is None or limit > timeline.span[1] * 1.02:
        return
    axis.axvline(limit, color=palette.limit, linewidth=1.4, linestyle=(0, (5, 2)))
    if is_named:
        axis.annotate(
            f"timeout {duration(limit)}", (limit, 1.0), xycoords=("data", "axes fraction"), xytext=(-4, 4),
            textcoords="offset points", ha="right", va="bottom", fontsize=8.5, color=palette.limit,
        )  # fmt: skip


def _time_axis(axis: _Axes, timeline: Timeline, palette: Palette) -> None:
    unit, name = next(
        (pair for pair in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")) if timeline.span[1] >= 2 * pair[0]),
        (1.0, "s"),
    )
    first, last = timeline.span
    places = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(first / unit, last / unit)
    axis.set_xticks([place * unit for place in places if first / unit <= place <= last / unit])
    _write_ticks(axis.xaxis, lambda value: number(value / unit))
    axis.set_xlabel(f"time since the start of the run ({name})", color=palette.muted, fontsize=9)


# --- fields


def _draw_grid(axis: _Axes, field: Field, values: Any, style: dict[str, Any]) -> Any:
    if np.isfinite(field.x).all() and np.isfinite(field.y).all() and min(values.shape) > 1:
        return axis.pcolormesh(field.x, field.y, values, shading="nearest", **style)
    return axis.scatter(field.x, field.y, c=values, s=4, marker="s", linewidths=0, **style)


def _draw_binned(axis: _Axes, field: Field, style: dict[str, Any]) -> Any:
    """Draw a mesh that has more triangles than the picture has pixels: the mean of those in each pixel."""
    assert field.triangles is not None
    corners = field.triangles
    x, y = field.x[corners].mean(axis=1), field.y[corners].mean(axis=1)
    values = field.values if field.values.size == len(corners) else field.values[corners].mean(axis=1)
    good = np.isfinite(values)
    counts, edges_x, edges_y = np.histogram2d(x[good], y[good], _BINS)
    sums, _, _ = np.histogram2d(x[good], y[good], (edges_x, edges_y), weights=values[good])
    means = np.ma.masked_where(counts == 0, sums / np.maximum(counts, 1))
    return axis.pcolormesh(edges_x, edges_y, means.T, **style)


def _limits(values: Any) -> tuple[float, float]:
    """Give the range of the colours: all values, and never an empty range."""
    good = values.compressed()
    if not good.size:
        return 0.0, 1.0
    low, high = float(good.min()), float(good.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _shape_of(field: Field) -> float:
    """Give how many times as wide as high it is."""
    across, along = (float(np.nanmax(places) - np.nanmin(places)) for places in (field.x, field.y))
    return across / along if across > 0 and along > 0 else 1.0


def _is_roughly_square(field: Field) -> bool:
    return 1 / 4 <= _shape_of(field) <= 4


def _width_of(field: Field) -> float:
    return min(max(3.7 * _shape_of(field) + 1.4, 4.6), 6.6) if _is_roughly_square(field) else 6.6


# --- what all have in common


def _figure(width: float, height: float, palette: Palette, layout: str = "constrained") -> Any:
    figure: Any = Figure(figsize=(width, height), dpi=_DPI, facecolor=palette.surface, layout=cast("Any", layout))
    FigureCanvasAgg(figure)
    return figure


def _prepare(axis: _Axes, palette: Palette) -> None:
    axis.set_facecolor(palette.surface)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(palette.line)
    axis.tick_params(colors=palette.muted, labelsize=8.5, length=0)
    axis.grid(visible=True, color=palette.line, linewidth=0.7)
    axis.set_axisbelow(True)


def _write_ticks(axis: Any, text: Callable[[float], str]) -> None:
    def formatted(value: float, _: int | None) -> str:
        return text(value)

    axis.set_major_formatter(FuncFormatter(formatted))


def _plain_number(value: float) -> str:
    """Write the whole number at each tick: an offset or a factor beside the axis is easily overlooked."""
    return f"{value:.7g}"


def _with_margin(span: tuple[float, float]) -> tuple[float, float]:
    margin = (span[1] - span[0]) * 0.005
    return span[0] - margin, span[1] + margin


def _png(figure: Any) -> bytes:
    target = io.BytesIO()
    figure.savefig(target, format="png", pil_kwargs={"optimize": True})
    return target.getvalue()
