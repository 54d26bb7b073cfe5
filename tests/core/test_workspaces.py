from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_core import RunState, WorkspaceError, _workspaces, open_record
from rompy_core._workspaces import claimed, clear_workspace, make_workspace, remove_new, snapshot


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "simulations" / "case"
    make_workspace(directory, "case")
    return directory


def tree(directory: Path) -> dict[str, str | bytes | None]:
    """Everything below *directory*: the content of files, the target of links, nothing for directories."""
    found: dict[str, str | bytes | None] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


# Making.


def test_a_workspace_is_made_with_all_directories_above_it(tmp_path: Path) -> None:
    make_workspace(tmp_path / "a" / "b" / "case", "case")

    assert (tmp_path / "a" / "b" / "case").is_dir()


def test_a_workspace_that_we_made_says_so(workspace: Path) -> None:
    marker = json.loads((workspace / ".rompy" / "workspace.json").read_text())

    assert marker["run_id"] == "case"
    assert set(tree(workspace)) == {".rompy", ".rompy/workspace.json"}


def test_a_directory_that_was_there_is_used_as_it_is_and_not_called_ours(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")

    make_workspace(tmp_path, "case")

    assert tree(tmp_path) == {"mine": b"precious"}


def test_making_it_again_changes_nothing(workspace: Path) -> None:
    before = tree(workspace)

    make_workspace(workspace, "case")

    assert tree(workspace) == before


@pytest.mark.parametrize("name", ["file", "link", "file/below", "file/far/below"])
def test_what_cannot_be_a_workspace_is_an_error_with_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to("nowhere")

    with pytest.raises(WorkspaceError) as refused:
        make_workspace(tmp_path / name, "case")

    assert str(tmp_path / name) in str(refused.value)
    assert tree(tmp_path) == {"file": b"precious", "link": "nowhere"}


def test_a_full_disk_is_a_workspace_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_workspaces, "write_json", full)

    with pytest.raises(WorkspaceError, match="No space left"):
        make_workspace(tmp_path / "case", "case")
    assert tree(tmp_path) == {}


