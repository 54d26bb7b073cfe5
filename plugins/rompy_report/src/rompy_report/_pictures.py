"""The pictures of a page, each drawn for light and for dark, and what is said about them in words."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import attrs
import numpy as np

from rompy_report._drawing import COLUMNS, DARK, LIGHT, Palette, Timeline, draw_field, draw_point, draw_timeline
from rompy_report._reading import limit_of
from rompy_report._rendering import data_uri
from rompy_report._text import duration, number, size
from rompy_report._view import Field, Output, PointSeries, RunView

_ON_PHONE: Final = "(max-width: 40rem)"
_IN_DARK: Final = "screen and (prefers-color-scheme: dark)"


@attrs.frozen(kw_only=True)
class Source:
    """One way to show a picture: under what condition, its address, and its size in pixels."""

    media: str
    uri: str
    width: int
    height: int


@attrs.frozen(kw_only=True)
class Picture:
    """A picture.

    Attributes:
        name: The name of its PNG file.
        png: The file's content: the one for light, at full width.
        alt: What it shows, for people who do not see it.
        caption: What stands below it.
        default: How it is shown unless one of *sources* applies.
        sources: The other ways, the first that applies counts.
    """

    name: str
    png: bytes
    alt: str
    caption: str
    default: Source
    sources: tuple[Source, ...]


@attrs.frozen(kw_only=True)
class OutputPictures:
    """The pictures of one NetCDF file."""

    output: Output
    pictures: tuple[Picture, ...]


def timeline_picture(view: RunView) -> tuple[Picture | None, str]:
    """Draw the course of a run.

    Returns:
        The picture, ``None`` where nothing was sampled; and why it could not be drawn, empty where all is well.
    """
    try:
        return _timeline_picture(view), ""
    except Exception as exc:  # noqa: BLE001 - recorded numbers may be beyond what the libraries can draw
        return None, f"The timeline cannot be drawn: {type(exc).__name__}: {exc}"


def _timeline_picture(view: RunView) -> Picture | None:
    report = view.report
    if report is None or view.series.is_empty:
        return None
    timeline = Timeline(
        started_at=report.started_at,
        wall_time_s=report.wall_time_s,
        series=view.series,
        stages=view.stages,
        memory_limit=limit_of(report, "memory"),
        time_limit_s=limit_of(report, "timeout"),
    )
    wide = {palette: draw_timeline(timeline, palette, shape="wide") for palette in (LIGHT, DARK)}
    narrow = {palette: draw_timeline(timeline, palette, shape="narrow") for palette in (LIGHT, DARK)}
    return Picture(
        name="timeline.png",
        png=wide[LIGHT],
        alt=_timeline_in_words(timeline),
        caption=_timeline_caption(timeline, is_thinned=view.series.elapsed_s.size > COLUMNS),
        default=_source("", wide[LIGHT]),
        sources=(
            _source(f"{_IN_DARK} and {_ON_PHONE}", narrow[DARK]),
            _source(_ON_PHONE, narrow[LIGHT]),
            _source(_IN_DARK, wide[DARK]),
        ),
    )


def output_pictures(view: RunView) -> tuple[OutputPictures, ...]:
    """Draw what was seen in the NetCDF files; what cannot be drawn is said so."""
    return tuple(_output_pictures(output, n) for n, output in enumerate(view.outputs, start=1))


def _output_pictures(output: Output, n: int) -> OutputPictures:
    try:
        return OutputPictures(output=output, pictures=tuple(_pictures_of(output, n)))
    except Exception as exc:  # noqa: BLE001 - as for the timeline
        return OutputPictures(output=attrs.evolve(output, problem=f"{type(exc).__name__}: {exc}"), pictures=())


def _pictures_of(output: Output, n: int) -> Iterator[Picture]:
    file = Path(output.file).name
    for field in output.fields:
        caption = f"{_named(field)}{f' at {field.when}' if field.when else ''}. {_range_of(field)}"
        yield _picture(
            f"output-{n}-{_slug(field.name)}.png",
            functools.partial(draw_field, field),
            alt=f"Map of {_named(field)} in {file}. {_range_of(field)}",
            caption=caption,
        )
    for series in output.series:
        x, y = (f"{value:.7g}" for value in series.at)
        caption = f"{_named(series)} at x = {x}, y = {y}."
        yield _picture(
            f"output-{n}-{_slug(series.name)}-at-point.png",
            functools.partial(draw_point, series),
            alt=f"Time series of {_named(series)} in {file}, at x = {x}, y = {y}. {_range_of(series)}",
            caption=f"{caption} {_range_of(series)}",
        )


def _picture(name: str, draw: Callable[[Palette], bytes], *, alt: str, caption: str) -> Picture:
    light, dark = draw(LIGHT), draw(DARK)
    return Picture(
        name=name, png=light, alt=alt, caption=caption, default=_source("", light), sources=(_source(_IN_DARK, dark),)
    )


def _source(media: str, png: bytes) -> Source:
    # A PNG has its width and height, four bytes each, behind the name of its first chunk.
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Source(media=media, uri=data_uri(png), width=width, height=height)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40] or "variable"


def _named(one: Field | PointSeries) -> str:
    return one.name if one.label == one.name else f"{one.label} ({one.name})"


def _range_of(one: Field | PointSeries) -> str:
    good = one.values[np.isfinite(one.values)]
    if not good.size:
        return "It has no values there."
    unit = f" {one.unit}" if one.unit else ""
    return f"From {number(float(good.min()))}{unit} to {number(float(good.max()))}{unit}."


def _timeline_in_words(timeline: Timeline) -> str:
    series = timeline.series
    words = [f"Timeline of {duration(timeline.span[1] - timeline.span[0])}."]
    if series.elapsed_s.size >= 2:
        words.append(f"CPU time at the last sample: {duration(float(series.cpu_time_s[-1]))}.")
        words.append(f"Memory: at most {size(float(series.memory_bytes.max()))} in a sample.")
    if timeline.memory_limit is not None:
        words.append(f"Memory limit: {size(timeline.memory_limit)}.")
    if series.progress_s.size >= 2:
        words.append(f"Progress: {series.progress[-1]:.0%} at the end.")
    return " ".join(words)


def _timeline_caption(timeline: Timeline, *, is_thinned: bool) -> str:
    count = timeline.series.elapsed_s.size
    words = [f"{count:,} samples." if count else "Nothing was sampled but the progress."]
    if is_thinned:
        words.append("The line is the mean of those in one column of pixels, the band their smallest and largest.")
    return " ".join(words)
