"""Hold the local backend to its promises, many times over, and print what was measured.

    uv run --group test python benchmarks/local/soak.py [NAME ...]

Each line: the promise, its target, what was measured, and whether it held. Linux only. Without names, all are run.
``mpi`` needs mpirun of Open MPI and MPICH (Debian: openmpi-bin, mpich) and a C compiler; ``disk`` needs root (a tmpfs).
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
from programs import (
    BUSY,
    DAEMON,
    ENDLESS,
    GROWING,
    HALF_A_GIGABYTE,
    LINES,
    MPI,
    SHARED,
    STUBBORN,
    TREE,
    UNREAPED,
    caller,
    daemon,
    holding,
    many_processes,
    python,
    several,
)

from rompy_core import ModelRun, RunHandle, RunReport, RunState, cancel, find_runs, read_report

TOKEN = "ROMPY_SOAK_TOKEN"
TIMES = 20
MB = 2**20
CASES: dict[str, Callable[[], None]] = {}


def case(function: Callable[[], None]) -> Callable[[], None]:
    """Register a case by its function's name."""
    CASES[function.__name__.rstrip("_")] = function
    return function


def say(promise: str, target: str, measured: str, *, held: bool) -> None:
    """Print one line of the result."""
    print(f"{'held  ' if held else 'BROKEN'} | {promise} | {target} | {measured}", flush=True)
    if not held:
        FAILED.append(promise)


FAILED: list[str] = []


@contextlib.contextmanager
def workspace(folder: str | None = None) -> Iterator[tuple[ModelRun, str]]:
    """A model run in a directory of its own, and a token for its processes."""
    directory = tempfile.mkdtemp(prefix="soak-", dir=folder)
    try:
        yield ModelRun(run_id="case", output_dir=directory), f"{os.getpid()}-{time.monotonic_ns()}"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def submit(model: ModelRun, token: str, command: Any, **options: Any) -> RunHandle:
    """Start a command whose processes carry *token*."""
    return model.submit("local", command=command, env_vars={TOKEN: token, **options.pop("env_vars", {})}, **options)


def living(token: str) -> list[psutil.Process]:
    """List the processes that carry *token*."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def until(condition: Callable[[], Any], timeout: float = 30.0) -> float:
    """Wait for *condition*, and say how long that took; infinity if it took too long."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout:
            return float("inf")
        time.sleep(0.002)
    return time.monotonic() - start


def until_living(token: str, count: int, timeout: float = 30.0) -> None:
    """Wait until *count* processes carry *token*."""
    until(lambda: len(living(token)) >= count, timeout)


