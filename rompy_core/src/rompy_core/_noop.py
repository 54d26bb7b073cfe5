"""The postprocessor that looks whether there is anything to process, and processes nothing."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any, final

from rompy_core._foreign import check_model_run, expected_workspace
from rompy_core._reports import RECORDS


@final
class NoopPostprocessor:
    """Checks that the output directory exists, and says how many files are in it."""

    def process(
        self,
        model_run: Any,
        validate_outputs: bool = True,  # noqa: FBT001, FBT002 - the signature of the interface
        output_dir: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,  # noqa: ARG002 - accepted and unused, as the interface has it
    ) -> dict[str, Any]:
        """Process nothing.

        Args:
            model_run: The model run.
            validate_outputs: Whether the directory must exist.
            output_dir: The directory to look at; the model run's workspace if left out.
            timeout: How many seconds it may take to look through the directory.
            kwargs: Ignored.

        Returns:
            ``success``, ``message``, ``run_id``, ``output_dir``, ``validated``, and ``file_count``: how many files
            there are, records left out (``None`` where that was not looked at).

        Raises:
            ValueError: *model_run* is ``None``, or has no ``run_id``.
        """
        check_model_run(model_run)
        directory = expected_workspace(model_run) if output_dir is None else Path(output_dir)
        results = {
            "success": True,
            "message": "nothing to process",
            "run_id": model_run.run_id,
            "output_dir": str(directory) if directory else None,
            "validated": validate_outputs,
            "file_count": None,
        }
        if not validate_outputs:
            return {**results, "message": "nothing to process; outputs were not validated"}
        if directory is None:
            return {**results, "success": False, "message": "no output directory: the model run has no output_dir"}
        if not directory.is_dir():
            what = "is not a directory" if directory.exists() else "not found"
            return {**results, "success": False, "message": f"output directory {what}: {directory}"}
        count = _count_files(directory, time.monotonic() + (math.inf if timeout is None else timeout))
        if count is None:
            message = f"output directory not looked through within the timeout of {timeout} s: {directory}"
            return {**results, "success": False, "message": message}
        return {**results, "message": f"nothing to process; {count} files in {directory}", "file_count": count}


def _count_files(directory: Path, deadline: float) -> int | None:
    count = 0
    for _, subfolders, files in os.walk(directory):
        if time.monotonic() > deadline:
            return None
        subfolders[:] = [name for name in subfolders if name != RECORDS]
        count += len(files)
    return count
