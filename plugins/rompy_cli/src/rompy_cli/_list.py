"""``ls`` and ``show``: what is known of runs."""

from __future__ import annotations

import os
from pathlib import Path

import click

import rompy_core
from rompy_cli._exits import ExitCode
from rompy_cli._options import RUN, common
from rompy_cli._output import print_facts, print_json, print_table
from rompy_cli._runs import (
    attempts_of,
    current,
    document_of,
    duration_of,
    facts_of,
    is_live,
    shown_progress,
    summary_of,
)
from rompy_cli._text import shown_date, shown_duration

_COLUMNS = ("", "RUN", "STATE", "PROGRESS", "DURATION", "STARTED", "WORKSPACE")


@click.command
@click.argument(
    "directory", metavar="[DIR]", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@common
def ls(directory: Path, *, is_json: bool) -> ExitCode:
    """List all attempts below DIR (or here), newest first. A * marks those that are live."""
    reports = rompy_core.find_runs(directory)[::-1]
    if is_json:
        print_json({"runs": [summary_of(report) for report in reports]})
        return ExitCode.SUCCESS
    here = os.path.abspath(directory)  # noqa: PTH100 - resolve() would follow symbolic links
    rows = [
        (
            "*" if is_live(report) else "",
            report.run_id,
            str(report.state),
            shown_progress(report),
            shown_duration(duration_of(report)),
            shown_date(report.started_at),
            os.path.relpath(report.current_workspace_dir, here),
        )
        for report in reports
    ]
    print_table(_COLUMNS, rows, [is_live(report) for report in reports])
    return ExitCode.SUCCESS


@click.command
@RUN
@click.option("--all", "is_all", is_flag=True, help="Show every attempt, newest first.")
@common
def show(run: str, *, is_all: bool, is_json: bool) -> ExitCode:
    """Show what is known of RUN: a workspace, a record, or a run id below the current directory.

    Of several attempts, the one that is live or else the newest.
    """
    attempts = attempts_of(run, is_all=is_all)
    chosen = attempts if is_all else [current(attempts)]
    if is_json:
        print_json({"attempts": [document_of(report) for report in chosen]})
        return ExitCode.SUCCESS
    for report in chosen:
        print_facts(facts_of(report), report.run_id)
    if len(attempts) > len(chosen):
        click.echo(f"  {len(attempts)} attempts; show all with --all")
    return ExitCode.SUCCESS
