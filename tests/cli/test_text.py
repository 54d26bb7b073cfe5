from __future__ import annotations

import io
import json
import math
import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rompy_cli import main
from rompy_cli._output import plain, print_table
from rompy_cli._text import HarmlessStream, harmless, shown_bytes, shown_duration
from rompy_core import Progress, RunState, open_record

hostile = st.text(st.characters(), min_size=1, max_size=40) | st.sampled_from(
    [
        "\x1b[31mred",
        "[bold]x[/bold]",
        "[/]",
        "[link=file:///etc]x[/link]",
        ":smile:",
        "a\nb\tc\r",
        "\udcff",
        "\u202eevil",
        "\x9b2J",
        "x" * 300,
        "\u0301",
    ]
)


class _Terminal(io.StringIO):
    """Says that it is one."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def is_harmless(text: str) -> bool:
    return all(char == "\n" or char == "\t" or char == harmless(char) for char in text)


@given(st.text(st.characters()))
def test_harmless_text_has_no_character_that_acts_and_visible_text_stays(text: str) -> None:
    shown = harmless(text)

    assert is_harmless(shown)
    assert "\n" not in shown
    assert "\t" not in shown
    if text.isprintable():
        assert shown == text


@given(st.lists(st.binary(max_size=6), max_size=6))
@example([b"\xc3", b"\xa9"])
@example([b"a\r", b"\nb"])
@example([b"\r", b"", b"\n"])
@example([b"\xff\r\n\r"])
def test_a_stream_is_the_same_in_any_pieces(pieces: list[bytes]) -> None:
    whole, in_pieces = HarmlessStream(), HarmlessStream()

    shown = "".join(map(in_pieces, pieces)) + in_pieces(b"", is_last=True)

    assert shown == whole(b"".join(pieces), is_last=True)
    assert is_harmless(shown)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run_id=hostile, reason=hostile, text=hostile, name=hostile)
@example(run_id="[bold]x", reason="\x1b[2J", text="\r", name="\udcff\n[/]")
def test_ls_and_show_print_hostile_records_harmlessly(
    run_id: str, reason: str, text: str, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("hostile")
    try:
        workspace = directory / name.replace("/", "_").replace("\0", "_")[:40]
        workspace.mkdir(exist_ok=True)
        record = open_record(workspace, run_id=run_id, backend=reason, command=(run_id, text))
    except (OSError, UnicodeEncodeError):  # no name for a directory
        workspace = directory / "plain"
        workspace.mkdir(exist_ok=True)
        record = open_record(workspace, run_id=run_id, backend=reason, command=(run_id, text))
    progress = Progress(fraction=0.5, text=text)
    record.finish(RunState.FAILED, reason, host=text, warnings=(text, reason), traceback=text, progress=progress)

    results = [
        CliRunner().invoke(main, words)
        for words in (
            ["ls", str(directory)],
            ["ls", str(directory), "--json"],
            ["show", str(record.directory)],
            ["show", str(record.directory), "--json"],
            ["cancel", str(record.directory)],
        )
    ]

    shutil.rmtree(directory)
    assert [result.exit_code for result in results] == [0, 0, 0, 0, 7], [result.output for result in results]
    assert all(is_harmless(result.stdout) for result in results)
    assert len(results[0].stdout.splitlines()) == 2
    assert json.loads(results[1].stdout)["runs"][0]["run_id"] == run_id
    assert json.loads(results[3].stdout)["attempts"][0]["reason"] == reason


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(hostile, hostile), max_size=3))
@example([("[bold]x[/bold]", ":smile:")])
def test_a_table_on_a_terminal_shows_what_is_in_the_cells_and_obeys_none_of_it(rows: list[tuple[str, str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "2000")
        patch.setattr(sys, "stdout", _Terminal())

        print_table(("A", "B"), rows)

        styled = sys.stdout.getvalue()  # type: ignore[attr-defined]
    shown = re.sub(r"\x1b\[[\d;]*m", "", styled)  # the styles of the table itself
    assert is_harmless(shown)
    assert all(harmless(cell).strip() in shown for row in rows for cell in row)


def test_on_a_terminal_live_rows_stand_out(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal)

    print_table(("A",), [("quiet",), ("live",)], [False, True])

    quiet, live = terminal.getvalue().splitlines()[1:]
    assert "\x1b[1;32m" in live
    assert "\x1b[" not in quiet


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (185.2, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (86400 * 3 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_are_shown_in_two_units(seconds: float | None, shown: str) -> None:
    assert shown_duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, ""), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (2**60, "1048576.0 TiB")],
)
def test_sizes_are_shown_in_units_of_1024(count: int | None, shown: str) -> None:
    assert shown_bytes(count) == shown


def test_json_holds_what_plugins_give() -> None:
    class Number:
        shape = ()

        def item(self) -> float:
            return 2.5

    moment = datetime(2024, 5, 14, tzinfo=UTC)
    given = {1: (Path("a"), Number(), math.nan, {"x"}), "at": moment, "state": RunState.FAILED, "none": None}

    assert plain(given) == {
        "1": ["a", 2.5, None, ["x"]],
        "at": "2024-05-14T00:00:00+00:00",
        "state": "FAILED",
        "none": None,
    }
