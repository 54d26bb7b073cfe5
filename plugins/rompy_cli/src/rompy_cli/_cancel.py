"""``cancel``: end a run from any terminal."""

from __future__ import annotations

import click

import rompy_core
from rompy_cli._exits import ExitCode, Refusal
from rompy_cli._options import RUN, common
from rompy_cli._output import print_json
from rompy_cli._runs import attempts_of, current, is_live, summary_of, verdict_of


@click.command
@RUN
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="How long to wait until it is gone.",
)
@common
def cancel(run: str, *, timeout: float, is_json: bool) -> ExitCode:
    """End RUN and wait until it is gone. RUN: a workspace, a record, or a run id below the current directory."""
    report = current(attempts_of(run))
    was_live = is_live(report)
    if was_live and report.record_dir is not None:
        try:
            report = rompy_core.cancel(report.record_dir, timeout=timeout)
        except (TimeoutError, rompy_core.RompyError) as exc:
            raise Refusal(ExitCode.NOT_CANCELLED, str(exc)) from exc
    is_cancelled = was_live and report.state is rompy_core.RunState.CANCELLED
    code = ExitCode.SUCCESS if is_cancelled else ExitCode.ALREADY_ENDED
    if is_json:
        print_json({"was_live": was_live, "run": summary_of(report), "exit_code": int(code)})
    else:
        click.echo(verdict_of(report) + ("" if is_cancelled else "; it had ended before it could be cancelled"))
    return code
