"""What people see of runs that go on: in a terminal of any width, in a log, and with handles of other hands."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NoReturn

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_core import (
    BackendConfig,
    ConfigError,
    ModelRun,
    Progress,
    ProgressPattern,
    RunReport,
    RunState,
    _bars,
    find_runs,
    open_record,
    read_report,
    show_progress,
)
from rompy_core._bar_text import Look, bar_line, cut, end_line, log_line, one_line, size_text, time_text, width_of
from rompy_core._watch import ProgressMeter

Until = Callable[..., None]

MODEL: Final = """
import os, sys, time
for step in range(1, 5):
    while not os.path.exists(f"../step-{step}"):
        time.sleep(0.01)
    print(f"hour {6 * step:02}, done {25 * step - 1} %", flush=True)
name = os.path.basename(os.getcwd())
while not os.path.exists("../end") and not os.path.exists(f"../end-{name}"):
    time.sleep(0.01)
if name == "storm-3":
    print("the grid has a hole at node 4711, " + "which is far too much to say in one line, " * 5)
    sys.exit(1)
"""
"""A model that makes each of its steps when it is told to; that of storm-3 fails."""

PROGRAM: Final = """
import logging, sys, threading
from rompy_core import ModelRun
logging.disable()
rules = {"progress": r"hour (?P<date>\\d+), done (?P<percent>\\d+) %"}
options = {"command": [sys.executable, "-c", open("model.py").read()], "rules": rules, "show_progress": True}
models = [ModelRun(run_id=f"storm-{number}", output_dir=".") for number in range(int(sys.argv[1]))]
threads = [threading.Thread(target=model.run, kwargs=options) for model in models]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""

BAR: Final = re.compile(r"(?P<name>\S+) +(?P<percent>\d+)%\|[█▏▎▍▌▋▊▉ ]+\| \d+:\d\d<(?:\d+:\d\d|\?) \d+ MiB(?: \S+)?")
END: Final = re.compile(r"(?P<name>\S+): (?P<state>[A-Z]+) after \d+:\d\d, peak \d+ MiB(?:: (?P<reason>.*))?")


def unavailable(reason: str) -> NoReturn:
    """Skip what cannot be tested here; where the project's checks run, nothing may be skipped."""
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


@attrs.define
class Terminal:
    """A real terminal with one program in it, by tmux."""

    socket: Path
    directory: Path
    columns: int = 80

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-u", "-S", self.socket, "-f", "/dev/null", *words], capture_output=True, check=True, timeout=20
        )
        return done.stdout.decode()

    def start(self, source: str, *words: object, columns: int = 80, rows: int = 24) -> None:
        """Run a program, then print a line about its end, and wait."""
        self.columns = columns
        (self.directory / "program.py").write_text(source)
        command = shlex.join([sys.executable, "program.py", *map(str, words)])
        script = f"trap : INT; {command}; printf 'ended %s\\n' $?; exec sleep 1000"
        size = ["-x", str(columns), "-y", str(rows), "-c", str(self.directory)]
        self.tmux("new-session", "-d", *size, "env", "PYTHONUTF8=1", "sh", "-c", script)

    def press(self, key: str) -> None:
        self.tmux("send-keys", key)

    def screen(self) -> list[str]:
        """Give the lines, those that the terminal has wrapped as one; only what a logger says may be so long."""
        lines = self.tmux("capture-pane", "-p", "-J").split("\n")
        wrapped = [line for line in lines if width_of(line) > self.columns and not line.startswith("run failed")]
        assert not wrapped, f"wrapped at {self.columns} columns: {wrapped}"
        return [line.rstrip() for line in lines]

    def bars(self) -> dict[str, int]:
        """Give the percentages of the bars by name, each of which has one line, whole."""
        found = [match for line in self.screen() if (match := BAR.fullmatch(line))]
        names = [match["name"] for match in found]
        assert len(names) == len(set(names)), f"a bar is there twice: {names}"
        return {match["name"]: int(match["percent"]) for match in found}

    def said(self) -> list[str]:
        return [line for line in self.screen() if line]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        unavailable("tmux is not installed")
    (tmp_path / "model.py").write_text(MODEL)
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket must be short
        made = Terminal(Path(folder, "tmux"), tmp_path)
        yield made
        for step in (1, 2, 3, 4):
            (tmp_path / f"step-{step}").touch()
        (tmp_path / "end").touch()
        subprocess.run(["tmux", "-S", made.socket, "kill-server"], capture_output=True, check=False)