def cpu_of(processes: Iterable[psutil.Process]) -> float:
    """The CPU time of *processes*, seconds."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def late(values: list[float]) -> str:
    """Show times by their median and their worst."""
    return f"median {statistics.median(values):.3f} s, worst {max(values):.3f} s"


@case
def timeouts() -> None:
    """A timeout ends the whole tree, at once or after the grace."""
    for name, command, grace_s, processes in (
        ("tree", TREE, 5.0, 3),
        ("daemon", python(DAEMON), 5.0, 2),
        ("stubborn", python(STUBBORN), 0.5, 3),
    ):
        left, delays, states = 0, [], []
        for _ in range(TIMES):
            with workspace() as (model, token):
                handle = submit(model, token, command, timeout=1.0, grace_s=grace_s)
                submitted = time.monotonic()
                until_living(token, processes, 0.9)
                report = handle.wait()
                delays.append(time.monotonic() - submitted - 1.0)
                left += len(living(token))
                states.append(report.state)
        limit = 0.15 + (grace_s if name == "stubborn" else 0.0)
        held = left == 0 and max(delays) <= limit and set(states) == {RunState.TIMED_OUT}
        say(f"timeout on {name} x{TIMES}", f"0 left, <= {limit:.2f} s", f"{left} left, {late(delays)}", held=held)


@case
def caller_killed() -> None:
    """The end of the caller, even by SIGKILL, ends the run and completes the record."""
    for name, source in (
        ("caller SIGKILLed", "model.run('local', **options)"),
        (
            "caller SIGKILLed, pool thread had ended",
            "t = threading.Thread(target=lambda: model.submit('local', **options))\nt.start(); t.join(); time.sleep(9)",
        ),
    ):
        left, delays, complete = 0, [], 0
        for _ in range(TIMES):
            with workspace() as (model, token):
                process = subprocess.Popen(caller(source, str(model.output_dir), token, TREE))
                until_living(token, 3)
                process.kill()
                delays.append(until(lambda: not living(token), 5))
                process.wait()
                until(lambda: read_report(model.workspace_dir).state is not RunState.RUNNING, 5)
                complete += read_report(model.workspace_dir).state is RunState.CANCELLED
                left += len(living(token))
        held = left == 0 and max(delays) <= 0.5 and complete == TIMES
        measured = f"{left} left, {late(delays)}, {complete} of {TIMES} records completed"
        say(f"{name} x{TIMES}", "0 left, <= 0.5 s, record completed", measured, held=held)


@case
def cancelling() -> None:
    """Cancelling from anywhere ends obedient children at once."""

    def by_thread(model: ModelRun, token: str) -> float:
        handle = submit(model, token, TREE)
        until_living(token, 3)
        start = time.monotonic()
        threading.Thread(target=handle.cancel).start()
        handle.wait()
        return time.monotonic() - start

    def by_process(model: ModelRun, token: str) -> float:
        handle = submit(model, token, TREE)
        until_living(token, 3)
        start = time.monotonic()
        cancel(model.workspace_dir)
        taken = time.monotonic() - start
        handle.wait()
        return taken

    def by_signal(number: int) -> Callable[[ModelRun, str], float]:
        def end(model: ModelRun, token: str) -> float:
            source = "try: model.run('local', **options)\nexcept KeyboardInterrupt: pass"
            process = subprocess.Popen(caller(source, str(model.output_dir), token, TREE))
            until_living(token, 3)
            start = time.monotonic()
            process.send_signal(number)
            until(lambda: not living(token))
            taken = time.monotonic() - start
            process.wait()
            until(lambda: read_report(model.workspace_dir).state is not RunState.RUNNING, 5)
            return taken

        return end

    ways = {
        "a thread": by_thread,
        "another process": by_process,
        "Ctrl-C": by_signal(signal.SIGINT),
        "SIGTERM": by_signal(signal.SIGTERM),
    }
    for name, way in ways.items():
        left, delays, right = 0, [], 0
        for _ in range(TIMES):
            with workspace() as (model, token):
                delays.append(way(model, token))
                left += len(living(token))
                right += read_report(model.workspace_dir).state is RunState.CANCELLED
        held = left == 0 and max(delays) <= 0.2 and right == TIMES
        say(f"cancel by {name} x{TIMES}", "0 left, <= 0.2 s", f"{left} left, {late(delays)}", held=held)


@case
def mpi() -> None:
    """Launchers whose ranks have groups and sessions of their own are ended whole."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    for kind, compiler, launcher in (
        ("openmpi", "mpicc.openmpi", ["mpirun.openmpi", "--oversubscribe", "-n", "4"]),
        ("mpich", "mpicc.mpich", ["mpiexec.mpich", "-n", "4"]),
    ):
        if shutil.which(compiler) is None or shutil.which(launcher[0]) is None:
            say(f"mpirun of {kind}", "0 left", f"not on this machine: {compiler}, {launcher[0]}", held=False)
            continue
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "ranks.c").write_text(MPI)
            program = f"{folder}/ranks"
            subprocess.run([compiler, "-o", program, f"{folder}/ranks.c"], check=True)
            for end in ("timeout", "cancel", "caller killed"):
                left, right, seen, delays = 0, 0, [], []
                for _ in range(5):
                    with workspace() as (model, token):
                        command = [*launcher, program]
                        if end == "caller killed":
                            shell = " ".join(f"{name}=1" for name in root) + " exec " + " ".join(command)
                            source = "model.run('local', **options)"
                            process = subprocess.Popen(caller(source, str(model.output_dir), token, shell))
                        else:
                            limit = 3.0 if end == "timeout" else 60.0
                            handle = submit(model, token, command, timeout=limit, grace_s=5, env_vars=root)
                        until_living(token, 5)
                        seen.append(len(living(token)))
                        start = time.monotonic()
                        if end == "caller killed":
                            process.kill()
                            delays.append(until(lambda: not living(token), 20))
                            process.wait()
                            until(lambda: read_report(model.workspace_dir).state is not RunState.RUNNING, 5)
                        else:
                            if end == "cancel":
                                handle.cancel()
                            handle.wait()
                            delays.append(time.monotonic() - start)
                        left += len(living(token))
                        expected = RunState.TIMED_OUT if end == "timeout" else RunState.CANCELLED
                        right += read_report(model.workspace_dir).state is expected
                measured = f"{left} left of {min(seen)} or more, {late(delays)}"
                say(f"mpirun of {kind}, 4 ranks, {end} x5", "0 left", measured, held=left == 0 and right == 5)


