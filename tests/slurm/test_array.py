"""The executor ``slurm-array`` on a real Slurm: what it gives, what it survives, what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import cloudpickle
import psutil
import pytest

from rompy_core import ConfigError, FilesConfig, ModelRun, RunState, find_runs, load_object
from rompy_ensemble import Ensemble
from rompy_slurm import SlurmConfig, _array_task, _elements, _pool, _script, _spool
from rompy_slurm._array import make_executor
from rompy_slurm._spool import GONE_AFTER_S, News, Spool, driver_of_this_process, dumps, is_gone

from .conftest import Cluster

TOKEN = "ROMPY_TEST_TOKEN"
CANARY = "canary-0815"

Living = Callable[[], list[str]]
Marked = Callable[[], list[psutil.Process]]
Until = Callable[..., None]

DRIVER = """
import json, sys
from rompy_core import FilesConfig, ModelRun
from rompy_ensemble import Ensemble
given = json.loads(sys.argv[1])
model = ModelRun(run_id="m", output_dir=given.pop("directory"), config=FilesConfig())
for row in Ensemble(model=model, **given).iter():
    print(row.run_id, row.state, row.ran, flush=True)
"""


@pytest.fixture(autouse=True)
def _functions_travel_by_value() -> Iterator[None]:
    """The nodes cannot import this module."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def array(slurm: Cluster, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Make an executor; at the end, no job and no file of it is there."""
    made: list[Any] = []

    def make(max_workers: int = 2, **options: Any) -> Any:
        factory = load_object("rompy.executors", "slurm-array")
        options = {"directory": tmp_path / "spool", **options}
        factory.check(**options)
        made.append(factory(max_workers=max_workers, **options))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown(cancel_futures=True)
    assert slurm.live_jobs() == []
    assert not list(tmp_path.glob("*/rompy-array-*"))


def ensemble_in(directory: Path, *commands: Any, **options: Any) -> Ensemble:
    given: dict[str, Any] = {"executor": "slurm-array", "max_workers": 2, **options}
    given["executor_kwargs"] = {"directory": str(directory / "spool"), **given.get("executor_kwargs", {})}
    model = ModelRun(run_id="m", output_dir=directory / "out", config=FilesConfig())
    return Ensemble(members=[{"command": command} for command in commands], model=model, **given)


