"""What members come as, what becomes of their columns, and when their inputs count as changed."""

from __future__ import annotations

import dataclasses
import enum
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from rompy_core import ConfigError, FilesConfig, ModelRun, Period, TemplateConfig
from rompy_ensemble import Ensemble
from rompy_ensemble._hashing import InputsHasher
from rompy_ensemble._members import read_rows
from rompy_ensemble._rendering import Renderer

ROWS = [{"tide": 0.5, "cells": 10, "label": "low"}, {"tide": 1.5, "cells": 20, "label": "high"}]


@attrs.frozen(kw_only=True)
class Case:
    tide: float = 0.0
    cells: int = 1

    def generate(self, workspace_dir: Path, model_run: object) -> None:
        (workspace_dir / "case").write_text(f"{self.tide} {self.cells}\n")


@dataclasses.dataclass(frozen=True)
class PlainCase:
    tide: float = 0.0

    def generate(self, workspace_dir: Path, model_run: object) -> None: ...


class Colour(enum.Enum):
    RED = 1


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def _csv(directory: Path, text: str) -> Path:
    path = directory / "members.csv"
    path.write_text(text)
    return path


def test_a_list_a_csv_file_and_a_dataframe_of_the_same_members_are_the_same(tmp_path: Path) -> None:
    path = _csv(tmp_path, "tide,cells,label\n0.5,10,low\n1.5,20,high\n")

    tables = [ROWS, tuple(ROWS), iter(ROWS), path, str(path), pd.DataFrame(ROWS, index=[7, 9])]

    for table in tables:
        rows = read_rows(table)
        assert [dict(row) for row in rows] == ROWS
        assert [type(value) for value in rows[0].values()] == [float, int, str]


def test_every_point_of_a_dataset_is_a_member() -> None:
    dataset = xr.Dataset({"depth": (("tide", "friction"), [[1, 2], [3, 4]])}, {"tide": [0.5, 1.5], "friction": [1, 2]})

    rows = read_rows(dataset)

    assert [tuple(row[name] for name in ("tide", "friction", "depth")) for row in rows] == [
        (0.5, 1, 1),
        (0.5, 2, 2),
        (1.5, 1, 3),
        (1.5, 2, 4),
    ]
    assert all(type(value) in (int, float) for row in rows for value in row.values())


def test_coordinates_alone_are_a_table_too() -> None:
    rows = read_rows(xr.Dataset(coords={"tide": [0.5, 1.5], "friction": [1, 2, 3]}))

    assert len(rows) == 6
    assert set(rows[0]) == {"tide", "friction"}


