"""What a page shows, as values: read from disk by ``_reading``, drawn by ``_drawing``, rendered by ``_rendering``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from rompy_core import PipelineStage, RunReport

Floats: TypeAlias = NDArray[np.float64]
Whole: TypeAlias = NDArray[np.int64]


@attrs.frozen(kw_only=True)
class LogLine:
    """One line of a log.

    Attributes:
        number: Counted from 1.
        text: The line, raw, shortened where it is very long.
        is_fatal: Whether one of the run's own rules calls it fatal.
    """

    number: int
    text: str
    is_fatal: bool


@attrs.frozen(kw_only=True)
class LogTail:
    """The end of a log.

    Attributes:
        name: The stream, or the file in the workspace.
        size_bytes: The size of the whole file.
        line_count: How many lines the whole file has.
        lines: The last ones.
    """

    name: str
    size_bytes: int
    line_count: int
    lines: tuple[LogLine, ...]

    @property
    def fatal_lines(self) -> tuple[int, ...]:
        """The numbers of the fatal lines among those that are shown."""
        return tuple(line.number for line in self.lines if line.is_fatal)


@attrs.frozen(kw_only=True)
class WrittenFile:
    """A file in the workspace: its name relative to that, its size, and when it was last written."""

    name: str
    size_bytes: int
    written_at: datetime


@attrs.frozen(kw_only=True)
class WrittenFiles:
    """The files that a run wrote: the largest ones, and how many there are in all."""

    largest: tuple[WrittenFile, ...]
    count: int
    size_bytes: int


@attrs.frozen(kw_only=True, eq=False)
class Series:
    """What a run used and how far it was, against seconds since its start.

    Attributes:
        elapsed_s: The times of the samples.
        cpu_time_s: CPU time so far, at those times.
        memory_bytes: Resident memory of all processes, at those times.
        progress_s: The times of the progress.
        progress: Fractions, at those times.
    """

    elapsed_s: Floats
    cpu_time_s: Floats
    memory_bytes: Floats
    progress_s: Floats
    progress: Floats

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw: one sample is a point and no line."""
        return self.elapsed_s.size < 2 and self.progress_s.size < 2


@attrs.frozen(kw_only=True, eq=False)
class Field:
    """One variable at the last time of a file.

    Attributes:
        name: The variable's name.
        label: What it is, in the file's own words.
        unit: Its unit, as the file has it; empty where it has none.
        when: The time, as text; empty where there is none.
        x: Coordinates: of the nodes of a mesh, or of the cells of a grid (two dimensions).
        y: As *x*.
        triangles: For a mesh, the three nodes of each triangle; ``None`` for a grid.
        values: One for each node, each triangle, or each cell of the grid.
    """

    name: str
    label: str
    unit: str
    when: str
    x: Floats
    y: Floats
    triangles: Whole | None
    values: Floats


@attrs.frozen(kw_only=True, eq=False)
class PointSeries:
    """One variable at one place, against time; *time_label* says in what unit the times are."""

    name: str
    label: str
    unit: str
    at: tuple[float, float]
    times: NDArray[Any]
    time_label: str
    values: Floats


@attrs.frozen(kw_only=True, eq=False)
class Output:
    """What was seen in one NetCDF file; *problem* says why nothing was."""

    file: str
    fields: tuple[Field, ...] = ()
    series: tuple[PointSeries, ...] = ()
    problem: str = ""


@attrs.frozen(kw_only=True, eq=False)
class RunView:
    """All that the page of a run shows.

    Attributes:
        report: The report, its paths within the record that was read; ``None`` for a workspace that has no record.
        name: What to call the run.
        workspace_dir: The workspace beside the record, or ``None`` where it is not there any more.
        stages: Of the pipeline, in order.
        series: The time series.
        logs: The ends of the logs that have any lines.
        files: The files that the run wrote.
        outputs: The NetCDF files among them that were looked into.
        options: The run's options that were given, by dotted name; secret ones by name only.
        notes: What could not be read, and why: a sentence each.
    """

    report: RunReport | None
    name: str
    workspace_dir: Path | None
    stages: tuple[PipelineStage, ...]
    series: Series
    logs: tuple[LogTail, ...]
    files: WrittenFiles
    outputs: tuple[Output, ...]
    options: Mapping[str, str]
    notes: tuple[str, ...]
