"""What goes into a build: which files, when they are the same, and what happens to those that change meanwhile."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rompy_docker._context import BuildContext, ContextError, read_context
from rompy_docker._ignore import Ruling, parse_ignore

FEW = settings(max_examples=40, deadline=None)
LONG_AGO = 1_600_000_000


@attrs.frozen
class Node:
    """A file, a symbolic link, or a directory."""

    content: bytes | str | dict[str, Any]
    mode: int = 0o644

    def make(self, path: Path, *, is_reversed: bool = False, mtime: int = LONG_AGO) -> None:
        if isinstance(self.content, str):
            path.symlink_to(self.content)
            return
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            path.mkdir()
            for name in sorted(self.content, reverse=is_reversed):
                self.content[name].make(path / name, is_reversed=is_reversed, mtime=mtime)
        path.chmod(self.mode)
        os.utime(path, (mtime, mtime))


NAMES = st.text("aB. é\udcff", min_size=1, max_size=4).filter(lambda name: name not in (".", ".."))
MODES = st.sampled_from([0o644, 0o755, 0o600, 0o666, 0o4755])
FILES = st.builds(Node, st.binary(max_size=20), MODES)
LINKS = st.builds(Node, st.text("a./", min_size=1, max_size=6))
NODES = st.recursive(
    FILES | LINKS,
    lambda nodes: st.builds(Node, st.dictionaries(NAMES, nodes, max_size=4), st.sampled_from([0o755, 0o700, 0o1777])),
    max_leaves=8,
)
TREES = st.dictionaries(NAMES, NODES, min_size=1, max_size=4).map(lambda content: Node(content, 0o755))


@contextlib.contextmanager
def made(tree: Node, **options: Any) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "context"
        tree.make(root, **options)
        (Path(directory) / "Dockerfile").write_text("FROM scratch\n")
        yield root


def digest_of(tree: Node, **options: Any) -> bytes:
    with made(tree, **options) as root:
        return read_context(root, root.parent / "Dockerfile").digest


@st.composite
def changed(draw: st.DrawFn, tree: Node) -> Node:
    """Make one change somewhere in *tree*."""
    assert isinstance(tree.content, dict)
    name = draw(st.sampled_from(sorted(tree.content)))
    node, rest = tree.content[name], {key: node for key, node in tree.content.items() if key != name}
    kinds = ["content", "name", "gone"] if isinstance(node.content, str) else ["content", "name", "gone", "mode"]
    kind = draw(st.sampled_from(kinds))
    if kind == "name":
        rest[f"{name}x"] = node
    elif kind == "content" and isinstance(node.content, dict) and node.content:
        rest[name] = draw(changed(node))
    elif kind == "content" and isinstance(node.content, dict):
        rest[name] = attrs.evolve(node, content={"new": Node(b"")})
    elif kind == "content":
        more = node.content + "x" if isinstance(node.content, str) else node.content + b"x"
        rest[name] = attrs.evolve(node, content=more)
    elif kind == "mode":
        rest[name] = attrs.evolve(node, mode=node.mode ^ 0o010)
    return Node(rest, 0o755)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A context with one of everything."""
    root = tmp_path / "project"
    (root / "src" / "empty").mkdir(parents=True)
    (root / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (root / "src" / "model.f90").write_text("end\n")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "link").symlink_to("run")
    return root


@pytest.fixture
def read(project: Path) -> Callable[..., BuildContext]:
    def read(dockerfile: str = "Dockerfile", **options: Any) -> BuildContext:
        return read_context(project, project / dockerfile, **options)

    return read


def members(context: BuildContext) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.tar())), mode="r:") as tar:
        return {member.name: member for member in tar}


def content(context: BuildContext, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.tar())), mode="r:") as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


@given(TREES, st.integers(0, 2**31))
@FEW
def test_neither_times_nor_the_order_of_creation_nor_the_place_make_another_digest(tree: Node, mtime: int) -> None:
    assert digest_of(tree) == digest_of(tree, is_reversed=True, mtime=mtime)


@given(TREES, TREES)
@FEW
def test_different_trees_have_different_digests(one: Node, other: Node) -> None:
    assume(one != other)

    assert digest_of(one) != digest_of(other)