@case
def daemon_holds_stdout() -> None:
    """A daemon that outlives exit 0 and holds the output neither stays nor delays."""
    command = "setsid sleep 300 & exit 0"
    plain, delays, left = [], [], 0
    for _ in range(TIMES):
        with workspace() as (model, token):
            start = time.monotonic()
            handle = submit(model, token, ["true"])
            handle.wait()
            plain.append(time.monotonic() - start)
        with workspace() as (model, token):
            start = time.monotonic()
            report = submit(model, token, command).wait()
            delays.append(time.monotonic() - start)
            left += len(living(token))
            assert report.ok, report.reason
    say(
        f"exit 0 with a daemon that holds stdout x{TIMES}",
        "0 left, <= 0.2 s",
        f"{left} left, {late(delays)} in all (a plain true: {statistics.median(plain):.3f} s)",
        held=left == 0 and max(delays) <= 0.2,
    )


def high_water_mark(*, reset: bool = False) -> int:
    """The most memory that was resident in this process at once, bytes, since the last reset (proc(5), clear_refs)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@case
def output() -> None:
    """Half a gigabyte of output costs neither time nor the caller's memory."""
    for name, options in (("500 MB to stdout", {}), ("500 MB to stdout, to the logger, too", {"stream_output": True})):
        ratios, growth, wrong = [], [], 0
        for _ in range(5):
            # In memory: the speed of a disk that is being written to says nothing about either.
            with workspace("/dev/shm") as (model, token), tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
                start = time.monotonic()
                with Path(folder, "plain").open("wb") as file:
                    subprocess.run(python(HALF_A_GIGABYTE), stdout=file, check=True)
                plain = time.monotonic() - start
                # A virtual machine is slow to give memory that it has not given before: the next run gets this again.
                Path(folder, "plain").unlink()
                seen: list[int] = []
                handler = Counting(seen)
                logging.getLogger("rompy_local").addHandler(handler)
                before = high_water_mark(reset=True)
                start = time.monotonic()
                report = submit(model, token, python(HALF_A_GIGABYTE), **options).wait()
                ratios.append(plain / (time.monotonic() - start))
                growth.append(high_water_mark() - before)
                logging.getLogger("rompy_local").removeHandler(handler)
                wrong += not report.ok or (bool(options) and abs(sum(seen) - LINES) > LINES / 100)
        measured = f"{statistics.median(ratios):.2f}x of plain subprocess, caller grew {max(growth) / MB:.1f} MB"
        held = statistics.median(ratios) >= 0.8 and max(growth) <= 10 * MB and not wrong
        say(f"{name} x5", ">= 0.8x, <= 10 MB, lines passed on or counted (1 %)", measured, held=held)


