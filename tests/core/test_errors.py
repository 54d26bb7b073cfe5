from __future__ import annotations

import copy
import datetime as dt
import pickle
from pathlib import Path

import pytest

from rompy_core import (
    ConfigError,
    ModelRunError,
    PluginConflictError,
    PluginContractError,
    PluginError,
    PluginLoadError,
    PluginNotFoundError,
    RecordError,
    RompyError,
    RunReport,
    RunState,
    StartError,
    TemplateError,
    WorkspaceError,
    _errors,
)

REPORT = RunReport(
    run_id="case",
    backend="local",
    state=RunState.NOT_STARTED,
    started_at=dt.datetime(2024, 5, 14, tzinfo=dt.UTC),
    workspace_dir=Path("case"),
)
ERRORS = [
    RompyError("generate() reports failure"),
    PluginError("rompy.run", "swan", "is broken"),
    PluginNotFoundError("rompy.run", "swan", "known: none"),
    PluginConflictError("rompy.run", "swan", "ask for one of swan@a, swan@b"),
    PluginLoadError("rompy.run", "swan", "does not import"),
    PluginContractError("rompy.run", "swan", "has no run"),
    ConfigError("LocalConfig", ["timeout: must be > 0", "memory: must be a size"]),
    ModelRunError("model_run cannot be None"),
    WorkspaceError(Path("out") / "case", "is a symbolic link"),
    RecordError("out/case", "holds no record"),
    StartError("no such command: 'swan.exe'", REPORT),
    TemplateError("INPUT.j2", 3, "'depth' is undefined"),
]
BUILTINS = {
    PluginError: ValueError,
    PluginNotFoundError: LookupError,
    PluginContractError: TypeError,
    ConfigError: ValueError,
    ModelRunError: ValueError,
    WorkspaceError: ValueError,
    RecordError: ValueError,
    TemplateError: ValueError,
}


def _class_name(error: object) -> str:
    return type(error).__name__


def test_every_error_of_ours_is_tried_here() -> None:
    ours = {value for value in vars(_errors).values() if isinstance(value, type) and issubclass(value, RompyError)}

    assert ours == {type(error) for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS, ids=_class_name)
def test_an_error_survives_pickling_and_copying_with_its_facts(error: RompyError) -> None:
    twins = [pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)]

    for twin in twins:
        assert type(twin) is type(error)
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert str(twin) == str(error)


@pytest.mark.parametrize("error", ERRORS, ids=_class_name)
def test_every_error_is_a_rompy_error_with_a_sentence(error: RompyError) -> None:
    assert isinstance(error, RompyError)
    assert str(error)


@pytest.mark.parametrize(("ours", "builtin"), BUILTINS.items(), ids=lambda cls: cls.__name__)
def test_whoever_expects_the_builtin_catches_ours(ours: type, builtin: type) -> None:
    assert issubclass(ours, builtin)


def test_a_start_error_is_no_value_error() -> None:
    # "ValueError: nothing was written"; a run that could not start has left a record.
    assert not issubclass(StartError, ValueError)


def test_one_problem_is_a_sentence_and_several_are_a_list() -> None:
    one = ConfigError("LocalConfig", iter(["timeout: must be > 0"]))
    two = ConfigError("LocalConfig", iter(["timeout: must be > 0", "nice: must be a whole number"]))

    assert str(one) == "LocalConfig: timeout: must be > 0"
    assert str(two) == "LocalConfig: 2 problems\n  - timeout: must be > 0\n  - nice: must be a whole number"
    assert two.problems == ("timeout: must be > 0", "nice: must be a whole number")


def test_sentences_name_what_was_asked_for() -> None:
    assert str(PluginError("rompy.run", "swan", "is broken")) == "plugin 'swan' of group 'rompy.run': is broken"
    assert str(WorkspaceError(Path("out"), "is a link")) == "'out': is a link"
    assert str(RecordError("out", "holds no record")) == "'out': holds no record"
    assert str(StartError("no such command", REPORT)) == "no such command"
    assert str(TemplateError("a.j2", 3, "'x' is undefined")) == "template a.j2, line 3: 'x' is undefined"


def test_a_line_that_is_not_known_is_not_invented() -> None:
    assert str(TemplateError("a.j2", 0, "is not UTF-8")) == "template a.j2: is not UTF-8"
