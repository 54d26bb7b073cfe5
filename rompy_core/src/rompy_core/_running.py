"""Run a bound backend for any object that is like a model run: in a workspace, to a handle or to a report."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeGuard, cast, runtime_checkable

from rompy_core._binding import BoundBackend, bind_plugin, check_bound
from rompy_core._errors import RecordError, StartError, WorkspaceError
from rompy_core._foreign import GeneratedRun, expected_workspace, generate_workspace, message_of, success_of
from rompy_core._live import CallHandle, log_end
from rompy_core._logs import RunLogger
from rompy_core._protocols import RunBackend, RunHandle, SubmittingBackend
from rompy_core._records import open_record, read_report, refuse_busy, refuse_live, utc_now
from rompy_core._reports import RunReport, RunState
from rompy_core._workspaces import claimed, make_workspace

logger = logging.getLogger(__name__)


@runtime_checkable
class _Remembers(Protocol):
    def remember(self, run: RunHandle | RunReport) -> None: ...


def submit_bound(bound: BoundBackend, model_run: Any, workspace_dir: Path) -> RunHandle:
    """Start a run in *workspace_dir*.

    Raises:
        StartError: It could not be started at all.
    """
    if _is_submitting(bound.plugin):
        return _remembered(model_run, functools.partial(bound.plugin.submit, model_run, bound.config, workspace_dir))
    return _remembered(model_run, lambda: _call_handle(bound, model_run, workspace_dir).start())


def run_in(
    bound: BoundBackend,
    model_run: Any,
    workspace_dir: str | os.PathLike[str] | None,
    *,
    show_progress: bool = False,
) -> RunReport:
    """Run to the end in the given workspace, or else in one that is generated; see ``run_bound``."""
    with contextlib.ExitStack() as until_started:
        try:
            path = until_started.enter_context(workspace_for(bound, model_run, workspace_dir))
        except StartError as exc:
            return _not_started(exc)
        return run_bound(
            bound, model_run, path, has_started=lambda _: until_started.close(), show_progress=show_progress
        )


def _not_started(exc: StartError) -> RunReport:
    log_end(RunLogger(logger, exc.report.run_id, exc.report.backend), exc.report)
    return exc.report


def run_bound(
    bound: BoundBackend,
    model_run: Any,
    workspace_dir: Path,
    *,
    has_started: Callable[[RunHandle], None],
    take_note: Callable[[RunReport], None] = lambda _: None,
    show_progress: bool = False,
) -> RunReport:
    """Run to the end in *workspace_dir*; a run that could not be started is a report, too.

    *has_started* is called with its handle once there is a record of it. An exception in this thread, such as
    ``KeyboardInterrupt``, cancels the run and goes on after its end; *take_note* is called with the report then.
    """
    handle: RunHandle | None = None
    begun_at = utc_now()
    try:
        # The display outlasts the handle, so it shows the end of a run that an interrupt cancels, too.
        with _display(show_progress) as show:
            if _is_submitting(bound.plugin):
                with submit_bound(bound, model_run, workspace_dir) as handle:
                    has_started(handle)
                    show(handle)
                    return handle.wait()
            # In the caller's own thread, where an interrupt reaches the backend's code.
            handle = _remembered(model_run, lambda: _call_handle(bound, model_run, workspace_dir))
            has_started(handle)
            show(handle)
            return cast("CallHandle", handle).run().wait()
    except StartError as exc:
        return _not_started(exc)
    except BaseException:
        report = _interrupted(handle, workspace_dir, begun_at)
        if report is not None:
            take_note(report)
            _remember(model_run, report)
        raise


@contextlib.contextmanager
def _display(is_wanted: bool) -> Generator[Callable[[RunHandle], None]]:  # noqa: FBT001 - the one thing it is told
    """Give what shows a run until the block is left, or does nothing where that is not wanted."""
    if not is_wanted:
        yield lambda _: None
        return
    from rompy_core._bars import show_progress

    with show_progress() as shown:
        yield shown.add


def _interrupted(handle: RunHandle | None, workspace_dir: Path, begun_at: datetime) -> RunReport | None:
    """Give the report of a run that an interrupt has ended, also where it came before there was a handle."""
    if handle is not None:
        return handle.wait() if handle.done() else None
    with contextlib.suppress(RecordError):
        report = read_report(workspace_dir)
        if report.state.is_final and report.started_at >= begun_at:
            return report
    return None


def _is_submitting(plugin: RunBackend) -> TypeGuard[SubmittingBackend[Any]]:
    return isinstance(plugin, SubmittingBackend)


def to_bool(report: RunReport) -> bool:
    """Give the verdict as ``run()`` does.

    Raises:
        TimeoutError: The run exceeded its wall-clock limit.
    """
    if report.state is RunState.TIMED_OUT:
        raise TimeoutError(f"run {report.run_id!r}: {report.reason}")
    return report.ok


def run_to_end(
    backend: SubmittingBackend[Any],
    model_run: Any,
    config: Any = None,
    workspace_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> bool:
    """Be the ``run()`` of a backend that has ``submit()``.

    Raises:
        ValueError: The model run or an option is wrong.
        TimeoutError: The run exceeded its wall-clock limit.
    """
    bound = bind_plugin(type(backend).__name__, backend, options if config is None else {"config": config, **options})
    check_bound(bound, model_run)
    return to_bool(run_in(bound, model_run, workspace_dir))


@contextlib.contextmanager
def workspace_for(bound: BoundBackend, model_run: Any, workspace_dir: str | os.PathLike[str] | None) -> Generator[Path]:
    """Give the given workspace, or else generate it and keep other runs out until the block is left.

    Leave it as soon as the run has its record, which keeps them out from then on.

    Raises:
        WorkspaceError: The given one is no directory.
        StartError: A run is live where the inputs would be written, or another one is being prepared there.
    """
    if workspace_dir is None:
        with _claimed_workspace(bound, model_run):
            yield generate_workspace(model_run)
        return
    path = Path(workspace_dir)
    if not path.is_dir():
        raise WorkspaceError(path, "workspace_dir is no directory; leave it out to have the inputs generated")
    yield path


@contextlib.contextmanager
def _claimed_workspace(bound: BoundBackend, model_run: Any) -> Generator[None]:
    """Keep other runs out of the workspace, as far as it can be told before it is generated where that is."""
    expected = expected_workspace(model_run)
    if expected is None:
        yield
        return
    run_id: str = model_run.run_id
    with contextlib.ExitStack() as held:
        try:
            if isinstance(model_run, _Remembers):  # one of ours, which would make it next
                make_workspace(expected, run_id)
            if not held.enter_context(claimed(expected)):
                raise refuse_busy(expected, run_id=run_id, backend=bound.name)
            refuse_live(expected, run_id=run_id, backend=bound.name)
        except StartError as exc:
            _remember(model_run, exc.report)
            raise
        yield


def _remembered(model_run: Any, start: Callable[[], RunHandle]) -> RunHandle:
    try:
        handle = start()
    except StartError as exc:
        _remember(model_run, exc.report)
        raise
    _remember(model_run, handle)
    return handle


def _remember(model_run: Any, run: RunHandle | RunReport) -> None:
    if isinstance(model_run, _Remembers):
        model_run.remember(run)


def remember_moved(model_run: Any, record_dir: Path) -> None:
    """Have *model_run* show its newest report with the paths of *record_dir*, where the record is now."""
    with contextlib.suppress(RecordError):  # where no run came to be, there is no report
        _remember(model_run, read_report(record_dir))


def _call_handle(bound: BoundBackend, model_run: Any, workspace_dir: Path) -> CallHandle:
    record = open_record(workspace_dir, run_id=model_run.run_id, backend=bound.name, is_cancellable=False)
    log = RunLogger(logger, model_run.run_id, bound.name)
    return CallHandle(record, log, functools.partial(_call, bound, model_run, workspace_dir))


def _call(bound: BoundBackend, model_run: Any, workspace_dir: Path) -> tuple[RunState, str]:
    result = bound(GeneratedRun(model_run, workspace_dir), workspace_dir=workspace_dir)
    success = success_of(result)
    if success is None:
        return RunState.FAILED, f"the backend gave {type(result).__name__}, which says neither success nor failure"
    return (RunState.COMPLETED, "the backend reports success") if success else (RunState.FAILED, _why(result))


def _why(result: object) -> str:
    message = message_of(result)
    return f"the backend reports failure: {message}" if message else "the backend reports failure"
