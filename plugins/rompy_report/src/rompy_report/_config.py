"""The options of the postprocessor ``report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import attrs

from rompy_core import PostprocessorConfig, fields


def _to_point(value: object) -> Any:
    """Turn a list of numbers into a tuple of floats; leave the rest to the validator."""
    return tuple(map(fields.to_float, cast("Sequence[object]", value))) if isinstance(value, list | tuple) else value


def _point(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    numbers = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    if len(numbers) != 2 or not all(fields.is_number(number) for number in numbers):
        raise ValueError(f"must be two numbers, x and y, found {value!r}")


@attrs.frozen(kw_only=True)
class ReportConfig(PostprocessorConfig):
    """How a report is written.

    Attributes:
        output_dir: Where the page and its pictures go; relative to the current directory. ``None`` for the folder of
            the run's record, or for ``report/`` in a workspace that has none.
        log_lines: How many lines at the end of each log are shown.
        netcdf: Whether to look into the NetCDF files that the run wrote.
        point: x and y, in the coordinates of the output, of the place whose time series is drawn; ``None`` for the
            middle of the domain.
    """

    output_dir: Path | None = attrs.field(
        default=None, converter=fields.to_path, validator=attrs.validators.optional(fields.path)
    )
    log_lines: int = attrs.field(default=100, validator=fields.positive_whole)
    netcdf: bool = attrs.field(default=True, validator=fields.flag)
    point: tuple[float, float] | None = attrs.field(
        default=None, converter=_to_point, validator=attrs.validators.optional(_point)
    )
