"""What each call of rompy's contract gives with us, beside rompy 0.6.4 and with its objects: one section for each call.

Docker is in ``test_docker.py``, its command line in ``test_cli.py``.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from rompy.backends import LocalConfig as TheirLocalConfig
from rompy.backends.config import SlurmConfig
from rompy.postprocess.config import BasePostprocessorConfig, NoopPostprocessorConfig

from rompy_core import ConfigError, LocalPipelineBackend, NoopPostprocessor, PluginError, RunReport, RunState, find_runs
from rompy_docker import DockerConfig
from rompy_local import LocalConfig, LocalRunBackend

Make = Callable[..., Any]
ReportOf = Callable[[Any], RunReport]


def run(model_run: Any, *given: Any, **options: Any) -> bool:
    return LocalRunBackend().run(model_run, *given, **options)


def execute(model_run: Any, *given: Any, **options: Any) -> dict[str, Any]:
    return LocalPipelineBackend().execute(model_run, *given, **options)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.ERROR and record.name.startswith("rompy_")
    ]


@pytest.fixture
def config() -> Iterator[TheirLocalConfig]:
    return TheirLocalConfig(command="touch out.nc")


# run(backend="local")


def test_by_its_name_the_local_backend_calls_the_configs_own_run(
    their_run: Make, with_config: Make, report_of: ReportOf
) -> None:
    model_run = their_run(config=with_config(lambda run: Path("ran").write_text(run.run_id) and None))

    assert run(model_run) is True

    assert (report_of(model_run).workspace_dir / "ran").read_text() == "case"


# run(backend="local", command=..., env_vars=, timeout=)


def test_options_are_keyword_arguments(our_run: Make, their_run: Make) -> None:
    options = {"command": '[ "$DEPTH" = 3 ]', "env_vars": {"DEPTH": "3"}, "timeout": 5}

    assert our_run().run("local", **options) is True
    assert run(their_run(), **options) is True
    assert run(their_run(), **{**options, "env_vars": {"DEPTH": "4"}}) is False


# run(backend="nope")


def test_an_unknown_backend_is_a_value_error_that_lists_the_known_ones(our_run: Make) -> None:
    with pytest.raises(ValueError, match="known: docker, local, slurm"):
        our_run().run("nope")


# run(LocalConfig(command="true")), "false" / exit n


@pytest.mark.parametrize(("command", "success"), [("true", True), ("false", False), ("exit 7", False)])
def test_a_config_of_theirs_runs_and_gives_the_verdict(any_run: Any, command: str, success: bool) -> None:
    assert run(any_run, TheirLocalConfig(command=command)) is success
    assert run(any_run, config=TheirLocalConfig(command=command)) is success


def test_a_config_of_theirs_is_a_backend_of_our_model_run(our_run: Make) -> None:
    assert our_run().run(TheirLocalConfig(command="true")) is True
    assert our_run().submit(TheirLocalConfig(command="exit 7")).wait(30).exit_code == 7


def test_a_signal_is_a_failure(any_run: Any, report_of: ReportOf) -> None:
    assert run(any_run, TheirLocalConfig(command="kill -9 $$")) is False
    assert report_of(any_run).exit_signal == 9


# no command, config without run


def test_nothing_to_run_is_an_error_before_anything_is_written(any_run: Any) -> None:
    with pytest.raises(ConfigError, match="command: is required"):
        run(any_run, TheirLocalConfig())
    assert not Path(any_run.output_dir).exists()


# config.run() returns None / "FAILED" / 0 / 1


@pytest.mark.parametrize(
    ("answer", "success"), [(None, True), (True, True), (False, False), ("FAILED", False), (0, False), (1, False)]
)
def test_what_a_configs_run_returns_is_success_only_for_none_and_true(
    our_run: Make, answer: object, success: bool
) -> None:
    # Not one of rompy's, which takes ten seconds to import in the process of its own.
    model = SimpleNamespace(generate=lambda workspace_dir, model_run: None, run=lambda model_run: answer)

    assert run(our_run(config=model), TheirLocalConfig()) is success


# config.run() raises; command cannot start


def test_a_config_that_raises_is_a_failure_that_is_logged(
    their_run: Make, with_config: Make, caplog: pytest.LogCaptureFixture, report_of: ReportOf
) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("no tide")

    model_run = their_run(config=with_config(fail))

    assert run(model_run, TheirLocalConfig()) is False

    assert errors(caplog) == ["run failed: config.run() raised RuntimeError: no tide"]
    assert "no tide" in str(report_of(model_run).traceback)


def test_a_command_that_cannot_start_is_a_failure_that_is_logged(
    any_run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(any_run, TheirLocalConfig(command="no-such-model --fast", shell=False)) is False
    assert "no-such-model" in errors(caplog)[0]


# timeout exceeded


@pytest.mark.parametrize("stream_output", [False, True])
def test_a_command_that_takes_too_long_is_a_timeout_error(any_run: Any, stream_output: bool) -> None:
    config = TheirLocalConfig(command="sleep 60", stream_output=stream_output)

    with pytest.raises(TimeoutError, match="case"):
        run(any_run, config, timeout=0.5, grace_s=0.5)


def test_a_configs_run_that_takes_too_long_is_a_timeout_error(our_run: Make, tmp_path: Path) -> None:
    def sleep(_: Any) -> None:
        (tmp_path / "begun").touch()
        time.sleep(60)

    model_run = our_run(config=SimpleNamespace(generate=lambda workspace_dir, model_run: None, run=sleep))

    with pytest.raises(TimeoutError):
        run(model_run, TheirLocalConfig(), timeout=3, grace_s=0.5)
    assert (tmp_path / "begun").exists()


# backend .run(None, cfg) / object without run_id


@pytest.mark.parametrize("model_run", [None, SimpleNamespace(output_dir="."), SimpleNamespace(run_id=None), "case"])
def test_what_is_no_model_run_is_a_value_error(model_run: object, config: TheirLocalConfig) -> None:
    with pytest.raises(ValueError, match=r"model_run (cannot be None|must have a run_id)"):
        run(model_run, config)


# workspace_dir=d / absent


def test_a_workspace_that_is_given_is_used_and_nothing_is_generated(
    their_run: Make, counting: Any, config: TheirLocalConfig, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()

    assert run(their_run(config=counting), config, str(tmp_path / "mine")) is True

    assert (tmp_path / "mine" / "out.nc").exists()
    assert not (tmp_path / "out").exists()


def test_without_one_the_inputs_are_generated_once(their_run: Make, counting: Any, config: TheirLocalConfig) -> None:
    model_run = their_run(config=counting)

    assert run(model_run, config) is True

    assert (model_run.staging_dir / "generated").read_text() == "x"


# work dir


def test_the_command_starts_in_working_dir_else_in_the_workspace(any_run: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here" / "near").mkdir()

    for working_dir in (None, tmp_path / "elsewhere", Path("near")):
        assert run(any_run, TheirLocalConfig(command="touch out.nc", working_dir=working_dir)) is True

    found = {path.relative_to(tmp_path) for path in tmp_path.rglob("out.nc")}
    assert found == {Path("out/case/out.nc"), Path("elsewhere/out.nc"), Path("here/near/out.nc")}


def test_a_working_dir_that_has_gone_is_a_failure(any_run: Any, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    config = TheirLocalConfig(command="true", working_dir=tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    assert run(any_run, config) is False


# LocalConfig(timeout=30 or 100000), unknown field, missing working_dir, non-str env value


def test_our_config_has_no_limits_of_taste_and_never_looks_at_the_disk() -> None:
    for timeout in (0.5, 30, 100_000, None):
        assert LocalConfig(timeout=timeout).timeout == timeout
        if timeout is None or timeout < 60 or timeout > 86_400:
            with pytest.raises(ValidationError):
                TheirLocalConfig(timeout=timeout)
    assert LocalConfig(working_dir="no/such/place").working_dir == Path("no/such/place")


def test_our_config_refuses_what_it_does_not_know(our_run: Make) -> None:
    with pytest.raises(ValueError, match="env_vars"):
        LocalConfig(env_vars={"DEPTH": 3})
    with pytest.raises(ValueError, match="did you mean 'command'"):
        our_run().run("local", comand="true")


# DockerConfig(); image + dockerfile; absolute dockerfile; neither image nor dockerfile


def test_a_container_has_an_image_or_a_dockerfile_and_there_is_no_default(our_run: Make) -> None:
    for fields in ({}, {"image": "swan", "dockerfile": "Dockerfile"}):
        with pytest.raises(ConfigError, match="either an image or a dockerfile"):
            DockerConfig(**fields)
    with pytest.raises(ConfigError, match="either an image or a dockerfile"):
        our_run().run("docker", executable="swan.exe")
    assert DockerConfig(dockerfile="/abs/Dockerfile").dockerfile == Path("/abs/Dockerfile")


# postprocess(processor="noop")


def test_postprocessing_by_name_gives_a_dict(our_run: Make) -> None:
    model_run = our_run()
    model_run.generate()

    results = model_run.postprocess(processor="noop")

    assert results["success"] is True
    assert {"success", "message", "run_id", "output_dir", "validated"} <= set(results)


# NoopPostprocessor().process(m)


def test_a_directory_with_outputs_is_valid(any_run: Any) -> None:
    any_run.generate()

    results = NoopPostprocessor().process(any_run)

    assert (results["success"], results["validated"], results["run_id"]) == (True, True, "case")


def test_a_file_in_its_place_is_not(any_run: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    results = NoopPostprocessor().process(any_run, output_dir=tmp_path / "file")

    assert (results["success"], results["message"]) == (
        False,
        f"output directory is not a directory: {tmp_path / 'file'}",
    )


def test_a_missing_directory_is_named_and_no_exception(any_run: Any) -> None:
    results = NoopPostprocessor().process(any_run)

    assert results["success"] is False
    assert "output directory not found: " in results["message"]
    assert {"success", "message", "run_id", "output_dir"} <= set(results)


def test_without_validation_the_directory_is_not_looked_at(any_run: Any) -> None:
    results = NoopPostprocessor().process(any_run, validate_outputs=False)

    assert (results["success"], results["validated"]) == (True, False)


@pytest.mark.parametrize("model_run", [None, SimpleNamespace(output_dir=".")])
def test_nothing_to_postprocess_is_a_value_error(model_run: object) -> None:
    with pytest.raises(ValueError, match="model_run"):
        NoopPostprocessor().process(model_run)


# postprocess(cfg, **kw)


def test_a_postprocessors_config_is_obeyed_in_every_field_and_keywords_go_over_it(
    our_run: Make, tmp_path: Path
) -> None:
    (tmp_path / "outputs").mkdir()

    given = our_run().postprocess(NoopPostprocessorConfig(working_dir=tmp_path / "outputs"))
    missing = our_run().postprocess(NoopPostprocessorConfig())
    unseen = our_run().postprocess(NoopPostprocessorConfig(), validate_outputs=False)

    assert (given["success"], given["output_dir"]) == (True, str(tmp_path / "outputs"))
    assert missing["success"] is False
    assert (unseen["success"], unseen["validated"]) == (True, False)


def test_a_users_processor_gets_the_fields_that_rompy_drops_where_it_takes_them(our_run: Make) -> None:
    class Processor:
        def process(self, model_run: Any, depth: int, timeout: int) -> dict[str, Any]:
            return {"success": True, "given": (depth, timeout)}

    class Config(BasePostprocessorConfig):
        type: str = "mine"
        depth: int = 3

        def get_postprocessor_class(self) -> Any:
            return Processor

    assert our_run().postprocess(Config(timeout=90), depth=4)["given"] == (4, 90)


# pipeline() / pipeline("local") / pipeline(run_backend="local", processor="noop")


def test_a_pipeline_has_defaults_for_everything(our_run: Make) -> None:
    model = SimpleNamespace(generate=lambda workspace_dir, model_run: None, command="touch out.nc")

    for results in (
        our_run(config=model).pipeline(),
        our_run(config=model).pipeline("local"),
        our_run(config=model).pipeline(run_backend="local", processor="noop"),
    ):
        assert (results["success"], results["run_backend"], results["processor"]) == (True, "local", "noop")


# pipeline(pipeline_backend="zzz")


def test_an_unknown_pipeline_is_a_value_error_that_lists_the_known_ones(our_run: Make) -> None:
    with pytest.raises(ValueError, match="known: local, prax"):
        our_run().pipeline(pipeline_backend="zzz")


# execute(backend_config="x"), processor="noop", processor missing


def test_plugins_of_a_pipeline_may_be_names(any_run: Any) -> None:
    options = {"run_kwargs": {"command": "true"}}

    assert execute(any_run, backend_config="local", processor="noop", **options)["success"] is True
    assert execute(any_run, backend_config="local", **options)["processor"] == "noop"
    with pytest.raises(ValueError, match="known: docker, local, slurm"):
        execute(any_run, backend_config="x", **options)


# pipeline ok


def test_the_results_of_a_pipeline_have_the_keys_of_both(any_run: Any, config: TheirLocalConfig) -> None:
    results = execute(any_run, config, NoopPostprocessorConfig())

    assert results["success"] is True
    assert results["stages_completed"] == ["generate", "run", "postprocess"]
    assert results["run_backend"] == results["backend"] == "local"
    assert (results["processor"], results["run_success"]) == ("noop", True)
    assert results["postprocess_results"]["success"] is True
    assert Path(results["staging_dir"]) == Path(any_run.output_dir) / "case"
    assert results["message"]


# generate raises


def test_a_failed_generate_is_its_stage_and_is_cleaned_up(their_run: Make, config: TheirLocalConfig) -> None:
    from rompy.core.config import BaseConfig

    class Failing(BaseConfig):
        def render(self, context: dict[str, Any], output_dir: Any) -> None:
            super().render(context, output_dir)
            raise RuntimeError("no forcing")

    model_run = their_run(config=Failing())

    results = execute(model_run, config, cleanup_on_failure=True)

    assert (results["success"], results["stage"], results["stages_completed"]) == (False, "generate", [])
    assert results["error"] == "RuntimeError: no forcing"
    assert not (Path(model_run.output_dir) / "case").exists()


# run returns False / raises / times out


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("exit 3", "the command ended with exit code 3"),
        ("sleep 60", "the wall-clock limit"),
        (["no-such-model"], "No such file or directory"),
    ],
)
def test_a_failed_run_is_its_stage_and_says_why(any_run: Any, command: Any, error: str) -> None:
    results = execute(any_run, "local", run_kwargs={"command": command, "timeout": 0.5, "grace_s": 0.5})

    assert (results["success"], results["stage"], results["stages_completed"]) == (False, "run", ["generate"])
    assert error in results["error"]
    assert results["run_success"] is False


def test_a_backend_that_raises_is_a_failed_run(any_run: Any) -> None:
    def fail(model_run: Any, **_: Any) -> bool:
        raise RuntimeError("no nodes")

    results = execute(any_run, SimpleNamespace(run=fail))

    assert (results["stage"], results["error"]) == ("run", "the backend raised RuntimeError: no nodes")


# postprocessor raises; postprocessor returns success False


def test_a_postprocessor_that_raises_is_its_stage_and_is_cleaned_up(any_run: Any, config: TheirLocalConfig) -> None:
    def fail(model_run: Any, **_: Any) -> Any:
        raise RuntimeError("no disk")

    results = execute(any_run, config, SimpleNamespace(process=fail), cleanup_on_failure=True)

    assert (results["stage"], results["stages_completed"]) == ("postprocess", ["generate", "run"])
    assert results["error"] == "RuntimeError: no disk"
    assert not (Path(any_run.output_dir) / "case").exists()


def test_a_postprocessor_that_reports_failure_fails_the_pipeline(any_run: Any, config: TheirLocalConfig) -> None:
    processor = SimpleNamespace(process=lambda model_run: {"success": False, "error": "3 files missing"})

    results = execute(any_run, config, processor)

    assert (results["success"], results["stage"], results["error"]) == (False, "postprocess", "3 files missing")


# validate_stages and no output_dir/run_id


@pytest.mark.parametrize("validate_stages", [True, False])
def test_a_workspace_without_a_directory_of_its_own_is_as_good(
    their_run: Make, config: TheirLocalConfig, validate_stages: bool
) -> None:
    model_run = their_run(run_id_subdir=False)

    results = execute(model_run, config, NoopPostprocessorConfig(), validate_stages=validate_stages)

    assert results["success"] is True
    assert (Path(model_run.output_dir) / "out.nc").exists()


# run_kwargs with unknown key / timeout 5


def test_options_of_the_run_stage_are_passed_on_or_refused(any_run: Any) -> None:
    with pytest.raises(ConfigError, match="tiemout: LocalConfig has no such option; did you mean 'timeout'"):
        execute(any_run, run_backend="local", run_kwargs={"command": "true", "tiemout": 5})
    assert not Path(any_run.output_dir).exists()

    results = execute(any_run, run_backend="local", run_kwargs={"command": "true", "timeout": 5})

    assert results["success"] is True
    assert find_runs(any_run.output_dir)[-1].options["timeout"] == 5


# What is beside the table: a job where there is no queue, and runs in threads.


def test_a_config_for_slurm_is_run_by_our_backend_which_says_what_is_missing(
    any_run: Any, monkeypatch: pytest.MonkeyPatch, report_of: ReportOf
) -> None:
    monkeypatch.setenv("PATH", os.devnull)

    results = execute(any_run, SlurmConfig(command="swan.exe"))

    assert (results["success"], results["stage"], results["run_backend"]) == (False, "run", "slurm")
    assert "sbatch" in results["error"]
    assert report_of(any_run).state is RunState.NOT_STARTED


def test_a_plugin_error_is_a_value_error() -> None:
    assert issubclass(PluginError, ValueError)


def test_many_runs_of_theirs_side_by_side_do_not_mix(their_run: Make, tmp_path: Path) -> None:
    def one(number: int) -> None:
        config = TheirLocalConfig(command="echo $NUMBER > out", env_vars={"NUMBER": str(number)})
        done[number] = run(model_runs[number], config, model_runs[number].staging_dir)

    done: dict[int, bool] = {}
    model_runs = [their_run(run_id=f"case-{number}") for number in range(4)]
    for model_run in model_runs:
        model_run.generate()  # one after the other: it changes the directory of the whole process
    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert done == dict.fromkeys(range(4), True)
    assert [(tmp_path / "out" / f"case-{n}" / "out").read_text() for n in range(4)] == ["0\n", "1\n", "2\n", "3\n"]
