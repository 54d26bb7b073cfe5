"""The file of a pipeline: a model run, and for each stage the plugin with its options."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Self, cast

import attrs

from rompy_cli._checks import check_pipeline, check_postprocessor, check_run_backend
from rompy_core import ConfigError, ModelRun, PluginError, check_options

_KEYS: Final = {"run": "backend", "postprocess": "processor", "pipeline": "backend"}
"""What names the plugin in each table."""
_DEFAULTS: Final = {"run": "local", "postprocess": "noop", "pipeline": "local"}


def _checked_by(table: str, check: Callable[[str, Mapping[str, Any]], None]) -> Callable[..., None]:
    """Make the validator of a table: its plugin must be there and take the options."""

    def validate(_: Any, __: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"must be a table of options, found {type(value).__name__}")  # noqa: TRY004
        name, options = _split(table, cast("Mapping[str, Any]", value))
        if not isinstance(name, str):
            raise ConfigError(table, [f"{_KEYS[table]}: must be the name of a plugin, found {type(name).__name__}"])
        try:
            check(name, options)
        except PluginError as exc:
            raise ConfigError(table, [f"{_KEYS[table]}: {exc}"]) from exc

    return validate


def _split(table: str, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Give the plugin that *given* names, and its options."""
    options = {name: value for name, value in given.items() if name != _KEYS[table]}
    return given.get(_KEYS[table], _DEFAULTS[table]), options


@attrs.define(kw_only=True, slots=False)
class PipelineFile(ModelRun):
    """A model run that knows by which plugins it is run, postprocessed, and taken through both.

    In a file, the tables are called ``run``, ``postprocess`` and ``pipeline``. All names and options are checked when
    the object is made, and every problem is reported at once.

    Attributes:
        run_table: ``backend`` (default ``local``), and its options.
        postprocess_table: ``processor`` (default ``noop``), and its options.
        pipeline_table: ``backend`` (default ``local``), and its options.
    """

    run_table: Mapping[str, Any] = attrs.field(
        alias="run",
        factory=dict[str, Any],
        repr=False,  # environment variables are among the options
        validator=_checked_by("run", check_run_backend),
    )
    postprocess_table: Mapping[str, Any] = attrs.field(
        alias="postprocess",
        factory=dict[str, Any],
        repr=False,
        validator=_checked_by("postprocess", check_postprocessor),
    )
    pipeline_table: Mapping[str, Any] = attrs.field(
        alias="pipeline",
        factory=dict[str, Any],
        repr=False,
        validator=_checked_by("pipeline", check_pipeline),
    )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read the file and check all that it says, also whether its backend can run this model.

        Raises:
            ConfigError: With every problem.
            PluginError: The class of the model config cannot be used.
        """
        file = super().from_file(path)
        try:
            file.check()
        except ConfigError as exc:
            raise ConfigError(os.fsdecode(path), [f"run.{line}" for line in exc.problems]) from exc
        return file

    @property
    def plugins(self) -> dict[str, str]:
        """The names of the plugins, by table."""
        tables = {"run": self.run_table, "postprocess": self.postprocess_table, "pipeline": self.pipeline_table}
        return {name: _split(name, table)[0] for name, table in tables.items()}

    @property
    def shows_progress(self) -> bool:
        """Whether the pipeline is known to show the progress of its run; another one may refuse to be asked."""
        return self.plugins["pipeline"] in ("local", "local@rompy-core")

    def check(self) -> None:
        """Have the run backend say early what stands against this run; nothing is written.

        Raises:
            ConfigError: The backend cannot run it so.
        """
        backend, options = _split("run", self.run_table)
        check_options("rompy.run", backend, options, model_run=self)

    def execute_run(self, **more: Any) -> None:
        """Run the model as the file says; how that ended is in ``report``."""
        backend, options = _split("run", self.run_table)
        self.run(backend, **{**options, **more})

    def execute_pipeline(self, **more: Any) -> Any:
        """Run the pipeline as the file says, and give what it gave."""
        backend, options = _split("pipeline", self.pipeline_table)
        return self.pipeline(backend, **{**self._stages(), **options, **more})

    def _stages(self) -> dict[str, Any]:
        """Give what the file says of the stages; a pipeline that has no such stages is told nothing of them."""
        backend, run_kwargs = _split("run", self.run_table)
        processor, process_kwargs = _split("postprocess", self.postprocess_table)
        of_run = {"run_backend": backend, "run_kwargs": run_kwargs} if self.run_table else {}
        of_postprocess = {"processor": processor, "process_kwargs": process_kwargs} if self.postprocess_table else {}
        return of_run | of_postprocess
