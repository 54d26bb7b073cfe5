from __future__ import annotations

import copy
import errno
import json
import logging
import pickle
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any
from unittest.mock import Mock

import attrs
import pytest

from rompy_core import (
    BackendConfig,
    ConfigError,
    FilesConfig,
    ModelRun,
    ModelRunError,
    RompyError,
    RunReport,
    RunState,
    StartError,
    WorkspaceError,
    find_runs,
    open_record,
    read_report,
    run_to_end,
)
from rompy_core._binding import bind_backend, check_bound
from rompy_core._foreign import GeneratedRun, generate_workspace, message_of, success_of
from rompy_core._running import run_in, submit_bound
from rompy_local import LocalConfig, LocalRunBackend


@pytest.fixture(autouse=True)
def _listen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rompy_core")


@attrs.define
class Counting:
    """A model config that counts how often its inputs are written."""

    times: int = 0

    def generate(self, workspace_dir: Path, model_run: object) -> None:
        self.times += 1
        (workspace_dir / "input").write_text(f"written {self.times} times")


@attrs.define
class Backend:
    """A backend as the interface's document has it: no base class, no config."""

    answer: object = True
    seen: list[tuple[Any, dict[str, Any]]] = attrs.field(factory=list)

    def run(self, model_run: Any, **kwargs: Any) -> Any:
        self.seen.append((model_run, kwargs))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out", config=Counting())


def run(model_run: Any, backend: object, workspace_dir: Path | None = None, **options: Any) -> RunReport:
    bound = bind_backend(backend, options)
    check_bound(bound, model_run)
    return run_in(bound, model_run, workspace_dir)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


# A backend that has no more than run().


def test_a_backend_of_other_hands_runs_as_it_stands_and_leaves_a_record(model_run: ModelRun) -> None:
    report = run(model_run, Backend())

    assert report.ok
    assert (report.run_id, report.backend, report.reason) == ("case", "Backend", "the backend reports success")
    assert report == read_report(model_run.workspace_dir) == model_run.report
    assert report.wall_time_s is not None


def test_its_inputs_are_generated_once_though_it_generates_them_itself(model_run: ModelRun) -> None:
    class Generating:
        def run(self, model_run: Any, **_: object) -> bool:
            workspace_dir = model_run.generate()
            return model_run.generate() == workspace_dir and (workspace_dir / "input").exists()

    assert model_run.run(Generating()) is True

    assert model_run.config.times == 1


def test_it_is_given_a_model_run(model_run: ModelRun) -> None:
    backend = Backend()
    run(model_run, backend)

    [(given, _)] = backend.seen

    assert isinstance(given, ModelRun)
    assert (given.run_id, given.output_dir, given.config) == ("case", model_run.output_dir, model_run.config)
    assert given == model_run
    assert repr(given) == repr(model_run)


def test_its_options_are_passed_on_and_the_workspace_is_not(model_run: ModelRun) -> None:
    backend = Backend()

    run(model_run, backend, queue="long", nodes=3)

    assert backend.seen[0][1] == {"queue": "long", "nodes": 3}


def test_the_workspace_is_passed_on_where_it_is_a_parameter(model_run: ModelRun, tmp_path: Path) -> None:
    seen: list[object] = []

    class Taking:
        def run(self, model_run: Any, workspace_dir: object = None, **_: object) -> bool:
            seen.extend([workspace_dir, model_run.generate(), model_run.workspace_dir])
            return True

    run(model_run, Taking())
    run(model_run, Taking(), tmp_path)

    assert seen == [model_run.workspace_dir] * 3 + [tmp_path] * 3
    assert model_run.config.times == 1


def test_its_config_is_passed_on_where_it_has_one(model_run: ModelRun) -> None:
    @attrs.frozen(kw_only=True)
    class CloudConfig(BackendConfig):
        queue: str = "short"

    seen: list[object] = []

    class Configured:
        config_type = CloudConfig

        def run(self, model_run: Any, config: CloudConfig) -> bool:
            seen.append(config)
            return True

    assert run(model_run, Configured(), queue="long").ok

    assert seen == [CloudConfig(queue="long")]


