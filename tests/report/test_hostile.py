"""Whatever a record, a log or a file's name holds, it is text on the page and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.report.inspecting import read_page

import rompy_report
from rompy_core import RecordError, RunState, open_record
from rompy_report._text import visible

EVIL = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></script><b>",
    "<!-- ",
    "]]><![CDATA[",
    "&lt;b&gt; &amp;lt; &#60;b&#62;",
    "{{ 7 * 7 }}{% include 'base.html' %}{# #}",
    "javascript:alert(1)",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\x00\x08\x7f\x9b\u202egnp.exe\u2066\ufeff\ufffe",
    "\udcff\udc80",
    "$\\frac{1}{0}$ %s {0}",
    "\U000e0041 \u2028\u2029",
]
texts = st.sampled_from(EVIL) | st.text(max_size=40) | st.builds("".join, st.lists(st.sampled_from(EVIL), max_size=3))
logs = st.binary(max_size=200) | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
names = (st.binary(min_size=1, max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogateescape"))).map(
    lambda name: name.translate(None, b"/\0")[:200].strip(b".") or b"x"
)


@contextlib.contextmanager
def in_a_workspace(run_id: str, **facts: Any) -> Iterator[tuple[Path, Path]]:
    """Make a workspace with a record; Hypothesis wants a new one for each example."""
    with tempfile.TemporaryDirectory() as top:
        workspace = Path(top) / "case"
        workspace.mkdir()
        yield workspace, _record(workspace, run_id, **facts)


def _record(workspace: Path, run_id: str, **facts: Any) -> Path:
    record = open_record(workspace, run_id=run_id, backend=facts.pop("backend", "local"))
    for name in ("stdout", "stderr"):
        (record.directory / f"{name}.log").write_bytes(facts.pop(name, b""))
        facts[f"{name}_path"] = record.directory / f"{name}.log"
    for name in facts.pop("names", ()):
        Path(os.fsdecode(os.fsencode(workspace) + b"/" + name)).write_bytes(b"1234")
    record.finish(facts.pop("state", RunState.FAILED), facts.pop("reason", ""), **facts)
    return record.directory


@settings(max_examples=60, deadline=None)
@example(text=EVIL[0], log=EVIL[0].encode(), name=b"<b>.txt")
@example(text=EVIL[11], log=b"\xff\xfe\x00", name=b"\xff\x1b[2J\n")
@given(text=texts, log=logs, name=names)
def test_a_report_has_no_element_attribute_or_sign_that_is_not_ours(text: str, log: bytes, name: bytes) -> None:
    made = in_a_workspace(
        text, reason=text, backend=text, host=text, command=(text, text), env_names=(text,), versions={text: text},
        options={text: text, "list": [text, {text: text}], "rules": {"fatal": "a", text: text}},
        warnings=(text,), leftovers=(text,), traceback=text, memory_method=text, stdout=log, stderr=log, names=[name],
    )  # fmt: skip

    with made as (workspace, _):
        page = read_page(rompy_report.write_report(workspace, netcdf=False))

    assert page.foreign() == []
    assert " ".join(visible(text).split()) in page.words


@settings(max_examples=60, deadline=None)
@example(text=EVIL[2])
@given(text=texts)
def test_a_comparison_has_no_element_attribute_or_sign_that_is_not_ours(text: str) -> None:
    with in_a_workspace(text, reason=text) as (workspace, record_dir):
        (record_dir / "report.html").write_text("")

        page = read_page(rompy_report.compare(workspace.parent))

    assert page.foreign() == []
    assert len(page.all("script")) == 1
    assert " ".join(visible(text).split()) in page.words


@settings(max_examples=30, deadline=None)
@given(name=names)
def test_an_address_to_a_report_stays_below_the_directory_whatever_the_workspace_is_called(name: bytes) -> None:
    with tempfile.TemporaryDirectory() as top:
        workspace = Path(top) / os.fsdecode(name)
        workspace.mkdir()
        rompy_report.write_report(_record(workspace, "case"))

        page = read_page(rompy_report.compare(top))

    (link,) = page.all("a")
    address = link["href"]
    assert address is not None
    assert address.startswith("./")
    assert address.endswith("/report.html")
    assert not set(address) & set(":?#\\\"'<>& ")


numbers = (
    st.sampled_from([0, -1, 1e308, -1e308, 10**400, -(10**30), 5e-324, float("inf"), float("nan"), 2**63])
    | st.floats()
    | st.integers()
)
NUMERIC = ("wall_time_s", "cpu_time_s", "peak_rss_bytes", "read_bytes", "write_bytes", "max_processes", "exit_signal")


@settings(max_examples=80, deadline=None)
@given(
    values=st.dictionaries(st.sampled_from(NUMERIC), numbers),
    limits=st.dictionaries(st.sampled_from(["memory", "timeout", "grace_s", "cpu"]), numbers),
    started_at=st.sampled_from(["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00", "2026-01-01T00:00:00+00:00"]),
    fraction=numbers,
)
def test_numbers_beyond_all_measure_are_shown_or_the_record_is_refused(
    values: dict[str, Any], limits: dict[str, Any], started_at: str, fraction: Any
) -> None:
    with in_a_workspace("case") as (workspace, record_dir):
        plain = json.loads((record_dir / "report.json").read_bytes())
        plain |= {**values, "options": limits, "started_at": started_at, "progress": {"fraction": fraction}}
        (record_dir / "report.json").write_text(json.dumps(plain))

        with contextlib.suppress(RecordError):
            page = rompy_report.write_report(workspace)
            assert read_page(page).foreign() == []
        with contextlib.suppress(RecordError):
            assert read_page(rompy_report.compare(workspace.parent)).foreign() == []


def test_a_series_beyond_all_measure_does_not_stop_the_report() -> None:
    rows = "0,0,0\n1e300,1e308,1e308\n-1e308,-5,7\n1e308,1e308,1e308\n"
    with in_a_workspace("case") as (workspace, record_dir):
        (record_dir / "usage.csv").write_text(f"elapsed_s,cpu_time_s,rss_bytes\n{rows}")
        plain = json.loads((record_dir / "report.json").read_bytes())
        (record_dir / "report.json").write_text(json.dumps({**plain, "usage_path": "usage.csv"}))

        page = read_page(rompy_report.write_report(workspace))

    assert page.all("img") or "The timeline cannot be drawn" in page.words


@given(st.text())
def test_visible_text_hides_nothing_and_acts_on_nothing(text: str) -> None:
    shown = visible(text)

    assert all(sign.isprintable() or sign in "\n\t" or sign.isspace() or sign in "\u200c\u200d\xad" for sign in shown)
    assert len(shown) >= len(text)
    assert visible(shown) == shown