# In a terminal.


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("runs", [1, 5])
def test_each_run_has_a_bar_of_its_own_that_grows_and_leaves_one_line(
    terminal: Terminal, tmp_path: Path, until: Until, runs: int, columns: int
) -> None:
    names = {f"storm-{number}" for number in range(runs)}
    seen: list[dict[str, int]] = []

    terminal.start(PROGRAM, runs, columns=columns)
    for step in range(1, 5):
        (tmp_path / f"step-{step}").touch()
        until(lambda now=25 * step - 1: terminal.bars() == dict.fromkeys(names, now), f"step {step} on the screen")
        seen.append(terminal.bars())
    before = terminal.screen()
    (tmp_path / "end").touch()
    until(lambda: any(line.startswith("ended") for line in terminal.said()), "the end")

    assert seen == [dict.fromkeys(names, percent) for percent in (24, 49, 74, 99)]
    bars = [line for line in before if BAR.fullmatch(line)]
    assert {len(line) for line in bars} <= set(range(columns - 4, columns))
    assert all(line.endswith(" 24") for line in bars), "the model's own time is not there"
    *ends, last = terminal.said()
    assert last == "ended 0"
    told = {match["name"]: (match["state"], match["reason"]) for end in ends if (match := END.fullmatch(end))}
    assert len(told) == len(ends), f"more than one line for each run was left: {ends}"
    assert told.keys() == names
    assert {name for name, (state, _) in told.items() if state == "COMPLETED"} == names - {"storm-3"}
    if runs == 5:
        state, reason = told["storm-3"]
        assert state == "FAILED"
        assert str(reason).startswith("the command ended with exit code 1"[: 40 if columns == 80 else None])
        assert str(reason).endswith("...")


SHOWN_HANDLES: Final = """
import sys
from rompy_core import ModelRun, show_progress
options = {"command": [sys.executable, "-c", open("model.py").read()], "rules": {"progress": r"(?P<percent>\\d+) %"}}
models = [ModelRun(run_id=f"storm-{number}", output_dir=".") for number in range(int(sys.argv[1]))]
handles = [model.submit("local", **options) for model in models]
with show_progress(*handles):
    for handle in handles:
        handle.wait()
"""


def test_more_runs_than_the_terminal_has_rows_are_counted(terminal: Terminal, tmp_path: Path, until: Until) -> None:
    terminal.start(SHOWN_HANDLES, 9, rows=8)
    (tmp_path / "step-1").touch()
    until(lambda: list(terminal.bars().values()) == [24] * 5, "five bars")
    screen = terminal.said()
    for step in (2, 3, 4):
        (tmp_path / f"step-{step}").touch()
    (tmp_path / "end").touch()
    until(lambda: "ended 0" in terminal.said(), "the end")

    assert screen[-1] == "... and 4 more"
    assert terminal.bars() == {}


TALKATIVE: Final = r"""
import sys
from rompy_core import ModelRun
said = r"'\x1b[31mgrid\x1b[0m\tready \x07\x1b]0;title\x07', 'and so on ' * 30"
code = f"import time; print({said}, flush=True); time.sleep(100)"
ModelRun(run_id="storm", output_dir=".").run("local", command=[sys.executable, "-c", code], show_progress=True)
"""


