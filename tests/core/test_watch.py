from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_core import OutputRules, Period, ProgressPattern, _watch
from rompy_core._watch import FileFollower, Hit, OutputWatcher, ProgressMeter

LONG_AGO = time.time() - 1000


@attrs.define
class Run:
    """The files of a run, and a look at them."""

    workspace: Path
    record: Path
    passed: list[tuple[str, str]] = attrs.field(factory=list)
    skipped: list[tuple[str, int]] = attrs.field(factory=list)

    @classmethod
    def at(cls, directory: Path) -> Run:
        run = cls(directory / "case", directory / "case" / ".rompy" / "one")
        run.record.mkdir(parents=True)
        return run

    def watch(self, since: float = 0.0, period: object = None, *, stream: bool = False, **rules: Any) -> OutputWatcher:
        return OutputWatcher(
            OutputRules(**rules),
            self.workspace,
            stdout_path=self.record / "stdout.log",
            stderr_path=self.record / "stderr.log",
            since=since,
            period=period,
            on_line=(lambda name, line: self.passed.append((name, line))) if stream else None,
            on_skipped=lambda name, count: self.skipped.append((name, count)),
        )

    def print(self, data: bytes | str, stream: str = "stdout") -> None:
        append(self.record / f"{stream}.log", data)

    def write(self, name: str, data: bytes | str = "", *, age: float = 0.0) -> Path:
        file = self.workspace / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        if age:
            os.utime(file, (time.time() - age,) * 2)
        return file


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.at(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.log"


def append(path: Path, data: bytes | str) -> None:
    with path.open("ab") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def lines_of(chunks: Iterator[str]) -> list[str]:
    return [line for text in chunks for line in text.removesuffix("\n").split("\n")]


def as_models_mean(data: bytes) -> list[str]:
    """Split *data* into lines, whatever their ends: what every reading of it in pieces has to come to."""
    lines = re.split(r"\r\n|\r|\n", data.decode("utf-8", "replace"))
    return lines if lines[-1] else lines[:-1]


def made_of(*parts: bytes) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(parts)).map(b"".join)


