"""The suite for pipeline backends, and the model run, run backend and postprocessor that they are given."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast, final

import attrs
import pytest

from rompy_core._pipeline_records import PIPELINE
from rompy_core._protocols import PipelineBackend
from rompy_core._records import read_report
from rompy_core.testing._claims import NO_MODEL_RUNS, claim, content_of, error_of, files_below

_STAGES: Final = ("generate", "run", "postprocess")


@final
@attrs.define
class Parts:
    """What a pipeline drives: a model run, a run backend and a postprocessor in one, so that their calls are in order.

    Attributes:
        output_dir: Where the workspace is.
        endings: By stage, what it raises, or gives, in place of success.
        calls: The stages that were called.
        nodes: The option that reached the run backend.
        scale: The option that reached the postprocessor.
    """

    output_dir: Path
    endings: Mapping[str, object] = attrs.field(factory=dict[str, object])
    calls: list[str] = attrs.field(factory=list[str])
    run_id: str = "contract"
    nodes: int | None = None
    scale: float | None = None

    @property
    def workspace(self) -> Path:
        """Where the inputs are."""
        return self.output_dir / self.run_id

    def generate(self) -> Path:
        """Be the model run."""
        self.workspace.mkdir(parents=True, exist_ok=True)
        (self.workspace / "made-by-generate").write_text("input")
        self._end("generate")
        return self.workspace

    def run(self, model_run: Any, nodes: int = 1) -> object:
        """Be the run backend: as those of other libraries do, ask the model run to generate."""
        self.nodes = nodes
        (Path(model_run.generate()) / "made-by-run").write_text("output")
        return self._end("run", default=True)

    def process(self, model_run: Any, scale: float = 1.0) -> object:
        """Be the postprocessor."""
        self.scale = scale
        return self._end("postprocess", default={"success": model_run.run_id == self.run_id})

    def _end(self, stage: str, default: object = None) -> object:
        self.calls.append(stage)
        ending = self.endings.get(stage, default)
        if isinstance(ending, BaseException):
            raise ending
        return ending


class PipelineBackendContract:
    """What every pipeline backend must keep that drives the run backend and the postprocessor it is given."""

    @pytest.fixture
    def pipeline(self) -> PipelineBackend:
        """Override: the pipeline backend."""
        raise NotImplementedError("override the fixture 'pipeline': give the pipeline backend to test")

    def execute(self, pipeline: PipelineBackend, parts: Any, **options: Any) -> Any:
        """Execute *pipeline*; override where it is to be called otherwise.

        Args:
            pipeline: The pipeline backend.
            parts: An object that is the model run, the run backend and the postprocessor.
            options: ``run_backend``, ``processor``, ``run_kwargs``, ``process_kwargs`` and ``cleanup_on_failure``
                as the interface has them, where a claim is about them.
        """
        return pipeline.execute(parts, **{"run_backend": parts, "processor": parts, **options})

    @claim
    def test_the_results_say_what_was_done(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A pipeline that worked gives a mapping with success, run_id and stages_completed."""
        results = self.execute(pipeline, Parts(tmp_path / "runs"))

        _assert_results(results, success=True, run_id="contract", stages_completed=[*_STAGES])

    @claim
    def test_each_stage_runs_once_in_order(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """Generate, run and postprocess run in this order, each once, also where the run backend asks to generate."""
        parts = Parts(tmp_path / "runs")

        self.execute(pipeline, parts)

        assert parts.calls == [*_STAGES], f"called were {parts.calls}"

    @claim
    def test_options_reach_the_plugins(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """Options reach the plugin that they are meant for."""
        parts = Parts(tmp_path / "runs")

        self.execute(pipeline, parts, run_kwargs={"nodes": 3}, process_kwargs={"scale": 2.5})

        assert (parts.nodes, parts.scale) == (3, 2.5), f"nodes is {parts.nodes}, scale is {parts.scale}"

    @claim
    def test_unknown_names_are_refused(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """An unknown run backend or postprocessor is a ValueError that names it, before anything is done."""
        for role in ("run_backend", "processor"):
            parts = Parts(tmp_path / "runs")

            error = error_of(ValueError, self.execute, pipeline, parts, **{role: "no-such-plugin"})

            assert "no-such-plugin" in str(error), f"the name is not in: {error}"
            _assert_nothing_done(parts)

    @claim
    def test_unknown_options_are_refused(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """An option that the run backend or the postprocessor lacks is a ValueError, before anything is done."""
        for role in ("run_kwargs", "process_kwargs"):
            parts = Parts(tmp_path / "runs")

            error = error_of(ValueError, self.execute, pipeline, parts, **{role: {"no_such_option": 1}})

            assert "no_such_option" in str(error), f"the option is not named in: {error}"
            _assert_nothing_done(parts)

    @claim
    def test_what_is_no_model_run_is_refused(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """None, or an object without a run_id, is a ValueError, before anything is done."""
        for wrong in NO_MODEL_RUNS:
            parts = Parts(tmp_path / "runs")

            error_of(ValueError, self.execute, pipeline, wrong, run_backend=parts, processor=parts)

            _assert_nothing_done(parts)

    @claim
    def test_a_failed_generate_ends_it(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A generate() that raises is success False at stage "generate", with the error, and nothing follows."""
        self._check_failure(pipeline, tmp_path, "generate", OSError("no wind data"), "no wind data")

    @claim
    def test_a_failed_run_ends_it(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A run that fails or raises is success False at stage "run", with the error, and nothing follows."""
        self._check_failure(pipeline, tmp_path / "false", "run", ending=False)
        self._check_failure(pipeline, tmp_path / "says", "run", {"success": False, "message": "no ice"}, "no ice")
        self._check_failure(pipeline, tmp_path / "raises", "run", OSError("no disk left"), "no disk left")

    @claim
    def test_a_failed_postprocessor_ends_it(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A postprocessor that says success False, or raises, is success False at stage "postprocess"."""
        facts: dict[str, Any] = {"success": False, "message": "no spectra"}
        self._check_failure(pipeline, tmp_path / "mapping", "postprocess", facts, "no spectra")
        self._check_failure(pipeline, tmp_path / "object", "postprocess", SimpleNamespace(**facts), "no spectra")
        self._check_failure(pipeline, tmp_path / "raises", "postprocess", OSError("cut short"), "cut short")

    @claim
    def test_a_timeout_is_told_not_raised(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A run that exceeds its limit is not raised but success False at stage "run", with the limit in the error."""
        self._check_failure(pipeline, tmp_path, "run", TimeoutError("limit of 90 s"), "90 s")

    @claim
    def test_an_interrupt_goes_on(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A KeyboardInterrupt ends the pipeline and goes on, whichever stage it comes in."""
        for number, stage in enumerate(_STAGES):
            parts = Parts(tmp_path / stage, {stage: KeyboardInterrupt()})

            error_of(KeyboardInterrupt, self.execute, pipeline, parts)

            assert parts.calls == [*_STAGES[: number + 1]], f"called were {parts.calls}"

    @claim
    def test_a_failure_removes_nothing_unasked(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """Without cleanup_on_failure, a failure leaves all that the stages wrote."""
        parts = Parts(tmp_path / "runs", {"postprocess": OSError("broken")})

        self.execute(pipeline, parts)

        lost = [name for name in ("made-by-generate", "made-by-run") if not (parts.workspace / name).exists()]
        assert not lost, f"removed: {lost}"

    @claim
    def test_cleanup_removes_what_was_made(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """With cleanup_on_failure, a failure removes what this execution made, and keeps the record."""
        _skip_without_cleanup(pipeline)
        for stage in _STAGES:
            parts = Parts(tmp_path / stage, {stage: OSError("broken")})

            self.execute(pipeline, parts, cleanup_on_failure=True)

            assert not parts.workspace.exists(), f"left at stage {stage!r}: {files_below(parts.workspace)}"
            is_recorded = any(read_report(file).run_id == "contract" for file in tmp_path.rglob("report.json"))
            assert is_recorded or stage == "generate", f"no record is left at stage {stage!r}"

    @claim
    def test_cleanup_keeps_what_was_there(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """With cleanup_on_failure, a failure neither changes nor removes what existed before."""
        _skip_without_cleanup(pipeline)
        for stage in _STAGES:
            parts = Parts(tmp_path / stage, {stage: OSError("broken")})
            parts.workspace.mkdir(parents=True)
            before = [parts.workspace / "depth.nc", parts.output_dir / "other.nc"]
            for file in before:
                file.write_bytes(b"\0depth")

            self.execute(pipeline, parts, cleanup_on_failure=True)

            lost = [file.name for file in before if content_of(file) != b"\0depth"]
            assert not lost, f"changed or removed at stage {stage!r}: {lost}"
            left = [file.name for file in files_below(parts.workspace) if file.name.startswith("made-by")]
            assert not left, f"left at stage {stage!r}: {left}"

    @claim
    def test_the_record_says_what_was_done(self, pipeline: PipelineBackend, tmp_path: Path) -> None:
        """A pipeline leaves its results in the file pipeline.json of a record, whichever way it ended."""
        for name, endings in {"good": {}, "bad": {"run": OSError("broken")}}.items():
            parts = Parts(tmp_path / name, endings)

            results = self.execute(pipeline, parts)

            files = list(parts.output_dir.rglob(PIPELINE))
            assert len(files) == 1, f"found {[str(file) for file in files]}"
            wanted = {key: results[key] for key in ("success", "run_id", "stages_completed")}
            _assert_results(json.loads(files[0].read_text("utf-8")), **wanted)

    def _check_failure(
        self, pipeline: PipelineBackend, tmp_path: Path, stage: str, ending: object, text: str = ""
    ) -> None:
        parts = Parts(tmp_path / "runs", {stage: ending})
        done = [*_STAGES[: _STAGES.index(stage)]]

        results = self.execute(pipeline, parts)

        _assert_results(results, success=False, stage=stage, run_id="contract", stages_completed=done)
        for key in ("error", "message"):
            assert results.get(key), f"{key} is missing or empty"
        assert text in str(results["error"]), f"{text!r} is not in the error {results['error']!r}"
        assert parts.calls == [*done, stage], f"called were {parts.calls}"


def _assert_results(results: object, **wanted: object) -> None:
    assert isinstance(results, Mapping), f"it gave {type(results).__name__}"
    given = cast("Mapping[str, object]", results)
    found = {key: given.get(key) for key in wanted}
    assert found == wanted, f"it gave {found}"


def _assert_nothing_done(parts: Parts) -> None:
    assert not parts.calls, f"called were {parts.calls}"
    assert not parts.output_dir.exists(), "something was written"


def _skip_without_cleanup(pipeline: PipelineBackend) -> None:
    if "cleanup_on_failure" not in inspect.signature(pipeline.execute).parameters:
        pytest.skip("this pipeline has no cleanup_on_failure")
