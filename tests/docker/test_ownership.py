"""Whose the outputs are: the caller's, whoever that is, and whatever engine makes them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rompy_core import RunReport, RunState, read_report

As = Callable[..., Path]
Run = Callable[..., RunReport]

UID = 12345
CALLING = """\
import json, os, sys
from rompy_core import ModelRun
os.chdir(sys.argv[1])
options = json.loads(sys.argv[2])
print(ModelRun(run_id="case", output_dir="out").submit("docker", **options).wait().ok)
"""
WRITE = ["sh", "-c", "id -u; id -g; echo $HOME; touch $HOME/.mark && mkdir -p deep/er && echo x > deep/er/file"]


class _Door(socketserver.ThreadingUnixStreamServer):
    """A socket that passes on what comes: any user reaches by it an engine whose own socket is root's."""

    def __init__(self, path: Path, engine: str) -> None:
        self.engine = urlsplit(engine).path
        super().__init__(str(path), _Passage)
        path.chmod(0o666)

    @contextlib.contextmanager
    def open(self) -> Generator[str]:
        thread = threading.Thread(target=self.serve_forever, args=[0.05])
        thread.start()
        with self:
            yield f"unix://{self.server_address!s}"
            self.shutdown()
        thread.join()


class _Passage(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as inside:
            inside.connect(self.server.engine)  # type: ignore[attr-defined]
            back = threading.Thread(target=_pass_on, args=(inside, self.request))
            back.start()
            _pass_on(self.request, inside)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the user 12345, who cannot enter pytest's."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory(prefix="rompy-owner-") as folder:
        os.chown(folder, UID, UID)
        yield Path(folder)


@pytest.fixture
def as_somebody(engine: str, place: Path) -> Iterator[As]:
    """Run something as the user 12345, and give the workspace."""
    with tempfile.TemporaryDirectory(prefix="rompy-door-") as folder:
        Path(folder).chmod(0o755)
        with _Door(Path(folder, "door"), engine).open() as address:
            yield lambda **options: call(place, UID, UID, **{"engine": address, **options})


def call(place: Path, uid: int, gid: int, **options: Any) -> Path:
    """Run something as another user, in a process of its own, and give the workspace."""
    words = [sys.executable, "-c", CALLING, str(place), json.dumps(options)]
    done = subprocess.run(
        [*becoming(uid, gid), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, "HOME": str(place)},
    )
    assert done.stdout.strip() in ("True", "False"), done.stderr
    return place / "out" / "case"


def becoming(uid: int, gid: int) -> list[str]:
    """Give the words to become another user by; where that one cannot reach this Python, with the right to read it."""
    plain = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    if subprocess.run([*plain, sys.executable, "-c", again], capture_output=True, check=False).returncode == 0:
        return plain
    return [*plain, "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]


def owners(folder: Path) -> set[tuple[int, int]]:
    found = [folder, *folder.rglob("*")]
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in found}


def remove_as(uid: int, folder: Path) -> subprocess.CompletedProcess[str]:
    words = ["setpriv", f"--reuid={uid}", "--clear-groups", "rm", "-rf", str(folder)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def said(workspace: Path) -> list[str]:
    report = read_report(workspace)
    assert report.ok, report
    assert report.stdout_path is not None
    return report.stdout_path.read_text().splitlines()


def test_outputs_are_the_callers_and_can_be_deleted(as_somebody: As, images: Any) -> None:
    workspace = as_somebody(image=images.busybox, executable=WRITE)

    assert said(workspace)[:2] == [str(UID), str(UID)]
    assert (workspace / "deep/er/file").read_text() == "x\n"
    assert owners(workspace) == {(UID, UID)}
    removed = remove_as(UID, workspace.parent)
    assert not workspace.exists(), removed.stderr


def test_the_home_of_a_user_without_a_name_can_be_written(as_somebody: As, images: Any) -> None:
    workspace = as_somebody(image=images.busybox, executable=WRITE, workspace_mount="/data/run")

    assert said(workspace)[2] == "/data/run"
    assert (workspace / ".mark").exists()


def test_a_home_that_was_given_stays(run: Run) -> None:
    report = run(["sh", "-c", "echo $HOME"], env_vars={"HOME": "/tmp"})

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "/tmp\n"


@pytest.mark.parametrize("kind", ["mpich", "openmpi"])
def test_mpi_ranks_of_an_ordinary_user_write_its_files(as_somebody: As, images: Any, kind: str) -> None:
    workspace = as_somebody(
        image=getattr(images, kind), executable="model", mpiexec="mpiexec", cpu=2, read_only=True, timeout=40
    )

    assert sorted(line for line in said(workspace) if line.startswith("rank")) == ["rank 0 of 2", "rank 1 of 2"]
    assert (workspace / "rank-1.txt").read_text() == "1 of 2\n"
    assert owners(workspace) == {(UID, UID)}


def test_an_ordinary_users_container_is_ended_at_its_timeout(as_somebody: As, images: Any) -> None:
    workspace = as_somebody(image=images.busybox, executable=["sleep", "60"], timeout=0.5, grace_s=0.5, init=False)

    report = read_report(workspace)
    assert (report.state, report.exit_signal) == (RunState.TIMED_OUT, signal.SIGKILL)


def test_root_inside_can_be_asked_for(run: Run) -> None:
    report = run(["sh", "-c", "id -u; id -g"], user="0:0")

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "0\n0\n"


def test_another_user_can_be_asked_for(run: Run) -> None:
    report = run(["sh", "-c", "id -u; id -g"], user="4321:1234")

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "4321\n1234\n"


def test_the_outputs_of_a_rootless_engine_are_its_users(rootless_engine: Any, images: Any) -> None:
    place = rootless_engine.home / "place"
    place.mkdir()
    os.chown(place, rootless_engine.uid, rootless_engine.gid)

    workspace = call(
        place, rootless_engine.uid, rootless_engine.gid,
        engine=rootless_engine.address, image=images.busybox, executable=WRITE,
    )  # fmt: skip

    assert said(workspace)[:2] == ["0", "0"]  # who is this user
    assert owners(workspace) == {(rootless_engine.uid, rootless_engine.gid)}
    removed = remove_as(rootless_engine.uid, workspace.parent)
    assert not workspace.exists(), removed.stderr
    shutil.rmtree(place)


def test_a_rootless_engine_says_which_limits_it_cannot_keep(rootless_engine: Any, images: Any) -> None:
    place = rootless_engine.home / "limits"
    place.mkdir()
    os.chown(place, rootless_engine.uid, rootless_engine.gid)

    workspace = call(
        place, rootless_engine.uid, rootless_engine.gid,
        engine=rootless_engine.address, image=images.busybox, executable=["true"], memory="64m", cpu=1,
    )  # fmt: skip

    report = read_report(workspace)
    shutil.rmtree(place)
    assert report.ok, report
    limited = "not limited" not in " ".join(report.warnings)
    assert limited == _can_limit(rootless_engine.address)


def _can_limit(engine: str) -> bool:
    from rompy_docker import capabilities

    offered = capabilities(engine)
    return bool(offered["memory"]) and bool(offered["cpu"])
