"""All runs below a directory on one page."""

from __future__ import annotations

import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

import attrs

from rompy_core import RecordError, RunReport, find_runs, replace_file
from rompy_report._files import is_plain_file
from rompy_report._rendering import VERDICTS, Verdict, render
from rompy_report._writing import PAGE

_COMPARISON: Final = "comparison.html"


@attrs.frozen(kw_only=True)
class Row:
    """One run in the table.

    Attributes:
        run_id: The model run's identifier.
        place: Its record: the attempt, and where that is if it is not in the run's own folder.
        href: The address of its report, relative to the page; empty where there is none.
        verdict: How it ended.
        reason: Why, in one sentence.
        started_at: When it began.
        wall_time_s: How long it took, or ``None``.
        cpu_time_s: User and system seconds, or ``None``.
        peak_rss_bytes: Its peak memory, or ``None``.
    """

    run_id: str
    place: str
    href: str
    verdict: Verdict
    reason: str
    started_at: datetime
    wall_time_s: float | None
    cpu_time_s: float | None
    peak_rss_bytes: int | None


def compare(directory: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Path:
    """Write one page that lists all runs below *directory*, those that failed first; it can be sorted by any column.

    Args:
        directory: Where to look for records; symbolic links are not followed, and what cannot be read is passed over.
        output: The page; ``comparison.html`` in *directory* if left out. One that is there is replaced.

    Returns:
        The page. The runs that have a report of their own are linked to it.

    Raises:
        RecordError: There is no such directory, or no record of a run below it.
        OSError: The page cannot be written.
    """
    top = Path(directory)
    if not top.is_dir():
        raise RecordError(top, "is no directory; give the one that the workspaces of the runs are in")
    page = top / _COMPARISON if output is None else Path(output)
    reports = find_runs(top)
    if not reports:
        raise RecordError(top, "no record of a run below it; give the directory that the workspaces of the runs are in")
    rows = sorted((_row(report, top, page) for report in reports), key=_place_in_table)
    counts = Counter(row.verdict for row in rows)
    text = render(
        "compare.html",
        directory=str(top),
        rows=rows,
        counts=sorted(counts.items(), key=lambda pair: pair[0].rank),
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    replace_file(page, text.encode("utf-8"))
    return page


def _row(report: RunReport, top: Path, page: Path) -> Row:
    assert report.record_dir is not None
    own_page = report.record_dir / PAGE
    return Row(
        run_id=report.run_id,
        place=_place(report.run_id, report.record_dir, top),
        href=_address(own_page, page.parent) if is_plain_file(own_page) else "",
        verdict=VERDICTS[report.state],
        reason=report.reason,
        started_at=report.started_at,
        wall_time_s=report.wall_time_s,
        cpu_time_s=report.cpu_time_s,
        peak_rss_bytes=report.peak_rss_bytes,
    )


def _place(run_id: str, record_dir: Path, top: Path) -> str:
    """Name a run's record: by its own name where the workspace is called as the run, else with the way to it."""
    way = os.path.relpath(record_dir, top).replace("/.rompy/", "/")
    return record_dir.name if way == f"{run_id}/{record_dir.name}" else way


def _address(path: Path, start: Path) -> str:
    """Give the address of *path* as seen from *start*: every sign that means something in an address is escaped."""
    return "./" + quote(os.fsencode(os.path.relpath(path, start)), safe="/")


def _place_in_table(row: Row) -> tuple[int, float, str]:
    return row.verdict.rank, -row.started_at.timestamp(), row.place
