"""``run`` and ``pipeline``: what a file says, to its end."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

import rompy_core
from rompy_cli._exits import ExitCode, Refusal, code_of_state
from rompy_cli._options import FILE, common
from rompy_cli._output import print_facts, print_json
from rompy_cli._runs import document_of, verdict_of
from rompy_cli._text import harmless

if TYPE_CHECKING:
    from rompy_cli._files import PipelineFile
    from rompy_core import RunReport

_progress = click.option(
    "--progress/--no-progress", default=None, help="Show a progress bar; by default on a terminal, if tqdm is there."
)


@click.command
@FILE
@_progress
@common
def run(file: Path, *, progress: bool | None, is_json: bool) -> ExitCode:
    """Generate the inputs of the model of FILE and run it. The exit code is the verdict."""
    work = _read(file)
    is_interrupted = _until_the_end(work, lambda: work.execute_run(**_with_progress(progress, can_be=not is_json)))
    report = work.report
    code = _code_of(report, is_interrupted=is_interrupted)
    if is_json:
        print_json({"exit_code": int(code), "run": document_of(report) if report else None})
    else:
        _tell(report)
    return code


@click.command
@FILE
@_progress
@common
def pipeline(file: Path, *, progress: bool | None, is_json: bool) -> ExitCode:
    """Generate the inputs of the model of FILE, run it, and postprocess its outputs, by the plugins that FILE names."""
    work = _read(file)
    results: list[Any] = []
    show = _with_progress(progress, can_be=not is_json and work.shows_progress)
    is_interrupted = _until_the_end(work, lambda: results.append(work.execute_pipeline(**show)))
    report = work.report
    facts = _facts_of(results)
    code = _code_of(report, is_interrupted=is_interrupted) if not results else _code_of_pipeline(facts, report)
    if is_json:
        document = {"exit_code": int(code), "results": facts or None, "run": document_of(report) if report else None}
        print_json(document)
    else:
        if facts.get("message"):
            click.echo(harmless(facts["message"]))
        _tell(report)
    return code


def _read(file: Path) -> PipelineFile:
    from rompy_cli._files import PipelineFile

    return PipelineFile.from_file(file)


def _until_the_end(work: PipelineFile, call: Callable[[], None]) -> bool:
    """Make the call, and say whether Ctrl-C ended it; a run has ended by then, and has its report.

    Raises:
        Refusal: It came to no end that a report or a result could tell of.
    """
    try:
        call()
    except KeyboardInterrupt:
        return True
    except (rompy_core.ConfigError, rompy_core.PluginError):
        raise
    except Exception as exc:
        # What writes the inputs, and a pipeline of other hands, may raise anything.
        if isinstance(exc, TimeoutError) and work.report is not None:
            return False
        kind = "" if isinstance(exc, rompy_core.RompyError) else f"{type(exc).__name__}: "
        code = ExitCode.NOT_STARTED if work.report is None else ExitCode.FAILED
        raise Refusal(code, f"{kind}{exc}") from exc
    return False


def _with_progress(asked: bool | None, *, can_be: bool) -> dict[str, bool]:  # noqa: FBT001 - what the option gives
    """Give what has the core show its progress bar: where it was asked for, or else would be seen and can be made."""
    if asked is None:
        is_quiet = click.get_current_context().params.get("quiet", False)
        asked = can_be and not is_quiet and sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    return {"show_progress": True} if asked else {}


def _facts_of(results: list[Any]) -> dict[str, Any]:
    """Give what a pipeline said, which may be an object as well as a mapping."""
    if not results:
        return {}
    given: object = results[0]
    if isinstance(given, Mapping):
        return dict(cast("Mapping[str, Any]", given))
    names = ("success", "run_id", "stages_completed", "message", "stage", "error")
    return {name: getattr(given, name) for name in names if hasattr(given, name)}


def _code_of(report: RunReport | None, *, is_interrupted: bool) -> ExitCode:
    if is_interrupted:
        return ExitCode.INTERRUPTED
    return code_of_state(report.state) if report is not None else ExitCode.FAILED


def _code_of_pipeline(facts: Mapping[str, Any], report: RunReport | None) -> ExitCode:
    if facts.get("success"):
        return ExitCode.SUCCESS
    if facts.get("stage") == "generate":
        return ExitCode.NOT_STARTED
    is_of_run = report is not None and not report.ok
    return code_of_state(report.state) if report is not None and is_of_run else ExitCode.FAILED


def _tell(report: RunReport | None) -> None:
    """Say how the run ended, and where more of it is."""
    if report is None:
        return
    facts = [("reason", report.reason), ("workspace", report.current_workspace_dir), ("record", report.record_dir)]
    print_facts(facts, verdict_of(report))
