"""What the commands print: one JSON document, facts, or a table."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, cast

import click

from rompy_cli._exits import Refusal
from rompy_cli._text import harmless, listed


def print_json(document: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Print one JSON document: ASCII, dates in ISO 8601, and ``null`` for what is no finite number."""
    click.echo(json.dumps(plain(document), indent=indent, allow_nan=False))


def plain(value: object) -> Any:
    """Give *value* as JSON can hold it; an object of other hands by its text."""
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in cast("Iterable[object]", value)]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, date):
        return value.isoformat()
    item = getattr(value, "item", None)  # a number of numpy
    return plain(item()) if callable(item) and getattr(value, "shape", None) == () else str(value)


def print_refusal(refusal: Refusal, *, is_json: bool) -> None:
    """Say why a command did not do what was asked: to standard error, or as JSON to standard output."""
    if is_json:
        error = {"code": refusal.code.name, "message": refusal.message, "problems": refusal.problems}
        print_json({"error": error, "exit_code": int(refusal.code)})
    else:
        click.echo(f"Error: {harmless(refusal.message, keep=chr(10))}", err=True)


def print_facts(facts: Iterable[tuple[str, object]], title: str = "") -> None:
    """Print facts beside their names; those without a value are left out."""
    if title:
        click.echo(harmless(title))
    for name, value in facts:
        if value is None or value in ("", ()):
            continue
        is_list = isinstance(value, tuple)
        text = listed(map(harmless, cast("tuple[object, ...]", value))) if is_list else harmless(value)
        click.echo(f"  {name:<12}{text}".replace("\n", "\n    "))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], is_marked: Sequence[bool] = ()) -> None:
    """Print a table: for people on a terminal, elsewhere a line a row with tabs between the cells.

    Args:
        columns: The heads of the columns.
        rows: The cells; whatever they hold is shown harmlessly.
        is_marked: Which rows are put forward on a terminal.
    """
    cells = [[harmless(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (columns, *cells):
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for number, row in enumerate(cells):
        style = "bold green" if number < len(is_marked) and is_marked[number] else ""
        table.add_row(*map(Text, row), style=style)  # a Text is never read as markup
    Console(markup=False, highlight=False, emoji=False).print(table)
