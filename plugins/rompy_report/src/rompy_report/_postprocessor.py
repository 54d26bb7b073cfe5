"""The postprocessor ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, final

from rompy_core import RECORDS, NoopPostprocessor, RecordError, RunReport, check_model_run, structure_config
from rompy_report._config import ReportConfig
from rompy_report._reading import read_run, read_workspace
from rompy_report._view import RunView
from rompy_report._writing import target_of, write_view


@final
class ReportPostprocessor:
    """Writes what a run did on one page. A run that failed is reported on as any other."""

    config_type: ClassVar[type[ReportConfig]] = ReportConfig

    def process(self, model_run: Any, config: ReportConfig | None = None, **options: Any) -> dict[str, Any]:
        """Write the report of the newest run in the workspace of *model_run*.

        Args:
            model_run: The model run.
            config: How to write it.
            options: The fields of ``ReportConfig``, where *config* is left out.

        Returns:
            ``success`` (whether the report was written, whatever became of the run), ``message``, ``run_id``,
            ``state`` of the run (``None`` where there is no record), ``ok`` (the verdict on the run, or ``None``),
            ``report_path`` and ``image_paths``.

        Raises:
            ValueError: *model_run* is ``None`` or has no ``run_id``; an option is wrong.
        """
        check_model_run(model_run)
        config = structure_config(options, ReportConfig) if config is None else config
        results: dict[str, Any] = {
            "success": False,
            "message": "",
            "run_id": model_run.run_id,
            "state": None,
            "ok": None,
            "report_path": None,
            "image_paths": [],
        }
        # Where the outputs are, and what to say where they are not, is what the core's own postprocessor knows.
        looked = NoopPostprocessor().process(model_run)
        place = Path(looked["output_dir"]) if looked["success"] else _record_elsewhere(model_run)
        if place is None:
            return {**results, "message": f"no report: {looked['message']}"}
        try:
            view = _read(place, model_run.run_id, config)
            written = write_view(view, target_of(view, config))
        except (RecordError, OSError) as exc:
            return {**results, "message": f"the report of run {model_run.run_id!r} was not written: {exc}"}
        return {
            **results,
            "success": True,
            "message": f"report written: {written.page}",
            "state": str(view.report.state) if view.report else None,
            "ok": view.report.ok if view.report else None,
            "report_path": str(written.page),
            "image_paths": [str(path) for path in written.pictures],
        }


def _record_elsewhere(model_run: Any) -> Path | None:
    """Give the record of a run whose workspace was cleaned up after a failure."""
    report = getattr(model_run, "report", None)
    record_dir = report.record_dir if isinstance(report, RunReport) else None
    return record_dir if record_dir is not None and record_dir.is_dir() else None


def _read(place: Path, run_id: str, config: ReportConfig) -> RunView:
    has_record = (place / "report.json").is_file() or any(place.glob(f"{RECORDS}/*/report.json"))
    return read_run(place, config) if has_record else read_workspace(place, run_id, config)