def test_a_run_that_does_not_say_how_far_it_is_shows_its_last_line_in_one_row(
    terminal: Terminal, tmp_path: Path, until: Until
) -> None:
    terminal.start(TALKATIVE)
    until(lambda: any(re.search("MiB grid ready", line) for line in terminal.said()), "the line, and a sample")

    [line] = terminal.said()
    assert re.fullmatch(r"storm 0:\d\d \d+ MiB grid ready and so on .*\.\.\.", line)
    assert len(line) == 79
    [report] = find_runs(tmp_path)
    assert report.state is RunState.RUNNING


def test_an_interrupt_ends_the_run_and_leaves_the_terminal_clean(
    terminal: Terminal, tmp_path: Path, until: Until
) -> None:
    here = "try: models[0].run(**options)\nexcept KeyboardInterrupt: sys.exit('interrupted')\nthreads = ["
    terminal.start(PROGRAM.replace("threads = [", here), 1)
    (tmp_path / "step-1").touch()
    until(lambda: terminal.bars() == {"storm-0": 24}, "the bar")

    terminal.press("C-c")
    until(lambda: any(line.startswith("ended") for line in terminal.said()), "the end")

    said = terminal.said()
    assert [match["state"] for line in said if (match := END.fullmatch(line))] == ["CANCELLED"]
    assert said[-2:] == ["interrupted", "ended 1"]
    assert len(said) <= 4  # and what the terminal shows of the key
    assert terminal.bars() == {}
    assert terminal.tmux("display-message", "-p", "#{cursor_x}").strip() == "0"
    assert read_report(tmp_path / "storm-0").state is RunState.CANCELLED


def test_what_is_logged_meanwhile_keeps_its_lines(terminal: Terminal, tmp_path: Path, until: Until) -> None:
    terminal.start(PROGRAM.replace("logging.disable()", ""), 5, columns=100)
    for step in (1, 2, 3, 4):
        (tmp_path / f"step-{step}").touch()
    until(lambda: len(terminal.bars()) == 5, "the bars")

    (tmp_path / "end-storm-3").touch()
    until(lambda: len(terminal.bars()) == 4, "the end of one of them")

    report = read_report(tmp_path / "storm-3")
    said = terminal.said()
    assert said[:2] == [f"run failed: {report.reason}", end_line("storm-3", report, 99)]
    assert len(said) == 6
    (tmp_path / "end").touch()
    until(lambda: "ended 0" in terminal.said(), "the end")
    assert sum(1 for line in terminal.said() if END.fullmatch(line)) == 5


# In a log, or wherever there is no terminal.


