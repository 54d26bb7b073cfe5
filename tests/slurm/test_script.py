"""Hostile values, against a real bash: none is read as code, and each arrives as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rompy_slurm import SlurmConfig, _script

from .conftest import Cluster

HOSTILE = "'\"`$(){};&|<>*?~#!\\ \t%=-,[]\u00e9\u2028"
WORDS = st.lists(
    st.sampled_from([*HOSTILE, "\n", "a", "$(touch hacked)", ";touch hacked;", "`touch hacked`"]), max_size=8
).map("".join)
LINES = WORDS.filter(lambda text: bool(text) and text.isprintable())
NAMES = LINES.filter(lambda text: "/" not in text and text not in (".", ".."))

SHOW = """\
import os, sys
with open(sys.argv[1], "wb") as file:
    for value in (*sys.argv[2:], os.environ["VALUE"], os.getcwd()):
        file.write(os.fsencode(value) + b"\\0")
"""


@settings(max_examples=60, deadline=None)
@given(words=st.lists(WORDS, max_size=3), value=WORDS, folder=NAMES, below=NAMES, module=LINES)
@example(
    words=["'; touch hacked; '"], value="$(touch hacked)\n'", folder="a 'b'", below="$(touch hacked)", module="x;y"
)
def test_no_value_is_read_as_code(words: list[str], value: str, folder: str, below: str, module: str) -> None:
    with tempfile.TemporaryDirectory() as top:
        workspace, record = Path(top) / folder, Path(top) / folder / ".rompy" / "r"
        (workspace / below).mkdir(parents=True)
        record.mkdir(parents=True)
        told, loaded = Path(top) / "told", Path(top) / "loaded"
        config = SlurmConfig(
            command=[sys.executable, "-c", SHOW, str(told), *words],
            env_vars={"VALUE": value},
            working_dir=below,
            modules=[module],
        )
        argv = config.argv(None)
        (record / "environment").write_text(_script.environment_script(config.env_vars))
        script = _script.command_script(config, argv, workspace_dir=workspace, record_dir=record)
        (record / "command.sh").write_text(script)
        env = {**os.environ, "BASH_ENV": str(Path(top) / "init"), "LOADED": str(loaded)}
        (Path(top) / "init").write_text('module() { printf "%s\\0" "$@" >"$LOADED"; }\n')

        subprocess.run(["/bin/bash", record / "command.sh"], cwd=top, env=env, check=True)

        assert told.read_bytes().decode().split("\0")[:-1] == [*words, value, str(workspace / below)]
        assert loaded.read_bytes().decode().split("\0")[:-1] == ["load", module]
        assert not list(Path(top).rglob("hacked"))
        assert not (record / "environment").exists()


@settings(max_examples=40, deadline=None)
@given(folder=NAMES, python=LINES)
def test_the_batch_script_reads_no_value_as_code(folder: str, python: str) -> None:
    with tempfile.TemporaryDirectory() as top:
        record = Path(top) / folder
        record.mkdir()
        config = SlurmConfig(command="x", python=f"/nowhere/{python}", timeout=5)
        (record / "command.sh").write_text("echo ran\nexit 5\n")
        (record / "job.sh").write_text(_script.job_script(config, record))
        env = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7"}

        code = subprocess.run(["/bin/sh", record / "job.sh"], cwd=top, env=env, check=False).returncode

        assert code == 5
        assert (record / "exit").read_text().split()[:3] == ["7", "0", "5"]
        assert (record / "stdout.log").read_text() == "ran\n"
        assert not list(Path(top).rglob("hacked"))


@given(name=LINES, account=LINES)
def test_each_option_is_one_word_of_sbatch(name: str, account: str) -> None:
    config = SlurmConfig(command="x", job_name=name, account=account, additional_options=["--nice=10"])

    argv = _script.sbatch_argv(config, key="k", run_id="r", record_dir=Path("/r"))

    assert f"--job-name={name}" in argv
    assert f"--account={account}" in argv
    assert argv.count("--nice=10") == 1


@pytest.mark.parametrize("folder", ["w %j %%", "it's $(touch hacked) \\n %u", "größer; touch hacked"])
def test_hostile_values_go_through_a_real_sbatch(folder: str, slurm: Cluster, tmp_path: Path) -> None:
    from rompy_core import ModelRun

    value = "'\"$(touch hacked)`touch hacked`\n; touch hacked #"
    words = [sys.executable, "-c", "import os, sys; print(ascii(sys.argv[1]), ascii(os.environ['VALUE']))", value]
    options: dict[str, Any] = {"env_vars": {"VALUE": value}, "job_name": 'a "b" $(touch hacked) \';c', "export": "NONE"}
    model_run = ModelRun(run_id="- a'$(touch hacked)", output_dir=tmp_path / folder)

    assert model_run.run("slurm", command=words, **options), model_run.report

    report = model_run.report
    assert report is not None
    assert report.stdout_path is not None
    assert report.stdout_path.read_text().split("\n")[0] == f"{value!a} {value!a}"
    assert (report.record_dir / "job.log").exists() if report.record_dir else False
    assert not list(tmp_path.rglob("hacked"))
    assert not Path("/hacked").exists()


def test_modules_are_looked_for_where_clusters_have_them(tmp_path: Path) -> None:
    init = tmp_path / "init" / "bash"
    init.parent.mkdir()
    init.write_text('module() { echo loaded "$2"; }\n')
    (tmp_path / "environment").touch()
    config = SlurmConfig(command="true", modules=["netcdf/4.9"], setup=["echo then this"])
    script = _script.command_script(config, ["true"], workspace_dir=tmp_path, record_dir=tmp_path)

    ended = subprocess.run(
        ["/bin/bash", "-c", script], env={"MODULESHOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )

    assert ended.stdout == "loaded netcdf/4.9\nthen this\n"


def test_threads_are_told_to_openmp_unless_they_are_set(tmp_path: Path) -> None:
    (tmp_path / "environment").touch()
    config = SlurmConfig(command="x", cpus_per_task=4, requeue=True)
    words = ["/bin/sh", "-c", "echo $OMP_NUM_THREADS"]
    script = _script.command_script(config, words, workspace_dir=tmp_path, record_dir=tmp_path)

    told = [
        subprocess.run(["/bin/bash", "-c", script], env=env, capture_output=True, text=True, check=True).stdout
        for env in ({}, {"OMP_NUM_THREADS": "2"})
    ]

    assert told == ["4\n", "2\n"]
    assert (tmp_path / "environment").exists(), "a job that may be started again needs it again"
