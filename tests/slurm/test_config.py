from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_core import ConfigError, ModelRun, structure_config, unstructure_config
from rompy_slurm import SlurmConfig

LINES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
COUNTS = st.integers(1, 10_000)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "command": st.lists(LINES, min_size=1, max_size=3),
            "partition": LINES,
            "nodes": COUNTS,
            "ntasks": COUNTS,
            "mem": st.sampled_from(["4g", "100m", 2**30]),
            "time_limit": st.sampled_from([60, 90.5, "01:00:00", "2-00:00:00"]),
            "mail_type": LINES | st.lists(LINES, max_size=2),
            "modules": st.lists(LINES, max_size=2),
            "setup": st.lists(LINES, max_size=2),
            "exclusive": st.booleans(),
            "additional_options": st.lists(st.sampled_from(["--nice=10", "--begin=now+1hour", "--hold"]), max_size=2),
        },
    )
)
def test_a_config_survives_plain_data(options: dict[str, Any]) -> None:
    config = structure_config(options, SlurmConfig)

    assert structure_config(unstructure_config(config), SlurmConfig) == config


@pytest.mark.parametrize(
    ("given", "seconds", "minutes"),
    [(60, 60.0, 1), (61, 61.0, 2), ("00:01:00", 60.0, 1), ("12:00:00", 43200.0, 720), ("2-01:00:30", 176430.0, 2941)],
)
def test_a_time_limit_may_be_written_as_slurm_does(given: Any, seconds: float, minutes: int) -> None:
    config = SlurmConfig(command="x", time_limit=given)

    assert (config.time_limit, config.minutes) == (seconds, minutes)


@pytest.mark.parametrize("wrong", ["1:00", "1:60:00", "0:00:00", "-1:00:00", "1 day", 0, "\uff11:00:00", True])
def test_another_time_limit_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="time_limit"):
        SlurmConfig(command="x", time_limit=wrong)


def test_without_a_time_limit_slurm_gets_one_that_leaves_ours_the_first_word() -> None:
    assert SlurmConfig(command="x", timeout=600, grace_s=10).minutes == 12
    assert SlurmConfig(command="x").minutes is None


def test_memory_asks_for_a_little_more_than_the_command_may_take() -> None:
    assert SlurmConfig(command="x", memory="1g").megabytes == 1024 + 64
    assert SlurmConfig(command="x", memory="1g", mem="4g").megabytes == 4096
    assert SlurmConfig(command="x").megabytes is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"job_name": "a\n#SBATCH --account=other"}, "job_name"),
        ({"account": ""}, "account"),
        ({"modules": ["a\nrm -rf ~"]}, "modules"),
        ({"setup": "module load x"}, "setup"),
        ({"additional_options": ["--output=/tmp/x"]}, "--output is what an option"),
        ({"additional_options": ["-p debug"]}, "long option of sbatch"),
        ({"additional_options": ["--nice 10"]}, "long option of sbatch"),
        ({"leftovers": "leave"}, "leftovers"),
        ({"memory": "1g", "nodes": 2}, "memory: is watched on one node"),
        ({"queue": "a", "partition": "b"}, "another name of partition"),
        ({"launcher_args": ["-n", "4"]}, "launcher_args: need a launcher"),
        ({"launcher": "aprun"}, "launcher"),
        ({"env_vars": {"A-B": "secret"}}, r"env_vars\['A-B'\]"),
        ({"export": "SOME"}, "export"),
        ({"nodes": 0}, "nodes"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        SlurmConfig(command="x", **options)

    assert "secret" not in str(caught.value)


def test_the_launcher_begins_the_command() -> None:
    config = SlurmConfig(command=["swan.exe", "a b"], launcher="srun", launcher_args=["--mpi=pmi2"])

    assert config.argv(None) == ["srun", "--mpi=pmi2", "swan.exe", "a b"]
    assert SlurmConfig(launcher="mpirun").argv("a | b") == ["mpirun", "/bin/sh", "-c", "a | b"]


def test_a_run_without_a_command_is_refused_before_anything_is_written(tmp_path: Any) -> None:
    class Callable:
        def generate(self, workspace_dir: object, model_run: object) -> None: ...

        def run(self, model_run: object) -> bool:
            return True

    with pytest.raises(ConfigError, match="is not sent to a queue"):
        ModelRun(run_id="a", output_dir=tmp_path / "out", config=Callable()).run("slurm")

    assert not (tmp_path / "out").exists()
