"""What a run in Slurm's queue costs beside Slurm's own commands, on a private Slurm that is started for it.

    python benchmarks/slurm/compare.py [--jobs 1000]

Prints a table in Markdown, with the target of each row, and exits with 1 where one is not held.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rompy_core import ModelRun
from rompy_slurm import _poller, _scheduler

START = str(Path(__file__).resolve().parents[2] / ".ci" / "start-slurm")
Row = tuple[str, str, str, bool]


@contextmanager
def private_slurm() -> Iterator[Path]:
    """Start one, and end it with all that it has."""
    directory = Path(tempfile.mkdtemp(prefix="rompy-slurm-"))
    conf = subprocess.run([START, directory / "s"], check=True, capture_output=True, text=True).stdout.strip()
    os.environ["SLURM_CONF"] = conf
    try:
        yield directory
    finally:
        subprocess.run([START, "stop", directory / "s"], check=True)
        shutil.rmtree(directory)


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def submitting(directory: Path, rounds: int) -> Row:
    """Time ``sbatch --parsable`` and ``submit()`` in turn, with the same script and the jobs held."""
    held = ["--hold", "--nice=1"]
    script = directory / "job.sh"
    script.write_text("#!/bin/sh\ntrue\n")
    words = ["sbatch", "--parsable", *held, "--output=/dev/null", "--comment=x", "--chdir=/", str(script)]
    handles: list[Any] = []

    def ours(number: int) -> Callable[[], object]:
        model_run = ModelRun(run_id=f"submit-{number}", output_dir=directory)
        workspace = model_run.generate()
        options = {"command": "true", "additional_options": held, "workspace_dir": workspace}
        return lambda: handles.append(model_run.submit("slurm", **options))

    ours(-1)()
    ratios: list[float] = []
    bare: list[float] = []
    for number in range(rounds):
        bare.append(timed(lambda: subprocess.run(words, check=True, capture_output=True)))
        ratios.append(timed(ours(number)) / bare[-1])
    for handle in handles:
        handle.cancel()
    for handle in handles:
        handle.wait(60)
    subprocess.run(["scancel", "--me"], check=True)
    ratio = statistics.median(ratios)
    told = f"{ratio:.2f}x ({min(ratios):.2f}-{max(ratios):.2f}) of {1000 * statistics.median(bare):.1f} ms"
    return "submit() beside sbatch --parsable, median", told, "at most 1.5x", ratio <= 1.5


def one_run(directory: Path, rounds: int) -> Row:
    """Time ``run()`` of ``true``."""
    took: list[float] = []
    for number in range(rounds):
        model_run = ModelRun(run_id=f"true-{number}", output_dir=directory)
        took.append(timed(lambda model_run=model_run: model_run.run("slurm", command="true")))
    worst = max(took)
    return "true through run()", f"{statistics.median(took):.2f} s, at most {worst:.2f} s", "at most 3 s", worst <= 3


def many(directory: Path, jobs: int, watch_s: float) -> list[Row]:
    """Watch many live jobs: queries a round, time of a round, CPU of this process and of the queries."""
    counted, calls = directory / "bin" / "squeue", directory / "calls"
    counted.parent.mkdir()
    counted.write_text(f'#!/bin/sh\necho >>{calls}\nexec {shutil.which("squeue")} "$@"\n')
    counted.chmod(0o755)
    handles: list[Any] = [
        ModelRun(run_id=f"many-{n}", output_dir=directory).submit(
            "slurm", command="true", additional_options=["--hold"]
        )
        for n in range(jobs)
    ]
    rounds: list[float] = []
    real = _poller.Poller._round  # noqa: SLF001 - what is measured

    def counting(self: Any, watched: Any) -> None:
        rounds.append(timed(lambda: real(self, watched)))

    time.sleep(10)  # the rounds of the submissions themselves are over
    os.environ["PATH"] = f"{counted.parent}:{os.environ['PATH']}"
    _poller.Poller._round = counting  # type: ignore[method-assign]  # noqa: SLF001
    before, began = cpu(), time.perf_counter()
    time.sleep(watch_s)
    used, elapsed = cpu() - before, time.perf_counter() - began
    # Steady, the rounds are 30 s apart; what one costs is measured by asking for some.
    for _ in range(5):
        _poller.poller().poke()
        time.sleep(1.5)
    took, asked = list(rounds), len(calls.read_text().splitlines())
    _poller.Poller._round = real  # type: ignore[method-assign]  # noqa: SLF001
    _scheduler.cancel([handle.job.id for handle in handles])
    for handle in handles:
        handle.wait(120)
    share = 100 * used / elapsed
    worst = 1000 * max(took)
    return [
        (f"{jobs} live jobs: queries a round", f"{asked} in {len(took)} rounds", "1", asked == len(took)),
        (
            f"{jobs} live jobs: a round",
            f"{1000 * statistics.median(took):.0f} ms, at most {worst:.0f} ms",
            "at most 250 ms",
            worst <= 250,
        ),
        (f"{jobs} live jobs: share of a core over {elapsed:.0f} s", f"{share:.2f} %", "under 2 %", share < 2),
    ]


def cpu() -> float:
    """Give the CPU time of this process and of those that it has waited for, seconds."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--watch", type=float, default=60.0, help="seconds over which the share of a core is taken")
    asked = parser.parse_args()
    with private_slurm() as directory:
        rows = [submitting(directory, asked.rounds), one_run(directory, 10), *many(directory, asked.jobs, asked.watch)]
    print("| what | measured | target | |\n|---|---|---|---|")
    for what, measured, target, holds in rows:
        print(f"| {what} | {measured} | {target} | {'held' if holds else 'BROKEN'} |")
    sys.exit(0 if all(row[3] for row in rows) else 1)


if __name__ == "__main__":
    main()