@pytest.mark.parametrize("method", [print, Mock()], ids=["of an extension module", "a mock"])
def test_a_method_whose_signature_cannot_be_told_is_called_all_the_same(
    model_run: ModelRun, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_signature(_: object) -> None:
        raise ValueError("no signature found")

    monkeypatch.setattr("inspect.signature", no_signature)

    report = run(model_run, SimpleNamespace(run=method))

    assert "says neither success nor failure" in report.reason


class bool_:  # noqa: N801 - the name of numpy's own, which is no subclass of bool
    def __init__(self, value: bool) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value


@attrs.frozen
class Result:
    success: object
    message: object = None


@pytest.mark.parametrize(
    "answer",
    [
        True,
        bool_(True),
        {"success": True},
        MappingProxyType({"success": bool_(True), "error": ""}),
        Result(True),
        Result(bool_(True)),
    ],
)
def test_success_is_what_says_so(model_run: ModelRun, answer: object) -> None:
    assert run(model_run, Backend(answer)).ok


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (False, "the backend reports failure"),
        (bool_(False), "the backend reports failure"),
        ({"success": False}, "the backend reports failure"),
        ({"success": False, "error": "no queue"}, "the backend reports failure: no queue"),
        ({"success": False, "message": "no queue", "error": ""}, "the backend reports failure: no queue"),
        (Result(False), "the backend reports failure"),
        (Result(bool_(False), "no queue"), "the backend reports failure: no queue"),
        (SimpleNamespace(success=False, reason="no queue"), "the backend reports failure: no queue"),
    ],
)
def test_failure_is_told_in_the_words_of_the_backend(
    model_run: ModelRun, answer: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    report = run(model_run, Backend(answer))

    assert (report.state, report.reason) == (RunState.FAILED, reason)
    assert errors(caplog) == [f"run failed: {reason}"]


@pytest.mark.parametrize(
    "answer", [None, 0, 1, "done", {}, {"success": 1}, Result("yes"), Result(None), object(), Mock()]
)
def test_an_answer_that_is_neither_is_a_failure_that_says_so(model_run: ModelRun, answer: object) -> None:
    report = run(model_run, Backend(answer))

    assert report.state is RunState.FAILED
    assert report.reason == f"the backend gave {type(answer).__name__}, which says neither success nor failure"


def test_an_exception_is_a_failure_with_its_reason_and_goes_no_further(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture
) -> None:
    assert model_run.run(Backend(OSError(errno.EHOSTDOWN, "the queue is down"))) is False

    assert model_run.report is not None
    assert model_run.report.state is RunState.FAILED
    assert "OSError: [Errno 112] the queue is down" in model_run.report.reason
    assert errors(caplog) == [f"run failed: {model_run.report.reason}"]


@pytest.mark.parametrize("exc", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_goes_on_and_leaves_a_cancelled_record(model_run: ModelRun, exc: type[BaseException]) -> None:
    with pytest.raises(exc):
        model_run.run(Backend(exc()))

    assert read_report(model_run.workspace_dir).state is RunState.CANCELLED
    assert model_run.report == read_report(model_run.workspace_dir)


def test_it_runs_in_the_callers_own_thread_where_an_interrupt_reaches_it(model_run: ModelRun) -> None:
    threads: list[threading.Thread] = []

    class Looking:
        def run(self, model_run: Any, **_: object) -> bool:
            threads.append(threading.current_thread())
            return True

    model_run.run(Looking())
    model_run.submit(Looking()).wait(10)

    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


def test_it_is_submitted_in_a_thread_and_says_that_it_cannot_be_cancelled(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture
) -> None:
    may_end = threading.Event()

    class Slow:
        def run(self, model_run: Any, **_: object) -> bool:
            return may_end.wait(10)

    handle = submit_bound(bind_backend(Slow(), {}), model_run, model_run.generate())

    assert handle.state is RunState.RUNNING
    assert model_run.report is None
    assert handle.cancel() is False
    assert any(record.levelno == logging.WARNING and "cannot be cancelled" in record.msg for record in caplog.records)
    assert read_report(model_run.workspace_dir).is_cancellable is False
    may_end.set()
    assert handle.wait(10).ok
    assert model_run.report == handle.wait()


def test_a_live_run_in_the_workspace_stops_it_before_it_is_called(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Backend()
    open_record(model_run.generate(), run_id="case", backend="other")

    report = run(model_run, backend)
    with pytest.raises(StartError, match="live run"):
        model_run.submit(backend)

    assert report.state is RunState.NOT_STARTED
    assert backend.seen == []
    assert errors(caplog) == [f"run failed: {report.reason}"]
    assert model_run.report is not None
    assert model_run.report.state is RunState.NOT_STARTED


def test_the_records_of_its_log_say_which_run_it_is(model_run: ModelRun, caplog: pytest.LogCaptureFixture) -> None:
    run(model_run, Backend(False))

    assert len(caplog.records) >= 2
    for record in caplog.records:
        assert (record.run_id, record.backend) == ("case", "Backend")  # type: ignore[attr-defined]


# The stand-in for a model run whose inputs are there.


@pytest.fixture
def generated(model_run: ModelRun, tmp_path: Path) -> Any:
    return GeneratedRun(model_run, tmp_path)


def test_the_stand_in_generates_nothing(generated: Any, model_run: ModelRun, tmp_path: Path) -> None:
    assert generated.generate() == generated.workspace_dir == generated.staging_dir == tmp_path

    assert model_run.config.times == 0


def test_the_stand_in_is_the_model_run_in_everything_else(generated: Any, model_run: ModelRun) -> None:
    assert isinstance(generated, ModelRun)
    assert generated.__class__ is ModelRun
    assert vars(generated) == vars(model_run)
    assert attrs.asdict(generated) == attrs.asdict(model_run)
    assert attrs.evolve(generated, run_id="other") == attrs.evolve(model_run, run_id="other")
    with pytest.raises(AttributeError, match="no attribute 'tides'"):
        generated.tides  # noqa: B018


def test_what_is_set_on_the_stand_in_is_set_on_the_model_run(generated: Any, model_run: ModelRun) -> None:
    generated.delete_existing = True

    assert model_run.delete_existing is True
    with pytest.raises(ValueError, match="run_id"):
        generated.run_id = ".."


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))])
def test_the_stand_in_can_be_copied_and_sent_elsewhere(tmp_path: Path, copied: Callable[[Any], Any]) -> None:
    model_run = ModelRun(run_id="case", output_dir=tmp_path / "out", config=FilesConfig(files={"a": "b"}))

    twin = copied(GeneratedRun(model_run, tmp_path))

    assert twin == model_run
    assert twin.generate() == tmp_path
    assert not model_run.output_dir.exists()


