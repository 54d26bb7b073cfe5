"""Remove what a failed execution of a pipeline made, keep its record, and touch nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any, cast, final

from rompy_core._errors import RompyError
from rompy_core._foreign import expected_workspace, is_path
from rompy_core._records import live_run
from rompy_core._reports import FAILED_RECORDS, RECORDS
from rompy_core._workspaces import check_run_id, claimed, remove_new, snapshot


@final
class Cleanup:
    """What there was before one execution, so that all of it is still there after the cleanup."""

    def __init__(self, model_run: Any) -> None:
        """Take stock, before anything is done."""
        self._run_id: str = model_run.run_id
        self._workspace_dir = expected_workspace(model_run)
        output_dir: object = getattr(model_run, "output_dir", None)
        self._output_dir = Path(output_dir) if is_path(output_dir) else None
        self._before = snapshot(self._workspace_dir) if self._workspace_dir else None
        self._was_busy = self._workspace_dir is not None and live_run(self._workspace_dir) is not None

    def __call__(self, workspace_dir: Path | None, record_dir: Path | None) -> Path | None:
        """Remove what is new in *workspace_dir*, and move *record_dir* to ``output_dir/.rompy-failed/<run_id>/``.

        Returns:
            Where the record is now.

        Raises:
            RompyError: Nothing was removed, since it might not have been made by this execution; says why.
            OSError: Something could not be moved or removed.
        """
        if workspace_dir is None or not workspace_dir.is_dir():
            return record_dir
        with claimed(workspace_dir) as is_mine:
            if not is_mine:
                raise RompyError(f"another run is being prepared in {str(workspace_dir)!r}")
            output_dir = self._check(workspace_dir, record_dir)
            return self._remove(workspace_dir, record_dir, output_dir)

    def _remove(self, workspace_dir: Path, record_dir: Path | None, output_dir: Path) -> Path | None:
        before = self._before
        if record_dir is not None:
            kept = output_dir / FAILED_RECORDS / self._run_id
            kept.mkdir(parents=True, exist_ok=True)
            record_dir = Path(shutil.move(record_dir, kept / record_dir.name))
        if output_dir.absolute() == workspace_dir.absolute():
            before = (before or frozenset()) | {
                name for name in snapshot(output_dir) or () if _first(name) == FAILED_RECORDS
            }
        remove_new(workspace_dir, before)
        return record_dir

    def _check(self, workspace_dir: Path, record_dir: Path | None) -> Path:
        """Give the ``output_dir``, if all that is new in the workspace was made by this execution."""
        if self._output_dir is None or self._workspace_dir is None:
            raise RompyError("it is not known what there was before, for the model run has no output_dir")
        try:
            check_run_id(None, cast("Any", None), self._run_id)
        except ValueError as exc:
            raise RompyError(str(exc)) from None
        expected = self._workspace_dir.absolute()
        if workspace_dir.absolute() != expected:
            raise RompyError(f"it is not known what there was before in {str(workspace_dir)!r}")
        if self._output_dir.absolute() not in (expected, expected.parent):
            raise RompyError(f"{str(workspace_dir)!r} is not in the output_dir {str(self._output_dir)!r}")
        others = _records_in(workspace_dir) - {record_dir.name if record_dir else ""} - self._records_before()
        if self._was_busy or others or live_run(workspace_dir) is not None:
            raise RompyError(f"another run was at work in {str(workspace_dir)!r}")
        return self._output_dir

    def _records_before(self) -> set[str]:
        return {os.path.basename(name) for name in self._before or () if _first(name) == RECORDS}  # noqa: PTH119


def _first(name: str) -> str:
    return name.split(os.sep, 1)[0]


def _records_in(workspace_dir: Path) -> set[str]:
    with contextlib.suppress(OSError), os.scandir(workspace_dir / RECORDS) as entries:
        return {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    return set()
