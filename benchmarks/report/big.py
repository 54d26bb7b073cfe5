"""Measure the report of a large record: 100,000 samples of usage and of progress, and a log of 1 GB.

    uv run --group test python benchmarks/report/big.py [--rounds N] [--directory DIR]

Each report is written by a new process, whose time (its start and imports included) and peak memory are printed; the
log is in the page cache by then. Needs 1.1 GB below DIR, which is the place for temporary files unless it is given.
Exits with 1 where a report takes 10 s or 500 MB, or more.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from rompy_core import RunState, open_record

SAMPLES = 100_000
LOG_BYTES = 1_000_000_000
MOST_S = 10.0
MOST_BYTES = 500e6
COLUMNS = "elapsed_s,cpu_time_s,rss_bytes,hwm_bytes,pss_bytes,read_bytes,write_bytes,processes,threads"


def main() -> int:
    """Make the record, write the reports, print what each took; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how many reports (3)")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where the record is made, and removed again")
    asked = parser.parse_args()
    held = True
    with tempfile.TemporaryDirectory(dir=asked.directory) as scratch:
        record_dir = big_record(Path(scratch))
        print(f"{SAMPLES:,} samples, {LOG_BYTES / 1e9:.0f} GB of log; load {os.getloadavg()[0]:.1f}")
        for n in range(asked.rounds):
            seconds, peak_bytes = report(record_dir)
            page = (record_dir / "report.html").stat().st_size
            print(
                f"round {n + 1}: {seconds:.2f} s, peak {peak_bytes / 1e6:.0f} MB, page {page / 1e6:.2f} MB", flush=True
            )
            held = held and seconds < MOST_S and peak_bytes < MOST_BYTES
    print(f"{'held' if held else 'NOT held'}: less than {MOST_S:.0f} s and {MOST_BYTES / 1e6:.0f} MB")
    return 0 if held else 1


def big_record(top: Path) -> Path:
    """Write the record of a run of a day and more; gives its folder."""
    workspace = top / "big"
    workspace.mkdir()
    record = open_record(workspace, run_id="big", backend="local")
    with (record.directory / "usage.csv").open("w") as usage:
        usage.write(f"{COLUMNS}\n")
        for n in range(SAMPLES):
            rss = 2_000_000_000 + n * 10_000 + (n % 997 == 0) * 500_000_000
            usage.write(f"{n}.25,{n * 7.6 + n % 13:.2f},{rss},{rss},,{n * 4096},{n * 65536},9,17\n")
    with (record.directory / "progress.csv").open("w") as progress:
        progress.write("elapsed_s,fraction\n")
        progress.writelines(f"{n}.5,{n / SAMPLES:.6f}\n" for n in range(SAMPLES))
    lines = b"".join(b"%9d  iteration of the solver, residual 1.234e-05, all is well\n" % n for n in range(10_000))
    with (record.directory / "stdout.log").open("wb") as log:
        for _ in range(LOG_BYTES // len(lines) + 1):
            log.write(lines)
    paths = {f"{name}_path": record.directory / f"{name}.csv" for name in ("usage", "progress")}
    record.finish(
        RunState.COMPLETED,
        "the command ended with exit code 0 and every rule held",
        wall_time_s=float(SAMPLES),
        peak_rss_bytes=3_500_000_000,
        stdout_path=record.directory / "stdout.log",
        options={"memory": 4 * 2**30, "rules": {"fatal": [{"regex": "ERROR|Segmentation"}]}},
        **paths,
    )
    return record.directory


def report(record_dir: Path) -> tuple[float, int]:
    """Write the report in a new process; gives its seconds from start to end, and its peak memory in bytes."""
    source = f"import rompy_report; rompy_report.write_report({str(record_dir)!r})"
    began = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", source], os.environ)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"the report was not written: exit status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - began, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    sys.exit(main())
