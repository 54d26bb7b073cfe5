"""Run one command under a supervisor: a spec in, an outcome out. No model run, no config and no report here."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, final

import attrs

import rompy_core
from rompy_core import Outcome, ProcessIdentity, RunState, Usage, identify, limit_reasons
from rompy_local._supervisor._frames import Message, Reader, send

_BOOTSTRAP: Final = (
    "import sys; sys.path += sys.argv[1:]; from rompy_local._supervisor import main; main(); import os; os._exit(0)"
)
_HOMES: Final = tuple(dict.fromkeys(str(Path(file).resolve().parents[1]) for file in (__file__, rompy_core.__file__)))
"""The directories that hold this package and the core: all that the supervisor finds beside the standard library."""
_INTERPRETER_FLAGS: Final = ("-I", "-S")


class SandboxError(Exception):
    """The command could not be started; the text says which step failed, and why."""


@attrs.frozen(kw_only=True)
class SandboxSpec:
    """One command and what it may do. Paths are absolute, times are seconds, sizes are bytes.

    Attributes:
        argv: The words of the command.
        cwd: Where it starts.
        env: Its whole environment.
        workspace_dir: Where the growth of files is watched for ``stall_timeout``.
        record_dir: Where ``report.json`` is and ``cancel`` may appear.
        stdout_path: Where its standard output goes.
        stderr_path: Where its standard error goes.
        usage_path: Where the time series goes.
        tmp_dir: A directory to remove at the end, or ``None``.
        timeout: Wall-clock limit.
        grace_s: Between asking and insisting.
        stop_signal: The signal that asks.
        stall_timeout: Longest time without growth.
        memory: Limit for the whole tree.
        cpu_time_limit: Limit for the whole tree.
        log_size_limit: Limit for both logs together.
        max_processes: The most processes at once.
        leftovers: What happens to processes that outlive the command.
        rlimits: Limits of each process by their names in ``resource``; -1 is as much as may be had.
        cpus: The processors that it may use; none for all.
        nice: What is added to its niceness.
        sample_interval_s: The longest time between two samples.
        with_pss: Whether samples measure the proportional set size, too.
        pass_fds: File descriptors that the command inherits.
        cgroup: A delegated cgroup v2 below which the command gets one of its own, or ``None``.
        asks_command: Whether the command itself gets the signal that asks; a wrapper would end its content by it.
    """

    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    workspace_dir: Path
    record_dir: Path
    stdout_path: Path
    stderr_path: Path
    usage_path: Path
    tmp_dir: Path | None = None
    timeout: float | None = None
    grace_s: float = 10.0
    stop_signal: int = signal.SIGTERM
    stall_timeout: float | None = None
    memory: int | None = None
    cpu_time_limit: float | None = None
    log_size_limit: int | None = None
    max_processes: int | None = None
    leftovers: Literal["kill", "wait", "leave"] = "kill"
    rlimits: Mapping[str, int] = attrs.field(factory=dict[str, int])
    cpus: Sequence[int] = ()
    nice: int = 0
    sample_interval_s: float = 1.0
    with_pss: bool = False
    pass_fds: Sequence[int] = ()
    cgroup: Path | None = None
    asks_command: bool = True


@final
class Sandbox:
    """A supervisor, and the command that it runs. It is what the core calls an ``Execution``.

    The supervisor is started first, so that a record can name it from the beginning, and so that its start and the
    writing of the record go on side by side.
    """

    def __init__(self, pass_fds: Sequence[int] = ()) -> None:
        """Start a supervisor, which waits for what to run.

        Raises:
            SandboxError: It could not be started.
        """
        self._supervisor = _spawn(pass_fds)
        self._commands = _fileno(self._supervisor.stdin)
        self._events = _fileno(self._supervisor.stdout)
        self._reader = Reader()
        self._sending = threading.Lock()
        self._started = time.monotonic()
        self._tmp_dir: Path | None = None
        self._early: list[Message] = []
        self.usage: Usage | None = None
        self.identity: ProcessIdentity = identify(self._supervisor.pid)

    def start(self, spec: SandboxSpec) -> None:
        """Have the command started, and come back when it runs.

        Raises:
            SandboxError: It could not be started; the supervisor is gone then.
        """
        self._tmp_dir = spec.tmp_dir
        self._started = time.monotonic()
        self._send(_plain(spec))
        messages: list[Message] = []
        while not messages:
            messages = self._messages(None)
        # Samples may have come already; the next one is due within a second.
        if messages[0]["event"] == "started":
            self._early = [message for message in messages[1:] if message["event"] != "sample"]
            return
        self.close()
        if messages[0]["event"] == "refused":
            raise SandboxError(_refusal(messages[0], spec))
        raise SandboxError(f"the supervisor ended with code {self._supervisor.returncode} before it began")

    def wait(self, timeout: float) -> Outcome | None:
        """Wait at most *timeout* seconds for the end, and give the outcome once every process is gone."""
        for message in self._early or self._messages(timeout):
            if message["event"] == "sample":
                facts = {name: value for name, value in message.items() if name != "event"}
                self.usage = Usage(**facts)
            elif message["event"] == "ended":
                return _outcome(message)
            elif message["event"] == "lost":
                return self._lost()
        return None

    def stop(self, ended_as: RunState, reason: str) -> None:
        """Ask for the end and return at once; the first one to ask is the cause."""
        self._send({"event": "stop", "state": ended_as.value, "reason": reason})

    def close(self) -> None:
        """Let the supervisor go, after the record has been completed, and wait until it has gone."""
        self._send({"event": "release"})
        with self._sending:  # not while another thread sends: the number of the file could be another file's by then
            for stream in (self._supervisor.stdin, self._supervisor.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        self._supervisor.wait()
        if self._tmp_dir is not None:  # the supervisor has removed it, unless it was killed
            shutil.rmtree(self._tmp_dir, ignore_errors=True)

    def _send(self, message: Message) -> None:
        # After close() there is nobody to send to, and the number of the file may be another file's.
        with self._sending, contextlib.suppress(OSError):
            if self._supervisor.stdin is not None and not self._supervisor.stdin.closed:
                send(self._commands, message)

    def _messages(self, timeout: float | None) -> list[Message]:
        """Give the messages that have come, after waiting for the first one; at the end of all, ``lost``."""
        poll = select.poll()
        poll.register(self._events, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            return []
        data = os.read(self._events, 2**16)
        return list(self._reader.feed(data)) if data else [{"event": "lost"}]

    def _lost(self) -> Outcome:
        """Say what is known of a run whose supervisor was killed; the kernel then kills the command itself."""
        code = self._supervisor.wait()
        reason = f"its supervisor (pid {self._supervisor.pid}) was ended by another process (exit status {code}); "
        reason += "the command was killed with it, processes that it had started may still run"
        usage = self.usage
        return Outcome(
            ended_as=RunState.LOST,
            reason=reason,
            wall_time_s=time.monotonic() - self._started,
            cpu_time_s=usage.cpu_time_s if usage else None,
            peak_rss_bytes=usage.hwm_bytes if usage else None,
            memory_method="sum of high-water marks" if usage else None,
        )


def _spawn(pass_fds: Sequence[int]) -> subprocess.Popen[bytes]:
    if sys.platform != "linux":
        raise SandboxError(f"supervised runs need Linux, this is {sys.platform}")
    if not sys.executable:
        raise SandboxError("there is no Python interpreter to supervise it: sys.executable is not set")
    try:
        # No preexec_fn: it would turn vfork into fork, which takes hundreds of milliseconds from a large process.
        return subprocess.Popen(
            [sys.executable, *_INTERPRETER_FLAGS, "-c", _BOOTSTRAP, *_HOMES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            cwd="/",
        )
    except OSError as exc:
        raise SandboxError(f"the supervisor could not be started: {exc.strerror or exc}") from exc


def _plain(spec: SandboxSpec) -> dict[str, Any]:
    """Turn a spec into what ``marshal`` takes."""
    return {
        "event": "run",
        **attrs.asdict(spec, recurse=False),
        "argv": [str(word) for word in spec.argv],
        "env": dict(spec.env),
        "rlimits": dict(spec.rlimits),
        "cpus": list(spec.cpus),
        "pass_fds": list(spec.pass_fds),
        "stop_signal": int(spec.stop_signal),
        "caller_pid": os.getpid(),
        "report_path": str(spec.record_dir / "report.json"),
        "cancel_path": str(spec.record_dir / "cancel"),
        "reasons": limit_reasons(
            timeout=spec.timeout, stall_timeout=spec.stall_timeout, log_size_limit=spec.log_size_limit
        ),
        "tmp_dir": str(spec.tmp_dir) if spec.tmp_dir else None,
        "cgroup": str(spec.cgroup) if spec.cgroup else None,
        **{
            name: str(getattr(spec, name))
            for name in ("cwd", "workspace_dir", "record_dir", "stdout_path", "stderr_path", "usage_path")
        },
    }


def _outcome(message: Message) -> Outcome:
    facts = {name: value for name, value in message.items() if name not in ("event", "state")}
    facts |= {name: tuple(facts[name]) for name in ("leftovers", "warnings")}
    state = message["state"]
    return Outcome(ended_as=RunState(state) if state else None, **facts)


def _refusal(message: Message, spec: SandboxSpec) -> str:
    what = {
        "command": f"the command {spec.argv[0]!r} cannot be executed",
        "working_dir": f"the working_dir {str(spec.cwd)!r} cannot be entered",
        "preparation": "what the run needs cannot be made",
    }.get(message["step"], f"the {message['step']} of the command failed")
    return f"{what}: {message['text']}"


def _fileno(stream: Any) -> int:
    number: int = stream.fileno()
    return number
