"""Start the command: fork, set up the new process, exec."""

from __future__ import annotations

import os
import resource

from rompy_local._supervisor import _linux
from rompy_local._supervisor._signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a start more than all the rest of this
    from typing import Any

_UNLIMITED = -1


class StartFailedError(Exception):
    """The command could not be started; ``args`` are the step that failed, the error number and its text."""


def start(spec: dict[str, Any], stdout: int, stderr: int) -> int:
    """Start the command of *spec* and give its process number, once it is certain that it runs.

    Raises:
        StartFailedError: A step of the set-up, or the exec itself, failed.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the new process: coverage cannot report from it
        _become(spec, stdout, stderr, writer)
    os.close(writer)
    failure = b""
    while block := os.read(reader, 4096):
        failure += block
    os.close(reader)
    if failure:
        os.waitpid(pid, 0)
        step, number, text = failure.decode("utf-8", "surrogateescape").split("\0")
        raise StartFailedError(step, int(number), text)
    return pid


def _become(spec: dict[str, Any], stdout: int, stderr: int, failed: int) -> None:  # pragma: no cover - as above
    """Turn this new process into the command; never comes back."""
    step = "set-up"
    try:
        os.setsid()
        _linux.die_with_parent(signal.SIGKILL)
        if os.getppid() != spec["supervisor_pid"]:
            os._exit(1)
        _default_signals()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        for fd in spec["pass_fds"]:
            os.set_inheritable(fd, True)  # noqa: FBT003 - its own name says what is true
        if spec["cgroup_procs"]:
            step = "cgroup"
            _join(spec["cgroup_procs"])
        step = "limits"
        _limit(spec)
        step = "working_dir"
        os.chdir(spec["cwd"])
        step = "command"
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - running commands is what this is for
    except BaseException as exc:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        number = exc.errno if isinstance(exc, OSError) and exc.errno else 0
        text = os.strerror(number) if number else f"{type(exc).__name__}: {exc}"
        os.write(failed, f"{step}\0{number}\0{text}".encode("utf-8", "surrogateescape"))
    finally:
        os._exit(127)


def _default_signals() -> None:  # pragma: no cover - runs in the new process
    """Undo what Python and a shell's ``nohup`` or ``&`` leave behind: ignored signals survive an exec."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _join(procs: str) -> None:  # pragma: no cover - runs in the new process
    """Join a cgroup: all that this process will ever start is in it, too."""
    fd = os.open(procs, os.O_WRONLY)
    os.write(fd, b"0")
    os.close(fd)


def _limit(spec: dict[str, Any]) -> None:  # pragma: no cover - runs in the new process
    for name, value in spec["rlimits"].items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        if value == _UNLIMITED:
            resource.setrlimit(kind, (hard, hard))
        else:
            soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (soft, hard))
    if spec["cpus"]:
        os.sched_setaffinity(0, spec["cpus"])
    if spec["nice"]:
        os.nice(spec["nice"])
