"""The faults of rompy 0.6.4 that were proved, by their numbers in our notes, each shown not to be ours.

8 to 11 are in ``test_docker.py``. 21 (examples that fail, tests that need the network to be collected) is in
``tests/examples`` and in ``tests/packaging/test_without_network.py``. Of 19 (its SLURM backend) it is shown here that
no other backend takes a job for SLURM, in ``test_slurm.py`` what becomes of one, and in ``tests/slurm`` the rest. 23
(what rompy has not at all) is what the tests of each package are about.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rompy.backends import LocalConfig
from rompy.backends.config import SlurmConfig
from rompy.postprocess.config import BasePostprocessorConfig, NoopPostprocessorConfig

from rompy_core import (
    ConfigError,
    LocalPipelineBackend,
    ModelRun,
    NoopPostprocessor,
    PluginLoadError,
    RunReport,
    RunState,
    WorkspaceError,
    find_runs,
    list_plugins,
    load_config,
    load_plugin,
)
from rompy_docker import DockerRunBackend
from rompy_local import LocalRunBackend

Make = Callable[..., Any]
ReportOf = Callable[[Any], RunReport]
Living = Callable[[], list[str]]
Until = Callable[..., None]
TOKEN = "ROMPY_TEST_TOKEN"


def run(model_run: Any, *given: Any, **options: Any) -> bool:
    return LocalRunBackend().run(model_run, *given, **options)


def execute(model_run: Any, *given: Any, **options: Any) -> dict[str, Any]:
    return LocalPipelineBackend().execute(model_run, *given, **options)


# 1


def test_01_a_timeout_leaves_no_grandchild(their_run: Make, token: str, living: Living) -> None:
    launcher = "setsid sleep 300 & (sh -c 'sleep 300; true') & sleep 300; true"
    config = LocalConfig(command=launcher, env_vars={TOKEN: token})

    with pytest.raises(TimeoutError):
        run(their_run(), config, timeout=1, grace_s=0.5)

    assert living() == []


# 2

CALLER = """
import sys
from types import SimpleNamespace
from rompy_local import LocalRunBackend
model_run = SimpleNamespace(run_id="case", output_dir=sys.argv[1])
env_vars = {"ROMPY_TEST_TOKEN": sys.argv[2]}
LocalRunBackend().run(model_run, command="touch begun; sleep 300 & sleep 300", env_vars=env_vars, grace_s=0.5)
"""


@pytest.fixture
def caller(tmp_path: Path, token: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that runs a model, as rompy was tried."""
    words = [sys.executable, "-c", CALLER, str(tmp_path / "out"), token]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_02_the_end_of_the_caller_is_that_of_its_run(
    caller: subprocess.Popen[bytes], tmp_path: Path, living: Living, until: Until, number: int
) -> None:
    until((tmp_path / "out" / "case" / "begun").exists, "the run")

    caller.send_signal(number)

    assert caller.wait(20) != 0
    until(lambda: find_runs(tmp_path)[0].state.is_final)
    assert find_runs(tmp_path)[0].state is RunState.CANCELLED
    assert living() == []


# 3


def test_03_a_timeout_is_one_also_when_the_output_is_streamed_and_holds_up_nothing(their_run: Make) -> None:
    before, threads = time.monotonic(), threading.active_count()
    config = LocalConfig(command="while :; do echo line; sleep 0.01; done & sleep 60", stream_output=True)

    with pytest.raises(TimeoutError):
        run(their_run(), config, timeout=0.5, grace_s=0.5)

    assert time.monotonic() - before < 10
    assert threading.active_count() == threads


# 4


@pytest.mark.parametrize("stream_output", [False, True])
def test_04_output_that_is_no_utf_8_is_kept_as_it_is(their_run: Make, stream_output: bool, report_of: ReportOf) -> None:
    model_run = their_run()
    command = "printf '12\\260C\\n'; head -c 300000 /dev/zero; echo; echo end"

    assert run(model_run, LocalConfig(command=command, stream_output=stream_output)) is True

    report = report_of(model_run)
    assert report.stdout_path is not None
    assert report.stdout_path.read_bytes() == b"12\xb0C\n" + bytes(300_000) + b"\nend\n"


# 5

MEASURED = """
import resource, sys
from types import SimpleNamespace
from rompy_local import LocalRunBackend
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model_run = SimpleNamespace(run_id="case", output_dir=sys.argv[1])
LocalRunBackend().run(model_run, command="true")
before = peak()
assert LocalRunBackend().run(model_run, command="yes 1234567 | head -c 200000000", rules={"fatal": ["nothing"]})
print((peak() - before) // 1024)
"""


def test_05_much_output_goes_to_a_file_and_not_through_memory(run_beside: Callable[..., str], tmp_path: Path) -> None:
    grown = int(run_beside(MEASURED, tmp_path / "out"))

    assert grown < 30
    assert (find_runs(tmp_path)[-1].stdout_path or tmp_path).stat().st_size == 200_000_000


# 6


def test_06_without_a_shell_none_is_run(their_run: Make) -> None:
    model_run = their_run()

    assert run(model_run, LocalConfig(command="echo hi > f && true", shell=False)) is True

    assert not (model_run.staging_dir / "f").exists()


