"""The record of a run on disk: ``.rompy/<UTC time>-<6 letters>/`` below the workspace, one folder an attempt.

``report.json`` is written at the start with the state ``RUNNING`` and replaced atomically at the end. Paths in it are
relative to its folder, so a record that is moved (with its workspace, or after a failed pipeline) still reads right.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import string
import time
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast, final

import attrs

from rompy_core._errors import ConfigError, PluginError, RecordError, RompyError, StartError
from rompy_core._plugins import versions
from rompy_core._processes import identify, is_alive
from rompy_core._reports import FAILED_RECORDS, RECORDS, ProcessIdentity, Progress, RunReport, RunState
from rompy_core._structure import structure_config, unstructure_config
from rompy_core._writing import write_json

REPORT: Final = "report.json"
CANCEL: Final = "cancel"
"""A file of this name in a record asks for the run's end; its supervisor looks for it ten times a second."""
MARKER: Final = "workspace.json"
"""In ``.rompy/``: says that the workspace itself was made by ``generate()`` and may be removed again."""

_PATHS: Final = ("stdout_path", "stderr_path", "usage_path", "progress_path")
_PARTS: Final[Mapping[str, type[Any]]] = {"progress": Progress, "supervisor": ProcessIdentity}
_POLL_S: Final = 0.05


@final
class RunRecord:
    """The writer's side of one record. Reading is done by ``read_report``.

    Attributes:
        directory: The record's folder, absolute.
        report: The report as it stands now.
        opened_at: When it was made, in seconds since the epoch, by the clock of the file system, which need not be
            this machine's (a file server): what was last written before is none of this run's.
    """

    def __init__(self, directory: Path, report: RunReport) -> None:
        self.directory = directory
        self.report = report
        self.opened_at = directory.stat().st_mtime

    def open(self) -> None:
        """Write the report for the first time, as ``RUNNING``, unless the workspace has a live run already.

        Raises:
            StartError: The record cannot be written, or a run is live in the workspace.
        """
        try:
            with _locked(self.directory.parent):
                live = live_run(self.report.workspace_dir)
                if live is None:
                    self.update()
                    return
        except OSError as exc:
            raise _unwritable(self.report, exc) from exc
        raise self.refusal(_live_already(live))

    def update(self, **changes: Any) -> RunReport:
        """Change the report and replace the file.

        Raises:
            OSError: The file could not be written; ``report`` has the changes all the same.
        """
        if changes:
            self.report = attrs.evolve(self.report, **changes)
        write_report(self.directory, self.report)
        return self.report

    def finish(self, state: RunState, reason: str, **changes: Any) -> RunReport:
        """Complete the report; a disk that refuses it becomes a warning in the report that is given back.

        A run that was about to be called a success is a failure then: its record, and so what it wrote, cannot be
        relied on.
        """
        changes = {"state": state, "reason": reason, "finished_at": utc_now()} | changes
        try:
            return self.update(**changes)
        except OSError as exc:
            problem = f"the record {str(self.directory)!r} could not be written: {exc.strerror or exc}"
            self.report = attrs.evolve(self.report, warnings=(*self.report.warnings, problem))
            if self.report.ok:
                self.report = attrs.evolve(self.report, state=RunState.FAILED, reason=problem)
            return self.report

    def cancel_requested(self) -> bool:
        """Whether another process has asked for the end of this run."""
        return (self.directory / CANCEL).exists()

    def refusal(self, reason: str) -> StartError:
        """Complete the report as ``NOT_STARTED`` and give the error to raise."""
        return StartError(reason, self.finish(RunState.NOT_STARTED, reason, wall_time_s=None))


def open_record(workspace_dir: Path, *, run_id: str, backend: str, **facts: Any) -> RunRecord:
    """Make the record of a new attempt, as ``RUNNING``, unless the workspace has a live run already.

    Args:
        workspace_dir: An existing directory.
        run_id: The model run's identifier.
        backend: The name of the backend.
        facts: Further fields of the report.

    Raises:
        StartError: The workspace is missing or cannot be written, or a run is live in it.
    """
    record = prepare_record(workspace_dir, run_id=run_id, backend=backend, **facts)
    record.open()
    return record


def refuse_live(workspace_dir: Path, *, run_id: str, backend: str) -> None:
    """Refuse a further run before its inputs are written over those of one that is live.

    Raises:
        StartError: A run is live in *workspace_dir*.
    """
    live = live_run(workspace_dir)
    if live is not None:
        raise prepare_record(workspace_dir, run_id=run_id, backend=backend).refusal(_live_already(live))


def refuse_busy(workspace_dir: Path, *, run_id: str, backend: str) -> StartError:
    """Give the error for a run whose workspace another one is about to use, after a look who that is.

    Raises:
        StartError: It is live by now.
    """
    refuse_live(workspace_dir, run_id=run_id, backend=backend)
    reason = f"another run is generating its inputs in the workspace {str(workspace_dir)!r}, or is being started there"
    refused = prepare_record(workspace_dir, run_id=run_id, backend=backend)
    return refused.refusal(f"{reason}; wait for it, or choose another run_id")


