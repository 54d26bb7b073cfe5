"""Write files of which nobody ever sees a part."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def replace_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file by renaming a complete one over it: a reader sees the old one or the new one, whole.

    Args:
        path: The file, in a folder that exists.
        content: All of it.
        mode: Who may read and write it, before the umask; nobody else sees any of it meanwhile.

    Raises:
        OSError: It cannot be written; what was there is as it was.
    """
    # Not the file's own name and more: that may be as long as a name can be.
    temporary = path.with_name(f".rompy-{secrets.token_hex(8)}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Replace *path* by *data* as JSON that people can read, in ASCII: surrogates (from file names) become escapes."""
    replace_file(path, (json.dumps(data, indent=2, default=str) + "\n").encode("ascii"))
