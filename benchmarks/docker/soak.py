"""Hold the docker backend to its promises, many times over, and print what was measured.

    export DOCKER_HOST=$(.ci/start-docker DIR)
    uv run --group test python benchmarks/docker/soak.py --image IMAGE [NAME ...]

Each line: the promise, its target, what was measured, and whether it held. Linux only. Without names, all cases are
run. IMAGE must be there, and have ``python3`` and ``bash``. ``lost`` starts and kills engines of its own: it needs
root, ``dockerd``, and an image that ``docker save`` of the first engine gives.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from rompy_core import ModelRun, RunHandle, RunReport, RunState, StartError, cancel, read_report
from rompy_docker import reap

TIMES: Final = 20
GRACE_S: Final = 1.0
START_DOCKER: Final = Path(__file__).resolve().parents[2] / ".ci" / "start-docker"
CASES: Final[dict[str, Callable[[], None]]] = {}
FAILED: Final[list[str]] = []
OPTIONS: Final[dict[str, Any]] = {}
STUBBORN: Final = ["bash", "-c", "trap '' TERM INT; touch ready; while :; do sleep 0.1; done"]
STAYING: Final = ["bash", "-c", "touch ready; sleep 300"]
EATING: Final = "import sys; x = b'a' * 300_000_000"


def case(function: Callable[[], None]) -> Callable[[], None]:
    """Register a case by its function's name."""
    CASES[function.__name__] = function
    return function


def say(promise: str, target: str, measured: str, *, held: bool) -> None:
    """Print one line of the result."""
    print(f"{'held  ' if held else 'BROKEN'} | {promise} | {target} | {measured}", flush=True)
    if not held:
        FAILED.append(promise)


def late(values: Sequence[float]) -> str:
    """Show times by their median and their worst."""
    return f"median {statistics.median(values):.3f} s, worst {max(values):.3f} s"


