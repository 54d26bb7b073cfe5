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

from rompy_core import ConfigError, ModelRun, StartError
from rompy_slurm import SlurmConfig, _config, _script

from .conftest import Cluster

HOSTILE = "'\"`$(){};&|<>*?~#!\\ \t%=-,[]\u00e9\u2028"
PARTS = [
    *HOSTILE,
    "\n",
    "\udcff",
    "a",
    "{0}",
    "$(touch hacked)",
    ";touch hacked;",
    "`touch hacked`",
    "a[$(touch hacked)0]",
]
WORDS = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)
LINES = WORDS.filter(lambda text: bool(text) and text.isprintable())
FOLDERS = WORDS.filter(lambda text: "/" not in text and text not in ("", ".", ".."))

SHOW = """\
import os, sys
with open(sys.argv[1], "wb") as file:
    for value in (*sys.argv[2:], os.environ["VALUE"], os.getcwd()):
        file.write(os.fsencode(value) + b"\\0")
"""


def written(path: Path, text: str) -> None:
    """Write as the backend does: a path may hold what is no UTF-8."""
    path.write_bytes(os.fsencode(text))


def words_of(path: Path) -> list[str]:
    """Read words that each end with a NUL."""
    return os.fsdecode(path.read_bytes()).split("\0")[:-1]


@settings(max_examples=60, deadline=None)
@given(words=st.lists(WORDS, max_size=3), value=WORDS, folder=FOLDERS, below=FOLDERS, module=LINES)
@example(
    words=["'; touch hacked; '"], value="$(touch hacked)\n'", folder="a 'b'", below="$(touch hacked)", module="x;y"
)
@example(words=["-", "\udcff"], value="a[$(touch hacked)0]", folder="- \n'\"", below="-\n", module="-x")
@example(words=["'"], value="'", folder="'", below="'", module="it's \"$(touch hacked)")
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
        written(record / "environment", _script.environment_script(config.env_vars))
        script = _script.command_script(config, argv, workspace_dir=workspace, record_dir=record)
        written(record / "command.sh", script)
        env = {**os.environ, "BASH_ENV": str(Path(top) / "init"), "LOADED": str(loaded)}
        (Path(top) / "init").write_text('module() { printf "%s\\0" "$@" >"$LOADED"; }\n')

        subprocess.run(["/bin/bash", record / "command.sh"], cwd=top, env=env, check=True)

        assert words_of(told) == [*words, value, str(workspace / below)]
        assert words_of(loaded) == ["load", module]
        assert not list(Path(top).rglob("hacked"))
        assert not (record / "environment").exists()


@settings(max_examples=40, deadline=None)
@given(folder=FOLDERS, python=LINES)
def test_the_batch_script_reads_no_value_as_code(folder: str, python: str) -> None:
    with tempfile.TemporaryDirectory() as top:
        record = Path(top) / folder
        record.mkdir()
        config = SlurmConfig(command="x", python=f"/nowhere/{python}", timeout=5)
        (record / "command.sh").write_text("echo ran\nexit 5\n")
        written(record / "job.sh", _script.job_script(config, record))
        env = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7"}

        code = subprocess.run(["/bin/sh", record / "job.sh"], cwd=top, env=env, check=False).returncode

        assert code == 5
        assert (record / "exit").read_text().split()[:3] == ["7", "0", "5"]
        assert (record / "stdout.log").read_text() == "ran\n"
        assert not list(Path(top).rglob("hacked"))


@settings(max_examples=40, deadline=None)
@given(
    command=WORDS.filter(str.strip) | st.lists(WORDS, min_size=1).filter(lambda words: bool(words[0])),
    args=st.lists(LINES),
)
@example(command="echo $HOME; touch b", args=["-n", "$(touch hacked)"])
def test_launcher_and_command_reach_the_node_word_for_word(command: str | list[str], args: list[str]) -> None:
    with tempfile.TemporaryDirectory() as top:
        record, told = Path(top), Path(top) / "told"
        (record / "srun").write_text('#!/bin/sh\nprintf "%s\\0" "$@" >"$TOLD"\n')
        (record / "srun").chmod(0o755)
        config = SlurmConfig(command=command, launcher="srun", launcher_args=args)
        written(record / "environment", _script.environment_script({"TOLD": str(told), "PATH": top}))
        argv = config.argv(None)
        written(record / "command.sh", _script.command_script(config, argv, workspace_dir=record, record_dir=record))

        subprocess.run(["/bin/bash", record / "command.sh"], cwd=top, check=True)

        assert words_of(told) == [*args, *(["/bin/sh", "-c", command] if isinstance(command, str) else command)]
        assert not (record / "environment").exists(), "the PATH of the command has no rm"


