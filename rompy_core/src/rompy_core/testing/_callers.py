"""What the caller keeps, and what happens to a run without one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from pathlib import Path
from typing import Any

import attrs
import pytest

from rompy_core._errors import StartError
from rompy_core._records import read_report
from rompy_core._reports import RunState
from rompy_core.testing._bench import TREE, RunBench
from rompy_core.testing._claims import claim, error_of, files_below, wait_until
from rompy_core.testing._run_suite import RunSuite


class CallerClaims(RunSuite):
    """What the caller keeps, and what happens to a run without one."""

    @claim
    def test_env_vars_reach_the_run(self, bench: RunBench) -> None:
        """env_vars reach the run as they are, and the caller's environment stays as it was."""
        env_vars = {"ROMPY_A": "a b=c'\"$HOME", "ROMPY_B": "first\nsecond", "ROMPY_C": "", "ROMPY_D": "größer"}
        write = "open('seen', 'w').write(ascii({k: v for k, v in os.environ.items() if k.startswith('ROMPY_')}))"
        before = dict(os.environ)

        with bench.started(bench.staying(write, env_vars=env_vars)):
            bench.wait_for()
            during = dict(os.environ)

        seen = (bench.workspace() / "seen").read_text("ascii")
        for name, value in env_vars.items():
            assert f"{name!r}: {value!a}" in seen, f"{name} is not {value!a} in {seen}"
        assert before == during == dict(os.environ), "the caller's environment was changed"

    @claim
    def test_the_caller_stays_in_its_directory(self, bench: RunBench) -> None:
        """The caller's working directory stays as it was, also while the run goes on."""
        before = Path.cwd()

        with bench.started(bench.staying(working_dir=".")):
            bench.wait_for()
            during = Path.cwd()

        assert before == during == Path.cwd(), f"it was {before}, then {during}, then {Path.cwd()}"

    @claim
    def test_values_of_variables_are_shown_nowhere(
        self, bench: RunBench, command_not_found: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Values of env_vars appear in no file below the workspace, no log record, no repr and no error."""
        caplog.set_level(logging.DEBUG)
        env_vars = {"SECRET": "canary-4711"}
        shown: list[object] = []
        for source in ("pass", "raise SystemExit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"):
            config = bench.config_for(source, env_vars=env_vars)
            with bench.started(config) as handle:
                shown += [config, handle, handle.wait(self.patience_s)]
        missing = attrs.evolve(command_not_found, env_vars=env_vars)
        error = error_of(StartError, bench.submit, missing)
        wrong = error_of(ValueError, bench.config_for, "pass", env_vars={"SECRET": "canary-4711\0"}, timeout=-1)
        shown += [missing, error, str(error), error.report, wrong, str(wrong)]

        leaks = [f"the repr of {type(one).__name__}" for one in shown if "canary-4711" in repr(one)]
        leaks += [f"a log record of {record.name}" for record in caplog.records if "canary-4711" in _all_of(record)]
        leaks += [f"the file {file}" for file in files_below(bench.directory) if b"canary-4711" in file.read_bytes()]
        assert not leaks, f"the value is in {'; '.join(leaks)}"

    @claim
    def test_nothing_of_the_process_is_changed(self, bench: RunBench) -> None:
        """Handlers of signals and of logging are the caller's: none is installed, replaced or removed."""
        before = _handlers()

        with bench.started(bench.staying()):
            bench.wait_for()
            during = _handlers()

        changed = sorted(name for name in before if not before[name] == during.get(name) == _handlers().get(name))
        assert not changed, f"changed are the handlers of {', '.join(changed)}"

    @claim
    def test_the_death_of_the_caller_ends_the_run(self, bench: RunBench) -> None:
        """A caller that is killed leaves no process of its run behind, and a complete record that says CANCELLED."""
        caller = bench.calling(bench.tree(grace_s=self.grace_s))
        try:
            bench.wait_for(*TREE)
            assert bench.left(), "live_processes() does not see the run; override it"
            caller.kill()
            caller.wait()
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not bench.left(), self.patience_s)
            left = bench.left()
            assert not left, f"processes are left: {left}"
            with contextlib.suppress(AssertionError):
                wait_until(lambda: read_report(bench.workspace()).state.is_final, self.patience_s)
            report = read_report(bench.workspace())
        finally:
            caller.kill()
            caller.communicate()
            bench.release()

        assert report.state is RunState.CANCELLED, f"the state is {report.state}: {report.reason}"


def _all_of(record: logging.LogRecord) -> str:
    """Give all that a formatter could show of *record*."""
    return f"{logging.Formatter().format(record)} {vars(record)!r}"


def _handlers() -> dict[str, object]:
    """Give the handlers of all signals and of all loggers by their names."""
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    by_logger: dict[str, object] = {f"logger {logger.name}": list(logger.handlers) for logger in loggers}
    return by_logger | {number.name: signal.getsignal(number) for number in signal.Signals}
