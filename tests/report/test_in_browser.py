"""The pages in a real browser: nothing goes wrong, nothing is fetched, mouse and keyboard do all, for everybody."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.report.test_hostile import EVIL

import rompy_report
from rompy_core import ModelRun, RunReport, RunState, open_record

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

ROOT = Path(__file__).resolve().parents[2]
AXE = "ROMPY_TEST_AXE"
UNKNOWN = "\N{EN DASH}"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


def load_chromium() -> Any:
    spec = importlib.util.spec_from_file_location("chromium", ROOT / "plugins/rompy_report/tools/chromium.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def missing(what: str) -> None:
    """Skip where a browser is a lot to ask; fail where it was promised."""
    reason = f"{what} is missing; .ci/browser installs it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = load_chromium()
    program = chromium.find()
    if program is None:
        missing("Chromium")
    with chromium.Chromium(program) as opened:
        yield opened


@pytest.fixture(scope="module")
def axe() -> str:
    path = Path(os.environ.get(AXE, ""))
    if not path.is_file():
        missing(f"axe-core (its axe.min.js, as {AXE})")
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, failed: ModelRun, finished: ModelRun) -> dict[str, Path]:
    """A report of a run that worked, of one that failed, of one that is nothing but attacks, and the comparison."""
    top = tmp_path_factory.mktemp("pages")
    evil = top / "runs" / "evil"
    for n, (state, wall_time_s) in enumerate(
        [(RunState.COMPLETED, 3.0), (RunState.FAILED, 20.0), (RunState.LOST, None), (RunState.TIMED_OUT, 100.0)]
    ):
        workspace = evil if not n else evil.parent / f"run-{n}"
        workspace.mkdir(parents=True)
        record = open_record(workspace, run_id=EVIL[n] if not n else f"run-{n}", backend="local")
        (record.directory / "stdout.log").write_text("\n".join(EVIL[:9]), "utf-8", "surrogateescape")
        reason, facts = " ".join(EVIL[:9]), {"stdout_path": record.directory / "stdout.log"}
        record.finish(state, reason, wall_time_s=wall_time_s, warnings=tuple(EVIL), options={"a": EVIL}, **facts)
    made = {
        "finished": rompy_report.write_report(finished.workspace_dir, top / "finished"),
        "failed": rompy_report.write_report(failed.workspace_dir, top / "failed"),
        "evil": rompy_report.write_report(evil),
    }
    return made | {"comparison": rompy_report.compare(evil.parent)}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["finished", "failed", "evil", "comparison"])
def test_a_page_makes_no_error_and_no_request(browser: Any, pages: dict[str, Path], name: str, size: str) -> None:
    width, height = SIZES[size]

    browser.open(pages[name], width=width, height=height)
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100)))")

    wrong = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Page.javascriptDialogOpening")
    assert [event for event in browser.events if event["method"] in wrong] == []
    asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [pages[name].as_uri()]


@pytest.mark.parametrize("name", ["finished", "failed", "evil", "comparison"])
def test_a_page_fits_the_width_of_a_phone(browser: Any, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], width=390, height=844)

    assert browser.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["finished", "failed", "evil", "comparison"])
def test_axe_finds_no_serious_barrier(
    browser: Any, axe: str, pages: dict[str, Path], name: str, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    browser.open(pages[name], width=width, height=height, dark=scheme == "dark")

    assert barriers(browser, axe) == []


def test_axe_would_find_a_barrier(browser: Any, axe: str, pages: dict[str, Path]) -> None:
    browser.open(pages["finished"])
    browser.evaluate("document.querySelector('figure img').removeAttribute('alt')")
    browser.evaluate("document.querySelector('.reason').style.color = '#ddd'")

    found = " ".join(barriers(browser, axe))

    assert "image-alt" in found
    assert "color-contrast" in found


def barriers(browser: Any, axe: str) -> list[str]:
    """Give what axe-core calls serious or critical."""
    browser.evaluate(f"{axe}; true")  # as a tester's own words, to which the policy of the page does not apply
    found = browser.evaluate("axe.run(document).then((result) => result.violations)")
    return [
        f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def column(browser: Any, number: int) -> list[str]:
    texts: list[str] = browser.evaluate(
        f"[...document.querySelectorAll('table.runs tbody tr')].map((row) => row.cells[{number}].innerText)"
    )
    return texts


def sorted_by(browser: Any) -> list[str]:
    found: list[str] = browser.evaluate(
        "[...document.querySelectorAll('th[aria-sort]')].map((h) => h.innerText.trim() + ' ' + h.ariaSort)"
    )
    return found


def test_a_click_on_a_header_sorts_and_a_second_one_turns_round(browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages["comparison"])
    assert sorted_by(browser) == ["Verdict ascending"]

    browser.click("th:nth-child(4) button")
    up = column(browser, 3)
    browser.click("th:nth-child(4) button")
    down = column(browser, 3)

    assert [text.split()[0] for text in up] == ["3", "20", "1", UNKNOWN]
    assert [text.split()[0] for text in down] == ["1", "20", "3", UNKNOWN]
    assert sorted_by(browser) == ["Duration descending"]
    assert browser.evaluate("document.getElementById('said').textContent") == "Sorted by Duration, descending."


def test_the_keyboard_alone_reaches_every_header_and_sorts(browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages["comparison"])

    reached = []
    for _ in range(7):
        browser.press("Tab")
        reached.append(browser.evaluate("document.activeElement.innerText.trim()"))
    browser.press("Enter", "\r")
    by_reason = sorted_by(browser)
    browser.press(" ", " ")

    assert reached == ["Verdict", "Run", "Started (UTC)", "Duration", "CPU time", "Peak memory", "Reason"]
    assert by_reason == ["Reason ascending"]
    assert sorted_by(browser) == ["Reason descending"]


def test_the_log_can_be_reached_and_scrolled_by_the_keyboard(
    browser: Any, record: Callable[..., RunReport], tmp_path: Path
) -> None:
    report = record("long", RunState.FAILED, files={"stdout.log": b"".join(b"line %d\n" % n for n in range(500))})
    assert report.record_dir is not None
    browser.open(rompy_report.write_report(report.record_dir))

    browser.press("Tab")

    assert browser.evaluate("document.activeElement.className") == "log"
    bottom = "getBoundingClientRect().bottom"
    assert browser.evaluate(
        f"[...document.querySelectorAll('.line')].at(-1).{bottom} <= document.activeElement.{bottom}"
    )


def test_dark_and_light_follow_the_reader_s_choice(browser: Any, pages: dict[str, Path]) -> None:
    shown = "[getComputedStyle(document.body).backgroundColor, document.querySelector('figure img').currentSrc.length]"
    browser.open(pages["finished"])
    light = browser.evaluate(shown)

    browser.open(pages["finished"], dark=True)

    dark = browser.evaluate(shown)
    assert light[0] != dark[0]
    assert light[1] != dark[1], "the picture is drawn for the dark as well"


def test_the_whole_page_is_printed(browser: Any, pages: dict[str, Path]) -> None:
    browser.open(pages["failed"], dark=True)
    browser.ask("Emulation.setEmulatedMedia", media="print")

    style = browser.evaluate(
        "(() => { const log = getComputedStyle(document.querySelector('.log'));"
        " return [log.maxHeight, getComputedStyle(document.body).color]; })()"
    )

    browser.ask("Emulation.setEmulatedMedia", media="")
    assert style == ["none", "rgb(29, 35, 41)"]