@contextmanager
def driver(directory: Path, token: str, *commands: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Drive such an ensemble from a process of its own."""
    given = {
        "directory": str(directory / "out"),
        "members": [{"command": command} for command in commands],
        "run_kwargs": {"env_vars": {TOKEN: token}, "grace_s": 2},
        "executor": "slurm-array",
        "executor_kwargs": {"directory": str(directory / "spool")},
        "max_workers": 2,
        **options,
    }
    words = [sys.executable, "-c", DRIVER, json.dumps(given)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def worker_of(process: psutil.Process) -> psutil.Process:
    return next(parent for parent in process.parents() if "rompy_slurm._array_task" in " ".join(parent.cmdline()))


def element_of(process: psutil.Process) -> str:
    env = worker_of(process).environ()
    return f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"


def names_of(processes: list[psutil.Process], name: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            if process.name() == name:
                found.append(process)
    return found


def test_an_ensemble_runs_on_two_tasks_of_one_array_and_a_finished_one_does_nothing(
    slurm: Cluster, tmp_path: Path
) -> None:
    ensemble = ensemble_in(tmp_path, *["echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID > out"] * 12, "exit 3")

    report = ensemble.run()
    again = attrs.evolve(ensemble, members=ensemble.members[:-1]).run()

    assert [row.state for row in report] == [*[RunState.COMPLETED] * 12, RunState.FAILED]
    assert "exit code 3" in report.rows[-1].reason
    assert [row.ran for row in again] == [0] * 12
    done_by = {(row.workspace_dir / "out").read_text() for row in report.rows[:-1]}
    assert len({line.split()[0] for line in done_by}) == 1, "one array"
    assert {line.split()[1] for line in done_by} <= {"0", "1"}
    assert slurm.live_jobs() == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_member_over_two_nodes_has_them_to_itself(slurm: Cluster, tmp_path: Path) -> None:
    ranks = ["srun", "sh", "-c", "echo $SLURM_PROCID $SLURMD_NODENAME; sleep 0.2"]
    allocation = {"nodes": 2, "ntasks_per_node": 2, "mem": "300m", "job_name": "mpi members", "tasks": 2}
    ensemble = ensemble_in(tmp_path, *[ranks] * 4, executor_kwargs=allocation)

    report = ensemble.run()

    assert report.ok, [row.reason for row in report]
    for row in report:
        assert row.record_dir is not None
        lines = sorted((row.record_dir / "stdout.log").read_text().splitlines())
        assert lines == ["0 c1", "1 c1", "2 c2", "3 c2"]


@pytest.mark.parametrize("how", ["scancel", "the worker is killed"])
def test_a_member_whose_array_task_is_lost_is_run_again_once_its_processes_are_gone(
    how: str, slurm: Cluster, tmp_path: Path, token: str, marked: Marked, living: Living, until: Until
) -> None:
    wait = "echo begun >> log; test -e ../go || exec sleep 60"
    with driver(tmp_path, token, wait, "true", "true", max_workers=1) as process:
        until(lambda: names_of(marked(), "sleep"), "the member", timeout=20)
        member = names_of(marked(), "sleep")[0]
        lost = element_of(member)
        (tmp_path / "out" / "go").touch()

        if how == "scancel":
            slurm.call("scancel", lost)
        else:
            worker_of(member).kill()
        out, err = process.communicate(timeout=45)

    assert process.returncode == 0, err
    assert [line.split()[1] for line in out.splitlines()] == ["COMPLETED"] * 3, err
    assert "ArrayTaskLostError" in err
    assert ("CANCELLED" if how == "scancel" else "FAILED") in err
    first, second = find_runs(tmp_path / "out" / "m-0001")
    assert second.state is RunState.COMPLETED
    assert first.state in (RunState.CANCELLED, RunState.LOST) or first.exit_signal == signal.SIGTERM
    assert first.finished_at is None or first.finished_at <= second.started_at, "two writers"
    assert (tmp_path / "out" / "m-0001" / "log").read_text() == "begun\n" * 2
    assert living() == []
    assert slurm.live_jobs() == []


def test_a_killed_driver_leaves_no_job_and_the_next_start_does_the_rest(
    slurm: Cluster, tmp_path: Path, token: str, marked: Marked, living: Living, until: Until
) -> None:
    with driver(tmp_path, token, "true", "sleep 60", "sleep 60", "true") as process:
        until(lambda: len(names_of(marked(), "sleep")) == 2, "both members", timeout=20)

        process.kill()
        until(lambda: living() == [], "the end of all members", timeout=20)
        until(lambda: slurm.live_jobs() == [], "the end of all jobs", timeout=20)
        until(lambda: not list((tmp_path / "spool").iterdir()), "the end of the spool")

    report = ensemble_in(tmp_path, "true", "sleep 0.1", "true", "true").run()

    assert report.ok
    assert [row.ran for row in report] == [0, 1, 1, 1]
    completed = [run.run_id for run in find_runs(tmp_path) if run.state is RunState.COMPLETED]
    assert sorted(completed) == ["m-0001", "m-0002", "m-0003", "m-0004"]


def test_tasks_that_wait_while_their_driver_is_killed_are_ended_by_the_next_one(
    slurm: Cluster, tmp_path: Path, token: str, until: Until, array: Callable[..., Any]
) -> None:
    held = {"directory": str(tmp_path / "spool"), "additional_options": ["--hold"]}
    with driver(tmp_path, token, "touch ran", executor_kwargs=held) as process:
        until(slurm.live_jobs, "the array", timeout=20)
        spools = (tmp_path / "spool").glob
        until(lambda: any("jobs" in file.read_text() for file in spools("*/driver")), "its number")
        process.kill()

    array()

    until(lambda: slurm.live_jobs() == [], "the end of what waited")
    assert not list(tmp_path.rglob("ran"))


def test_a_task_that_starts_and_finds_no_driver_ends_at_once(
    slurm: Cluster, tmp_path: Path, token: str, until: Until
) -> None:
    held = {"directory": str(tmp_path / "spool"), "additional_options": ["--hold"]}
    with driver(tmp_path, token, "touch ran", executor_kwargs=held) as process:
        until(slurm.live_jobs, "the array", timeout=20)
        process.kill()
    job = slurm.live_jobs()[0].split("_")[0]

    slurm.call("scontrol", "release", job)

    until(lambda: slurm.live_jobs() == [], "its end", timeout=20)
    assert not list(tmp_path.rglob("ran"))
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_future_gives_what_the_function_gave_or_raised(array: Callable[..., Any]) -> None:
    executor = array()

    given = executor.submit(divmod, 7, 2)
    raised = executor.submit(int, "seven")
    strange = executor.submit(_raise_what_does_not_pickle)
    unpickled = executor.submit(_give_what_does_not_pickle)
    unsent = executor.submit(print, open)

    assert given.result(20) == (3, 1)
    with pytest.raises(ValueError, match="seven") as caught:
        raised.result(20)
    assert "Traceback" in caught.value.__notes__[0]
    assert isinstance(strange.exception(20), RuntimeError)
    assert "StrangeError: deep" in str(strange.exception())
    assert "pickle" in str(unpickled.exception(20))
    assert unsent.result(20) is None


class StrangeError(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__(one)


def _raise_what_does_not_pickle() -> None:
    raise StrangeError("deep", 2)


def _give_what_does_not_pickle() -> object:
    return (one for one in [])


def test_what_does_not_pickle_is_told_by_its_future(array: Callable[..., Any]) -> None:
    executor = array()

    future = executor.submit(print, (one for one in []))

    assert "cannot be handed to the nodes" in str(future.exception(5))
    assert executor.submit(abs, -1).result(20) == 1


def test_what_is_not_taken_can_be_cancelled_and_what_is_taken_cannot(
    array: Callable[..., Any], tmp_path: Path, until: Until
) -> None:
    executor = array(max_workers=1)

    taken = executor.submit(_begin_and_wait, tmp_path / "begun", tmp_path / "go")
    waiting = executor.submit(abs, -1)
    until((tmp_path / "begun").exists, "the first")
    answers = taken.cancel(), waiting.cancel(), waiting.cancel()
    (tmp_path / "go").touch()

    assert answers == (False, True, True)
    assert waiting.cancelled()
    assert taken.result(20) == "done"
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(abs, -1)


def _begin_and_wait(begun: Path, go: Path) -> str:
    begun.touch()
    deadline = time.monotonic() + 30
    while not go.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return "done"


def test_a_lost_task_is_told_with_the_state_of_slurm_and_its_place_is_taken(
    array: Callable[..., Any], slurm: Cluster, tmp_path: Path, until: Until
) -> None:
    executor = array(max_workers=1)
    lost = executor.submit(_begin_and_wait, tmp_path / "begun", tmp_path / "never")
    until((tmp_path / "begun").exists, "the first")

    slurm.call("scancel", "--signal=KILL", "--full", slurm.live_jobs()[0].split()[0])
    after = executor.submit(abs, -2)

    told = str(lost.exception(30))
    assert told.startswith("Slurm job ")
    assert "Slurm: FAILED" in told or "Slurm: CANCELLED" in told
    assert after.result(30) == 2


def test_tasks_that_are_idle_for_long_end_and_others_come_when_there_is_work(
    array: Callable[..., Any], slurm: Cluster, until: Until
) -> None:
    executor = array(max_workers=1, idle_timeout=0.2)

    first = executor.submit(os.getpid).result(20)
    until(lambda: slurm.live_jobs() == [], "the end of the idle task")
    second = executor.submit(os.getpid).result(20)

    assert first != second


def test_where_no_task_begins_all_that_waits_is_told_why(
    array: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_elements, "SETTLES_S", 0.2)
    executor = array(max_workers=3, python="/nowhere/python3")

    futures = [executor.submit(abs, -1) for _ in range(3)]

    for future in futures:
        with pytest.raises(BrokenExecutor, match=r"ended before it began to work.*/nowhere/python3"):
            future.result(30)
    with pytest.raises(BrokenExecutor):
        executor.submit(abs, -1)


def test_where_slurm_refuses_the_array_all_that_waits_is_told_why(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "_LONGEST_BACKOFF_S", 0.05)
    executor = make_executor(1, {"directory": tmp_path / "spool", "partition": "nope"})

    told = executor.submit(abs, -1).exception(20)
    executor.shutdown()

    assert isinstance(told, BrokenExecutor)
    assert "Slurm did not take an array of 1: " in str(told)
    assert "nvalid partition" in str(told)


def test_where_its_directory_is_removed_the_executor_is_broken_and_leaves_nothing(
    array: Callable[..., Any], slurm: Cluster, tmp_path: Path, until: Until
) -> None:
    executor = array()
    assert executor.submit(abs, -1).result(20) == 1

    shutil.rmtree(next((tmp_path / "spool").iterdir()))

    until(lambda: slurm.live_jobs() == [], "the end of the tasks, which have no driver any more")
    with pytest.raises(BrokenExecutor, match="is gone"):
        executor.submit(abs, -1)


def test_two_executors_stand_beside_each_other(array: Callable[..., Any], tmp_path: Path) -> None:
    one, other = array(), array(job_name="the other")

    futures: list[Future[int]] = [executor.submit(abs, -n) for n in range(20) for executor in (one, other)]
    results = [future.result(20) for future in futures]
    one.shutdown()
    after = other.submit(abs, -7).result(20)

    assert results == [n for n in range(20) for _ in range(2)]
    assert after == 7


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"task": 2}, "task: is no option; did you mean 'tasks'"),
        ({"tasks": 0}, "tasks"),
        ({"nodes": 0, "idle_timeout": -1}, "(?s)idle_timeout.*nodes"),
        ({"timeout": 60}, "timeout: is an option of a run"),
        ({"launcher": "srun"}, "launcher: is an option of a run"),
        ({"additional_options": ["--array=0-9"]}, "--array"),
        ({"directory": "a\\b"}, "backslashes"),
        ({"partition": "nope"}, "(?i)would not take such an array: invalid partition"),
        ({"nodes": 9}, "would not take such an array"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    options: dict[str, Any], named: str, slurm: Cluster, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        ensemble_in(tmp_path, "true", executor_kwargs=options).run()

    assert list(tmp_path.iterdir()) == []


def test_without_slurm_the_error_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ConfigError, match="not on PATH: sbatch, squeue, scancel"):
        load_object("rompy.executors", "slurm-array").check()


def test_what_is_handed_over_is_for_its_owner_alone_and_gone_once_it_is_taken(
    array: Callable[..., Any], slurm: Cluster, tmp_path: Path, until: Until
) -> None:
    executor = array(max_workers=1)
    spool = next((tmp_path / "spool").iterdir())

    taken = executor.submit(_begin_and_wait_for, CANARY, tmp_path / "begun", tmp_path / "go")
    until((tmp_path / "begun").exists, "the first")
    while_taken = _leaks(tmp_path, slurm.conf.parent)
    executor.submit(print, CANARY)
    modes = {path.relative_to(spool).parts[0]: stat.S_IMODE(path.stat().st_mode) for path in spool.rglob("*")}
    waiting = _leaks(tmp_path, slurm.conf.parent)
    (tmp_path / "go").touch()
    taken.result(20)

    assert while_taken == []
    assert [path.parent.name for path in waiting] == ["tasks"]
    assert stat.S_IMODE(waiting[0].stat().st_mode) == 0o600 if waiting[0].exists() else True
    assert stat.S_IMODE(spool.stat().st_mode) == 0o700
    assert modes["driver"] == 0o600


def _begin_and_wait_for(_secret: str, begun: Path, go: Path) -> str:
    return _begin_and_wait(begun, go)


def _leaks(*roots: Path) -> list[Path]:
    files = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return [path for path in files if CANARY.encode() in path.read_bytes()]


def test_hostile_values_go_through_a_real_sbatch(array: Callable[..., Any], tmp_path: Path) -> None:
    executor = array(directory=tmp_path / "a 'b' %j %% $(touch hacked)", job_name='a "b" $(touch hacked) \';c')

    log_dir = executor.submit(os.listdir, next(tmp_path.glob("a*/rompy-array-*/logs"))).result(20)

    assert len(log_dir) == 1
    assert not list(tmp_path.rglob("hacked"))


def test_the_script_loads_modules_and_sets_threads() -> None:
    config = SlurmConfig(modules=["a b; touch x"], setup=["ulimit -s unlimited"], cpus_per_task=4, python="/my python")

    script = _script.array_script(config, Path("/it's"))

    assert "module load 'a b; touch x'" in script
    assert "ulimit -s unlimited\n" in script
    assert "OMP_NUM_THREADS:-4" in script
    assert "exec '/my python' -P -c" in script


def test_a_driver_on_another_machine_is_gone_when_it_has_been_silent_for_long() -> None:
    here = driver_of_this_process()
    elsewhere = attrs.evolve(here, process=attrs.evolve(here.process, host="elsewhere"))
    dead = attrs.evolve(here, process=attrs.evolve(here.process, start_time=1.0))

    assert not is_gone(here, 2 * GONE_AFTER_S)
    assert is_gone(dead, 0)
    assert not is_gone(elsewhere, GONE_AFTER_S / 2)
    assert is_gone(elsewhere, 2 * GONE_AFTER_S)


ELEMENT = {"SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0"}


@pytest.fixture
def kept_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def spool_with(directory: Path, *work: Any, **facts: Any) -> Spool:
    """Make a spool of this process with pieces of work."""
    spool = Spool.make(directory)
    spool.write_driver(attrs.evolve(driver_of_this_process(**facts), path=()))
    for number, piece in enumerate(work, 1):
        spool.put(number, dumps(piece))
    return spool


def test_each_piece_of_work_is_taken_once(tmp_path: Path) -> None:
    spool = spool_with(tmp_path, *range(5))

    taken = [spool.claim(element, 5) for element in ("1_0", "1_1", "1_0", "1_1", "1_0", "1_1")]

    assert sorted(number for number in taken if number) == [1, 2, 3, 4, 5]
    assert taken[5] is None
    assert sorted(spool.claimed_by("1_0")) == sorted(number for number in taken[::2] if number)
    assert not any(spool.take_back(number) for number in range(1, 6))


def test_an_element_without_a_driver_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = Spool.make(tmp_path)
    spool.put(1, dumps((print, ("never",), {})))

    code = _array_task.run(spool.directory, ELEMENT)

    assert code == 0
    assert "there is no driver" in capsys.readouterr().err
    assert spool.take_back(1)


def test_an_element_does_what_there_is_until_it_is_idle(tmp_path: Path, kept_signals: None) -> None:
    spool = spool_with(tmp_path, (abs, (-3,), {}), (int, ("seven",), {}), idle_timeout=0.1)

    code = _array_task.run(spool.directory, ELEMENT)

    assert code == 0
    assert spool.news() == News(begun=("1_0",), left=("1_0",), results=(1, 2))
    assert pickle.loads(spool.read_result(1)) == (True, 3)
    is_value, raised = pickle.loads(spool.read_result(2))
    assert (is_value, type(raised)) == (False, ValueError)
    assert spool.claimed_by("1_0") == []


def test_an_element_whose_driver_falls_silent_ends_what_it_does_and_removes_the_spool(
    tmp_path: Path, kept_signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_spool, "GONE_AFTER_S", 0.3)
    monkeypatch.setattr(_array_task, "_LOOK_S", 0.05)
    spool = spool_with(tmp_path, (time.sleep, (60,), {}))
    here = spool.read_driver()
    assert here is not None
    spool.write_driver(attrs.evolve(here, process=attrs.evolve(here.process, host="elsewhere")))
    began = time.monotonic()

    code = _array_task.run(spool.directory, ELEMENT)

    assert code == 0
    assert time.monotonic() - began < 20
    assert not spool.directory.exists()


def test_an_element_that_has_no_time_left_takes_nothing_more(tmp_path: Path, kept_signals: None) -> None:
    spool = spool_with(tmp_path, (print, ("never",), {}), minutes=0)

    _array_task.run(spool.directory, ELEMENT)

    assert spool.news() == News(begun=("1_0",), left=("1_0",), results=())
    assert spool.take_back(1)