def test_06_output_that_is_not_to_be_captured_comes_while_the_model_runs(
    their_run: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rompy_local")

    run(their_run(), LocalConfig(command="echo hello", capture_output=False))
    run(their_run(), LocalConfig(command="echo unheard"))

    said = [record.getMessage() for record in caplog.records if record.name.startswith("rompy_local")]
    assert "hello" in said
    assert "unheard" not in said


# 7


def test_07_a_configs_run_changes_neither_the_directory_nor_the_environment_of_others(our_run: Make) -> None:
    def write(model_run: Any) -> None:
        os.environ["LEFT_BEHIND"] = "1"
        time.sleep(0.2)
        Path("out").write_text(f"{os.environ['NUMBER']} {model_run.run_id}")

    model = SimpleNamespace(generate=lambda workspace_dir, model_run: None, run=write)
    model_runs = [our_run(run_id=f"case-{number}", config=model) for number in range(2)]
    before = (os.getcwd(), dict(os.environ))  # noqa: PTH109 - what a model may have changed

    handles = [
        model_run.submit(LocalConfig(env_vars={"NUMBER": str(number)})) for number, model_run in enumerate(model_runs)
    ]

    assert all(handle.wait(30).ok for handle in handles)
    assert (os.getcwd(), dict(os.environ)) == before  # noqa: PTH109 - as above
    assert [(model_run.workspace_dir / "out").read_text() for model_run in model_runs] == ["0 case-0", "1 case-1"]


# 12


@pytest.mark.parametrize("run_id", ["..", "/{outside}", "../sibling", "."])
def test_12_a_cleanup_removes_nothing_outside_and_nothing_that_was_there(
    their_run: Make, tmp_path: Path, run_id: str
) -> None:
    for name in ("outside", "parent/sibling", "parent/out"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "precious").write_text("mine")
    model_run = their_run(run_id=run_id.format(outside=tmp_path / "outside"), output_dir=tmp_path / "parent" / "out")

    results = execute(model_run, LocalConfig(command="false"), cleanup_on_failure=True)

    assert results["success"] is False
    assert len(list(tmp_path.rglob("precious"))) == 3
    with pytest.raises(ValueError, match="run_id must name one directory"):
        ModelRun(run_id=model_run.run_id)


def test_12_a_cleanup_keeps_what_a_hand_put_into_the_workspace(their_run: Make) -> None:
    model_run = their_run()
    workspace = Path(model_run.output_dir) / "case"
    workspace.mkdir(parents=True)
    (workspace / "notes.txt").write_text("mine")

    execute(model_run, LocalConfig(command="touch out.nc; false"), cleanup_on_failure=True)

    assert [path.name for path in workspace.iterdir()] == ["notes.txt"]


# 13


def test_13_runs_side_by_side_in_one_directory_are_not_removed(their_run: Make, our_run: Make, tmp_path: Path) -> None:
    (tmp_path / "out" / "sibling").mkdir(parents=True)
    flat = {"delete_existing": True, "run_id_subdir": False}

    with pytest.raises(WorkspaceError, match="delete_existing would remove output_dir itself"):
        our_run(**flat)
    with pytest.raises(WorkspaceError, match="delete_existing would remove output_dir itself"):
        run(their_run(**flat), LocalConfig(command="true"))
    results = execute(their_run(**flat), LocalConfig(command="true"), cleanup_on_failure=True)

    assert (results["success"], results["stage"]) == (False, "generate")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"sibling", ".rompy-failed"}


def test_13_a_flat_workspace_is_as_good_as_any(their_run: Make) -> None:
    results = execute(their_run(run_id_subdir=False), LocalConfig(command="true"), NoopPostprocessorConfig())

    assert results["success"] is True
    assert NoopPostprocessor().process(their_run(run_id_subdir=False))["success"] is True


# 14


def test_14_inputs_that_were_edited_by_hand_are_run_as_they_are(their_run: Make, counting: Any) -> None:
    model_run = their_run(config=counting)
    workspace = Path(model_run.generate())
    (workspace / "generated").write_text("edited")

    assert run(model_run, LocalConfig(command="grep -qx edited generated"), workspace) is True


def test_14_a_backend_that_generates_by_itself_generates_nothing_twice(their_run: Make, counting: Any) -> None:
    class AsDocumented:
        def run(self, model_run: Any, config: Any, workspace_dir: Any = None) -> bool:
            return Path(model_run.generate(), "generated").read_text() == "x"

    model_run = their_run(config=counting)

    results = execute(model_run, AsDocumented(), run_kwargs={"config": LocalConfig()})

    assert results["success"] is True
    assert (model_run.staging_dir / "generated").read_text() == "x"


# 15


def test_15_the_workspace_follows_the_run_id(our_run: Make) -> None:
    model_run = our_run()
    model_run.generate()

    model_run.run_id = "another"

    assert model_run.generate() == model_run.output_dir / "another"
    assert model_run.staging_dir == model_run.output_dir / "another"


