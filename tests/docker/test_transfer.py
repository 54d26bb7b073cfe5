"""Directories in and out of a container, against an engine that is a directory and the standard library's tar."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import socket
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rompy_docker import _receiving
from rompy_docker._archives import END, ArchiveError, ArchiveReader, Entry, Kind, header, padding
from rompy_docker._engine import EngineError, EngineLostError
from rompy_docker._transfer import Copied, TransferError, copy_in, copy_out

TARGET = "/app/run_id"
LONG_AGO = 1_600_000_000
FEW = settings(max_examples=60, deadline=None)


class DirectoryEngine:
    """Takes in and gives out as Docker's engine does: ``./`` is left alone, times are whole seconds."""

    facts = SimpleNamespace(name="docker")

    def __init__(self, root: Path, *, chunk_size: int = 5000, in_seconds: Callable[[float], int] = int) -> None:
        self.root = root
        self.in_seconds = in_seconds
        self.chunk_size = chunk_size
        self.directory.mkdir(parents=True)
        self.archives: list[bytes] = []

    @property
    def directory(self) -> Path:
        return self.root / TARGET[1:]

    def put_archive(self, container: str, path: str, data: Iterable[bytes]) -> None:
        archive = b"".join(data)
        self.archives.append(archive)
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for member in tar:
                if member.name != ".":
                    tar.extract(member, self.root / path[1:], numeric_owner=True, **_trusting())

    def get_archive(self, container: str, path: str) -> Iterator[bytes]:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
            tar.add(self.root / path[1:], Path(path).name, filter=self._in_whole_seconds)
        yield from in_chunks(archive.getvalue(), self.chunk_size)

    def _in_whole_seconds(self, member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = self.in_seconds(member.mtime)
        return member


class DrainingEngine:
    """Takes in everything and keeps nothing."""

    facts = SimpleNamespace(name="docker")

    def put_archive(self, container: str, path: str, data: Iterable[bytes]) -> None:
        for _ in data:
            pass


class ArchiveEngine:
    """Gives out any archive that a test has made, and an error at its end."""

    facts = SimpleNamespace(name="docker")

    def __init__(self, archive: bytes, error: Exception | None = None) -> None:
        self.archive = archive
        self.error = error

    def get_archive(self, container: str, path: str) -> Iterator[bytes]:
        yield from in_chunks(self.archive, 700)
        if self.error:
            raise self.error


def _trusting() -> dict[str, Any]:
    return {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}


def in_chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def proceed() -> None:
    """The check of a caller that never gives up."""


def put(engine: Any, tree: Copied, **options: Any) -> None:
    copy_in(engine, "c", tree, **{"uid": os.getuid(), "gid": os.getgid(), "check": proceed, **options})


def get(engine: Any, tree: Copied, check: Callable[[], None] = proceed) -> list[str]:
    return copy_out(engine, "c", tree, check=check)


def write(path: Path, content: str | bytes = "x", *, mtime: float = LONG_AGO, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    os.utime(path, (mtime, mtime))
    return path


def seen(directory: Path) -> dict[str, Any]:
    """All that a directory holds: kind, mode and content, by path."""
    found: dict[str, Any] = {}
    for path in directory.rglob("*"):
        mode = path.lstat().st_mode
        name = str(path.relative_to(directory))
        if stat.S_ISLNK(mode):
            found[name] = ("link", text_of(path))
        else:
            found[name] = (mode, path.read_bytes() if stat.S_ISREG(mode) else None)
    return found


def text_of(link: Path) -> str:
    """What a symbolic link says, to the letter."""
    return os.readlink(link)  # noqa: PTH115 - a Path would tidy it up


def identity(path: Path) -> tuple[float, ...]:
    """What changes when a file is written, replaced, linked or given another mode."""
    status = path.lstat()
    return status.st_ino, status.st_size, status.st_mode, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def local(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    return tmp_path / "local"


@pytest.fixture
def tree(local: Path) -> Copied:
    return Copied(local, TARGET, read_only=False, skip=[".rompy"])


@pytest.fixture
def engine(tmp_path: Path) -> DirectoryEngine:
    return DirectoryEngine(tmp_path / "engine")


# In


def test_what_goes_in_has_its_modes_times_and_owner(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    local.chmod(0o750)
    write(local / "d/in.txt", "hello", mtime=LONG_AGO + 0.25, mode=0o640)
    write(local / "run.sh", mode=0o755)

    put(engine, tree)

    there = engine.directory
    assert stat.S_IMODE(there.stat().st_mode) == 0o750
    assert (there / "d/in.txt").read_text() == "hello"
    assert stat.S_IMODE((there / "d/in.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((there / "run.sh").stat().st_mode) == 0o755
    assert (there / "d/in.txt").stat().st_mtime == LONG_AGO + 0.25


def test_every_entry_belongs_to_the_user_of_the_container(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "d/in.txt")
    (local / "l").symlink_to("d")
    sent: list[tuple[int, int]] = []
    engine.put_archive = lambda container, path, data: sent.extend(owners(data))  # type: ignore[method-assign]

    put(engine, tree, uid=12345, gid=3_000_000)

    assert len(sent) == 5
    assert set(sent) == {(12345, 3_000_000)}


def owners(data: Iterable[bytes]) -> list[tuple[int, int]]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(data))) as tar:
        return [(member.uid, member.gid) for member in tar]


def test_links_go_in_as_links(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "d/in.txt", "hello")
    (local / "here").symlink_to("d/./in.txt")
    (local / "d/up").symlink_to("../../../data")
    (local / "absolute").symlink_to("/data/x")
    os.link(local / "d/in.txt", local / "same")

    put(engine, tree)

    there = engine.directory
    assert text_of(there / "here") == "d/./in.txt"
    assert text_of(there / "d/up") == "/data"
    assert text_of(there / "absolute") == "/data/x"
    assert (there / "d/in.txt").samefile(there / "same")


def test_what_is_no_file_stays_out(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "in.txt")
    os.mkfifo(local / "fifo")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind(os.path.relpath(local / "socket"))

        put(engine, tree)

    assert set(seen(engine.directory)) == {"in.txt"}


def test_records_and_what_is_hidden_by_another_volume_stay_out_both_ways(engine: DirectoryEngine, local: Path) -> None:
    tree = Copied(local, TARGET, read_only=False, skip=[".rompy", "d/data"])
    write(local / ".rompy/report.json", "mine")
    write(local / "d/data/x", "mine")
    write(local / "d/.rompy/x", "not the record")

    put(engine, tree)
    taken = set(seen(engine.directory))
    write(engine.directory / ".rompy/report.json", "forged")
    write(engine.directory / "d/data/y", "another volume's")
    get(engine, tree)

    assert taken == {"d", "d/.rompy", "d/.rompy/x"}
    assert (local / ".rompy/report.json").read_text() == "mine"
    assert not (local / "d/data/y").exists()


def test_nobody_may_write_what_is_read_only_and_it_is_not_copied_out(engine: DirectoryEngine, local: Path) -> None:
    tree = Copied(local, TARGET, read_only=True)
    write(local / "d/in.txt", mode=0o664)

    put(engine, tree)
    modes = [stat.S_IMODE((engine.directory / name).stat().st_mode) for name in (".", "d", "d/in.txt")]
    write(engine.directory / "new.txt")
    warnings = get(engine, tree)

    assert [mode & 0o222 for mode in modes] == [0, 0, 0]
    assert modes[2] == 0o444
    assert warnings == []
    assert not (local / "new.txt").exists()


def test_a_file_that_grows_meanwhile_goes_in_as_it_was(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    growing = write(local / "a.log", b"a" * 10**6)
    write(local / "b.txt", "after it")

    def grow() -> None:
        with growing.open("ab") as file:
            file.write(b"b" * 1000)

    put(engine, tree, check=grow)

    assert (engine.directory / "a.log").read_bytes() == b"a" * 10**6
    assert (engine.directory / "b.txt").read_text() == "after it"


def test_a_file_that_shrinks_meanwhile_is_named(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    shrinking = write(local / "a.log", b"a" * 10**6)
    before = open_files()

    with pytest.raises(TransferError, match=r"'a\.log' became shorter"):
        put(engine, tree, check=lambda: os.truncate(shrinking, 1000))

    assert open_files() == before
    assert engine.archives[1:] == []


def test_a_file_that_vanishes_meanwhile_is_left_out(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "a.log", b"a" * 10**6)
    write(local / "b.txt")
    write(local / "d/c.txt")

    def vanish() -> None:
        (local / "b.txt").unlink(missing_ok=True)
        shutil.rmtree(local / "d", ignore_errors=True)

    put(engine, tree, check=vanish)

    assert set(seen(engine.directory)) == {"a.log"}


@pytest.mark.parametrize("error", [TimeoutError("too late"), KeyError("x"), EngineError("no"), KeyboardInterrupt()])
def test_what_the_check_raises_ends_the_copying_in(
    engine: DirectoryEngine, local: Path, tree: Copied, error: BaseException
) -> None:
    write(local / "a.log", b"a" * 10**6)
    before = open_files()

    def stop() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        put(engine, tree, check=stop)

    assert caught.value is error
    assert open_files() == before


def test_an_engine_that_refuses_in_the_middle_leaves_nothing_open(local: Path, tree: Copied) -> None:
    write(local / "a.log", b"a" * 10**7)
    before = open_files()

    class Refusing(DirectoryEngine):
        def put_archive(self, container: str, path: str, data: Iterable[bytes]) -> None:
            for count, _ in enumerate(data):
                if count == 3:
                    raise EngineLostError("gone")

    with pytest.raises(EngineLostError, match="gone"):
        put(Refusing(local.parent / "engine"), tree)

    assert open_files() == before


def test_a_missing_directory_is_named(engine: DirectoryEngine, tmp_path: Path) -> None:
    file = write(tmp_path / "file.txt")

    with pytest.raises(TransferError, match=r"missing' cannot be read: No such file"):
        put(engine, Copied(tmp_path / "missing", TARGET, read_only=True))
    with pytest.raises(TransferError, match=r"file\.txt' is no directory"):
        put(engine, Copied(file, TARGET, read_only=True))


@contextlib.contextmanager
def as_somebody() -> Iterator[None]:
    """Be a user whom modes apply to."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every user may write to."""
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o777)
        yield Path(scratch)


@pytest.mark.parametrize("name", ["d/secret", "e"])
def test_what_may_not_be_read_is_named(shared: Path, name: str) -> None:
    with as_somebody():
        write(shared / "d/secret")
        write(shared / "e/x")
        (shared / name).chmod(0)

        with pytest.raises(TransferError, match=f"'{name}' cannot be read: Permission denied"):
            put(DrainingEngine(), Copied(shared, TARGET, read_only=False))

        (shared / name).chmod(0o700)


def test_what_may_not_be_written_is_named_and_the_rest_is_copied(shared: Path) -> None:
    folders = [member(name, tarfile.DIRTYPE) for name in ("run_id", "run_id/closed", "run_id/open")]
    archive = archive_of([*folders, member("run_id/closed/a"), member("run_id/open/b")])
    with as_somebody():
        (shared / "closed").mkdir(mode=0o500)

        with pytest.raises(TransferError, match="'closed/a': Permission denied"):
            get(ArchiveEngine(archive), Copied(shared, TARGET, read_only=False))

    assert set(seen(shared)) == {"closed", "open", "open/b"}


def test_a_volume_becomes_the_users_where_the_image_is_read_only(local: Path, tree: Copied) -> None:
    asked: list[tuple[str, list[str]]] = []

    class ReadOnly(DirectoryEngine):
        def put_archive(self, container: str, path: str, data: Iterable[bytes]) -> None:
            if path != TARGET:
                raise EngineError("container rootfs is marked read-only", 500)
            with tarfile.open(fileobj=io.BytesIO(b"".join(data))) as tar:
                asked.append((path, tar.getnames()))

    put(ReadOnly(local.parent / "engine"), tree)

    assert asked == [(TARGET, ["../run_id"]), (TARGET, ["."])]


def test_an_engine_that_cannot_hand_over_a_volume_is_refused(local: Path, tree: Copied) -> None:
    class Strict(DirectoryEngine):
        def put_archive(self, container: str, path: str, data: Iterable[bytes]) -> None:
            raise EngineError("container rootfs is marked read-only" if path != TARGET else "invalid entry name", 500)

    with pytest.raises(EngineError, match=r"cannot make '/app/run_id' writable where .* read-only: invalid entry"):
        put(Strict(local.parent / "engine"), tree)


# Out


@pytest.mark.parametrize("in_seconds", [int, round])
def test_only_what_the_run_has_written_is_written_here(
    engine: DirectoryEngine, local: Path, tree: Copied, in_seconds: Callable[[float], int]
) -> None:
    engine.in_seconds = in_seconds
    write(local / "in.txt", "input", mtime=LONG_AGO + 0.75)
    write(local / "log.txt", "first")
    write(local / "deleted.txt")
    before = {name: identity(local / name) for name in ("in.txt", "deleted.txt")}
    put(engine, tree)
    began = time.time() - 0.1  # a file system's clock may be a tick behind
    write(engine.directory / "log.txt", "second", mtime=LONG_AGO + 10, mode=0o600)
    write(engine.directory / "out/new.nc", "result", mtime=LONG_AGO)
    (engine.directory / "deleted.txt").unlink()

    warnings = get(engine, tree)

    assert warnings == []
    assert {name: identity(local / name) for name in before} == before
    assert (local / "log.txt").read_text() == "second"
    assert stat.S_IMODE((local / "log.txt").stat().st_mode) == 0o600
    assert (local / "out/new.nc").read_text() == "result"
    assert (local / "log.txt").stat().st_mtime >= began
    assert (local / "out/new.nc").stat().st_mtime >= began
    assert (local / "out/new.nc").stat().st_uid == os.getuid()


def test_other_bytes_with_the_same_size_and_time_come_back(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    content = os.urandom(300_000)
    write(local / "a.nc", content)
    put(engine, tree)
    changed = content[:200_001] + b"?" + content[200_002:]
    write(engine.directory / "a.nc", changed)

    get(engine, tree)

    assert (local / "a.nc").read_bytes() == changed


def test_the_same_bytes_written_at_once_count_as_written(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "out.txt", "result", mtime=time.time())
    put(engine, tree)
    began = time.time_ns()
    (engine.directory / "out.txt").write_text("result")

    get(engine, tree)

    assert (local / "out.txt").stat().st_mtime_ns >= began - 10**8


def test_a_change_of_mode_alone_comes_back(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "run.sh", mode=0o644)
    (local / "d").mkdir(mode=0o755)
    put(engine, tree)
    inode = (local / "run.sh").stat().st_ino
    (engine.directory / "run.sh").chmod(0o4755)
    (engine.directory / "d").chmod(0o500)

    get(engine, tree)

    assert stat.S_IMODE((local / "run.sh").stat().st_mode) == 0o755
    assert (local / "run.sh").stat().st_ino == inode
    assert stat.S_IMODE((local / "d").stat().st_mode) == 0o700


def test_what_was_changed_here_meanwhile_is_kept(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "in.txt", "first")
    put(engine, tree)
    write(local / "in.txt", "edited here", mtime=LONG_AGO + 5)

    warnings = get(engine, tree)

    assert (local / "in.txt").read_text() == "edited here"
    assert len(warnings) == 1
    assert "'in.txt'" in warnings[0]
    assert "changed here" in warnings[0]


def test_what_was_removed_here_meanwhile_comes_back(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "d/in.txt", "first")
    put(engine, tree)
    shutil.rmtree(local / "d")

    get(engine, tree)

    assert (local / "d/in.txt").read_text() == "first"


def test_files_and_directories_that_trade_places_come_back(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "file")
    (local / "empty").mkdir()
    (local / "link").symlink_to("file")
    put(engine, tree)
    there = engine.directory
    (there / "file").unlink()
    (there / "link").unlink()
    (there / "empty").rmdir()
    write(there / "file/x", "1")
    write(there / "link/x", "2")
    write(there / "empty", "3")

    warnings = get(engine, tree)

    assert warnings == []
    assert [(local / name).read_text() for name in ("file/x", "link/x", "empty")] == ["1", "2", "3"]


def test_a_file_cannot_take_the_place_of_a_directory_that_holds_something(
    engine: DirectoryEngine, local: Path, tree: Copied
) -> None:
    write(local / "d/kept.txt")
    put(engine, tree)
    shutil.rmtree(engine.directory / "d")
    write(engine.directory / "d", "a file now")
    write(engine.directory / "e", "copied nevertheless")

    with pytest.raises(TransferError, match=r"not all was copied.*'d': Directory not empty"):
        get(engine, tree)

    assert (local / "d/kept.txt").exists()
    assert (local / "e").read_text() == "copied nevertheless"
    assert not list(local.glob(".rompy-*"))


def test_hard_links_come_back_as_hard_links(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "z", "old")
    os.link(local / "z", local / "a")
    write(local / "in.txt", "input")
    put(engine, tree)
    there = engine.directory
    with (there / "a").open("w") as file:
        file.write("changed")
    os.link(there / "in.txt", there / "new")

    warnings = get(engine, tree)

    assert warnings == []
    assert (local / "a").samefile(local / "z")
    assert (local / "z").read_text() == "changed"
    assert (local / "in.txt").samefile(local / "new")


def test_unchanged_hard_links_are_left_alone(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    write(local / "z")
    (local / "d").mkdir()
    os.link(local / "z", local / "d/a")
    before = identity(local / "z")
    put(engine, tree)

    get(engine, tree)

    assert identity(local / "z") == before
    assert identity(local / "d/a") == before


def test_a_hard_link_that_cannot_be_made_becomes_a_copy(
    engine: DirectoryEngine, local: Path, tree: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(engine, tree)
    write(engine.directory / "a", "result")
    os.link(engine.directory / "a", engine.directory / "b")

    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(_receiving.os, "link", refuse)
        get(engine, tree)

    assert (local / "b").read_text() == "result"


@pytest.mark.parametrize(
    ("link", "text"),
    [
        ("x", "x"),
        ("../x", "../x"),
        ("./x/", "x"),
        ("sub/../../x", "../x"),
        ("/app/run_id", ".."),
        ("/app/run_id/e/x", "../e/x"),
        ("/app/run_id/d/x", "x"),
        ("../../x", None),
        ("sub/../../../x", None),
        ("/etc/passwd", None),
        ("/app/run_idea", None),
        ("/app/run_id/../x", None),
    ],
)
def test_new_symbolic_links_stay_inside(
    engine: DirectoryEngine, local: Path, tree: Copied, link: str, text: str | None
) -> None:
    put(engine, tree)
    (engine.directory / "d").mkdir()
    (engine.directory / "d/link").symlink_to(link)

    warnings = get(engine, tree)

    if text is None:
        assert not os.path.lexists(local / "d/link")
        assert len(warnings) == 1
        assert "'d/link'" in warnings[0]
        assert repr(link) in warnings[0]
    else:
        assert text_of(local / "d/link") == text
        assert warnings == []


def test_symbolic_links_that_were_here_before_are_left_alone(
    engine: DirectoryEngine, local: Path, tree: Copied
) -> None:
    for name, text in {"absolute": "/data/x", "up": "../../data", "odd": "a/./b//"}.items():
        (local / name).symlink_to(text)
    before = {path.name: identity(path) for path in local.iterdir()}
    put(engine, tree)

    warnings = get(engine, tree)

    assert warnings == []
    assert {path.name: identity(path) for path in local.iterdir()} == before


def test_nothing_goes_through_a_link_that_was_here_before(
    engine: DirectoryEngine, local: Path, tree: Copied, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (local / "out").symlink_to(outside)
    archive = archive_of([member("run_id", tarfile.DIRTYPE), member("run_id/out/evil")])

    warnings = get(ArchiveEngine(archive), tree)

    assert list(outside.iterdir()) == []
    assert "below 'out', which is no directory here" in warnings[0]


def test_podmans_names_are_understood(local: Path, tree: Copied) -> None:
    link = member("/b", tarfile.LNKTYPE, link="/d/a")
    archive = archive_of([member("", tarfile.DIRTYPE), member("/d", tarfile.DIRTYPE), member("/d/a"), link])

    warnings = get(ArchiveEngine(archive), tree)

    assert warnings == []
    assert set(seen(local)) == {"d", "d/a", "b"}
    assert (local / "b").samefile(local / "d/a")


def test_a_stream_that_breaks_off_leaves_whole_files_and_names_the_rest(
    engine: DirectoryEngine, local: Path, tree: Copied
) -> None:
    write(local / "b.nc", "old")
    put(engine, tree)
    write(engine.directory / "a.nc", "a" * 10_000, mtime=LONG_AGO + 5)
    write(engine.directory / "b.nc", "b" * 10_000, mtime=LONG_AGO + 5)
    whole = b"".join(engine.get_archive("c", TARGET))
    before = open_files()

    with pytest.raises(TransferError, match=r"'b\.nc' and what comes after it were .*: the stream broke off"):
        get(ArchiveEngine(whole[:20_000]), tree)
    with pytest.raises(TransferError, match=r"'b\.nc' and what comes after it were .*: the engine is gone"):
        get(ArchiveEngine(whole[:20_000], EngineLostError("the engine is gone")), tree)

    assert (local / "a.nc").read_text() == "a" * 10_000
    assert (local / "b.nc").read_text() == "old"
    assert {path.name for path in local.iterdir()} == {"a.nc", "b.nc"}
    assert open_files() == before


def test_a_full_disk_leaves_whole_files_and_names_the_rest(
    engine: DirectoryEngine, local: Path, tree: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(local / "b.nc", "old")
    put(engine, tree)
    write(engine.directory / "a.nc", "a" * 10_000, mtime=LONG_AGO + 5)
    write(engine.directory / "b.nc", "b" * 10_000, mtime=LONG_AGO + 5)
    room = [15_000]

    def write_while_there_is_room(fd: int, data: memoryview) -> int:
        if room[0] < len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(data)
        return real_write(fd, data)

    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(_receiving.os, "write", write_while_there_is_room)
        with pytest.raises(TransferError, match=r"'b\.nc' and what comes after it were .*: No space left on device"):
            get(engine, tree)

    assert (local / "a.nc").read_text() == "a" * 10_000
    assert (local / "b.nc").read_text() == "old"
    assert {path.name for path in local.iterdir()} == {"a.nc", "b.nc"}


def test_an_engine_that_refuses_to_give_is_quoted(local: Path, tree: Copied) -> None:
    with pytest.raises(TransferError, match=r"what the run wrote was not copied out .*: no such container"):
        get(ArchiveEngine(b"", EngineError("no such container", 404)), tree)


def test_a_directory_that_is_gone_is_named(engine: DirectoryEngine, local: Path, tree: Copied) -> None:
    put(engine, tree)
    local.rmdir()

    with pytest.raises(TransferError, match=r"nothing was copied to '.*local': No such file"):
        get(engine, tree)


@pytest.mark.parametrize("error", [TimeoutError("too late"), OSError(errno.EACCES, "x"), KeyError("x")])
def test_what_the_check_raises_ends_the_copying_out(
    engine: DirectoryEngine, local: Path, tree: Copied, error: Exception
) -> None:
    put(engine, tree)
    write(engine.directory / "a.nc", "a" * 50_000)
    before = open_files()
    asked: list[None] = []

    def stop_later() -> None:
        asked.append(None)
        if len(asked) == 4:
            raise error

    with pytest.raises(type(error)) as caught:
        get(engine, tree, check=stop_later)

    assert caught.value is error
    assert list(local.iterdir()) == []
    assert open_files() == before


def test_the_sentences_about_a_thousand_refused_files_are_few(local: Path, tree: Copied) -> None:
    refused = [member(f"run_id/{number}", tarfile.CHRTYPE) for number in range(1000)]

    warnings = get(ArchiveEngine(archive_of([member("run_id", tarfile.DIRTYPE), *refused])), tree)

    assert len(warnings) == 21
    assert warnings[-1] == "the same befell 980 more"
    assert list(local.iterdir()) == []


# Round trips

NAMES = st.just(b"n" * 120) | st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & set(b"/\0"))
SAFE = NAMES.filter(lambda name: name not in (b".", b".."))
CONTENTS = st.binary(max_size=2000) | st.integers(1, 70_000).map(lambda size: b"x" * size)
FILES = st.tuples(CONTENTS, st.sampled_from([0o644, 0o600, 0o755, 0o444]))
LINKS = st.lists(SAFE, min_size=1, max_size=3).map(b"/".join)
TREES = st.dictionaries(
    SAFE,
    st.recursive(FILES | LINKS, lambda below: st.dictionaries(SAFE, below, max_size=4), max_leaves=12),
    max_size=4,
)


def plant(directory: Path, tree: Mapping[bytes, Any]) -> None:
    for name, what in tree.items():
        path = directory / os.fsdecode(name)
        if isinstance(what, dict):
            path.mkdir()
            plant(path, what)
        elif isinstance(what, bytes):
            path.symlink_to(os.fsdecode(what))
        else:
            path.write_bytes(what[0])
            path.chmod(what[1])


@FEW
@given(tree=TREES, chunk_size=st.integers(100, 20_000), in_seconds=st.sampled_from([int, round]))
def test_any_tree_goes_in_and_comes_out_unchanged(
    tree: dict[bytes, Any], chunk_size: int, in_seconds: Callable[[float], int]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        here, back = Path(scratch, "here"), Path(scratch, "back")
        here.mkdir()
        back.mkdir()
        plant(here, tree)
        engine = DirectoryEngine(Path(scratch, "engine"), chunk_size=chunk_size, in_seconds=in_seconds)
        before = {path: identity(path) for path in here.rglob("*")}
        copied, elsewhere = (Copied(path, TARGET, read_only=False) for path in (here, back))

        put(engine, copied)
        warnings = [*get(engine, copied), *get(engine, elsewhere)]

        assert warnings == []
        assert seen(engine.directory) == seen(here)
        assert seen(back) == seen(here)
        assert {path: identity(path) for path in here.rglob("*")} == before


# Hostile archives


def test_a_chain_of_links_cannot_lead_out(local: Path, tree: Copied, tmp_path: Path) -> None:
    write(tmp_path / "secret")
    folders = [member(name, tarfile.DIRTYPE) for name in ("run_id", "run_id/a", "run_id/a/b")]
    up = member("run_id/a/b/up", tarfile.SYMTYPE, link="../..")
    out = member("run_id/out", tarfile.SYMTYPE, link="a/b/up/../secret")

    get(ArchiveEngine(archive_of([*folders, up, out])), tree)

    assert text_of(local / "a/b/up") == "../.."
    assert text_of(local / "out") == "a/b/secret"


def member(
    name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", content: bytes = b"evil", mode: int = 0o777
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def archive_of(members: Iterable[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    parts: list[bytes] = []
    for info, content in members:
        parts.append(info.tobuf(form, "utf-8", "surrogateescape"))
        if info.size:
            parts += [content, padding(len(content))]
    return b"".join(parts) + END


PLAIN_NAMES = ["a", "b", "a/b", "dir", "dir/x", "dir/inner/x", "to_outside", "to_outside/x", "to_file"]
ODD_NAMES = [
    "..",
    "../victim",
    "a/../../victim",
    "/etc",
    "//",
    "./a",
    "a//b",
    "",
    ".rompy/report.json",
    "\udcff",
    "n" * 300,
]
HOSTILE_NAMES = st.sampled_from([*PLAIN_NAMES, *ODD_NAMES]).flatmap(
    lambda name: st.sampled_from([name, f"run_id/{name}", f"run_id/{name}/deep"])
)
TEXTS = [
    "a",
    ".",
    "..",
    "b/../..",
    "a/../b",
    "../..",
    "../outside",
    "../../outside/victim",
    "dir/../..",
    "to_outside/victim",
    "/",
    "",
]
NAMES_OF_OTHERS = [
    "run_id/a",
    "run_id/to_file",
    "run_id/to_outside/victim",
    "run_id/../victim",
    "run_id/.rompy/report.json",
]
HOSTILE_LINKS = st.sampled_from([*TEXTS, *NAMES_OF_OTHERS, "/etc/passwd", TARGET, f"{TARGET}/a"])
LINKS_ARE_FREQUENT = [tarfile.SYMTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE, tarfile.DIRTYPE]
OTHER_KINDS = [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.CONTTYPE, b"A"]
HOSTILE_MEMBERS = st.builds(
    member,
    HOSTILE_NAMES,
    st.sampled_from(LINKS_ARE_FREQUENT) | st.sampled_from(OTHER_KINDS),
    link=HOSTILE_LINKS,
    mode=st.sampled_from([0o777, 0o6755, 0, 0o1777]),
)


def snapshot(directory: Path) -> dict[str, Any]:
    return {str(path): identity(path) for path in [directory, *directory.rglob("*")]}


@settings(max_examples=150, deadline=None)
@given(members=st.lists(HOSTILE_MEMBERS, max_size=12), form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_whatever_an_archive_holds_nothing_outside_is_touched(
    members: list[tuple[tarfile.TarInfo, bytes]], form: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        outside, here = Path(scratch, "outside"), Path(scratch, "here")
        write(outside / "victim", "innocent")
        write(Path(scratch, "victim"), "innocent")
        write(here / ".rompy/report.json", "record")
        (here / "dir").mkdir()
        (here / "to_outside").symlink_to(outside)
        (here / "to_file").symlink_to(outside / "victim")
        others = [outside, Path(scratch, "victim"), here / ".rompy"]
        before = [snapshot(path) for path in others]
        archive = archive_of([member("run_id", tarfile.DIRTYPE), *members], form)
        tree = Copied(here, TARGET, read_only=False, skip=[".rompy"])

        with contextlib.suppress(TransferError):
            get(ArchiveEngine(archive), tree)

        assert [snapshot(path) for path in others] == before
        assert {path.name for path in Path(scratch).iterdir()} == {"outside", "here", "victim"}
        for mine in ("to_outside", "to_file"):
            if (here / mine).is_symlink() and text_of(here / mine).startswith(str(outside)):
                (here / mine).unlink()
        for path in here.rglob("*"):
            status = path.lstat()
            assert stat.S_IFMT(status.st_mode) in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
            assert stat.S_ISLNK(status.st_mode) or not status.st_mode & 0o7000
            assert Path(os.path.realpath(path)).is_relative_to(here.resolve())
            assert not path.name.endswith(".part")


@FEW
@given(data=st.binary(max_size=3000), blocks=st.integers(0, 3))
def test_garbage_is_no_archive(data: bytes, blocks: int) -> None:
    prefix = header(Entry(name="run_id", kind=Kind.DIRECTORY, mode=0o755), 0, 0) * blocks

    with contextlib.suppress(ArchiveError):
        for _ in ArchiveReader(in_chunks(prefix + data, 300)):
            pass


# The form of archives


@given(
    name=st.lists(SAFE, min_size=1, max_size=30).map(lambda parts: os.fsdecode(b"/".join(parts))),
    kind=st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK, Kind.HARD_LINK]),
    mode=st.integers(0, 0o777),
    mtime_ns=st.integers(0, 10**19),
    size=st.integers(0, 2**50),
    link=NAMES.map(os.fsdecode),
    uid=st.integers(0, 2**32 - 2),
)
def test_the_standard_library_reads_what_we_write(
    name: str, kind: Kind, mode: int, mtime_ns: int, size: int, link: str, uid: int
) -> None:
    size = size if kind is Kind.FILE else 0
    entry = Entry(
        name=name, kind=kind, mode=mode, mtime_ns=mtime_ns, size=size, link=link if "LINK" in kind.name else ""
    )

    with tarfile.open(fileobj=io.BytesIO(header(entry, uid, uid)), mode="r|") as tar:
        read = tar.next()

    assert read is not None
    assert (read.name, read.type, read.mode, read.size) == (name, kind.value, mode, size)
    assert (read.linkname, read.uid, read.gid) == (entry.link, uid, uid)
    assert abs(read.mtime - min(mtime_ns / 10**9, 8**11)) < 1e-5 * max(1, read.mtime)


@FEW
@given(
    contents=st.lists(st.tuples(NAMES.map(os.fsdecode), st.binary(max_size=1500)), max_size=5),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    chunk_size=st.integers(1, 3000),
    wanted=st.integers(0, 3000),
)
def test_we_read_what_the_standard_library_writes(
    contents: list[tuple[str, bytes]], form: int, chunk_size: int, wanted: int
) -> None:
    archive = archive_of([member(name, content=content) for name, content in contents], form)
    reader = ArchiveReader(in_chunks(archive, chunk_size))
    found: list[tuple[str, bytes]] = []

    for entry in reader:
        content = b""
        for piece in reader.content():
            content += piece
            if len(content) >= wanted:
                break
        found.append((entry.name, content))

    assert [name for name, _ in found] == [name for name, _ in contents]
    assert all(whole.startswith(part) for (_, part), (_, whole) in zip(found, contents, strict=True))


@FEW
@given(cut=st.integers(0, 6000))
def test_an_archive_without_its_end_is_found_out(cut: int) -> None:
    archive = archive_of([member("a", content=b"x" * 1000), member("b" * 200, content=b"y" * 1000)])
    whole = len(archive) - len(END)

    with pytest.raises(ArchiveError, match="broke off"):
        for _ in ArchiveReader(in_chunks(archive[: min(cut, whole + 511)], 300)):
            pass


def extended(records: bytes) -> bytes:
    """An archive whose only entry has these records in front of it."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    return info.tobuf() + records + padding(len(records)) + archive_of([member("a")])


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (b"x" * 1024, "no tar archive"),
        (archive_of([member("a")]).replace(b"ustar", b"Ustar"), "no tar archive"),
        (extended(b"17 path=no length"), "PAX header that is none"),
        (extended(b"x" * 2**20 + b"yy"), "a name of 1048578 bytes"),
        (extended(b"10 size=x\n"), "a number that is none"),
        (extended(b"11 size=-5\n"), "less than no bytes"),
        (archive_of([member("a", tarfile.GNUTYPE_SPARSE)]), "files with holes"),
    ],
)
def test_what_is_no_archive_is_said_so(archive: bytes, why: str) -> None:
    with pytest.raises(ArchiveError, match=why):
        list(ArchiveReader([archive]))
