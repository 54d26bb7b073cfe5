"""The programs that the soak runs: small, and bad in exactly one way each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from textwrap import dedent


def python(source: str) -> list[str]:
    """The words that run *source*."""
    return [sys.executable, "-c", source]


def several(source: str, count: int = 2) -> str:
    """A program that runs *source* in *count* processes and waits for them."""
    return dedent(
        f"""
        import subprocess, sys
        children = [subprocess.Popen([sys.executable, "-c", {source!r}]) for _ in range({count})]
        for child in children:
            child.wait()
        """
    )


def holding(megabytes: int, *, before_s: float = 0.0, for_s: float = 2.0, after_s: float = 0.0) -> str:
    """A program that holds *megabytes* of memory for a time, and lives on for a time without them."""
    return dedent(
        f"""
        import time
        time.sleep({before_s})
        held = bytearray(b"x") * ({megabytes} * 2**20)
        time.sleep({for_s})
        del held
        time.sleep({after_s})
        """
    )


def daemon(source: str, *, meanwhile: str) -> str:
    """A program that leaves *source* behind as a daemon (double fork, session of its own) and does *meanwhile*."""
    return dedent(
        f"""
        import os
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                exec({source!r})
            os._exit(0)
        exec({meanwhile!r})
        """
    )


SLEEP = "import time; time.sleep(300)"
TREE = "sleep 300 & sleep 300"
DAEMON = daemon(SLEEP, meanwhile=SLEEP)
STUBBORN = dedent(
    """
    import signal, subprocess, time
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    words = ["sh", "-c", "trap '' TERM; while :; do sleep 0.2; done"]
    children = [subprocess.Popen(words) for _ in range(2)]
    time.sleep(300)
    """
)
SHARED = dedent(
    """
    import os, time
    held = bytearray(b"x") * (300 * 2**20)
    if os.fork() == 0:
        time.sleep(2)
        os._exit(0)
    time.sleep(2)
    """
)
BUSY = "import time\nend = time.process_time() + 1.0\nwhile time.process_time() < end: pass"
UNREAPED = dedent(
    f"""
    import signal, subprocess, sys, time
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    children = [subprocess.Popen([sys.executable, "-c", {BUSY!r}]) for _ in range(2)]
    time.sleep(5)
    """
)
GROWING = dedent(
    """
    import pathlib, time
    time.sleep(1.5)
    held = bytearray(b"x") * (150 * 2**20)
    pathlib.Path("over").touch()
    time.sleep(60)
    """
)
LINES = 502 * 12000
HALF_A_GIGABYTE = "import os\nb = (b'x' * 82 + b'\\n') * 12000\nfor _ in range(502): os.write(1, b)"
ENDLESS = "import os\nb = b'x' * 2**20\nwhile True: os.write(1, b)"


def many_processes(count: int) -> str:
    """A program with *count* processes that do nothing."""
    return (
        f"import subprocess, time\np = [subprocess.Popen(['sleep', '99']) for _ in range({count - 1})]\ntime.sleep(99)"
    )


CALLER = dedent(
    """
    import logging, signal, sys, threading, time
    from rompy_core import ModelRun
    logging.disable(logging.CRITICAL)
    model = ModelRun(run_id="case", output_dir=sys.argv[1])
    options = dict(command=sys.argv[3], timeout=120, grace_s=5, env_vars={"ROMPY_SOAK_TOKEN": sys.argv[2]})
    """
)
MPI = r"""
#include <mpi.h>
#include <stdio.h>
#include <unistd.h>
int main(int n, char **a) {
    int r, s;
    MPI_Init(&n, &a);
    MPI_Comm_rank(MPI_COMM_WORLD, &r);
    MPI_Comm_size(MPI_COMM_WORLD, &s);
    printf("rank %d of %d\n", r, s);
    fflush(stdout);
    for (;;) sleep(1);
}
"""


def caller(source: str, *words: str) -> Sequence[str]:
    """The words that run *source* as a caller of the library, in a process of its own."""
    return [*python(CALLER + source), *words]