@given(st.data(), TREES)
@FEW
def test_any_change_of_content_name_mode_or_link_makes_another_digest(data: st.DataObject, tree: Node) -> None:
    other = data.draw(changed(tree))

    assert digest_of(tree) != digest_of(other)


@given(TREES)
@FEW
def test_what_is_sent_is_the_tree_as_it_is_and_belongs_to_root(tree: Node) -> None:
    with made(tree) as root:
        context = read_context(root, root.parent / "Dockerfile")
        found = {os.path.relpath(path, root): path for path in root.rglob("*")}

        sent = members(context)

        assert sent.keys() - context.extras.keys() == found.keys()
        for name, path in found.items():
            member, seen = sent[name], path.lstat()
            assert (member.uid, member.gid, int(member.mtime)) == (0, 0, int(seen.st_mtime))
            if path.is_symlink():
                assert member.linkname == str(os.readlink(path))  # noqa: PTH115 - which keeps "./"
            else:
                assert (member.mode, member.isdir()) == (stat.S_IMODE(seen.st_mode), path.is_dir())
            if member.isfile():
                assert content(context, name) == path.read_bytes()


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: (root / "src/model.f90").write_text("stop\n"),
    "name": lambda root: (root / "src/model.f90").rename(root / "src/other.f90"),
    "executable": lambda root: (root / "src/model.f90").chmod(0o755),
    "link": lambda root: ((root / "link").unlink(), (root / "link").symlink_to("src")),
    "link to file": lambda root: ((root / "link").unlink(), (root / "link").write_text("run")),
    "empty directory": lambda root: (root / "src/more").mkdir(),
    "mode of a directory": lambda root: (root / "src").chmod(0o700),
    "dockerfile": lambda root: (root / "Dockerfile").write_text("FROM scratch\n"),
    "newly ignored": lambda root: (root / ".dockerignore").write_text(".dockerignore\nrun\n"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_the_image_changes_the_digest(
    project: Path, read: Callable[..., BuildContext], change: Callable[[Path], object]
) -> None:
    before = read().digest

    change(project)

    assert read().digest != before


NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "time": lambda root: os.utime(root / "run", (LONG_AGO, LONG_AGO)),
    "time of a directory": lambda root: os.utime(root / "src", (LONG_AGO, LONG_AGO)),
    "ignored file": lambda root: (root / "big.nc").write_text("other"),
    "what is beside": lambda root: (root.parent / "other").write_text("x"),
    "a run": lambda root: (root / "src/.rompy/1").mkdir(parents=True),
    "written again": lambda root: (root / "run").write_text((root / "run").read_text()),
}


@pytest.mark.parametrize("change", NO_CHANGES.values(), ids=NO_CHANGES)
def test_what_does_not_change_the_image_does_not_change_the_digest(
    project: Path, read: Callable[..., BuildContext], change: Callable[[Path], object]
) -> None:
    (project / ".dockerignore").write_text("*.nc\n")
    before = read().digest

    change(project)

    assert read().digest == before


def test_a_copy_somewhere_else_has_the_same_digest(project: Path, read: Callable[..., BuildContext]) -> None:
    copy = project.parent / "copy"

    shutil.copytree(project, copy, symlinks=True)

    assert read_context(copy, copy / "Dockerfile").digest == read().digest


IGNORED = {
    # Patterns, what they leave out, and what they do not; each as the docker command has it.
    "name": ("a.o", ["a.o"], ["src/a.o", "A.o"]),
    "star": ("*.o", ["a.o"], ["src/a.o", "a.oo"]),
    "any depth": ("**/*.o", ["a.o", "src/a.o", "src/x/a.o"], ["src/a.c"]),
    "any ending": ("**.o", ["a.o", "src/a.o"], ["src/a.c"]),
    "directory": ("src/", ["src", "src/a", "src/x/a"], ["srcs", "x/src"]),
    "content alone": ("src/**", ["src/a", "src/x/a"], ["src"]),
    "question mark": ("a?c", ["abc"], ["a/c", "ac"]),
    "class": ("[a-c]*", ["abc", "b"], ["d", "-"]),
    "not of a class": ("[^a-c]", ["d", "-"], ["a"]),
    "escaped": (r"\*", ["*"], ["a"]),
    "absolute": ("/a", ["a", "a/b"], ["b/a"]),
    "dots": ("./b/../a", ["a"], ["b"]),
    "comment": ("# a\n#a\na", ["a"], ["# a", "#a"]),
    "exception": ("*.md\n!README.md", ["a.md"], ["README.md"]),
    "exception too early": ("!README.md\n*.md", ["README.md"], []),
    "exception below": ("src\n!src/keep", ["src/a", "src"], ["src/keep", "src/keep/a"]),
    "spaces": ("  a  \r\n\r\nb", ["a", "b"], [" a"]),
    "everything": ("*", ["a", "b/c"], []),
    "byte order mark": ("\ufeffa", ["a"], []),
    "nothing": ("\n.\n/\n", [], ["a", ".a"]),
}


