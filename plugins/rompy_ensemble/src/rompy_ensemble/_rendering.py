"""From a row of the table to the model run of its member."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast, final

import attrs

from rompy_core import ConfigError, ModelRun
from rompy_ensemble._files import HOME
from rompy_ensemble._members import Row

_NAME: Final = "run_id"
_LONGEST: Final = 240
"""Bytes of a ``run_id``: files beside the workspaces are called like it, with an ending."""


@final
class Renderer:
    """Makes the model run of each member, as often as it is asked for; keeps none of them.

    Attributes:
        rows: The table.
        output_dir: Where the workspaces of all members are, absolute.
    """

    def __init__(self, rows: Sequence[Row], model: object) -> None:
        """Render every row once, and keep where they belong.

        Raises:
            ConfigError: With every row that cannot be rendered, or would share a workspace with another one.
        """
        self.rows = rows
        self._model = model
        self._names: list[str] = []
        self.output_dir = self._checked()

    def __call__(self, index: int) -> Any:
        """Give the model run of one member."""
        row = self.rows[index]
        if isinstance(self._model, ModelRun):
            return attrs.evolve(_absolute(self._model), **_evolved(self._model, row, index))
        model_run = _call(self._model, row)
        return _absolute(model_run) if isinstance(model_run, ModelRun) else model_run

    @property
    def names(self) -> Sequence[str]:
        """The ``run_id`` of each member, in the order of the table."""
        return self._names

    def _checked(self) -> Path:
        problems: list[str] = []
        homes: set[Path] = set()
        first_of: dict[str, int] = {}
        for index in range(len(self.rows)):
            try:
                model_run = self(index)
                homes.add(_home_of(model_run))
                name: str = model_run.run_id
            except Exception as exc:  # noqa: BLE001 - models and their configs are code of other hands
                problems += [f"members[{index}]: {line}" for line in _lines(exc)]
                self._names.append("")
                continue
            self._names.append(name)
            if first_of.setdefault(name, index) != index:
                problems.append(f"members[{index}]: its run_id {name!r} is that of members[{first_of[name]}], too")
        if len(homes) > 1:
            shown = ", ".join(map(repr, map(str, sorted(homes)[:3])))
            problems.append(f"model: all members must have one output_dir, found {len(homes)}: {shown}")
        if problems:
            raise ConfigError("Ensemble", problems)
        return homes.pop()


def check_model(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a model run, or a function from a row to one."""
    if not isinstance(value, ModelRun) and (isinstance(value, type) or not callable(value)):
        found = type(value).__name__
        raise ValueError(f"must be a ModelRun or a function from a row to one, found {found}")  # noqa: TRY004 - as others


def _call(model: Any, row: Row) -> Any:
    function: Callable[[Row], Any] = model
    return function(row)


def _lines(exc: Exception) -> Sequence[str]:
    return exc.problems if isinstance(exc, ConfigError) else [f"{type(exc).__name__}: {exc}"]


def _home_of(model_run: Any) -> Path:
    run_id, output_dir = getattr(model_run, "run_id", None), getattr(model_run, "output_dir", None)
    if not isinstance(run_id, str) or not run_id or not isinstance(output_dir, str | os.PathLike):
        raise ConfigError(
            "model", [f"must give a model run with run_id and output_dir, found {type(model_run).__name__}"]
        )
    if run_id in (".", "..", HOME) or Path(run_id).name != run_id:
        raise ConfigError("model", [f"run_id: must name one directory, found {run_id!r}"])
    if not getattr(model_run, "run_id_subdir", True):
        raise ConfigError("model", ["run_id_subdir: must be on, for each member has a workspace of its own"])
    if len(os.fsencode(run_id)) > _LONGEST:
        raise ConfigError("model", [f"run_id: must have at most {_LONGEST} bytes in an ensemble"])
    return Path(os.path.abspath(output_dir))  # noqa: PTH100 - resolve() would follow symbolic links


def _absolute(model_run: ModelRun) -> ModelRun:
    """Place the workspace for workers that may have another current directory."""
    if model_run.output_dir.is_absolute():
        return model_run
    return attrs.evolve(model_run, output_dir=Path(os.path.abspath(model_run.output_dir)))  # noqa: PTH100 - as above


def _evolved(model: ModelRun, row: Row, index: int) -> dict[str, Any]:
    columns = {name: value for name, value in row.items() if name != _NAME}
    changes: dict[str, Any] = {"run_id": str(row.get(_NAME, f"{model.run_id}-{index + 1:04d}"))}
    if columns:
        changes["config"] = _evolved_config(model.config, columns)
    return changes


def _evolved_config(config: Any, columns: Mapping[str, Any]) -> Any:
    """Give *config* with the columns as its fields, or in its table ``values`` where it has no such field."""
    names = _fields_of(config)
    own = {name: value for name, value in columns.items() if name in names and name != "values"}
    others = {name: value for name, value in columns.items() if name not in own}
    if others and "values" not in names:
        raise ConfigError(type(config).__name__, [f"{name}: {_unknown(name, config, names)}" for name in others])
    if others:
        own["values"] = {**config.values, **others}
    return _replace(config, own)


def _fields_of(config: Any) -> Sequence[str]:
    kind = cast("Any", type(config))
    if attrs.has(kind):
        return [str(field.alias) for field in attrs.fields(kind) if field.init]
    if dataclasses.is_dataclass(config):
        return [field.name for field in dataclasses.fields(config) if field.init]
    names: Iterable[str] = getattr(kind, "model_fields", ())  # pydantic
    return list(names)


def _replace(config: Any, changes: Mapping[str, Any]) -> Any:
    kind = cast("Any", type(config))
    if attrs.has(kind):
        return attrs.evolve(config, **changes)
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.replace(config, **changes)
    return kind.model_validate({**cast("Any", config).model_dump(), **changes})


def _unknown(name: str, config: object, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if not names:
        return (
            f"no column can be placed, for the config {type(config).__name__} has no fields; give a function as model"
        )
    return f"is a column of the table and no field of the config{hint}; give a function as model to use it otherwise"