def code_of(*lines: str, then: str = "") -> list[str]:
    return [sys.executable, "-c", f"import time\nfor line in {lines!r}: print(line, flush=True)\n{then}"]


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="storm", output_dir=tmp_path / "out")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say how far the runs are at each look."""
    monkeypatch.setattr(_bars, "_SAY_EVERY_S", 0.0)
    monkeypatch.setattr(_bars._Log, "every_s", 0.02)


def test_a_log_has_a_line_in_ten_seconds_at_most_and_one_for_the_end(
    model_run: ModelRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert model_run.run("local", command=code_of("done 50 %", then="time.sleep(1)"), show_progress=True)

    printed, said = capsys.readouterr()
    assert printed == ""
    assert END.fullmatch(said.removesuffix("\n"))


@pytest.mark.parametrize(
    ("printed", "rules", "line"),
    [
        (
            "hour 06, done 50 %",
            {"progress": r"hour (?P<date>\d+), done (?P<percent>\d+) %"},
            r"storm: 50%, \d:\d\d elapsed, \d:\d\d left, \d+ MiB: 06",
        ),
        ("\x1b[1mmaking\nthe grid", None, r"storm: \d:\d\d elapsed, \d+ MiB: the grid"),
    ],
)
def test_a_log_says_now_and_then_how_far_a_run_is(
    model_run: ModelRun,
    often: None,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    printed: str,
    rules: dict[str, str] | None,
    line: str,
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    command = code_of(printed, then="import os\nwhile not os.path.exists('end'): time.sleep(0.01)")

    with model_run.submit("local", command=command, rules=rules) as handle, show_progress(handle):
        until(lambda: any(re.fullmatch(line, said) for said in stream.getvalue().splitlines()), line)
        (model_run.workspace_dir / "end").touch()
        report = handle.wait()

    assert stream.getvalue().splitlines()[-1] == end_line("storm", report)
    assert "\x1b" not in stream.getvalue()


def test_a_program_whose_errors_go_to_a_file_writes_lines_there(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    for name in ("step-1", "step-2", "step-3", "step-4", "end"):
        (tmp_path / name).touch()

    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", PROGRAM, "5"], cwd=tmp_path, stderr=log, check=True, timeout=50)

    lines = (tmp_path / "log").read_text().splitlines()
    told = {match["name"]: match for line in lines if (match := END.fullmatch(line))}
    assert sorted(told) == [f"storm-{number}" for number in range(5)]
    assert len(told) == len(lines)
    assert "the grid has a hole at node 4711" in told["storm-3"]["reason"]


# Whatever is run, and by whomever.


@attrs.define
class Plain:
    """A run backend that offers no more than run()."""

    success: bool = True
    given: dict[str, Any] = attrs.field(factory=dict)

    def run(self, model_run: Any, **kwargs: Any) -> Any:
        self.given = kwargs
        time.sleep(0.2)
        return SimpleNamespace(success=self.success, message="aground")


def test_a_backend_that_offers_no_more_than_run_shows_the_time(
    model_run: ModelRun, often: None, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = Plain(success=False)

    assert not model_run.run(backend, show_progress=True)

    *lines, last = capsys.readouterr().err.splitlines()
    assert lines
    assert all(re.fullmatch(r"storm: \d:\d\d elapsed", line) for line in lines)
    assert re.fullmatch(r"storm: FAILED after \d:\d\d: the backend reports failure: aground", last)
    assert "show_progress" not in backend.given


def test_a_backends_own_option_of_that_name_comes_by_its_config(model_run: ModelRun) -> None:
    @attrs.frozen(kw_only=True)
    class OwnConfig(BackendConfig):
        show_progress: str = "never"

    @attrs.define
    class Own:
        given: list[str] = attrs.field(factory=list)
        config_type = OwnConfig

        def run(self, model_run: Any, config: OwnConfig) -> bool:
            self.given.append(config.show_progress)
            return True

    backend = Own()

    model_run.run(backend, show_progress=False)
    model_run.run(backend, config={"show_progress": "by mail"})

    assert backend.given == ["never", "by mail"]


def test_a_wait_shows_the_run_as_well(model_run: ModelRun, capsys: pytest.CaptureFixture[str]) -> None:
    with model_run.submit("local", command="sleep 0.2") as handle:
        report = handle.wait(show_progress=True)  # type: ignore[call-arg]

    assert capsys.readouterr().err.splitlines() == [end_line("storm", report)]


def test_a_run_that_is_not_waited_for_is_said_to_go_on(model_run: ModelRun, capsys: pytest.CaptureFixture[str]) -> None:
    with model_run.submit("local", command="sleep 60") as handle:
        with pytest.raises(TimeoutError):
            handle.wait(0.05, show_progress=True)  # type: ignore[call-arg]
        handle.cancel()

    assert re.fullmatch(r"storm: still running after \d:\d\d\n", capsys.readouterr().err)


def test_a_run_that_is_shown_twice_has_one_line(model_run: ModelRun, capsys: pytest.CaptureFixture[str]) -> None:
    with model_run.submit("local", command="sleep 0.2") as handle, show_progress(handle, handle) as shown:
        shown.add(handle)
        handle.wait(show_progress=True)  # type: ignore[call-arg]

    assert len(capsys.readouterr().err.splitlines()) == 1


class Hostile:
    """A handle that raises whatever it is asked."""

    def __init__(self, report: RunReport | None) -> None:
        self._report = report

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} for you")

    def done(self) -> bool:
        return True

    def wait(self, timeout: float | None = None) -> RunReport:
        if self._report is None:
            raise RuntimeError("no report for you")
        return self._report


def test_a_handle_that_raises_does_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = open_record(tmp_path, run_id="storm", backend="here").finish(RunState.FAILED, "aground")
    handles: list[Any] = [Hostile(report), Hostile(None)]

    with show_progress(*handles):
        pass

    assert capsys.readouterr().err.splitlines() == [
        "run: FAILED: aground",
        "run: ended, and does not say how, after 0:00",
    ]


def test_only_handles_can_be_shown(model_run: ModelRun) -> None:
    with pytest.raises(TypeError, match="takes handles of runs, as submit\\(\\) gives them, found ModelRun"):
        show_progress(model_run)  # type: ignore[arg-type]


@pytest.mark.parametrize("stream", [None, SimpleNamespace(), io.StringIO()])
def test_a_process_without_a_standard_error_runs_all_the_same(
    model_run: ModelRun, monkeypatch: pytest.MonkeyPatch, stream: Any
) -> None:
    if stream is not None and hasattr(stream, "close"):
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)

    assert model_run.run("local", command="true", show_progress=True)


def test_the_end_is_shown_where_no_thread_is_to_be_had(
    model_run: ModelRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "rompy-progress":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert model_run.run("local", command="true", show_progress=True)

    assert capsys.readouterr().err.startswith("storm: COMPLETED")


def test_a_child_process_shows_its_own_runs(run_python: Callable[..., str], tmp_path: Path) -> None:
    code = f"""
