"""Each limit acts, with a state and a reason of its own, and what must not be limited is not."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import pytest

from rompy_core import ConfigError, ModelRun, RunHandle, RunReport, RunState
from rompy_local import capabilities

Run = Callable[..., RunReport]
Submit = Callable[..., RunHandle]
Living = Callable[[], list[str]]
MB = 2**20


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def test_memory_of_the_whole_tree_is_limited(run: Run, living: Living) -> None:
    child = f"import time; x = bytearray({80 * MB}); time.sleep(60)"
    start = f"[subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(2)]"
    source = f"import subprocess, sys\nfor p in {start}: p.wait()"

    report = run(python(source), memory="120m")

    assert report.state is RunState.OUT_OF_MEMORY
    assert str(120 * MB) in report.reason
    assert report.warnings == ()
    assert living() == []


def test_shared_memory_counts_once_for_the_limit(run: Run) -> None:
    # Four processes share 60 MB; the sum of their resident sets is far above the limit, their memory is not.
    source = f"""
import os, time
x = bytearray({60 * MB})
for _ in range(3):
    if os.fork() == 0:
        sum(x[::4096]); time.sleep(0.5); os._exit(0)
for _ in range(3): os.wait()
"""
    report = run(python(source), memory="150m", sample_interval_s=0.05)

    assert report.ok, report.reason


def test_cpu_time_is_limited(run: Run) -> None:
    report = run("while :; do :; done", cpu_time_limit=0.3)

    assert report.state is RunState.LIMIT_EXCEEDED
    assert "cpu_time_limit" in report.reason


def test_the_number_of_processes_is_limited(run: Run, living: Living) -> None:
    report = run("for i in 1 2 3 4 5 6; do sleep 60 & done; wait", max_processes=4)

    assert report.state is RunState.LIMIT_EXCEEDED
    assert "max_processes" in report.reason
    assert living() == []


def test_the_size_of_the_output_is_limited(run: Run) -> None:
    report = run("exec yes", log_size_limit="1m")

    assert report.state is RunState.LIMIT_EXCEEDED
    assert "log_size_limit" in report.reason
    assert report.stdout_path is not None
    assert report.stdout_path.stat().st_size < 65 * MB


def test_output_that_runs_away_during_the_grace_is_stopped(run: Run) -> None:
    source = "import signal, os\nsignal.signal(15, signal.SIG_IGN)\nwhile True: os.write(1, b'x' * 65536)"

    report = run(python(source), log_size_limit="1m", grace_s=30)

    assert report.state is RunState.LIMIT_EXCEEDED
    assert report.wall_time_s is not None
    assert report.wall_time_s < 20


def test_the_size_of_a_file_is_limited(run: Run, model_run: ModelRun) -> None:
    report = run("exec head -c 3000000 /dev/zero > big", file_size_limit="1m")

    assert report.state is RunState.LIMIT_EXCEEDED
    assert "file_size_limit" in report.reason
    assert (model_run.workspace_dir / "big").stat().st_size == MB


def test_a_run_that_neither_speaks_nor_writes_is_stalled(run: Run, living: Living) -> None:
    report = run("echo begun; sleep 300", stall_timeout=0.5)

    assert report.state is RunState.STALLED
    assert "0.5 s" in report.reason
    assert living() == []


@pytest.mark.parametrize("growth", ["echo .", "echo . >> file", "mkdir -p deep/$i; echo . > deep/$i/f"])
def test_growth_of_any_kind_is_no_stall(run: Run, growth: str) -> None:
    report = run(f"for i in 1 2 3 4 5 6 7 8; do {growth}; sleep 0.15; done", stall_timeout=0.6)

    assert report.ok, report.reason


def test_a_run_without_a_timeout_is_not_ended(run: Run) -> None:
    assert run("sleep 0.2", timeout=None).ok


def test_the_stack_can_be_unlimited(run: Run) -> None:
    report = run("ulimit -s", stack_limit="unlimited")

    assert report.stdout_path is not None
    assert report.stdout_path.read_text().strip() in ("unlimited", _hard_stack_limit())


def test_the_stack_can_be_limited(run: Run) -> None:
    report = run("ulimit -s", stack_limit="4m")

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "4096\n"


def test_niceness_is_added(run: Run) -> None:
    report = run("nice", nice=7)

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == f"{os.nice(0) + 7}\n"


def test_processors_are_limited_and_told_to_openmp(run: Run) -> None:
    source = "import json, os; print(json.dumps([len(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS']]))"

    report = run(python(source), cpu=1)

    assert report.stdout_path is not None
    assert json.loads(report.stdout_path.read_text()) == [1, "1"]


def test_a_number_of_openmp_threads_that_was_set_stays(run: Run) -> None:
    report = run("echo $OMP_NUM_THREADS", cpu=1, env_vars={"OMP_NUM_THREADS": "5"})

    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "5\n"


def test_more_processors_than_there_are_is_a_warning(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    report = run("true", cpu=10_000)

    assert report.ok
    assert "more than there are processors" in caplog.text


def test_what_this_machine_guarantees_can_be_required(run: Run) -> None:
    held = [name for name, capability in capabilities().items() if capability]

    assert "subreaper" in held
    assert run(["true"], require=held).ok


def test_a_guarantee_that_is_not_known_is_refused_before_anything_is_written(
    submit: Submit, model_run: ModelRun
) -> None:
    with pytest.raises(ConfigError, match="no guarantee is called 'magic'"):
        submit(["true"], require=["magic"])

    assert not model_run.output_dir.exists()


def _hard_stack_limit() -> str:
    import resource

    return str(resource.getrlimit(resource.RLIMIT_STACK)[1] // 1024)
