from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_docker._mounts import parse_volume

PARTS = st.text(st.characters(blacklist_characters=":\0/", blacklist_categories=("Cs",)), min_size=1).filter(
    lambda part: part not in (".", "..")
)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@pytest.mark.parametrize(
    ("text", "source", "is_path"),
    [
        ("./data:/data:ro", "./data", True),
        ("data/in:/data:ro", "data/in", True),
        ("/srv/data:/data:ro", "/srv/data", True),
        ("..:/data:ro", "..", True),
        (".:/data:ro", ".", True),
        ("~/data:/data:ro", "~/data", True),
        ("~:/data:ro", "~", True),
        ("data:/data:ro", "data", False),
        ("data_2.x-y:/data:ro", "data_2.x-y", False),
    ],
)
def test_a_source_with_a_slash_is_a_path_and_one_without_a_name(text: str, source: str, is_path: bool) -> None:
    volume = parse_volume(text)

    assert (volume.source, volume.is_path, volume.read_only) == (source, is_path, True)
    assert volume.target == PurePosixPath("/data")


def test_relative_paths_are_taken_from_the_callers_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/waves")

    assert parse_volume("./data:/data").host_path() == tmp_path / "data"
    assert parse_volume("../data:/data").host_path() == tmp_path.parent / "data"
    assert parse_volume("~/data:/data").host_path() == Path("/home/waves/data")


@pytest.mark.parametrize(
    ("options", "read_only", "label", "propagation", "no_copy"),
    [
        ("rw", False, None, None, False),
        ("ro,z", True, "z", None, False),
        ("Z,ro", True, "Z", None, False),
        ("z", False, "z", None, False),
        ("ro,rslave", True, None, "rslave", False),
    ],
)
def test_options_combine(
    options: str, read_only: bool, label: str | None, propagation: str | None, no_copy: bool
) -> None:
    volume = parse_volume(f"/srv:/data:{options}")

    found = (volume.read_only, volume.label, volume.propagation, volume.no_copy)
    assert found == (read_only, label, propagation, no_copy)


def test_a_named_volume_can_begin_empty() -> None:
    assert parse_volume("grids:/data:nocopy").no_copy


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("/data", "must be 'source:target'"),
        ("", "must be 'source:target'"),
        (":/data", "must be 'source:target'"),
        ("/a:/b:", "must be 'source:target'"),
        ("/a:/b:ro:z", "must be 'source:target'"),
        ("/a:data", "absolute path in the container"),
        ("/a:/", "absolute path in the container"),
        ("/a:/x/../y", "absolute path in the container"),
        ("/a:/b:readonly", "unknown option 'readonly'"),
        ("/a:/b:ro,rw", "only one of ro, rw"),
        ("/a:/b:z,Z", "only one of z, Z"),
        ("/a:/b:nocopy", "for named volumes"),
        ("grids:/b:rshared", "for paths of the host"),
        ("my data:/b", "no name for a volume"),
        ("-x:/b", "no name for a volume"),
        ("/a\0:/b", "NUL"),
    ],
)
def test_what_is_no_volume_is_refused_with_what_was_found(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_volume(text)


@given(PATHS, PATHS, st.booleans())
def test_any_two_paths_are_a_volume(source: str, target: str, read_only: bool) -> None:
    volume = parse_volume(f"{source}:{target}:{'ro' if read_only else 'rw'}")

    assert volume.host_path() == Path(os.path.normpath(source))
    assert (str(volume.target), volume.read_only) == (str(PurePosixPath(target)), read_only)


@given(st.text())
def test_any_text_is_a_volume_or_a_value_error(text: str) -> None:
    try:
        volume = parse_volume(text)
    except ValueError:
        return

    assert volume.target.is_absolute()
    assert text.startswith(f"{volume.source}:")
