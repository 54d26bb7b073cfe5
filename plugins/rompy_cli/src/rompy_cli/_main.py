"""The command line: which commands there are, and what becomes of an error. A command is imported when it is used."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from rompy_cli._exits import MEANINGS, ExitCode, Refusal, refusal_of
from rompy_cli._output import print_refusal

_COMMANDS: Final = {
    "run": ("_execute", "Run the model of FILE."),
    "pipeline": ("_execute", "Generate, run and postprocess what FILE says."),
    "validate": ("_validate", "Check FILE: every problem at once, nothing is written."),
    "ls": ("_list", "List the runs below DIR, newest first."),
    "show": ("_list", "Show what is known of RUN."),
    "logs": ("_logs", "Print what RUN wrote to its standard output and standard error."),
    "cancel": ("_cancel", "End RUN, whoever started it, and wait until it is gone."),
    "plugins": ("_plugins", "List the plugins that are installed."),
    "schema": ("_plugins", "Print the JSON Schema of the options of PLUGIN."),
    "completion": ("_completion", "Print the script that has a shell complete rompyrun."),
}


class _Rompyrun(click.Group):
    """Imports a command when it is asked for, and turns every end into an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"rompy_cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        # By what is said above, for click would import every command for the first line of its help.
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in MEANINGS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,  # noqa: ARG002 - it is always called the same
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Run one command; see ``click.Command.main``."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a terminal need not know every character
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = self._run(words, complete_var=complete_var, windows_expand_args=windows_expand_args, **extra)
        except (click.Abort, KeyboardInterrupt):
            code = ExitCode.INTERRUPTED
        except Exception as exc:  # noqa: BLE001 - whatever it is, a script gets a code that says so
            refusal = _refusal_of(exc)
            print_refusal(refusal, is_json="--json" in words)
            code = refusal.code
        if standalone_mode:
            sys.exit(int(code))
        return code

    def _run(self, words: Sequence[str], **extra: Any) -> int:
        given: object = super().main(words, "rompyrun", standalone_mode=False, **extra)
        return given if isinstance(given, int) else ExitCode.SUCCESS

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, silently where nobody reads its output to the end."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _let_go_of_output()
            code = ExitCode.BROKEN_PIPE
        return code


def _refusal_of(exc: Exception) -> Refusal:
    if isinstance(exc, Refusal):
        return exc
    if isinstance(exc, click.ClickException):
        usage = exc.ctx.get_usage() + "\n" if isinstance(exc, click.UsageError) and exc.ctx is not None else ""
        return Refusal(ExitCode.USAGE, f"{exc.format_message()}\n{usage}".rstrip())
    refusal = refusal_of(exc)
    if refusal is not None:
        return refusal
    import traceback

    trace = "".join(traceback.format_exception(exc))
    return Refusal(ExitCode.FAULT, f"a fault of rompyrun: {type(exc).__name__}: {exc}\n{trace}".rstrip())


def _let_go_of_output() -> None:
    """Have the interpreter flush nothing at its end: it would complain that nobody reads it."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test has no file descriptor
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


@click.command(cls=_Rompyrun, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rompy-cli", prog_name="rompyrun")
def main() -> None:
    """Run models, and know whether each run truly worked."""
