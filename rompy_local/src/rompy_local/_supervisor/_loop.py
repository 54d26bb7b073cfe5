"""The supervisor's one loop: wait for the command, the caller, the clock or a request, and end the whole tree."""

from __future__ import annotations

import os
import select
import time

from rompy_local._supervisor import _linux, _record
from rompy_local._supervisor._cgroup import Group
from rompy_local._supervisor._child import StartFailedError, start
from rompy_local._supervisor._frames import Message, Reader, send
from rompy_local._supervisor._limits import Exceeded, Limits
from rompy_local._supervisor._monitor import Monitor
from rompy_local._supervisor._signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a start more than all the rest of this
    from collections.abc import Callable
    from typing import Any

_SELF_END_S = 0.05
"""How long processes that outlive the command may take to end by themselves before they count as leftovers."""
_ROUND_S = 0.01
_GIVE_UP_S = 60.0
"""How long a killed process may resist (only one that hangs inside the kernel does) before it is given up."""


def serve(commands: int, events: int) -> None:
    """Read what to run from *commands*, run it to its end, and tell about it on *events*."""
    reader = Reader()
    messages: list[Message] = []
    while not messages:
        data = os.read(commands, 2**16)
        if not data:
            return
        messages += reader.feed(data)
    spec = messages.pop(0)
    if spec["event"] == "release":
        return
    spec["supervisor_pid"] = os.getpid()
    _linux.become_subreaper()
    try:
        supervisor = Supervisor(spec, commands, events, reader)
    except OSError as exc:
        text = f"{exc.strerror}: {exc.filename!r}" if exc.filename else exc.strerror or str(exc)
        send(events, {"event": "refused", "step": "preparation", "errno": exc.errno or 0, "text": text})
        return
    supervisor.run()


