"""``Ensemble``: which members, of which model, on which engine, and what to do with them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from rompy_core import ConfigError, RunState, fields
from rompy_ensemble._attempts import cancel_run, check_stages, is_live, settle
from rompy_ensemble._driver import Drive, Plan, fraction_of, row_of
from rompy_ensemble._engines import Engine, find_factory, processors
from rompy_ensemble._files import HOME, MemberFile, driver_of, driving
from rompy_ensemble._members import read_rows
from rompy_ensemble._rendering import Renderer, check_model
from rompy_ensemble._reports import EnsembleProgress, EnsembleReport, MemberRow
from rompy_ensemble._retries import RetryRule, check_rules, to_rules, unscalable

_POLL_S: Final = 0.1
_LONGEST_NAME: Final = 200
"""Bytes; files are called by it, with some more letters."""


def _table(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of names and values, found {type(value).__name__}")  # noqa: TRY004 - as others


def _name(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or not value or not value.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"must be letters, digits, - and _, found {value!r}")
    if len(value.encode()) > _LONGEST_NAME:
        raise ValueError(f"must have at most {_LONGEST_NAME} bytes, found {value!r}")


@attrs.frozen(kw_only=True)
class Ensemble(fields.Checked):
    """Many members of a model, one pipeline each.

    Nothing is read or written before ``run``, ``iter``, ``read`` or ``cancel`` is called. What is finished is known by
    the disk alone, so the same ensemble can be made again in another process, also while it runs.

    Attributes:
        members: The table: a sequence of mappings, the path of a CSV file, a pandas DataFrame, or an xarray Dataset
            (every point is a member).
        model: A ``ModelRun`` whose config gets each row's columns: as its fields, or in its table ``values`` where it
            has no such field (``TemplateConfig``). A column ``run_id`` names the member; without one, it is the model's
            ``run_id`` with the number of the row. Or a function from a row to a model run; it is called more than once
            for a row and must give the same each time.
        run_backend: Runs each member; as for ``ModelRun.pipeline``.
        run_kwargs: The run backend's options.
        processor: Processes the outputs of each member.
        process_kwargs: The postprocessor's options.
        executor: The engine: a name of the group ``rompy.executors`` (``threads``, ``dask``), a factory as in that
            group, or any ``concurrent.futures.Executor``, which is not shut down.
        executor_kwargs: Options for the engine's factory.
        max_workers: How many members the engine has at once; ``None`` for as many as there are processors here.
        retries: What is tried again: a number of times, a ``RetryRule``, or a list of rules. A member whose worker dies
            is tried again in any case, up to three times.
        max_failures: After so many members have failed for good, no further one begins; those that run are let end.
        resume: Whether members that are finished are left as they are.
        rerun_changed: Whether a member that was finished with other inputs (config, period, command) is run again;
            else it is left and its row says so.
        live_timeout: How many seconds to wait for a member's earlier attempt that still lives; after that, the member
            is refused and not doubled.
        name: Tells ensembles in one ``output_dir`` apart.
    """

    members: Any
    model: Any = attrs.field(validator=check_model)
    run_backend: Any = "local"
    run_kwargs: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any], converter=fields.to_table, validator=_table, repr=fields.names_only
    )
    processor: Any = "noop"
    process_kwargs: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any], converter=fields.to_table, validator=_table, repr=fields.names_only
    )
    executor: Any = "threads"
    executor_kwargs: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any], converter=fields.to_table, validator=_table, repr=fields.names_only
    )
    max_workers: int | None = attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))
    retries: tuple[RetryRule, ...] = attrs.field(default=(), converter=to_rules, validator=check_rules)
    max_failures: int | None = attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))
    resume: bool = attrs.field(default=True, validator=fields.flag)
    rerun_changed: bool = attrs.field(default=False, validator=fields.flag)
    live_timeout: float = attrs.field(default=60.0, converter=fields.to_float, validator=fields.not_negative)
    name: str = attrs.field(default="ensemble", validator=_name)

    def run(
        self,
        *,
        on_row: Callable[[MemberRow], object] | None = None,
        on_progress: Callable[[EnsembleProgress], object] | None = None,
        progress_every_s: float = 1.0,
    ) -> EnsembleReport:
        """Run what is not finished, and wait for the end.

        Args:
            on_row: Called with the row of each member that ends or is found finished.
            on_progress: Called in this thread with how far it is.
            progress_every_s: How often, in seconds, at most.

        Returns:
            The table of results.

        Raises:
            ValueError: Before anything is written, with every problem: a row, an option or a plugin cannot be used.
            RompyError: Another process drives this ensemble.
            KeyboardInterrupt: After all members have been ended. The next start goes on.
        """
        found: dict[str, MemberRow] = {}
        rows, order = self._started(_ticker(on_progress, progress_every_s))
        with contextlib.closing(rows):
            for row in rows:
                found[row.run_id] = row
                if on_row is not None:
                    on_row(row)
        return EnsembleReport(rows=tuple(found[name] for name in order))

    def iter(self) -> Generator[MemberRow]:
        """Run what is not finished, and give the row of each member as it ends; raises as ``run``.

        Left early (``break``, an exception, ``close()``), it ends all members that run.
        """
        return self._started(lambda _: None)[0]

    def read(self) -> EnsembleReport:
        """Read how all members are by now, from the disk; from any process, also while they run.

        Raises:
            ValueError: The table or the model cannot be used.
        """
        renderer = self._renderer()
        home = renderer.output_dir / HOME
        return EnsembleReport(rows=tuple(_row_now(renderer, home, index) for index in range(len(renderer.rows))))

    def cancel(self, *, timeout: float | None = 60.0) -> None:
        """End all members from any process, and wait until they have ended; no further one begins.

        One member is ended by ``rompy_core.cancel(row.workspace_dir)``.

        Args:
            timeout: How many seconds to wait, or ``None`` for as long as it takes.

        Raises:
            TimeoutError: They were asked to end and had not ended in time.
        """
        renderer = self._renderer()
        home = renderer.output_dir / HOME
        driver = driver_of(home, self.name)
        if driver is not None:
            driver.stop_path.touch()
        deadline = None if timeout is None else time.monotonic() + timeout
        while driver_of(home, self.name) == driver is not None or any(map(is_live, _workspaces(renderer))):
            for workspace_dir in _workspaces(renderer):
                cancel_run(workspace_dir)
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"the ensemble {self.name!r} was asked to end but still runs after {timeout} s")
            time.sleep(_POLL_S)

    def _started(self, tick: Callable[[Drive], None]) -> tuple[Generator[MemberRow], tuple[str, ...]]:
        """Check everything, and give the generator that does the work."""
        renderer, factory = self._checked()
        return self._rows(renderer, factory, tick), tuple(renderer.names)

    def _rows(
        self, renderer: Renderer, factory: Callable[..., Any] | None, tick: Callable[[Drive], None]
    ) -> Generator[MemberRow]:
        plan = self._plan()
        engine = Engine(self.executor, factory, plan.max_workers, self.executor_kwargs)
        with driving(renderer.output_dir / HOME, self.name) as driver, contextlib.closing(engine):
            drive = Drive(plan, renderer, engine, driver)
            yield from drive.rows(lambda: tick(drive))

    def _plan(self) -> Plan:
        return Plan(
            run_backend=self.run_backend,
            run_kwargs=self.run_kwargs,
            processor=self.processor,
            process_kwargs=self.process_kwargs,
            retries=self.retries,
            max_failures=self.max_failures,
            max_workers=self.max_workers or processors(),
            resume=self.resume,
            rerun_changed=self.rerun_changed,
            live_timeout=self.live_timeout,
        )

    def _renderer(self) -> Renderer:
        return Renderer(read_rows(self.members), self.model)

    def _checked(self) -> tuple[Renderer, Callable[..., Any] | None]:
        """Find what stands against the members before anything is written, and give what makes them and the engine.

        Raises:
            ConfigError: With every problem of the table, the model and the options.
            PluginError: A plugin cannot be used.
        """
        problems = unscalable(self.retries, self.run_kwargs)
        renderer: Renderer | None = None
        factory: Callable[..., Any] | None = None
        try:
            renderer = self._renderer()
            self._check_pipelines(renderer)
        except ConfigError as exc:
            problems += exc.problems
        try:
            factory = find_factory(self.executor, self.executor_kwargs)
        except ConfigError as exc:
            problems += exc.problems
        if problems or renderer is None:
            raise ConfigError("Ensemble", problems)
        return renderer, factory

    def _check_pipelines(self, renderer: Renderer) -> None:
        """Check plugins and options once for each kind of model run: they are the same for all members."""
        problems: list[str] = []
        seen: set[object] = set()
        for index in range(len(renderer.rows)):
            model_run = renderer(index)
            config: object = getattr(model_run, "config", None)
            kind = (_class_of(model_run), _class_of(config), bool(getattr(config, "command", None)))
            if kind in seen:
                continue
            seen.add(kind)
            try:
                check_stages(model_run, self.run_backend, self.processor, self.run_kwargs, self.process_kwargs)
            except ConfigError as exc:
                problems += [f"members[{index}]: {line}" for line in exc.problems]
        if problems:
            raise ConfigError("Ensemble", problems)


def _class_of(value: object) -> type[object]:
    return type(value)


def _ticker(on_progress: Callable[[EnsembleProgress], object] | None, every_s: float) -> Callable[[Drive], None]:
    last = time.monotonic()

    def tick(drive: Drive) -> None:
        nonlocal last
        if on_progress is not None and time.monotonic() - last >= every_s:
            last = time.monotonic()
            on_progress(drive.progress())

    return tick


def _workspaces(renderer: Renderer) -> list[Path]:
    return [renderer.output_dir / name for name in renderer.names]


def _row_now(renderer: Renderer, home: Path, index: int) -> MemberRow:
    file = MemberFile(home, renderer.names[index])
    attempts = file.read()
    if attempts and attempts[-1].run_state is RunState.RUNNING and file.is_free():  # its process died
        attempts = (*attempts[:-1], settle(home, renderer.names[index], attempts[-1]))
    row = row_of(renderer, home, index, attempts, begun=len(attempts))
    if row.state is not RunState.RUNNING:
        return row
    return attrs.evolve(row, fraction=fraction_of(row.workspace_dir))
