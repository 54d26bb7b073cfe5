"""``logs``: what a run wrote, as it is or as it comes."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, final

import click

import rompy_core
from rompy_cli._exits import ExitCode
from rompy_cli._options import RUN, common
from rompy_cli._output import print_json
from rompy_cli._runs import attempts_of, current, summary_of
from rompy_cli._text import HarmlessStream

if TYPE_CHECKING:
    from rompy_core import RunReport

_PIECE: Final = 2**16
_LOOK_EVERY_S: Final = 0.1
_STREAMS: Final = ("stdout", "stderr")


@click.command
@RUN
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--stdout", "streams", flag_value="stdout", help="Only its standard output.")
@click.option("--stderr", "streams", flag_value="stderr", help="Only its standard error, printed to standard output.")
@click.option("--raw", is_flag=True, help="Send every byte to a terminal as it is.")
@common
def logs(run: str, *, follow: bool, streams: str | None, raw: bool, is_json: bool) -> ExitCode:
    """Print what RUN wrote: its standard output to standard output, its standard error to standard error.

    RUN: a workspace, a record, or a run id below the current directory. On a terminal, control characters and ANSI
    codes are shown as escapes.
    """
    report = current(attempts_of(run))
    chosen = _STREAMS if streams is None else (streams,)
    if is_json and not follow:
        texts = {name: b"".join(_pieces(report, name)).decode("utf-8", "backslashreplace") for name in chosen}
        print_json({"run": summary_of(report), **texts})
        return ExitCode.SUCCESS
    with contextlib.ExitStack() as opened:
        sinks = {name: _sink(name, is_json=is_json, is_raw=raw, is_only=streams is not None) for name in chosen}
        followed = {name: opened.enter_context(_Followed(_path_of(report, name))) for name in chosen}
        report = _pass_on(report, followed, sinks, is_following=follow)
    if is_json:
        print_json({"end": summary_of(report)}, indent=None)
    return ExitCode.SUCCESS


class _Sink(Protocol):
    """Where the bytes of one stream go."""

    def __call__(self, data: bytes, *, is_last: bool = False) -> None: ...


@final
class _Followed:
    """A file that grows, and may not be there yet."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self) -> _Followed:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> Iterator[bytes]:
        """Give what was added since the last time, in pieces."""
        if self._file is None and self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._file = self._path.open("rb")
        while self._file is not None and (piece := self._file.read(_PIECE)):
            yield piece


def _pieces(report: RunReport, name: str) -> list[bytes]:
    with _Followed(_path_of(report, name)) as followed:
        return list(followed.read())


def _pass_on(
    report: RunReport, followed: Mapping[str, _Followed], sinks: Mapping[str, _Sink], *, is_following: bool
) -> RunReport:
    """Pass on what there is and, if *is_following*, what comes until the run ends; give the report as it is then."""
    while True:
        # First whether it has ended: what is read after that is all there will be.
        is_over = not is_following or report.state.is_final
        for name, file in followed.items():
            for piece in file.read():
                sinks[name](piece)
        if is_over:
            break
        time.sleep(_LOOK_EVERY_S)
        report = _read_again(report)
    for sink in sinks.values():
        sink(b"", is_last=True)
    return report


def _read_again(report: RunReport) -> RunReport:
    """Read where the run stands now."""
    if report.record_dir is None:
        return report
    try:
        return rompy_core.read_report(report.record_dir)
    except rompy_core.RecordError:
        # A failed pipeline that cleans up moves the record away; what was opened can still be read to its end.
        kept = report.workspace_dir.parent / rompy_core.FAILED_RECORDS / report.run_id / report.record_dir.name
        return rompy_core.read_report(kept)


def _path_of(report: RunReport, name: str) -> Path | None:
    return report.stdout_path if name == "stdout" else report.stderr_path


def _sink(name: str, *, is_json: bool, is_raw: bool, is_only: bool) -> _Sink:
    if is_json:
        return _JsonLines(name)
    is_error = name == "stderr" and not is_only
    is_terminal = (sys.stderr if is_error else sys.stdout).isatty()
    return _Terminal(is_error=is_error) if is_terminal and not is_raw else _Raw(is_error=is_error)


@final
class _JsonLines:
    """Prints one JSON document a line of the stream; the texts of all of them together are the stream."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = b""

    def __call__(self, data: bytes, *, is_last: bool = False) -> None:
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            self._print(line + b"\n")
        if self._begun and (is_last or len(self._begun) > _PIECE):
            self._print(self._begun)
            self._begun = b""

    def _print(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        print_json({"stream": self._name, "text": text}, indent=None)


@final
class _Terminal:
    """Shows the stream on a terminal, where it must not act."""

    def __init__(self, *, is_error: bool) -> None:
        self._is_error = is_error
        self._harmless = HarmlessStream()

    def __call__(self, data: bytes, *, is_last: bool = False) -> None:
        click.echo(self._harmless(data, is_last=is_last), nl=False, err=self._is_error)


@final
class _Raw:
    """Passes the stream on byte for byte."""

    def __init__(self, *, is_error: bool) -> None:
        self._is_error = is_error

    def __call__(self, data: bytes, *, is_last: bool = False) -> None:  # noqa: ARG002 - nothing is held back
        click.echo(data, nl=False, err=self._is_error)
