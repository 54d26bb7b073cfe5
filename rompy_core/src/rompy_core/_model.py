"""``ModelRun``: what to run, where, and the four things to do with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self, cast

import attrs

from rompy_core import fields
from rompy_core._bars import check_show_progress
from rompy_core._binding import bind_backend, bind_pipeline, bind_postprocessor, check_bound
from rompy_core._errors import ConfigError, WorkspaceError
from rompy_core._files import load_mapping
from rompy_core._model_configs import config_from_mapping
from rompy_core._pipeline import check_results, process_outputs
from rompy_core._plugins import PIPELINE_BACKENDS
from rompy_core._protocols import ModelConfig, RunHandle
from rompy_core._reports import RunReport
from rompy_core._running import run_in, submit_bound, to_bool, workspace_for
from rompy_core._structure import structure_config
from rompy_core._workspaces import check_run_id, clear_workspace, make_workspace


@attrs.frozen(kw_only=True)
class Period(fields.Checked):
    """The time that a model run covers.

    Attributes:
        start: The first moment; without a zone it is UTC.
        end: The last moment, after the start.
        interval: The step of the forcing or of the output, or ``None``.
    """

    start: datetime = attrs.field(converter=fields.to_datetime, validator=fields.date_time)
    end: datetime = attrs.field(converter=fields.to_datetime, validator=fields.date_time)
    interval: timedelta | None = attrs.field(
        default=None, converter=fields.to_timedelta, validator=attrs.validators.optional(fields.duration)
    )

    def __attrs_post_init__(self) -> None:
        if (self.start.tzinfo is None) != (self.end.tzinfo is None):
            raise ConfigError("Period", ["end: must have a time zone exactly if start has one"])
        if self.end <= self.start:
            raise ConfigError(
                "Period", [f"end: must be after start {self.start.isoformat()}, found {self.end.isoformat()}"]
            )


def _to_period(value: object) -> object:
    return structure_config(cast("object", value), Period) if isinstance(value, Mapping) else value


def _period(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    # That of another library is as good as ours.
    if value is not None and not (hasattr(value, "start") and hasattr(value, "end")):
        raise ValueError(f"period must be None, a table, or have start and end, found {type(value).__name__}")


def _model_config(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, ModelConfig):
        detail = "must be None or have generate(workspace_dir, model_run)"
        raise ValueError(f"config {detail}, found {type(value).__name__}")


@attrs.define(kw_only=True, slots=False)
class ModelRun:
    """One run of a model: its identity, its inputs and its workspace. Reading an attribute never touches the disk.

    Attributes:
        run_id: The name of the run, and of one directory below ``output_dir``.
        output_dir: Where workspaces are.
        config: Writes the inputs; ``None`` for an empty workspace.
        period: The time that the run covers, or ``None``.
        run_id_subdir: Whether the workspace is ``output_dir/run_id`` or ``output_dir`` itself.
        delete_existing: Whether ``generate()`` removes an earlier workspace of the same name first. Only one that a
            model run made is removed.

    Raises:
        ValueError: The ``run_id`` names no single directory, or ``delete_existing`` would remove ``output_dir``.
    """

    run_id: str = attrs.field(validator=check_run_id)
    output_dir: Path = attrs.field(default=Path("simulations"), converter=fields.to_path, validator=fields.path)
    config: Any = attrs.field(default=None, validator=_model_config)
    period: Any = attrs.field(default=None, converter=_to_period, validator=_period)
    run_id_subdir: bool = attrs.field(default=True, validator=fields.flag)
    delete_existing: bool = attrs.field(default=False, validator=fields.flag)
    _runs: list[RunHandle | RunReport] = attrs.field(
        factory=list["RunHandle | RunReport"], init=False, repr=False, eq=False
    )

    def __attrs_post_init__(self) -> None:
        self._refuse_to_delete_output_dir()

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model run from a JSON, TOML or YAML file.

        Args:
            path: A table of the attributes; ``config`` is a table with ``model_type``: ``files``, ``templates``, or
                a name from the entry-point group ``rompy.config``. Relative paths are taken from the caller's
                directory, as everywhere.

        Raises:
            ConfigError: The file cannot be read, or with every problem in it.
            PluginError: The class for ``model_type`` cannot be used.
        """
        data = load_mapping(path)
        problems: list[str] = []
        if isinstance(data.get("config"), Mapping):
            try:
                data["config"] = config_from_mapping(data["config"])
            except ConfigError as exc:
                problems += [f"config.{line}" for line in exc.problems]
                data["config"] = None
        try:
            model_run = structure_config(data, cls)
        except ConfigError as exc:
            raise ConfigError(str(path), [*problems, *exc.problems]) from None
        if problems:
            raise ConfigError(str(path), problems)
        return model_run

    @property
    def workspace_dir(self) -> Path:
        """The workspace: ``output_dir/run_id``, or ``output_dir`` where ``run_id_subdir`` is off."""
        return self.output_dir / self.run_id if self.run_id_subdir else self.output_dir

    @property
    def staging_dir(self) -> Path:
        """The workspace, by the name that plugins for rompy 0.6 read."""
        return self.workspace_dir

    def generate(self) -> Path:
        """Write the inputs and give the workspace. Called again, it writes again.

        Raises:
            WorkspaceError: The workspace cannot be made, or must not be removed.
        """
        workspace_dir = self.workspace_dir
        if self.delete_existing:
            self._refuse_to_delete_output_dir()
            clear_workspace(workspace_dir)
        make_workspace(workspace_dir, self.run_id)
        if self.config is not None:
            self.config.generate(workspace_dir, self)
        return workspace_dir

    def run(
        self,
        backend: object = "local",
        workspace_dir: str | os.PathLike[str] | None = None,
        *,
        show_progress: bool = False,
        **options: Any,
    ) -> bool:
        """Run the model and wait for its end.

        Args:
            backend: The name of a run backend, a config (ours or rompy's), or a backend object.
            workspace_dir: An existing directory with the inputs; without it, they are generated.
            show_progress: Whether to show the run while it goes on: a bar in a terminal or a notebook, a line now and
                then in a log; needs ``rompy-core[progress]``. This is no option of the backend; one that has an option
                of that name gets it by ``config=``.
            options: The backend's options; ``plugin_options=`` is for its class, where that takes any.

        Returns:
            ``True`` only where the verdict is success; ``report`` says why it is not.

        Raises:
            ValueError: The backend is not known or an option is wrong; nothing was written.
            TimeoutError: The run exceeded its wall-clock limit.
        """
        check_show_progress(show_progress)
        bound = bind_backend(backend, options)
        check_bound(bound, self)
        return to_bool(run_in(bound, self, workspace_dir, show_progress=show_progress))

    def submit(
        self, backend: object = "local", workspace_dir: str | os.PathLike[str] | None = None, **options: Any
    ) -> RunHandle:
        """Start the model and return at once; the arguments are those of ``run``.

        The run ends with this process, unless it is waited for.

        Raises:
            ValueError: The backend is not known or an option is wrong; nothing was written.
            StartError: The run could not be started at all.
        """
        bound = bind_backend(backend, options)
        check_bound(bound, self)
        with workspace_for(bound, self, workspace_dir) as path:
            return submit_bound(bound, self, path)

    def postprocess(self, processor: object = "noop", **options: Any) -> Any:
        """Process the outputs.

        Args:
            processor: The name of a postprocessor, a config of rompy's, or a postprocessor object.
            options: The postprocessor's options; ``plugin_options=`` is for its class, where that takes any.

        Returns:
            What the postprocessor gave: a mapping, or an object, with at least ``success``.

        Raises:
            ValueError: The postprocessor is not known, or an option is wrong.
        """
        return process_outputs(bind_postprocessor(processor, options), self)

    def pipeline(self, pipeline_backend: object = "local", *, show_progress: bool = False, **options: Any) -> Any:
        """Generate, run and postprocess.

        Args:
            pipeline_backend: The name of a pipeline backend, or a pipeline backend object.
            show_progress: Whether to show the run while it goes on, as for ``run``. The pipeline does it: one that does
                not take this option is refused where it is true.
            options: The pipeline backend's options; ``plugin_options=`` is for its class, where that takes any.

        Returns:
            What the pipeline gave: a dict with at least ``success``, ``run_id`` and ``stages_completed``.

        Raises:
            ValueError: A plugin is not known or an option is wrong; nothing was written.
        """
        check_show_progress(show_progress)
        bound = bind_pipeline(pipeline_backend, {**options, **({"show_progress": True} if show_progress else {})})
        return check_results(bound(self), PIPELINE_BACKENDS.group, bound.name)

    @property
    def report(self) -> RunReport | None:
        """The report of the newest finished run of this object, or ``None``."""
        finished = [run if isinstance(run, RunReport) else run.wait() for run in self._runs if _is_finished(run)]
        # Of two that ended at once, the one that was noted last: the same report, read where its record was moved to.
        return max(reversed(finished), key=lambda report: report.finished_at or report.started_at, default=None)

    def remember(self, run: RunHandle | RunReport) -> None:
        """Take note of a run of this object, for ``report``; whoever starts the run calls it."""
        newest = self.report
        self._runs = [*([newest] if newest else []), *(run for run in self._runs if not _is_finished(run)), run]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the live runs behind: a handle belongs to its process."""
        newest = self.report
        return {**self.__dict__, "_runs": [newest] if newest else []}

    def _refuse_to_delete_output_dir(self) -> None:
        if self.delete_existing and not self.run_id_subdir:
            detail = "delete_existing would remove output_dir itself, with all runs in it; set run_id_subdir=True"
            raise WorkspaceError(self.output_dir, detail)


def _is_finished(run: RunHandle | RunReport) -> bool:
    return isinstance(run, RunReport) or run.done()
