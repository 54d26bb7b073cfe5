from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.report.inspecting import Page, read_page

import rompy_report
from rompy_core import ModelRun, RecordError, RunReport, RunState, read_report

Record = Callable[..., RunReport]
PageOf = Callable[..., Page]


def test_the_verdict_and_its_reason_come_first(finished_page: Page) -> None:
    words = finished_page.words

    assert words.startswith("Completed: storm Run report storm Completed the command ended with exit code 0")


def test_a_failed_run_begins_with_its_reason_and_marks_the_fatal_line(failed: ModelRun, page_of: PageOf) -> None:
    page = page_of(failed)

    assert page.all("div", **{"class": "bad"})
    assert len(page.all("mark")) == 1
    assert "Fatal ERROR: <b>diverged</b> at cell 7" in page.words
    assert page.words.index("Log") < page.words.index("Timeline")


def test_a_run_that_met_its_limit_names_it(timed_out: ModelRun, page_of: PageOf) -> None:
    words = page_of(timed_out).words

    assert "Timed out exceeded its timeout of 0.8 s" in words
    assert "limit 0.80 s" in words


def test_the_numbers_have_their_units_and_limits(finished_page: Page) -> None:
    words = finished_page.words

    for part in (
        "Wall time",
        "limit 30 s",
        "CPU time",
        "Peak memory",
        "MiB limit 512 MiB",
        "Progress 100 %",
        "Exit code 0",
    ):
        assert part in words, part


def test_the_stages_of_the_pipeline_are_listed(finished_page: Page) -> None:
    words = finished_page.words

    stages = words[words.index("Stage Began after Took") :]
    assert stages.index("generate") < stages.index("run") < stages.index("postprocess")


def test_the_files_are_listed_with_sizes_the_largest_first(finished_page: Page) -> None:
    words = finished_page.words

    assert "1 file written since the start, 2.9 KiB in all. File Size Last written out.dat 2.9 KiB" in words


def test_no_value_of_an_environment_variable_is_shown(finished_page: Page) -> None:
    assert "LICENCE_KEY" in finished_page.words
    assert "do-not-show-me" not in finished_page.source


def test_the_page_is_one_file_with_its_pictures_and_a_policy_that_allows_nothing_else(
    finished_page: Page,
) -> None:
    (policy,) = [meta["content"] for meta in finished_page.all("meta") if "http-equiv" in meta]
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
    assert not finished_page.all("script")
    assert finished_page.foreign() == []
    (picture,) = finished_page.all("img")
    assert picture["alt"] is not None
    assert picture["alt"].startswith("Timeline of ")
    assert [source["media"] for source in finished_page.all("source")] == [
        "screen and (prefers-color-scheme: dark) and (max-width: 40rem)",
        "(max-width: 40rem)",
        "screen and (prefers-color-scheme: dark)",
    ]


