"""An engine and a backend that are quick and do as they are told."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from rompy_core import BackendConfig, ModelRun, RunReport, RunState, open_record


class WorkerDiedError(Exception):
    """What an engine raises for a member whose worker is gone."""


class InProcess(Executor):
    """Runs what it is given at once, or loses it; remembers the order."""

    def __init__(self, loses: Callable[[str], bool] = lambda _: False) -> None:
        self.order: list[str] = []
        self.is_shut_down = False
        self.most_at_once = 0
        self._loses = loses

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        run_id = args[0].run_id
        self.order.append(run_id)
        future: Future[Any] = Future()
        if self._loses(run_id):
            future.set_exception(WorkerDiedError("gone"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.is_shut_down = True


class Ended:
    """The handle of a run that has ended."""

    usage = None
    progress = None

    def __init__(self, report: RunReport) -> None:
        self.report = report
        self.run_id = report.run_id
        self.state = report.state
        self.record_dir = report.record_dir

    def cancel(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def wait(self, timeout: float | None = None) -> RunReport:
        return self.report

    def __await__(self) -> Generator[Any, None, RunReport]:
        yield
        return self.report

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


@attrs.frozen(kw_only=True)
class ScriptedConfig(BackendConfig):
    backend = "scripted"


class Scripted:
    """Ends the runs of each member in the states that are written for it, one after the other."""

    config_type = ScriptedConfig

    def __init__(self, endings: Mapping[str, list[RunState]]) -> None:
        self.endings = {run_id: list(states) for run_id, states in endings.items()}
        self.memories: dict[str, list[int | None]] = {}

    def run(self, model_run: Any, **kwargs: Any) -> bool:
        raise NotImplementedError

    def submit(self, model_run: ModelRun, config: ScriptedConfig, workspace_dir: Path) -> Ended:
        self.memories.setdefault(model_run.run_id, []).append(config.memory)
        state = self.endings[model_run.run_id].pop(0)
        record = open_record(workspace_dir, run_id=model_run.run_id, backend="scripted")
        if state is RunState.NOT_STARTED:
            raise record.refusal("told not to start")
        return Ended(record.finish(state, f"told to end as {state}"))