def until(condition: Callable[[], Any], timeout: float = 30.0) -> float:
    """Wait for *condition*, and say how long that took; infinity if it took too long."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout:
            return float("inf")
        time.sleep(0.005)
    return time.monotonic() - start


@contextlib.contextmanager
def model_in_a_directory() -> Iterator[ModelRun]:
    """A model run with a workspace of its own."""
    directory = tempfile.mkdtemp(prefix="soak-")
    try:
        model = ModelRun(run_id="case", output_dir=directory)
        model.generate()
        yield model
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def submit(model: ModelRun, words: Sequence[str], **options: Any) -> RunHandle:
    """Start a command."""
    options = {"grace_s": GRACE_S, **OPTIONS, **options}
    return model.submit("docker@rompy-docker", model.workspace_dir, executable=list(words), **options)


def report_of(model: ModelRun, words: Sequence[str], **options: Any) -> RunReport:
    """Run a command to its end; one that cannot be started has a report, too."""
    try:
        return submit(model, words, **options).wait()
    except StartError as exc:
        return exc.report


def containers() -> list[str]:
    """List the containers of this backend that the engine has, in whatever state."""
    words = ["docker", "ps", "--all", "--quiet", "--filter", "label=rompy.caller"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def wait_ready(model: ModelRun) -> None:
    """Wait until the command has begun."""
    until((model.workspace_dir / "ready").exists)


# What is said of an ending


def _killed_from_outside(model: ModelRun) -> RunReport:
    handle = submit(model, STAYING)
    wait_ready(model)
    handle.cancel()
    return handle.wait()


def _not_executable(model: ModelRun) -> RunReport:
    (model.workspace_dir / "model").write_text("#!/bin/sh\n")
    return report_of(model, ["./model"])


ENDINGS: Final[dict[str, tuple[Callable[[ModelRun], RunReport], RunState, Callable[[RunReport], bool]]]] = {
    "ok": (lambda model: report_of(model, ["true"]), RunState.COMPLETED, lambda report: report.exit_code == 0),
    "exit code": (
        lambda model: report_of(model, ["bash", "-c", "exit 3"]),
        RunState.FAILED,
        lambda report: report.exit_code == 3,
    ),
    "signal": (
        lambda model: report_of(model, ["bash", "-c", "kill -SEGV $$"]),
        RunState.FAILED,
        lambda report: report.exit_signal == signal.SIGSEGV,
    ),
    "memory, process 1": (
        lambda model: report_of(model, ["python3", "-c", EATING], memory="100m", init=False),
        RunState.OUT_OF_MEMORY,
        lambda report: "memory limit" in report.reason,
    ),
    "memory, a child, exit 0": (
        lambda model: report_of(model, ["bash", "-c", f'python3 -c "{EATING}"; exit 0'], memory="100m"),
        RunState.COMPLETED,
        lambda report: any("memory limit" in warning for warning in report.warnings),
    ),
    "timeout": (
        lambda model: report_of(model, STAYING, timeout=1.0),
        RunState.TIMED_OUT,
        lambda report: "timeout of 1 s" in report.reason,
    ),
    "cancelled": (_killed_from_outside, RunState.CANCELLED, lambda report: "caller" in report.reason),
    "no executable": (
        lambda model: report_of(model, ["no-such-command"]),
        RunState.NOT_STARTED,
        lambda report: "no-such-command" in report.reason,
    ),
    "not executable": (
        _not_executable,
        RunState.NOT_STARTED,
        lambda report: "not executable" in report.reason,
    ),
    "no image": (
        lambda model: report_of(model, ["true"], image="rompy-soak/no-such-image:latest", pull="never"),
        RunState.NOT_STARTED,
        lambda report: "no-such-image" in report.reason,
    ),
    "no engine": (
        lambda model: report_of(model, ["true"], engine="unix:///no-such-engine.sock"),
        RunState.NOT_STARTED,
        lambda report: "no-such-engine" in report.reason,
    ),
}


@case
def verdicts() -> None:
    """Each ending is told apart from all others."""
    for name, (end, state, is_right) in ENDINGS.items():
        right, wrong = 0, ""
        for _ in range(TIMES):
            with model_in_a_directory() as model:
                report = end(model)
            if report.state is state and is_right(report):
                right += 1
            else:
                wrong = f"; such as {report.state}: {report.reason}"
        say(f"verdict on {name} x{TIMES}", "all right", f"{right} right{wrong}", held=right == TIMES)
    say("verdicts", "0 containers left", f"{len(containers())} left", held=not containers())


@contextlib.contextmanager
def own_engine() -> Iterator[tuple[str, Path]]:
    """Start an engine that can be killed, with the image of the other one."""
    folder = tempfile.mkdtemp(prefix="soak-")
    directory = f"{folder}/engine"
    started = subprocess.run([START_DOCKER, "docker", directory], capture_output=True, text=True, check=True)
    address = started.stdout.strip()
    try:
        with subprocess.Popen(["docker", "save", OPTIONS["image"]], stdout=subprocess.PIPE) as saved:
            subprocess.run(["docker", "--host", address, "load"], stdin=saved.stdout, check=True, capture_output=True)
        yield address, Path(directory)
    finally:
        subprocess.run([START_DOCKER, "stop", directory], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _engine_pids(directory: Path) -> list[int]:
    """Find the engine's own processes, by the directory that they are told."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            is_engine = words[0].endswith((b"dockerd", b"containerd"))
            if is_engine and str(directory).encode() in b" ".join(words):
                found.append(int(folder.name))
    return found


