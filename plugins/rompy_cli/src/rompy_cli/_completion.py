"""``completion``: the script that has a shell complete the command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from rompy_cli._exits import ExitCode
from rompy_cli._options import common
from rompy_cli._output import print_json

_VARIABLE = "_ROMPYRUN_COMPLETE"


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
@common
def completion(ctx: click.Context, shell: str, *, is_json: bool) -> ExitCode:
    """Print the script that has SHELL complete commands, options, run ids, plugins and files.

    For bash: eval "$(rompyrun completion bash)" in ~/.bashrc.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "rompyrun", _VARIABLE).source()
    if is_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
    return ExitCode.SUCCESS
