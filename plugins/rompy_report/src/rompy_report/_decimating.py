"""Thin out time series to what a picture can show: for each column of pixels the smallest, mean and largest value."""

from __future__ import annotations

import attrs
import numpy as np

from rompy_report._view import Floats


@attrs.frozen(kw_only=True, eq=False)
class Band:
    """A series with at most one place for each column of pixels: no peak and no gap is lost.

    Attributes:
        x: Where the values stand: the mean of the times in that column.
        low: The smallest value of each.
        mean: The mean of each.
        high: The largest value of each.
    """

    x: Floats
    low: Floats
    mean: Floats
    high: Floats


def decimate(x: Floats, y: Floats, columns: int) -> Band:
    """Thin out values *y* at the times *x* (ascending, or they are sorted) to at most *columns* places."""
    if x.size <= columns:
        return Band(x=x, low=y, mean=y, high=y)
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    width = (x[-1] - x[0]) / columns or 1.0
    column = np.minimum(((x - x[0]) / width).astype(np.int64), columns - 1)
    starts = np.flatnonzero(np.r_[True, np.diff(column) > 0])
    counts = np.diff(np.r_[starts, x.size])
    return Band(
        x=np.add.reduceat(x, starts) / counts,
        low=np.minimum.reduceat(y, starts),
        mean=np.add.reduceat(y, starts) / counts,
        high=np.maximum.reduceat(y, starts),
    )


def rates(x: Floats, total: Floats) -> tuple[Floats, Floats]:
    """Give how fast *total* grew between samples, at the middle between them; what went back counts as 0."""
    step = np.diff(x)
    forward = step > 0
    middle = (x[1:] + x[:-1])[forward] / 2
    return middle, np.maximum(np.diff(total)[forward], 0.0) / step[forward]