@pytest.mark.parametrize(("text", "out", "within"), IGNORED.values(), ids=IGNORED)
def test_ignored_files_are_those_that_docker_ignores(text: str, out: list[str], within: list[str]) -> None:
    rules = parse_ignore(text)

    def is_ignored(path: str) -> bool:
        ruling = Ruling()
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            ruling = rules.rule("/".join(parts[:depth]), ruling)
        return ruling.is_ignored

    assert [path for path in out if not is_ignored(path)] == []
    assert [path for path in within if is_ignored(path)] == []


@pytest.mark.parametrize("text", ["[", "[]a]", "[b-a]", "a\\", "!", "!/"])
def test_a_pattern_that_is_none_is_refused_with_its_file(
    project: Path, read: Callable[..., BuildContext], text: str
) -> None:
    (project / ".dockerignore").write_text(f"a\n{text}\n")

    with pytest.raises(ContextError, match=r"\.dockerignore") as caught:
        read()

    assert repr(text) in str(caught.value)


def test_an_exception_is_looked_for_in_a_directory_that_is_ignored(
    project: Path, read: Callable[..., BuildContext]
) -> None:
    (project / ".dockerignore").write_text("*\n!src/model.f90\n")

    sent = members(read())

    assert "src/model.f90" in sent
    assert "run" not in sent
    assert "src" not in sent


def test_the_dockerfile_has_a_list_of_its_own_that_counts_alone(
    project: Path, read: Callable[..., BuildContext]
) -> None:
    (project / ".dockerignore").write_text("run\n")
    (project / "Dockerfile.dockerignore").write_text("link\n")

    sent = members(read())

    assert "run" in sent
    assert "link" not in sent
    assert ".dockerignore" not in sent  # Podman would obey it


def test_records_of_runs_are_not_sent(project: Path, read: Callable[..., BuildContext]) -> None:
    (project / "case" / ".rompy" / "1").mkdir(parents=True)

    sent = members(read())

    assert "case" in sent
    assert not any(".rompy" in name for name in sent)


def test_a_dockerfile_elsewhere_is_sent_under_a_name_that_is_ignored(
    project: Path, read: Callable[..., BuildContext]
) -> None:
    (project / ".dockerignore").write_text("*.nc")
    (project.parent / "other.docker").write_text("FROM elsewhere\n")

    context = read("../other.docker")

    assert content(context, context.dockerfile_name) == b"FROM elsewhere\n"
    assert content(context, ".dockerignore").splitlines() == [b"*.nc", context.dockerfile_name.encode()]
    assert members(context).keys() >= {"Dockerfile", "run"}