@case
def lost() -> None:
    """An engine that is killed or hangs during a run is noticed, and nothing of the run lives on."""
    for name, number in (("killed", signal.SIGKILL), ("wedged", signal.SIGSTOP)):
        right, delays, left, wrong = 0, [], 0, ""
        for _ in range(TIMES):
            with own_engine() as (address, directory), model_in_a_directory() as model:
                token = f"soak-{time.monotonic_ns()}"
                words = ["bash", "-c", f": {token}; touch ready; while :; do sleep 0.1; done"]
                handle = submit(model, words, engine=address, engine_timeout=3.0)
                wait_ready(model)
                pids = _engine_pids(directory)
                for pid in pids:
                    os.kill(pid, number)
                began = time.monotonic()
                report = handle.wait()
                delays.append(time.monotonic() - began)
                left += _living(token)
                if report.state is RunState.FAILED and "engine" in report.reason:
                    right += 1
                else:
                    wrong = f"; such as {report.state}: {report.reason}"
                for pid in pids if number == signal.SIGSTOP else ():
                    os.kill(pid, signal.SIGCONT)
        measured = f"{right} right, {left} processes left, {late(delays)}{wrong}"
        say(f"engine {name} during the run x{TIMES}", "all right, 0 left", measured, held=right == TIMES and not left)


def _living(token: str) -> int:
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            count += token.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid()
    return count


# Ends


@case
def timeouts() -> None:
    """A timeout removes the container, also where process 1 ignores TERM."""
    for name, words, options in (
        ("obedient", STAYING, {}),
        ("process 1 ignores TERM", STUBBORN, {"init": False}),
    ):
        delays, right, logs = [], 0, 0
        for _ in range(TIMES):
            with model_in_a_directory() as model:
                handle = submit(model, ["bash", "-c", 'echo said; exec "$@"', "x", *words], timeout=1.0, **options)
                submitted = time.monotonic()
                report = handle.wait()
                delays.append(time.monotonic() - submitted - 1.0)
                right += report.state is RunState.TIMED_OUT and not containers()
                logs += report.stdout_path is not None and report.stdout_path.read_bytes() == b"said\n"
        held = max(delays) <= GRACE_S + 1.0 and right == logs == TIMES
        measured = f"{late(delays)} after the timeout, {right} gone as TIMED_OUT, {logs} logs kept"
        say(f"timeout, {name} x{TIMES}", f"gone by {GRACE_S:g} + 1 s, log kept", measured, held=held)


CALLER: Final = """
import json, logging, sys
from pathlib import Path
from rompy_core import ModelRun
directory, words, options = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
model = ModelRun(run_id="case", output_dir=directory)
try:
    with model.submit("docker@rompy-docker", model.workspace_dir, executable=words, **options) as handle:
        {then}
except KeyboardInterrupt:
    sys.exit(3)
"""


def _caller(model: ModelRun, then: str, words: Sequence[str] = STAYING) -> subprocess.Popen[bytes]:
    options = {"grace_s": GRACE_S, **OPTIONS}
    source = CALLER.format(then=then)
    argv = [sys.executable, "-c", source, str(model.output_dir), json.dumps(list(words)), json.dumps(options)]
    return subprocess.Popen(argv, stderr=subprocess.DEVNULL)


@case
def callers() -> None:
    """Whatever happens to the caller, the container goes."""

    def by_signal(number: int) -> Callable[[subprocess.Popen[bytes]], None]:
        return lambda process: process.send_signal(number)

    ways: dict[str, tuple[str, Callable[[subprocess.Popen[bytes]], None], float]] = {
        "Ctrl-C": ("handle.wait()", by_signal(signal.SIGINT), GRACE_S + 1.0),
        "SIGTERM": ("handle.wait()", by_signal(signal.SIGTERM), GRACE_S + 1.0),
        "an exception": (
            "import time\n        while not (model.workspace_dir / 'go').exists(): time.sleep(0.01)\n        1 / 0",
            lambda _: None,
            GRACE_S + 1.0,
        ),
        "SIGKILL": ("handle.wait()", by_signal(signal.SIGKILL), 2.0),
    }
    for name, (then, end, limit) in ways.items():
        delays, complete, left = [], 0, 0
        for _ in range(TIMES):
            with model_in_a_directory() as model:
                process = _caller(model, then)
                wait_ready(model)
                began = time.monotonic()
                end(process)
                (model.workspace_dir / "go").touch()
                until(lambda: not containers(), 20)
                delays.append(time.monotonic() - began)
                process.wait()
                workspace_dir = model.workspace_dir
                until(lambda where=workspace_dir: read_report(where).state is not RunState.RUNNING, 5)
                complete += read_report(workspace_dir).state is RunState.CANCELLED
                left += len(containers())
        held = max(delays) <= limit and complete == TIMES and not left
        measured = f"{late(delays)}, {complete} of {TIMES} records complete, {left} left"
        say(f"the end by {name} x{TIMES}", f"gone within {limit:g} s, record complete", measured, held=held)