def prepare_record(workspace_dir: Path, *, run_id: str, backend: str, **facts: Any) -> RunRecord:
    """Make the folder of a record, and the report that its ``open`` writes into it; ``open_record`` is both at once.

    For backends that have something to start meanwhile, which must know the folder; it is no record before ``open``.

    Args:
        workspace_dir: As for ``open_record``.
        run_id: As for ``open_record``.
        backend: As for ``open_record``.
        facts: As for ``open_record``.

    Raises:
        StartError: The workspace is missing or cannot be written.
    """
    workspace_dir = Path(os.path.abspath(workspace_dir))  # noqa: PTH100 - resolve() would follow symbolic links
    if "supervisor" not in facts:
        facts["supervisor"] = identify()
    report = RunReport(
        run_id=run_id,
        backend=backend,
        state=RunState.RUNNING,
        started_at=utc_now(),
        workspace_dir=workspace_dir,
        host=socket.gethostname(),
        versions=versions(),
        **facts,
    )
    try:
        directory = new_record_dir(workspace_dir)
        return RunRecord(directory, attrs.evolve(report, record_dir=directory, **_paths_in(directory, report)))
    except OSError as exc:
        raise _unwritable(report, exc) from exc


def _unwritable(report: RunReport, exc: OSError) -> StartError:
    reason = f"cannot write a record in the workspace {str(report.workspace_dir)!r}: {exc.strerror or exc}"
    return StartError(reason, attrs.evolve(report, state=RunState.NOT_STARTED, reason=reason, finished_at=utc_now()))


def _live_already(live: RunReport) -> str:
    return (
        f"the workspace has a live run already: record {str(live.record_dir)!r}, host {live.host!r}, "
        f"pid {live.supervisor.pid if live.supervisor else 'unknown'}"
        f"{f', kept by {live.keeper}' if live.keeper else ''}; wait for it or cancel it"
    )


def new_record_dir(workspace_dir: Path) -> Path:
    """Make an empty record folder below an existing *workspace_dir*."""
    records = workspace_dir / RECORDS
    records.mkdir(exist_ok=True)
    if records.is_symlink():  # whatever looks for records follows none
        raise OSError(errno.ELOOP, f"its {RECORDS} is a symbolic link")
    while True:
        letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(6))
        directory = records / f"{utc_now():%Y%m%dT%H%M%SZ}-{letters}"
        with contextlib.suppress(FileExistsError):
            directory.mkdir()
            return directory


def write_report(directory: Path, report: RunReport) -> None:
    """Replace the report in *directory* atomically: a reader sees the old one or the new one, whole."""
    plain = unstructure_config(report) | {"ok": report.ok}
    del plain["record_dir"]
    for name in _PATHS:
        path = getattr(report, name)
        plain[name] = path.name if path is not None else None
    write_json(directory / REPORT, plain)


def read_report(path: str | os.PathLike[str]) -> RunReport:
    """Read the report of a run.

    Args:
        path: A ``report.json``, the record's folder, or a workspace, whose newest record is read.

    Returns:
        The report; a run whose record says ``RUNNING`` but whose supervisor is gone reads as ``LOST``, unless
        something else keeps the run (``keeper``).

    Raises:
        RecordError: There is no report, or it cannot be read as one.
    """
    directory = _record_dir(Path(path))
    file = directory / REPORT
    try:
        plain = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise RecordError(path, f"no {REPORT} there; give a record's folder or a workspace with a run") from None
    except (OSError, ValueError, RecursionError) as exc:
        raise RecordError(file, f"cannot be read as a report: {exc}") from exc
    if not isinstance(plain, dict):
        raise RecordError(file, f"is not a report: found {type(plain).__name__}")
    report = _report_from(cast("dict[str, Any]", plain), directory)
    if report.state is RunState.RUNNING and _is_abandoned(report):
        return _as_lost(report, file)
    return report


def _is_abandoned(report: RunReport) -> bool:
    return report.keeper is None and report.supervisor is not None and is_alive(report.supervisor) is False


def reopen_record(path: str | os.PathLike[str]) -> RunRecord | None:
    """Give the record of a run that is left to this process to complete.

    Args:
        path: As for ``read_report``.

    Returns:
        The record where the process that had to complete it is gone, or is this one; ``None`` where it is complete, or
        somebody else will complete it.

    Raises:
        RecordError: There is no report, or it cannot be read as one.
    """
    report = read_report(path)
    is_mine = report.state is RunState.RUNNING and report.supervisor == identify()
    if report.record_dir is None or not (is_mine or report.state is RunState.LOST):
        return None
    return RunRecord(report.record_dir, attrs.evolve(report, state=RunState.RUNNING, reason=""))


def find_runs(directory: str | os.PathLike[str]) -> list[RunReport]:
    """Read the reports of all attempts below *directory*, oldest first; symbolic links are not followed.

    A report that cannot be read is passed over.
    """
    found: list[RunReport] = []
    for folder, subfolders, _ in os.walk(directory):
        path = Path(folder)
        if path.name == RECORDS or path.parent.name == FAILED_RECORDS:
            for record in (path / name for name in subfolders):
                with contextlib.suppress(RecordError):
                    if not record.is_symlink():
                        found.append(read_report(record))
            subfolders.clear()
    return sorted(found, key=lambda report: (report.started_at, str(report.record_dir)))