def test_an_ignored_dockerfile_is_sent_nevertheless(project: Path, read: Callable[..., BuildContext]) -> None:
    (project / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")

    context = read()

    assert content(context, context.dockerfile_name) == (project / "Dockerfile").read_bytes()
    assert content(context, ".dockerignore").splitlines() == [b".dockerignore", context.dockerfile_name.encode()]
    assert "Dockerfile" not in members(context)


def test_a_dockerfile_that_is_a_link_is_read_where_it_points(project: Path, read: Callable[..., BuildContext]) -> None:
    (project.parent / "real").write_text("FROM elsewhere\n")
    (project / "linked").symlink_to("../real")

    context = read("linked")

    assert content(context, context.dockerfile_name) == b"FROM elsewhere\n"


def test_what_is_no_file_is_neither_waited_for_nor_sent(project: Path, read: Callable[..., BuildContext]) -> None:
    os.mkfifo(project / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(project / "socket"))

        sent = members(read())

    assert sent.keys().isdisjoint({"fifo", "socket"})


def test_links_are_not_followed(project: Path, read: Callable[..., BuildContext]) -> None:
    (project / "loop").symlink_to(".")
    (project / "out").symlink_to("/etc")
    (project / "nowhere").symlink_to("no-such-file")

    sent = members(read())

    assert {name: sent[name].linkname for name in ("loop", "out", "nowhere")} == {
        "loop": ".",
        "out": "/etc",
        "nowhere": "no-such-file",
    }
    assert not any(name.startswith(("loop/", "out/")) for name in sent)


@pytest.fixture
def deep(project: Path) -> Iterator[Path]:
    """A directory below more directories than Python may call functions."""
    path = project / "deep"
    path.mkdir()
    for _ in range(sys.getrecursionlimit() + 200):
        path /= "d"
        path.mkdir()
    yield path
    subprocess.run(["rm", "-r", project / "deep"], check=True)  # which shutil cannot


def test_a_deep_tree_is_no_problem(project: Path, deep: Path, read: Callable[..., BuildContext]) -> None:
    assert str(deep.relative_to(project)) in members(read())


def test_what_is_missing_is_named(project: Path) -> None:
    with pytest.raises(ContextError, match=r"the Dockerfile '.*no-such' does not exist"):
        read_context(project, project / "no-such")
    with pytest.raises(ContextError, match=r"the Dockerfile '.*src' is no file"):
        read_context(project, project / "src")
    with pytest.raises(ContextError, match=r"the build context '.*no-such' is no directory"):
        read_context(project / "no-such", project / "Dockerfile")
    with pytest.raises(ContextError, match=r"the build context '.*run' is no directory"):
        read_context(project / "run", project / "Dockerfile")


@contextlib.contextmanager
def as_somebody() -> Iterator[None]:
    """Be a user whom permissions mean something to."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("name", ["run", "src", "Dockerfile", ".dockerignore"])
def test_what_cannot_be_read_is_named(project: Path, name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:  # where everybody may enter
        root = Path(directory)
        root.chmod(0o755)
        shutil.copytree(project, root / "project", symlinks=True)
        (root / "project" / ".dockerignore").touch()
        (root / "project" / name).chmod(0)

        with as_somebody(), pytest.raises(ContextError) as caught:
            read_context(root / "project", root / "project" / "Dockerfile")

        assert repr(str(root / "project" / name)) in str(caught.value)
        assert "Permission denied" in str(caught.value)


def test_what_is_ignored_need_not_be_readable(project: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        shutil.copytree(project, root / "project", symlinks=True)
        (root / "project" / ".dockerignore").write_text("src\nrun\n")
        for name in ("src", "run"):
            (root / "project" / name).chmod(0)

        with as_somebody():
            context = read_context(root / "project", root / "project" / "Dockerfile")

        assert {file.path for file in context.files} == {".dockerignore", "Dockerfile", "link"}


MEANWHILE: dict[str, Callable[[Path], object]] = {
    "other content": lambda file: file.write_text("END\n"),
    "longer": lambda file: file.write_text("end\nend\n"),
    "shorter": lambda file: file.write_text(""),
    "gone": lambda file: file.unlink(),
    "other mode": lambda file: file.chmod(0o755),
    "no file any more": lambda file: (file.unlink(), os.mkfifo(file, 0o644)),
}


@pytest.mark.parametrize("change", MEANWHILE.values(), ids=MEANWHILE)
def test_nothing_is_built_from_what_changes_after_it_was_read(
    project: Path, read: Callable[..., BuildContext], change: Callable[[Path], object]
) -> None:
    context = read()
    change(project / "src/model.f90")
    sent: list[bytes] = []

    with pytest.raises(ContextError, match=r"src/model.f90' changed while"):
        sent.extend(context.tar())

    assert not b"".join(sent).endswith(bytes(1024))


def test_reading_can_be_ended_also_within_a_large_file(project: Path, read: Callable[..., BuildContext]) -> None:
    (project / "big").touch()
    os.truncate(project / "big", 2**30)
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) > 20:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        read(check=check)