def test_no_library_of_tables_is_imported() -> None:
    import subprocess

    code = (
        "import sys; from rompy_ensemble import *; from rompy_core import ModelRun;"
        "Ensemble(members=[{}], model=ModelRun(run_id='a')).read();"
        "sys.exit(bool({'pandas', 'numpy', 'xarray', 'dask', 'distributed'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([], "at least one row"),
        (5, "must be a list of mappings, the path of a CSV file, .* found int"),
        ({"a": 1}, "found dict"),
        ([{"a": 1}, 2, {3: 4}], r"2 problems\n  - members\[1\]: .* found int\n  - members\[2\]: .* the names \[3\]"),
        ("no-such.csv", "'no-such.csv' cannot be read: No such file"),
    ],
)
def test_what_is_no_table_is_refused(members: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_rows(members)


def test_a_csv_file_with_a_cell_too_many_or_too_few_is_refused(tmp_path: Path) -> None:
    path = _csv(tmp_path, "a,b\n1,2\n1\n1,2,3\n")

    with pytest.raises(ConfigError) as caught:
        read_rows(path)

    assert [line.split(": ")[1] for line in caught.value.problems] == [f"{str(path)!r}, row {row}" for row in (2, 3)]


@pytest.mark.parametrize("config", [Case(cells=7), PlainCase()])
def test_columns_become_fields_of_the_config(config: Any, tmp_path: Path) -> None:
    renderer = Renderer([{"tide": 0.5}, {"tide": 1.5}], ModelRun(run_id="m", output_dir=tmp_path, config=config))

    assert [renderer(index).config.tide for index in (0, 1)] == [0.5, 1.5]
    assert getattr(renderer(0).config, "cells", 7) == 7
    assert list(renderer.names) == ["m-0001", "m-0002"]


def test_columns_that_are_no_fields_become_values_of_templates(tmp_path: Path) -> None:
    config = TemplateConfig(template_dir=tmp_path, values={"depth": 3})
    renderer = Renderer([{"tide": 0.5, "command": "x"}], ModelRun(run_id="m", config=config))

    rendered = renderer(0).config

    assert rendered.values == {"depth": 3, "tide": 0.5}
    assert rendered.command == "x"


def test_a_column_run_id_names_the_member() -> None:
    renderer = Renderer([{"run_id": "low", "tide": 1}], ModelRun(run_id="m", config=Case()))

    assert renderer(0).run_id == "low"
    assert renderer(0).output_dir.is_absolute()


def test_a_function_may_make_any_model_run(tmp_path: Path) -> None:
    def model(row: Any) -> ModelRun:
        return ModelRun(run_id=f"tide-{row['tide']}", output_dir=tmp_path, config=Case(tide=row["tide"]))

    renderer = Renderer(ROWS, model)

    assert list(renderer.names) == ["tide-0.5", "tide-1.5"]
    assert renderer.output_dir == tmp_path


def test_every_row_that_cannot_be_rendered_is_told_at_once(tmp_path: Path) -> None:
    rows = [{"tdie": 1}, {"tide": 1, "run_id": "a/b"}, {"run_id": "x"}, {"run_id": "x"}, {"run_id": "x" * 250}]

    with pytest.raises(ConfigError) as caught:
        Renderer(rows, ModelRun(run_id="m", output_dir=tmp_path, config=Case()))

    assert [line.partition(":")[0] for line in caught.value.problems] == [f"members[{n}]" for n in (0, 1, 3, 4)]
    assert "did you mean 'tide'?" in caught.value.problems[0]
    assert "is that of members[2], too" in caught.value.problems[2]


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (lambda row: None, "must give a model run with run_id and output_dir, found NoneType"),
        (lambda row: ModelRun(run_id=str(row["tide"]), output_dir=f"out-{row['tide']}"), "one output_dir, found 2"),
        (lambda row: ModelRun(run_id=str(row["tide"]), run_id_subdir=False), "run_id_subdir: must be on"),
        (lambda row: 1 / 0, "ZeroDivisionError"),
        (ModelRun(run_id="m"), "no column can be placed"),
    ],
)
def test_a_model_that_gives_no_workspaces_of_their_own_is_refused(model: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Renderer(ROWS, model)


def test_every_problem_of_an_ensemble_is_told_before_anything_is_written(tmp_path: Path) -> None:
    from rompy_ensemble import RetryRule

    ensemble = Ensemble(
        members=ROWS,
        model=ModelRun(run_id="m", output_dir=tmp_path / "out", config=FilesConfig()),
        retries=RetryRule(scale={"memory": 2, "timeout": 2}),
        run_kwargs={"timeout": None},
        executor_kwargs={"wokers": 3},
    )

    with pytest.raises(ConfigError) as caught:
        ensemble.run()

    text = "\n".join(caught.value.problems)
    assert "retries[0].scale['memory']: run_kwargs must have a 'memory' to start from" in text
    assert "scale['timeout']" in text
    assert "members[0]: tide: is a column" in text
    assert "executor_kwargs: 'threads' does not take them" in text
    assert not (tmp_path / "out").exists()


def test_options_of_the_backend_are_checked_for_each_kind_of_member_before_anything_is_written(tmp_path: Path) -> None:
    model = ModelRun(run_id="m", output_dir=tmp_path / "out", config=Case())

    with pytest.raises(ConfigError, match=r"timout: .*did you mean 'timeout'"):
        Ensemble(members=[{}], model=model, run_kwargs={"timout": 1, "command": "true"}).run()
    with pytest.raises(ConfigError, match=r"members\[1\]: command: is required"):
        Ensemble(
            members=[{"command": c} for c in ("true", None)], model=attrs.evolve(model, config=FilesConfig())
        ).run()
    assert not (tmp_path / "out").exists()


def _hash(config: Any, **options: Any) -> str:
    return InputsHasher()(ModelRun(run_id="m", config=config), options)


def _values(tmp_path: Path, **values: Any) -> str:
    return _hash(TemplateConfig(template_dir=tmp_path / "none", values=values))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, 1.0),
        (1, "1"),
        (True, 1),
        ("ab", ["a", "b"]),
        (["ab", "c"], ["a", "bc"]),
        ([[1], 2], [[1, 2]]),
        ({"a": 1}, {"a": 2}),
        ({"a": None}, {}),
        (np.array([1.0, 2.0]), np.array([1.0, 3.0])),
        (np.zeros((2, 1)), np.zeros((1, 2))),
        (Case(tide=1), Case(tide=2)),
        (Slotted(1), Slotted(2)),
        (Colour.RED, "RED"),
        (len, max),
        (b"a", "a"),
        (Path("a"), "a"),
    ],
)
def test_different_inputs_have_different_hashes(one: Any, other: Any, tmp_path: Path) -> None:
    assert _values(tmp_path, value=one) != _values(tmp_path, value=other)
    assert _values(tmp_path, value=one) == _values(tmp_path, value=one)


def test_the_hash_depends_on_neither_the_order_of_names_nor_the_process(tmp_path: Path) -> None:
    import subprocess

    code = (
        "from rompy_core import FilesConfig, ModelRun; from rompy_ensemble._hashing import InputsHasher;"
        "print(InputsHasher()(ModelRun(run_id='x', output_dir='y', config=FilesConfig(files={'b': '1', 'a': '2'})),"
        " {'command': {'p', 'q', 'r'}, 'timeout': 5}))"
    )

    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in "123"
    }

    assert told == {_hash(FilesConfig(files={"a": "2", "b": "1"}), command={"r", "q", "p"})}


def test_the_period_and_the_command_are_inputs_and_limits_are_not() -> None:
    model = ModelRun(run_id="m", period=Period(start="2024-01-01", end="2024-01-02"))  # type: ignore[arg-type]
    hasher = InputsHasher()

    assert hasher(model, {}) != hasher(attrs.evolve(model, period=None), {})
    assert hasher(model, {"command": "a"}) != hasher(model, {"command": "b"})
    assert hasher(model, {"timeout": 1, "env_vars": {"A": "1"}}) == hasher(model, {})
    assert hasher(attrs.evolve(model, run_id="n", output_dir="elsewhere"), {}) == hasher(model, {})


def test_a_changed_template_is_a_changed_input(tmp_path: Path) -> None:
    (tmp_path / "INPUT.j2").write_text("tide")
    config = TemplateConfig(template_dir=tmp_path)
    before = _hash(config)

    (tmp_path / "INPUT.j2").write_text("wave")

    assert _hash(config) != before


def test_a_changed_file_that_the_config_names_is_a_changed_input(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"1")
    large.write_bytes(b"1" * 2**20 + b"1")
    config = TemplateConfig(template_dir=tmp_path / "none", values={"small": small, "large": large})
    before = _hash(config)

    small.write_bytes(b"2")
    changed = _hash(config)
    large.write_bytes(b"1" * 2**20 + b"22")

    assert len({before, changed, _hash(config)}) == 3
