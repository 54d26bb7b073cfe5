"""The model run, its workspace and its records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from rompy_core._records import find_runs
from rompy_core.testing._bench import CountingRun, RunBench
from rompy_core.testing._claims import claim
from rompy_core.testing._run_suite import RunSuite


class WorkspaceClaims(RunSuite):
    """The model run, its workspace and its records."""

    @claim
    def test_the_inputs_are_generated_once(self, bench: RunBench) -> None:
        """run() generates exactly once, and not at all where it is given a workspace."""
        given, generating = CountingRun(bench.directory / "given"), CountingRun(bench.directory / "generating")

        bench.backend.run(given, bench.config_for("open('here', 'w')"), workspace_dir=str(bench.workspace()))
        bench.backend.run(generating, bench.config_for("open('here', 'w')"))

        assert given.generated == 0, f"generated {given.generated} times with a given workspace"
        assert (bench.workspace() / "here").exists(), "it did not run in the given workspace"
        assert generating.generated == 1, f"generated {generating.generated} times without a workspace"
        assert (generating.workspace / "here").exists(), "it did not run in the generated workspace"

    @claim
    def test_a_foreign_model_run_is_accepted(self, bench: RunBench) -> None:
        """Any object with run_id and output_dir can be run, whatever its class."""
        foreign = SimpleNamespace(run_id="foreign", output_dir=bench.directory / "runs")

        verdict = bench.backend.run(foreign, bench.config_for("open('here', 'w')"))

        assert verdict is True, f"run() gave {verdict!r}"
        assert (bench.directory / "runs" / "foreign" / "here").exists(), "it did not run in output_dir/run_id"

    @claim
    def test_the_command_starts_in_working_dir(self, bench: RunBench) -> None:
        """A command starts in working_dir, which is taken from the workspace."""
        (bench.workspace() / "grid").mkdir()

        bench.report_of(bench.config_for("open('here', 'w')", working_dir="grid"))

        assert (bench.workspace() / "grid" / "here").exists(), "it started elsewhere"

    @claim
    def test_earlier_attempts_stay(self, bench: RunBench) -> None:
        """Each attempt has a record of its own, and those of earlier ones stay."""
        reports = [bench.report_of(bench.config_for(f"raise SystemExit({code})")) for code in (1, 0)]

        recorded = [(run.record_dir, run.exit_code) for run in find_runs(bench.workspace())]
        assert recorded == [(run.record_dir, run.exit_code) for run in reports], f"recorded are {recorded}"

    @claim
    def test_generate_may_give_any_form_of_a_path(self, bench: RunBench) -> None:
        """The workspace is what generate() gives: a path, text, an object with staging_dir, or nothing."""
        forms: dict[str, Callable[[Path], object]] = {
            "path": lambda path: path,
            "text": str,
            "object": lambda path: SimpleNamespace(staging_dir=path),
            "nothing": lambda _: None,
        }
        for name, form in forms.items():
            model_run = CountingRun(bench.directory / name, form)

            verdict = bench.backend.run(model_run, bench.config_for("open('here', 'w')"))

            assert verdict is True, f"run() gave {verdict!r} for generate() that gives {name}"
            assert (model_run.workspace / "here").exists(), f"it ran elsewhere for generate() that gives {name}"
