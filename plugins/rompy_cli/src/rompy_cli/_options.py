"""What several commands have in common: their options, their arguments, and how these are completed."""

from __future__ import annotations

import functools
import logging
import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from rompy_cli._exits import ExitCode
from rompy_cli._text import harmless

GROUPS: Final = {"run": "rompy.run", "postprocess": "rompy.postprocess", "pipeline": "rompy.pipeline"}
"""The entry-point groups, by what the command line calls them."""


def common(command: Callable[..., ExitCode]) -> Callable[..., ExitCode]:
    """Give a command ``--json``, ``-v`` and ``-q``; the first is passed to it as ``is_json``."""

    @click.option("--json", "is_json", is_flag=True, help="Print one JSON document, also for an error.")
    @click.option("-v", "--verbose", count=True, help="Log to standard error; twice for debugging.")
    @click.option("-q", "--quiet", is_flag=True, help="Log nothing, not even warnings, and show no progress.")
    @functools.wraps(command)
    def with_logging(*args: Any, verbose: int, quiet: bool, **kwargs: Any) -> ExitCode:
        with _logging(verbose=verbose, is_quiet=quiet):
            return command(*args, **kwargs)

    return with_logging


class _HarmlessFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record), keep="\n\t")


class _StandardError(logging.StreamHandler[Any]):
    """Writes to what is standard error at that moment; a progress bar may have put itself in front of it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


@contextmanager
def _logging(*, verbose: int, is_quiet: bool) -> Generator[None]:
    """Log to standard error while a command runs.

    Without ``-v`` these are warnings only: an error is logged where a failure is given back, which the command tells.
    """
    handler = _StandardError()
    handler.setFormatter(_HarmlessFormatter("%(asctime)s %(levelname)s %(message)s" if verbose else "%(message)s"))
    if is_quiet:  # without any handler, Python would print warnings and errors itself
        handler.addFilter(lambda _: False)
    elif not verbose:
        handler.addFilter(lambda record: record.levelno == logging.WARNING)
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    root = logging.getLogger()
    before = root.level
    root.setLevel(level)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def _run_completions(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    """Complete run ids, or else the names of directories.

    A completed word goes into the command line as it is, so a run id that would mean anything else to a shell is left
    out: records may come from anybody.
    """
    from click.shell_completion import CompletionItem

    import rompy_core

    newest_first = rompy_core.find_runs(Path())[::-1]
    run_ids = dict.fromkeys(report.run_id for report in newest_first if shlex.quote(report.run_id) == report.run_id)
    matching = [CompletionItem(run_id) for run_id in run_ids if run_id.startswith(incomplete)]
    return matching or [CompletionItem(incomplete, type="dir")]


def _plugin_completions(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    import rompy_core

    names = {info.name for info in rompy_core.list_plugins() if shlex.quote(info.name) == info.name}
    return sorted(name for name in names if name.startswith(incomplete))


FILE: Final = click.argument("file", type=click.Path(path_type=Path))
RUN: Final = click.argument("run", shell_complete=_run_completions)
PLUGIN: Final = click.argument("plugin", shell_complete=_plugin_completions)
