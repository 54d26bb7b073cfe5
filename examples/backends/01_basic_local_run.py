"""Run a real model on this machine: generate its inputs, run it supervised, check what it computed.

    uv run --group examples python examples/backends/01_basic_local_run.py

The model is ANUGA; the case is a dam break whose exact solution is known (Stoker 1957). All that it writes is below
``simulations/dam-break/``. Exit code 0 means: the run worked, and the depth of the water is right.
"""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dam_break import RULES, DamBreak, StokerCheck

from rompy_core import ModelRun, RunReport


def main() -> int:
    """Run the pipeline and show what came of it; gives the exit code."""
    show_log()
    model = ModelRun(run_id="dam-break", config=DamBreak(cells=200), delete_existing=True)

    results = model.pipeline(
        "local",  # generate, run, postprocess: in this process, one after the other
        run_backend="local",
        run_kwargs={
            "command": [sys.executable, "model.py", "case.json"],
            "env_vars": {"OMP_NUM_THREADS": "1"},  # 200 cells are too few to share out
            "timeout": 300,
            "rules": RULES,
        },
        processor=StokerCheck(),
    )

    if model.report:
        rows = [*facts_of_run(model.report), *facts_of_check(results["postprocess_results"])]
        show_table([*rows, ("report", f"{model.report.record_dir}/report.json")])
    return 0 if results["success"] else 1


def facts_of_run(report: RunReport) -> list[tuple[str, str]]:
    """Give what the report says of the run, a row for each fact."""
    memory = "unknown" if report.peak_rss_bytes is None else f"{size(report.peak_rss_bytes)} ({report.memory_method})"
    files = [f"{file.name:<14}{size(file.stat().st_size):>8}" for file in files_in(report.workspace_dir)]
    return [
        ("verdict", f"{report.state}: {report.reason}"),
        ("wall time", seconds(report.wall_time_s)),
        ("CPU time", seconds(report.cpu_time_s)),
        ("peak memory", memory),
        *zip(["files", *[""] * len(files)], files, strict=False),
    ]


def facts_of_check(check: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Give what the postprocessor found; nothing where the pipeline did not come so far."""
    if check is None:
        return []
    error, bound = check["metrics"]["relative_l1_error"], check["metrics"]["bound"]
    verdict = "below" if check["success"] else "NOT below"
    return [("depth error", f"{error:.4f} (relative L1, against Stoker 1957; {verdict} the bound {bound})")]


def files_in(workspace_dir: Path) -> list[Path]:
    """List the inputs and outputs of the run, without its record (``.rompy``)."""
    return sorted(file for file in workspace_dir.iterdir() if file.is_file())


def show_table(rows: list[tuple[str, str]]) -> None:
    """Print each fact beside its name."""
    print()
    for name, fact in rows:
        print(f"{name:<13}{fact}")


def seconds(value: float | None) -> str:
    """Show a time, or that it is not known."""
    return "unknown" if value is None else f"{value:.1f} s"


def size(value: int) -> str:
    """Show a number of bytes."""
    return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"


class Lines(logging.Formatter):
    """Shows the library's log a line each; of the progress, what the model itself said.

    The facts stand beside each message, as fields of the record.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Give one line."""
        facts = vars(record)
        return f"{facts['fraction']:6.0%}  {facts['text']}" if "fraction" in facts else record.getMessage()


def show_log() -> None:
    """Print what the library logs: how far the run is, and whatever goes wrong."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
