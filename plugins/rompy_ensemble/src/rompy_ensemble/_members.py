"""The table of members: whatever it comes as, it becomes rows of plain values. No library of tables is imported."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from rompy_core import ConfigError

Row: TypeAlias = Mapping[str, Any]
"""One member's parameters by the names of their columns."""

_ACCEPTED: Final = "a list of mappings, the path of a CSV file, a pandas DataFrame or an xarray Dataset"


def read_rows(members: object) -> tuple[Row, ...]:
    """Give the rows of a table.

    Args:
        members: A sequence of mappings; the path of a CSV file, whose first line names the columns and whose numbers
            become numbers; what has ``to_dataframe()`` (an xarray Dataset, whose every point is a member); or what has
            ``columns`` and ``to_dict()`` (a pandas DataFrame, whose index is left out).

    Raises:
        ConfigError: It is none of these, it is empty, or with every row that is no mapping of names.
    """
    rows = _plain_rows(members)
    if not rows:
        raise ConfigError("Ensemble", ["members: must have at least one row, found none"])
    problems = [
        f"members[{number}]: must be a mapping of names and values, found {_found(row)}"
        for number, row in enumerate(rows)
        if not _is_row(row)
    ]
    if problems:
        raise ConfigError("Ensemble", problems)
    return tuple({name: _plain(value) for name, value in row.items()} for row in cast("Sequence[Row]", rows))


def _plain_rows(members: Any) -> Sequence[object]:
    if isinstance(members, str | os.PathLike):
        return _read_csv(Path(os.fspath(cast("str | os.PathLike[str]", members))))
    if hasattr(members, "to_dataframe"):
        members = members.to_dataframe().reset_index()
    if hasattr(members, "columns") and hasattr(members, "to_dict"):
        return cast("list[Row]", members.to_dict("records"))
    if isinstance(members, Mapping) or not isinstance(members, Iterable):
        raise ConfigError("Ensemble", [f"members: must be {_ACCEPTED}, found {type(cast('object', members)).__name__}"])
    return list(cast("Iterable[object]", members))


def _read_csv(path: Path) -> Sequence[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as exc:
        detail = getattr(exc, "strerror", None) or exc
        raise ConfigError("Ensemble", [f"members: {str(path)!r} cannot be read: {detail}"]) from exc
    ragged = [
        f"members: {str(path)!r}, row {number}: must have as many cells as there are columns"
        for number, row in enumerate(rows, 1)
        if None in cast("Mapping[object, object]", row) or None in row.values()
    ]
    if ragged:
        raise ConfigError("Ensemble", ragged)
    return [{name: _number(cell) for name, cell in row.items()} for row in rows]


def _number(cell: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _is_row(row: object) -> bool:
    return isinstance(row, Mapping) and all(
        isinstance(name, str) and name for name in cast("Mapping[object, object]", row)
    )


def _found(row: object) -> str:
    if not isinstance(row, Mapping):
        return type(row).__name__
    return f"the names {list(cast('Mapping[object, object]', row))!r}"


def _plain(value: Any) -> Any:
    """Give the Python value of a numpy scalar, and any other as it is."""
    is_scalar = hasattr(value, "dtype") and getattr(value, "shape", None) == ()
    return value.item() if is_scalar else value
