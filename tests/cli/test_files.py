from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from rompy_cli._files import PipelineFile
from rompy_core import ConfigError, FilesConfig

Invoke = Callable[..., Result]

TABLE: Mapping[str, Any] = {
    "run_id": "case",
    "output_dir": "out",
    "config": {"model_type": "files", "files": {"INPUT": "a"}, "command": "true"},
    "run": {"backend": "local", "timeout": 5},
    "postprocess": {"processor": "noop", "validate_outputs": False},
    "pipeline": {"backend": "local", "cleanup_on_failure": True},
}
TOML = """
run_id = "case"
output_dir = "out"
config = { model_type = "files", files = { INPUT = "a" }, command = "true" }
run = { backend = "local", timeout = 5 }
postprocess = { processor = "noop", validate_outputs = false }
pipeline = { backend = "local", cleanup_on_failure = true }
"""


@pytest.fixture
def validated(here: Path, invoke: Invoke) -> Callable[..., dict[str, Any]]:
    """Validate a table that is written as JSON, and give what the command says."""

    def run(**table: Any) -> dict[str, Any]:
        (here / "case.json").write_text(json.dumps(table))
        result = invoke("validate", "case.json", "--json")
        document: dict[str, Any] = json.loads(result.stdout)
        assert result.exit_code == (0 if document["ok"] else 2)
        assert list(here.iterdir()) == [here / "case.json"], "nothing is written"
        return document

    return run


def test_toml_yaml_and_json_give_equal_files(here: Path) -> None:
    (here / "a.toml").write_text(TOML)
    (here / "a.json").write_text(json.dumps(TABLE))
    (here / "a.yaml").write_text(json.dumps(TABLE))  # JSON is YAML

    first, second, third = (PipelineFile.from_file(here / f"a.{kind}") for kind in ("toml", "json", "yaml"))

    assert first == second == third
    assert first.config == FilesConfig(files={"INPUT": "a"}, command="true")
    assert first.run_table == {"backend": "local", "timeout": 5}


def test_a_file_without_tables_has_the_defaults(validated: Callable[..., dict[str, Any]]) -> None:
    document = validated(run_id="case", config=TABLE["config"])

    assert document["plugins"] == {"run": "local", "postprocess": "noop", "pipeline": "local"}


def test_every_problem_of_all_plugins_is_listed_at_once(validated: Callable[..., dict[str, Any]]) -> None:
    document = validated(
        run_id="a/b",
        rnu={},
        config={"model_type": "files", "fils": {}},
        run={"backend": "local", "timeout": -1, "comand": "x", "workspace_dir": "/tmp", "show_progress": True},
        postprocess={"processor": "nop"},
        pipeline={"cleanup_on_failur": True, "run_kwargs": {}},
    )

    starts = {problem.partition(": ")[0] for problem in document["problems"]}
    assert starts == {
        "run_id",
        "rnu",
        "config.fils",
        "run.timeout",
        "run.comand",
        "run.workspace_dir",
        "run.show_progress",
        "postprocess.processor",
        "pipeline.run_kwargs",
        "pipeline.cleanup_on_failur",
    }


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"run": {"backend": "locl"}}, "run.backend: plugin 'locl' of group 'rompy.run': no installed distribution"),
        ({"run": {"backend": 3}}, "run.backend: must be the name of a plugin, found int"),
        ({"run": "local"}, "run: must be a table"),
        ({"run": {"rules": "swann"}}, "run.rules: "),
        ({"run": {"require": ["magic"]}}, "run.require"),
        ({"postprocess": {"validate_output": True}}, "postprocess.validate_output: noop has no such option; it takes"),
        ({"pipeline": {"cleanup_on_failur": True}}, "pipeline.cleanup_on_failur: local has no such option; it takes"),
        ({"pipeline": {"backend": "gone"}}, "pipeline.backend: plugin 'gone' of group 'rompy.pipeline'"),
        ({"config": {"model_type": "fils"}}, "config.model_type: plugin 'fils' of group 'rompy.config'"),
        ({"config": None}, "run.command: is required"),
    ],
)
def test_a_problem_says_where_it_is(
    change: dict[str, Any], problem: str, validated: Callable[..., dict[str, Any]]
) -> None:
    document = validated(**{**TABLE, **change})

    (found,) = document["problems"]
    assert found.startswith(problem)