NAMED = {
    "cluster": "clusters", "partition": "partition", "queue": "partition", "account": "account", "qos": "qos",
    "reservation": "reservation", "constraint": "constraint", "gres": "gres", "job_name": "job-name",
    "mail_user": "mail-user", "mail_type": "mail-type",
}  # fmt: skip


@pytest.mark.parametrize("option", NAMED)
@settings(max_examples=30, deadline=None)
@given(value=LINES, run_id=WORDS, folder=FOLDERS)
def test_each_option_is_one_word_of_sbatch(option: str, value: str, run_id: str, folder: str) -> None:
    def argv(**options: Any) -> list[str]:
        config = SlurmConfig(command="x", additional_options=["--nice=10"], **options)
        return _script.sbatch_argv(config, key="k", run_id=run_id, record_dir=Path("/", folder))

    own = [word for word in argv() if not word.startswith(f"--{NAMED[option]}=")]
    words = argv(**{option: value})

    assert [word for word in words if word.startswith(f"--{NAMED[option]}=")] == [f"--{NAMED[option]}={value}"]
    assert sorted(words) == sorted([*own, f"--{NAMED[option]}={value}"])
    assert all(word.startswith("--") for word in words[1:])


def test_each_variable_arrives_as_it_was_given_or_is_refused(tmp_path: Path) -> None:
    known = subprocess.run(["/bin/bash", "-c", "compgen -v"], env={}, capture_output=True, text=True, check=True)
    others = "HISTCMD RANDOM SECONDS SRANDOM BASH_ARGV0 BASH_ENV ENV IFS HOME PATH LANG POSIXLY_CORRECT CDPATH TMOUT"
    value = "a[$(touch hacked)0] b"
    show = [sys.executable, "-S", "-c", "import os, sys; sys.stdout.write(os.environ.get(sys.argv[1], 'none'))"]
    wrong: list[str] = []
    for name in {*known.stdout.split(), *others.split()} - _config._OF_BASH:
        config = SlurmConfig(command=[*show, name], env_vars={name: value})
        written(tmp_path / "environment", _script.environment_script(config.env_vars))
        script = _script.command_script(config, config.argv(None), workspace_dir=tmp_path, record_dir=tmp_path)

        ended = subprocess.run(["/bin/bash", "-c", script], cwd=tmp_path, env={}, capture_output=True, check=False)

        wrong += [name] if ended.stdout != value.encode() else []

    assert wrong == []
    assert not list(tmp_path.rglob("hacked"))


@pytest.mark.parametrize("name", ["OPTIND", "RANDOM", "UID", "_"])
def test_a_variable_that_bash_keeps_for_itself_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"env_vars\['{name}'\]: is bash's own"):
        SlurmConfig(command="x", env_vars={name: "a[$(touch hacked)0]"})


@pytest.mark.parametrize("folder", ["w %j %%", "it's $(touch hacked) \\n %u", "-größer;\ntouch hacked"])
def test_hostile_values_go_through_a_real_sbatch(folder: str, slurm: Cluster, tmp_path: Path) -> None:
    value = "'\"$(touch hacked)`touch hacked`\n; touch hacked #"
    words = [sys.executable, "-c", "import os, sys; print(ascii(sys.argv[1]), ascii(os.environ['VALUE']))", value]
    options: dict[str, Any] = {"env_vars": {"VALUE": value}, "job_name": 'a "b" $(touch hacked) \';c', "export": "NONE"}
    options |= {
        "account": "$(touch hacked)'",
        "mail_user": '`touch hacked`;"x',
        "mail_type": ["FAIL"],
        "qos": "'; $(touch hacked)",
    }
    model_run = ModelRun(run_id="- a'$(touch hacked)", output_dir=tmp_path / folder)

    assert model_run.run("slurm", command=words, **options), model_run.report

    report = model_run.report
    assert report is not None
    assert report.stdout_path is not None
    assert report.stdout_path.read_text().split("\n")[0] == f"{value!a} {value!a}"
    assert (report.record_dir / "job.log").exists() if report.record_dir else False
    assert not list(tmp_path.rglob("hacked"))
    assert not Path("/hacked").exists()


@pytest.mark.parametrize("option", ["partition", "reservation", "constraint", "gres", "cluster"])
def test_a_hostile_name_is_refused_by_slurm_and_no_more(option: str, slurm: Cluster, tmp_path: Path) -> None:
    value = "'; touch hacked; $(touch hacked) #"

    with pytest.raises(StartError, match="Slurm did not take the job"):
        ModelRun(run_id="a", output_dir=tmp_path).submit("slurm", command="true", **{option: value})

    assert not list(tmp_path.rglob("hacked"))
    assert slurm.live_jobs() == []


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