import logging, os, sys, warnings
from rompy_core import ModelRun
logging.disable()
warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, fork() warns where there are threads
run = ModelRun(run_id="storm", output_dir={str(tmp_path)!r}).submit("local", command="sleep 60")
sys.stderr = sys.stdout
from rompy_core import show_progress
with run, show_progress(run):
    child = os.fork()
    if child == 0:
        ok = ModelRun(run_id="surge", output_dir={str(tmp_path)!r}).run("local", command="true", show_progress=True)
        sys.stdout.flush()
        os._exit(not ok)
    print(os.waitpid(child, 0)[1])
    run.cancel()
    run.wait()
"""

    said = run_python(code).splitlines()

    assert [line.split(" after")[0] for line in said] == ["surge: COMPLETED", "0", "storm: CANCELLED"]


# Pipelines.


def test_a_pipeline_shows_its_run(model_run: ModelRun, capsys: pytest.CaptureFixture[str]) -> None:
    results = model_run.pipeline(run_kwargs={"command": "true"}, show_progress=True)

    assert results["success"]
    assert END.fullmatch(capsys.readouterr().err.removesuffix("\n"))


def test_a_pipeline_that_does_not_take_the_option_is_refused_where_it_is_asked_for(model_run: ModelRun) -> None:
    class Closed:
        def execute(self, model_run: Any, speed: int = 1) -> Any:
            return {"success": True, "run_id": "storm", "stages_completed": []}

    with pytest.raises(ConfigError, match="show_progress: Closed has no such option"):
        model_run.pipeline(Closed(), show_progress=True)

    assert model_run.pipeline(Closed())["success"]
    assert not model_run.workspace_dir.exists()


def test_a_pipeline_that_takes_the_option_gets_it_only_where_it_is_asked_for(model_run: ModelRun) -> None:
    class Open:
        def execute(self, model_run: Any, **kwargs: Any) -> Any:
            return {"success": True, "given": kwargs}

    assert model_run.pipeline(Open(), show_progress=True)["given"] == {"show_progress": True}
    assert model_run.pipeline(Open())["given"] == {}


# What is asked for, and what it takes.


@pytest.mark.parametrize(
    "call",
    [
        "model.run('local', command='true', show_progress=True)",
        "model.pipeline(run_kwargs={'command': 'true'}, show_progress=True)",
        "LocalPipelineBackend().execute(model, run_kwargs={'command': 'true'}, show_progress=True)",
        "show_progress()",
    ],
)
def test_without_tqdm_the_error_says_how_to_get_it_before_anything_is_written(
    run_python: Callable[..., str], tmp_path: Path, call: str
) -> None:
    code = f"""
