"""Members as real processes of this machine: what the table says, what is resumed, what is left alone."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

from rompy_core import ConfigError, FilesConfig, ModelRun, RompyError, RunState, cancel, find_runs
from rompy_ensemble import Ensemble, EnsembleProgress, MemberRow, RetryRule

from .fakes import Scripted

TOKEN = "ROMPY_TEST_TOKEN"


def model_in(directory: Path) -> ModelRun:
    return ModelRun(run_id="m", output_dir=directory, config=FilesConfig(command="true"))


def commands(directory: Path, *members: str, **options: Any) -> Ensemble:
    return Ensemble(members=[{"command": command} for command in members], model=model_in(directory), **options)


def runs_of(directory: Path, run_id: str = "m-0001") -> list[RunState]:
    return [report.state for report in find_runs(directory / run_id)]


def test_each_member_has_a_workspace_a_record_and_a_row(tmp_path: Path) -> None:
    ensemble = commands(tmp_path, "echo one > out", "exit 3", "echo three > out", max_workers=2)

    report = ensemble.run()

    assert [row.state for row in report] == [RunState.COMPLETED, RunState.FAILED, RunState.COMPLETED]
    assert [row.ok for row in report] == [True, False, True]
    assert not report.ok
    assert [row.run_id for row in report.failed] == ["m-0002"]
    assert report.rows[1].reason == "the command ended with exit code 3"
    assert report.rows[1].stage == "run"
    assert (tmp_path / "m-0003" / "out").read_text() == "three\n"
    assert all(row.record_dir is not None and (row.record_dir / "report.json").is_file() for row in report)
    assert all(row.parameters["command"] for row in report)
    assert all((row.wall_time_s or 0) > 0 and (row.peak_rss_bytes or 0) > 0 for row in report)


def test_the_table_goes_to_csv_and_pandas(tmp_path: Path) -> None:
    rows = [{"command": "true", "run_id": "a,b", "state": "mine"}]
    report = Ensemble(
        members=rows,
        model=lambda row: ModelRun(run_id=row["run_id"], output_dir=tmp_path, config=FilesConfig(command="true")),
    ).run()

    with report.to_csv(tmp_path / "table.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    frame = report.to_pandas()

    assert written[0]["run_id"] == "a,b"
    assert written[0]["parameter_state"] == "mine"
    assert written[0]["state"] == "COMPLETED"
    assert written[0]["ok"] == "True"
    assert list(frame.columns) == list(written[0])
    assert frame.loc[0, "workspace_dir"] == str(tmp_path / "a,b")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".table")] == []


def test_what_is_finished_is_not_run_again_and_what_failed_is(tmp_path: Path) -> None:
    commands(tmp_path, "true", "test -e ../now", "true").run()
    (tmp_path / "now").touch()

    report = commands(tmp_path, "true", "test -e ../now", "true").run()

    assert report.ok
    assert [row.ran for row in report] == [0, 1, 0]
    assert [row.attempts for row in report] == [1, 2, 1]
    assert runs_of(tmp_path) == [RunState.COMPLETED]
    assert runs_of(tmp_path, "m-0002") == [RunState.FAILED, RunState.COMPLETED]


def test_a_finished_member_with_other_inputs_is_told_and_left_unless_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commands(tmp_path, "echo one > out", "true").run()

    told = commands(tmp_path, "echo two > out", "true").run()
    left = (tmp_path / "m-0001" / "out").read_text()
    again = commands(tmp_path, "echo two > out", "true", rerun_changed=True).run()

    assert [row.run_id for row in told.changed] == ["m-0001"]
    assert "other inputs" in told.rows[0].reason
    assert any("other inputs" in record.getMessage() for record in caplog.records)
    assert left == "one\n"
    assert [row.ran for row in told] == [0, 0]
    assert [row.ran for row in again] == [1, 0]
    assert again.changed == ()
    assert (tmp_path / "m-0001" / "out").read_text() == "two\n"


def test_without_resume_everything_is_run_again(tmp_path: Path) -> None:
    commands(tmp_path, "true").run()

    report = commands(tmp_path, "true", resume=False).run()

    assert report.ok
    assert report.rows[0].ran == 1
    assert runs_of(tmp_path) == [RunState.COMPLETED] * 2


def test_a_member_whose_record_was_removed_is_not_finished(tmp_path: Path) -> None:
    import shutil

    commands(tmp_path, "true").run()
    shutil.rmtree(tmp_path / "m-0001")

    report = commands(tmp_path, "true").run()

    assert report.ok
    assert runs_of(tmp_path) == [RunState.COMPLETED]


def test_only_the_postprocessor_is_called_again_where_only_that_failed(tmp_path: Path) -> None:
    processor = Processor()
    first = commands(tmp_path, "echo ran >> out", processor=processor).run()

    second = commands(tmp_path, "echo ran >> out", processor=attrs.evolve(processor, success=True)).run()

    assert first.rows[0].state is RunState.FAILED
    assert first.rows[0].stage == "postprocess"
    assert first.rows[0].reason == "not good"
    assert second.ok
    assert second.rows[0].attempts == 2
    assert (tmp_path / "m-0001" / "out").read_text() == "ran\n"


@attrs.frozen
class Processor:
    success: bool = False

    def process(self, model_run: Any, **kwargs: Any) -> Mapping[str, Any]:
        return {"success": self.success, "message": "not good"}


def test_a_member_that_always_fails_is_retried_as_asked_and_the_others_are_unharmed(tmp_path: Path) -> None:
    ensemble = commands(tmp_path, "true", "exit 1", "true", "true", retries=RetryRule(times=2, wait_s=0.01))

    report = ensemble.run()

    assert [row.ran for row in report] == [1, 3, 1, 1]
    assert [row.ok for row in report] == [True, False, True, True]
    assert runs_of(tmp_path, "m-0002") == [RunState.FAILED] * 3


def test_after_out_of_memory_a_member_gets_more_also_in_the_next_start(tmp_path: Path) -> None:
    states = [RunState.OUT_OF_MEMORY, RunState.OUT_OF_MEMORY, RunState.FAILED]
    backend = Scripted({"m-0001": [*states, RunState.COMPLETED]})
    ensemble = Ensemble(
        members=[{}],
        model=model_in(tmp_path),
        run_backend=backend,
        run_kwargs={"memory": "1k"},
        retries=RetryRule(times=2, states=["out_of_memory"], scale={"memory": 1.5}),  # type: ignore[arg-type]
    )

    first = ensemble.run()
    second = ensemble.run()

    assert backend.memories["m-0001"] == [1024, 1536, 2304, 2304]
    assert first.rows[0].scaled == {"memory": 2304}
    assert second.ok


def test_a_real_member_that_runs_out_of_memory_ends_well_with_more(tmp_path: Path) -> None:
    code = "import time; held = bytearray(120_000_000); time.sleep(0.5)"
    ensemble = Ensemble(
        members=[{}],
        model=model_in(tmp_path),
        run_kwargs={"command": [sys.executable, "-c", code], "memory": "60m"},
        retries=[RetryRule(times=1, states=("OUT_OF_MEMORY",), scale={"memory": 4})],
    )

    report = ensemble.run()

    assert report.ok
    assert runs_of(tmp_path) == [RunState.OUT_OF_MEMORY, RunState.COMPLETED]


def test_after_max_failures_nothing_begins_and_the_next_start_goes_on(tmp_path: Path) -> None:
    members = ("true", "exit 1", "exit 1", "true", "true")

    report = commands(tmp_path, *members, max_workers=1, max_failures=2).run()

    assert [row.state for row in report] == [RunState.COMPLETED, RunState.FAILED, RunState.FAILED, None, None]
    assert [row.run_id for row in report.not_run] == ["m-0004", "m-0005"]
    assert "2 members had failed" in report.rows[3].reason
    assert not (tmp_path / "m-0004").exists()
    assert [row.ran for row in commands(tmp_path, *members, max_workers=1).run()] == [0, 1, 1, 1, 1]


def test_rows_come_as_members_end(tmp_path: Path) -> None:
    ensemble = commands(tmp_path, "while ! test -e ../go; do sleep 0.01; done", "true", max_workers=2)

    rows = ensemble.iter()
    first = next(rows)
    (tmp_path / "go").touch()
    second = next(rows)

    assert (first.run_id, second.run_id) == ("m-0002", "m-0001")
    assert list(rows) == []


def test_leaving_the_loop_early_ends_the_members_that_run(
    tmp_path: Path, token: str, living: Callable[[], list[str]]
) -> None:
    ensemble = commands(
        tmp_path, "sleep 60", "true", "sleep 60", max_workers=2, run_kwargs={"env_vars": {TOKEN: token}}
    )

    for row in ensemble.iter():
        assert row.run_id == "m-0002"
        break

    assert living() == []
    assert runs_of(tmp_path) == [RunState.CANCELLED]
    assert [row.state for row in ensemble.read()][:2] == [RunState.CANCELLED, RunState.COMPLETED]


def test_progress_is_told_while_members_run_and_can_be_read_from_elsewhere(tmp_path: Path) -> None:
    told: list[EnsembleProgress] = []
    seen: list[float | None] = []
    ensemble = commands(
        tmp_path,
        "echo 40%; while ! test -e ../go; do sleep 0.02; done",
        "true",
        max_workers=2,
        run_kwargs={"rules": {"progress": r"(?P<percent>\d+)%"}},
    )

    def look(progress: EnsembleProgress) -> None:
        told.append(progress)
        if progress.running.get("m-0001") is not None and progress.ok == 1:
            seen.append(ensemble.read().rows[0].fraction)
            (tmp_path / "go").touch()

    report = ensemble.run(on_progress=look, progress_every_s=0.05)

    assert report.ok
    last = next(progress for progress in reversed(told) if progress.running)
    assert last.running == {"m-0001": 0.4}
    assert last.fraction == pytest.approx(0.7)
    assert seen[0] == 0.4


def test_one_member_can_be_cancelled_by_its_record_and_is_not_tried_again(tmp_path: Path) -> None:
    ensemble = commands(tmp_path, "sleep 60", "true", max_workers=2, retries=3)
    rows: list[MemberRow] = []

    def end_the_other(row: MemberRow) -> None:
        rows.append(row)
        if row.run_id == "m-0002":
            cancel(tmp_path / "m-0001")

    report = ensemble.run(on_row=end_the_other)

    assert [row.state for row in report] == [RunState.CANCELLED, RunState.COMPLETED]
    assert runs_of(tmp_path) == [RunState.CANCELLED]
    assert len(rows) == 2


def test_all_can_be_cancelled_from_elsewhere(tmp_path: Path, until: Callable[..., None]) -> None:
    ensemble = commands(tmp_path, "sleep 60", "sleep 60", "sleep 60", max_workers=2)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(ensemble.run)
        until(lambda: [row.state for row in ensemble.read()][:2] == [RunState.RUNNING] * 2)

        ensemble.cancel(timeout=20)
        report = future.result(timeout=20)

    assert [row.state for row in report] == [RunState.CANCELLED, RunState.CANCELLED, None]
    assert "its end was asked for" in report.rows[2].reason


def test_a_second_driver_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    ensemble = commands(tmp_path, "true", "sleep 60", max_workers=2)
    rows = ensemble.iter()
    next(rows)

    with pytest.raises(RompyError, match=f"driven by another process already .pid {os.getpid()}"):
        commands(tmp_path, "true").run()

    rows.close()
    assert commands(tmp_path, "true").run().ok


def test_a_member_that_lives_elsewhere_is_refused_and_not_doubled(tmp_path: Path) -> None:
    other = ModelRun(run_id="m-0001", output_dir=tmp_path, config=FilesConfig(command="sleep 60"))
    with other.submit("local") as handle:
        report = commands(tmp_path, "true", "true", live_timeout=0.2).run()
        state = handle.state
        handle.cancel()
        handle.wait()

    assert state is RunState.RUNNING
    assert [row.state for row in report] == [RunState.NOT_STARTED, RunState.COMPLETED]
    assert "a run is live in its workspace" in report.rows[0].reason
    assert runs_of(tmp_path) == [RunState.CANCELLED]


def test_a_member_that_lives_elsewhere_is_waited_for(tmp_path: Path) -> None:
    other = ModelRun(run_id="m-0001", output_dir=tmp_path, config=FilesConfig(command="sleep 0.5"))
    with other.submit("local") as handle:
        report = commands(tmp_path, "true", live_timeout=20).run()
        handle.wait()

    assert report.ok
    first, second = find_runs(tmp_path)
    assert first.finished_at is not None
    assert first.finished_at <= second.started_at


def test_what_a_backend_or_a_config_raises_is_the_members_failure(tmp_path: Path) -> None:
    class Broken:
        def generate(self, workspace_dir: Path, model_run: object) -> None:
            raise OSError("no forcing data")

    def model(row: Mapping[str, Any]) -> ModelRun:
        config = Broken() if row["broken"] else FilesConfig()
        return ModelRun(run_id=str(row["n"]), output_dir=tmp_path, config=config)

    rows = [{"n": 1, "broken": True}, {"n": 2, "broken": False}]
    report = Ensemble(members=rows, model=model, run_kwargs={"command": "true"}).run()

    assert [row.ok for row in report] == [False, True]
    assert report.rows[0].stage == "generate"
    assert "no forcing data" in report.rows[0].reason


def test_an_unreadable_file_of_a_member_is_told_and_hurts_no_other(tmp_path: Path) -> None:
    ensemble = commands(tmp_path, "true", "true")
    ensemble.run()
    (tmp_path / ".rompy-ensemble" / "members" / "m-0001.jsonl").write_text("{\n")

    report = ensemble.run()

    assert [row.ok for row in report] == [False, True]
    assert "cannot be read as the attempts of a member" in report.rows[0].reason
    assert runs_of(tmp_path) == [RunState.COMPLETED]


def test_an_executor_that_breaks_stops_the_ensemble_and_the_next_start_goes_on(tmp_path: Path) -> None:
    class Breaks(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            if args[1].run_id == "m-0002":
                raise BrokenExecutor("no more")
            return super().submit(*args, **kwargs)

    with Breaks(1) as executor:
        report = commands(tmp_path, "true", "true", "true", executor=executor, max_workers=1).run()

    assert [row.state for row in report] == [RunState.COMPLETED, RunState.LOST, None]
    assert "BrokenExecutor: no more" in report.rows[2].reason
    assert [row.ran for row in commands(tmp_path, "true", "true", "true").run()] == [0, 1, 1]


def test_an_executor_that_breaks_is_made_anew_where_it_can_be(tmp_path: Path) -> None:
    made: list[int] = []

    class Breaks(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            if len(made) < 3:
                raise BrokenExecutor("not yet")
            return super().submit(*args, **kwargs)

    def factory(*, max_workers: int, colour: str) -> ThreadPoolExecutor:
        made.append(max_workers)
        return Breaks(max_workers)

    report = commands(
        tmp_path, "true", "true", executor=factory, executor_kwargs={"colour": "red"}, max_workers=3
    ).run()

    assert report.ok
    assert made == [3, 3, 3]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"executor": 5}, "executor: must be a name, an Executor or a function that makes one, found int"),
        ({"executor_kwargs": {"colour": 1}}, "executor_kwargs: 'threads' does not take them: .*colour"),
        ({"name": "a/b"}, "name: must be letters"),
        ({"name": "a" * 201}, "name: must have at most 200 bytes"),
        ({"retries": [1]}, "retries: must be a number of retries"),
        ({"model": ModelRun}, "model: must be a ModelRun or a function"),
        ({"run_kwargs": 1}, "run_kwargs: must be a table"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        Ensemble(**{"members": [{}], "model": model_in(tmp_path), **options}).run()


def test_options_for_an_executor_object_are_refused(tmp_path: Path) -> None:
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(ConfigError, match="executor_kwargs: are for a name or a factory"),
    ):
        commands(tmp_path, "true", executor=executor, executor_kwargs={"a": 1}).run()


def test_a_member_whose_process_died_reads_as_lost(tmp_path: Path) -> None:
    commands(tmp_path, "true").run()
    file = tmp_path / ".rompy-ensemble" / "members" / "m-0001.jsonl"
    file.write_text(file.read_text().replace("COMPLETED", "RUNNING"))
    ensemble = commands(tmp_path, "true")

    read = ensemble.read()
    again = ensemble.run()

    assert read.rows[0].state is RunState.LOST
    assert again.ok
    assert runs_of(tmp_path) == [RunState.COMPLETED], "the run itself was a success, and is not run again"


def test_half_a_line_that_a_dying_process_left_is_passed_over_and_written_over(tmp_path: Path) -> None:
    commands(tmp_path, "true").run()
    file = tmp_path / ".rompy-ensemble" / "members" / "m-0001.jsonl"
    whole = file.read_text()
    file.write_text(f'{whole}{{"attempt": 1, "sta')

    read = commands(tmp_path, "true").read()
    again = commands(tmp_path, "true", resume=False).run()

    assert read.ok
    assert again.rows[0].attempts == 2
    assert file.read_text().startswith(whole)
    assert [json.loads(line)["attempt"] for line in file.read_text().splitlines()] == [0, 0, 1, 1]


def test_values_of_the_environment_are_written_nowhere(tmp_path: Path) -> None:
    ensemble = commands(tmp_path, "true", "exit 1", run_kwargs={"env_vars": {"PASSWORD": "hunter2"}})

    report = ensemble.run()

    assert "hunter2" not in f"{ensemble!r} {report!r}"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"hunter2" in path.read_bytes()]