class Supervisor:
    """Watches over one command."""

    def __init__(self, spec: dict[str, Any], commands: int, events: int, reader: Reader) -> None:
        self._spec = spec
        self._commands = commands
        self._events = events
        self._reader = reader
        self._wakeup = _signals_as_input()
        self._caller = _Caller(spec["caller_pid"])
        self._logs = (_open_log(spec["stdout_path"]), _open_log(spec["stderr_path"]))
        self._group = Group(spec["cgroup"], spec["memory"]) if spec["cgroup"] else None
        spec["cgroup_procs"] = self._group.procs if self._group else None
        self._monitor = Monitor(
            spec["usage_path"],
            longest_interval_s=spec["sample_interval_s"],
            with_pss=spec["with_pss"],
            group=self._group,
        )
        self._limits = Limits(spec, self._monitor, self._logs)
        self._command_pid = 0
        self._command_ended_at: float | None = None
        self._wait_status: int | None = None
        self._is_empty = False
        self._end: Exceeded | None = None
        self._asked_at: float | None = None
        self._asked: set[tuple[int, int]] = set()
        self._grace_s = 0.0
        self._insisted = False
        self._leftovers: list[str] = []
        self._is_released = False

    def run(self) -> None:
        """Run the command to its end, and make sure that the record gets its end, too."""
        try:
            self._command_pid = start(self._spec, *self._logs)
        except StartFailedError as exc:
            step, number, text = exc.args
            self._tell({"event": "refused", "step": step, "errno": number, "text": text})
            self._clear_up()
            return
        self._tell({"event": "started", "pid": self._command_pid})
        for fd in self._spec["pass_fds"]:
            os.close(fd)
        while not self._has_ended():
            self._step()
        outcome = self._outcome()
        outcome["warnings"] += self._clear_up()
        self._tell({"event": "ended", **outcome})
        self._until_released(outcome)

    def _has_ended(self) -> bool:
        """Whether there is nothing left to do: the tree is empty, its rest is left on purpose, or it resists."""
        self._reap()
        if self._is_empty:
            return True
        now = time.monotonic()
        if self._asked_at is not None and now > self._asked_at + self._grace_s + _GIVE_UP_S:
            self._leftovers += [f"{_described(one)} could not be ended" for one in self._living()]
            return True
        is_left = self._spec["leftovers"] == "leave" and self._command_ended_at is not None and self._asked_at is None
        if is_left and now >= (self._command_ended_at or 0) + _SELF_END_S:
            self._leftovers += [f"{_described(one)} was left running" for one in self._living()]
            return True
        return False

    def _step(self) -> None:
        self._wait()
        now = time.monotonic()
        if self._asked_at is not None:
            self._go_on_ending(now)
            return
        end = self._reason_to_end(now)
        if end is not None:
            self._end = end
            self._ask(now, at_once=end.at_once)
        elif self._is_time_for_leftovers(now):
            self._leftovers += [f"{_described(one)} was ended" for one in self._living()]
            self._ask(now)

    def _reason_to_end(self, now: float) -> Exceeded | None:
        if self._end is not None:
            return self._end
        if self._caller.is_gone:
            return Exceeded("CANCELLED", f"its caller (pid {self._spec['caller_pid']}) ended before it did")
        if os.path.exists(self._spec["cancel_path"]):
            return Exceeded("CANCELLED", "cancelled from another process, by a request in the record")
        exceeded = self._limits.by_the_clock(now)
        if exceeded is None and now >= self._monitor.due:
            sample = self._monitor.sample()
            self._tell({"event": "sample", **sample}, may_be_dropped=True)
            exceeded = self._limits.by_sample(sample)
        return exceeded

    def _is_time_for_leftovers(self, now: float) -> bool:
        ended_at = self._command_ended_at
        return self._spec["leftovers"] == "kill" and ended_at is not None and now >= ended_at + _SELF_END_S

    def _wait(self) -> None:
        """Wait for the command, a signal, a message, the caller's death, or the next thing that the clock brings."""
        now = time.monotonic()
        wait_s = self._limits.tick_s if self._asked_at is None else _ROUND_S
        if self._asked_at is None:
            wait_s = min(wait_s, max(self._monitor.due - now, 0.0))
            if self._limits.deadline is not None:
                wait_s = min(wait_s, max(self._limits.deadline - now, 0.0))
            if self._command_ended_at is not None:
                wait_s = min(wait_s, _ROUND_S)
        for fd in self._readable(wait_s):
            if fd == self._wakeup:
                self._read_signals()
            elif fd == self._commands:
                self._read_commands()

    def _readable(self, wait_s: float | None) -> list[int]:
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        if not self._caller.is_gone:
            for fd in (self._caller.fd, self._commands):
                if fd is not None:
                    poll.register(fd, select.POLLIN)
        # Rounded up to the next millisecond: rounded down, the last one would be spent in a busy loop.
        ready = [fd for fd, _ in poll.poll(None if wait_s is None else int(wait_s * 1000) + 1)]
        if self._caller.fd in ready or self._caller.has_changed():
            self._caller.is_gone = True
        return ready

    def _read_signals(self) -> None:
        numbers = os.read(self._wakeup, 4096)
        if set(numbers) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} and self._end is None:
            self._end = Exceeded("CANCELLED", "its supervisor was asked to end by a signal")

    def _read_commands(self) -> None:
        data = os.read(self._commands, 2**16)
        if not data:
            # It is dying (its files close before its pidfd says so), or has become another program by an exec.
            self._caller.is_gone = True
        for message in self._reader.feed(data):
            if message["event"] == "release":
                self._is_released = True
            elif message["event"] == "stop" and self._end is None:
                self._end = Exceeded(message["state"], message["reason"])

    def _reap(self) -> None:
        """Collect what has ended. That there is nothing left to collect is the proof that the tree is empty."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._is_empty = True
                return
            if pid == 0:
                return
            if pid == self._command_pid:
                self._wait_status = status
                self._command_ended_at = time.monotonic()

    def _living(self) -> list[_linux.Process]:
        return [one for one in _linux.descendants(os.getpid()) if not one.is_zombie]

    def _ask(self, now: float, *, at_once: bool = False) -> None:
        self._asked_at = now
        self._grace_s = 0.0 if at_once else self._spec["grace_s"]
        self._go_on_ending(now)

    def _go_on_ending(self, now: float) -> None:
        """Ask whoever was not asked yet; after the grace, insist."""
        if now < (self._asked_at or now) + self._grace_s and not self._limits.is_log_running_away():
            for one in self._living():
                is_wrapper = one.pid == self._command_pid and not self._spec["asks_command"]
                if (one.pid, one.start_time) not in self._asked and not is_wrapper:
                    self._asked.add((one.pid, one.start_time))
                    _linux.signal_process(one, self._spec["stop_signal"], signal.SIGCONT)
            return
        living = self._living()
        # Where there was no grace, nothing was asked and nothing was refused.
        self._insisted = self._insisted or bool(living and self._grace_s)
        # Stopped first: what is stopped cannot fork while its relatives are being killed.
        for one in living:
            _linux.signal_process(one, signal.SIGSTOP)
        for one in self._living():
            _linux.signal_process(one, signal.SIGKILL)

    def _outcome(self) -> dict[str, Any]:
        """Put together how it ended, under the names of the report's fields."""
        ended_at = time.monotonic()
        monitor = self._monitor
        monitor.close()
        peak, method = monitor.peak_memory()
        read, write = monitor.storage_bytes([])
        code = None if self._wait_status is None else os.waitstatus_to_exitcode(self._wait_status)
        self._end = self._end or self._limits.by_exit(code, self._group.oom_kills() if self._group else 0)
        warnings = [monitor.problem] if monitor.problem else []
        if self._insisted:
            warnings.append(f"processes did not end within grace_s ({self._grace_s:g} s) and were killed")
        return {
            "state": self._end.state if self._end else None,
            "reason": self._end.reason if self._end else "",
            "exit_code": code if code is not None and code >= 0 else None,
            "exit_signal": -code if code is not None and code < 0 else None,
            "wall_time_s": ended_at - monitor.started,
            "cpu_time_s": monitor.total_cpu_time(),
            "peak_rss_bytes": peak,
            "memory_method": method,
            "read_bytes": read,
            "write_bytes": write,
            "max_processes": monitor.max_processes,
            "leftovers": self._leftovers,
            "warnings": warnings,
        }

    def _until_released(self, outcome: dict[str, Any]) -> None:
        """Stay until the caller has completed the record; complete it in its place if it dies before that."""
        while not self._is_released and not self._caller.is_gone:
            for fd in self._readable(None if self._caller.fd is not None else 0.1):
                if fd == self._wakeup:
                    self._read_signals()
                elif fd == self._commands:
                    self._read_commands()
        if not self._is_released:
            if outcome["state"] is None:
                ending = (
                    f"code {outcome['exit_code']}"
                    if outcome["exit_signal"] is None
                    else f"signal {outcome['exit_signal']}"
                )
                reason = f"the command had ended with exit {ending}, but its caller ended before the verdict"
                outcome.update(state="CANCELLED", reason=reason)
            _record.complete(self._spec["report_path"], outcome)

    def _tell(self, message: Message, *, may_be_dropped: bool = False) -> None:
        """Tell the caller. It may be too busy to listen, and must not hold up the supervision: samples are dropped."""
        os.set_blocking(self._events, not may_be_dropped)
        try:
            send(self._events, message)
        except OSError:
            pass  # the pipe is full, or the caller is gone, which the poll will say

    def _clear_up(self) -> list[str]:
        """Remove what was made for the run beside its workspace, and say what could not be removed."""
        if self._spec["tmp_dir"]:
            _remove_tree(self._spec["tmp_dir"])
        if self._group is None or self._group.remove():
            return []
        return [f"the cgroup {self._group.path!r} could not be removed"]