import sys; sys.modules["tqdm"] = None
from rompy_core import LocalPipelineBackend, ModelRun, show_progress
model = ModelRun(run_id="storm", output_dir={str(tmp_path / "out")!r})
try:
    {call}
except ValueError as exc:
    print(type(exc).__name__, exc)
"""

    said = run_python(code)

    assert said == (
        'ConfigError show_progress: needs tqdm, which is not installed: pip install "rompy-core[progress]"\n'
    )
    assert not (tmp_path / "out").exists()


def test_tqdm_is_imported_for_those_who_ask_for_it(run_python: Callable[..., str], tmp_path: Path) -> None:
    code = f"""
import sys
from rompy_core import ModelRun
model = ModelRun(run_id="storm", output_dir={str(tmp_path)!r})
model.pipeline(run_kwargs={{"command": "true"}})
print("tqdm" in sys.modules)
model.run("local", command="true", show_progress=True)
print("tqdm" in sys.modules)
"""

    assert run_python(code).split() == ["False", "True"]


@pytest.mark.parametrize("wanted", ["yes", 1, None])
def test_it_is_true_or_false(model_run: ModelRun, wanted: Any) -> None:
    for call in (model_run.run, model_run.pipeline):
        with pytest.raises(ConfigError, match="show_progress: must be True or False, found"):
            call(show_progress=wanted)

    assert not model_run.workspace_dir.exists()


# In a notebook.


def test_in_a_notebook_each_run_is_a_bar_that_tells_its_end_by_its_colour(
    run_python: Callable[..., str], tmp_path: Path
) -> None:
    for name in ("ipykernel", "ipywidgets", "nbclient"):
        if importlib.util.find_spec(name) is None:
            unavailable(f"{name} is not installed")
    cell = f"""
import logging, sys
from rompy_core import ModelRun, show_progress
logging.disable()
rules = {{"progress": r"(?P<percent>\\d+) %"}}
codes = ["print('90 %')", "print('90 %'); raise SystemExit('{{bar}}')"]
models = [ModelRun(run_id=f"storm-{{n}}", output_dir={str(tmp_path)!r}) for n in range(2)]
handles = [model.submit("local", command=[sys.executable, "-c", c], rules=rules) for model, c in zip(models, codes)]
with show_progress(*handles):
    reports = [handle.wait() for handle in handles]
"""
    code = f"""
