"""From what happened and what the rules found to a state and one sentence for a person."""

from __future__ import annotations

import signal

from rompy_core._reports import Outcome, RunState
from rompy_core._watch import OutputWatcher


def judge(outcome: Outcome, watcher: OutputWatcher) -> tuple[RunState, str]:
    """Give the final state of a run that has ended, and the reason.

    Success is exit code 0 (unless the rules say to ignore it) and every rule held. A run that its backend ended has
    the state that the backend gave it, whatever else holds.
    """
    if outcome.ended_as is not None:
        # A fatal line seldom says it all: a traceback begins with one, and its reason is the last.
        return outcome.ended_as, outcome.reason + (_tail(watcher) if watcher.fatal else "")
    broken = watcher.violations()
    if not watcher.rules.ignore_exit_code and not is_clean_exit(outcome):
        broken.insert(0, ending(outcome))
    if broken:
        return RunState.FAILED, "; ".join(broken) + _tail(watcher)
    kept = " and every rule held" if watcher.rules != type(watcher.rules)() else ""
    return RunState.COMPLETED, ending(outcome) + kept


def _tail(watcher: OutputWatcher) -> str:
    """Quote the last line of output, unless it has been quoted already."""
    line = watcher.last_line
    if not line or (watcher.fatal is not None and line in watcher.fatal.line):
        return ""
    return f"; the last line of output: {line!r}"


def is_clean_exit(outcome: Outcome) -> bool:
    """Whether the command ended by itself with exit code 0."""
    return outcome.exit_code == 0 and outcome.exit_signal is None


def ending(outcome: Outcome) -> str:
    """Say how the command ended."""
    if outcome.exit_signal is not None:
        return f"the command was ended by signal {outcome.exit_signal} ({signal_name(outcome.exit_signal)})"
    if outcome.exit_code is None:
        return "how the command ended is not known"
    hint = {126: " (found, but not executable)", 127: " (command not found)"}.get(outcome.exit_code, "")
    if outcome.exit_code > 128 and (name := signal_name(outcome.exit_code - 128)) != "unknown":
        hint = f" (as a shell says that {name} ended its command)"
    return f"the command ended with exit code {outcome.exit_code}{hint}"


def signal_name(number: int) -> str:
    """Give the name of a signal, such as ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
