"""Run 24 tides in a real lake: six amplitudes by four frictions, then one dataset and one picture of all.

    uv run --group examples python examples/ensemble/tides.py            # on threads of this process
    uv run --group examples python examples/ensemble/tides.py dask       # on Dask: one word changes

The model is ANUGA, the case is Merimbula Lake (New South Wales), whose mesh comes with it. All that it writes is below
``simulations/merimbula/``. Interrupt it, kill it, start it again: it runs what is not finished. Exit code 0 means:
every member worked.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import xarray as xr
from merimbula import COMMAND, RULES, Merimbula, draw, gather

from rompy_core import ModelRun
from rompy_ensemble import Ensemble, EnsembleProgress, MemberRow, RetryRule

OUTPUT_DIR = Path("simulations/merimbula")


def ensemble(executor: str, *, amplitudes: int = 6, frictions: int = 4, duration_s: float = 600.0) -> Ensemble:
    """Describe the members, the model, and how each is run."""
    table = xr.Dataset(
        coords={
            "amplitude": np.linspace(0.25, 1.5, amplitudes).round(3),
            "friction": np.linspace(0.015, 0.06, frictions).round(3),
        }
    )
    return Ensemble(
        members=table,  # every point is a member; its coordinates are fields of the config
        model=ModelRun(run_id="tide", output_dir=OUTPUT_DIR, config=Merimbula(duration_s=duration_s)),
        run_kwargs={
            "command": COMMAND,
            "env_vars": {"OMP_NUM_THREADS": "1"},  # one processor for each member
            "timeout": 600,
            "memory": "1g",
            "rules": RULES,
        },
        executor=executor,
        retries=[
            RetryRule(times=2, states=["OUT_OF_MEMORY"], scale={"memory": 1.5}),
            RetryRule(times=1, wait_s=5),
        ],
        max_failures=5,
    )


def main() -> int:
    """Run the members and gather what they computed; gives the exit code."""
    parser = argparse.ArgumentParser(description="Tides in Merimbula Lake.")
    parser.add_argument("executor", nargs="?", default="threads", help="threads (default) or dask")
    parser.add_argument("--amplitudes", type=int, default=6)
    parser.add_argument("--frictions", type=int, default=4)
    parser.add_argument("--duration", type=float, default=600.0, help="of each run, in seconds of the model")
    given = parser.parse_args()
    members = ensemble(
        given.executor, amplitudes=given.amplitudes, frictions=given.frictions, duration_s=given.duration
    )

    report = members.run(on_row=show_row, on_progress=show_progress, progress_every_s=10)

    print(f"table    {report.to_csv(OUTPUT_DIR / 'members.csv')}")
    if any(row.ok for row in report):
        results = gather(report)
        results.to_netcdf(OUTPUT_DIR / "inflow.nc")
        draw(results, OUTPUT_DIR / "inflow.png")
        print(f"dataset  {OUTPUT_DIR / 'inflow.nc'}: {dict(results.sizes)}")
        print(f"picture  {OUTPUT_DIR / 'inflow.png'}")
    return 0 if report.ok else 1


def show_row(row: MemberRow) -> None:
    """Print what came of a member."""
    tide = f"{row.parameters['amplitude']:.2f} m, friction {row.parameters['friction']:.3f}"
    how = f"in {row.wall_time_s or 0:.1f} s" if row.ran else "before"
    print(f"{row.run_id}  {tide}  {row.state} {how}", flush=True)


def show_progress(progress: EnsembleProgress) -> None:
    """Print how far the ensemble is."""
    print(f"{progress.fraction:5.0%}  {progress.ok} of {progress.total} finished", flush=True)


if __name__ == "__main__":
    sys.exit(main())
