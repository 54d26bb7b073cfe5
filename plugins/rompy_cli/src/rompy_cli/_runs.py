"""From what a person calls a run to its attempts, and from a report to what is said of it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rompy_core
from rompy_cli._exits import ExitCode, Refusal
from rompy_cli._text import harmless, listed, shown_bytes, shown_date, shown_duration

if TYPE_CHECKING:
    from rompy_core import RunReport


def attempts_of(run: str, *, is_all: bool = False) -> list[RunReport]:
    """Find the attempts that *run* stands for, newest first.

    Args:
        run: A workspace, a record (its folder, or its ``report.json``), or a run id below the current directory.
        is_all: For a record: whether all attempts in its workspace are meant.

    Raises:
        Refusal: It stands for no run, or for runs in several workspaces.
    """
    by_path = _by_path(Path(run), is_all=is_all) if run else []
    return by_path or _by_run_id(run)


def current(attempts: Sequence[RunReport]) -> RunReport:
    """Choose among attempts, newest first: the one that is live, or else the newest."""
    return next((report for report in attempts if is_live(report)), attempts[0])


def is_live(report: RunReport) -> bool:
    """Whether the run has not ended, as far as this machine can tell."""
    return not report.state.is_final


def _by_path(path: Path, *, is_all: bool) -> list[RunReport]:
    try:
        if (path / rompy_core.RECORDS).is_dir():
            return _newest_first(path / rompy_core.RECORDS)
        if not path.exists():
            return []
        report = rompy_core.read_report(path)
    except (rompy_core.RecordError, OSError, ValueError):
        return []
    if is_all and report.record_dir is not None:
        return _newest_first(report.record_dir.parent) or [report]
    return [report]


def _newest_first(directory: Path) -> list[RunReport]:
    return rompy_core.find_runs(directory)[::-1]


def _by_run_id(run: str) -> list[RunReport]:
    everything = _newest_first(Path())
    found = [report for report in everything if report.run_id == run]
    workspaces = sorted({str(report.current_workspace_dir) for report in found})
    if len(workspaces) > 1:
        lines = listed(map(os.path.relpath, workspaces))
        raise Refusal(ExitCode.NO_SUCH_RUN, f"several workspaces have a run {run!r}; give one of them:{lines}")
    if found:
        return found
    known = sorted({report.run_id for report in everything})
    close = difflib.get_close_matches(run, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "give a workspace, a record, or a run id that rompyrun ls shows"
    raise Refusal(ExitCode.NO_SUCH_RUN, f"no run {run!r}: it is no path of a run, and no run id below here; {hint}")


def fraction_of(report: RunReport) -> float | None:
    """Give how far a run is, between 0 and 1; of a live one as its series says now."""
    if is_live(report):
        try:
            newest = rompy_core.newest_progress(report)
        except OSError:
            newest = None
        if newest is not None:
            return newest[1]
    return report.progress.fraction if report.progress else None


def duration_of(report: RunReport) -> float | None:
    """Give how many seconds a run took, or has been going on for; ``None`` where nobody knows."""
    if report.wall_time_s is not None:
        return report.wall_time_s
    end = datetime.now(UTC) if is_live(report) else report.finished_at
    return max((end - report.started_at).total_seconds(), 0.0) if end else None


def shown_progress(report: RunReport) -> str:
    """Show how far a run is, in percent; empty where nothing says so."""
    fraction = fraction_of(report)
    return "" if fraction is None else f"{100 * fraction:.0f} %"


def summary_of(report: RunReport) -> dict[str, Any]:
    """Give what ``ls --json`` says of one attempt."""
    return {
        "run_id": report.run_id,
        "state": str(report.state),
        "ok": report.ok,
        "is_live": is_live(report),
        "reason": report.reason,
        "backend": report.backend,
        "progress": fraction_of(report),
        "duration_s": duration_of(report),
        "started_at": report.started_at,
        "finished_at": report.finished_at,
        "host": report.host,
        "workspace_dir": str(report.current_workspace_dir),
        "record_dir": str(report.record_dir),
    }


def document_of(report: RunReport) -> dict[str, Any]:
    """Give all that a report says, as ``report.json`` does, and what ``summary_of`` says."""
    return rompy_core.unstructure_config(report) | summary_of(report) | {"progress_text": _progress_text(report)}


def facts_of(report: RunReport) -> list[tuple[str, object]]:
    """Give all that a report says to a person, in the order of interest."""
    import shlex

    memory = f"{shown_bytes(report.peak_rss_bytes)} ({report.memory_method})" if report.peak_rss_bytes else None
    return [
        ("state", f"{report.state}{' (live)' if is_live(report) else ''}"),
        ("reason", report.reason),
        ("progress", " ".join(filter(None, (shown_progress(report), _progress_text(report))))),
        ("exit", _exit_of(report)),
        ("backend", report.backend),
        ("command", shlex.join(report.command) if report.command is not None else None),
        ("started", shown_date(report.started_at)),
        ("finished", shown_date(report.finished_at)),
        ("duration", shown_duration(duration_of(report))),
        ("CPU time", shown_duration(report.cpu_time_s)),
        ("peak memory", memory),
        ("read", shown_bytes(report.read_bytes)),
        ("written", shown_bytes(report.write_bytes)),
        ("processes", report.max_processes),
        ("host", report.host),
        ("workspace", report.current_workspace_dir),
        ("record", report.record_dir),
        ("stdout", report.stdout_path),
        ("stderr", report.stderr_path),
        ("usage", report.usage_path),
        ("series", report.progress_path),
        ("leftovers", report.leftovers),
        ("warnings", report.warnings),
        ("traceback", tuple((report.traceback or "").splitlines())),
    ]


def verdict_of(report: RunReport) -> str:
    """Give one line on how a run ended."""
    duration = shown_duration(duration_of(report))
    return harmless(f"{report.run_id}: {report.state}{f' after {duration}' if duration else ''}")


def _progress_text(report: RunReport) -> str:
    return report.progress.text if report.progress else ""


def _exit_of(report: RunReport) -> str | None:
    if report.exit_signal is not None:
        return f"signal {report.exit_signal}"
    return None if report.exit_code is None else f"code {report.exit_code}"
