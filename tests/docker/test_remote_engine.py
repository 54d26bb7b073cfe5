"""An engine that is reached by a network: what it cannot mount is copied in, and out again."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import socketserver
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rompy_docker._engine import Engine, EngineError, EngineLostError, find_address
from rompy_docker._transfer import Copied, TransferError, copy_in, copy_out

TARGET = "/app/run_id"
UID, GID = 12345, 23456
LONG_AGO = 1_600_000_000
Create = Callable[..., str]


class Forwarder(socketserver.ThreadingTCPServer):
    """Passes bytes between a port of this machine and the socket of an engine, both ways and to the end of each."""

    def __init__(self, path: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.path = path
        self.passed = 0
        self.most: float = math.inf
        self.connections: set[socket.socket] = set()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.server_address[1]}"

    def cut(self) -> None:
        """Cut all connections, as a network does."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Passing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        near, server = self.request, self.server
        assert isinstance(server, Forwarder)
        with socket.socket(socket.AF_UNIX) as far:
            far.connect(server.path)
            server.connections |= {near, far}
            back = threading.Thread(target=self._pass, args=(server, far, near))
            back.start()
            self._pass(server, near, far)
            back.join()
            server.connections -= {near, far}

    def _pass(self, server: Forwarder, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                server.passed += len(data)
                if server.passed < server.most:  # else it goes nowhere, as with a network that loses everything
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def forwarder(engine: str) -> Iterator[Forwarder]:
    with Forwarder(urlsplit(engine).path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
        server.cut()


@pytest.fixture
def remote(forwarder: Forwarder) -> str:
    """The address of an engine that shares no paths with this machine, as far as the address can tell."""
    return forwarder.address


@pytest.fixture
def connection(remote: str) -> Iterator[Engine]:
    connected = Engine(find_address(remote), 10.0)
    yield connected
    connected.close()


@pytest.fixture
def create(connection: Engine, engine: str, images: Any) -> Iterator[Create]:
    """Create containers that have a volume at the target."""
    made: list[str] = []

    def make(source: str = "true", *, read_only: bool = False) -> str:
        spec = {
            "image": images.busybox,
            "entrypoint": ["sh"],
            "command": ["-c", source],
            "user": f"{UID}:{GID}",
            "working_dir": TARGET,
            "volumes": [TARGET],
            "host_config": {"network_mode": "none", "read_only": read_only, "cap_drop": ["ALL"]},
        }
        made.append(connection.create(f"rompy-test-{os.getpid()}-{time.monotonic_ns()}", spec))
        return made[-1]

    yield make
    direct = Engine(find_address(engine), 30.0)  # a test may have cut the way through the forwarder
    for container in made:
        direct.remove(container)
    direct.close()


@pytest.fixture
def tree(tmp_path: Path) -> Copied:
    local = tmp_path / "workspace"
    local.mkdir()
    return Copied(local, TARGET, read_only=False, skip=[".rompy"])


def proceed() -> None:
    """The check of a caller that never gives up."""


def put(engine: Engine, container: str, tree: Copied, check: Callable[[], None] = proceed) -> None:
    copy_in(engine, container, tree, uid=UID, gid=GID, check=check)


def run(engine: Engine, container: str) -> None:
    """Run a container to its end."""
    engine.start(container)
    deadline = time.monotonic() + 10
    while (state := engine.inspect(container)["State"])["Running"]:
        assert time.monotonic() < deadline, "the container does not end"
        time.sleep(0.01)
    assert state["ExitCode"] == 0


def write(path: Path, content: bytes = b"x", *, mode: int = 0o644, mtime: float = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    os.utime(path, (mtime, mtime))
    return path


def seen(directory: Path) -> dict[str, Any]:
    """All that a directory holds: kind, mode and content, by path."""
    found: dict[str, Any] = {}
    for path in directory.rglob("*"):
        mode = path.lstat().st_mode
        what = os.readlink(path) if stat.S_ISLNK(mode) else path.read_bytes() if stat.S_ISREG(mode) else None  # noqa: PTH115
        found[str(path.relative_to(directory))] = (mode, what)
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("read_only", [False, True])
def test_a_run_works_on_a_copy_that_is_its_own_and_its_outputs_come_back(
    connection: Engine, create: Create, tree: Copied, *, read_only: bool
) -> None:
    tree.local.chmod(0o750)
    write(tree.local / "in.txt", b"input", mtime=LONG_AGO + 0.5)
    write(tree.local / "log.txt", b"before\n", mode=0o600)
    write(tree.local / ".rompy/report.json", b"record")
    look = "{ stat -c '%u:%g %a %Y' . in.txt log.txt; ls -A; } > seen"
    container = create(f"{look}; echo after >> log.txt; mkdir out; echo result > out/new.nc", read_only=read_only)
    before = os.lstat(tree.local / "in.txt")

    put(connection, container, tree)
    run(connection, container)
    warnings = copy_out(connection, container, tree, check=proceed)

    assert warnings == []
    lines = (tree.local / "seen").read_text().splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [[f"{UID}:{GID}", mode] for mode in ("750", "644", "600")]
    assert lines[1].split()[2] == str(LONG_AGO)
    assert lines[3:] == ["in.txt", "log.txt", "seen"]
    assert (tree.local / "log.txt").read_text() == "before\nafter\n"
    assert (tree.local / "out/new.nc").read_text() == "result\n"
    assert (tree.local / "out/new.nc").stat().st_uid == os.getuid()
    after = os.lstat(tree.local / "in.txt")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_whatever_a_directory_holds_goes_in_and_comes_out_unchanged(
    connection: Engine, create: Create, tree: Copied, tmp_path: Path
) -> None:
    local, back = tree.local, tmp_path / "back"
    back.mkdir()
    write(local / "d/d2/in.txt", b"hello", mode=0o640)
    write(local / os.fsdecode(b"\xff\xfe not UTF-8"))
    write(local / "line\nend and \N{SNOWMAN}", b"")
    write(local / ("n" * 250) / ("m" * 250), b"long")
    write(local / "block", b"b" * 512)
    write(local / "big", os.urandom(3_000_001), mode=0o755)
    os.link(local / "big", local / "d/hard")
    (local / "empty").mkdir(mode=0o700)
    (local / "inside").symlink_to("d/d2/in.txt")
    with (local / "holes").open("wb") as file:
        file.truncate(5_000_000)
    container = create()

    put(connection, container, tree)
    again = copy_out(connection, container, tree, check=proceed)
    elsewhere = copy_out(connection, container, Copied(back, TARGET, read_only=False), check=proceed)

    assert again == elsewhere == []
    assert seen(back) == seen(local)
    assert (back / "d/hard").samefile(back / "big")


def test_links_that_lead_out_are_no_hindrance(connection: Engine, create: Create, tree: Copied) -> None:
    (tree.local / "d").mkdir()
    for name, text in {"up": "../data/x", "d/far": "../../../../data/x", "absolute": "/data/x", "loop": "loop"}.items():
        (tree.local / name).symlink_to(text)
    before = seen(tree.local)
    container = create("for link in up d/far absolute; do readlink $link; done > said; ln -s /etc out")

    put(connection, container, tree)
    run(connection, container)
    warnings = copy_out(connection, container, tree, check=proceed)
    said = (tree.local / "said").read_text().split()
    (tree.local / "said").unlink()

    assert said == ["/app/data/x", "/data/x", "/data/x"]
    assert seen(tree.local) == before
    assert len(warnings) == 1
    assert "'out'" in warnings[0]


def test_nobody_can_write_what_is_read_only(connection: Engine, create: Create, tmp_path: Path) -> None:
    tree = Copied(tmp_path / "data", TARGET, read_only=True)
    write(tree.local / "d/in.txt", b"input", mode=0o664)
    tries = ["test $(cat d/in.txt) = input", *(f"! echo x > {name}" for name in ("d/in.txt", "d/new", "new"))]
    container = create(" && ".join(tries))

    put(connection, container, tree)

    run(connection, container)


def test_a_copy_that_is_given_up_leaves_nothing_behind(
    connection: Engine, create: Create, tree: Copied, until: Callable[..., None]
) -> None:
    write(tree.local / "big", b"x" * 20_000_000)
    container = create("dd if=/dev/zero of=out bs=1M count=20 2>/dev/null")
    put(connection, container, tree)
    run(connection, container)
    files, threads = open_files(), threading.active_count()
    began = time.monotonic()

    for copy in (put, copy_out):
        asked: list[None] = []

        def stop_later(asked: list[None] = asked) -> None:
            asked.append(None)
            if len(asked) == 5:
                raise TimeoutError("too late")

        with pytest.raises(TimeoutError, match="too late"):
            copy(connection, container, tree, check=stop_later)

    assert time.monotonic() - began < 5
    # The other ends of the connections are here as well, and need a moment.
    until(lambda: open_files() <= files, "open files")
    until(lambda: threading.active_count() <= threads, "threads")
    assert not (tree.local / "out").exists()
    assert connection.inspect(container)["State"]["ExitCode"] == 0


def test_a_network_that_fails_is_said_so_and_leaves_whole_files(
    connection: Engine, create: Create, tree: Copied, forwarder: Forwarder
) -> None:
    write(tree.local / "big", b"x" * 20_000_000)
    container = create("echo small > a; dd if=/dev/zero of=big bs=1M count=20 2>/dev/null")

    def fail_later() -> None:
        if forwarder.passed > 5_000_000:
            forwarder.cut()

    with pytest.raises(EngineLostError):
        put(connection, container, tree, check=fail_later)
    put(connection, container, tree)
    run(connection, container)
    forwarder.passed = 0
    with pytest.raises(TransferError, match=r"'big' and what comes after it were not copied out of the container"):
        copy_out(connection, container, tree, check=fail_later)

    assert (tree.local / "a").read_text() == "small\n"
    assert (tree.local / "big").read_bytes() == b"x" * 20_000_000
    assert {path.name for path in tree.local.iterdir()} == {"a", "big"}


def test_a_container_that_is_gone_is_said_so(connection: Engine, create: Create, tree: Copied) -> None:
    container = create()
    connection.remove(container)

    with pytest.raises(EngineError, match=r"(?i)no (such )?container"):
        put(connection, container, tree)
    with pytest.raises(TransferError, match="what the run wrote was not copied out"):
        copy_out(connection, container, tree, check=proceed)


def test_an_engine_that_says_nothing_more_has_its_deadline(
    remote: str, create: Create, tree: Copied, forwarder: Forwarder
) -> None:
    container = create("dd if=/dev/zero of=big bs=1M count=20 2>/dev/null")
    with contextlib.closing(Engine(find_address(remote), 3.0)) as impatient:
        put(impatient, container, tree)
        run(impatient, container)
        forwarder.most = forwarder.passed + 5_000_000
        began = time.monotonic()

        with pytest.raises(TransferError, match=r"'big' and what comes after it .* did not answer within 3 s"):
            copy_out(impatient, container, tree, check=proceed)

    assert time.monotonic() - began < 8
    assert list(tree.local.iterdir()) == []
