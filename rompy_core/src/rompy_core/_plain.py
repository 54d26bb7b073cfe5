"""Make what other hands gave fit for JSON."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from rompy_core._foreign import is_truth_value
from rompy_core._structure import unstructure_config

_DEEPEST: Final = 20
_LONGEST: Final = 10_000
"""Characters of a text that stands for an object."""


def plain(value: object, depth: int = 0) -> Any:
    """Give *value* as tables, lists, text, finite numbers and truth values; what has no such form is shown as text."""
    try:
        return _plain(value, depth)
    except Exception:  # noqa: BLE001 - an object of other hands may raise anything when it is looked at
        return type(value).__name__


def _plain(value: object, depth: int) -> object:
    if value is None or isinstance(value, str):
        return value
    if is_truth_value(value):
        return bool(value)
    if isinstance(value, numbers.Real):
        return _number(value)
    parts = _parts(value) if depth < _DEEPEST else None
    if isinstance(parts, Mapping):
        table = cast("Mapping[object, object]", parts)
        return {str(name): plain(item, depth + 1) for name, item in table.items()}
    if isinstance(parts, list | tuple):
        return [plain(item, depth + 1) for item in cast("Sequence[object]", parts)]
    return str(value)[:_LONGEST]


def _parts(value: object) -> object:
    return cast("object", value) if isinstance(value, Mapping | list | tuple) else unstructure_config(value)


def _number(value: numbers.Real) -> int | float | str:
    if isinstance(value, numbers.Integral):
        whole = int(value)
        return whole if abs(whole) < 2**63 else str(whole)
    number = float(value)
    return number if math.isfinite(number) else str(value)
