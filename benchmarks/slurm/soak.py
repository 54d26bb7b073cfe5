"""Every ending of a job that can be provoked, many times over, on a private Slurm that is started for it.

    python benchmarks/slurm/soak.py [--times 20] [CASE ...]

Prints one line a case, with how often the state was right, and exits with 1 where it was not always, or a job is left.
The jobs of one case run side by side, but for those that stop the controller or a node. An interrupt or SIGTERM ends
the private Slurm, too, also of a soak that a shell has started in the background.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from compare import START, private_slurm

import rompy_slurm
from rompy_core import ModelRun, RunReport, RunState, StartError, read_report

MEMORY = [sys.executable, "-c", "x = bytearray(900 << 20); import time; time.sleep(60)"]
STAYS = "touch ready; sleep 300"
DRIVER = """
import sys
from rompy_core import ModelRun
handle = ModelRun(run_id=sys.argv[1], output_dir=sys.argv[2]).submit("slurm", command=sys.argv[3])
print(handle.record_dir, flush=True)
handle.wait()
"""


class Bench:
    """One run of one case."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name

    def submit(self, command: object, **options: Any) -> Any:
        model_run = ModelRun(run_id=self.name, output_dir=self.directory)
        return model_run.submit("slurm", **{"command": command, "grace_s": 2, "mem": "100m", **options})

    def begun(self, command: object = STAYS, **options: Any) -> Any:
        """Submit, and come back when the command runs."""
        handle = self.submit(command, **options)
        self.wait_for("ready")
        return handle

    def wait_for(self, name: str) -> None:
        deadline = time.monotonic() + 120
        while not (self.directory / self.name / name).exists():
            assert time.monotonic() < deadline, f"{self.name}: no {name}"
            time.sleep(0.05)

    def touch(self, name: str) -> None:
        (self.directory / self.name / name).touch()


