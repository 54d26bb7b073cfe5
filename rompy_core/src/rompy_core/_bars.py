"""Show runs while they go on: bars in a terminal or a notebook, a line now and then in a log.

All runs of a process share one display, however many threads run them: each has a line of its own. The line that the
cursor stays in, above the bars, is left empty for what others print, such as a logger.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, TextIO, TypeVar, final

from rompy_core._bar_text import Look, bar_line, cut, end_line, log_line, one_line, padded, time_text, width_of
from rompy_core._errors import ConfigError
from rompy_core._logs import make_room
from rompy_core._protocols import RunHandle
from rompy_core._reports import RunReport

logger = logging.getLogger(__name__)

_SAY_EVERY_S: Final = 10.0
_CLEAR: Final = "\r\x1b[J"
"""From the beginning of the line to the end of the screen."""
_WIDEST_NAME: Final = 0.25
"""The share of a line that the run's name may take."""
_WIDEST_TEXT: Final = 200
"""Characters beside a bar of a notebook."""

ValueT = TypeVar("ValueT")


def check_show_progress(wanted: object) -> None:
    """Find out early whether runs can be shown.

    Raises:
        ConfigError: *wanted* is neither true nor false, or tqdm is wanted and not installed.
    """
    if not isinstance(wanted, bool):
        raise ConfigError("show_progress", [f"must be True or False, found {wanted!r}"])
    if wanted:
        _tqdm()


def show_progress(*handles: RunHandle) -> ShownProgress:
    """Show runs on the standard error while a ``with`` block lasts; any ``RunHandle`` will do.

    In a terminal and in a notebook each run has a bar: percentage, time elapsed and remaining, memory, and the model's
    own time, where its progress rule reads one. Where nothing says how far the run is, its last line of output is
    shown instead. Elsewhere, as in a log file, there is one line for each run every 10 s. In the end each run leaves
    one line with its outcome.

    To see how a run ends that an exception cancels, enter this block first, and add the run to it::

        with show_progress() as shown, model.submit("local", command="./swan.exe") as handle:
            shown.add(handle)
            report = handle.wait()

    Raises:
        ConfigError: tqdm is not installed; ``pip install "rompy-core[progress]"`` brings it.
        TypeError: One of *handles* is none.
    """
    _tqdm()
    return ShownProgress(handles)


@final
class ShownProgress:
    """The runs that are shown while the block lasts; ``show_progress`` makes one."""

    def __init__(self, handles: Iterable[RunHandle] = ()) -> None:
        self._handles = [_checked(handle) for handle in handles]
        self._mine: list[_Watched] = []

    def add(self, handle: RunHandle) -> None:
        """Show one more run; one that is shown already keeps its line.

        Raises:
            TypeError: *handle* is no handle of a run.
        """
        self._mine += _board.add(_checked(handle))

    def __enter__(self) -> Self:
        for handle in self._handles:
            self.add(handle)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _board.remove(self._mine)
        self._mine = []


def _checked(handle: RunHandle) -> RunHandle:
    if callable(getattr(handle, "wait", None)) and callable(getattr(handle, "done", None)):
        return handle
    raise TypeError(f"show_progress takes handles of runs, as submit() gives them, found {type(handle).__name__}")


@final
class _Watched:
    """One run that is shown. Its handle may be of other hands, and raise what it likes."""

    def __init__(self, handle: RunHandle) -> None:
        self.handle = handle
        self.name = one_line(str(_asked(lambda: handle.run_id, "run")))
        self.look = Look()
        self.is_done = False
        self.report: RunReport | None = None
        self.said_at = self._began = time.monotonic()
        self.look_again()

    def look_again(self) -> None:
        now, usage = time.monotonic(), _asked(lambda: self.handle.usage, None)
        if usage is not None:
            self._began = min(self._began, now - usage.elapsed_s)
        progress = _asked(lambda: self.handle.progress, None)
        # Not shown beside a bar, and read from a file each time.
        last_line = "" if progress else str(_asked(lambda: getattr(self.handle, "last_line", ""), ""))
        memory = None if usage is None else usage.pss_bytes or usage.rss_bytes
        self.look = Look(elapsed_s=now - self._began, progress=progress, memory_bytes=memory, last_line=last_line)
        self.is_done = _asked(self.handle.done, default=False)
        if self.is_done and self.report is None:
            self.report = _asked(lambda: self.handle.wait(0), None)

    def last_words(self) -> str:
        if self.report is not None:
            return end_line(self.name, self.report)
        how = "ended, and does not say how," if self.is_done else "still running"
        return f"{self.name}: {how} after {time_text(self.look.elapsed_s)}"


