from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rompy_core import (
    ConfigError,
    FilesConfig,
    ModelRun,
    Period,
    PluginLoadError,
    PluginNotFoundError,
    TemplateConfig,
    structure_config,
    unstructure_config,
)

Install = Callable[..., Path]

AS_JSON = """{
  "run_id": "case",
  "output_dir": "out",
  "run_id_subdir": false,
  "period": {"start": "2024-05-14T00:00:00Z", "end": "2024-05-15T00:00:00Z", "interval": 3600},
  "config": {"model_type": "files", "files": {"INPUT": "PROJ"}, "command": ["swan.exe", "INPUT"]}
}"""
AS_TOML = """
run_id = "case"
output_dir = "out"
run_id_subdir = false
period = { start = 2024-05-14T00:00:00Z, end = "2024-05-15T00:00:00Z", interval = 3600.0 }

[config]
model_type = "files"
command = ["swan.exe", "INPUT"]
files = { INPUT = "PROJ" }
"""
AS_YAML = """
run_id: case
output_dir: out
run_id_subdir: false
period:
  start: 2024-05-14T00:00:00Z
  end: 2024-05-15T00:00:00Z
  interval: 3600
config:
  model_type: files
  files:
    INPUT: PROJ
  command: [swan.exe, INPUT]
"""
FILES = {"case.json": AS_JSON, "case.toml": AS_TOML, "case.yaml": AS_YAML, "case.yml": AS_YAML, "case.JSON": AS_JSON}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file."""

    def write(name: str, text: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def problems(written: Callable[[str, str | bytes], Path]) -> Callable[..., tuple[str, ...]]:
    """Give the problems of a file that holds a table."""

    def find(**table: Any) -> tuple[str, ...]:
        path = written("case.json", json.dumps(table))
        with pytest.raises(ConfigError) as caught:
            ModelRun.from_file(path)
        assert caught.value.subject == str(path)
        return caught.value.problems

    return find


# Files.


@pytest.mark.parametrize("name", FILES)
def test_json_toml_and_yaml_give_the_model_run_that_python_gives(
    name: str, written: Callable[[str, str | bytes], Path]
) -> None:
    path = written(name, FILES[name])

    run = ModelRun.from_file(path)

    start = datetime(2024, 5, 14, tzinfo=UTC)
    assert run == ModelRun(
        run_id="case",
        output_dir=Path("out"),
        run_id_subdir=False,
        period=Period(start=start, end=start + timedelta(days=1), interval=timedelta(hours=1)),
        config=FilesConfig(files={"INPUT": "PROJ"}, command=("swan.exe", "INPUT")),
    )


@pytest.mark.parametrize("spell", [str, Path, os.fsencode], ids=["str", "Path", "bytes"])
def test_a_path_may_be_spelled_in_any_way(spell: Any, written: Callable[[str, str | bytes], Path]) -> None:
    path = written("case.json", '{"run_id": "case"}')

    assert ModelRun.from_file(spell(path)) == ModelRun(run_id="case")


def test_a_subclass_is_read_as_itself(written: Callable[[str, str | bytes], Path]) -> None:
    class Own(ModelRun):
        pass

    assert type(Own.from_file(written("case.json", '{"run_id": "case"}'))) is Own


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("case.json", "{", "Expecting property name enclosed in double quotes"),
        ("case.json", "[1]", "must hold a table of names and values, found list"),
        ("case.json", b"\xff", "'utf-8' codec can't decode byte 0xff"),
        ("case.json", "[" * 100_000, None),
        ("case.toml", "a = ", "Invalid value"),
        ("case.yaml", "a: [", "while parsing a flow node"),
        ("case.yaml", "", "must hold a table of names and values, found NoneType"),
        ("case.yaml", "a: !!int ''", "holds a value that PyYAML cannot read: IndexError: "),
        ("case.yaml", "a: !!python/object/apply:os.system [ls]", "could not determine a constructor for the tag"),
        ("case.ini", "a", "must end in .json, .toml, .yaml, .yml, found '.ini'"),
        ("case", "a", "must end in .json, .toml, .yaml, .yml, found ''"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_cause(
    name: str, content: str | bytes, problem: str | None, written: Callable[[str, str | bytes], Path]
) -> None:
    path = written(name, content)

    with pytest.raises(ConfigError) as caught:
        ModelRun.from_file(path)

    assert caught.value.subject == str(path)
    (found,) = caught.value.problems
    if problem is not None:
        assert problem in found


def test_a_missing_file_and_a_directory_are_config_errors(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()

    for name, problem in [("gone.json", "No such file or directory"), ("folder.json", "Is a directory")]:
        with pytest.raises(ConfigError, match=f"cannot be read: {problem}"):
            ModelRun.from_file(tmp_path / name)
    with pytest.raises(ConfigError, match="embedded null"):
        ModelRun.from_file("nul\0.json")


def test_without_pyyaml_the_error_has_the_command_to_install_it(
    written: Callable[[str, str | bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("case.yaml", AS_YAML)
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(ConfigError, match=r'needs PyYAML; install it with: pip install "rompy-core\[yaml\]"'):
        ModelRun.from_file(path)


# Problems.


def test_every_problem_of_a_file_is_listed_at_once(problems: Callable[..., tuple[str, ...]]) -> None:
    found = problems(
        run_id="a/b",
        output_dir=3,
        runid="a",
        delete_existing="no",
        period={"start": "soon", "interval": "1h"},
        config={"model_type": "files", "files": {"../up": ""}, "comand": ""},
    )

    assert set(found) == {
        "config.comand: FilesConfig has no such option; did you mean 'command'?",
        "config.files['../up']: must name a file below the workspace, found '../up'",
        "runid: ModelRun has no such option; did you mean 'run_id'?",
        "run_id: run_id must name one directory (no separator, no control character), found 'a/b'",
        "output_dir: must be a path, found 3",
        "delete_existing: must be true or false, found 'no'",
        "period.end: is required",
        "period.start: must be a date and time such as 2024-05-14T00:00:00, found 'soon'",
        "period.interval: must be a number of seconds, found '1h'",
    }


def test_problems_of_the_config_alone_are_enough(problems: Callable[..., tuple[str, ...]]) -> None:
    assert problems(run_id="case", config={"model_type": "files", "x": 1}) == (
        "config.x: FilesConfig has no such option",
    )


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "run_id: is required"),
        ({"run_id": 3}, "run_id: must be a string, found 3"),
        ({"run_id": "a", "config": "files"}, "config: config must be None or have generate"),
        ({"run_id": "a", "config": {"files": {}}}, "config.model_type: must be 'files', 'templates', or a name from"),
        ({"run_id": "a", "config": {"model_type": ["files"]}}, "config.model_type: must be 'files', 'templates', or a"),
        ({"run_id": "a", "period": "2024"}, "period: period must be None, a table, or have start and end, found str"),
        ({"run_id": "a", "_runs": []}, "_runs: ModelRun has no such option"),
        (
            {"run_id": "a", "run_id_subdir": False, "delete_existing": True},
            "'simulations': delete_existing would remove output_dir itself",
        ),
    ],
)
def test_a_wrong_file_says_what_is_wrong(
    table: dict[str, Any], problem: str, problems: Callable[..., tuple[str, ...]]
) -> None:
    (found,) = problems(**table)

    assert found.startswith(problem)


# Model configs by name.

CONFIGS = """
import attrs

