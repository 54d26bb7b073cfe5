from __future__ import annotations

import io
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from rompy_core import PipelineStage
from rompy_report._drawing import DARK, LIGHT, Timeline, draw_field, draw_point, draw_timeline
from rompy_report._view import Field, PointSeries, Series

START = datetime(2026, 1, 1, tzinfo=UTC)


def timeline(**changes: Any) -> Timeline:
    times = np.linspace(0, 60, 200)
    series = Series(
        elapsed_s=times, cpu_time_s=times * 1.5, memory_bytes=1e8 * (1 + times / 60),
        progress_s=times[::10], progress=times[::10] / 60,
    )  # fmt: skip
    stages = (PipelineStage(name="run", started_at=START, finished_at=START + timedelta(seconds=60)),)
    facts: dict[str, Any] = {"memory_limit": 3e8, "time_limit_s": 60.0, "wall_time_s": 60.0}
    return Timeline(**{"started_at": START, "series": series, "stages": stages, **facts, **changes})


def field(**changes: Any) -> Field:
    x, y = np.array([0.0, 1, 0, 1]), np.array([0.0, 0, 1, 1])
    facts: dict[str, Any] = {"name": "h", "label": "depth", "unit": "m", "when": "", "x": x, "y": y}
    facts |= {"triangles": np.array([[0, 1, 2], [1, 3, 2]]), "values": np.arange(4.0)}
    return Field(**{**facts, **changes})


def image(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


@pytest.mark.parametrize(("shape", "is_wide"), [("wide", True), ("narrow", False)])
def test_a_timeline_has_the_shape_of_the_screen_that_it_is_for(shape: Literal["wide", "narrow"], is_wide: bool) -> None:
    width, height = image(draw_timeline(timeline(), LIGHT, shape=shape)).size

    assert (width > 1.5 * height) == is_wide


def test_a_memory_limit_is_drawn_in_also_where_it_is_far_away() -> None:
    plain = draw_timeline(timeline(memory_limit=None), LIGHT, shape="wide")

    for limit in (1.5e8, 3e8, 1e12):
        assert draw_timeline(timeline(memory_limit=limit), LIGHT, shape="wide") != plain
        assert red_pixels(draw_timeline(timeline(memory_limit=limit, time_limit_s=None), LIGHT, shape="wide")) > 500
    assert red_pixels(draw_timeline(timeline(memory_limit=None, time_limit_s=None), LIGHT, shape="wide")) == 0


def red_pixels(png: bytes) -> int:
    red = np.asarray(image(png)).astype(int)
    wanted = np.array([int(LIGHT.limit[n : n + 2], 16) for n in (1, 3, 5)])
    return int((np.abs(red - wanted).max(axis=2) < 12).sum())


def test_stages_mark_the_picture() -> None:
    assert draw_timeline(timeline(), LIGHT, shape="wide") != draw_timeline(timeline(stages=()), LIGHT, shape="wide")


@pytest.mark.parametrize(
    "name", ["$\\frac{1}{0}$", "$", "水位", "\x1b[31m", "\udcff", "x" * 500, "a\nb\nc", "_^{}\\"], ids=repr
)
def test_no_name_can_stop_a_picture(name: str) -> None:
    stage = PipelineStage(name=name, started_at=START, finished_at=None)
    series = PointSeries(
        name=name, label=name, unit=name, at=(0, 0), times=np.arange(3.0), time_label=name, values=np.arange(3.0)
    )

    assert draw_timeline(timeline(stages=(stage,) * 20), DARK, shape="narrow")
    assert draw_field(field(name=name, unit=name, label=name), LIGHT)
    assert draw_point(series, DARK)


@pytest.mark.parametrize(
    "values", [np.full(4, math.nan), np.full(4, 3.0), np.array([0.0, math.inf, 1, -math.inf]), np.arange(4.0) * 1e300]
)
def test_no_values_can_stop_a_picture(values: Any) -> None:
    assert draw_field(field(values=values), LIGHT)
    assert draw_field(field(values=values.reshape(2, 2), x=np.ones((2, 2)), y=np.ones((2, 2)), triangles=None), LIGHT)
    assert draw_field(field(values=values[:2]), LIGHT)


def test_a_series_against_dates_has_dates_on_its_axis() -> None:
    hours = np.arange(48).astype("timedelta64[h]")
    facts: dict[str, Any] = {"name": "hs", "label": "hs", "unit": "m", "at": (0, 0), "values": np.arange(48.0)}

    dates = draw_point(PointSeries(times=np.datetime64("2026-01-01") + hours, time_label="time (UTC)", **facts), LIGHT)

    assert dates != draw_point(PointSeries(times=np.arange(48.0), time_label="time (UTC)", **facts), LIGHT)


def test_a_grid_with_gaps_in_its_coordinates_is_drawn_cell_by_cell() -> None:
    x, y = np.meshgrid(np.arange(4.0), np.arange(3.0))
    x[0, 0] = math.nan

    assert draw_field(field(x=x, y=y, triangles=None, values=np.ones((3, 4))), LIGHT)


def test_a_mesh_with_more_triangles_than_pixels_is_drawn_from_their_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rompy_report._drawing._MOST_TRIANGLES", 1)

    assert draw_field(field(), LIGHT)
    assert draw_field(field(values=np.array([1.0, math.nan])), LIGHT)


def test_pictures_drawn_in_many_threads_are_the_same_as_in_one() -> None:
    alone = draw_timeline(timeline(), LIGHT, shape="narrow")

    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: draw_timeline(timeline(), LIGHT, shape="narrow"), range(8)))

    assert set(drawn) == {alone}
