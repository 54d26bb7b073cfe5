"""What an ensemble on ``slurm-array`` costs a member above our supervised ``true``, and what grows with the members.

    python benchmarks/slurm/arrays.py [--members 500] [--rounds 3] [--workers 2] [--growth 125,500,2000]

A round runs the same members one way after the other, on a private Slurm that is started for it: as plain
``ModelRun.run`` calls in a pool of threads, as an ensemble on ``threads``, and as one on ``slurm-array``, with the
submission of the array and the start of its tasks. The overhead is the difference of the wall times, a member, within
the round. Target: at most 0.2 s. Exits with 1 where it is not held.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from compare import private_slurm

from rompy_core import ModelRun, list_plugins
from rompy_ensemble import Ensemble

TARGET_S = 0.2
TRUE = {"command": ["true"]}
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sacct")


def plain(directory: Path, members: int, workers: int) -> float:
    """Run the members without an ensemble; gives the seconds."""

    def one(number: int) -> bool:
        return ModelRun(run_id=f"m-{number:04d}", output_dir=directory).run("local", **TRUE)

    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        assert all(pool.map(one, range(members)))
    return time.perf_counter() - began


def ensemble(directory: Path, members: int, workers: int, executor: str) -> float:
    """Run the members as an ensemble; gives the seconds."""
    options: Mapping[str, Any] = {"directory": directory / "spool", "mem": "1g"} if executor == "slurm-array" else {}
    model = ModelRun(run_id="m", output_dir=directory / "out")
    began = time.perf_counter()
    report = Ensemble(
        members=[{}] * members,
        model=model,
        run_kwargs=TRUE,
        executor=executor,
        executor_kwargs=options,
        max_workers=workers,
    ).run()
    assert report.ok, report.failed
    return time.perf_counter() - began


def in_a_new_directory(measure: Callable[[Path], float]) -> float:
    """Measure in a directory of its own, which is removed."""
    directory = Path(tempfile.mkdtemp(prefix="rompy-array-"))
    try:
        return measure(directory)
    finally:
        shutil.rmtree(directory)


def counted(directory: Path) -> Path:
    """Put commands of Slurm first on the path that take note of each call; gives where."""
    calls = directory / "calls"
    (directory / "bin").mkdir()
    for name in COMMANDS:
        path = directory / "bin" / name
        path.write_text(f'#!/bin/sh\necho {name} >>{calls}\nexec {shutil.which(name)} "$@"\n')
        path.chmod(0o755)
    os.environ["PATH"] = f"{directory / 'bin'}:{os.environ['PATH']}"
    return calls


def calls_in(calls: Path) -> Counter[str]:
    """Count the calls since the last time."""
    found = Counter(calls.read_text().split()) if calls.exists() else Counter[str]()
    calls.unlink(missing_ok=True)
    return found


def overhead(members: int, rounds: int, workers: int, calls: Path) -> bool:
    """Print what a member costs; gives whether the target is held."""
    ways: dict[str, Callable[[Path], float]] = {
        "plain": lambda path: plain(path, members, workers),
        "threads": lambda path: ensemble(path, members, workers, "threads"),
        "slurm-array": lambda path: ensemble(path, members, workers, "slurm-array"),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    asked: list[Counter[str]] = []
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(in_a_new_directory(way))
        asked.append(calls_in(calls))
    print(f"\n{members} members of `true`, {workers} at once, {rounds} interleaved rounds: median (range)\n")
    print("| what | ms a member | x of plain | ms above plain |\n|---|---|---|---|")
    for name, times in found.items():
        pairs = list(zip(times, found["plain"], strict=True))
        each = _spread([1000 * one / members for one in times])
        ratio = _spread([one / base for one, base in pairs])
        print(f"| {name} | {each} | {ratio} | {_spread([1000 * (one - base) / members for one, base in pairs])} |")
    print(f"\ncalls of Slurm in each round: {'; '.join(_told(one) for one in asked)}")
    above = [(one - base) / members for one, base in zip(found["slurm-array"], found["plain"], strict=True)]
    return statistics.median(above) <= TARGET_S


def growth(counts: list[int], workers: int, calls: Path) -> None:
    """Print what grows with the number of members."""
    print("\n| members | ms each | calls of Slurm |\n|---|---|---|")
    for count in counts:
        seconds = in_a_new_directory(lambda path, count=count: ensemble(path, count, workers, "slurm-array"))  # type: ignore[misc]
        print(f"| {count} | {1000 * seconds / count:.1f} | {_told(calls_in(calls))} |", flush=True)


def _told(asked: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(asked.items()))


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--growth", default="125,500,2000")
    given = parser.parse_args()
    list_plugins()
    with private_slurm() as directory:
        calls = counted(directory)
        holds = not given.rounds or overhead(given.members, given.rounds, given.workers, calls)
        growth([int(count) for count in given.growth.split(",") if count], given.workers, calls)
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
