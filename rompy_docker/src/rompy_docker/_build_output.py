"""What a build says: all of it in a file, its end for the reason of a failure, and its secrets nowhere."""

from __future__ import annotations

import contextlib
import json
import re
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self, final
from urllib.parse import quote_plus

from rompy_docker._engine import EngineError

_SHORTEST_SECRET: Final = 4
"""Shorter values, such as a number of processors, would be found all over the place."""
_MARK: Final = "<secret>"
_LONGEST_LINE: Final = 2**16
_LAST_LINES: Final = 5
_LAST_CHARS: Final = 300
_STEP: Final = re.compile(r"(\[\d+/\d+\] )?step \d+(/\d+)? ?: ", re.IGNORECASE)
_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
"""The engine shows errors in red."""
_CHATTER: Final = re.compile(r" ?--->? |Removing intermediate container ")


@final
class Mask:
    """Hides values in text; calling it gives the text without them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Take the values, which are hidden as they are, line by line, and as JSON and addresses have them."""
        known = {form for value in secrets for form in _forms(value) if len(form) >= _SHORTEST_SECRET}
        self.longest = max(map(len, known), default=0)
        longest_first = sorted(known, key=len, reverse=True)
        self._regex = re.compile("|".join(map(re.escape, longest_first))) if known else None

    def __call__(self, text: str) -> str:
        """Give *text* without the values."""
        return self._regex.sub(_MARK, text) if self._regex else text


@final
class BuildOutput:
    """Takes the messages of a build as they come, in bounded memory. A context manager, for the file is open meanwhile.

    Attributes:
        step: The step that the build is at, as the engine calls it.
    """

    def __init__(self, path: Path, mask: Mask) -> None:
        """Write to the file *path* what *mask* lets through.

        Raises:
            EngineError: It cannot be written; here and from every other method.
        """
        self.step = ""
        self._path = path
        self._mask = mask
        self._waiting = ""
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        with self._writing():
            self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._writing(), self._file:
            self.end()

    def take(self, message: Mapping[str, Any]) -> None:
        """Take one message of the engine."""
        text = _ANSI.sub("", str(message.get("stream") or ""))
        if not text and "status" in message and not message.get("progressDetail"):
            text = f"{message['status']}\n"
        self._waiting += text
        whole, newline, rest = self._waiting.rpartition("\n")
        if newline:
            self._waiting = rest
            self._write(self._mask(whole) + newline)
        elif len(rest) > _LONGEST_LINE + self._mask.longest:
            # What may be the beginning of a secret waits for the rest of it.
            masked = self._mask(rest)
            cut = len(masked) - self._mask.longest
            self._waiting = masked[cut:]
            self._write(masked[:cut])

    def end(self) -> None:
        """Write what is left."""
        self._write(self._mask(self._waiting))
        self._waiting = ""

    def failure(self, error: str) -> str:
        """Take the engine's last word; say what went wrong, at which step, and what it wrote last."""
        if self._waiting:
            self.take({"stream": "\n"})
        error = self._mask(error).strip()
        self._save(f"{error}\n")
        at_step = f"at {self.step!r}: " if self.step else ""
        last = f"; its last lines: {' | '.join(self._last)}" if self._last else ""
        return f"{at_step}{error}{last}"

    def _write(self, text: str) -> None:
        self._save(text)
        for line in text.splitlines():
            shown = line.strip()[:_LAST_CHARS]
            if _STEP.match(line):
                self.step = shown
                self._last.clear()
            elif shown and not _CHATTER.match(line):
                self._last.append(shown)

    def _save(self, text: str) -> None:
        with self._writing():
            self._file.write(text.encode("utf-8", "replace"))
            self._file.flush()

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as exc:
            detail = f"cannot be written to {str(self._path)!r}: {exc.strerror or exc}"
            raise EngineError(f"the output of the build {detail}") from exc


def _forms(value: str) -> Iterable[str]:
    for form in (value, *value.splitlines()):
        as_json = json.dumps(form)[1:-1]
        yield from (form, form.strip(), as_json, quote_plus(form), quote_plus(as_json))
