"""What a run used and how far it was is on disk while it runs, reads whole, and never costs a run its success."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_core import (
    LiveRun,
    ModelRun,
    PipelineReport,
    Progress,
    RecordError,
    RunReport,
    RunState,
    Usage,
    newest_progress,
    newest_usage,
    open_record,
    read_pipeline,
    read_progress,
    read_report,
    read_usage,
)
from rompy_core._series import ProgressSeries

Until = Callable[..., None]
RULES = {"progress": r"done (?P<percent>\S+) %"}
STEPS = """
import os, time
for step in range(1, 5):
    while not os.path.exists(f"step-{step}"):
        time.sleep(0.005)
    print(f"done {25 * step} %", flush=True)
"""
"""A model that makes each of its four steps when it is told to."""
HEADER = ",".join(field.name for field in attrs.fields(Usage)) + "\n"


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="storm", output_dir=tmp_path / "out")


@pytest.fixture
def report(tmp_path: Path) -> RunReport:
    """The report of a run whose series are for the test to write."""
    record = open_record(tmp_path, run_id="storm", backend="here", usage_path=Path("usage.csv"))
    return record.update(progress_path=record.directory / "progress.csv")


def usage_path(report: RunReport) -> Path:
    assert report.usage_path is not None
    return report.usage_path


def progress_path(report: RunReport) -> Path:
    assert report.progress_path is not None
    return report.progress_path


def fractions(report: RunReport) -> list[float]:
    return [fraction for _, fraction in read_progress(report)]


# Progress, as it comes.


def test_the_progress_of_a_run_is_on_disk_for_others_while_it_runs(model_run: ModelRun, until: Until) -> None:
    with model_run.submit("local", command=[sys.executable, "-c", STEPS], rules=RULES) as live:
        seen: list[tuple[float, float]] = []
        before = read_report(model_run.workspace_dir).progress_path
        for step in range(1, 5):
            (model_run.workspace_dir / f"step-{step}").touch()
            until(
                lambda now=step / 4: (newest_progress(read_report(model_run.workspace_dir)) or (0, 0))[1] == now,
                "the step in the file",
            )
            newest = newest_progress(read_report(model_run.workspace_dir))
            assert newest is not None
            seen.append(newest)
        report = live.wait()

    assert before is None
    assert report.progress_path == live_dir(report) / "progress.csv"
    assert list(read_progress(report)) == seen
    assert [fraction for _, fraction in seen] == [0.25, 0.5, 0.75, 1.0]
    assert 0 < seen[0][0] < seen[1][0] < seen[2][0] < seen[3][0] <= (report.wall_time_s or 0) + 1
    assert read_report(model_run.workspace_dir) == report


def live_dir(report: RunReport) -> Path:
    assert report.record_dir is not None
    return report.record_dir


def test_the_last_progress_of_a_fast_run_is_in_its_series(model_run: ModelRun) -> None:
    code = "for percent in range(101): print(f'done {percent} %', flush=True)"

    assert model_run.run("local", command=[sys.executable, "-c", code], rules=RULES)

    assert model_run.report is not None
    assert fractions(model_run.report)[-1] == 1.0
    assert len(fractions(model_run.report)) <= 4


@pytest.mark.parametrize(("code", "rules"), [("print('done 50 %')", None), ("print('warming up')", RULES)])
def test_there_is_no_series_where_nothing_says_how_far_a_run_is(
    model_run: ModelRun, code: str, rules: dict[str, str] | None
) -> None:
    assert model_run.run("local", command=[sys.executable, "-c", code], rules=rules)

    assert model_run.report is not None
    assert model_run.report.progress_path is None
    assert list(read_progress(model_run.report)) == []
    assert newest_progress(model_run.report) is None
    assert not list(model_run.workspace_dir.rglob("progress.csv"))


def test_a_series_that_cannot_be_written_is_a_warning_and_the_run_a_success(model_run: ModelRun, until: Until) -> None:
    with model_run.submit("local", command=[sys.executable, "-c", STEPS], rules=RULES) as live:
        assert isinstance(live, LiveRun)
        (live.record_dir / "progress.csv").mkdir()
        for step in range(1, 5):
            (model_run.workspace_dir / f"step-{step}").touch()
        report = live.wait()

    assert report.ok
    [warning] = report.warnings
    assert "the series of the progress" in warning
    assert "File exists" in warning
    assert report.progress_path is None
    assert read_report(model_run.workspace_dir) == report


# Its rows.


def test_a_row_is_written_twice_a_second_at_most_and_the_last_one_always(tmp_path: Path) -> None:
    series = ProgressSeries(tmp_path)

    for tick in range(101):
        series.add(tick / 10, Progress(fraction=tick / 100))
    series.add(10.1, Progress(fraction=1.0))
    series.add(10.2, Progress(fraction=1.0))
    series.close()

    rows = (tmp_path / "progress.csv").read_text().splitlines()
    assert rows[:3] == ["elapsed_s,fraction", "0.000,0", "0.500,0.05"]
    assert rows[-1] == "10.000,1"
    assert len(rows) == 22


def test_a_run_of_days_has_a_hundred_thousand_rows_at_most(tmp_path: Path) -> None:
    series, steps = ProgressSeries(tmp_path), 400_000

    for step in range(steps):
        series.add(float(step), Progress(fraction=step / steps))
    series.close()

    assert len((tmp_path / "progress.csv").read_text().splitlines()) <= 100_002


def test_a_disk_that_takes_half_a_row_is_asked_for_no_more(tmp_path: Path) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            return len(data) // 2

        def close(self) -> None: ...

    series = ProgressSeries(tmp_path)
    series.add(0.0, Progress(fraction=0.1))
    assert series._file is not None
    series._file.close()
    series._file = Full()  # type: ignore[assignment]

    series.add(1.0, Progress(fraction=0.2))
    series.add(2.0, Progress(fraction=0.3))
    series.close()

    assert "a part of a row" in series.problem
    assert (tmp_path / "progress.csv").read_text() == "elapsed_s,fraction\n0.000,0.1\n"


def test_what_is_there_by_that_name_is_left_as_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "progress.csv")  # opening it to write would wait for a reader
    series = ProgressSeries(tmp_path)

    series.add(0.0, Progress(fraction=0.1))
    series.close()

    assert "File exists" in series.problem
    assert series.path is None


# Reading.


def test_the_samples_of_a_run_read_as_they_were_taken(model_run: ModelRun) -> None:
    assert model_run.run("local", command=[sys.executable, "-c", "import time; time.sleep(0.4)"])

    report = model_run.report
    assert report is not None
    samples = list(read_usage(report))
    assert len(samples) >= 2
    assert [sample.elapsed_s for sample in samples] == sorted(sample.elapsed_s for sample in samples)
    assert any(sample.rss_bytes > 0 and sample.processes >= 1 for sample in samples)  # one may come after its end
    assert newest_usage(report) == samples[-1]


def test_cells_that_are_empty_or_missing_are_what_they_are_by_default(report: RunReport) -> None:
    usage_path(report).write_text("elapsed_s,pss_bytes,phase,rss_bytes\n1.5,,spinning up,2e6\n2.5,7,,\n")

    samples = list(read_usage(report))

    assert samples == [Usage(elapsed_s=1.5, rss_bytes=2_000_000), Usage(elapsed_s=2.5, pss_bytes=7)]
    assert newest_usage(report) == samples[-1]


@pytest.mark.parametrize(
    "torn", ["3.5,0.", "3.5", "3", "3.5,0.9", "\0\0\0\0\n", "3.5,x\n", "3.5,nan\n", ",0.9\n", "1,2,3\n", "\n", "\xff\n"]
)
def test_a_torn_last_line_is_passed_over(report: RunReport, torn: str) -> None:
    progress_path(report).write_bytes(b"elapsed_s,fraction\n1.5,0.25\n2.5,0.5\n" + torn.encode("latin-1"))

    rows = list(read_progress(report))

    assert rows == [(1.5, 0.25), (2.5, 0.5)]
    assert newest_progress(report) == (2.5, 0.5)


@pytest.mark.parametrize("content", ["", "elapsed_s,fra", "elapsed_s,fraction\n", "fraction\n0.5\n", "1.5,0.25\n"])
def test_a_series_without_a_row_is_empty(report: RunReport, content: str) -> None:
    progress_path(report).write_text(content)
    usage_path(report).write_text(content.replace("elapsed_s", "seconds"))

    assert list(read_progress(report)) == []
    assert newest_progress(report) is None
    assert list(read_usage(report)) == []
    assert newest_usage(report) is None


def test_a_missing_series_is_empty(report: RunReport) -> None:
    assert list(read_usage(report)) == []
    assert list(read_progress(report)) == []
    assert (newest_usage(report), newest_progress(report)) == (None, None)


def test_a_series_that_cannot_be_read_is_said_so(report: RunReport) -> None:
    usage_path(report).mkdir()

    with pytest.raises(IsADirectoryError):
        list(read_usage(report))
    with pytest.raises(IsADirectoryError):
        newest_usage(report)


def test_the_newest_sample_costs_the_same_however_long_the_series_is(
    report: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = len(HEADER.split(","))
    with usage_path(report).open("w") as file:
        file.write(HEADER)
        file.writelines(f"{number}{',1' * (columns - 1)}\n" for number in range(200_000))
    monkeypatch.setattr("rompy_core._series._row", counted := Counted(sys.modules["rompy_core._series"]._row))

    newest = newest_usage(report)

    assert newest is not None
    assert newest.elapsed_s == 199_999
    assert counted.calls == 1


class Counted:
    def __init__(self, call: Callable[..., Any]) -> None:
        self.calls = 0
        self._call = call

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self._call(*args)


@given(data=st.data())
def test_the_newest_row_is_the_last_one_that_reads_wherever_the_file_ends(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("series")
    rows = data.draw(st.integers(0, 500))
    content = "elapsed_s,fraction\n" + "".join(f"{row}.125,{row / 500:.9g}\n" for row in range(rows))
    path = directory / "progress.csv"
    path.write_text(content[: data.draw(st.integers(0, len(content)))])
    report = record_of(directory, path)

    read = list(read_progress(report))

    assert newest_progress(report) == (read[-1] if read else None)
    assert read == [(row + 0.125, float(f"{row / 500:.9g}")) for row in range(len(read))]


def record_of(directory: Path, progress: Path) -> RunReport:
    record = open_record(directory, run_id="storm", backend="here")
    return record.finish(RunState.COMPLETED, "", progress_path=progress)


def test_a_record_of_an_earlier_version_has_no_progress_path(report: RunReport) -> None:
    file = live_dir(report) / "report.json"
    plain = json.loads(file.read_bytes())
    del plain["progress_path"]
    file.write_text(json.dumps(plain))

    assert read_report(file).progress_path is None


def test_the_path_goes_with_a_record_that_is_moved(report: RunReport, tmp_path: Path) -> None:
    progress_path(report).write_text("elapsed_s,fraction\n1,0.5\n")
    moved = live_dir(report).rename(tmp_path / "elsewhere")

    assert fractions(read_report(moved)) == [0.5]


# The stages of a pipeline.


@attrs.define
class Peek:
    """A postprocessor that looks at the record of its own pipeline."""

    seen: PipelineReport | None = None

    def process(self, model_run: Any) -> Any:
        self.seen = read_pipeline(model_run.workspace_dir)
        return SimpleNamespace(success=True)


def written(workspace_dir: Path) -> dict[str, Any]:
    [path] = workspace_dir.rglob("pipeline.json")
    pipeline: dict[str, Any] = json.loads(path.read_bytes())
    return pipeline


def test_a_postprocessor_can_read_the_stages_so_far(model_run: ModelRun) -> None:
    peek = Peek()

    results = model_run.pipeline(run_kwargs={"command": "true"}, processor=peek)

    assert results["success"]
    seen, last = peek.seen, read_pipeline(model_run.workspace_dir)
    assert seen is not None
    assert last is not None
    assert (seen.success, seen.finished_at, seen.stages_completed) == (None, None, ("generate", "run"))
    assert [stage.name for stage in seen.stages] == ["generate", "run", "postprocess"]
    assert [stage.finished_at is None for stage in seen.stages] == [False, False, True]
    assert last.success is True
    assert last.stages_completed == ("generate", "run", "postprocess")
    assert [stage.started_at for stage in last.stages[:2]] == [stage.started_at for stage in seen.stages[:2]]
    # Of a pipeline that goes on, the report of the run says when that had ended and the next stage began.
    run_finished_at = read_report(model_run.workspace_dir).finished_at
    assert seen.stages[1].finished_at == seen.stages[2].started_at == run_finished_at
    moments = [last.started_at, *(time for stage in last.stages for time in (stage.started_at, stage.finished_at))]
    known = [moment for moment in (*moments, last.finished_at) if moment is not None]
    assert len(known) == 8
    assert known == sorted(known)
    assert all(moment.utcoffset() is not None for moment in known)


def test_a_pipeline_whose_process_died_after_a_run_that_failed_reads_so_far(model_run: ModelRun) -> None:
    model_run.pipeline(run_kwargs={"command": "exit 3"})
    [file] = model_run.workspace_dir.rglob("pipeline.json")
    as_begun = json.loads(file.read_bytes()) | {"success": None, "finished_at": None, "stages_completed": ["generate"]}
    as_begun["stages"][1]["finished_at"] = None
    file.write_text(json.dumps(as_begun))

    pipeline = read_pipeline(file)

    assert pipeline is not None
    assert (pipeline.success, pipeline.stages_completed) == (None, ("generate",))
    assert [stage.name for stage in pipeline.stages] == ["generate", "run"]
    assert pipeline.stages[1].finished_at == read_report(file.parent).finished_at


def test_the_newest_pipeline_of_a_workspace_is_read_and_none_where_there_is_none(model_run: ModelRun) -> None:
    model_run.run("local", command="true")
    without = read_pipeline(model_run.workspace_dir)
    model_run.pipeline(run_kwargs={"command": "exit 3"})
    model_run.pipeline(run_kwargs={"command": "true"})
    assert model_run.report is not None
    assert model_run.report.record_dir is not None

    newest = read_pipeline(model_run.workspace_dir)

    assert without is None
    assert newest is not None
    assert (newest.success, newest.record_dir) == (True, model_run.report.record_dir)
    assert newest == read_pipeline(newest.record_dir) == read_pipeline(newest.record_dir / "report.json")


def a_link(file: Path) -> None:
    other = file.with_name("other.json")
    file.rename(other)
    file.symlink_to(other)


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "spoil",
    [
        a_link,
        a_pipe,
        lambda file: file.write_text("{"),
        lambda file: file.write_text("[]"),
        lambda file: file.write_text('{"stages": [{"name": "run"}]}'),
        lambda file: file.write_text('{"stages": [{"name": "run", "started_at": "2026-01-01T00:00:00"}]}'),
    ],
    ids=["link", "pipe", "torn", "list", "no-time", "no-zone"],
)
def test_what_is_no_record_of_a_pipeline_is_told_with_its_name(
    model_run: ModelRun, spoil: Callable[[Path], object]
) -> None:
    model_run.pipeline(run_kwargs={"command": "true"})
    [file] = model_run.workspace_dir.rglob("pipeline.json")
    spoil(file)

    with pytest.raises(RecordError, match=r"pipeline\.json.* (cannot be read as|is not) a pipeline's record"):
        read_pipeline(file.parent)


def test_the_record_of_a_pipeline_is_there_while_its_run_goes_on(model_run: ModelRun, until: Until) -> None:
    options = {"command": [sys.executable, "-c", STEPS]}
    thread = threading.Thread(target=model_run.pipeline, kwargs={"run_kwargs": options})
    thread.start()
    try:
        until(lambda: list(model_run.workspace_dir.rglob("pipeline.json")), "the record")
        during = written(model_run.workspace_dir)
    finally:
        for step in range(1, 5):
            (model_run.workspace_dir / f"step-{step}").touch()
        thread.join()

    assert (during["success"], during["finished_at"]) == (None, None)
    assert [stage["name"] for stage in during["stages"]] == ["generate", "run"]
    assert written(model_run.workspace_dir)["success"] is True


@pytest.fixture
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "rompy_core")


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize(
    ("command", "stages"), [("exit 3", ["generate", "run"]), ("no-such-command-at-all", ["generate", "run"])]
)
def test_a_stage_that_fails_has_an_end_as_well(model_run: ModelRun, command: str, stages: list[str]) -> None:
    model_run.pipeline(run_kwargs={"command": command.split() if " " not in command else command})

    pipeline = written(model_run.workspace_dir)
    assert pipeline["success"] is False
    assert [stage["name"] for stage in pipeline["stages"]] == stages
    assert all(stage["finished_at"] for stage in pipeline["stages"])
