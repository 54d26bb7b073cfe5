"""``validate``: every problem of a file at once, before anything is written."""

from __future__ import annotations

from pathlib import Path

import click

import rompy_core
from rompy_cli._exits import ExitCode
from rompy_cli._options import FILE, common
from rompy_cli._output import print_json
from rompy_cli._text import harmless, listed


@click.command
@FILE
@common
def validate(file: Path, *, is_json: bool) -> ExitCode:
    """Check FILE with all plugins that it names, and list every problem. Nothing is written and nothing is run."""
    from rompy_cli._files import PipelineFile

    problems: tuple[str, ...] = ()
    plugins: dict[str, str] = {}
    try:
        plugins = PipelineFile.from_file(file).plugins
    except rompy_core.ConfigError as exc:
        problems = exc.problems
    except rompy_core.PluginError as exc:
        problems = (f"config.model_type: {exc}",)
    if is_json:
        print_json({"file": str(file), "ok": not problems, "problems": problems, "plugins": plugins})
    elif problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        click.echo(f"{harmless(file)}: {count}" + listed(map(harmless, problems)), err=True)
    else:
        by = f"run by {plugins['run']!r}, postprocessed by {plugins['postprocess']!r}"
        click.echo(harmless(f"{file}: valid; {by}, by the pipeline {plugins['pipeline']!r}"))
    return ExitCode.USAGE if problems else ExitCode.SUCCESS