def _asked(ask: Callable[[], ValueT], default: ValueT) -> ValueT:
    try:
        return ask()
    except Exception:  # noqa: BLE001 - a handle of other hands: what is shown must not hurt the run
        return default


class _Painter(Protocol):
    """Brings runs before the user's eyes."""

    every_s: float
    """How long to wait before the next time."""

    def paint(self, watched: Sequence[_Watched], ended: Sequence[_Watched]) -> None:
        """Show the runs that go on, and for the last time those that have ended."""
        ...

    def make_room(self) -> None:
        """Let others print, until the next time."""
        ...


@final
class _Board:
    """All that is shown in this process, and the thread that keeps it up to date."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._watched: list[_Watched] = []
        self._painter: _Painter | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    def add(self, handle: RunHandle) -> list[_Watched]:
        """Show a run, unless it is shown already."""
        one = _Watched(handle)
        with self._lock:
            if any(other.handle is handle for other in self._watched):
                return []
            if not self._watched:
                self._painter = _asked(_painter, None)
            self._watched.append(one)
            self._paint(())
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="rompy-progress", daemon=True)
                with contextlib.suppress(RuntimeError):  # no more threads: then the end is all that is shown
                    self._thread.start()
        self._wake.set()
        return [one]

    def remove(self, ones: Sequence[_Watched]) -> None:
        """Show runs for the last time."""
        for one in ones:
            one.look_again()
        with self._lock:
            left = [one for one in self._watched if one in ones]
            self._watched = [one for one in self._watched if one not in ones]
            if left:
                self._paint(left)
        self._wake.set()

    def make_room(self) -> None:
        """Let others print to the terminal; they must not wait for the lock, for whoever holds it may wait for them."""
        painter = self._painter
        if painter is not None and self._watched:
            _asked(painter.make_room, None)

    def _follow(self) -> None:
        while self._goes_on():
            self._wake.wait(self._painter.every_s if self._painter is not None else _SAY_EVERY_S)
            self._wake.clear()
            # Not under the lock: a handle of other hands may take its time.
            for one in tuple(self._watched):
                one.look_again()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._watched:
                ended = [one for one in self._watched if one.is_done]
                self._watched = [one for one in self._watched if one not in ended]
                self._paint(ended)
            if not self._watched:
                self._thread = None
            return bool(self._watched)

    def _paint(self, ended: Sequence[_Watched]) -> None:
        try:
            if self._painter is not None:
                self._painter.paint(self._watched, ended)
        except Exception as exc:  # noqa: BLE001 - the terminal may be gone; what is shown must not hurt the run
            self._painter = None
            logger.debug("the progress of runs can no longer be shown: %s", exc)


_board = _Board()


def _make_room() -> None:
    _board.make_room()


def _after_fork() -> None:
    """Begin anew in a child process, which has neither the thread nor whoever holds the lock."""
    global _board  # noqa: PLW0603 - the process is another one
    _board = _Board()


make_room.append(_make_room)
os.register_at_fork(after_in_child=_after_fork)


@final
class _Terminal:
    """Draws the bars anew, one below the other, all in one piece."""

    every_s = 0.2

    def __init__(self, stream: TextIO, tqdm: Any) -> None:
        self._stream = stream
        self._tqdm = tqdm
        self._is_drawn = False
        self._is_ascii = not _can_encode(stream, "█▏")

    def paint(self, watched: Sequence[_Watched], ended: Sequence[_Watched]) -> None:
        size = os.get_terminal_size(self._stream.fileno())
        # Nothing in the last column: terminals differ in when they go on to the next line.
        columns, rows = (size.columns or 80) - 1, (size.lines or 24) - 2
        lines = self._lines(watched, columns, rows)
        frame = [_CLEAR, *(f"{cut(one.last_words(), columns)}\n" for one in ended)]
        frame += [f"\n\r{line}" for line in lines]
        frame += [f"\x1b[{len(lines)}A\r"] if lines else []
        self._put("".join(frame))
        self._is_drawn = bool(lines)

    def make_room(self) -> None:
        if self._is_drawn:
            self._is_drawn = False
            self._put(_CLEAR)

    def _put(self, text: str) -> None:
        self._stream.write(_encodable(self._stream, text))
        self._stream.flush()

    def _lines(self, watched: Sequence[_Watched], columns: int, rows: int) -> list[str]:
        shown = watched if len(watched) <= rows else watched[: max(rows - 1, 0)]
        widest = min(max((width_of(one.name) for one in shown), default=0), int(columns * _WIDEST_NAME))
        lines = [bar_line(padded(one.name, widest), one.look, columns, self._bar) for one in shown]
        if len(shown) < len(watched):
            lines.append(cut(f"... and {len(watched) - len(shown)} more", columns))
        return lines

    def _bar(self, left: str, fraction: float, right: str, columns: int) -> str:
        line: str = self._tqdm.format_meter(
            fraction, 1.0, 0.0, ncols=columns, ascii=self._is_ascii, bar_format=_bar_between(left, fraction, right)
        )
        return line


@final
class _Notebook:
    """Shows the bars as widgets."""

    every_s = 0.5

    def __init__(self, tqdm: Any) -> None:
        self._tqdm = tqdm
        self._widgets: dict[_Watched, Any] = {}

    def paint(self, watched: Sequence[_Watched], ended: Sequence[_Watched]) -> None:
        for one in watched:
            text = bar_line(one.name, one.look, _WIDEST_TEXT, _bar_between)
            if one.look.progress is None:
                self._show(one, _bar_between("", 0.0, text), 0.0)
            else:
                self._show(one, text, one.look.progress.fraction)
        for one in ended:
            # A bar that is not full turns red when it is closed.
            is_ok = one.report is not None and one.report.ok
            self._show(one, _bar_between("", 1.0, one.last_words()), float(is_ok))
            self._widgets.pop(one).close()

    def make_room(self) -> None:
        """Nothing: what others print is put elsewhere."""

    def _show(self, one: _Watched, bar_format: str, fraction: float) -> None:
        if one not in self._widgets:
            self._widgets[one] = self._tqdm(total=1.0, bar_format=bar_format)
        widget = self._widgets[one]
        widget.n, widget.bar_format = fraction, bar_format
        widget.refresh()


@final
class _Log:
    """Says now and then how far the runs are, line by line."""

    every_s = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def paint(self, watched: Sequence[_Watched], ended: Sequence[_Watched]) -> None:
        now = time.monotonic()
        lines = [one.last_words() for one in ended]
        for one in watched:
            if now - one.said_at >= _SAY_EVERY_S:
                one.said_at = now
                lines.append(log_line(one.name, one.look))
        if lines:
            self._stream.write(_encodable(self._stream, "".join(f"{line}\n" for line in lines)))
            self._stream.flush()

    def make_room(self) -> None:
        """Nothing: it prints whole lines."""


def _painter() -> _Painter:
    """Choose by what the standard error is now; raises anything where there is none."""
    tqdm, stream = _tqdm(), sys.stderr
    if _is_widget(tqdm):
        return _Notebook(tqdm)
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return _Terminal(stream, tqdm)
    return _Log(stream)


@functools.cache
def _tqdm() -> Any:
    """Import tqdm's bar for this place, a terminal or a notebook.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return importlib.import_module("tqdm.auto").tqdm
    except ImportError as exc:
        problem = 'needs tqdm, which is not installed: pip install "rompy-core[progress]"'
        raise ConfigError("show_progress", [problem]) from exc


def _is_widget(tqdm: Any) -> bool:
    notebook: Any = sys.modules.get("tqdm.notebook")
    return notebook is not None and issubclass(tqdm, notebook.tqdm_notebook)


def _bar_between(left: str, _fraction: float, right: str, _columns: int = 0) -> str:
    """Give tqdm's format of a bar between two texts.

    Braces in them become brackets: the bar of notebooks looks for its own place even in those that are doubled.
    """
    before, after = (text.replace("{", "(").replace("}", ")") for text in (left, right))
    return f"{before}|{{bar}}| {after}"


def _can_encode(stream: TextIO, text: str) -> bool:
    return _encodable(stream, text) == text


def _encodable(stream: TextIO, text: str) -> str:
    """Give *text* with a question mark for each character that *stream* cannot show, which would be wider as a code."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
