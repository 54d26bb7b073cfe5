"""One attempt at a member, where the engine has it run: in a thread, in another process, on another machine."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import attrs

from rompy_core import (
    RECORDS,
    LocalPipelineBackend,
    RecordError,
    RompyError,
    RunReport,
    RunState,
    cancel,
    check_model_run,
    check_options,
    find_runs,
    read_report,
)
from rompy_ensemble._files import Attempt, Driver, MemberFile, wait_for

logger = logging.getLogger(__name__)
_WATCH_EVERY_S: Final = 0.5
_OUTLIVE_S: Final = 2.0
"""The end of a job reaches its processes one after the other: a worker that lives so much longer is to live on."""


@attrs.frozen(kw_only=True)
class Task:
    """What the engine is given: all that one attempt needs, wherever it runs.

    Attributes:
        run_id: The member.
        model_run: Its model run.
        home: Where the ensemble keeps its files, absolute.
        inputs: The hash of what it computes from.
        since: How many attempts are of no interest: a success among them does not count.
        run_backend: As for a pipeline.
        run_kwargs: As for a pipeline.
        processor: As for a pipeline.
        process_kwargs: As for a pipeline.
        scaled: The options among *run_kwargs* that have grown.
        live_timeout: How many seconds to wait for an earlier attempt that still lives.
        driver: Who asked for it.
    """

    run_id: str
    model_run: Any
    home: Path
    inputs: str
    since: int
    run_backend: Any
    run_kwargs: Mapping[str, Any] = attrs.field(repr=False)
    processor: Any
    process_kwargs: Mapping[str, Any] = attrs.field(repr=False)
    scaled: Mapping[str, Any]
    live_timeout: float
    driver: Driver

    @property
    def workspace_dir(self) -> Path:
        """The member's workspace."""
        return self.home.parent / self.run_id


def check_stages(
    model_run: Any,
    run_backend: Any,
    processor: Any,
    run_kwargs: Mapping[str, Any] | None,
    process_kwargs: Mapping[str, Any] | None,
) -> None:
    """Find what stands against a pipeline with these arguments; nothing is written.

    Raises:
        ValueError: The model run, a plugin's name or an option is wrong.
    """
    check_model_run(model_run)
    check_options("rompy.run", run_backend, run_kwargs or {}, model_run=model_run)
    check_options("rompy.postprocess", processor, process_kwargs or {})


def run_attempt(task: Task) -> tuple[Attempt, ...]:
    """Run a member's pipeline once, unless it is finished, lives elsewhere or is not wanted any more.

    Returns:
        All attempts of the member, the newest one last; whatever went wrong is in its state and reason.
    """
    file = MemberFile(task.home, task.run_id)
    try:
        with file.locked(task.live_timeout, task.driver.is_over) as is_mine:
            if not is_mine:
                return (*file.read(), _refused(task, "another process is working on it"))
            return _run_locked(task, file)
    except Exception as exc:  # an attempt never raises: an exception in a future is the engine's
        logger.debug("the attempt raised", exc_info=True, extra={"run_id": task.run_id})
        return (_begun(task, (), RunState.NOT_STARTED, f"{type(exc).__name__}: {exc}"),)


def _run_locked(task: Task, file: MemberFile) -> tuple[Attempt, ...]:
    is_quiet = wait_for(lambda: not is_live(task.workspace_dir), task.live_timeout, task.driver.is_over)
    attempts = _settled(task, file)
    newest = attempts[-1] if attempts else None
    if newest is not None and len(attempts) > task.since and is_finished(newest, task.inputs):
        return attempts
    if task.driver.is_over():
        return (*attempts, _begun(task, (), RunState.CANCELLED, "cancelled before it began"))
    if not is_quiet:
        return (*attempts, _refused(task, "a run is live in its workspace"))
    run = _to_continue(task, attempts)
    earlier = tuple(map(_name_of, _runs_in(task.workspace_dir)))
    begun = _begun(task, earlier, RunState.RUNNING, "")
    if run is not None:
        begun = attrs.evolve(begun, record_dir=_relative(task.home, run))
    file.write((*attempts, begun))
    try:
        ended = _run_whole(task, begun) if run is None else _postprocess(task, begun, run)
    except BaseException as exc:  # an interrupt of the process that the engine runs us in
        report = _report_of(task.home, task.run_id, begun)
        ended = _ended(task.home, begun, RunState.CANCELLED, f"interrupted by {type(exc).__name__}", report=report)
        file.write((*attempts, ended))
        raise
    file.write((*attempts, ended))
    return (*attempts, ended)


def is_finished(attempt: Attempt, inputs: str) -> bool:
    """Whether the attempt is a success with these inputs; with unknown ones it is not."""
    return attempt.run_state is RunState.COMPLETED and attempt.inputs == inputs != ""


def is_live(workspace_dir: Path) -> bool:
    """Whether a run is live in the workspace, or may be, on a machine that cannot be seen from here."""
    return any(not report.state.is_final for report in _runs_in(workspace_dir))


def cancel_run(workspace_dir: Path) -> None:
    """Ask for the end of the run that is live in the workspace, if there is one, and do not wait for it."""
    with contextlib.suppress(TimeoutError, RompyError, OSError):
        cancel(workspace_dir, timeout=0)


def settle(home: Path, run_id: str, attempt: Attempt) -> Attempt:
    """Complete an attempt whose process died in the middle of it, by the record of its run."""
    report = _report_of(home, run_id, attempt)
    if report is None:
        return _ended(home, attempt, RunState.LOST, "the process that worked on it died before there was a run")
    what = f"its run ended as {report.state}: {report.reason}"
    return _ended(home, attempt, RunState.LOST, f"the process that worked on it died; {what}", report=report)


