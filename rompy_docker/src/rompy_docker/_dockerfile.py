"""Which images a Dockerfile stands on, as far as its text says so."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

_ESCAPE: Final = re.compile(r"#\s*escape\s*=\s*(\S)\s*", re.IGNORECASE)
_DIRECTIVE: Final = re.compile(r"#\s*\w+\s*=.*")
_FROM: Final = re.compile(r"FROM\s+(?:--platform=(\S+)\s+)?(\S+)(?:\s+AS\s+(\S+))?\s*", re.IGNORECASE)
_COPY: Final = re.compile(r"(?:COPY|ADD)\s+(?:--\S+\s+)*?--from=(\S+)\s.*", re.IGNORECASE | re.DOTALL)
_ARG: Final = re.compile(r"ARG\s+(.*)", re.IGNORECASE | re.DOTALL)
_DEFAULT: Final = re.compile(r"""(\w+)(?:=("[^"]*"|'[^']*'|\S*))?""")
_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)(?::([-+])([^{}]*))?\})")


@attrs.frozen
class BaseImage:
    """An image that a build begins with, or copies from.

    Attributes:
        name: Its name.
        platform: The platform that the Dockerfile asks for, or ``None``.
        is_literal: Whether the Dockerfile has the name as it is, and no variable in it.
    """

    name: str
    platform: str | None = None
    is_literal: bool = True


def base_images(text: str, args: Mapping[str, str]) -> list[BaseImage]:
    """Give the images that a Dockerfile names, each once, in its order.

    Args:
        text: The Dockerfile.
        args: The arguments of the build.

    Returns:
        All but those whose names depend on what is not known here.
    """
    found: dict[BaseImage, None] = {}
    known: dict[str, str] = {}
    stages: set[str] = set()
    for line in _instructions(text):
        if (begin := _FROM.fullmatch(line)) is not None:
            platform, name, stage = begin.groups()
            if name.lower() not in stages | {"scratch"} and (filled := _filled(name, known)):
                found[BaseImage(filled, _filled(platform or "", known) or None, name == filled)] = None
            stages.add((stage or "").lower())
        elif (copy := _COPY.fullmatch(line)) is not None:
            if not copy[1].isdigit() and copy[1].lower() not in stages and "$" not in copy[1]:
                found[BaseImage(copy[1])] = None
        elif (arg := _ARG.fullmatch(line)) is not None and not stages:  # later ones are not for FROM
            known |= {name: args.get(name, value.strip("\"'")) for name, value in _DEFAULT.findall(arg[1])}
    return list(found)


def _instructions(text: str) -> Iterator[str]:
    """Give each instruction in one line, without comments."""
    escape = _escape(text)
    held = ""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        held += line.rstrip()
        if held.endswith(escape):
            held = held.removesuffix(escape)
        else:
            yield held.strip()
            held = ""
    if held:
        yield held.strip()


def _escape(text: str) -> str:
    """Find what continues a line; directives come before anything else."""
    for line in text.splitlines():
        if not _DIRECTIVE.fullmatch(line):
            break
        if found := _ESCAPE.fullmatch(line):
            return found[1]
    return "\\"


def _filled(word: str, known: Mapping[str, str]) -> str | None:
    """Put in the variables of a word; ``None`` where one is not known."""

    def value(variable: re.Match[str]) -> str:
        plain, name, operator, other = variable.groups()
        given = known.get(plain or name, "")
        if operator is None:
            return given or "$"
        return (given or other) if operator == "-" else (other if given else "")

    filled = _VARIABLE.sub(value, word)
    return None if "$" in filled else filled