@st.composite
def in_pieces(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> list[bytes]:
    """Bytes, cut anywhere."""
    whole = draw(data)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


# Following one file.


def test_a_line_is_given_once_it_is_whole(file: Path) -> None:
    follower = FileFollower(file, "run.log")

    append(file, "calm\nrough")
    first = list(follower.chunks())
    append(file, " sea\n")
    second = list(follower.chunks())
    third = list(follower.chunks())

    assert (first, second, third) == (["calm\n"], ["rough sea\n"], [])


def test_a_last_line_without_an_end_is_given_once_at_the_end(file: Path) -> None:
    append(file, "calm\nrough")
    follower = FileFollower(file, "run.log")

    given_ = [list(follower.chunks(at_end=True)) for _ in range(2)]

    assert given_ == [["calm\n", "rough"], []]


@given(
    pieces=in_pieces(st.binary(max_size=60) | made_of(b"a", b"\r", b"\n", b"\xc3", b"\xa9")),
    chunk=st.integers(1, 70),
)
def test_however_a_file_grows_its_lines_are_the_same(
    pieces: list[bytes], chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("grows") / "run.log"
    follower = FileFollower(file, "run.log")
    given_: list[str] = []
    numbers: list[int] = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_watch, "_CHUNK", chunk)
        for piece in pieces:
            append(file, piece)
            for text in follower.chunks():
                numbers.append(follower.lines_before - len(given_))
                given_ += lines_of(iter([text]))
        for text in follower.chunks(at_end=True):
            numbers.append(follower.lines_before - len(given_))
            given_ += lines_of(iter([text]))

    assert given_ == as_models_mean(b"".join(pieces))
    assert set(numbers) <= {0}


@given(
    pieces=in_pieces(made_of(b"a" * 9, b"b", b"\r", b"\n")),
    longest=st.integers(1, 10),
    chunk=st.integers(1, 30),
)
def test_a_line_that_is_too_long_comes_in_pieces_and_nothing_of_it_is_lost(
    pieces: list[bytes], longest: int, chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("long") / "run.log"
    follower = FileFollower(file, "run.log")
    texts: list[str] = []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_watch, "_LONGEST_LINE", longest)
        patch.setattr(_watch, "_CHUNK", chunk)
        for piece in pieces:
            append(file, piece)
            texts += follower.chunks()
        texts += follower.chunks(at_end=True)

    whole = "".join(texts)
    assert whole.removesuffix("\n").split("\n") == (as_models_mean(b"".join(pieces)) or [""])
    assert max((len(text) for text in texts), default=0) <= longest + 2 * chunk


def test_a_line_of_megabytes_is_judged_before_it_ends(file: Path) -> None:
    append(file, b"." * 3_000_000)
    follower = FileFollower(file, "run.log")

    pieces = list(follower.chunks())
    append(file, "\nnext\n")
    rest = list(follower.chunks())

    assert sum(map(len, pieces)) == 3_000_000
    assert max(map(len, pieces)) < 2**19
    assert rest == ["\nnext\n"]
    assert follower.lines_before == 0


def test_bytes_that_are_no_text_do_no_harm(file: Path) -> None:
    append(file, b"depth \xb0 ok\n\x00\x01\xff\xfe\nfine\n")

    assert lines_of(FileFollower(file, "run.log").chunks()) == ["depth \ufffd ok", "\x00\x01\ufffd\ufffd", "fine"]


def test_a_character_that_is_cut_in_two_is_whole_again(file: Path) -> None:
    follower = FileFollower(file, "run.log")

    append(file, "é\n".encode()[:1])
    first = list(follower.chunks())
    append(file, "é\n".encode()[1:])

    assert (first, list(follower.chunks())) == ([], ["é\n"])


def test_progress_bars_end_their_lines_with_a_carriage_return(file: Path) -> None:
    append(file, "10 %\r20 %\r30 %\r")
    follower = FileFollower(file, "run.log")

    assert list(follower.chunks()) == ["10 %\n20 %\n"]
    assert list(follower.chunks(at_end=True)) == ["30 %\n"]


def test_a_file_that_appears_late_is_read_from_its_beginning(file: Path) -> None:
    follower = FileFollower(file, "run.log")
    assert list(follower.chunks()) == []
    assert follower.backlog == 0

    append(file, "late\n")

    assert follower.backlog == 5
    assert list(follower.chunks()) == ["late\n"]
    assert follower.backlog == 0


def test_a_file_that_vanishes_gives_what_was_read_of_its_last_line(file: Path) -> None:
    append(file, "calm\nrough")
    follower = FileFollower(file, "run.log")
    list(follower.chunks())

    file.unlink()

    assert list(follower.chunks()) == []
    assert list(follower.chunks(at_end=True)) == ["rough"]
    assert (follower.backlog, follower.tail(), follower.written_at()) == (0, "", 0)


def truncate(file: Path, data: str) -> None:
    file.write_text(data)


def rename(file: Path, data: str) -> None:
    file.rename(file.with_suffix(".1"))
    file.write_text(data)


def remove(file: Path, data: str) -> None:
    file.unlink()  # the next file often gets the same number
    file.write_text(data)


def replace(file: Path, data: str) -> None:
    file.with_suffix(".new").write_text(data)
    file.with_suffix(".new").replace(file)


@pytest.mark.parametrize("anew", [truncate, rename, remove, replace])
@pytest.mark.parametrize("data", ["c\n", "new1\nnew2\n", "new1\nnew2\nnew3, longer than ever\n"])
def test_a_file_that_is_written_anew_is_read_anew(file: Path, anew: Callable[[Path, str], None], data: str) -> None:
    file.write_text("old1\nold2\n")
    follower = FileFollower(file, "run.log")
    list(follower.chunks())

    anew(file, data)

    assert lines_of(follower.chunks()) == data.splitlines()
    assert follower.lines_before == 0


def test_a_file_whose_number_is_new_is_another_one_whatever_is_in_it(file: Path) -> None:
    file.write_text("same\n")
    follower = FileFollower(file, "run.log")
    list(follower.chunks())

    rename(file, "same\n")

    assert list(follower.chunks()) == ["same\n"]


def test_nothing_of_a_line_that_was_cut_off_is_left_in_the_new_file(file: Path) -> None:
    file.write_text("calm\nhalf a li")
    follower = FileFollower(file, "run.log")
    list(follower.chunks())

    file.write_text("new\n")

    assert list(follower.chunks(at_end=True)) == ["new\n"]


@given(
    data=made_of(b"a" * 5, b"b\n", b"c\r\n", b"d\r", b"\n", b"e\n" * 20),
    before=st.integers(0, 30),
    keep=st.integers(0, 60),
    block=st.integers(1, 50),
)
def test_lines_that_are_skipped_are_counted_and_the_rest_is_whole(
    data: bytes, before: int, keep: int, block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("skips") / "run.log"
    follower = FileFollower(file, "run.log")
    append(file, data[:before])
    given_ = lines_of(follower.chunks())
    append(file, data[before:])
    lines = as_models_mean(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_watch, "_SKIPPED_AT_ONCE", block)
        skipped = follower.skip(keep) + follower.skip(keep)
        left = follower.backlog
        rest = lines_of(follower.chunks(at_end=True))

    assert given_ == lines[: len(given_)]
    assert rest == lines[len(given_) + skipped :]
    assert left >= min(keep, max(len(data) - before, 0))


# Fatal lines.


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_fatal_line_is_quoted_with_its_stream_and_number(run: Run, stream: str) -> None:
    watcher = run.watch(fatal="ERROR")
    run.print("begin\n" * 40, stream)
    assert watcher.scan() is None

    run.print("all fine\n  ** ERROR: too steep\nERROR again\n", stream)
    hit = watcher.scan()

    assert hit == Hit(line="  ** ERROR: too steep", file=stream, number=42)
    assert str(hit) == f"'** ERROR: too steep' ({stream}, line 42)"
    assert watcher.violations() == [f"a fatal line: {hit}"]


def test_the_first_fatal_line_is_the_one_that_counts(run: Run) -> None:
    watcher = run.watch(fatal=["later", "ERROR", "error"])
    run.print("fine\nerror 1\nERROR 2\n")
    first = watcher.scan()

    run.print("later\n")

    assert first is not None
    assert first.number == 2
    assert watcher.scan() is first


def test_a_fatal_line_that_is_not_finished_is_found_at_the_end(run: Run) -> None:
    watcher = run.watch(fatal="ERROR")
    run.print("fine\nERROR: wet")

    assert watcher.scan() is None
    assert watcher.scan(at_end=True) == Hit(line="ERROR: wet", file="stdout", number=2)


def test_a_fatal_line_of_a_file_is_quoted_with_the_files_name(run: Run) -> None:
    watcher = run.watch(fatal=[{"regex": "ABORT", "file": "out/*.log"}])
    run.print("ABORT\n")
    run.write("other.log", "ABORT\n")
    run.write("out/a.log", "fine\n")
    assert watcher.scan() is None

    run.write("out/b.log", "one\r\ntwo\r\nABORT: dry\r\n")

    assert watcher.scan() == Hit(line="ABORT: dry", file="out/b.log", number=3)


def test_our_own_records_are_no_output_of_the_model(run: Run) -> None:
    watcher = run.watch(
        fatal=[{"regex": "ABORT", "file": "**/*"}], required_files="**/stdout.log", forbidden_files="**/*.log"
    )
    run.print("ABORT\n")

    assert watcher.scan(at_end=True) is None
    assert watcher.violations() == ["the required file '**/stdout.log' was not written"]


def test_each_pattern_reads_a_file_for_itself(run: Run) -> None:
    watcher = run.watch(
        fatal=[{"regex": "ABORT", "file": "*.log"}],
        success=[{"regex": "done", "file": "run.log"}],
        progress={"regex": r"(?P<percent>\d+) %", "file": "ru*.log"},
    )
    run.write("run.log", "50 %\ndone\n")

    watcher.scan(at_end=True)

    assert watcher.violations() == []
    assert watcher.progress is not None
    assert watcher.progress.fraction == 0.5


def test_a_file_is_followed_through_its_replacement(run: Run) -> None:
    watcher = run.watch(fatal=[{"regex": "ABORT", "file": "*.log"}])
    run.write("run.log", "fine\nfine\n")
    watcher.scan()

    rename(run.workspace / "run.log", "ABORT\n")

    assert watcher.scan() == Hit(line="ABORT", file="run.log", number=1)


# What was there before the run.


def test_what_an_earlier_run_left_is_not_judged(run: Run) -> None:
    run.write("run.log", "ABORT\ndone\nABORT without an end", age=100)
    watcher = run.watch(
        since=time.time() - 10,
        fatal=[{"regex": "ABORT", "file": "*.log"}],
        success=[{"regex": "done", "file": "*.log"}],
        forbidden_files="*.log",
    )

    assert watcher.scan() is None
    assert watcher.scan(at_end=True) is None
    assert watcher.violations() == ["no line of files '*.log' matches the success pattern 'done'"]


def test_of_a_file_that_is_continued_only_what_is_new_is_judged(run: Run) -> None:
    log = run.write("run.log", "ABORT yesterday\n\nfine\n", age=100)
    watcher = run.watch(since=time.time() - 10, fatal=[{"regex": "ABORT", "file": "*.log"}])
    watcher.scan()

    append(log, "begin\n")
    nothing = watcher.scan()
    append(log, "ABORT today\n")

    assert nothing is None
    assert watcher.scan() == Hit(line="ABORT today", file="run.log", number=5)


def test_a_file_of_an_earlier_run_that_is_overwritten_is_judged_from_its_beginning(run: Run) -> None:
    log = run.write("run.log", "one\ntwo\n", age=100)
    watcher = run.watch(since=time.time() - 10, fatal=[{"regex": "ABORT", "file": "*.log"}])
    watcher.scan()

    log.write_text("ABORT\ntwo\nthree\nfour\n")

    assert watcher.scan() == Hit(line="ABORT", file="run.log", number=1)


@pytest.mark.parametrize("text", ["one\nABORT\n", "one\nABORT without an end"])
def test_a_file_of_an_earlier_run_that_is_written_again_to_the_same_bytes_is_judged(run: Run, text: str) -> None:
    log = run.write("run.log", text, age=100)
    watcher = run.watch(since=time.time() - 10, fatal=[{"regex": "ABORT", "file": "*.log"}])
    before = watcher.scan()

    log.write_text(text)

    assert before is None
    assert watcher.scan(at_end=True) == Hit(line=text.splitlines()[1], file="run.log", number=2)


# Files that must be there, and files that must not.


def test_a_required_file_must_have_been_written_by_this_run(run: Run) -> None:
    run.write("old.nc", age=100)
    run.write("new.nc")
    watcher = run.watch(since=time.time() - 10, required_files=["new.nc", "old.nc", "no/*.nc", "*.nc"])

    assert watcher.violations() == [
        "the required file 'old.nc' was not written by this run; the one there is older",
        "the required file 'no/*.nc' was not written",
    ]


def test_each_forbidden_file_is_named_and_older_ones_are_forgiven(run: Run) -> None:
    for name in ("b/Errfile-002", "a/Errfile-001"):
        run.write(name)
    run.write("Errfile", age=100)
    watcher = run.watch(since=time.time() - 10, forbidden_files="**/Errfile*")

    assert watcher.violations() == [
        "the forbidden file 'a/Errfile-001' was written",
        "the forbidden file 'b/Errfile-002' was written",
    ]


def test_a_directory_is_no_file(run: Run) -> None:
    (run.workspace / "out.nc").mkdir()

    assert run.watch(required_files="out.nc", forbidden_files="out.*").violations() == [
        "the required file 'out.nc' was not written"
    ]


def test_a_directory_that_vanishes_while_it_is_listed_does_no_harm(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = run.write("run.log", "ABORT\n")

    def listing(*_: object) -> Iterator[Path]:
        yield log
        raise FileNotFoundError(errno.ENOENT, "gone", "scratch")

    monkeypatch.setattr(Path, "glob", listing)
    watcher = run.watch(fatal=[{"regex": "ABORT", "file": "**/*.log"}])

    assert watcher.scan() == Hit(line="ABORT", file="run.log", number=1)


def test_a_file_that_vanishes_after_it_was_listed_was_not_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    log = run.write("run.log")
    is_file = os.path.isfile

    def then_remove(path: Path) -> bool:
        was_there = is_file(path)
        log.unlink(missing_ok=True)
        return was_there

    watcher = run.watch(forbidden_files="*.log")
    monkeypatch.setattr(os.path, "isfile", then_remove)

    assert watcher.violations() == []


# Lines that must appear.


def test_every_success_pattern_must_appear_and_may_do_so_in_any_stream(run: Run) -> None:
    watcher = run.watch(success=["Run completed", "^done$", {"regex": "normal end", "file": "*.out"}])
    run.print("Run completed at noon\n")
    run.print("not done\n", "stderr")
    watcher.scan()
    missing = watcher.violations()

    run.print("done", "stderr")
    run.write("case.out", "normal end\n")
    watcher.scan(at_end=True)

    assert missing == [
        "no line of the output matches the success pattern '^done$'",
        "no line of files '*.out' matches the success pattern 'normal end'",
    ]
    assert watcher.violations() == []


PATTERNS = [
    r"a(?=\s*E)",
    "E+",
    "^a$",
    "^$",
    "a$",
    r"a\Z",
    r"\AE",
    r"E(?!\s*a)",
    r"a\s+E",
    r"(?<=a)\sE",
    "(?<!a)E",
    "[^E]{3}",
    "x*",
]


@given(
    pieces=in_pieces(st.text("aE \n\r", max_size=60).map(str.encode)),
    fatal=st.lists(
        st.sampled_from(PATTERNS),
        min_size=1,
        max_size=3,
    ),
)
def test_however_output_grows_the_same_lines_match(
    pieces: list[bytes], fatal: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Run.at(tmp_path_factory.mktemp("grows"))
    watcher = run.watch(fatal=fatal, success=fatal)
    lines = as_models_mean(b"".join(pieces))
    matching = {regex: [n for n, line in enumerate(lines, 1) if re.search(regex, line)] for regex in fatal}
    first = min((numbers[0] for numbers in matching.values() if numbers), default=None)

    for piece in pieces:
        run.print(piece)
        watcher.scan()
    hit = watcher.scan(at_end=True)

    assert hit == (None if first is None else Hit(line=lines[first - 1], file="stdout", number=first))
    assert [line for line in watcher.violations() if "success" in line] == [
        f"no line of the output matches the success pattern {regex!r}" for regex in fatal if not matching[regex]
    ]


# Lines for the logger.


def test_each_line_is_passed_on_as_it_comes(run: Run) -> None:
    watcher = run.watch(stream=True)
    run.print("one\n\ntwo\nthr")
    run.print("warning\n", "stderr")
    watcher.scan()
    so_far = list(run.passed)

    run.print("ee")
    watcher.scan(at_end=True)

    assert so_far == [("stdout", "one"), ("stdout", ""), ("stdout", "two"), ("stderr", "warning")]
    assert run.passed[4:] == [("stdout", "three")]
    assert run.skipped == []


@given(
    bursts=st.lists(st.integers(0, 30), min_size=1, max_size=6),
    backlog=st.integers(0, 120),
    chunk=st.integers(1, 60),
    rules=st.sampled_from([{}, {"fatal": "never"}]),
)
def test_every_line_is_either_passed_on_or_counted(
    bursts: list[int], backlog: int, chunk: int, rules: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Run.at(tmp_path_factory.mktemp("bursts"))
    watcher = run.watch(stream=True, **rules)
    total = 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_watch, "_BACKLOG", backlog)
        patch.setattr(_watch, "_CHUNK", chunk)
        for burst in bursts:
            run.print("".join(f"{total + n}\n" for n in range(burst)))
            total += burst
            watcher.scan()
        run.print("the end")
        watcher.scan(at_end=True)

    assert len(run.passed) + sum(count for _, count in run.skipped) == total + 1
    assert run.passed[-1] == ("stdout", "the end")


def test_where_no_rule_and_no_logger_wants_the_output_none_of_it_is_called_skipped(run: Run) -> None:
    watcher = run.watch(fatal={"regex": "ERROR", "file": "PRINT"})
    watcher._on_skipped = lambda stream, count: run.skipped.append((stream, count))
    run.print("line\n" * 100_000)

    watcher.scan(at_end=True)

    assert run.skipped == []
    assert watcher.last_line == "line"


def test_of_a_great_burst_most_is_not_even_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "_SKIPPED_AT_ONCE", 2**12)
    monkeypatch.setattr(_watch, "_COUNTED", 2**14)
    watcher = run.watch(stream=True)
    run.print(b"".join(b"%07d\n" % n for n in range(1_000_000)))

    watcher.scan()
    run.print("the end\n")
    watcher.scan()

    # Lines of one length are told exactly; which of them come last is no guess either way.
    assert len(run.passed) + sum(count for _, count in run.skipped) == 1_000_001
    assert [line for _, line in run.passed[-2:]] == ["0999999", "the end"]


def test_a_logger_that_is_too_slow_misses_the_oldest_lines_of_a_burst(run: Run) -> None:
    watcher = run.watch(stream=True)
    run.print(b"".join(b"%07d\n" % n for n in range(1_000_000)))

    watcher.scan(at_end=True)

    skipped = sum(count for _, count in run.skipped)
    assert len(run.passed) + skipped == 1_000_000
    assert {stream for stream, _ in run.skipped} == {"stdout"}
    assert 2**15 <= len(run.passed) * 8 <= 2**16
    assert run.passed[0][1] == f"{skipped:07d}"


def test_a_logger_gets_no_more_lines_in_a_scan_than_there_is_time_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watch, "_LOGGING_S", 0.0)
    watcher = run.watch(stream=True, fatal="ERROR")
    run.print("line\n" * 999 + "ERROR\n")

    watcher.scan()
    run.print("the end\n")
    watcher.scan(at_end=True)

    assert len(run.passed) + sum(count for _, count in run.skipped) == 1001
    assert len(run.passed) < 1000
    assert run.passed[-1] == ("stdout", "the end")
    assert watcher.fatal is not None


def test_where_nobody_counts_every_line_is_passed_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watch, "_BACKLOG", 0)
    monkeypatch.setattr(_watch, "_CHUNK", 8)
    passed: list[str] = []
    watcher = OutputWatcher(
        OutputRules(),
        run.workspace,
        stdout_path=run.record / "stdout.log",
        stderr_path=run.record / "stderr.log",
        since=0,
        on_line=lambda _, line: passed.append(line),
    )
    run.print("line\n" * 100)

    watcher.scan()

    assert passed == ["line"] * 100


@pytest.mark.parametrize(
    ("rules", "is_needed"),
    [
        ({}, False),
        ({"required_files": "*.nc", "forbidden_files": "*.err", "ignore_exit_code": True}, False),
        ({"fatal": "x"}, True),
        ({"success": "x"}, True),
        ({"progress": r"(?P<percent>\d+)"}, True),
    ],
)
def test_output_is_read_while_the_run_goes_on_only_where_a_rule_asks_for_it(
    run: Run, rules: dict[str, Any], is_needed: bool
) -> None:
    assert run.watch(**rules).is_needed is is_needed
    assert run.watch(stream=True, **rules).is_needed


# The last line.


@pytest.mark.parametrize("rules", [{}, {"fatal": "ERROR"}])
def test_the_last_line_is_the_newest_of_both_streams(run: Run, rules: dict[str, Any]) -> None:
    watcher = run.watch(**rules)
    assert watcher.last_line == ""

    run.print("a step\nanother st")
    assert watcher.last_line == "another st"

    run.print("oh\n  dear \n \n\n", "stderr")
    now = time.time_ns()
    os.utime(run.record / "stdout.log", ns=(now, now))
    os.utime(run.record / "stderr.log", ns=(now, now + 1))
    assert watcher.last_line == "dear"

    run.print("ep\r10 %\r20 %\r")
    os.utime(run.record / "stdout.log", ns=(now, now + 2))
    assert watcher.last_line == "20 %"


def test_a_stream_of_blank_lines_says_nothing(run: Run) -> None:
    watcher = run.watch()
    run.print("all done\n")
    run.print("\n \r\n", "stderr")
    later = time.time_ns() + 10**9
    os.utime(run.record / "stderr.log", ns=(later, later))

    assert watcher.last_line == "all done"


def test_the_last_line_of_megabytes_is_found_at_once_and_is_short(run: Run) -> None:
    run.print("x" * 5_000_000 + "\n" + "y" * 5_000_000)

    assert run.watch().last_line == "y" * 500


# Progress.


def meter(pattern: object, period: object = None) -> ProgressMeter:
    return ProgressMeter(OutputRules(progress=pattern).progress, period)  # type: ignore[arg-type]


def fractions(progress_meter: ProgressMeter, *texts: str) -> list[float | None]:
    told = [progress_meter.read(text) for text in texts]
    return [None if progress is None else progress.fraction for progress in told]


PERCENT = r"(?P<percent>\S+) ?%"
CURRENT = r"step (?P<current>\S+)"
TOTAL = CURRENT + r" of (?P<total>\S+)"
DAY = {"start": datetime.fromisoformat("2024-05-14"), "end": datetime.fromisoformat("2024-05-15")}
DATE = {"regex": "at (?P<date>.*)", **DAY}


@pytest.mark.parametrize(
    ("pattern", "texts", "expected"),
    [
        (PERCENT, ["at 12.5 % now\n", "50%\n"], [0.125, 0.5]),
        (PERCENT, ["1.0D+01 %\n", "2.0d1 %\n", "3E1 %\n"], [0.1, 0.2, 0.3]),
        (PERCENT, ["nothing\n", "***** %\n", "-- %\n", "7 %\n"], [None, None, None, 0.07]),
        (PERCENT, ["nan %\n", "inf %\n", "1e999 %\n", "7 %\n"], [None, None, None, 0.07]),
        (PERCENT, ["-5 %\n", "0 %\n"], [0.0, 0.0]),
        (PERCENT, ["90 %\n", "40 %\n", "90 %\n", "91 %\n"], [0.9, None, None, 0.91]),
        (PERCENT, ["40 %\n90 %\n10 %\n"], [0.9]),
        (PERCENT, ["10 % 20 % 30 %\n"], [0.3]),
        (PERCENT, ["99 %\n", "140 %\n", "100 %\n"], [0.99, 1.0, None]),
        (TOTAL, ["step 5 of 20\n", "step 10 of 0\n", "step 6 of -1\n", "step 1 of 2\n"], [0.25, None, None, 0.5]),
        (CURRENT + r"|of (?P<total>\d+) steps", ["step 3\n", "100 of 200 steps\n", "step 50\n"], [None, None, 0.25]),
        ({"regex": CURRENT, "total": 50}, ["step 25\n"], [0.5]),
        ({"regex": CURRENT}, ["step 25\n"], [None]),
        ({"regex": CURRENT, **DAY}, ["step 21600\n"], [0.25]),
        (DATE, ["at 2024-05-14T06:00:00\n", "at dusk\n", "at 20240514T18\n"], [0.25, None, 0.75]),
        (DATE, ["at 2024-05-14T06:00:00+06:00\n", "at 2024-05-14T06:00Z\n"], [0.0, 0.25]),
        ({**DATE, "date_format": "%Y%m%d.%H%M"}, ["at 20240514.1200\n"], [0.5]),
        ({**DATE, "date_format": "%Y %z"}, ["at 2025 +0000\n"], [1.0]),
        ({"regex": DATE["regex"]}, ["at 2024-05-14T06:00:00\n"], [None]),
        ({**DATE, "start": DAY["end"], "end": DAY["start"]}, ["at 2024-05-14T06:00:00\n"], [None]),
        ({**DATE, "date_format": "%Y%d%d"}, ["at 20241414\n"], [None]),
        (r"(?P<percent>\d+)\s+percent", ["10\npercent\n", "20 percent\n"], [None, 0.2]),
        (r"^\s*(?P<percent>\d+) %", ["\n\n 10 %\n"], [0.1]),
    ],
)  # fmt: skip
def test_progress_is_read_as_models_print_it(pattern: object, texts: list[str], expected: list[float | None]) -> None:
    assert fractions(meter(pattern), *texts) == expected


ZONE = timezone(timedelta(hours=10))


@pytest.mark.parametrize(
    "period",
    [
        Period(**DAY),
        SimpleNamespace(**DAY),
        SimpleNamespace(start=DAY["start"].replace(tzinfo=UTC), end=DAY["end"].replace(tzinfo=UTC).astimezone(ZONE)),
    ],
)
@pytest.mark.parametrize(
    ("pattern", "text"), [("at (?P<date>.*)", "at 2024-05-14T06:00"), ("(?P<current>.*) s", "21600.0 s")]
)
def test_without_a_total_the_period_is_what_counts(period: object, pattern: str, text: str) -> None:
    assert fractions(meter(pattern, period), text) == [0.25]


def test_what_the_pattern_says_goes_before_the_period() -> None:
    period = Period(start="2000-01-01", end="2000-01-02")

    assert fractions(meter(DATE, period), "at 2024-05-14T12:00") == [0.5]
    assert fractions(meter({"regex": CURRENT, "total": 4}, period), "step 1") == [0.25]


@pytest.mark.parametrize(
    "period",
    [SimpleNamespace(start="2024-05-14", end=3), SimpleNamespace(), Mock(), MagicMock(), {"start": 1}, "a day"],
    ids=lambda period: type(period).__name__,
)
def test_a_period_that_makes_no_sense_is_no_period(period: object) -> None:
    assert fractions(meter("at (?P<date>.*)", period), "at 2024-05-14T12:00") == [None]
    assert fractions(meter(CURRENT, period), "step 1") == [None]


@given(
    numbers=st.lists(st.lists(st.floats() | st.integers(-300, 300), max_size=4), max_size=6),
    pattern=st.sampled_from([PERCENT, f"{PERCENT} of (?P<total>.*)", "(?P<current>.*) % of (?P<total>.*)"]),
)
def test_progress_never_goes_back_and_stays_between_0_and_1(numbers: list[list[float]], pattern: str) -> None:
    texts = ["".join(f"{number} % of {len(row)}\n" for number in row) for row in numbers]

    told = [fraction for fraction in fractions(meter(pattern), *texts) if fraction is not None]

    assert told == sorted(told)
    assert all(0 <= fraction <= 1 for fraction in told)


@given(
    text=st.text(),
    pattern=st.sampled_from(["percent", "current", "date"]),
    form=st.none() | st.text().map("%Y{}".format),
)
def test_no_output_makes_the_progress_fail(text: str, pattern: str, form: str | None) -> None:
    progress = ProgressPattern(regex=f"(?s)(?P<{pattern}>.*)", total=3, date_format=form, **DAY)

    told = ProgressMeter(progress).read(text)

    assert told is None or 0 <= told.fraction <= 1


@given(pieces=in_pieces(st.lists(st.integers(0, 120).map(lambda n: b"%d %%\n" % n)).map(b"".join)))
def test_however_output_grows_the_progress_is_the_same(
    pieces: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Run.at(tmp_path_factory.mktemp("grows"))
    watcher = run.watch(progress=PERCENT)
    numbers = [int(number) for number in re.findall(rb"\d+", b"".join(pieces))]

    for piece in pieces:
        run.print(piece)
        watcher.scan()
    watcher.scan(at_end=True)

    told = None if watcher.progress is None else watcher.progress.fraction
    assert told == (min(max(numbers) / 100, 1.0) if numbers else None)


def test_progress_tells_the_line_that_it_was_read_from(run: Run) -> None:
    watcher = run.watch(progress=r"^.*?(?P<percent>\d+) %.*$")
    run.print("begin\n   at 20 % of it  \nend\n")

    watcher.scan()

    assert watcher.progress is not None
    assert watcher.progress.text == "at 20 % of it"


def test_a_status_file_that_is_written_anew_each_time_tells_the_progress(run: Run) -> None:
    watcher = run.watch(progress={"regex": PERCENT, "file": "status"})
    told: list[float] = []

    for percent in (10, 25, 99):  # the first two are as long as each other
        run.write("status", f"{percent} %\n")
        watcher.scan()
        assert watcher.progress is not None
        told.append(watcher.progress.fraction)

    assert told == [0.1, 0.25, 0.99]
