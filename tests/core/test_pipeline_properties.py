"""Any history of attempts in one output directory: the results agree, nothing is lost, every attempt has its record."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rompy_core import (
    BackendConfig,
    LiveRun,
    LocalPipelineBackend,
    ModelRun,
    Outcome,
    RunLogger,
    RunReport,
    RunState,
    Usage,
    find_runs,
    open_record,
    read_report,
    run_to_end,
)

STAGES: Final = ("generate", "run", "postprocess")
WAYS: Final = ("returns False", "raises", "times out", "is interrupted")
STATES: Final = {
    "returns False": RunState.FAILED,
    "raises": RunState.FAILED,
    "times out": RunState.TIMED_OUT,
    "is interrupted": RunState.CANCELLED,
}

Tree = dict[str, bytes | str | None]


@attrs.define
class Ended:
    """An execution that has ended as it was told."""

    outcome: Outcome
    usage: Usage | None = None

    def wait(self, timeout: float) -> Outcome | None:
        return self.outcome

    def stop(self, ended_as: RunState, reason: str) -> None: ...

    def close(self) -> None: ...


@attrs.frozen
class Attempt:
    """One execution of the pipeline."""

    failing: str | None
    way: str
    cleanup: bool
    validate: bool
    submits: bool
    writes: Sequence[str]
    is_foreign: bool

    @property
    def completed(self) -> list[str]:
        return list(STAGES if self.failing is None else STAGES[: STAGES.index(self.failing)])

    @property
    def is_interrupted(self) -> bool:
        return self.failing is not None and self.way == "is interrupted"


@attrs.define
class Stages:
    """All three stages of one attempt; each writes files that were not there, then does what it was told."""

    attempt: Attempt
    number: int
    called: list[str] = attrs.field(factory=list)
    config_type = BackendConfig

    def _do(self, stage: str, workspace_dir: Path) -> Any:
        self.called.append(stage)
        for name in self.attempt.writes:
            path = workspace_dir / f"{name}-{stage}-{self.number}"
            with contextlib.suppress(NotADirectoryError, FileExistsError):  # what was there may be in the way
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(stage)
        if stage != self.attempt.failing:
            return SimpleNamespace(success=True, staging_dir=workspace_dir)
        if self.attempt.way == "raises":
            raise ValueError("no tide")
        if self.attempt.way == "times out":
            raise TimeoutError("it took too long")
        if self.attempt.way == "is interrupted":
            raise KeyboardInterrupt
        return SimpleNamespace(success=False, message="no tide")

    def generate(self, workspace_dir: Path, model_run: Any) -> None:
        if self._do("generate", workspace_dir).success is False:
            raise ValueError("no tide")  # so a config of ours says it

    def process(self, model_run: Any, **_: Any) -> Any:
        return self._do("postprocess", model_run.generate())


@attrs.define
class Simple:
    """A run backend that has run() and no more."""

    stages: Stages

    def run(self, model_run: Any, workspace_dir: Path) -> Any:
        return self.stages._do("run", workspace_dir)


@attrs.define
class Submitting:
    """A run backend with submit(), whose runs end as reports."""

    stages: Stages
    config_type = BackendConfig

    def run(self, model_run: Any, config: BackendConfig | None = None, **options: Any) -> bool:
        return run_to_end(self, model_run, config, **options)

    def submit(self, model_run: Any, config: BackendConfig, workspace_dir: Path) -> LiveRun:
        record = open_record(workspace_dir, run_id=model_run.run_id, backend="submitting")
        outcome = Outcome(exit_code=0)
        try:
            if self.stages._do("run", workspace_dir).success is False:
                outcome = Outcome(exit_code=3)
        except TimeoutError as exc:
            outcome = Outcome(ended_as=RunState.TIMED_OUT, reason=str(exc))
        except ValueError as exc:
            raise record.refusal(str(exc)) from exc
        except BaseException as exc:
            record.finish(RunState.CANCELLED, f"cancelled while it was being started: {type(exc).__name__}")
            raise
        log = RunLogger(logging.getLogger("rompy_core"), model_run.run_id, "submitting")
        return LiveRun(record, Ended(outcome), config, log)


@attrs.define
class ForeignRun:
    """A model run of another library: no ``workspace_dir``, and ``generate()`` gives an object."""

    run_id: str
    output_dir: str
    run_id_subdir: bool
    stages: Stages

    def generate(self) -> Any:
        workspace_dir = Path(self.output_dir, self.run_id) if self.run_id_subdir else Path(self.output_dir)
        workspace_dir.mkdir(parents=True, exist_ok=True)
        return self.stages._do("generate", workspace_dir)


def tree(directory: Path) -> Tree:
    found: Tree = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def without_locks(found: Tree) -> Tree:
    """The lock of the records is opened again by every attempt, and is empty."""
    return {name: content for name, content in found.items() if not name.endswith(".rompy/lock")}


def pipeline_records(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("pipeline.json")}


def plant(output_dir: Path, workspace_dir: Path, names: Sequence[str]) -> None:
    """Have something there before the first attempt, a hand-made link and an earlier record included."""
    (output_dir / "sibling").mkdir(parents=True)
    (output_dir / "sibling" / "result.nc").write_bytes(b"\0precious")
    workspace_dir.mkdir(exist_ok=True)
    for name in names:
        with contextlib.suppress(OSError):  # one may be in the way of another
            (workspace_dir / name).parent.mkdir(parents=True, exist_ok=True)
            (workspace_dir / name).write_bytes(os.urandom(8))
    (workspace_dir / "link").symlink_to("../sibling/result.nc")
    open_record(workspace_dir, run_id="case", backend="earlier").finish(RunState.FAILED, "aground")


def execute(attempt: Attempt, number: int, output_dir: Path, run_id_subdir: bool) -> tuple[Any, Stages, Any]:
    stages = Stages(attempt, number)
    model_run: Any = ForeignRun("case", str(output_dir), run_id_subdir, stages)
    if not attempt.is_foreign:
        model_run = ModelRun(run_id="case", output_dir=output_dir, config=stages, run_id_subdir=run_id_subdir)
    backend: Any = Submitting(stages) if attempt.submits else Simple(stages)
    options = {"cleanup_on_failure": attempt.cleanup, "validate_stages": attempt.validate}
    try:
        return LocalPipelineBackend().execute(model_run, backend, stages, **options), stages, model_run
    except KeyboardInterrupt:
        return None, stages, model_run


def check_results(attempt: Attempt, results: dict[str, Any], stages: Stages) -> None:
    assert results["success"] is (attempt.failing is None)
    assert results["stages_completed"] == attempt.completed
    assert stages.called == [*attempt.completed, *([attempt.failing] if attempt.failing else [])]
    assert results.get("stage") == attempt.failing
    assert bool(results.get("error")) is (attempt.failing is not None)
    assert results["run_success"] is ("run" in attempt.completed)
    assert (results["postprocess_results"] is None) is (
        attempt.failing in ("generate", "run") or (attempt.failing is not None and attempt.way != "returns False")
    )
    if attempt.failing is not None:
        assert results["message"] == f"pipeline failed at stage {attempt.failing!r}: {results['error']}"


def check_report(attempt: Attempt, report: RunReport, error: str | None) -> None:
    assert report.state.is_final
    assert report.ok is ("run" in attempt.completed)
    if attempt.failing == "run":
        expected = STATES[attempt.way]
        if not attempt.submits and attempt.way == "times out":
            expected = RunState.FAILED  # a TimeoutError of other hands need not be that of the run's limit
        if attempt.submits and attempt.way == "raises":
            expected = RunState.NOT_STARTED
        assert report.state is expected
        assert attempt.is_interrupted or (error or "").startswith(report.reason)


names = st.sampled_from(["input", "a/b", "a/b/c", "deep/er/out.nc", "-odd name", "\N{WATER WAVE}"])
attempts = st.builds(
    Attempt,
    failing=st.none() | st.sampled_from(STAGES),
    way=st.sampled_from(WAYS),
    cleanup=st.booleans(),
    validate=st.booleans(),
    submits=st.booleans(),
    writes=st.lists(names, max_size=3, unique=True),
    is_foreign=st.booleans(),
)
CLEANED: Final = Attempt("postprocess", "is interrupted", True, True, True, ("a/b",), False)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "rompy_core")


@settings(max_examples=60, deadline=None)
@given(
    planted=st.none() | st.lists(names, max_size=4, unique=True),
    run_id_subdir=st.booleans(),
    history=st.lists(attempts, min_size=1, max_size=4),
)
@example(planted=["a/b"], run_id_subdir=False, history=[CLEANED, CLEANED])
@example(planted=None, run_id_subdir=True, history=[CLEANED, CLEANED])
def test_results_files_and_records_agree_after_any_history(
    planted: list[str] | None, run_id_subdir: bool, history: list[Attempt]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        output_dir = Path(folder, "out")
        workspace_dir = output_dir / "case" if run_id_subdir else output_dir
        if planted is not None:
            plant(output_dir, workspace_dir, planted)
        runs = len(find_runs(output_dir))

        for number, attempt in enumerate(history):
            before, recorded = tree(output_dir), pipeline_records(output_dir)

            results, stages, model_run = execute(attempt, number, output_dir, run_id_subdir)

            # Every attempt has its record, and the earlier ones are as they were.
            after, records = tree(output_dir), pipeline_records(output_dir)
            [record] = [path for path in records if path not in recorded]
            assert {path: records[path] for path in recorded} == recorded
            written = json.loads(record.read_bytes())

            # The results, those on disk, and the report agree.
            assert (results is None) is attempt.is_interrupted
            check_results(attempt, written if results is None else results, stages)
            check_results(attempt, written, stages)
            has_run = attempt.failing != "generate"
            assert (record.parent / "report.json").exists() is has_run
            if has_run:
                report = read_report(record.parent)
                check_report(attempt, report, written.get("error"))
                assert attempt.is_foreign or model_run.report == report
            runs += has_run
            assert len(find_runs(output_dir)) == runs

            # What was there before is there still, byte for byte; a cleanup leaves nothing else.
            assert without_locks(before).items() <= without_locks(after).items()
            if attempt.failing is not None and attempt.cleanup:
                new = set(without_locks(after)) - set(before)
                assert {name.split("/")[0] for name in new} <= {".rompy-failed"}
                assert record.is_relative_to(output_dir / ".rompy-failed" / "case")
            else:
                assert record.is_relative_to(workspace_dir / ".rompy")


@settings(max_examples=12, deadline=None)
@given(
    way=st.sampled_from(["exit 3", "kill -9 $$", "sleep 60", "echo FATAL; sleep 60", "true", "no-such-command-at-all"]),
    cleanup=st.booleans(),
    existed=st.booleans(),
    run_id_subdir=st.booleans(),
)
def test_they_agree_for_real_runs_as_well(way: str, cleanup: bool, existed: bool, run_id_subdir: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model_run = ModelRun(run_id="case", output_dir=Path(folder, "out"), run_id_subdir=run_id_subdir)
        workspace_dir = model_run.workspace_dir
        if existed:
            plant(model_run.output_dir, workspace_dir, ["a/b"])
        before = tree(model_run.output_dir)
        options = {"timeout": 0.3, "grace_s": 0, "rules": {"fatal": ["^FATAL"]}}

        results = model_run.pipeline(
            run_kwargs={"command": f"mkdir -p a; echo 1 > a/out.nc; {way}", **options}, cleanup_on_failure=cleanup
        )

        after = tree(model_run.output_dir)
        assert without_locks(before).items() <= without_locks(after).items()
        assert results["success"] is (way == "true")
        assert results.get("stage") == (None if way == "true" else "run")
        assert model_run.report is not None
        assert model_run.report.ok is results["success"]
        assert model_run.report.reason in str(results.get("error", model_run.report.reason))
        [record] = pipeline_records(model_run.output_dir)
        assert json.loads(record.read_bytes())["success"] is results["success"]
        assert read_report(record.parent) == model_run.report
        if cleanup and way != "true":
            assert {name.split("/")[0] for name in set(without_locks(after)) - set(before)} == {".rompy-failed"}
        else:
            assert (workspace_dir / "a" / "out.nc").read_text() == "1\n"
