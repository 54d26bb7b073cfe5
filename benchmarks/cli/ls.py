"""What `rompyrun ls` costs over many records, and what it costs to start: medians of interleaved rounds.

uv run --group test python benchmarks/cli/ls.py [RECORDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rompy_core import Progress, RunState, open_record

ROUNDS = 9
ROMPYRUN = (sys.executable, "-m", "rompy_cli")


def make_records(directory: Path, count: int) -> None:
    """Make one workspace a record, each with a run that has ended."""
    for number in range(count):
        workspace = directory / f"member-{number:05}"
        workspace.mkdir()
        record = open_record(workspace, run_id=workspace.name, backend="local", command=("./swan.exe",))
        progress = Progress(fraction=1.0, text="100 %")
        record.finish(RunState.COMPLETED, "the command ended with exit code 0", progress=progress, wall_time_s=1.0)


def main() -> None:
    """Measure in interleaved rounds and print one line a case."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    cases = {
        "python -c pass": (sys.executable, "-c", "pass"),
        "python -c 'import click'": (sys.executable, "-c", "import click"),
        "python -c 'import click, rich'": (sys.executable, "-c", "import click, rich"),
        "rompyrun --help": (*ROMPYRUN, "--help"),
        "rompyrun ls, no records": (*ROMPYRUN, "ls", "empty"),
        f"rompyrun ls, {count} records": (*ROMPYRUN, "ls", "full"),
        f"rompyrun ls --json, {count} records": (*ROMPYRUN, "ls", "full", "--json"),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "empty").mkdir()
        (Path(directory) / "full").mkdir()
        make_records(Path(directory) / "full", count)
        # Compiled code is cached, as after an installation by pip.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env = kept | {"PYTHONPYCACHEPREFIX": f"{directory}/bytecode"}
        for _ in range(ROUNDS + 1):  # the first round warms the caches and does not count
            for name, words in cases.items():
                start = time.perf_counter()
                subprocess.run(words, cwd=directory, env=env, check=True, stdout=subprocess.DEVNULL)
                times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        print(f"{statistics.median(seconds[1:]) * 1000:8.1f} ms  {name}")


if __name__ == "__main__":
    main()