# Model runs of other libraries.


def made(tmp_path: Path, name: str = "made") -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


FOREIGN: dict[str, Callable[[Path], Any]] = {
    "a path": made,
    "text": lambda tmp_path: str(made(tmp_path)),
    "an object with staging_dir": lambda tmp_path: SimpleNamespace(staging_dir=made(tmp_path)),
    "an object with staging_dir as text": lambda tmp_path: SimpleNamespace(staging_dir=str(made(tmp_path))),
    "an object with success": lambda tmp_path: SimpleNamespace(staging_dir=made(tmp_path), success=True),
}


@pytest.mark.parametrize("generate", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_generate_gives_says_where_the_inputs_are(tmp_path: Path, generate: Callable[[Path], Any]) -> None:
    made(tmp_path, "case")
    model_run = SimpleNamespace(run_id="case", output_dir=tmp_path, generate=lambda: generate(tmp_path))

    assert generate_workspace(model_run) == tmp_path / "made"


@pytest.mark.parametrize("answer", [None, True, SimpleNamespace(), SimpleNamespace(staging_dir=None), "", Mock(), 3])
@pytest.mark.parametrize("make", [str, Path])
def test_where_it_does_not_say_so_the_inputs_are_where_the_model_run_has_them(
    tmp_path: Path, answer: object, make: Callable[[Path], Any]
) -> None:
    made(tmp_path, "case")
    made(tmp_path, "staged")
    plain = SimpleNamespace(run_id="case", output_dir=make(tmp_path), generate=lambda: answer)
    flat = SimpleNamespace(run_id="case", output_dir=make(tmp_path), generate=lambda: answer, run_id_subdir=False)
    staged = SimpleNamespace(run_id="case", staging_dir=make(tmp_path / "staged"), generate=lambda: answer)

    found = [generate_workspace(model_run) for model_run in (plain, flat, staged)]

    assert found == [tmp_path / "case", tmp_path, tmp_path / "staged"]


def test_a_mock_is_a_model_run_as_well(tmp_path: Path) -> None:
    made(tmp_path, "case")
    model_run = Mock(run_id="case", output_dir=str(tmp_path))

    report = run(model_run, Backend())

    assert report.ok
    assert report.workspace_dir == tmp_path / "case"
    model_run.generate.assert_called_once_with()
    model_run.run.assert_not_called()


def test_without_generate_the_directory_is_made(tmp_path: Path) -> None:
    report = run(SimpleNamespace(run_id="case", output_dir=tmp_path / "out"), Backend())

    assert report.ok
    assert report.workspace_dir == tmp_path / "out" / "case"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (SimpleNamespace(success=False, staging_dir="/tmp"), "reports failure"),
        (SimpleNamespace(success=False, message="no bathymetry"), "reports failure: no bathymetry"),
        ({"success": False, "error": "no bathymetry"}, "reports failure: no bathymetry"),
        (False, "reports failure: False"),
    ],
)
def test_inputs_that_could_not_be_generated_are_an_error(tmp_path: Path, answer: object, message: str) -> None:
    backend = Backend()
    model_run = SimpleNamespace(run_id="case", output_dir=made(tmp_path), generate=lambda: answer)

    with pytest.raises(RompyError, match=message):
        run(model_run, backend)

    assert backend.seen == []


