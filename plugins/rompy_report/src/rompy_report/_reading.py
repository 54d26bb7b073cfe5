"""From what is recorded on disk to what a page shows.

A record may come from another machine, or from hands that nobody knows: nothing outside its own folder and the
workspace around that is ever opened, whatever paths it names.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import attrs
import numpy as np

from rompy_core import (
    ConfigError,
    OutputPattern,
    OutputRules,
    PipelineStage,
    RecordError,
    RunReport,
    fields,
    read_pipeline,
    read_progress,
    read_report,
    read_usage,
    structure_config,
)
from rompy_report._config import ReportConfig
from rompy_report._files import is_plain_file, matching_files, written_files
from rompy_report._logs import read_tail
from rompy_report._outputs import read_outputs
from rompy_report._text import duration, number, size
from rompy_report._view import LogTail, RunView, Series, WrittenFiles

_MOST_STAGES: Final = 20
_MOST_LOG_FILES: Final = 4
_SHOWN_OTHERWISE: Final = ("command", "env_vars")
_SIZES: Final = ("memory", "log_size_limit", "file_size_limit", "stack_limit", "shm_size")
_TIMES: Final = ("timeout", "stall_timeout", "cpu_time_limit", "engine_timeout")
_MOST_ITEMS: Final = 50
_LONGEST_OPTION: Final = 2000
_DEEPEST: Final = 5


def read_run(path: Path, config: ReportConfig) -> RunView:
    """Read a run.

    Args:
        path: A ``report.json``, a record's folder, or a workspace, whose newest record is read.
        config: What to read.

    Raises:
        RecordError: There is no report, or it cannot be read as one.
    """
    report = within_its_record(read_report(path))
    assert report.record_dir is not None
    workspace_dir = _workspace_around(report)
    notes: list[str] = []
    files = _files(workspace_dir, report.started_at.timestamp(), config.output_dir)
    return RunView(
        report=report,
        name=report.run_id,
        workspace_dir=workspace_dir,
        stages=_read_stages(report.record_dir, notes),
        series=_read_series(report, notes),
        logs=tuple(_read_logs(report, workspace_dir, config.log_lines, notes)),
        files=files,
        outputs=read_outputs(workspace_dir, files, config.point) if config.netcdf and workspace_dir else (),
        options=given_options(report.options),
        notes=tuple(notes),
    )


def read_workspace(workspace_dir: Path, name: str, config: ReportConfig) -> RunView:
    """Read a workspace that has no record: the files in it are all that there is to show."""
    files = _files(workspace_dir, 0.0, config.output_dir or workspace_dir / "report")
    return RunView(
        report=None,
        name=name,
        workspace_dir=workspace_dir,
        stages=(),
        series=Series(**{field.name: np.empty(0) for field in attrs.fields(Series)}),
        logs=(),
        files=files,
        outputs=read_outputs(workspace_dir, files, config.point) if config.netcdf else (),
        options={},
        notes=(),
    )


def within_its_record(report: RunReport) -> RunReport:
    """Give *report* with paths that are plain files of its own record, and ``None`` for all others."""
    assert report.record_dir is not None
    changes: dict[str, Any] = {}
    for name in ("stdout_path", "stderr_path", "usage_path", "progress_path"):
        named = cast("Path | None", getattr(report, name))
        path = report.record_dir / named.name if named is not None else None
        changes[name] = path if path is not None and is_plain_file(path) else None
    return attrs.evolve(report, **changes)


def _workspace_around(report: RunReport) -> Path | None:
    """Give the workspace that a record lies in, or ``None`` for one that was moved out of its workspace."""
    assert report.record_dir is not None
    workspace_dir = report.current_workspace_dir
    return workspace_dir if report.record_dir.is_relative_to(workspace_dir) else None


def limit_of(report: RunReport, name: str) -> float | None:
    """Give the limit that the run's options set by that name, or ``None``."""
    value = report.options.get(name)
    return float(value) if fields.is_number(value) and 0 < value < 2**63 else None


def given_options(options: Mapping[str, Any]) -> dict[str, str]:
    """Give the options that say anything, each as text, by dotted name. Secrets are names only in the record itself."""
    left = {name: value for name, value in options.items() if name not in _SHOWN_OTHERWISE}
    return {name: _option_text(name, value) for name, value in _flat(left, "", _DEEPEST) if _says_anything(value)}


