"""Write the page of one run, and its pictures beside it."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from rompy_core import RunReport, replace_file
from rompy_report._config import ReportConfig
from rompy_report._pictures import output_pictures, timeline_picture
from rompy_report._reading import limit_of, read_run
from rompy_report._rendering import VERDICTS, render
from rompy_report._text import Quantity, duration, size
from rompy_report._view import RunView

PAGE: Final = "report.html"


@attrs.frozen(kw_only=True)
class Written:
    """What was written: the page, and its pictures."""

    page: Path
    pictures: tuple[Path, ...]


@attrs.frozen(kw_only=True)
class Figure:
    """A number that the page shows large: its name, the number, and what belongs to it."""

    name: str
    value: Quantity
    note: str = ""


def write_report(
    path: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
    *,
    log_lines: int = 100,
    netcdf: bool = True,
    point: tuple[float, float] | None = None,
) -> Path:
    """Write the report of a run, as a page and PNG pictures; one that is there is replaced.

    Reads only what is recorded on disk, so the run may be of yesterday, of another machine, or may have died.

    Args:
        path: A ``report.json``, a record's folder, or a workspace, whose newest record is taken.
        output_dir: Where the page goes; the record's folder if left out. It is made where it is missing.
        log_lines: How many lines at the end of each log are shown.
        netcdf: Whether to look into the NetCDF files that the run wrote.
        point: x and y of the place whose time series is drawn; the middle of the domain if left out.

    Returns:
        The page, ``report.html``.

    Raises:
        RecordError: There is no record at *path*, or it cannot be read as one.
        ConfigError: An option is wrong.
        OSError: The page cannot be written.
    """
    directory = None if output_dir is None else Path(output_dir)
    config = ReportConfig(output_dir=directory, log_lines=log_lines, netcdf=netcdf, point=point)
    view = read_run(Path(path), config)
    assert view.report is not None
    return write_view(view, target_of(view, config)).page


def target_of(view: RunView, config: ReportConfig) -> Path:
    """Give the directory that the page of *view* goes to."""
    if config.output_dir is not None:
        return config.output_dir
    if view.report is not None and view.report.record_dir is not None:
        return view.report.record_dir
    assert view.workspace_dir is not None
    return view.workspace_dir / "report"


def write_view(view: RunView, directory: Path) -> Written:
    """Write the page of *view* and its pictures into *directory*, which is made where it is missing.

    Raises:
        OSError: They cannot be written.
    """
    timeline, problem = timeline_picture(view)
    outputs = output_pictures(view)
    pictures = [*([timeline] if timeline else []), *(picture for one in outputs for picture in one.pictures)]
    report = view.report
    page = render(
        "report.html",
        view=attrs.evolve(view, notes=(*view.notes, problem)) if problem else view,
        report=report,
        verdict=VERDICTS[report.state if report else None],
        figures=list(_figures(report)) if report else [],
        command=shlex.join(report.command) if report and report.command else "",
        logs=sorted(view.logs, key=lambda log: not log.fatal_lines),
        timeline=timeline,
        outputs=outputs,
    )
    directory.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        replace_file(directory / picture.name, picture.png)
    replace_file(directory / PAGE, page.encode("utf-8"))
    return Written(page=directory / PAGE, pictures=tuple(directory / picture.name for picture in pictures))


def _figures(report: RunReport) -> Iterator[Figure]:
    if report.wall_time_s is not None:
        yield Figure(name="Wall time", value=duration(report.wall_time_s), note=_of(report, "timeout", duration))
    if report.cpu_time_s is not None:
        yield Figure(name="CPU time", value=duration(report.cpu_time_s), note=_of(report, "cpu_time_limit", duration))
    if report.peak_rss_bytes is not None:
        note = _of(report, "memory", size) or report.memory_method or ""
        yield Figure(name="Peak memory", value=size(report.peak_rss_bytes), note=note)
    if report.progress is not None:
        yield Figure(name="Progress", value=Quantity(f"{report.progress.fraction * 100:.0f}", "%"))
    if report.exit_code is not None:
        yield Figure(name="Exit code", value=Quantity(str(report.exit_code)))
    if report.exit_signal is not None:
        yield Figure(name="Signal", value=Quantity(str(report.exit_signal)), note=_signal_name(report.exit_signal))
    for name, count in (("Read", report.read_bytes), ("Written", report.write_bytes)):
        if count is not None:
            yield Figure(name=name, value=size(count))
    if report.max_processes is not None:
        yield Figure(name="Processes", value=Quantity(str(report.max_processes)), note="at most, at once")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _of(report: RunReport, name: str, shown: Any) -> str:
    limit = limit_of(report, name)
    return "" if limit is None else f"limit {shown(limit)}"
