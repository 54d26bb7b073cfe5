from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_core import Outcome, OutputRules, RunState
from rompy_core._verdict import ending, judge
from rompy_core._watch import OutputWatcher

Watch = Callable[..., OutputWatcher]
BROKEN: dict[str, Any] = {"success": "^done$"}
KEPT: dict[str, Any] = {"success": "calm"}


@pytest.fixture
def watch(tmp_path: Path) -> Watch:
    """Watch a run that has printed something and has ended."""

    def ended(output: str = "calm\nseas\n", **rules: Any) -> OutputWatcher:
        (tmp_path / "stdout.log").write_text(output)
        watcher = OutputWatcher(
            OutputRules(**rules),
            tmp_path,
            stdout_path=tmp_path / "stdout.log",
            stderr_path=tmp_path / "stderr.log",
            since=0,
        )
        watcher.scan(at_end=True)
        return watcher

    return ended


def exited(code: int) -> Outcome:
    return Outcome(exit_code=code)


def test_exit_code_0_without_rules_is_success(watch: Watch) -> None:
    assert judge(exited(0), watch()) == (RunState.COMPLETED, "the command ended with exit code 0")


def test_exit_code_0_with_rules_is_success_if_all_of_them_held(watch: Watch) -> None:
    assert judge(exited(0), watch(**KEPT)) == (
        RunState.COMPLETED,
        "the command ended with exit code 0 and every rule held",
    )


def test_exit_code_0_with_a_broken_rule_is_a_failure(watch: Watch) -> None:
    assert judge(exited(0), watch(**BROKEN)) == (
        RunState.FAILED,
        "no line of the output matches the success pattern '^done$'; the last line of output: 'seas'",
    )


@pytest.mark.parametrize("rules", [{}, KEPT])
@pytest.mark.parametrize("outcome", [exited(1), exited(3), Outcome(exit_signal=signal.SIGSEGV), Outcome()])
def test_any_other_end_is_a_failure_that_quotes_the_last_line(
    watch: Watch, outcome: Outcome, rules: dict[str, Any]
) -> None:
    state, reason = judge(outcome, watch(**rules))

    assert state is RunState.FAILED
    assert reason == f"{ending(outcome)}; the last line of output: 'seas'"


def test_where_there_is_no_output_there_is_nothing_to_quote(watch: Watch) -> None:
    assert judge(exited(1), watch("")) == (RunState.FAILED, "the command ended with exit code 1")


@pytest.mark.parametrize("outcome", [exited(0), exited(1), Outcome(exit_signal=signal.SIGKILL), Outcome()])
def test_the_exit_code_can_be_ignored_and_then_the_rules_alone_decide(watch: Watch, outcome: Outcome) -> None:
    assert judge(outcome, watch(**KEPT, ignore_exit_code=True))[0] is RunState.COMPLETED
    assert judge(outcome, watch(**BROKEN, ignore_exit_code=True))[0] is RunState.FAILED


def test_every_reason_for_a_failure_is_told_with_the_exit_code_first(watch: Watch) -> None:
    watcher = watch("calm\nERROR: dry\nseas\n", fatal="ERROR", success="^done$", required_files="out.nc")

    state, reason = judge(exited(2), watcher)

    assert state is RunState.FAILED
    assert reason == (
        "the command ended with exit code 2; a fatal line: 'ERROR: dry' (stdout, line 2); "
        "no line of the output matches the success pattern '^done$'; the required file 'out.nc' was not written; "
        "the last line of output: 'seas'"
    )


@given(
    state=st.sampled_from([state for state in RunState if state.is_final]),
    reason=st.text(min_size=1),
    code=st.none() | st.integers(0, 255),
)
def test_whoever_ended_the_run_knows_why(state: RunState, reason: str, code: int | None) -> None:
    nowhere = Path("/nowhere")
    nothing_fatal = OutputWatcher(OutputRules(), nowhere, stdout_path=nowhere, stderr_path=nowhere, since=0.0)

    assert judge(Outcome(ended_as=state, reason=reason, exit_code=code), nothing_fatal) == (state, reason)


def test_a_fatal_line_that_ended_the_run_is_followed_by_the_last_line(watch: Watch) -> None:
    watcher = watch("Traceback (most recent call last):\n  File x\nValueError: dry\n", fatal="^Traceback")

    _, reason = judge(Outcome(ended_as=RunState.FAILED, reason="ended at a fatal line: Traceback"), watcher)

    assert reason == "ended at a fatal line: Traceback; the last line of output: 'ValueError: dry'"


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (exited(0), "the command ended with exit code 0"),
        (exited(126), "the command ended with exit code 126 (found, but not executable)"),
        (exited(127), "the command ended with exit code 127 (command not found)"),
        (exited(128), "the command ended with exit code 128"),
        (exited(139), "the command ended with exit code 139 (as a shell says that SIGSEGV ended its command)"),
        (exited(255), "the command ended with exit code 255"),
        (Outcome(exit_signal=9), "the command was ended by signal 9 (SIGKILL)"),
        (Outcome(exit_signal=99), "the command was ended by signal 99 (unknown)"),
        (Outcome(), "how the command ended is not known"),
    ],
)
def test_how_a_command_ended_is_said_in_words(outcome: Outcome, sentence: str) -> None:
    assert ending(outcome) == sentence


@given(
    outcome=st.builds(Outcome, exit_code=st.none() | st.integers(-300, 300), exit_signal=st.none() | st.integers(0, 99))
)
def test_every_end_has_a_sentence(outcome: Outcome) -> None:
    assert ending(outcome)