# 16 and 17


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a distribution with plugins, one module for each."""

    def distribution(name: str, group: str, **plugins: str) -> None:
        site = tmp_path / name
        (site / f"{name}-1.dist-info").mkdir(parents=True)
        (site / f"{name}-1.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        lines = [f"[{group}]", *(f"{plugin} = {name}_{plugin}:Plugin" for plugin in plugins)]
        (site / f"{name}-1.dist-info" / "entry_points.txt").write_text("\n".join(lines))
        for plugin, source in plugins.items():
            (site / f"{name}_{plugin}.py").write_text(source)
        monkeypatch.syspath_prepend(site)

    return distribution


@pytest.mark.parametrize("group", ["rompy.run", "rompy.postprocess", "rompy.pipeline", "rompy.config"])
def test_16_a_broken_plugin_hurts_only_who_asks_for_it(install: Callable[..., None], group: str, any_run: Any) -> None:
    install("broken", group, torn="raise RuntimeError('no licence')")

    results = execute(any_run, LocalConfig(command="true"), NoopPostprocessorConfig())

    assert results["success"] is True
    if group != "rompy.config":
        with pytest.raises(
            PluginLoadError, match="broken_torn:Plugin of broken does not import: RuntimeError: no licence"
        ):
            load_plugin(group, "torn")


BACKEND = "class {name}:\n    def run(self, model_run, **kwargs): return True\n    home = __name__\n"


def test_17_a_plugin_has_the_name_that_its_entry_point_gives_it(install: Callable[..., None]) -> None:
    install("pbs", "rompy.run", pbs=f"{BACKEND.format(name='PBSProExecutor')}Plugin = PBSProExecutor")

    assert load_plugin("rompy.run", "pbs").run(None)
    assert "pbsproexecutor" not in {info.name for info in list_plugins("rompy.run")}


def test_17_a_factory_without_a_name_is_a_plugin(install: Callable[..., None]) -> None:
    source = f"import functools\n{BACKEND.format(name='Made')}Plugin = functools.partial(Made)\n"
    install("made", "rompy.run", made=source)

    assert load_plugin("rompy.run", "made").run(None)


def test_17_classes_of_one_name_do_not_overwrite_each_other(install: Callable[..., None]) -> None:
    install("twins", "rompy.run", one=BACKEND.format(name="Plugin"), two=BACKEND.format(name="Plugin"))

    assert [load_plugin("rompy.run", name).home for name in ("one", "two")] == ["twins_one", "twins_two"]


# 18


class Result:
    """A result that is no dict: attributes, and items by name."""

    def __init__(self, success: bool) -> None:
        self.success = success
        self.message = "1 of 2 files copied"

    def __getitem__(self, name: str) -> object:
        return getattr(self, name)


@pytest.mark.parametrize("success", [True, False])
def test_18_a_result_that_is_no_dict_is_read_by_its_success(any_run: Any, success: bool) -> None:
    result = Result(success)

    results = execute(any_run, LocalConfig(command="true"), SimpleNamespace(process=lambda model_run: result))

    assert results["success"] is success
    assert results["postprocess_results"] is result
    assert results.get("error") == (None if success else "1 of 2 files copied")


def test_18_the_documented_signature_of_a_postprocessor_works(any_run: Any) -> None:
    class Documented:
        def process(self, model_run: Any, config: Any, **kwargs: Any) -> dict[str, Any]:
            return {"success": isinstance(config, BasePostprocessorConfig), "kwargs": kwargs}

    class Config(BasePostprocessorConfig):
        type: str = "documented"

        def get_postprocessor_class(self) -> Any:
            return Documented

    results = execute(any_run, LocalConfig(command="true"), Config(), process_kwargs={"depth": 3})

    assert results["success"] is True
    assert results["processor"] == "documented"
    assert results["postprocess_results"]["kwargs"] == {"depth": 3}


# 19


@pytest.mark.parametrize("backend", [LocalRunBackend(), DockerRunBackend()])
def test_19_a_job_for_slurm_is_refused_by_every_other_backend(any_run: Any, backend: Any) -> None:
    job = SlurmConfig(command="touch here", nodes=4)

    with pytest.raises(ConfigError, match=r"SlurmConfig is for 'slurm@rompy-slurm', not for '(local|docker)@rompy-"):
        backend.run(any_run, job)
    with pytest.raises(ConfigError, match="give it in the place of the backend's name"):
        execute(any_run, backend, run_kwargs={"config": job})
    assert not Path(any_run.output_dir).exists()


# 20


def test_20_what_is_there_is_listed_and_a_documented_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "local.json").write_text(json.dumps({"type": "local", "command": "true", "timeout": 7200}))

    assert {"local", "docker", "slurm"} <= {info.name for info in list_plugins("rompy.run")}
    assert load_config(tmp_path / "local.json").timeout == 7200


# 22


def test_22_a_model_that_exits_0_after_an_error_is_a_failure(swan_run: Any, swan_exe: Path) -> None:
    config = LocalConfig(command=f"rm bottom.grd; {swan_exe}")

    results = execute(swan_run, config, NoopPostprocessorConfig(), run_kwargs={"rules": "swan"})

    assert results["success"] is False
    assert "Errfile" in results["error"]
