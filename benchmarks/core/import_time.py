"""What ``import rompy_core`` costs beside a bare interpreter: medians, side by side in one run.

uv run --group test python benchmarks/core/import_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
CASES = {
    "python -c pass": "pass",
    "import rompy_core": "import rompy_core",
    "list_plugins()": "import rompy_core; rompy_core.list_plugins()",
    "import attrs": "import attrs",
    "from rompy_core import ModelRun": "from rompy_core import ModelRun",
}


def main() -> None:
    """Measure in interleaved rounds and print one line a case."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS + 1):  # the first round warms the caches and does not count
        for name, source in CASES.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True)
            times[name].append(time.perf_counter() - start)
    bare = statistics.median(times["python -c pass"][1:])
    for name, seconds in times.items():
        median = statistics.median(seconds[1:])
        print(f"{median * 1000:8.1f} ms {median / bare:6.2f} x  {name}")


if __name__ == "__main__":
    main()