class _Caller:
    """The process that asked for the run. It is watched by a pidfd, which no other process can keep open."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        try:
            self.fd: int | None = os.pidfd_open(pid)
        except OSError:
            self.fd = None
        # Looked at after the pidfd was opened: if it is still our parent now, the pidfd is its own.
        self.is_gone = os.getppid() != pid

    def has_changed(self) -> bool:
        """Whether it is gone by another sign than the pidfd, for kernels without one."""
        return self.fd is None and os.getppid() != self._pid


def _signals_as_input() -> int:
    """Turn signals into bytes to read: children that end, and requests to end."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _ignore)
    return reader


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: that a signal came can be read from the wakeup pipe."""


def _open_log(path: str) -> int:
    """Open for appending: a tool that reopens its output truncating would leave a hole otherwise."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def _described(one: _linux.Process) -> str:
    return f"process {one.pid} ({one.name})"


def _remove_tree(directory: str) -> None:
    """Remove a directory of ours as far as it can be removed; symbolic links in it are not followed."""
    for folder, subfolders, files in os.walk(directory, topdown=False):
        for name in files:
            _try(os.unlink, f"{folder}/{name}")
        for name in subfolders:
            path = f"{folder}/{name}"
            _try(os.unlink if os.path.islink(path) else os.rmdir, path)
    _try(os.rmdir, directory)


def _try(remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except OSError:
        pass