def test_a_workspace_that_is_not_there_afterwards_is_an_error_with_its_name(tmp_path: Path) -> None:
    model_run = SimpleNamespace(run_id="case", output_dir=tmp_path, generate=lambda: None)

    with pytest.raises(WorkspaceError) as refused:
        generate_workspace(model_run)

    assert str(tmp_path / "case") in str(refused.value)


@pytest.mark.parametrize("model_run", [SimpleNamespace(run_id="case", generate=dict), SimpleNamespace(run_id="case")])
def test_a_model_run_that_is_nowhere_is_an_error(model_run: object) -> None:
    with pytest.raises(ModelRunError, match="no workspace"):
        generate_workspace(model_run)


def test_a_generate_that_would_remove_the_runs_of_others_is_not_called(tmp_path: Path) -> None:
    def remove() -> Path:
        raise AssertionError("it was called")

    flat = {"delete_existing": True, "run_id_subdir": False, "generate": remove}
    model_run = SimpleNamespace(run_id="case", output_dir=tmp_path, **flat)
    (tmp_path / "sibling").mkdir()

    with pytest.raises(WorkspaceError, match="delete_existing would remove output_dir itself"):
        generate_workspace(model_run)
    (tmp_path / "sibling").rmdir()
    with pytest.raises(AssertionError, match="it was called"):
        generate_workspace(model_run)


def test_an_exception_of_generate_is_the_callers(tmp_path: Path) -> None:
    def generate() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(SimpleNamespace(run_id="case", output_dir=tmp_path, generate=generate), Backend())

    assert find_runs(tmp_path) == []


@pytest.mark.parametrize("model_run", [None, SimpleNamespace(), SimpleNamespace(run_id=""), Mock()])
def test_what_is_no_model_run_is_refused_before_anything_is_done(model_run: Any) -> None:
    with pytest.raises(ValueError, match="model_run"):
        run(model_run, Backend())

    if isinstance(model_run, Mock):
        model_run.generate.assert_not_called()


# A workspace that is given.


