"""Verdict and progress from the model's own output."""

from __future__ import annotations

from typing import Final

from rompy_core._reports import RunState
from rompy_core.testing._bench import RunBench
from rompy_core.testing._claims import claim, wait_until
from rompy_core.testing._run_suite import RunSuite

_BY_RULES: Final = {"ignore_exit_code": True, "required_files": ["result.nc"]}


class RuleClaims(RunSuite):
    """Verdict and progress from the model's own output."""

    @claim
    def test_a_required_file_is_required(self, bench: RunBench) -> None:
        """A run with exit code 0 that did not write a required file is a failure that names the file."""
        rules = {"required_files": ["result.nc"]}
        without = bench.report_of(bench.config_for("pass", rules=rules), "without")
        written = bench.report_of(bench.config_for("open('result.nc', 'w')", rules=rules), "written")

        assert without.state is RunState.FAILED, f"the state is {without.state} without the file"
        assert "result.nc" in without.reason, f"the file is not named in: {without.reason}"
        assert written.ok, f"the state is {written.state} with the file: {written.reason}"

    @claim
    def test_a_fatal_line_stops_the_run(self, bench: RunBench) -> None:
        """A fatal line of output ends the run while it goes on, as FAILED, and the reason quotes the line."""
        print_it = "print('ERROR: grid has holes', flush=True)"
        config = bench.staying(print_it, rules={"fatal": ["ERROR"]}, timeout=self.patience_s / 2)

        with bench.started(config) as handle:
            report = handle.wait(self.patience_s)

        assert report.state is RunState.FAILED, f"the state is {report.state}: {report.reason}"
        assert "ERROR: grid has holes" in report.reason, f"the line is not quoted in: {report.reason}"

    @claim
    def test_a_success_line_is_required(self, bench: RunBench) -> None:
        """A run with exit code 0 whose output lacks the line of success is a failure."""
        rules = {"success": ["normal end"]}
        without = bench.report_of(bench.config_for("pass", rules=rules), "without")
        printed = bench.report_of(bench.config_for("print('normal end')", rules=rules), "printed")

        assert without.state is RunState.FAILED, f"the state is {without.state} without the line"
        assert printed.ok, f"the state is {printed.state} with the line: {printed.reason}"

    @claim
    def test_progress_reaches_the_handle(self, bench: RunBench) -> None:
        """Progress that the output tells reaches the handle while the run goes on, and the report."""
        rules = {"progress": r"(?P<percent>\d+) % done"}
        config = bench.staying("print('50 % done', flush=True)", then="print('75 % done')", rules=rules)

        with bench.started(config) as handle:
            wait_until(lambda: handle.progress is not None, self.patience_s, "progress of the handle")
            during = handle.progress
            bench.release()
            report = handle.wait(self.patience_s)

        found = [progress.fraction if progress else None for progress in (during, report.progress)]
        assert found == [0.5, 0.75], f"fractions of the handle and of the report are {found}"

    @claim
    def test_a_forbidden_file_is_forbidden(self, bench: RunBench) -> None:
        """A run with exit code 0 that wrote a forbidden file is a failure that names the file."""
        report = bench.report_of(bench.config_for("open('Errfile', 'w')", rules={"forbidden_files": ["Errfile*"]}))

        assert report.state is RunState.FAILED, f"the state is {report.state}: {report.reason}"
        assert "Errfile" in report.reason, f"the file is not named in: {report.reason}"

    @claim
    def test_a_fatal_line_of_a_file_counts(self, bench: RunBench) -> None:
        """A fatal line of a file in the workspace ends the run as one of its output does; the reason quotes both."""
        write = "with open('PRINT-001', 'w') as file: file.write('ERROR: no wind\\n')"
        rules = {"fatal": [{"regex": "ERROR", "file": "PRINT*"}]}

        report = bench.report_of(bench.staying(write, rules=rules, timeout=self.patience_s / 2))

        assert report.state is RunState.FAILED, f"the state is {report.state}: {report.reason}"
        for text in ("ERROR: no wind", "PRINT-001"):
            assert text in report.reason, f"{text!r} is not quoted in: {report.reason}"

    @claim
    def test_a_fatal_line_may_be_let_go_on(self, bench: RunBench) -> None:
        """With on_fatal="fail", a run with a fatal line ends by itself, and is a failure."""
        source = "import time; print('ERROR', flush=True); time.sleep(1); open('ended', 'w').close()"
        report = bench.report_of(bench.config_for(source, rules={"fatal": ["ERROR"], "on_fatal": "fail"}))

        assert report.state is RunState.FAILED, f"the state is {report.state}: {report.reason}"
        assert (bench.workspace() / "ended").exists(), "the run was ended"

    @claim
    def test_the_exit_code_can_be_ignored(self, bench: RunBench) -> None:
        """With ignore_exit_code, the rules alone are the verdict."""
        for code in (0, 3):
            name, config = f"exit-{code}", bench.config_for(f"raise SystemExit({code})", rules=_BY_RULES)
            without = bench.report_of(config, name)
            (bench.workspace(name) / "result.nc").unlink(missing_ok=True)
            source = f"open('result.nc', 'w').close(); raise SystemExit({code})"
            written = bench.report_of(bench.config_for(source, rules=_BY_RULES), name)

            assert without.state is RunState.FAILED, f"the state is {without.state} where a rule is broken"
            assert written.ok, f"the state is {written.state} for exit code {code}: {written.reason}"

    @claim
    def test_progress_never_goes_back(self, bench: RunBench) -> None:
        """Progress never goes back, and never passes 1."""
        rules = {"progress": r"(?P<percent>\d+) % done"}
        for lines, fraction in ((("50 % done", "30 % done"), 0.5), (("50 % done", "250 % done"), 1.0)):
            source = f"print({chr(10).join(lines)!r})"
            report = bench.report_of(bench.config_for(source, rules=rules), f"to-{fraction}")

            found = report.progress.fraction if report.progress else None
            assert found == fraction, f"the fraction is {found} after {lines}"