def test_the_values_of_environment_variables_are_not_shown(
    here: Path, validated: Callable[..., dict[str, Any]]
) -> None:
    run = {"env_vars": {"KEY": "hunter2", "OTHER": 3}, "command": "true"}

    document = validated(run_id="case", run=run)

    assert "hunter2" not in json.dumps(document)
    assert len(document["problems"]) == 1
    assert "hunter2" not in repr(PipelineFile(run_id="case", run={"env_vars": {"KEY": "hunter2"}}))


def test_for_people_the_problems_are_lines_on_standard_error(here: Path, invoke: Invoke) -> None:
    (here / "bad.toml").write_text("run_id = 'case'\nx = 1\ny = 2\n")

    result = invoke("validate", "bad.toml")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "bad.toml: 2 problems",
        "  - x: PipelineFile has no such option",
        "  - y: PipelineFile has no such option",
    ]


PIPELINES = """
class Refining:
    def execute(self, model_run, *, refine, run_backend="local", run_kwargs=None):
        return {"success": True, "run_id": model_run.run_id, "stages_completed": [refine], "message": "refined"}

class Odd:
    class config_type:
        def __init__(self, depth: float): self.depth = depth
    def execute(self, model_run, config):
        class Results:
            success, run_id, stages_completed, message = config.depth > 1, model_run.run_id, [], "it is deep"
        return Results()
"""


@pytest.fixture
def _pipelines(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install pipelines of other hands."""
    info = here / "site/deep-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deep\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[rompy.pipeline]\nrefining = deep_pipelines:Refining\nodd = deep_pipelines:Odd\n"
        "[rompy.run]\nlost = gone:X\nnone = deep_pipelines:Odd\n"
    )
    (here / "site/deep_pipelines.py").write_text(PIPELINES)
    monkeypatch.syspath_prepend(str(here / "site"))


@pytest.mark.usefixtures("_pipelines")
@pytest.mark.parametrize(
    ("pipeline", "problem"),
    [
        ({"backend": "refining"}, "pipeline.refine: is required"),
        ({"backend": "refining", "refine": "x", "rest": 1}, "pipeline.rest: refining has no such option"),
        ({"backend": "odd", "depth": "x"}, "pipeline.depth: must be a number, found 'x'"),
    ],
)
def test_options_for_a_pipeline_of_other_hands_are_checked(pipeline: dict[str, Any], problem: str, here: Path) -> None:
    (here / "case.json").write_text(json.dumps({**TABLE, "pipeline": pipeline}))

    with pytest.raises(ConfigError) as caught:
        PipelineFile.from_file(here / "case.json")

    assert caught.value.problems == (problem,)


@pytest.mark.usefixtures("_pipelines")
def test_a_backend_that_is_none_is_a_problem_of_the_file() -> None:
    for name, problem in [("lost", "does not import"), ("none", "has no run(model_run")]:
        with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
            PipelineFile(run_id="case", run={"backend": name})

        assert caught.value.problems[0].startswith(f"backend: plugin '{name}'")
    with pytest.raises(ValueError, match="must be a table of options, found str"):
        PipelineFile(run_id="case", run="local")  # type: ignore[arg-type]


@pytest.mark.usefixtures("_pipelines")
@pytest.mark.parametrize(
    ("pipeline", "code", "message"),
    [
        ({"backend": "refining", "refine": "grid"}, 0, "refined"),
        ({"backend": "odd", "depth": 3.0}, 0, "it is deep"),
        ({"backend": "odd", "depth": 0.5}, 1, "it is deep"),
    ],
)
def test_a_pipeline_of_other_hands_is_run_with_what_the_file_says(
    pipeline: dict[str, Any], code: int, message: str, here: Path, invoke: Invoke
) -> None:
    of_stages = {"run": TABLE["run"]} if pipeline["backend"] == "refining" else {}
    table = {"run_id": "case", "config": TABLE["config"], "pipeline": pipeline, **of_stages}
    (here / "case.json").write_text(json.dumps(table))

    result = invoke("pipeline", "case.json")

    assert result.exit_code == code, result.output
    assert message in result.stdout