def test_a_record_that_was_carried_to_another_machine_reads_as_well(
    finished: ModelRun, page_of: PageOf, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "usb-stick" / "storm"
    shutil.copytree(finished.workspace_dir, elsewhere)

    page = page_of(elsewhere)

    assert "step 5 of 5" in page.words
    assert "out.dat" in page.words
    assert page.all("img")


def test_a_record_without_its_workspace_reads_as_well(finished: ModelRun, page_of: PageOf, tmp_path: Path) -> None:
    record_dir = read_report(finished.workspace_dir).record_dir
    assert record_dir is not None
    shutil.copytree(record_dir, tmp_path / "alone")

    page = page_of(tmp_path / "alone")

    assert "step 5 of 5" in page.words
    assert "The workspace is not there any more." in page.words


def test_a_record_whose_series_and_logs_are_gone_reads_as_well(record: Record, page_of: PageOf) -> None:
    page = page_of(record("bare", RunState.STALLED, "no output for 60 s"))

    assert "Stalled no output for 60 s" in page.words
    assert not page.all("img")


def test_a_run_that_still_runs_says_so(tmp_path: Path) -> None:
    model = ModelRun(run_id="live", output_dir=tmp_path)
    with model.submit(command=[sys.executable, "-c", "import time; time.sleep(60)"]) as handle:
        page = read_page(rompy_report.write_report(model.workspace_dir))

        handle.cancel()
        handle.wait(30)

    assert "Running The run has not ended yet." in page.words


def test_paths_in_a_record_lead_nowhere_outside_of_it(record: Record, page_of: PageOf, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret\n")
    report = record("sly", files={"stdout.log": b"", "usage.csv": b""})
    assert report.record_dir is not None
    plain = json.loads((report.record_dir / "report.json").read_bytes())
    plain |= {"stdout_path": str(secret), "stderr_path": "../../../../secret.txt", "usage_path": "/dev/zero"}
    plain |= {"workspace_dir": str(tmp_path)}
    (report.record_dir / "report.json").write_text(json.dumps(plain))
    (report.record_dir / "pipeline.json").symlink_to(secret)

    page = page_of(report)

    assert "the-secret" not in page.source
    assert "secret.txt" not in page.words


def test_links_and_pipes_in_place_of_logs_are_not_opened(record: Record, page_of: PageOf, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the-secret\n")
    report = record("sly", files={"stdout.log": b"", "stderr.log": b""})
    assert report.record_dir is not None
    (report.record_dir / "stdout.log").unlink()
    (report.record_dir / "stdout.log").symlink_to(tmp_path / "secret.txt")
    (report.record_dir / "stderr.log").unlink()
    os.mkfifo(report.record_dir / "stderr.log")

    page = page_of(report)

    assert "the-secret" not in page.source


def test_links_in_the_workspace_are_neither_followed_nor_listed(
    record: Record, page_of: PageOf, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.nc").write_text("the-secret")
    report = record("sly", options={"rules": {"fatal": [{"regex": "x", "file": "way/*"}]}})
    (tmp_path / "runs" / "case" / "way").symlink_to(tmp_path / "outside")
    (tmp_path / "runs" / "case" / "link.nc").symlink_to(tmp_path / "outside" / "secret.nc")

    page = page_of(report)

    assert "secret" not in page.source
    assert "The run wrote no files beside its logs." in page.words


def test_a_fatal_line_in_a_file_of_the_model_is_shown_with_the_file_s_end(record: Record, page_of: PageOf) -> None:
    rules = {"fatal": [{"regex": "^ \\*\\* Error", "file": "PRINT*"}]}
    report = record("swan", RunState.FAILED, "a fatal line", options={"rules": rules})
    assert report.record_dir is not None
    (report.record_dir.parent.parent / "PRINT-001").write_text("iteration 1\n ** Error: no grid\nend\n")

    page = page_of(report)

    assert "PRINT-001 3 lines" in page.words
    assert "2 Fatal ** Error: no grid" in page.words


def test_rules_and_stages_that_cannot_be_read_are_said_so(record: Record, page_of: PageOf) -> None:
    report = record("odd", files={"stdout.log": b"line\n"}, options={"rules": {"fatal": "("}})
    assert report.record_dir is not None
    (report.record_dir / "pipeline.json").write_text('{"stages": [{"name": "run"}]}')

    words = page_of(report).words

    assert "no line is marked as fatal" in words
    assert "The stages of the pipeline cannot be read" in words


def test_options_are_shown_in_the_units_of_people_and_those_that_say_nothing_left_out(
    record: Record, page_of: PageOf
) -> None:
    rules = {"fatal": [{"regex": "^E", "file": None}, {"regex": "^F", "file": "PRINT"}], "success": []}
    options = {
        "memory": 2**28,
        "timeout": 90.0,
        "grace_s": 0.0,
        "cpu": None,
        "nice": 0,
        "network": False,
        "rules": rules,
    }

    words = page_of(record("set", options=options)).words

    shown = "memory 256 MiB (268435456 bytes) timeout 1 min 30 s grace_s 0 s nice 0 rules.fatal ^E, ^F in PRINT"
    assert f"Options {shown} Surroundings" in words


def test_a_report_is_written_over_the_one_that_was_there(record: Record, tmp_path: Path) -> None:
    report = record("twice")
    assert report.record_dir is not None
    first = rompy_report.write_report(report.record_dir)
    first.write_text("old")

    second = rompy_report.write_report(report.record_dir)

    assert first == second == report.record_dir / "report.html"
    assert "twice" in read_page(second).words
    assert not list(report.record_dir.glob(".report.html.*"))


def test_a_place_without_a_record_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nothing-here.*give a record's folder or a workspace"):
        rompy_report.write_report(tmp_path / "nothing-here")
