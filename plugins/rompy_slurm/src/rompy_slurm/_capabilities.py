"""Which guarantees hold on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.util import find_spec

from rompy_core import Capability
from rompy_slurm import _scheduler


def capabilities() -> Mapping[str, Capability]:
    """Say which guarantees hold on this machine, by the names that ``require`` takes.

    ``slurm``: jobs can be submitted, watched and ended from here. ``accounting``: what became of a job is known also
    after the controller has forgotten it. ``supervisor``: a job that has this machine's Python environment is
    supervised.
    """
    missing = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
    return {
        "slurm": Capability(not missing, f"not on PATH: {', '.join(missing)}" if missing else "sbatch(1)"),
        "accounting": _accounting(),
        "supervisor": Capability(find_spec("rompy_local") is not None, "rompy-local"),
    }


def _accounting() -> Capability:
    if shutil.which("sacct") is None:
        return Capability(holds=False, detail="not on PATH: sacct")
    problem = _scheduler.accounting_problem()
    return Capability(not problem, problem or "sacct(1)")
