"""Kill the driver again and again, and the workers under it; count what is lost, doubled or left behind.

    python benchmarks/ensemble/soak.py [--members 500] [--kills 10] [--executor threads] [--seed 1]

The driver is killed (SIGKILL) at random moments, some of them before its first member has ended, and started again each
time; with ``--executor dask``, one of its workers is killed between two such kills. In the end every member must be
finished exactly once: one COMPLETED record, no record that cannot be read, one line for each successful run, and no
process of a member, a supervisor or a worker. The memory of the drivers is told, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from rompy_core import FilesConfig, ModelRun, RunState, find_runs
from rompy_ensemble import Ensemble

TOKEN = "ROMPY_SOAK_TOKEN"
COMMAND = "sleep 0.05; sleep 0.03 & wait; echo done >> finished"


def ensemble(directory: str, members: int, executor: str, token: str) -> Ensemble:
    """Describe the members."""
    return Ensemble(
        members=[{}] * members,
        model=ModelRun(run_id="m", output_dir=directory, config=FilesConfig(command=COMMAND)),
        run_kwargs={"env_vars": {TOKEN: token}, "grace_s": 2},
        executor=executor,
        max_workers=4,
    )


def living(token: str) -> list[str]:
    """List all processes below any of the drivers that have not ended."""
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found


def start(described: dict[str, Any]) -> subprocess.Popen[str]:
    """Start a driver in a process of its own."""
    command = [sys.executable, __file__, "--driver", json.dumps(described)]
    env = {**os.environ, TOKEN: described["token"]}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)


def kill_a_worker(driver: subprocess.Popen[str], chance: random.Random) -> bool:
    """Kill one worker process of Dask; gives whether there was one."""
    workers: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(driver.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "spawn_main" in " ".join(child.cmdline()):
                    workers.append(child)
        if workers:
            chance.choice(workers).kill()
            return True
    return False


def soak(members: int, kills: int, executor: str, seed: int) -> int:
    """Do it; gives the exit code."""
    chance, token = random.Random(seed), secrets.token_hex(8)
    directory = Path(tempfile.mkdtemp(prefix="rompy-soak-"))
    described = {"directory": str(directory), "members": members, "executor": executor, "token": token}
    workers_killed = 0
    for number in range(kills):
        driver = start(described)
        assert driver.stdout is not None
        moment = chance.choice(["while it starts", "while it runs", "while it runs"])
        if moment == "while it runs":
            driver.stdout.readline()  # it has a member finished, by now or before
        length = chance.uniform(0.0, members * 0.06 / kills)
        time.sleep(length / 2)
        workers_killed += executor == "dask" and kill_a_worker(driver, chance)
        time.sleep(length / 2)
        driver.kill()
        driver.communicate()
        print(f"kill {number + 1} {moment}, {length:.2f} s: {_finished(described)} of {members} finished", flush=True)
    last = start(described)
    out, _ = last.communicate()
    time.sleep(1)
    rows = [line.split() for line in out.splitlines()]
    ran = [int(rss) for *_, is_new, rss in rows if is_new == "1"]
    if ran:
        looks = [ran[(len(ran) - 1) * quarter // 4] for quarter in range(5)]
        print(f"     memory of the last driver over its {len(ran)} members, kB: {looks}")
    return told(directory, members, token, last.returncode, len(rows), workers_killed)


def told(directory: Path, members: int, token: str, code: int, rows: int, workers_killed: int) -> int:
    """Print what is on disk; gives the exit code."""
    by_member: dict[str, Counter[RunState]] = {}
    for run in find_runs(directory):
        by_member.setdefault(run.run_id, Counter())[run.state] += 1
    states = sum(by_member.values(), Counter[RunState]())
    records = len(list(directory.glob("*/.rompy/*/report.json")))
    lines = [(path / "finished").read_text().count("done") for path in directory.glob("m-*")]
    facts = {
        "driver's exit code": (code, 0),
        "rows of the last start": (rows, members),
        "members with exactly one COMPLETED run": (
            sum(c[RunState.COMPLETED] == 1 for c in by_member.values()),
            members,
        ),
        "records that cannot be read": (records - sum(states.values()), 0),
        "records that still run": (states[RunState.RUNNING], 0),
        "processes that live": (len(living(token)), 0),
        "members whose command came to its end": (sum(count >= 1 for count in lines), members),
    }
    for name, (found, wanted) in facts.items():
        print(f"{'ok  ' if found == wanted else 'BAD '} {name}: {found} of {wanted}")
    print(f"     runs by state: {dict(states)}; workers killed: {workers_killed}")
    is_good = all(found == wanted for found, wanted in facts.values())
    if is_good:
        shutil.rmtree(directory)
    return 0 if is_good else 1


def _finished(described: dict[str, Any]) -> int:
    return sum(row.ok for row in ensemble(**described).read())


def drive(described: dict[str, Any]) -> None:
    """Be the driver."""
    process = psutil.Process()
    for row in ensemble(**described).iter():
        print(row.run_id, row.state, int(row.ran > 0), process.memory_info().rss // 1024, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=500)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--executor", default="threads")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--driver", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.driver:
        drive(json.loads(given.driver))
        return 0
    return soak(given.members, given.kills, given.executor, given.seed)


if __name__ == "__main__":
    sys.exit(main())