def _settled(task: Task, file: MemberFile) -> tuple[Attempt, ...]:
    attempts = file.read()
    if not attempts or attempts[-1].run_state.is_final:
        return attempts
    return (*attempts[:-1], settle(task.home, task.run_id, attempts[-1]))


def _to_continue(task: Task, attempts: tuple[Attempt, ...]) -> RunReport | None:
    """Give the run that was a success although the pipeline was none: only its outputs are left to be processed."""
    newest = attempts[-1] if len(attempts) > task.since else None
    is_same = newest is not None and newest.inputs == task.inputs != ""
    if newest is None or not is_same or not callable(getattr(task.model_run, "postprocess", None)):
        return None
    report = _report_of(task.home, task.run_id, newest)
    return report if report is not None and report.ok else None


def _postprocess(task: Task, begun: Attempt, report: RunReport) -> Attempt:
    try:
        results: object = task.model_run.postprocess(task.processor, **task.process_kwargs)
    except Exception as exc:  # noqa: BLE001 - a postprocessor is code of other hands
        results = {"success": False, "error": f"{type(exc).__name__}: {exc}"}
    if _read(results, "success"):
        return _ended(task.home, begun, RunState.COMPLETED, report.reason, report=report)
    reason = str(_read(results, "error") or _read(results, "message") or "the postprocessor reports failure")
    return _ended(task.home, begun, RunState.FAILED, reason, stage="postprocess", report=report)


def _run_whole(task: Task, begun: Attempt) -> Attempt:
    with _watched(task):
        try:
            results = LocalPipelineBackend().execute(
                task.model_run,
                run_backend=task.run_backend,
                processor=task.processor,
                run_kwargs={**task.run_kwargs, **task.scaled},
                process_kwargs=task.process_kwargs,
            )
        except Exception as exc:  # noqa: BLE001 - what only this machine can find wrong: a plugin, an option
            return _ended(task.home, begun, RunState.NOT_STARTED, f"{type(exc).__name__}: {exc}")
    report = _own_report(task) or _report_of(task.home, task.run_id, begun)
    _outlive(task, report)
    if results["success"]:
        return _ended(task.home, begun, RunState.COMPLETED, report.reason if report else "", report=report)
    if report is not None and not report.ok:
        return _ended(task.home, begun, report.state, report.reason, stage=results["stage"], report=report)
    return _ended(task.home, begun, RunState.FAILED, results["error"], stage=results["stage"], report=report)


def _outlive(task: Task, report: RunReport | None) -> None:
    """Where a signal ended the run, and may end this process too, wait for that: a lost worker is no failure."""
    if report is None or task.driver.is_mine():
        return
    if report.state is RunState.CANCELLED or report.exit_signal is not None or (report.exit_code or 0) > 128:
        wait_for(lambda: False, _OUTLIVE_S, task.driver.is_over)


def _own_report(task: Task) -> RunReport | None:
    report: object = getattr(task.model_run, "report", None)
    return report if isinstance(report, RunReport) else None


def _report_of(home: Path, run_id: str, attempt: Attempt) -> RunReport | None:
    """Give the report of the attempt's run; of what is new since it began, for it had the member's lock."""
    if attempt.record_dir:
        with contextlib.suppress(RecordError):
            return read_report(home.parent / attempt.record_dir)
        return None
    reports = [report for report in _runs_in(home.parent / run_id) if _name_of(report) not in attempt.earlier]
    started = [report for report in reports if report.state is not RunState.NOT_STARTED]
    return max(started or reports, key=lambda report: report.started_at, default=None)


def _runs_in(workspace_dir: Path) -> list[RunReport]:
    return find_runs(workspace_dir / RECORDS)


def _name_of(report: RunReport) -> str:
    return report.record_dir.name if report.record_dir is not None else ""


def _refused(task: Task, why: str) -> Attempt:
    reason = (
        f"{why}, and did not end within {task.live_timeout:g} s; it is left alone, and {str(task.workspace_dir)!r} "
        "has one writer; start the ensemble again when it has ended"
    )
    return _begun(task, (), RunState.NOT_STARTED, reason)


def _begun(task: Task, earlier: tuple[str, ...], state: RunState, reason: str) -> Attempt:
    return Attempt(
        inputs=task.inputs, state=state.value, reason=reason, started_at=_now(), earlier=earlier, scaled=task.scaled
    )


def _ended(
    home: Path, begun: Attempt, state: RunState, reason: str, *, stage: str = "", report: RunReport | None = None
) -> Attempt:
    facts: dict[str, Any] = {}
    if report is not None:
        facts = {name: getattr(report, name) for name in ("wall_time_s", "cpu_time_s", "peak_rss_bytes")}
        facts["record_dir"] = _relative(home, report)
    return attrs.evolve(begun, state=state.value, reason=reason, stage=stage, finished_at=_now(), **facts)


def _relative(home: Path, report: RunReport) -> str:
    return os.path.relpath(report.record_dir, home.parent) if report.record_dir is not None else ""


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _read(results: Any, name: str) -> Any:
    return (
        cast("Mapping[str, Any]", results).get(name) if isinstance(results, Mapping) else getattr(results, name, None)
    )


@contextlib.contextmanager
def _watched(task: Task) -> Generator[None]:
    """End the run when nobody wants it any more, where this is not the process that would end it itself."""
    if task.driver.is_mine():
        yield
        return
    has_ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(task, has_ended.wait), name=f"rompy-watch-{task.run_id}", daemon=True)
    watch.start()
    try:
        yield
    finally:
        has_ended.set()
        watch.join()


def _watch(task: Task, has_ended: Callable[[float], bool]) -> None:
    while not has_ended(_WATCH_EVERY_S):
        if task.driver.is_over():
            cancel_run(task.workspace_dir)