@pytest.mark.parametrize("make", [str, Path])
def test_a_workspace_that_is_given_is_used_and_nothing_is_generated(
    model_run: ModelRun, tmp_path: Path, make: Callable[[Path], Any]
) -> None:
    report = run(model_run, Backend(), make(tmp_path))

    assert report.workspace_dir == tmp_path
    assert model_run.config.times == 0
    assert not model_run.output_dir.exists()


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_workspace_that_is_none_is_refused_with_its_name(model_run: ModelRun, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    backend = Backend()

    with pytest.raises(WorkspaceError) as refused:
        run(model_run, backend, tmp_path / name)

    assert str(tmp_path / name) in str(refused.value)
    assert backend.seen == []


# Results of other hands.


class Items:
    """A result that has items and no attributes, and is no mapping."""

    def __init__(self, **items: object) -> None:
        self._items = items

    def __getitem__(self, name: str) -> object:
        return self._items[name]


@pytest.mark.parametrize(
    ("result", "success", "message"),
    [
        (True, True, ""),
        (False, False, ""),
        (None, None, ""),
        ("success", None, ""),
        ({"success": "yes"}, None, ""),
        ({"success": False, "error": "e", "message": "m", "reason": "r"}, False, "e"),
        ({"success": True, "error": None, "message": "m"}, True, "m"),
        (SimpleNamespace(success=True, error=ValueError("v"), reason="r"), True, "r"),
        (Items(success=False, message="m"), False, ""),
        (Items(message="m"), None, ""),
        ([True], None, ""),
    ],
)
def test_a_result_is_read_by_its_success_and_its_message(result: object, success: bool | None, message: str) -> None:
    assert success_of(result) is success
    assert message_of(result) == message


# A backend with submit().


class Hasty:
    """A backend that cannot start anything."""

    config_type = BackendConfig

    def run(
        self, model_run: Any, config: BackendConfig | None = None, workspace_dir: Any = None, **options: Any
    ) -> bool:
        return run_to_end(self, model_run, config, workspace_dir, **options)

    def submit(self, model_run: Any, config: BackendConfig, workspace_dir: Path) -> Any:
        record = open_record(workspace_dir, run_id=model_run.run_id, backend="hasty")
        raise record.refusal("there is no engine")


def test_a_run_that_cannot_be_started_is_a_report_that_is_logged_once(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture
) -> None:
    report = run(model_run, Hasty())

    assert (report.state, report.reason) == (RunState.NOT_STARTED, "there is no engine")
    assert errors(caplog) == ["run failed: there is no engine"]
    assert model_run.report == report == read_report(model_run.workspace_dir)


def test_a_submission_that_fails_is_a_start_error_that_is_not_logged(
    model_run: ModelRun, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StartError, match="there is no engine") as refused:
        model_run.submit(Hasty())

    assert refused.value.report == model_run.report
    assert errors(caplog) == []


@pytest.mark.parametrize("has_handle", [True, False])
def test_an_interrupt_whose_run_has_no_end_yet_goes_on_and_leaves_the_report_open(
    model_run: ModelRun, has_handle: bool
) -> None:
    class Unending(Hasty):
        """Whoever waits for its runs is interrupted, and again when they are to be ended."""

        def submit(self, model_run: Any, config: BackendConfig, workspace_dir: Path) -> Any:
            if not has_handle:
                raise KeyboardInterrupt
            return self

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            raise KeyboardInterrupt

        def wait(self) -> Any:
            raise KeyboardInterrupt

        def done(self) -> bool:
            return False

    open_record(model_run.generate(), run_id="case", backend="earlier").finish(RunState.FAILED, "aground")

    with pytest.raises(KeyboardInterrupt):
        run(model_run, Unending())

    assert model_run.report is None


def test_a_model_run_that_remembers_nothing_is_no_worse(tmp_path: Path) -> None:
    model_run = SimpleNamespace(run_id="case", output_dir=tmp_path)

    with pytest.raises(StartError):
        submit_bound(bind_backend(Hasty(), {}), model_run, generate_workspace(model_run))
    assert run(model_run, Backend()).ok


@pytest.mark.parametrize("give", ["config", "options", "both"])
def test_run_of_such_a_backend_takes_a_config_options_or_both(tmp_path: Path, give: str) -> None:
    model_run = SimpleNamespace(run_id="case", output_dir=tmp_path)
    base = LocalConfig(command="exit 1" if give == "both" else "true", timeout=20)
    backend = LocalRunBackend()

    arguments: Mapping[str, Any] = {
        "config": {"config": base},
        "options": {"command": "true", "timeout": 20},
        "both": {"config": base, "command": "true"},
    }[give]

    assert run_to_end(backend, model_run, **arguments) is True
    assert json.loads(json.dumps(read_report(tmp_path / "case").options["timeout"])) == 20
    with pytest.raises(ConfigError):
        run_to_end(backend, model_run, base, colour="blue")


def test_run_of_such_a_backend_says_false_or_raises_a_timeout_error(tmp_path: Path) -> None:
    model_run = SimpleNamespace(run_id="case", output_dir=tmp_path)
    backend = LocalRunBackend()

    assert run_to_end(backend, model_run, command="exit 3") is False
    with pytest.raises(TimeoutError, match=r"'case'.* 0.2 s"):
        run_to_end(backend, model_run, command=["sleep", "60"], timeout=0.2, grace_s=1)

    assert [report.state for report in find_runs(tmp_path)] == [RunState.FAILED, RunState.TIMED_OUT]
