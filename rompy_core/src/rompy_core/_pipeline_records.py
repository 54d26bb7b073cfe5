"""``pipeline.json`` beside a report: what a pipeline wrote of itself, and how it is read."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import attrs

from rompy_core._errors import ConfigError, RecordError
from rompy_core._records import REPORT, known_fields, read_report
from rompy_core._reports import RECORDS
from rompy_core._structure import structure_config

PIPELINE: Final = "pipeline.json"
_LARGEST: Final = 2**24
_RUN: Final = "run"
_AFTER_RUN: Final = "postprocess"


@attrs.frozen(kw_only=True)
class PipelineStage:
    """A stage of a pipeline that has begun.

    Attributes:
        name: ``generate``, ``run`` or ``postprocess``; pipelines of other hands may have others.
        started_at: When it began, UTC.
        finished_at: When it ended, UTC; ``None`` while it goes on, and where nobody was left to say so.
    """

    name: str
    started_at: datetime
    finished_at: datetime | None = None


@attrs.frozen(kw_only=True)
class PipelineReport:
    """One execution of a pipeline: how far it came and how it ended.

    Attributes:
        run_id: The model run's identifier.
        success: Whether all stages are a success; ``None`` as long as nobody knows.
        started_at: When it began, UTC.
        finished_at: When it ended, UTC; ``None`` while it goes on, and where its process died.
        stages: What has begun, in order.
        stages_completed: The names of the stages that are a success.
        stage: The name of the stage that failed, or ``None``.
        error: Why it failed, or ``None``.
        message: One sentence about the end; empty before it.
        record_dir: The directory of its record.
    """

    run_id: str = ""
    success: bool | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    stages: tuple[PipelineStage, ...] = ()
    stages_completed: tuple[str, ...] = ()
    stage: str | None = None
    error: str | None = None
    message: str = ""
    record_dir: Path


def read_pipeline(path: str | os.PathLike[str]) -> PipelineReport | None:
    """Read what a pipeline wrote of itself, also while it goes on.

    It writes when the run has begun and at the end. That the run has ended meanwhile, and the next stage begun, is
    known by the report beside it.

    Args:
        path: A record's folder, a file in it, or a workspace, whose newest pipeline is read.

    Returns:
        The pipeline, or ``None`` where there is none: the run was no part of one.

    Raises:
        RecordError: There is a ``pipeline.json`` and it cannot be read as one; symbolic links are not followed.
    """
    file = _file_at(Path(path))
    try:
        plain = _plain_in(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as exc:
        raise RecordError(file, f"cannot be read as a pipeline's record: {exc}") from exc
    return _up_to_now(_pipeline_from(plain, file))


def _file_at(path: Path) -> Path:
    if path.name in (PIPELINE, REPORT) and not path.is_dir():
        path = path.parent
    path = Path(os.path.abspath(path))  # noqa: PTH100 - symbolic links stay
    if path.parent.name == RECORDS:
        return path / PIPELINE
    found = list((path / RECORDS).glob(f"*/{PIPELINE}"))
    # Names begin with the second; within one second the file's own time decides.
    return max(found, key=lambda file: (file.parent.name.partition("-")[0], _began(file)), default=path / PIPELINE)


def _began(file: Path) -> str:
    try:
        return str(_plain_in(file)["started_at"])
    except (OSError, ValueError, KeyError, RecursionError):
        return ""


def _plain_in(file: Path) -> dict[str, Any]:
    """Read the table in a file that may come from hands that nobody knows: no link, no pipe, nothing endless."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no file")
        plain: object = json.loads(opened.read(_LARGEST))
    if isinstance(plain, dict):
        return cast("dict[str, Any]", plain)
    raise ValueError(f"it holds no table, but {type(plain).__name__}")


def _pipeline_from(plain: dict[str, Any], file: Path) -> PipelineReport:
    """Read it leniently where it may come from another version: unknown fields are passed over."""
    values: dict[str, Any] = {**known_fields(plain, PipelineReport), "record_dir": file.parent}
    if isinstance(values.get("stages"), list):
        values["stages"] = [_known_stage(stage) for stage in cast("list[object]", values["stages"])]
    try:
        pipeline = structure_config(values, PipelineReport)
    except ConfigError as exc:
        raise RecordError(file, f"is not a pipeline's record: {'; '.join(exc.problems)}") from exc
    stages = [time for stage in pipeline.stages for time in (stage.started_at, stage.finished_at)]
    times = (pipeline.started_at, pipeline.finished_at, *stages)
    if any(time is not None and time.tzinfo is None for time in times):
        raise RecordError(file, "is not a pipeline's record: all times must have a time zone")
    return pipeline


def _known_stage(stage: object) -> object:
    return known_fields(cast("dict[str, Any]", stage), PipelineStage) if isinstance(stage, dict) else stage


def _up_to_now(pipeline: PipelineReport) -> PipelineReport:
    """Add what the report says, where the pipeline has not ended: its run has, and how."""
    newest = pipeline.stages[-1] if pipeline.stages else None
    if newest is None or newest.name != _RUN or newest.finished_at is not None or pipeline.finished_at is not None:
        return pipeline
    with contextlib.suppress(RecordError):
        report = read_report(pipeline.record_dir / REPORT)
        if report.finished_at is not None:
            ended = (*pipeline.stages[:-1], attrs.evolve(newest, finished_at=report.finished_at))
            if not report.ok:
                return attrs.evolve(pipeline, stages=ended)
            begun = PipelineStage(name=_AFTER_RUN, started_at=report.finished_at)
            completed = (*pipeline.stages_completed, _RUN)
            return attrs.evolve(pipeline, stages=(*ended, begun), stages_completed=completed)
    return pipeline
