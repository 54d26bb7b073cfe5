"""Use plugins of another distribution by name: a run backend, a postprocessor and a pipeline.

    uv run --group examples python examples/backends/04_complete_workflow.py

They are in ``rompy_example/``, which is installed beside rompy-core like any package; nothing of it is imported here.
The pipeline repeats the dam break on finer and finer grids until the time when the wave arrives at a gauge, 200 m
below the dam, no longer changes. Each run is made on a scratch disk.
"""

import logging
import sys

from dam_break import DamBreak
from dam_break.stoker import plateau

from rompy_core import ModelRun, list_plugins

GAUGE_M = 200.0  # from the dam, which is at x = 500 m


def main() -> int:
    """Run the workflow and show what came of it; gives the exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("rompy_example").setLevel(logging.INFO)
    for plugin in list_plugins():
        print(f"{plugin.group:<18}{plugin.name:<13}{plugin.distribution} {plugin.version}")
    print()

    config = DamBreak(output_every_s=0.5)
    model = ModelRun(run_id="convergence", config=config, delete_existing=True)
    results = model.pipeline(
        "convergence",
        refine="cells",
        values=[50, 100, 200, 400],
        metric="arrival_s",
        tolerance=0.01,
        run_backend="scratch",
        run_kwargs={
            "command": [sys.executable, "model.py", "case.json"],
            "env_vars": {"OMP_NUM_THREADS": "1"},
            "timeout": 120,
        },
        processor="gauge",
        process_kwargs={"x": 500.0 + GAUGE_M, "y": 10.0, "rise_m": 1.5},  # half of the wave has arrived
    )

    depth, _, bore = plateau(config.upstream_m, config.downstream_m)
    print(f"\n{results['message']}\n\n{'cells':<8}{'arrival':>10}{'highest':>10}")
    for cells, metrics in results["metrics"].items():
        print(f"{cells:<8}{metrics['arrival_s']:>8.2f} s{metrics['max_stage_m']:>8.3f} m")
    print(f"{'exact':<8}{GAUGE_M / bore:>8.2f} s{depth:>8.3f} m\n\nfiles    {model.workspace_dir.absolute()}")
    return 0 if results["success"] else 1


if __name__ == "__main__":
    sys.exit(main())
