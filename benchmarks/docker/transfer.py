"""What copying a workspace into a container and out again costs: rates, and what the caller grows by.

    uv run --group test python benchmarks/docker/transfer.py --image IMAGE [--engine URL] [--rounds N]

The image can be any one that the engine has, for nothing of it is run. Each round is a new process; the table shows
medians and, of the growth of peak resident memory, the worst round. Exits with 1 where a target is not held. Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rompy_docker._engine import Engine, find_address
from rompy_docker._transfer import Copied, copy_in, copy_out

_MB: Final = 10**6
_FILES: Final = 200
_SIZE: Final = 200 * _MB
_TARGET: Final = "/app/run_id"
_LEAST_RATE: Final = 100.0
_MOST_GROWTH: Final = 32.0
_STEPS: Final = {
    "in": "in, to an empty volume",
    "out_new": "out, to an empty directory",
    "out_same": "out, where nothing has changed",
    "cli_in": "`docker cp` in",
    "cli_out": "`docker cp` out",
}


def main() -> int:
    """Measure in rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True, help="an image that the engine has")
    parser.add_argument("--engine", metavar="URL", help="its address, unless the environment says it")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(_one_round(asked.engine, asked.image)))
        return 0
    again = [sys.executable, __file__, "--one", *sys.argv[1:]]
    rounds = [json.loads(subprocess.run(again, check=True, stdout=subprocess.PIPE).stdout) for _ in range(asked.rounds)]
    return 0 if _print(rounds) else 1


def _one_round(url: str | None, image: str) -> dict[str, list[float]]:
    with _container(url, image) as (engine, container), tempfile.TemporaryDirectory() as scratch:
        here, there, cli = Path(scratch, "here"), Path(scratch, "there"), Path(scratch, "cli")
        for directory in (here, there, cli):
            directory.mkdir()
        _fill(here)
        tree, elsewhere = (Copied(directory, _TARGET, read_only=False) for directory in (here, there))
        words = ["docker", *(["--host", url] if url else []), "cp", "--quiet"]
        steps: dict[str, Callable[[], object]] = {
            "in": lambda: copy_in(engine, container, tree, uid=12345, gid=12345, check=_proceed),
            "out_new": lambda: copy_out(engine, container, elsewhere, check=_proceed),
            "out_same": lambda: copy_out(engine, container, tree, check=_proceed),
            "cli_in": lambda: subprocess.run([*words, f"{here}/.", f"{container}:{_TARGET}"], check=True),
            "cli_out": lambda: subprocess.run([*words, f"{container}:{_TARGET}/.", str(cli)], check=True),
        }
        return {name: _measured(step) for name, step in steps.items()}


def _proceed() -> None:
    """The check of a caller that never gives up."""


@contextlib.contextmanager
def _container(url: str | None, image: str) -> Iterator[tuple[Engine, str]]:
    with contextlib.closing(Engine(find_address(url), 60.0)) as engine:
        spec = {"image": image, "command": ["true"], "volumes": [_TARGET], "host_config": {"network_mode": "none"}}
        container = engine.create(f"rompy-benchmark-{os.getpid()}", spec)
        try:
            assert engine.facts.name  # asked for once in a process
            yield engine, container
        finally:
            engine.remove(container)


def _fill(directory: Path) -> None:
    block = os.urandom(_SIZE // _FILES)
    for number in range(_FILES):
        (directory / f"{number}.nc").write_bytes(block[number:] + block[:number])
    os.sync()  # what was written here is no burden for what is measured


def _measured(step: Callable[[], object]) -> list[float]:
    """Give MB/s, and the growth of peak resident memory in MB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _memory("VmRSS")
    began = time.perf_counter()
    step()
    seconds = time.perf_counter() - began
    return [_SIZE / _MB / seconds, (_memory("VmHWM") - before) / _MB]


def _memory(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def _print(rounds: list[dict[str, list[float]]]) -> bool:
    print(f"{_SIZE // _MB} MB in {_FILES} files, {len(rounds)} rounds\n")
    print("| step | MB/s | the caller grew by, MB |\n| --- | --: | --: |")
    held = True
    for name, title in _STEPS.items():
        rate = statistics.median(measured[name][0] for measured in rounds)
        growth = max(measured[name][1] for measured in rounds)
        is_ours = not name.startswith("cli")
        print(f"| {title} | {rate:.0f} | {f'{growth:.1f}' if is_ours else 'a process of its own'} |")
        held = held and (not is_ours or (rate >= _LEAST_RATE and growth <= _MOST_GROWTH))
    targets = f"at least {_LEAST_RATE:.0f} MB/s each way, at most {_MOST_GROWTH:.0f} MB of growth"
    print(f"\n- {'held' if held else 'NOT HELD'}: {targets}")
    return held


if __name__ == "__main__":
    sys.exit(main())
