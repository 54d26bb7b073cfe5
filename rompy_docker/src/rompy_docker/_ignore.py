"""Which files of a build context are left out: the rules of ``.dockerignore``. Text in, rules out; no disk is asked.

As moby's ``patternmatcher``. The SDK's own matcher takes no heed of upper and lower case and knows neither ``[^a]`` nor
backslashes, so it leaves out other files than ``docker build`` does.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

_ONE: Final = r"(?:\\.|[^\]\\-])"
_ENDING: Final = re.compile(r"\*\*[^/*?\[\]\\][^*?\[\]\\]*", re.DOTALL)
_CLASS: Final = re.compile(rf"\[(\^?)((?:{_ONE}(?:-{_ONE})?)+)\]", re.DOTALL)


@attrs.frozen
class Ruling:
    """What the rules say of one path.

    Attributes:
        is_ignored: Whether it is left out.
        hits: For each rule, whether it was found to name the path or a directory above it.
    """

    is_ignored: bool = False
    hits: Sequence[bool] = ()


@attrs.frozen
class _Rule:
    pattern: str
    is_exception: bool
    regex: re.Pattern[str]


@attrs.frozen
class IgnoreRules:
    """The rules of one ``.dockerignore``, of which the last one that names a path decides."""

    rules: Sequence[_Rule] = ()

    def rule(self, path: str, above: Ruling) -> Ruling:
        """Say whether *path* is left out.

        A rule that would change nothing for a directory is not asked about it, and so does not count for what is in
        the directory; that is how docker does it since version 22.

        Args:
            path: Relative to the context, with slashes.
            above: What was said of the directory that it is in; an empty one for the context itself.
        """
        is_ignored = False
        hits = list(above.hits) or [False] * len(self.rules)
        for number, rule in enumerate(self.rules):
            if not hits[number] and rule.is_exception == is_ignored:
                hits[number] = rule.regex.fullmatch(path) is not None
            if hits[number]:
                is_ignored = not rule.is_exception
        return Ruling(is_ignored, hits)

    def may_except_below(self, directory: str) -> bool:
        """Whether an exception names something below *directory*; one that begins with a wildcard does not say so."""
        return any(rule.is_exception and f"{rule.pattern}/".startswith(f"{directory}/") for rule in self.rules)


def parse_ignore(text: str) -> IgnoreRules:
    """Read a ``.dockerignore``.

    Raises:
        ValueError: A pattern is none.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    return IgnoreRules(tuple(_rules(line.strip() for line in lines if not line.startswith("#"))))


def _rules(lines: Iterable[str]) -> Iterable[_Rule]:
    for line in filter(None, lines):
        is_exception = line.startswith("!")
        pattern = posixpath.normpath(re.sub("/+", "/", line.removeprefix("!").strip() or "/"))
        if is_exception and pattern == "/":
            raise ValueError(f"{line!r} makes an exception of nothing")
        yield _Rule(pattern.removeprefix("/"), is_exception, _regex(pattern.removeprefix("/")))


def _regex(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    position = 0
    if _ENDING.fullmatch(pattern):  # "**.o" is any path that ends so; docker takes "**" by itself for "**/" elsewhere
        parts.append(r".*")
        position = 2
    while position < len(pattern):
        part, position = _next_part(pattern, position)
        parts.append(part)
    try:
        return re.compile("".join(parts))
    except re.error as exc:
        raise ValueError(f"{pattern!r} is no pattern: {exc}") from exc


def _next_part(pattern: str, position: int) -> tuple[str, int]:
    """Translate the next part of a pattern; give the regex and where the part after it begins."""
    if pattern.startswith("**", position):
        position += 3 if pattern.startswith("/", position + 2) else 2
        return (r"(.*/)?" if position < len(pattern) else r".*"), position
    match pattern[position]:
        case "*":
            return r"[^/]*", position + 1
        case "?":
            return r"[^/]", position + 1
        case "\\":
            if position + 1 == len(pattern):
                raise ValueError(f"{pattern!r} is no pattern: nothing comes after the last backslash")
            return re.escape(pattern[position + 1]), position + 2
        case "[":
            found = _CLASS.match(pattern, position)
            if found is None:
                raise ValueError(f"{pattern!r} is no pattern: a '[' begins no class of characters")
            content = re.sub(r"\\(.)|([^-])", lambda one: re.escape(one[1] or one[2]), found[2], flags=re.DOTALL)
            return f"[{found[1]}{content}]", found.end()
        case char:
            return re.escape(char), position + 1