def test_a_run_of_another_process_that_was_as_quick_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def after_somebody_else(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        make_workspace(tmp_path / "case", "case")
        (tmp_path / "case" / "input").write_text("theirs")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", after_somebody_else)

    make_workspace(tmp_path / "case", "case")

    assert [path.name for path in tmp_path.iterdir()] == ["case"]
    assert (tmp_path / "case" / "input").read_text() == "theirs"
    assert (tmp_path / "case" / ".rompy" / "workspace.json").is_file()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_workspace_has_the_permissions_of_any_new_directory(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_workspace(tmp_path / "case", "case")
    finally:
        os.umask(before)

    assert (tmp_path / "case").stat().st_mode & 0o777 == 0o777 & ~umask


# Removing a whole workspace.


def test_a_workspace_that_we_made_is_emptied_and_stays_ours(workspace: Path) -> None:
    (workspace / "out").mkdir()
    (workspace / "out" / "waves.nc").write_bytes(b"\0")
    open_record(workspace, run_id="case", backend="local").finish(RunState.FAILED, "aground")
    inode = workspace.stat().st_ino

    clear_workspace(workspace)

    assert list(tree(workspace)) == [".rompy", ".rompy/workspace.json"]
    assert workspace.stat().st_ino == inode


def test_where_there_is_nothing_nothing_is_removed(tmp_path: Path) -> None:
    clear_workspace(tmp_path / "nowhere")

    assert tree(tmp_path) == {}


def test_a_directory_that_we_did_not_make_stays(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "mine").write_text("precious")
    open_record(tmp_path / "case", run_id="case", backend="local").finish(RunState.COMPLETED, "fine")
    before = tree(tmp_path)

    with pytest.raises(WorkspaceError, match="was not made by a model run") as refused:
        clear_workspace(tmp_path / "case")

    assert str(tmp_path / "case") in str(refused.value)
    assert tree(tmp_path) == before


def test_a_file_in_place_of_the_workspace_stays(tmp_path: Path) -> None:
    (tmp_path / "case").write_text("precious")

    with pytest.raises(WorkspaceError):
        clear_workspace(tmp_path / "case")

    assert tree(tmp_path) == {"case": b"precious"}


@pytest.mark.parametrize("target", ["simulations/case", "nowhere"])
def test_a_symbolic_link_is_not_followed_and_stays(tmp_path: Path, workspace: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / target)
    before = tree(tmp_path)

    with pytest.raises(WorkspaceError, match="symbolic link"):
        clear_workspace(tmp_path / "link")

    assert tree(tmp_path) == before


def test_the_mark_of_another_workspace_does_not_count(tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".rompy").symlink_to(workspace / ".rompy")

    with pytest.raises(WorkspaceError, match="was not made by a model run"):
        clear_workspace(tmp_path / "mine")


def test_what_a_link_in_the_workspace_points_to_stays(tmp_path: Path, workspace: Path) -> None:
    (tmp_path / "forcing").mkdir()
    (tmp_path / "forcing" / "wind.nc").write_text("precious")
    (workspace / "forcing").symlink_to(tmp_path / "forcing")

    clear_workspace(workspace)

    assert tree(tmp_path / "forcing") == {"wind.nc": b"precious"}
    assert list(tree(workspace)) == [".rompy", ".rompy/workspace.json"]


def test_a_workspace_with_a_live_run_stays(workspace: Path) -> None:
    record = open_record(workspace, run_id="case", backend="local")
    before = tree(workspace)

    with pytest.raises(WorkspaceError, match="has a live run") as refused:
        clear_workspace(workspace)

    assert str(record.directory) in str(refused.value)
    assert tree(workspace) == before


def test_a_workspace_that_cannot_be_removed_is_a_workspace_error(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))

    monkeypatch.setattr(shutil, "rmtree", busy)
    (workspace / "out").mkdir()

    with pytest.raises(WorkspaceError, match="cannot be removed: Device or resource busy"):
        clear_workspace(workspace)


def test_a_report_that_a_refused_run_leaves_meanwhile_goes_as_well(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmtree = shutil.rmtree
    (workspace / ".rompy" / "refused").mkdir()

    def meanwhile(path: Path) -> None:
        monkeypatch.setattr(shutil, "rmtree", rmtree)
        (path / "report.json").touch()
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    monkeypatch.setattr(shutil, "rmtree", meanwhile)

    clear_workspace(workspace)

    assert list(tree(workspace)) == [".rompy", ".rompy/workspace.json"]


# Having one for oneself.


def test_a_workspace_is_claimed_by_one_at_a_time(workspace: Path) -> None:
    with claimed(workspace) as first:
        with claimed(workspace) as second:
            assert (first, second) == (True, False)
        with claimed(workspace) as third:
            assert third is False
    with claimed(workspace) as after:
        assert after is True


def test_a_claim_outlives_the_emptying_of_its_workspace(workspace: Path) -> None:
    with claimed(workspace):
        clear_workspace(workspace)
        make_workspace(workspace, "case")

        with claimed(workspace) as other:
            assert other is False


def test_a_claim_is_let_go_also_where_a_process_that_was_forked_meanwhile_has_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, copies = os.open, []

    def and_copied(path: Path, flags: int) -> int:
        copies.append(os.dup(descriptor := opened(path, flags)))  # what a fork does
        return descriptor

    monkeypatch.setattr(os, "open", and_copied)
    with claimed(workspace):
        pass

    with claimed(workspace) as after:
        assert after is True
    for copy in copies:
        os.close(copy)


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_without_locks_keeps_nobody_out(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(fd: int, operation: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", refuse)

    with claimed(workspace) as mine, claimed(workspace) as another:
        assert (mine, another) == (True, True)


def test_what_is_no_directory_is_nobodys(tmp_path: Path) -> None:
    with claimed(tmp_path / "nowhere") as mine, claimed(tmp_path / "nowhere") as another:
        assert (mine, another) == (True, True)


# Removing what is new.


def test_a_snapshot_lists_all_that_is_there(workspace: Path) -> None:
    (workspace / "out").mkdir()
    (workspace / "out" / "waves.nc").touch()
    (workspace / "loop").symlink_to(workspace)
    (workspace / "dangling").symlink_to("nowhere")

    listed = snapshot(workspace)

    assert listed == {".rompy", ".rompy/workspace.json", "out", "out/waves.nc", "loop", "dangling"}


def test_a_snapshot_of_nothing_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert snapshot(tmp_path / "nowhere") is None
    assert snapshot(tmp_path / "file") is None
    assert snapshot(tmp_path) == {"file"}


def test_what_did_not_exist_before_is_removed_whole(workspace: Path) -> None:
    remove_new(workspace, None)

    assert not workspace.exists()


@pytest.mark.parametrize("before", [None, frozenset[str]()])
def test_links_files_and_nothing_are_left_alone(tmp_path: Path, before: frozenset[str] | None) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "mine").write_text("precious")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "dir")
    existing = tree(tmp_path)

    for name in ("file", "link", "nowhere"):
        remove_new(tmp_path / name, before)

    assert tree(tmp_path) == existing


names = st.lists(st.sampled_from(["a", "b", "c", "-r", "x y", "\udcff", "a\nb"]), min_size=1, max_size=4).map("/".join)
kinds = st.sampled_from(["file", "directory", "link", "link to a directory"])


def put(directory: Path, things: dict[str, str], content: str) -> None:
    for name, kind in things.items():
        path = directory / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                with path.open("x") as file:
                    file.write(content)
            elif kind == "directory":
                path.mkdir()
            else:
                path.symlink_to(directory if kind == "link to a directory" else "nowhere")
        except OSError:  # something else is there, or a link to nowhere is on the way to it
            continue


@given(before=st.dictionaries(names, kinds), new=st.dictionaries(names, kinds))
def test_whatever_is_new_is_removed_and_nothing_else(
    before: dict[str, str], new: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    workspace = tmp_path_factory.mktemp("case")
    put(workspace, before, "precious")
    existing = tree(workspace)

    listed = snapshot(workspace)
    put(workspace, new, "scratch")
    remove_new(workspace, listed)

    assert tree(workspace) == existing
