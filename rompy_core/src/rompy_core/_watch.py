"""Follow a run's output while it runs: fatal lines, success lines, progress, lines for the logger.

Files are read in fixed chunks and judged chunk by chunk, so gigabytes of output cost little memory. They may hold any
bytes, be truncated or be replaced while they are followed.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, final

import attrs

from rompy_core._reports import Progress
from rompy_core._rules import OutputPattern, OutputRules, ProgressPattern

_CHUNK: Final = 2**18
_LONGEST_LINE: Final = 2**16
"""A line that goes on after this many bytes is judged in pieces, so that it cannot fill the memory."""
_COUNTED: Final = 2**24
"""Counting the lines of more than so many bytes would take as long as writing them does."""
_SKIPPED_AT_ONCE: Final = 2**20
_TAIL: Final = 2**12
"""How many bytes at the end of what was read stand for all of it."""
_BACKLOG: Final = 2**16
"""The logger gets lines only while it is at most this far behind; what it misses is counted."""
_LOGGING_S: Final = 2.0
"""How long the logger may take in one scan: until that is over nobody looks for a fatal line, or at the end."""
_LOOKS_BEYOND: Final = re.compile(r"\\[AZ]|\(\?<?!")
"""What may make an expression match a line, and not the text that the line is in."""


@attrs.frozen(kw_only=True)
class Hit:
    """A line that a pattern matched.

    Attributes:
        line: The whole line, without its end.
        file: The file, relative to the workspace; ``stdout`` or ``stderr`` for the captured streams.
        number: The line's number in that file, counted from 1.
    """

    line: str
    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.line.strip()[:500]!r} ({self.file}, line {self.number})"


@final
class FileFollower:
    """Gives what was added to one file since the last look, in whole lines.

    A file that shrank, was replaced or was written anew is read again from its beginning. What is in it while it was
    last written before *since* (seconds since the epoch) is counted, not given.
    """

    def __init__(self, path: Path, name: str, since: float = 0.0) -> None:
        self.path = path
        self.name = name
        self._since = since
        self.lines_before = 0
        """How many lines came before the chunk that was given last."""
        self._given = 0
        self._rest = b""
        self._position = 0
        self._seen = b""
        self._inode: int | None = None
        self._is_old = False

    def chunks(self, *, at_end: bool = False) -> Iterator[str]:
        """Read on to the present end of the file; *at_end* gives a last line without an end as well."""
        with contextlib.suppress(OSError), self.path.open("rb", buffering=0) as file:
            status = self._look_at(file)
            self._is_old = status.st_mtime < self._since
            file.seek(self._position)
            while data := file.read(min(_CHUNK, max(status.st_size - self._position, 0))):
                self._position += len(data)
                self._seen = (self._seen + data)[-_TAIL:]
                whole = self._whole_lines(data)
                text = self._give(whole) if whole else ""
                if text and not self._is_old:
                    yield text
        if at_end and self._rest and not self._is_old:
            whole, self._rest = self._rest, b""
            yield self._give(whole)

    def skip(self, keep: int) -> int:
        """Pass over all but about the last *keep* bytes that have not been read, and count the lines passed over.

        Several times as fast as ``chunks``: nothing is decoded or copied. Of more than 16 MB, most is not even read;
        how many lines that was is told by the lines before it.
        """
        skipped = 0
        with contextlib.suppress(OSError), self.path.open("rb", buffering=0) as file:
            end, block = self._look_at(file).st_size - keep, bytearray(_SKIPPED_AT_ONCE)
            file.seek(self._position)
            while (left := end - self._position) > 0 and (size := file.readinto(memoryview(block)[:left])):
                # Up to the last end of a line in the block, so that what is left begins with a whole line.
                whole = block.rfind(b"\n", 0, size) + 1
                if not whole:
                    break
                skipped += block.count(b"\n", 0, whole)
                skipped += self._rest.endswith(b"\r") and not block.startswith(b"\n")
                if b"\r" in block:
                    skipped += block.count(b"\r", 0, whole) - block.count(b"\r\n", 0, whole)
                self._position = file.seek(self._position + whole)
                self._seen, self._rest = bytes(block[max(whole - _TAIL, 0) : whole]), b""
                if left - whole > _COUNTED:
                    unread = left - whole - _SKIPPED_AT_ONCE
                    skipped += round(unread * block.count(b"\n", 0, whole) / whole)
                    self._position, self._seen = file.seek(self._position + unread), b""
        self._given += skipped
        return skipped

    @property
    def backlog(self) -> int:
        """How many bytes of the file have not been read yet."""
        with contextlib.suppress(OSError):
            return max(self.path.stat().st_size - self._position, 0)
        return 0

    def written_at(self) -> int:
        """Say when the file was last written, in nanoseconds since the epoch; 0 where there is none."""
        with contextlib.suppress(OSError):
            return self.path.stat().st_mtime_ns
        return 0

    def tail(self) -> str:
        """Read the last few lines, and leave what ``chunks`` gives as it is."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - _TAIL, 0))
            return file.read().decode("utf-8", "replace")
        return ""

    def _look_at(self, file: BinaryIO) -> os.stat_result:
        """Begin again where the file is not the one that was read so far."""
        status = os.fstat(file.fileno())
        if not self._goes_on(file, status):
            self._inode, self._position, self._seen, self._rest, self._given = status.st_ino, 0, b"", b"", 0
        return status

    def _goes_on(self, file: BinaryIO, status: os.stat_result) -> bool:
        """Whether the file still begins with what was read of it, and that is as old as it was."""
        if status.st_ino != self._inode or status.st_size < self._position:
            return False
        # Of an old file that is new and no longer, nothing was added: it was written anew, to the same bytes.
        if self._is_old and status.st_mtime >= self._since and status.st_size == self._position:
            return False
        # The number alone is no proof: a file system gives that of a removed file to the next one.
        file.seek(self._position - len(self._seen))
        return file.read(len(self._seen)) == self._seen

    def _whole_lines(self, data: bytes) -> bytes:
        data = self._rest + data
        # Progress bars end their lines with a carriage return alone; for the rules that is an end of a line as well.
        end = max(data.rfind(b"\n"), data.rfind(b"\r", 0, -1)) + 1
        if not end and len(data) > _LONGEST_LINE:
            end = len(data) - data.endswith(b"\r")
        self._rest = data[end:]
        return data[:end]

    def _give(self, data: bytes) -> str:
        text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        self.lines_before, self._given = self._given, self._given + text.count("\n")
        return text


