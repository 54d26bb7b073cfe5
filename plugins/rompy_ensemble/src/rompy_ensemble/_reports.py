"""What came of an ensemble: a row for each member, and the table of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from rompy_core import RunState


@attrs.frozen(kw_only=True)
class MemberRow:
    """One member: what it was to compute, and what came of it.

    Attributes:
        run_id: The name of its model run.
        parameters: Its row of the table.
        state: How its newest attempt ended, or ``None`` where there was none. ``COMPLETED`` only where all stages of
            the pipeline are a success.
        reason: One sentence for a person.
        stage: The stage that failed, or empty.
        attempts: How many there were, those of earlier starts included.
        ran: How many of them this start of the ensemble made; 0 for a member that was finished before.
        is_changed: Whether it was finished before with other inputs than it would have now, and was left as it is.
        scaled: Options that had grown in the newest attempt.
        wall_time_s: Of the newest attempt's run, as in ``RunReport``.
        cpu_time_s: As in ``RunReport``.
        peak_rss_bytes: As in ``RunReport``.
        started_at: When the newest attempt began, ISO 8601, UTC; empty where there was none.
        finished_at: When it ended.
        workspace_dir: Its inputs and outputs.
        record_dir: The record of its newest run, or ``None``.
        fraction: How far it is between 0 and 1, where it runs and says so.
    """

    run_id: str
    parameters: Mapping[str, Any]
    state: RunState | None = None
    reason: str = ""
    stage: str = ""
    attempts: int = 0
    ran: int = 0
    is_changed: bool = False
    scaled: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    wall_time_s: float | None = None
    cpu_time_s: float | None = None
    peak_rss_bytes: int | None = None
    started_at: str = ""
    finished_at: str = ""
    workspace_dir: Path
    record_dir: Path | None = None
    fraction: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the member is finished: every stage was a success."""
        return self.state is RunState.COMPLETED

    def plain(self) -> dict[str, Any]:
        """Give the row with its parameters as columns beside the others.

        A parameter that is called like one of the other columns is called ``parameter_<name>``.
        """
        others = {name: _cell(getattr(self, name)) for name in _COLUMNS}
        own = {f"parameter_{name}" if name in others else name: value for name, value in self.parameters.items()}
        own.pop("parameter_run_id", None)
        return {"run_id": self.run_id, **own, **{name: others[name] for name in _COLUMNS[1:]}}


_COLUMNS: Final = (
    "run_id",
    "ok",
    *(f.name for f in attrs.fields(MemberRow) if f.name not in ("run_id", "parameters", "scaled", "fraction")),
)


@attrs.frozen(kw_only=True)
class EnsembleReport:
    """The table of results, in the order of the members.

    Attributes:
        rows: A row for each member.
    """

    rows: tuple[MemberRow, ...]

    @property
    def ok(self) -> bool:
        """Whether every member is finished."""
        return all(row.ok for row in self.rows)

    @property
    def failed(self) -> tuple[MemberRow, ...]:
        """The members that were tried and are not finished."""
        return tuple(row for row in self.rows if not row.ok and row.state is not None)

    @property
    def not_run(self) -> tuple[MemberRow, ...]:
        """The members that were never tried."""
        return tuple(row for row in self.rows if row.state is None)

    @property
    def changed(self) -> tuple[MemberRow, ...]:
        """The members that are finished with other inputs than they would have now."""
        return tuple(row for row in self.rows if row.is_changed)

    def __iter__(self) -> Iterator[MemberRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_rows(self) -> list[dict[str, Any]]:
        """Give plain rows: the parameters of each member and what came of it, by name."""
        return [row.plain() for row in self.rows]

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the plain rows to a CSV file, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        path, rows = Path(path), self.to_rows()
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, _columns_of(rows))
                writer.writeheader()
                writer.writerows(rows)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def to_pandas(self) -> Any:
        """Give the plain rows as a pandas DataFrame; needs pandas."""
        from importlib import import_module

        pandas: Any = import_module("pandas")  # it brings no types
        rows = self.to_rows()
        return pandas.DataFrame(rows, columns=_columns_of(rows))


@attrs.frozen(kw_only=True)
class EnsembleProgress:
    """How far an ensemble is.

    Attributes:
        total: How many members there are.
        ok: How many are finished.
        failed: How many have failed for good.
        running: Those that were handed to the engine, with how far each is between 0 and 1, or ``None`` where it does
            not say.
    """

    total: int
    ok: int
    failed: int
    running: Mapping[str, float | None]

    @property
    def fraction(self) -> float:
        """How far all of it is, between 0 and 1; every member counts the same."""
        return (self.ok + self.failed + sum(value or 0.0 for value in self.running.values())) / self.total


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: object) -> Any:
    if isinstance(value, Path | RunState):
        return str(value)
    return value
