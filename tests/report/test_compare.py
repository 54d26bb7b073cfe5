from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from tests.report.inspecting import read_page

import rompy_report
from rompy_core import ModelRun, RecordError, RunState, open_record, read_report


def add_run(top: Path, run_id: str, state: RunState, reason: str = "", **facts: object) -> Path:
    workspace = top / run_id
    workspace.mkdir(parents=True)
    record = open_record(workspace, run_id=run_id, backend="local")
    record.finish(state, reason, **facts)
    return record.directory


def test_all_runs_are_listed_failed_ones_first_with_their_reasons(tmp_path: Path) -> None:
    add_run(tmp_path, "good", RunState.COMPLETED, "exit code 0", wall_time_s=61.0, peak_rss_bytes=2**20)
    add_run(tmp_path / "deep" / "down", "bad", RunState.FAILED, "a fatal line", wall_time_s=0.5)
    add_run(tmp_path, "slow", RunState.TIMED_OUT, "exceeded its timeout of 5 s")

    page = read_page(rompy_report.compare(tmp_path))

    assert "3 runs" in page.words
    assert "1 failed 1 timed out 1 completed" in page.words
    rows = page.words[page.words.index("Reason") :]
    assert rows.index("a fatal line") < rows.index("exceeded its timeout") < rows.index("exit code 0")
    assert "deep/down/bad" in rows
    assert "1 min 01 s" in rows
    assert "1.0 MiB" in rows


def test_the_column_that_it_is_sorted_by_is_told(tmp_path: Path) -> None:
    add_run(tmp_path, "one", RunState.COMPLETED)

    page = read_page(rompy_report.compare(tmp_path))

    headers = page.all("th", scope="col")
    assert [header.get("aria-sort") for header in headers] == ["ascending", *[None] * 6]
    assert len(page.all("button", type="button")) == 7


def test_the_newest_of_equal_runs_comes_first(tmp_path: Path) -> None:
    for n, run_id in enumerate(("older", "newer")):
        record_dir = add_run(tmp_path, run_id, RunState.COMPLETED)
        started = read_report(record_dir).started_at
        text = (record_dir / "report.json").read_text()
        (record_dir / "report.json").write_text(
            text.replace(started.isoformat(), (started + timedelta(hours=n)).isoformat(), 1)
        )

    words = read_page(rompy_report.compare(tmp_path)).words

    assert words.index("newer") < words.index("older")


def test_only_our_script_may_run(tmp_path: Path) -> None:
    add_run(tmp_path, "one", RunState.COMPLETED)

    page = read_page(rompy_report.compare(tmp_path))

    digest = base64.b64encode(hashlib.sha256(page.raw["script"].encode()).digest()).decode()
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy is not None
    assert policy.endswith(f"; script-src 'sha256-{digest}'")
    assert page.foreign() == []


def test_a_run_with_a_report_is_linked_to_it_from_wherever_the_page_lies(tmp_path: Path) -> None:
    record_dir = add_run(tmp_path / "runs", "with #1 & more", RunState.COMPLETED)
    add_run(tmp_path / "runs", "without", RunState.COMPLETED)
    rompy_report.write_report(record_dir)

    page = read_page(rompy_report.compare(tmp_path / "runs", tmp_path / "pages" / "all.html"))

    (link,) = page.all("a")
    assert link["href"] == f"./../runs/with%20%231%20%26%20more/.rompy/{record_dir.name}/report.html"


def test_each_attempt_at_a_run_is_a_row_of_its_own(tmp_path: Path) -> None:
    model = ModelRun(run_id="again", output_dir=tmp_path)
    model.run(command="exit 1")
    model.run(command="exit 0")

    page = read_page(rompy_report.compare(tmp_path))

    assert "2 runs" in page.words
    assert len(page.all("th", scope="row")) == 2


def test_a_directory_without_runs_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no record of a run below it; give the directory"):
        rompy_report.compare(tmp_path)
    with pytest.raises(RecordError, match=r"nowhere.*is no directory"):
        rompy_report.compare(tmp_path / "nowhere")