def call(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def controller(what: str) -> None:
    subprocess.run([START, "controller", what, Path(os.environ["SLURM_CONF"]).parent], check=True)


def ended(handle: Any) -> RunReport:
    return handle.wait(200)


def scancelled(bench: Bench) -> RunReport:
    handle = bench.begun()
    call("scancel", handle.job.id)
    return ended(handle)


def scancelled_waiting(bench: Bench) -> RunReport:
    handle = bench.submit("true", additional_options=["--hold"])
    call("scancel", handle.job.id)
    return ended(handle)


def cancelled(bench: Bench) -> RunReport:
    handle = bench.begun()
    handle.cancel()
    return ended(handle)


def cancelled_waiting(bench: Bench) -> RunReport:
    handle = bench.submit("true", additional_options=["--hold"])
    handle.cancel()
    return ended(handle)


def requeued(bench: Bench) -> RunReport:
    handle = bench.begun('touch ready; [ -n "$SLURM_RESTART_COUNT" ] || sleep 300', requeue=True)
    call("scontrol", "requeue", handle.job.id)
    deadline = time.monotonic() + 30
    while "PENDING" not in call("squeue", "--noheader", f"--jobs={handle.job.id}", "--format=%T"):
        assert time.monotonic() < deadline, "it is not requeued"
        time.sleep(0.1)
    # Within the second of the requeue, the node would take the new start for the one that it has just ended.
    call("scontrol", "update", f"jobid={handle.job.id}", "starttime=now+2")
    return ended(handle)


def watched_twice(bench: Bench) -> RunReport:
    """Attach twice to a job that somebody else cancels: all who watch must give what is on disk."""
    handle = bench.begun()
    others = [rompy_slurm.attach(handle.record_dir) for _ in range(2)]
    call("scancel", handle.job.id)
    reports = [ended(one) for one in (handle, *others)]
    assert reports == [read_report(handle.record_dir)] * 3, "who watches a job gives another report than the others"
    return reports[0]


def node_lost(bench: Bench) -> RunReport:
    handle = bench.begun(additional_options=["--nodelist=c2"])
    call("scontrol", "update", "nodename=c2", "state=down", "reason=soak")
    report = ended(handle)
    subprocess.run(["scontrol", "update", "nodename=c2", "state=resume"], check=False, capture_output=True)
    return report


def controller_restarted(bench: Bench) -> RunReport:
    handle = bench.begun("touch ready; while [ ! -e go ]; do sleep 0.1; done")
    controller("stop")
    bench.touch("go")
    controller("start")
    return ended(handle)


def refused(bench: Bench, **options: Any) -> RunReport:
    try:
        return ended(bench.submit("true", **options))
    except StartError as exc:
        return exc.report


def controller_down(bench: Bench) -> RunReport:
    controller("stop")
    try:
        return refused(bench)
    finally:
        controller("start")


def driver_of(bench: Bench, command: str) -> tuple[subprocess.Popen[str], str]:
    words = [sys.executable, "-c", DRIVER, bench.name, str(bench.directory), command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def driver_killed(bench: Bench) -> RunReport:
    process, record = driver_of(bench, "touch ready; while [ ! -e go ]; do sleep 0.1; done; exit 3")
    bench.wait_for("ready")
    process.kill()
    process.communicate()
    handle = rompy_slurm.attach(record)
    bench.touch("go")
    return ended(handle)


def forgotten(bench: Bench) -> RunReport:
    process, record = driver_of(bench, "touch ready; exit 3")
    bench.wait_for("ready")
    process.kill()
    process.communicate()
    time.sleep(15)  # MIN_JOB_AGE is 2 here; the controller looks every ten seconds
    return ended(rompy_slurm.attach(record))


Case = tuple[RunState, Callable[[Bench], RunReport], bool]
ALONE = True
CASES: dict[str, Case] = {
    "ok": (RunState.COMPLETED, lambda b: ended(b.submit("true")), False),
    "exit-code": (RunState.FAILED, lambda b: ended(b.submit("exit 7")), False),
    "signal": (RunState.FAILED, lambda b: ended(b.submit("kill -SEGV $$")), False),
    "killed": (RunState.FAILED, lambda b: ended(b.submit("kill -KILL $$")), False),
    "time-limit": (RunState.TIMED_OUT, lambda b: ended(b.submit(STAYS, time_limit=60)), False),
    "timeout": (RunState.TIMED_OUT, lambda b: ended(b.submit(STAYS, timeout=1)), False),
    "memory-ours": (RunState.OUT_OF_MEMORY, lambda b: ended(b.submit(MEMORY, memory="100m", mem="1500m")), False),
    "memory-slurm": (RunState.OUT_OF_MEMORY, lambda b: ended(b.submit(MEMORY, mem="150m")), False),
    "scancel": (RunState.CANCELLED, scancelled, False),
    "watched-twice": (RunState.CANCELLED, watched_twice, False),
    "scancel-waiting": (RunState.CANCELLED, scancelled_waiting, False),
    "cancel": (RunState.CANCELLED, cancelled, False),
    "cancel-waiting": (RunState.CANCELLED, cancelled_waiting, False),
    "requeue": (RunState.COMPLETED, requeued, False),
    "node-down": (RunState.LOST, node_lost, ALONE),
    "controller-restarted": (RunState.COMPLETED, controller_restarted, ALONE),
    "controller-down": (RunState.NOT_STARTED, controller_down, ALONE),
    "bad-partition": (RunState.NOT_STARTED, lambda b: refused(b, partition="nope"), False),
    "queue-timeout": (
        RunState.NOT_STARTED,
        lambda b: ended(b.submit("true", additional_options=["--hold"], queue_timeout=0.5)),
        False,
    ),
    "driver-killed": (RunState.FAILED, driver_killed, False),
    "forgotten": (RunState.FAILED, forgotten, False),
}


def measured(directory: Path, name: str, times: int) -> tuple[int, list[str]]:
    """Run one case so often; gives how often it was right, and what was not."""
    wanted, provoke, is_alone = CASES[name]

    def once(number: int) -> str:
        try:
            report = provoke(Bench(directory, f"{name}-{number}"))
        except Exception as exc:  # noqa: BLE001 - a fault is a result here
            return f"{name}-{number}: {type(exc).__name__}: {exc}"
        return "" if report.state is wanted else f"{name}-{number}: {report.state}: {report.reason}"

    with ThreadPoolExecutor(1 if is_alone else 8) as pool:
        wrong = [text for text in pool.map(once, range(times)) if text]
    return times - len(wrong), wrong


def jobs_left() -> list[str]:
    """List the jobs that have not ended; a controller that was just started may need a moment to answer."""
    deadline = time.monotonic() + 60
    while True:
        try:
            lines = call("squeue", "--noheader").splitlines()
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return [line for line in lines if " CG " not in line]


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], metavar="CASE")
    asked = parser.parse_args()
    os.environ["MIN_JOB_AGE"] = "2"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    logging.disable()  # failures are what is asked for
    is_good = True
    with private_slurm() as directory:
        for name in asked.cases or CASES:
            began = time.monotonic()
            right, wrong = measured(directory, name, asked.times)
            left = jobs_left()
            is_good = is_good and not wrong and not left
            took = time.monotonic() - began
            print(
                f"{name:22} {right} of {asked.times} {CASES[name][0]:14} {len(left)} jobs left  {took:.0f} s",
                flush=True,
            )
            for text in (*wrong, *left):
                print(f"    {text}", flush=True)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
