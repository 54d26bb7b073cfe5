"""What is refused, and when."""

from __future__ import annotations

from typing import Any

from rompy_core._errors import StartError
from rompy_core._records import read_report
from rompy_core._reports import RunState
from rompy_core.testing._bench import RunBench
from rompy_core.testing._claims import NO_MODEL_RUNS, claim, error_of
from rompy_core.testing._run_suite import RunSuite


class RefusalClaims(RunSuite):
    """What is refused, and when."""

    @claim
    def test_a_missing_command_is_a_start_error(self, bench: RunBench, command_not_found: Any) -> None:
        """A command that does not exist is a StartError of submit(), with a report NOT_STARTED that is recorded."""
        error = error_of(StartError, bench.submit, command_not_found)

        assert error.report.state is RunState.NOT_STARTED, f"the state is {error.report.state}"
        assert read_report(bench.workspace()) == error.report, "the recorded report is another one"

    @claim
    def test_a_missing_command_is_a_failed_run(self, bench: RunBench, command_not_found: Any) -> None:
        """A command that does not exist is False of run()."""
        verdict = bench.verdict_of(command_not_found)

        assert verdict is False, f"run() gave {verdict!r}"

    @claim
    def test_a_live_workspace_is_refused(self, bench: RunBench) -> None:
        """A second run in a live workspace is a StartError that names the first's record, host and pid."""
        with bench.started(bench.staying()) as handle:
            bench.wait_for()
            first = read_report(bench.workspace())
            error = error_of(StartError, bench.submit, bench.config_for("pass"))
            is_over = handle.done()

        pid = first.supervisor.pid if first.supervisor else None
        for name, fact in {"record": first.record_dir, "host": first.host, "pid": pid}.items():
            assert fact, f"the first run's report has no {name}"
            assert str(fact) in str(error), f"the {name} {str(fact)!r} is not in: {error}"
        assert error.report.state is RunState.NOT_STARTED, f"the state is {error.report.state}"
        assert not is_over, "the first run was ended"

    @claim
    def test_what_is_no_model_run_is_refused(self, bench: RunBench) -> None:
        """None, or an object without a run_id, is a ValueError of run() and submit(), before anything is written."""
        config, workspace = bench.config_for("pass"), bench.workspace()
        for wrong in NO_MODEL_RUNS:
            error_of(ValueError, bench.backend.run, wrong, config, workspace)
            error_of(ValueError, bench.backend.submit, wrong, config, workspace)

        written = sorted(path.name for path in workspace.iterdir())
        assert not written, f"something was written: {written}"