def cancel(path: str | os.PathLike[str], *, timeout: float | None = 60.0) -> RunReport:
    """End a run from any process, and wait until it has ended.

    Args:
        path: A record, or a workspace, whose live run is meant.
        timeout: How many seconds to wait for the end, or ``None`` for as long as it takes.

    Returns:
        The final report. A run that had ended before is left as it is.

    Raises:
        RecordError: There is no report at *path*.
        RompyError: The run's backend cannot end it.
        TimeoutError: The run was asked to end but had not ended in time.
    """
    # The newest record of a workspace may be that of a run that was refused, since another one is live there.
    report = live_run(Path(path)) or read_report(path)
    if report.state.is_final:
        return report
    if not report.is_cancellable or report.record_dir is None:
        raise RompyError(f"run {report.run_id!r} cannot be cancelled: backend {report.backend!r} has no way to end it")
    record_dir = report.record_dir
    (record_dir / CANCEL).touch()
    if report.keeper is not None:
        _attach(report)
    deadline = None if timeout is None else time.monotonic() + timeout
    while not (report := read_report(record_dir)).state.is_final:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"run {report.run_id!r} was asked to end but still runs after {timeout} s")
        time.sleep(_POLL_S)
    return report


def _attach(report: RunReport) -> None:
    """Have the backend of a kept run look after it in this process, too: nobody else may do so any more."""
    from rompy_core._plugins import load_plugin

    with contextlib.suppress(PluginError):  # not installed here; whoever looks after the run sees the request
        attach = getattr(load_plugin("rompy.run", report.backend), "attach", None)
        if callable(attach):
            attach(report.record_dir)


def utc_now() -> datetime:
    """Give the time now, aware, UTC."""
    return datetime.now(UTC)


def _record_dir(path: Path) -> Path:
    if path.name == REPORT and not path.is_dir():
        return path.parent
    # A model may have written a report.json of its own into the workspace.
    with contextlib.suppress(OSError):
        attempts = [found.parent for found in (path / RECORDS).glob(f"*/{REPORT}")]
        if attempts:
            # Names begin with the second; within one second the file's own time decides.
            return max(attempts, key=lambda folder: (folder.name.partition("-")[0], _created(folder)))
    return path


def _created(folder: Path) -> str:
    try:
        return str(json.loads((folder / REPORT).read_bytes())["started_at"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def _report_from(plain: dict[str, Any], directory: Path) -> RunReport:
    """Read the report leniently where it may come from another version: unknown fields are passed over."""
    values = known_fields(plain, RunReport)
    for name, kind in _PARTS.items():
        if isinstance(values.get(name), Mapping):
            values[name] = known_fields(values[name], kind)
    values["record_dir"] = directory = Path(os.path.abspath(directory))  # noqa: PTH100 - symbolic links stay
    for name in _PATHS:
        if values.get(name) is not None:
            values[name] = directory / str(values[name])
    try:
        report = structure_config(values, RunReport)
    except ConfigError as exc:
        raise RecordError(directory / REPORT, f"is not a report: {'; '.join(exc.problems)}") from exc
    if any(date is not None and date.tzinfo is None for date in (report.started_at, report.finished_at)):
        raise RecordError(directory / REPORT, "is not a report: started_at and finished_at must have a time zone")
    return report


def known_fields(plain: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Leave out what an attrs class has no field for."""
    names = {field.name for field in attrs.fields(kind)}
    return {name: value for name, value in plain.items() if name in names}


def _as_lost(report: RunReport, file: Path) -> RunReport:
    """Give *report* as ``LOST``, unless it was completed between the reading and the look at the process."""
    again: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        again = json.loads(file.read_bytes())
    if again.get("state", RunState.RUNNING) != RunState.RUNNING:
        return _report_from(again, file.parent)
    pid = report.supervisor.pid if report.supervisor else "unknown"
    reason = f"the process that had to complete this record (pid {pid} on {report.host}) is gone"
    return attrs.evolve(report, state=RunState.LOST, reason=reason)


def live_run(workspace_dir: Path) -> RunReport | None:
    """Give the report of the run that is live in *workspace_dir*, or ``None``."""
    for file in (workspace_dir / RECORDS).glob(f"*/{REPORT}"):
        with contextlib.suppress(RecordError):
            report = read_report(file)
            if report.state is RunState.RUNNING:
                return report
    return None


@contextlib.contextmanager
def _locked(records: Path) -> Generator[None]:
    """Let one process at a time look for a live run and add its own record.

    A file system without locks (some cluster ones) leaves a gap of a few milliseconds between the look and the add.
    """
    lock = os.open(records / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _paths_in(directory: Path, report: RunReport) -> dict[str, Any]:
    """Place the files that the backend named (``stdout.log``) in the record's folder."""
    named = {name: cast("Path | None", getattr(report, name)) for name in _PATHS}
    return {name: directory / path for name, path in named.items() if path is not None}
