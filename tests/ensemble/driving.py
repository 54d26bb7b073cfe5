"""A driver in a process of its own: what the tests kill. It prints each row as it comes."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from rompy_core import FilesConfig, ModelRun
from rompy_ensemble import Ensemble

EXECUTORS: dict[str, Any] = {"processes": ProcessPoolExecutor}


def ensemble_of(given: dict[str, Any]) -> Ensemble:
    """Make the ensemble that is described; ``directory``, ``members`` and options."""
    options = dict(given)
    model = ModelRun(run_id="m", output_dir=options.pop("directory"), config=FilesConfig(command="true"))
    options["executor"] = EXECUTORS.get(options.get("executor", "threads"), options.get("executor", "threads"))
    return Ensemble(model=model, **options)


def main() -> None:
    for row in ensemble_of(json.loads(sys.argv[1])).iter():
        print(row.run_id, row.state, row.ran, flush=True)


if __name__ == "__main__":
    main()