def _says_anything(value: object) -> bool:
    return value is not None and value is not False and value not in ("", [], {})


def _flat(value: object, name: str, depth: int) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and depth and value:
        for key, part in cast("Mapping[object, object]", value).items():
            yield from _flat(part, f"{name}.{key}".removeprefix("."), depth - 1)
    else:
        yield name, value


def _option_text(name: str, value: object) -> str:
    if fields.is_number(value):
        if name in _SIZES:
            return f"{size(value)} ({value} bytes)"
        return str(duration(value)) if name in _TIMES or name.endswith("_s") else number(value)
    if isinstance(value, list):
        return ", ".join(_item_text(item) for item in cast("list[object]", value)[:_MOST_ITEMS])
    return _item_text(value)


def _item_text(value: object) -> str:
    if isinstance(value, Mapping) and "regex" in value:  # a pattern of the rules
        pattern = cast("Mapping[str, object]", value)
        return f"{pattern['regex']} in {pattern['file']}" if pattern.get("file") else str(pattern["regex"])
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_OPTION else f"{text[:_LONGEST_OPTION]} \N{HORIZONTAL ELLIPSIS}"


def _files(workspace_dir: Path | None, since: float, but: Path | None) -> WrittenFiles:
    if workspace_dir is None:
        return WrittenFiles(largest=(), count=0, size_bytes=0)
    return written_files(workspace_dir.absolute(), since, but.absolute() if but is not None else None)


def _read_stages(record_dir: Path, notes: list[str]) -> tuple[PipelineStage, ...]:
    try:
        pipeline = read_pipeline(record_dir)
    except RecordError as exc:
        notes.append(f"The stages of the pipeline cannot be read: {exc.detail}")
        return ()
    return pipeline.stages[:_MOST_STAGES] if pipeline is not None else ()


def _read_series(report: RunReport, notes: list[str]) -> Series:
    columns = {name: array("d") for name in ("elapsed_s", "cpu_time_s", "memory_bytes", "progress_s", "progress")}
    try:
        for usage in read_usage(report):
            columns["elapsed_s"].append(usage.elapsed_s)
            columns["cpu_time_s"].append(usage.cpu_time_s)
            columns["memory_bytes"].append(usage.rss_bytes)
        for elapsed_s, fraction in read_progress(report):
            columns["progress_s"].append(elapsed_s)
            columns["progress"].append(fraction)
    except OSError as exc:
        notes.append(f"A time series of the record cannot be read to its end: {exc.strerror or exc}")
    length = min(len(columns[name]) for name in ("elapsed_s", "cpu_time_s", "memory_bytes"))
    return Series(
        **{
            name: np.array(column[:length] if not name.startswith("prog") else column)
            for name, column in columns.items()
        }
    )


def _read_logs(report: RunReport, workspace_dir: Path | None, lines: int, notes: list[str]) -> Iterator[LogTail]:
    patterns = _fatal_patterns(report, notes)
    sources: list[tuple[str, Path | None, str | None]] = [
        ("stderr", report.stderr_path, None),
        ("stdout", report.stdout_path, None),
    ]
    for wanted in dict.fromkeys(pattern.file for pattern in patterns if pattern.file is not None):
        if workspace_dir is not None:
            found = matching_files(workspace_dir, wanted, _MOST_LOG_FILES)
            sources += [(str(path.relative_to(workspace_dir)), path, wanted) for path in found]
    for name, path, glob in sources:
        if path is None:
            continue
        fatal = [re.compile(pattern.regex) for pattern in patterns if pattern.file == glob]
        try:
            tail = read_tail(path, name, lines, fatal)
        except OSError as exc:
            notes.append(f"The log {name} cannot be read: {exc.strerror or exc}")
            continue
        if tail.lines:
            yield tail


def _fatal_patterns(report: RunReport, notes: list[str]) -> tuple[OutputPattern, ...]:
    rules: object = report.options.get("rules")
    if not isinstance(rules, Mapping):
        return ()
    try:
        return structure_config(cast("Mapping[str, Any]", rules), OutputRules).fatal
    except (ConfigError, RecursionError) as exc:
        notes.append(f"The rules in the record cannot be read, so no line is marked as fatal: {exc}")
        return ()