class Counting(logging.Handler):
    """Counts the lines that are passed on, and those that are said to be skipped."""

    def __init__(self, seen: list[int]) -> None:
        super().__init__(logging.INFO)
        self.seen = seen
        logging.getLogger("rompy_local").setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record."""
        if hasattr(record, "stream"):
            self.seen.append(getattr(record, "lines", 1))


@case
def log_limit() -> None:
    """A log that runs away is stopped."""
    over, delays, right = [], [], 0
    for _ in range(TIMES):
        with workspace() as (model, token):
            handle = submit(model, token, python(ENDLESS), log_size_limit="100m")
            path = next(model.workspace_dir.glob(".rompy/*/")) / "stdout.log"
            while path.stat().st_size <= 100 * MB:
                time.sleep(0.001)
            start = time.monotonic()
            report = handle.wait()
            delays.append(time.monotonic() - start)
            over.append(path.stat().st_size - 100 * MB)
            right += report.state is RunState.LIMIT_EXCEEDED
    held = max(over) <= 64 * MB and max(delays) <= 1.0 and right == TIMES
    say(f"log size limit x{TIMES}", "<= 1 s, <= 64 MB over", f"{late(delays)}, {max(over) / MB:.0f} MB over", held=held)


@case
def monitor() -> None:
    """The monitor takes at most one per cent of a core."""
    for count in (30, 500):
        with workspace() as (model, token):
            handle = submit(model, token, python(many_processes(count)), timeout=120)
            while handle.usage is None or handle.usage.processes < count:
                time.sleep(0.01)
            supervisor = psutil.Process(handle._record.report.supervisor.pid)  # noqa: SLF001 - the point is its cost
            monitors = (supervisor, psutil.Process())
            time.sleep(22)  # let the interval settle
            before, start = cpu_of(monitors), time.monotonic()
            helpers = len(supervisor.children())
            time.sleep(20)
            share = (cpu_of(monitors) - before) / (time.monotonic() - start) * 100
            handle.cancel()
            handle.wait()
        say(
            f"monitor, {count} processes",
            "<= 1 % of a core, no helper",
            f"{share:.2f} % (supervisor and caller), {helpers} child",
            held=share <= 1.0 and helpers == 1,
        )


SHAPES: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "2 x 300 MB": (several(holding(300)), 3, 600, {}),
    "300 MB shared by a fork, PSS": (SHARED, 2, 300, {"measure_pss": True}),
    "0.3 s spike at the start": (several(holding(300, for_s=0.3, after_s=3)), 3, 600, {}),
    "0.3 s spike late": (several(holding(300, before_s=6, for_s=0.3, after_s=3)), 3, 600, {}),
}
"""Program, interpreters in it, megabytes held by all of them together, options of the run."""


@case
def peak_memory() -> None:
    """The peak of the whole tree is found, also between two samples and where memory is shared."""
    with workspace() as (model, token):
        base = submit(model, token, python("import time, subprocess, sys; time.sleep(0.5)"), measure_pss=True).wait()
    for name, (source, interpreters, megabytes, options) in SHAPES.items():
        errors, method = [], ""
        for _ in range(3):
            with workspace() as (model, token):
                report = submit(model, token, python(source), **options).wait()
                assert report.peak_rss_bytes is not None
                assert base.peak_rss_bytes is not None
                each = 10 * MB if not options else base.peak_rss_bytes / interpreters
                true = megabytes * MB + interpreters * each
                errors.append(abs(report.peak_rss_bytes / true - 1) * 100)
                method = report.memory_method or ""
        limit = 5 if options else 3
        say(
            f"peak memory: {name}",
            f"within {limit} %",
            f"off by {statistics.median(errors):.1f} % ({method})",
            held=statistics.median(errors) <= limit,
        )


@case
def cpu_time() -> None:
    """CPU time counts all processes, daemons included."""
    for name, source, options, limit, interpreters in (
        ("two children", several(BUSY), {}, 3, 1.5),
        ("a daemon", daemon(BUSY, meanwhile=BUSY), {"leftovers": "wait"}, 3, 0.0),
        ("SIGCHLD ignored", UNREAPED, {}, 8, 1.5),
    ):
        errors = []
        for _ in range(3):
            with workspace() as (model, token):
                start = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(python("pass"), check=True)
                end = resource.getrusage(resource.RUSAGE_CHILDREN)
                interpreter = (end.ru_utime + end.ru_stime) - (start.ru_utime + start.ru_stime)
                report = submit(model, token, python(source), **options).wait()
                # process_time() of each counts its own start; beside the two there is the parent's, and their ends.
                true = 2.0 + interpreters * interpreter
                assert report.cpu_time_s is not None
                errors.append(abs(report.cpu_time_s / true - 1) * 100)
        say(
            f"CPU time: {name}",
            f"within {limit} %",
            f"off by {statistics.median(errors):.1f} %",
            held=statistics.median(errors) <= limit,
        )


@case
def memory_limit() -> None:
    """A memory limit on a tree acts within 1.2 sample intervals."""
    delays, right, left = [], 0, 0
    for _ in range(TIMES):
        with workspace() as (model, token):
            handle = submit(model, token, python(several(GROWING)), memory="200m", sample_interval_s=0.5)
            while not (model.workspace_dir / "over").exists() and not handle.done():
                time.sleep(0.001)
            start = time.monotonic()
            report = handle.wait()
            delays.append(time.monotonic() - start)
            right += report.state is RunState.OUT_OF_MEMORY
            left += len(living(token))
    held = left == 0 and right == TIMES and max(delays) <= 0.6
    say(
        f"memory limit on a tree x{TIMES}",
        "OUT_OF_MEMORY within 1.2 x 0.5 s",
        f"{right} right, {left} left, {late(delays)}",
        held=held,
    )


@case
def mixed() -> None:
    """Eight threads, twenty mixed runs each: every state right, nothing left anywhere."""
    endings: list[tuple[Any, dict[str, Any], RunState]] = [
        ("true", {}, RunState.COMPLETED),
        ("exit 3", {}, RunState.FAILED),
        ("kill -9 $$", {}, RunState.FAILED),
        (TREE, {"timeout": 0.3}, RunState.TIMED_OUT),
        ("setsid sleep 99 & exit 0", {}, RunState.COMPLETED),
        ("echo FATAL; sleep 99", {"rules": {"fatal": ["FATAL"]}}, RunState.FAILED),
        ("sleep 99", {"stall_timeout": 0.3}, RunState.STALLED),
        ("yes", {"log_size_limit": "1m"}, RunState.LIMIT_EXCEEDED),
        ("while :; do :; done", {"cpu_time_limit": 0.2}, RunState.LIMIT_EXCEEDED),
        ("true", {"rules": {"required_files": ["never"]}}, RunState.FAILED),
    ]
    wrong: list[str] = []
    token = f"{os.getpid()}-{time.monotonic_ns()}"
    supervisors = len(psutil.Process().children())
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        Path(folder, "tmp").mkdir()
        tempfile.tempdir = f"{folder}/tmp"

        def work(thread: int) -> None:
            for number in range(20):
                command, options, expected = endings[(thread + number) % len(endings)]
                model = ModelRun(run_id=f"{thread}-{number}", output_dir=folder)
                report = submit(model, token, command, **{"timeout": 60, **options}).wait()
                if report.state is not expected:
                    wrong.append(f"{command}: {report.state}, not {expected}: {report.reason}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = time.monotonic() - start
        records = len(find_runs(folder))
        files = list(Path(folder, "tmp").iterdir())
        tempfile.tempdir = None
    left = len(living(token))
    processes = len(psutil.Process().children()) - supervisors
    measured = f"{left} processes left, {len(wrong)} wrong states, {len(files)} files, {records} records, {taken:.1f} s"
    left += processes
    held = not left and not wrong and not files and records == 160
    say("8 threads x 20 mixed runs", "0 left, 0 wrong, nothing on disk", measured, held=held)
    for line in wrong[:5]:
        print("   ", line)


@case
def supervisor_killed() -> None:
    """Where the supervisor itself is killed, the command dies with it and the report says LOST."""
    right, delays = 0, []
    for _ in range(TIMES):
        with workspace() as (model, token):
            handle = submit(model, token, "exec sleep 300")
            until(lambda: living(token))
            os.kill(handle._record.report.supervisor.pid, signal.SIGKILL)  # noqa: SLF001 - nobody else knows it
            delays.append(until(lambda: not living(token), 5))
            right += handle.wait().state is RunState.LOST
    held = right == TIMES and max(delays) < 5
    say(f"supervisor SIGKILLed x{TIMES}", "command dies, LOST", f"{right} of {TIMES}, {late(delays)}", held=held)


@case
def disk() -> None:
    """A full disk, a workspace that becomes unwritable or vanishes: a failed run with that reason, and no harm."""
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=False).returncode:
            say("full disk", "a failed run with that reason", "cannot mount a tmpfs (needs root)", held=False)
            return
        try:
            model = ModelRun(run_id="case", output_dir=folder)
            report = submit(model, "x", "head -c 4m /dev/zero > big").wait()
            say(
                "full disk",
                "a failed run with that reason",
                f"{report.state}: {report.reason}",
                held=_blames(report, "No space"),
            )
            model = ModelRun(run_id="other", output_dir=folder)
            Path(folder, "case", "big").unlink()
            report = submit(model, "x", "head -c 4m /dev/zero; exit 0").wait()
            say(
                "full disk, exit 0",
                "a failed run with that reason",
                f"{report.state}: {report.reason}",
                held=_blames(report, "No space"),
            )
        finally:
            subprocess.run(["umount", folder], check=True)
    with workspace() as (model, token):
        report = submit(model, token, f"mv '{model.workspace_dir}' '{model.output_dir}/moved'; exit 0").wait()
        say(
            "vanished workspace",
            "a failed run with that reason",
            f"{report.state}: {report.reason}",
            held=_blames(report, "record"),
        )
    with workspace() as (model, token):
        handle = submit(model, token, "sleep 1; exit 0")
        path = str(model.workspace_dir)
        for words in (["--bind", path, path], ["-o", "remount,bind,ro", path]):
            subprocess.run(["mount", *words], check=True)
        report = handle.wait()
        subprocess.run(["umount", path], check=True)
        found = f"{report.state}: {report.reason}"
        say("unwritable workspace", "a failed run with that reason", found, held=_blames(report, "Read-only"))


def _blames(report: RunReport, word: str) -> bool:
    return not report.ok and word in report.reason + " ".join(report.warnings)


def main() -> None:
    """Run the cases that were asked for."""
    logging.getLogger().addHandler(logging.NullHandler())
    logging.lastResort = None
    for name in sys.argv[1:] or CASES:
        CASES[name]()
    print(f"{len(FAILED)} broken" if FAILED else "all held")
    sys.exit(bool(FAILED))


if __name__ == "__main__":
    main()