@attrs.frozen(kw_only=True)
class Attrs:
    depth: float
    def generate(self, workspace_dir, model_run): pass

class Plain:
    def __init__(self, depth: float, name="a"):
        self.depth = depth
    def generate(self, workspace_dir, model_run): pass

class Validated:
    @classmethod
    def model_validate(cls, data):
        made = cls()
        made.depth = data["depth"]
        made.given = data
        return made
    def generate(self, workspace_dir, model_run): pass

class Telling(Validated):
    model_fields = {"model_type": None, "depth": None}

class Empty:
    pass
"""


@pytest.fixture
def configs(fake_distribution: Install) -> None:
    """Install model configs of other hands."""
    names = {name.lower(): f"wave_configs:{name}" for name in ("Attrs", "Plain", "Validated", "Telling", "Empty")}
    groups = {"rompy.config": {**names, "broken": "no_such_module:X"}}
    fake_distribution("waves", groups=groups, modules={"wave_configs": CONFIGS})


@pytest.mark.usefixtures("configs")
@pytest.mark.parametrize("name", ["attrs", "plain", "validated", "telling", "plain@waves"])
def test_a_config_of_other_hands_is_found_by_its_name(name: str, written: Callable[[str, str | bytes], Path]) -> None:
    path = written("case.json", json.dumps({"run_id": "case", "config": {"model_type": name, "depth": 3.0}}))

    run = ModelRun.from_file(path)

    assert run.config.depth == 3.0


@pytest.mark.usefixtures("configs")
def test_a_pydantic_class_gets_the_model_type_where_it_has_a_field_for_it(
    written: Callable[[str, str | bytes], Path],
) -> None:
    given = {}
    for name in ("validated", "telling"):
        path = written("case.json", json.dumps({"run_id": "case", "config": {"model_type": name, "depth": 3.0}}))
        given[name] = ModelRun.from_file(path).config.given

    assert given == {"validated": {"depth": 3.0}, "telling": {"model_type": "telling", "depth": 3.0}}


@pytest.mark.usefixtures("configs")
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"model_type": "attrs", "depht": 3.0}, "config.depht: Attrs has no such option; did you mean 'depth'?"),
        ({"model_type": "plain", "depth": "3"}, "config.depth: must be a number, found '3'"),
        ({"model_type": "plain"}, "config.depth: is required"),
        ({"model_type": "validated"}, "config.'depth'"),
        (
            {"model_type": "empty"},
            "config: config must be None or have generate(workspace_dir, model_run), found Empty",
        ),
    ],
)
def test_a_wrong_option_for_a_config_of_other_hands_is_named(
    config: dict[str, Any], problem: str, problems: Callable[..., tuple[str, ...]]
) -> None:
    assert problem in problems(run_id="case", config=config)


@pytest.mark.usefixtures("configs")
def test_a_config_that_cannot_be_used_is_a_plugin_error(written: Callable[[str, str | bytes], Path]) -> None:
    table = {"run_id": "case", "config": {"model_type": "broken"}}
    with pytest.raises(PluginLoadError, match=r"no_such_module:X of waves does not import"):
        ModelRun.from_file(written("case.json", json.dumps(table)))

    table["config"] = {"model_type": "template"}
    with pytest.raises(PluginNotFoundError) as caught:
        ModelRun.from_file(written("case.json", json.dumps(table)))

    assert caught.value.detail == (
        "no installed distribution advertises it; did you mean 'templates'?; "
        "known: templates, empty, attrs, broken, files, plain, telling, validated"
    )


def test_a_config_of_templates_is_there_without_a_plugin(written: Callable[[str, str | bytes], Path]) -> None:
    config = {"model_type": "templates", "template_dir": "t", "values": {"a": 1}}

    run = ModelRun.from_file(written("case.json", json.dumps({"run_id": "case", "config": config})))

    assert run.config == TemplateConfig(template_dir=Path("t"), values={"a": 1})


# Periods.


def test_a_period_is_made_of_dates_text_or_a_table() -> None:
    start = datetime(2024, 5, 14, tzinfo=UTC)
    end = datetime(2024, 5, 15, tzinfo=UTC)
    table = {"start": "2024-05-14T00:00:00Z", "end": end, "interval": 1800}

    period = Period(start=start, end=end, interval=timedelta(minutes=30))

    assert Period(**table) == structure_config(table, Period) == ModelRun(run_id="a", period=table).period == period
    assert structure_config(unstructure_config(period), Period) == period


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        ("2024-05-14", "2024-05-14", "end: must be after start 2024-05-14T00:00:00, found 2024-05-14T00:00:00"),
        ("2024-05-14", "2024-05-13", "end: must be after start"),
        ("2024-05-14", "2024-05-15T00:00:00Z", "end: must have a time zone exactly if start has one"),
        ("2024-05-14T00:00:00Z", "2024-05-15", "end: must have a time zone exactly if start has one"),
        (None, "2024-05-15", "start: must be a date and time, found None"),
        ("2024-05-14", 20240515, "end: must be a date and time, found 20240515"),
    ],
)
def test_a_period_that_is_none_is_refused(start: Any, end: Any, problem: str) -> None:
    for make in (lambda: Period(start=start, end=end), lambda: structure_config({"start": start, "end": end}, Period)):
        with pytest.raises(ConfigError) as caught:
            make()

        assert caught.value.problems[0].startswith(problem)


def test_a_period_of_another_library_is_as_good_as_ours() -> None:
    other = SimpleNamespace(start=datetime(2024, 5, 14, tzinfo=UTC), end=None)

    assert ModelRun(run_id="a", period=other).period is other
    with pytest.raises(ValueError, match="period must be None, a table, or have start and end, found int"):
        ModelRun(run_id="a", period=3)


# Run ids.


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        ("", "must name one directory"),
        (".", "must name one directory"),
        ("..", "must name one directory"),
        ("/", "must name one directory"),
        ("/abs", "must name one directory"),
        ("a/b", "must name one directory"),
        ("a\\b", "must name one directory"),
        ("a\0b", "must name one directory"),
        ("a\nb", "must name one directory"),
        ("a\x7f", "must name one directory"),
        (".rompy", "where records are kept"),
        (".rompy-failed", "where records are kept"),
        ("ü" * 128, "at most 255 bytes"),
        ("\udc80\ud800", "must "),
        (3, "must be a string, found int"),
        (None, "must be a string, found NoneType"),
        (Path("a"), "must be a string, found PosixPath"),
    ],
)
def test_what_names_no_single_directory_is_no_run_id(run_id: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"run_id {message}|run_id must .*{message}"):
        ModelRun(run_id=run_id)


def test_a_run_id_is_checked_when_it_is_changed_too() -> None:
    run = ModelRun(run_id="a")

    with pytest.raises(ValueError, match="run_id must name one directory"):
        run.run_id = "../b"

    assert run.run_id == "a"


_TRICKY = [
    "con",
    "a b",
    "~",
    "-rf",
    "*",
    "ä",
    "a\u0308",
    "名",
    "🌊",
    "x" * 255,
    "é" * 127,
    ".hidden",
    "rompy",
    "%2e%2e",
]


@settings(max_examples=100, deadline=None)
@given(run_id=st.text(st.characters(), max_size=300) | st.sampled_from(_TRICKY))
@example(run_id="\ud800")
@example(run_id="\u2028")
def test_any_text_is_a_run_id_that_names_one_directory_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, run_id: str
) -> None:
    output_dir = tmp_path_factory.mktemp("out")
    try:
        run = ModelRun(run_id=run_id, output_dir=output_dir)
    except ValueError:
        shutil.rmtree(output_dir)
        return

    workspace_dir = run.generate()

    assert list(output_dir.iterdir()) == [workspace_dir]
    assert workspace_dir == output_dir / run_id
    assert workspace_dir.is_dir()
    shutil.rmtree(output_dir)
