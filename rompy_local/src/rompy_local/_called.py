"""The other end of ``_calls``: runs in the process of its own, and says on a file what the call came to."""

from __future__ import annotations

import json
import os
import pickle
import sys
import traceback
from typing import Any


def main() -> None:
    """Call ``config.run(model_run)``; exits 0 for success and 1 for failure."""
    payload, result = int(sys.argv[2]), int(sys.argv[3])
    sys.exit(0 if call(payload, result) else 1)


def call(payload: int, result: int) -> bool:
    """Make the call whose model run is in the file *payload*, and write to the file *result* what it came to."""
    try:
        with os.fdopen(payload, "rb") as file:
            file.seek(0)
            # In two steps: what the second one imports is found along the first one's path.
            data = file.read()
        sys.argv = [""]
        model_run = _unpickled(data)
        given: object = model_run.config.run(model_run)
    except BaseException as exc:  # noqa: BLE001 - the whole point is to say what it was
        traceback.print_exc()
        text = "".join(traceback.format_exception_only(exc)).strip()
        _write(result, ended="raised", text=text, traceback=traceback.format_exc())
        return False
    if given is None or given is True:
        _write(result, ended="success", text="")
        return True
    told = "False" if given is False else f"{given!r:.200} ({type(given).__name__}), neither None, True nor False"
    _write(result, ended="failure", text=told)
    return False


def _unpickled(data: bytes) -> Any:
    path, model_run = pickle.loads(data)  # noqa: S301 - from the process that started this one
    sys.path[:] = path
    return pickle.loads(model_run)  # noqa: S301 - as above


def _write(fd: int, **facts: str) -> None:
    with os.fdopen(fd, "wb") as file:
        file.write(json.dumps(facts).encode("ascii"))
