from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from rompy_cli import _list
from rompy_cli._exits import MEANINGS, ExitCode
from rompy_core import RunRecord

Invoke = Callable[..., Result]
MakeRun = Callable[..., RunRecord]

COMMANDS = ("run", "pipeline", "validate", "ls", "show", "logs", "cancel", "plugins", "schema", "completion")


def test_help_names_all_commands_and_exit_codes(invoke: Invoke) -> None:
    result = invoke("--help")

    assert result.exit_code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in result.stdout] == []
    assert [code for code in ExitCode if f"\n  {int(code)} " not in result.stdout] == []
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(command: str, invoke: Invoke) -> None:
    result = invoke(command, "--help")

    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_start_up_imports_neither_the_core_nor_rich() -> None:
    code = "import sys; from rompy_cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    imported = done.stdout.splitlines()[-1].split()
    heavy = {"rich", "attrs", "attr", "cattrs", "rompy_core", "rompy_local", "rompy_cli._files", "tqdm", "yaml"}
    assert heavy.isdisjoint(imported)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["foo"], "No such command 'foo'"),
        (["show"], "Missing argument 'RUN'"),
        (["show", "a", "--al"], "No such option"),
        (["cancel", "a", "--timeout", "-1"], "-1"),
        (["--foo"], "No such option"),
    ],
)
def test_bad_usage_ends_with_2_and_as_json_too(words: list[str], message: str, invoke: Invoke) -> None:
    plain, as_json = invoke(*words), invoke(*words, "--json")

    assert (plain.exit_code, as_json.exit_code) == (2, 2)
    assert message in plain.stderr
    assert plain.stdout == ""
    document = json.loads(as_json.stdout)
    assert message in document["error"]["message"]
    assert (document["error"]["code"], document["exit_code"]) == ("USAGE", 2)


def test_errors_as_json_have_every_problem(here: Path, invoke: Invoke) -> None:
    (here / "bad.toml").write_text("run_id = 'a'\nx = 1\ny = 2")

    result = invoke("run", "bad.toml", "--json")

    assert result.exit_code == 2
    assert len(json.loads(result.stdout)["error"]["problems"]) == 2


def test_a_fault_of_ours_is_told_from_a_run_that_failed(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_it(*_: object) -> None:
        raise ZeroDivisionError("\x1b[31m")

    monkeypatch.setattr(_list.rompy_core, "find_runs", raise_it)

    result = invoke("ls")

    assert result.exit_code == 70
    assert "a fault of rompyrun: ZeroDivisionError: \\x1b[31m" in result.stderr
    assert "Traceback" in result.stderr


def test_an_interrupt_of_any_command_ends_with_130(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_it(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_list.rompy_core, "find_runs", raise_it)

    assert invoke("ls").exit_code == 130


def test_python_m_rompy_cli_is_the_command(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rompy_cli", "--version"], capture_output=True, text=True, timeout=30, check=False
    )

    assert done.stdout.startswith("rompyrun, version ")


# Completion.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str, invoke: Invoke) -> None:
    plain, as_json = invoke("completion", shell), invoke("completion", shell, "--json")

    assert (plain.exit_code, as_json.exit_code) == (0, 0)
    assert "_ROMPYRUN_COMPLETE" in plain.stdout
    assert json.loads(as_json.stdout)["script"] in plain.stdout


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("rompyrun va", {"validate"}),
        ("rompyrun show st", {"storm-1", "storm-2"}),
        ("rompyrun cancel t", {"tide"}),
        ("rompyrun schema do", {"docker"}),
        ("rompyrun ls --js", {"--json"}),
        ("rompyrun show $", set[str]()),
        ("rompyrun completion f", {"fish"}),
    ],
)
def test_bash_completes_commands_run_ids_and_plugins(
    line: str, completed: set[str], make_run: MakeRun, rompyrun: str, here: Path
) -> None:
    for run_id in ("storm-1", "storm-2", "tide", "$(touch pwned)", "two words", "\x1b[31m"):
        make_run(run_id, workspace=f"w{abs(hash(run_id))}")
    words = line.split(" ")
    script = f"""
        PATH={Path(rompyrun).parent}:$PATH
        eval "$(rompyrun completion bash)"
        complete -p rompyrun >/dev/null || exit 1
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
        compopt() {{ :; }}
        _rompyrun_completion rompyrun '{words[-1]}' '{words[-2]}'
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """

    done = subprocess.run(["bash", "-c", script], cwd=here, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == completed
    assert not (here / "pwned").exists()
