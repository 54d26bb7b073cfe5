"""Messages between caller and supervisor: plain values, length first.

``marshal`` is built in, so it costs no import; both ends are the same interpreter, which is what it asks for.
"""

from __future__ import annotations

import marshal
import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a start more than all the rest of this
    from collections.abc import Iterator
    from typing import Any

Message = dict[str, "Any"]
"""Holds strings, numbers, lists and dictionaries; ``"event"`` says what it is about."""


def send(fd: int, message: Message) -> None:
    """Write one message whole.

    Raises:
        OSError: The other end is gone.
    """
    body = marshal.dumps(message)
    data = memoryview(len(body).to_bytes(4, "big") + body)
    while data:
        data = data[os.write(fd, data) :]


class Reader:
    """Takes bytes as they come and gives whole messages."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add *data* and give the messages that are complete now."""
        self._data += data
        while len(self._data) >= 4:
            end = 4 + int.from_bytes(self._data[:4], "big")
            if len(self._data) < end:
                return
            body, self._data = self._data[4:end], self._data[end:]
            yield marshal.loads(body)  # noqa: S302 - from the process that we started, or that started us
