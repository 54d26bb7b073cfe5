from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_report._decimating import decimate, rates
from rompy_report._text import duration, plain_label, size

finite = st.floats(-1e9, 1e9)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=300), st.integers(1, 50))
def test_a_thinned_series_has_the_extremes_of_the_whole_one_and_is_no_longer_than_asked(
    points: list[tuple[float, float]], columns: int
) -> None:
    x, y = np.array(points).T

    band = decimate(x, y, columns)

    assert band.x.size <= max(columns, 1)
    assert band.low.min() == y.min()
    assert band.high.max() == y.max()
    assert (band.low <= band.high).all()


def test_a_single_peak_among_many_samples_is_kept() -> None:
    y = np.zeros(100_000)
    y[43_210] = 7.0

    band = decimate(np.arange(100_000.0), y, 900)

    assert band.high.max() == 7.0
    assert np.count_nonzero(band.high) == 1


def test_rates_are_what_was_used_over_the_time_between_samples() -> None:
    middle, cores = rates(np.array([0.0, 1.0, 3.0, 3.0, 4.0]), np.array([0.0, 2.0, 3.0, 3.5, 3.0]))

    assert middle.tolist() == [0.5, 2.0, 3.5]
    assert cores.tolist() == [2.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (0.0021, "2.1 ms"), (0.25, "0.25 s"), (9.994, "9.99 s"), (12.34, "12.3 s"), (60, "1 min"),
        (59.96, "60.0 s"), (61.4, "1 min 01 s"), (3599.7, "1 h"), (3600, "1 h"), (7384, "2 h 03 min"),
        (86399, "1 d"), (90061, "1 d 01 h"), (8640000, "100 d"),
    ],
)  # fmt: skip
def test_a_duration_is_written_in_the_units_that_a_person_would_use(seconds: float, text: str) -> None:
    assert str(duration(seconds)).replace("\xa0", " ") == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (256 * 2**20, "256 MiB"),
        (4 * 2**30, "4.0 GiB"),
        (2**70, "1048576 PiB"),
    ],
)
def test_a_size_is_written_in_units_of_1024(count: int, text: str) -> None:
    assert str(size(count)).replace("\xa0", " ") == text


def test_a_label_in_a_picture_is_ascii_and_short() -> None:
    assert plain_label("höhe\x1b" + "x" * 100) == "h?he?" + "x" * 32 + "..."
