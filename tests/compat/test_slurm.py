"""Fault 19, the SLURM backend of rompy 0.6.4: its configs, run by ours on a real Slurm. Also: ``tests/slurm``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rompy.backends.config import SlurmConfig
from tests.slurm.clusters import Cluster

from rompy_core import ConfigError, LocalPipelineBackend, RunReport, RunState

ReportOf = Callable[[Any], RunReport]
SMALL = ["--mem 64"]


def execute(model_run: Any, config: SlurmConfig, **options: Any) -> dict[str, Any]:
    return LocalPipelineBackend().execute(model_run, config, **options)


def test_a_value_of_a_variable_is_no_piece_of_the_script(any_run: Any, slurm: Cluster, report_of: ReportOf) -> None:
    values = {"A": "x; touch injected", "B": "two words"}
    config = SlurmConfig(command='printf "%s|" "$A" "$B"\nfalse\necho done', env_vars=values, additional_options=SMALL)

    results = execute(any_run, config)

    assert results["success"] is True
    report = report_of(any_run)
    assert report.stdout_path is not None
    assert report.stdout_path.read_text() == "x; touch injected|two words|done\n"
    assert not list(Path(any_run.output_dir).rglob("injected"))
    assert report.options["timeout"] is None  # rompy's default, an hour, is that of the wait


def test_a_job_that_takes_more_memory_than_it_asked_for_is_ended_and_said_to_be(
    any_run: Any, slurm: Cluster, report_of: ReportOf
) -> None:
    hungry = "python3 -c 'import time; x = bytearray(400 << 20); time.sleep(60)'"
    config = SlurmConfig(command=hungry, additional_options=SMALL)

    results = execute(any_run, config)

    assert (results["success"], results["stage"]) == (False, "run")
    assert report_of(any_run).state is RunState.OUT_OF_MEMORY


def test_a_timeout_leaves_no_job(any_run: Any, slurm: Cluster, report_of: ReportOf) -> None:
    fields = {"command": "sleep 300", "timeout": 1, "additional_options": SMALL}
    config = SlurmConfig.model_construct(**fields)  # unchecked, for rompy's least is 60

    results = execute(any_run, config, run_kwargs={"grace_s": 0.5})

    assert results["success"] is False
    assert report_of(any_run).state is RunState.TIMED_OUT
    assert slurm.live_jobs() == []
    assert report_of(any_run).options["timeout"] == 1


def test_what_may_follow_sbatch_becomes_options_or_is_refused(any_run: Any) -> None:
    config = SlurmConfig(command="true", additional_options=["--gres=gpu:1", "-C haswell"])

    with pytest.raises(ConfigError, match=r"additional_options\[0\]: must be a long option of sbatch.*-C haswell"):
        execute(any_run, config)
    assert not Path(any_run.output_dir).exists()