@case
def reaping() -> None:
    """What a caller and its watchdog left, both killed, is removed by the next run and by reap(); nothing else is."""
    removed = spared = 0
    for number in range(TIMES):
        with model_in_a_directory() as dead, model_in_a_directory() as living, model_in_a_directory() as next_one:
            mine = submit(living, STAYING)
            process = _caller(dead, "handle.wait()")
            wait_ready(dead)
            wait_ready(living)
            watchdog = read_report(dead.workspace_dir).supervisor
            assert watchdog is not None
            os.kill(watchdog.pid, signal.SIGSTOP)  # or it would be replaced, or see its caller's end
            process.kill()
            process.wait()
            os.kill(watchdog.pid, signal.SIGKILL)
            until(lambda where=dead.workspace_dir: read_report(where).state is RunState.LOST)
            if number % 2:
                reap()
            else:
                report_of(next_one, ["true"])
            removed += len(containers()) == 1 and read_report(dead.workspace_dir).state is RunState.CANCELLED
            spared += mine.state is RunState.RUNNING
            mine.cancel()
            mine.wait()
    measured = f"{removed} removed with their records completed, {spared} others spared"
    held = removed == spared == TIMES and not containers()
    say(f"containers that dead callers left x{TIMES}", "removed, others spared", measured, held=held)


@case
def cancelling() -> None:
    """Another process can end a run by its record."""
    delays, right = [], 0
    for _ in range(TIMES):
        with model_in_a_directory() as model:
            handle = submit(model, STAYING)
            wait_ready(model)
            began = time.monotonic()
            cancel(model.workspace_dir)
            delays.append(time.monotonic() - began)
            right += handle.wait().state is RunState.CANCELLED and not containers()
    held = max(delays) <= GRACE_S + 1.0 and right == TIMES
    say(f"cancel by the record x{TIMES}", f"gone by {GRACE_S:g} + 1 s", late(delays), held=held)


# Many, and much


@case
def crowds() -> None:
    """Many runs at once from one process leave nothing and mix nothing."""
    right, threads = 0, threading.active_count()
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, no paths
    for _ in range(5):
        with ThreadPoolExecutor(TIMES) as pool:
            right += sum(pool.map(_one_of_a_crowd, range(TIMES)))
    until(lambda: threading.active_count() <= threads + 1, 5)
    leaked = len(os.listdir("/proc/self/fd")) - files  # noqa: PTH208
    held = right == 5 * TIMES and not containers() and leaked <= 1
    measured = f"{right} of {5 * TIMES} right, {len(containers())} containers left, {leaked} files left open"
    say(f"5 x {TIMES} runs at once", "all right, nothing left", measured, held=held)


def _one_of_a_crowd(number: int) -> bool:
    with model_in_a_directory() as model:
        report = report_of(model, ["bash", "-c", f"echo {number}; exit {number % 3}"])
        said = report.stdout_path.read_text() if report.stdout_path else ""
        return report.exit_code == number % 3 and said == f"{number}\n"


class Slow(logging.Handler):
    """A logger that takes its time."""

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the signature is logging's
        """Take a tenth of a second."""
        time.sleep(0.1)