@final
class OutputWatcher:
    """Applies rules to the output of one run.

    Attributes:
        fatal: The first fatal line, or ``None``.
        progress: How far the run is, or ``None`` where nothing said so yet.
    """

    def __init__(
        self,
        rules: OutputRules,
        workspace_dir: Path,
        *,
        stdout_path: Path,
        stderr_path: Path,
        since: float,
        period: object = None,
        on_line: Callable[[str, str], None] | None = None,
        on_skipped: Callable[[str, int], None] | None = None,
    ) -> None:
        """Watch *workspace_dir*.

        Args:
            rules: What to look for.
            workspace_dir: Where globs are taken from.
            stdout_path: The captured standard output.
            stderr_path: The captured standard error.
            since: Files that were last written before this time (seconds since the epoch, by the clock of the file
                system) are none of this run's.
            period: The model run's period, with ``start`` and ``end``, where it has one.
            on_line: Called with the stream's name and each line.
            on_skipped: Called with the stream's name and how many lines were not given to *on_line*; an estimate where
                they were more than 16 MB at once.
        """
        self.rules = rules
        self.fatal: Hit | None = None
        self.progress: Progress | None = None
        self._workspace_dir = workspace_dir
        self._since = since
        self._on_line = on_line
        self._on_skipped = on_skipped
        self._logging_until = 0.0
        self._streams = (FileFollower(stdout_path, "stdout"), FileFollower(stderr_path, "stderr"))
        self._files: dict[tuple[str, Path], FileFollower] = {}
        self._fatal = [(pattern, re.compile(pattern.regex, re.MULTILINE)) for pattern in rules.fatal]
        self._missing = [(pattern, re.compile(pattern.regex, re.MULTILINE)) for pattern in rules.success]
        self._meter = ProgressMeter(rules.progress, period) if rules.progress else None
        patterns = (*rules.fatal, *rules.success, rules.progress)
        self._rules_read_streams = any(pattern is not None and pattern.file is None for pattern in patterns)

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to look for while the run goes on."""
        return bool(self._fatal or self._missing or self._meter or self._on_line)

    @property
    def last_line(self) -> str:
        """The newest line of output that is not blank."""
        written_last = sorted(self._streams, key=FileFollower.written_at, reverse=True)
        return next((line for stream in written_last if (line := _last_line(stream.tail()))), "")

    def scan(self, *, at_end: bool = False) -> Hit | None:
        """Read all that is new, and give the first fatal line of the run, if there is one by now."""
        self._logging_until = time.monotonic() + _LOGGING_S
        for stream in self._streams if self._rules_read_streams or self._on_line else ():
            self._skip(stream)
            for text in stream.chunks(at_end=at_end):
                self._judge(text, stream, None)
                self._pass_on(text, stream.name, behind=stream.backlog > _BACKLOG)
        for glob in self._globs():
            for follower in self._followers(glob):
                for text in follower.chunks(at_end=at_end):
                    self._judge(text, follower, glob)
        return self.fatal

    def violations(self) -> list[str]:
        """Say which rules did not hold, after the last ``scan``; empty where all did."""
        broken = [f"a fatal line: {self.fatal}"] if self.fatal else []
        for pattern, _ in self._missing:
            where = f"files {pattern.file!r}" if pattern.file else "the output"
            broken.append(f"no line of {where} matches the success pattern {pattern.regex!r}")
        broken += [
            f"the required file {glob!r} {self._what_is_there(glob)}"
            for glob in self.rules.required_files
            if not any(self._written(glob))
        ]
        for glob in self.rules.forbidden_files:
            broken += [f"the forbidden file {self._name(path)!r} was written" for path in self._written(glob)]
        return broken

    def _what_is_there(self, glob: str) -> str:
        older = self._matches(glob)
        return "was not written by this run; the one there is older" if older else "was not written"

    def _globs(self) -> Iterable[str]:
        patterns: list[OutputPattern | ProgressPattern] = [*self.rules.fatal, *self.rules.success]
        if self.rules.progress:
            patterns.append(self.rules.progress)
        return dict.fromkeys(pattern.file for pattern in patterns if pattern.file is not None)

    def _followers(self, glob: str) -> Iterator[FileFollower]:
        for path in self._matches(glob):
            # Each glob reads a file for itself: what one pattern has seen is still new to the next one.
            if (glob, path) not in self._files:
                self._files[glob, path] = FileFollower(path, self._name(path), self._since)
            yield self._files[glob, path]

    def _matches(self, glob: str) -> list[Path]:
        """Give the files below the workspace that match, our own records left out."""
        found: list[Path] = []
        with contextlib.suppress(OSError):  # a directory may vanish while it is listed
            found.extend(self._workspace_dir.glob(glob))
        return sorted(
            path
            for path in found
            if ".rompy" not in path.relative_to(self._workspace_dir).parts and os.path.isfile(path)  # noqa: PTH113 - is_file() may raise
        )

    def _written(self, glob: str) -> Iterator[Path]:
        for path in self._matches(glob):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime >= self._since:
                    yield path

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._workspace_dir))

    def _judge(self, text: str, source: FileFollower, glob: str | None) -> None:
        if self.fatal is None:
            hits = (_first(regex, text) for pattern, regex in self._fatal if pattern.file == glob)
            first = min((hit for hit in hits if hit is not None), default=None)
            if first is not None:
                self.fatal = Hit(line=first[1], file=source.name, number=source.lines_before + first[0] + 1)
        self._missing = [
            (pattern, regex) for pattern, regex in self._missing if pattern.file != glob or _first(regex, text) is None
        ]
        if self._meter and self._meter.pattern.file == glob:
            self.progress = self._meter.read(text) or self.progress

    def _skip(self, stream: FileFollower) -> None:
        """Pass over what the logger is too slow for, where no rule has to see it."""
        if self._rules_read_streams or self._on_skipped is None or stream.backlog <= _BACKLOG:
            return
        if lines := stream.skip(_BACKLOG):
            self._on_skipped(stream.name, lines)

    def _pass_on(self, text: str, stream: str, *, behind: bool) -> None:
        if self._on_line is None:
            return
        lines = _lines(text)
        for number, line in enumerate(lines):
            is_late = behind or (number > 0 and time.monotonic() > self._logging_until)
            if is_late and self._on_skipped is not None:
                self._on_skipped(stream, len(lines) - number)
                return
            self._on_line(stream, line)


@final
class ProgressMeter:
    """Reads the fraction out of lines; what it says never goes back and never passes 1."""

    def __init__(self, pattern: ProgressPattern, period: object = None) -> None:
        self.pattern = pattern
        self._regex = re.compile(pattern.regex, re.MULTILINE)
        self._start = _aware(pattern.start or getattr(period, "start", None))
        self._end = _aware(pattern.end or getattr(period, "end", None))
        self._total = pattern.total
        if self._total is None and self._start and self._end:
            self._total = (self._end - self._start).total_seconds()
        self._best = -1.0

    def read(self, text: str) -> Progress | None:
        """Give the progress by the line of *text* that tells the most, or ``None`` where that is no news."""
        news: Progress | None = None
        for _, line in _matching(self._regex, text):
            for match in self._regex.finditer(line):
                groups = {name: value for name, value in match.groupdict().items() if value is not None}
                fraction = self._fraction(groups)
                if fraction is not None and fraction > self._best:
                    self._best = fraction
                    news = Progress(
                        fraction=min(max(fraction, 0.0), 1.0), text=match[0].strip(), model_time=self._time(groups)
                    )
        return news

    def _time(self, groups: dict[str, str]) -> str:
        if "date" in groups:
            return groups["date"].strip()
        return f"{groups['current'].strip()}/{self._total:.10g}" if "current" in groups and self._total else ""

    def _fraction(self, groups: dict[str, str]) -> float | None:
        with contextlib.suppress(ValueError, OverflowError, re.error):  # the last one is strptime's, for "%d%d"
            if "total" in groups:
                self._total = _number(groups["total"])
            if "percent" in groups:
                return _number(groups["percent"]) / 100
            if "current" in groups and self._total and self._total > 0:
                return _number(groups["current"]) / self._total
            if "date" in groups and self._start and self._end and self._end > self._start:
                return (self._date(groups["date"]) - self._start) / (self._end - self._start)
        return None

    def _date(self, text: str) -> datetime:
        form = self.pattern.date_format
        date = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007 - next line
        return date if date.tzinfo else date.replace(tzinfo=UTC)


def _number(text: str) -> float:
    """Read a finite number as models print it: Fortran writes the exponent with a D."""
    number = float(text.replace("D", "e").replace("d", "e"))
    if not math.isfinite(number):
        raise ValueError(f"not finite: {text}")
    return number


def _aware(date: object) -> datetime | None:
    """Take a date without a zone for UTC, as the models do, and what is no date (of some other library) for none."""
    if not isinstance(date, datetime):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _matching(regex: re.Pattern[str], text: str) -> Iterator[tuple[int, str]]:
    """Give the lines of *text* that match, each with the number of those before it."""
    # Line by line only where needed, for it is slow; but an expression must not look across the end of a line.
    if _LOOKS_BEYOND.search(regex.pattern) is None and regex.search(text) is None:
        return
    for number, line in enumerate(_lines(text)):
        if regex.search(line):
            yield number, line


def _first(regex: re.Pattern[str], text: str) -> tuple[int, str] | None:
    return next(_matching(regex, text), None)


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n")


def _last_line(text: str) -> str:
    lines = text.replace("\r", "\n").rstrip()
    return lines[lines.rfind("\n") + 1 :].strip()[:500]
