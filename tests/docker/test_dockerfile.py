"""Which images a build stands on, read from its Dockerfile."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rompy_docker._dockerfile import BaseImage, base_images


def names(text: str, args: Mapping[str, str] | None = None) -> list[str]:
    return [base.name for base in base_images(text, args or {})]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM debian:12\n", ["debian:12"]),
        ("# a comment\n\nfrom debian\n", ["debian"]),
        ("FROM scratch\n", []),
        ("FROM a AS build\nFROM BUILD\n", ["a"]),
        ("FROM a AS build\nFROM b\nCOPY --from=build /x /\n", ["a", "b"]),
        ("FROM a\nFROM b\nCOPY --from=0 /x /\n", ["a", "b"]),
        ("FROM a\nCOPY --chown=1:1 --from=tools:2 /x /\n", ["a", "tools:2"]),
        ("FROM a\nFROM a\n", ["a"]),
        ("FROM \\\n  # which one\n\n  a\\\nb\n", ["ab"]),
        ("# escape=`\nFROM `\n a\nRUN c:\\\nFROM b\n", ["a", "b"]),
        ("FROM a\nRUN echo \\\nFROM b\n", ["a"]),
        ("FROM a\nRUN echo FROM b\n", ["a"]),
        ("", []),
    ],
    ids=[
        "one", "comment", "scratch", "stage", "copy of a stage", "copy of a number", "copy of an image", "twice",
        "continued", "escape", "continued command", "in a command", "empty",
    ],
)  # fmt: skip
def test_the_images_are_those_that_are_named_and_no_stages(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("line", "args", "expected"),
    [
        ("FROM $BASE:$TAG", {}, ["debian:12"]),
        ("FROM ${BASE}:${TAG}", {"TAG": "13"}, ["debian:13"]),
        ("FROM ${NONE:-ubuntu}", {}, ["ubuntu"]),
        ("FROM ${BASE:-ubuntu}", {}, ["debian"]),
        ("FROM debian${TAG:+:12}", {}, ["debian:12"]),
        ("FROM debian${NONE:+:12}", {}, ["debian"]),
        ("FROM $NONE", {}, []),
        ("FROM $NONE", {"NONE": "not declared"}, []),
        ("FROM ${BASE%12}", {}, []),
    ],
    ids=["default", "given", "other", "other unused", "if set", "if not set", "unknown", "undeclared", "too clever"],
)
def test_variables_are_put_in_as_far_as_they_are_known(line: str, args: dict[str, str], expected: list[str]) -> None:
    assert names(f'ARG BASE=debian TAG="12"\n{line}\n', args) == expected


def test_arguments_of_a_stage_do_not_count_for_the_next_one() -> None:
    assert names("FROM a\nARG B=b\nFROM $B\n") == ["a"]


def test_a_base_may_ask_for_a_platform_of_its_own() -> None:
    text = "ARG P=linux/arm64\nFROM --platform=linux/amd64 a\nFROM --platform=$P b\nFROM --platform=$BUILDPLATFORM c\n"

    assert [base.platform for base in base_images(text, {})] == ["linux/amd64", "linux/arm64", None]


def test_a_name_with_a_variable_is_known_as_such() -> None:
    assert base_images("ARG B=b\nFROM a\nFROM $B\n", {}) == [BaseImage("a"), BaseImage("b", is_literal=False)]