@case
def slow_logger() -> None:
    """A slow logger never holds up the model."""
    times, late = {}, 0.0
    logger = logging.getLogger("rompy_docker")
    logger.setLevel(logging.INFO)
    for name, handler in (("none", logging.NullHandler()), ("slow", Slow())):
        logger.addHandler(handler)
        with model_in_a_directory() as model:
            words = ["bash", "-c", "for i in {1..20000}; do echo line $i; done; date +%s.%N > done"]
            began = time.time()
            report = report_of(model, words, stream_output=name == "slow")
            done = float((model.workspace_dir / "done").read_text())
            times[name], late = done - began, time.time() - done
            assert report.ok, report.reason
        logger.removeHandler(handler)
    say(
        "the model with a slow logger",
        "as fast as with none, reported 5 s later at most",
        f"{times['slow']:.2f} s, {times['none']:.2f} s, reported {late:.2f} s later",
        held=times["slow"] <= 1.5 * times["none"] + 0.5 and late <= 5,
    )


@case
def limits() -> None:
    """One processor is one processor."""
    with model_in_a_directory() as model:
        busy = "import os, time\nos.fork()\nend = time.monotonic() + 5\nwhile time.monotonic() < end: pass"
        report = report_of(model, ["python3", "-c", busy], cpu=1)
    rate = (report.cpu_time_s or 0.0) / 5.0
    say("two busy loops at cpu=1", "at most 1.1 CPU s a second", f"{rate:.2f}", held=0.8 <= rate <= 1.1)


@case
def building() -> None:
    """A changed file is always built, a changed time never, and an unchanged large context costs next to nothing."""
    options = {name: value for name, value in OPTIONS.items() if name != "image"}
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        context = Path(folder)
        context.joinpath("Dockerfile").write_text(f"FROM {OPTIONS['image']}\nCOPY word /word\n")
        block = os.urandom(100_000)
        for number in range(1000):
            context.joinpath(f"data-{number}").write_bytes(block)
        right, delays, images = 0, [], set()
        for number in range(TIMES):
            context.joinpath("word").write_text(f"{number}")
            for again in (False, True):
                if again:
                    os.utime(context / "word", (number, number))
                with model_in_a_directory() as model:
                    words = ["bash", "-c", "cat /word"]
                    began = time.monotonic()
                    handle = model.submit(
                        "docker@rompy-docker", model.workspace_dir, executable=words,
                        dockerfile="Dockerfile", build_context=folder, **options,
                    )  # fmt: skip
                    if again:
                        delays.append(time.monotonic() - began)
                    report = handle.wait()
                    right += report.stdout_path is not None and report.stdout_path.read_text() == f"{number}"
                    images |= set(_built_images())
        with model_in_a_directory() as model:
            began = time.monotonic()
            submit(model, ["true"]).wait()
            began = time.monotonic()
            handle = submit(model, ["true"])
            plain = time.monotonic() - began
            handle.wait()
        subprocess.run(["docker", "rmi", "--force", *images], check=False, capture_output=True)
    extra = statistics.median(delays) - plain
    held = right == 2 * TIMES and len(images) == TIMES and extra <= 0.3
    measured = f"{right} right, {len(images)} images, the decision {extra:.3f} s"
    say(f"{TIMES} changes, each run twice, 100 MB of context", f"{TIMES} images, at most 0.3 s", measured, held=held)


def _built_images() -> list[str]:
    words = ["docker", "images", "--quiet", "--filter", "label=rompy.built"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True, help="an image that the engine has")
    parser.add_argument("--options", type=json.loads, default={}, help="further options of each run, as JSON")
    parser.add_argument("cases", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}")
    asked = parser.parse_args()
    if unknown := [name for name in asked.cases if name not in CASES]:
        parser.error(f"no case is called {', '.join(unknown)}; there are {', '.join(CASES)}")
    # In the background of a shell it is ignored, and would be by the callers that are to be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    OPTIONS.update({"image": asked.image, **asked.options})
    for name in asked.cases or CASES:
        CASES[name]()
    sys.exit(bool(FAILED))


if __name__ == "__main__":
    main()
