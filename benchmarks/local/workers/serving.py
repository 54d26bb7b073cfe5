"""What every worker shares: a request a line on standard input, an answer a line on standard output, both JSON.

Standard library only and never installed: it runs in the environments of all contenders.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """One command to run.

    Attributes:
        argv: The words of the command.
        directory: Empty, and of this run's own.
        timeout: Seconds, or ``None``.
        grace_s: How long a contender that asks before it kills may wait.
    """

    argv: list[str]
    directory: Path
    timeout: float | None
    grace_s: float


@dataclass(frozen=True)
class Ending:
    """How the contender says that the command ended, and where it put its standard output."""

    ok: bool
    timed_out: bool = False
    stdout_path: Path | None = None


Run = Callable[[Request], Ending]


def serve(run: Run) -> None:
    """Answer requests until standard input ends; *run* is what is timed."""
    # The streams of this conversation are nobody else's: neither the commands' nor a library's that prints.
    requests, answers = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    held: list[bytearray] = []
    print(json.dumps({"ready": True}), file=answers)
    for line in requests:
        request = json.loads(line)
        try:
            answer = _hold(held, request["hold"]) if "hold" in request else _runs(run, request)
        except NotImplementedError as exc:
            answer = {"error": str(exc)}
        except BaseException as exc:  # noqa: BLE001 - third-party code may raise anything, SystemExit included
            traceback.print_exc(file=sys.stderr)
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), file=answers)


def _hold(held: list[bytearray], size: int) -> Mapping[str, Any]:
    held.append(bytearray(b"x") * size)  # written, so that it is resident
    return {"resident_bytes": _memory("VmRSS")}


def _runs(run: Run, request: Mapping[str, Any]) -> Mapping[str, Any]:
    seconds, ending = [], Ending(ok=False)
    before = _memory("VmRSS")
    _forget_peak()
    for number in range(request["times"]):
        directory = Path(request["directory"], str(number))
        directory.mkdir()
        asked = Request(request["argv"], directory, request["timeout"], request["grace_s"])
        start = time.perf_counter()
        ending = run(asked)
        seconds.append(time.perf_counter() - start)
        if not ending.ok and not ending.timed_out:
            return {"error": "says that the command failed"}
    return {
        "seconds": seconds,
        "growth_bytes": _memory("VmHWM") - before,
        "timed_out": ending.timed_out,
        "stdout_bytes": ending.stdout_path.stat().st_size if ending.stdout_path else None,
    }


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew at VmRSS


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
