"""Dask with real workers: on this machine, of a scheduler, in jobs; and the pipeline of one run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from rompy_core import ConfigError, FilesConfig, ModelRun, PluginNotFoundError, RunState, find_runs, read_report
from rompy_ensemble import DaskConfig, Ensemble
from rompy_ensemble._dask import _pass_on, make_executor

from .processes import TOKEN, Driver, Script, below, kill, sleepers

pytestmark = pytest.mark.timeout(180)  # an engine takes its time to start on a busy machine

Until = Callable[..., None]


def model_in(directory: Path, command: str = "true") -> ModelRun:
    return ModelRun(run_id="m", output_dir=directory, config=FilesConfig(command=command))


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A scheduler with two workers, as somebody else would have it."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster:
        yield cluster.scheduler_address


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"adress": "tcp://x:1"}, "adress: .*did you mean 'address'"),
        ({"address": "tcp://x:1", "workers": 2}, "workers: cannot be given with address"),
        ({"queue": "slrum"}, "queue: must be one of"),
        ({"queue": "slurm", "workers": 2}, "workers: is for this machine"),
        ({"jobs": 2, "queue_options": {"cores": 2}}, r"(?s)2 problems.*queue_options: needs queue.*jobs: needs queue"),
        ({"workers": 0}, "workers: must be a whole number"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    options: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    model = model_in(tmp_path / "out")

    with pytest.raises(ConfigError, match=problem):
        Ensemble(members=[{}], model=model, executor="dask", executor_kwargs=options).run()
    assert not (tmp_path / "out").exists()


def test_a_config_of_dask_is_made_of_plain_values() -> None:
    config = DaskConfig(queue="slurm", queue_options={"cores": 4}, jobs=2)

    assert config.startup_timeout == 60


def test_without_dask_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from rompy_core import ModelRun; from rompy_ensemble import Ensemble\n"
        f"Ensemble(members=[{{}}], model=ModelRun(run_id='m', output_dir={str(tmp_path)!r}), executor='dask',"
        " run_kwargs={'command': 'true'}).run()"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert 'pip install "rompy-ensemble[dask]"' in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_caller_keeps_its_handler_of_interrupts() -> None:
    code = (
        "import signal; from rompy_ensemble._dask import check_options\n"
        "check_options({'queue': 'slurm'}); print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "True\n"


def test_a_queue_that_can_only_be_had_in_the_main_thread_is_told() -> None:
    code = (
        "import threading; from rompy_ensemble._dask import check_options\n"
        "thread = threading.Thread(target=check_options, args=[{'queue': 'slurm'}]); thread.start(); thread.join()"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "dask-jobqueue is imported in the main thread only; import dask_jobqueue there first" in ended.stderr


def test_an_executor_that_nobody_advertises_is_told_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(PluginNotFoundError, match=r"did you mean 'threads'\?; known: threads, .*dask"):
        Ensemble(members=[{}], model=model_in(tmp_path), executor="thread").run()


def test_members_run_on_the_workers_of_a_scheduler_which_lives_on(tmp_path: Path, scheduler: str) -> None:
    def start() -> list[int]:
        members = [{"command": f"exit {code}"} for code in (0, 1, 0, 0)]
        ensemble = Ensemble(
            members=members,
            model=model_in(tmp_path),
            executor="dask",
            executor_kwargs={"address": scheduler},
            max_workers=2,
        )
        return [row.ran for row in ensemble.run()]

    first, second = start(), start()

    assert first == [1, 1, 1, 1]
    assert second == [0, 1, 0, 0]
    assert all(run.state in (RunState.COMPLETED, RunState.FAILED) for run in find_runs(tmp_path))


def test_a_model_that_only_this_process_knows_travels(tmp_path: Path, scheduler: str) -> None:
    class Local:
        command = "cat INPUT"

        def __init__(self, tide: float) -> None:
            self.tide = tide

        def generate(self, workspace_dir: Path, model_run: object) -> None:
            (workspace_dir / "INPUT").write_text(str(self.tide))

    ensemble = Ensemble(
        members=[{"tide": 1.5}],
        model=lambda row: ModelRun(run_id="m", output_dir=tmp_path, config=Local(row["tide"])),
        executor="dask",
        executor_kwargs={"address": scheduler},
    )

    assert ensemble.run().ok
    assert (tmp_path / "m" / "INPUT").read_text() == "1.5"


def test_a_result_that_is_lost_before_it_is_fetched_is_an_exception_of_its_future() -> None:
    # A real one needs a worker that dies at just that moment.
    async def lost() -> object:
        raise ConnectionError("its worker is gone")

    future: futures.Future[object] = futures.Future()
    asyncio.run(_pass_on(lost(), future))

    assert isinstance(future.exception(0), ConnectionError)


def test_what_is_cancelled_before_it_begins_does_not_begin(scheduler: str, tmp_path: Path) -> None:
    with make_executor(3, {"address": scheduler}) as executor:
        held = [executor.submit(time.sleep, 2) for _ in range(4)]
        waiting = executor.submit((tmp_path / "begun").touch)

        assert waiting.cancel()
        done, _ = futures.wait([waiting], 60)

        assert done == {waiting}
        assert [future.result(60) for future in held] == [None] * 4
        assert not (tmp_path / "begun").exists()


def test_a_member_that_kills_every_worker_is_given_up_and_the_others_are_not(tmp_path: Path) -> None:
    class KillsItsWorker:  # travels by value: the workers cannot import this module
        def generate(self, workspace_dir: Path, model_run: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    def model(row: Mapping[str, Any]) -> ModelRun:
        config = KillsItsWorker() if row["run_id"] == "killer" else FilesConfig()
        return ModelRun(run_id=row["run_id"], output_dir=tmp_path, config=config)

    ensemble = Ensemble(
        members=[{"run_id": "one"}, {"run_id": "killer"}, {"run_id": "two"}],
        model=model,
        run_kwargs={"command": "true"},
        executor=_dask_that_gives_up_at_once,
        max_workers=2,
    )

    report = ensemble.run()

    assert [row.ok for row in report] == [True, False, True]
    assert report.rows[1].state is RunState.LOST
    assert "the engine lost it: KilledWorker" in report.rows[1].reason


def _dask_that_gives_up_at_once(*, max_workers: int) -> Any:
    import dask
    import distributed  # it fills in its defaults at import

    assert distributed
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        return make_executor(max_workers, {})


def test_a_job_of_the_queue_that_is_lost_is_replaced(tmp_path: Path, token: str, driver: Driver, until: Until) -> None:
    described = {
        "directory": str(tmp_path),
        "members": [{"command": "test -e ../go || exec sleep 120"}, *[{"command": "true"}] * 3],
        "run_kwargs": {"env_vars": {TOKEN: token}},
        "executor": "dask",
        "executor_kwargs": {"queue": "local", "queue_options": {"cores": 1, "processes": 1, "memory": "512MB"}},
        "max_workers": 1,
    }
    # In a process of its own: the jobs that dask-jobqueue starts here leave open files behind.
    with driver(described) as process:
        until(lambda: len(sleepers(token)) == 1, "the first member", timeout=60)
        (tmp_path / "go").touch()

        _supervisor, worker, job = below(process.pid, sleepers(token)[0])
        kill([job, worker])
        out, err = process.communicate(timeout=100)

    assert [line.split()[1] for line in out.splitlines()] == ["COMPLETED"] * 4, err
    assert [run.state for run in find_runs(tmp_path / "m-0001")] == [RunState.CANCELLED, RunState.COMPLETED]


def test_the_pipeline_of_one_run_goes_through_a_worker(tmp_path: Path, scheduler: str) -> None:
    model = model_in(tmp_path, "echo $PPID > out")

    results = model.pipeline("dask", dask={"address": scheduler})

    assert results["success"]
    assert results["pipeline_backend"] == "dask"
    assert results["stages_completed"] == ["generate", "run", "postprocess"]
    report = read_report(tmp_path / "m")
    assert report.ok
    pipeline = json.loads(
        (tmp_path / "m" / ".rompy" / str(report.record_dir and report.record_dir.name) / "pipeline.json").read_text()
    )
    assert pipeline["success"] is True


def test_the_pipeline_of_one_run_may_have_a_worker_of_its_own(tmp_path: Path) -> None:
    results = model_in(tmp_path, "exit 3").pipeline("dask")

    assert not results["success"]
    assert results["stage"] == "run"
    assert "exit code 3" in results["error"]


def test_the_pipeline_refuses_wrong_options_before_anything_is_written(tmp_path: Path) -> None:
    model = model_in(tmp_path / "out")

    with pytest.raises(ConfigError, match="timout"):
        model.pipeline("dask", run_kwargs={"timout": 1})
    with pytest.raises(ConfigError, match="adress"):
        model.pipeline("dask", dask={"adress": "x"})
    assert not (tmp_path / "out").exists()


FLAT = """
class Flat:
    run_id, run_id_subdir = "m", False

    def __init__(self, output_dir):
        self.output_dir = output_dir

    def generate(self):
        return self.output_dir
"""


@pytest.mark.parametrize(
    ("model", "folder"),
    [("ModelRun(run_id='m', output_dir=sys.argv[1])", "m"), ("Flat(sys.argv[1])", "")],
    ids=["ours", "theirs, without a folder of its own"],
)
def test_an_interrupt_of_the_pipeline_ends_the_run(
    tmp_path: Path, token: str, script: Script, until: Until, living: Callable[[], list[str]], model: str, folder: str
) -> None:
    code = (
        "import sys\n"
        "from rompy_core import ModelRun, load_plugin\n"
        f"{FLAT}\n"
        "if __name__ == '__main__':\n"
        f"    options = {{'command': 'sleep 60', 'env_vars': {{{TOKEN!r}: {token!r}}}}}\n"
        f"    load_plugin('rompy.pipeline', 'dask').execute({model}, run_kwargs=options)\n"
    )
    path = tmp_path / "script.py"
    path.write_text(code)
    output_dir = tmp_path / "out"
    output_dir.mkdir()
    with script(str(path), str(output_dir)) as process:
        until(lambda: len(sleepers(token)) == 1, "the run", timeout=60)

        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert "KeyboardInterrupt" in err
    assert living() == []
    assert read_report(output_dir / folder).state is RunState.CANCELLED