import nbclient, nbformat
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell({cell!r})])
client = nbclient.NotebookClient(notebook, timeout=50)
client.execute()
bars = [state for state in client.widget_state.values() if state["_model_name"] == "FloatProgressModel"]
texts = [state["value"] for state in client.widget_state.values() if state["_model_name"] == "HTMLModel"]
print(*(bar["bar_style"] for bar in bars))
print(*(text.replace("\u2007", " ").strip() for text in texts if text), sep=chr(10))
"""

    colours, *texts = run_python(code).splitlines()

    assert colours == "success danger"
    assert [text.split(" after")[0] for text in texts] == ["storm-0: COMPLETED", "storm-1: FAILED"]


# The texts.


def bar(left: str, fraction: float, right: str, columns: int) -> str:
    return f"{left}|{'#' * (columns - width_of(left) - width_of(right) - 3)}| {right}"


looks = st.builds(
    Look,
    elapsed_s=st.floats(0, 1e7),
    progress=st.none()
    | st.builds(
        Progress, fraction=st.floats(0, 1), remaining_s=st.none() | st.floats(0, 1e7), model_time=st.text(max_size=40)
    ),
    memory_bytes=st.none() | st.integers(0, 2**44),
    last_line=st.text(max_size=300),
)


@given(look=looks, name=st.text(max_size=15), columns=st.integers(40, 250))
def test_no_line_is_wider_than_the_terminal(look: Look, name: str, columns: int) -> None:
    assert width_of(bar_line(one_line(name), look, columns, bar)) <= columns


@given(text=st.text(max_size=400), columns=st.integers(0, 300))
def test_what_is_cut_fits(text: str, columns: int) -> None:
    assert width_of(cut(text, columns)) <= columns


@given(text=st.text(st.characters() | st.sampled_from("\x1b[]0;m\x07\n\r\t"), max_size=60))
def test_a_line_has_nothing_that_moves_the_cursor(text: str) -> None:
    line = one_line(text)

    assert all(unicodedata.category(one)[0] != "C" for one in line)
    assert line == line.strip()
    assert line.isprintable()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\x1b[1;31mERROR\x1b[0m:\tno  tide\r\n", "ERROR: no tide"),
        ("\x1b]0;a title\x07depth", "depth"),
        ("\x1b(B\x1b=depth\x9b", "depth"),
        ("größe 浪", "größe 浪"),
        ("\u202eedit\u2028two", "edit two"),
    ],
)
def test_colours_and_controls_are_taken_out(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("rule", "line", "model_time"),
    [
        (ProgressPattern(regex=r"at (?P<date>\S+)"), "at 2024-01-01T12:00", "2024-01-01T12:00"),
        (ProgressPattern(regex=r"step +(?P<current>\d+)", total=40_000_000.0), "step 1000", "1000/40000000"),
        (ProgressPattern(regex=r"step (?P<current>\d+) of (?P<total>\d+)"), "step 1 of 8", "1/8"),
        (ProgressPattern(regex=r"(?P<percent>\d+) %"), "12 %", ""),
    ],
)
def test_the_models_own_time_is_what_it_prints(rule: ProgressPattern, line: str, model_time: str) -> None:
    period = SimpleNamespace(start=datetime(2024, 1, 1, tzinfo=UTC), end=datetime(2024, 1, 2, tzinfo=UTC))

    progress = ProgressMeter(rule, period).read(line + "\n")

    assert progress is not None
    assert progress.model_time == model_time


def test_only_what_is_done_is_a_hundred_percent() -> None:
    shown = [log_line("storm", Look(progress=Progress(fraction=fraction))) for fraction in (0.999, 1.0, 0.29)]

    assert shown == ["storm: 99%, 0:00 elapsed", "storm: 100%, 0:00 elapsed", "storm: 29%, 0:00 elapsed"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9, "0:00"), (61, "1:01"), (3599.9, "59:59"), (3600, "1:00:00"), (180_061, "50:01:01")]
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def test_sizes_are_short() -> None:
    assert [size_text(size) for size in (0, 2**20, 2**30 - 2**20, 3 * 2**29)] == [
        "0 MiB",
        "1 MiB",
        "1023 MiB",
        "1.5 GiB",
    ]


# The page about it.


@pytest.fixture(scope="module")
def page() -> str:
    return (Path(__file__).resolve().parents[2] / "docs" / "progress.md").read_text("utf-8")


def blocks_of(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_the_screens_of_the_page_are_what_is_shown(page: str) -> None:
    lines = [line for screen in blocks_of(page, "text") for line in screen.splitlines()]
    bars = [match for line in lines if (match := BAR.fullmatch(line))]
    ends = [match for line in lines if (match := END.fullmatch(line))]

    assert max(map(width_of, lines)) <= 80
    assert [bar["name"] for bar in bars] == ["storm", "member-0", "member-1", "member-2", "member-4"]
    assert [end["state"] for end in ends].count("COMPLETED") == len(ends) - 1 == 7
