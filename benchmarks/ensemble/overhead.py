"""What an ensemble costs a member above our supervised ``true``, and what grows with the number of members.

    python benchmarks/ensemble/overhead.py [--members 500] [--rounds 3] [--workers 2] [--growth 125,500,2000]

A round runs the same members one way after the other: as plain ``ModelRun.run`` calls in a pool of threads, as
pipelines in such a pool (generate, run, postprocess and their record, which every member has), as an ensemble on
``threads``, and as one on ``dask`` (without the start of its workers). The overhead is the
difference of the wall times, a member, within the round. Targets: at most 2 ms on threads, 10 ms on Dask.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from rompy_core import ModelRun, list_plugins
from rompy_ensemble import Ensemble
from rompy_ensemble._dask import make_executor

TARGETS_MS = {"threads": 2.0, "dask": 10.0}
TRUE = {"command": ["true"]}


def plain(directory: Path, members: int, workers: int, *, is_pipeline: bool = False) -> float:
    """Run the members without an ensemble; gives the seconds."""

    def one(number: int) -> bool:
        model = ModelRun(run_id=f"m-{number:04d}", output_dir=directory)
        return model.pipeline(run_kwargs=TRUE)["success"] if is_pipeline else model.run("local", **TRUE)

    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        assert all(pool.map(one, range(members)))
    return time.perf_counter() - started


def ensemble(directory: Path, members: int, workers: int, executor: Any) -> Ensemble:
    """Describe the same members as an ensemble."""
    model = ModelRun(run_id="m", output_dir=directory)
    return Ensemble(members=[{}] * members, model=model, run_kwargs=TRUE, executor=executor, max_workers=workers)


def seconds_of(directory: Path, members: int, workers: int, executor: Any) -> float:
    """Run the ensemble; gives the seconds."""
    started = time.perf_counter()
    report = ensemble(directory, members, workers, executor).run()
    assert report.ok
    return time.perf_counter() - started


def in_a_new_directory(measure: Callable[[Path], float]) -> float:
    """Measure in a directory of its own, which is removed."""
    directory = Path(tempfile.mkdtemp(prefix="rompy-ensemble-"))
    try:
        return measure(directory)
    finally:
        shutil.rmtree(directory)


def overhead(members: int, rounds: int, workers: int) -> None:
    """Print the overhead of both engines."""
    print(
        f"\n{members} members of `true`, {workers} at once, {rounds} interleaved rounds; ms a member: median (range)\n"
    )
    found: dict[str, list[float]] = {"plain": [], "pipeline": [], "threads": [], "dask": []}
    for _ in range(rounds):
        found["plain"].append(in_a_new_directory(lambda path: plain(path, members, workers)))
        found["pipeline"].append(in_a_new_directory(lambda path: plain(path, members, workers, is_pipeline=True)))
        found["threads"].append(in_a_new_directory(lambda path: seconds_of(path, members, workers, "threads")))
        executor = make_executor(workers, {})
        try:
            in_a_new_directory(lambda path, engine=executor: seconds_of(path, workers, workers, engine))  # type: ignore[misc]
            found["dask"].append(
                in_a_new_directory(lambda path, engine=executor: seconds_of(path, members, workers, engine))  # type: ignore[misc]
            )
        finally:
            executor.shutdown(cancel_futures=True)
    print("| what | ms a member | above plain | target |\n|---|---|---|---|")
    for name, times in found.items():
        above = [1000 * (one - base) / members for one, base in zip(times, found["plain"], strict=True)]
        target = f"at most {TARGETS_MS[name]:g}" if name in TARGETS_MS else ""
        print(f"| {name} | {_spread([1000 * one / members for one in times])} | {_spread(above)} | {target} |")


def growth(counts: list[int], workers: int) -> None:
    """Print what grows with the number of members: of the driver's memory, of a start that finds all finished."""
    columns = ("members", "run, ms each", "driver, MB", "grown by, kB each", "all finished, ms each", "files each")
    print(f"\n| {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|")
    me = psutil.Process()
    in_a_new_directory(lambda path: seconds_of(path, 50, workers, "threads"))  # all is imported
    for count in counts:
        directory = Path(tempfile.mkdtemp(prefix="rompy-ensemble-"))
        before = me.memory_info().rss
        ran = seconds_of(directory, count, workers, "threads")
        after = me.memory_info().rss
        again = seconds_of(directory, count, workers, "threads")
        files = sum(1 for path in directory.rglob("*") if path.is_file())
        shutil.rmtree(directory)
        print(
            f"| {count} | {1000 * ran / count:.1f} | {after / 1e6:.1f} | {(after - before) / count / 1e3:.2f} "
            f"| {1000 * again / count:.2f} | {files / count:.1f} |",
            flush=True,
        )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--growth", default="125,500,2000")
    given = parser.parse_args()
    list_plugins()
    if given.rounds:
        overhead(given.members, given.rounds, given.workers)
    if given.growth:
        growth([int(count) for count in given.growth.split(",")], given.workers)


if __name__ == "__main__":
    main()
