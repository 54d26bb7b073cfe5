"""Watch over one container from its start to its end. No model run, no config and no report here."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import attrs

from rompy_core import Outcome, RunState, StallDetector, Usage, limit_reasons
from rompy_docker._engine import Engine, EngineError, EngineLostError
from rompy_docker._labels import KEPT
from rompy_docker._looks import Looks
from rompy_docker._output import Output
from rompy_docker._process import FirstProcess
from rompy_docker._reap import reap_with
from rompy_docker._usage import Meter

logger = logging.getLogger(__name__)

_TICK_S: Final = 0.1
_LOOK_S: Final = 5.0
"""How often the engine is asked although nothing has happened, to find one that hangs."""
_LOOK_AGAIN_S: Final = 0.02
_SETTLES_S: Final = 1.0
"""How long after the end of its output an engine may still say that a container runs that has ended."""
_OOM_IS_TOLD_S: Final = 0.25
"""How much later than the end of a container Docker 20.10 may learn that the kernel killed a process for memory."""
_GIVE_UP_S: Final = 60.0
"""How long a killed container may resist (only one whose processes hang inside the kernel does)."""
_BEGINNING: Final = 2**12
_SIGNALS: Final = range(1, 65)
_NOT_EXECUTED: Final = (1, 126, 127)
"""With which exit codes inits end when they could not execute the command; catatonit's is 1."""
_INITS: Final = ("[FATAL tini", "ERROR (catatonit")
"""How the inits of Docker and of Podman begin the line that says that they could not execute the command."""


@attrs.frozen(kw_only=True)
class Watch:
    """What to watch for. Times are seconds, sizes are bytes.

    Attributes:
        workspace_dir: Where the growth of files is watched.
        stderr_path: Where standard error went.
        usage_path: Where the time series goes.
        timeout: Wall-clock limit.
        grace_s: Between asking and insisting.
        stall_timeout: Longest time without growth.
        memory: The limit that the engine keeps.
        log_size_limit: The limit of both streams together.
        sample_interval_s: The longest time between two samples.
        is_kept: Whether the container stays.
        warnings: What is to be said beside the run already.
    """

    workspace_dir: Path
    stderr_path: Path
    usage_path: Path
    timeout: float | None
    grace_s: float
    stall_timeout: float | None
    memory: int | None
    log_size_limit: int | None
    sample_interval_s: float
    is_kept: bool
    warnings: Sequence[str]


@attrs.frozen
class End:
    """Why a container is being ended."""

    state: RunState
    reason: str


@final
class Container:
    """A container that has been started. It is what the core calls an ``Execution``.

    A thread of its own watches it, so that neither a slow logger nor a slow rule can hold up a limit.
    """

    def __init__(
        self,
        engine: Engine,
        container: str,
        output: Output,
        watch: Watch,
        *,
        on_tick: Callable[[], None],
        fetch: Callable[[], Sequence[str]],
        finish: Callable[[], None],
    ) -> None:
        """Take over a container that is running, and its output.

        Args:
            engine: The engine.
            container: The container's id.
            output: Its output, which is being read.
            watch: What to watch for.
            on_tick: Called about ten times a second.
            fetch: Called when it has ended, to copy its files out; gives warnings.
            finish: Called after the record has been completed.
        """
        self._engine = engine
        self._id = container
        self._output = output
        self._watch = watch
        self._on_tick = on_tick
        self._fetch = fetch
        self._finish = finish
        self._warnings = list(watch.warnings)
        self._started = time.monotonic()
        self._deadline = self._started + watch.timeout if watch.timeout else None
        self._stall = StallDetector(watch.workspace_dir, watch.stall_timeout) if watch.stall_timeout else None
        self._reasons = limit_reasons(
            timeout=watch.timeout, stall_timeout=watch.stall_timeout, log_size_limit=watch.log_size_limit
        )
        self._wake = output.news
        self._ending = threading.Lock()
        self._end: End | None = None
        self._asked_at: float | None = None
        self._insisted_at: float | None = None
        self._lost_at: float | None = None
        self._lost_by = ""
        self._over_at: float | None = None
        self._looks = Looks(engine, container)
        self._asked_since: float | None = None
        self._next_look = 0.0
        self._process: FirstProcess | None = None
        self._meter: Meter | None = None
        self._usage: Usage | None = None
        self._outcome: Outcome | None = None
        self._is_kept = watch.is_kept
        self._has_ended = threading.Event()
        # Beside the watch: those that it ends may resist for a while, and must not hold up a limit of this run.
        self._reaper = threading.Thread(target=self._reap, name="rompy-docker-reap", daemon=True)

    def begin(self) -> None:
        """Start to watch; from here on the container's processes can be ended without the engine, if they are ours."""
        first = self._first_look()
        threading.Thread(target=self._run, args=[first], name="rompy-docker-watch", daemon=True).start()

    @property
    def usage(self) -> Usage | None:
        """The newest sample."""
        return self._usage

    def wait(self, timeout: float) -> Outcome | None:
        """Wait at most *timeout* seconds for the end, and give the outcome once the container is gone."""
        return self._outcome if self._has_ended.wait(timeout) else None

    def stop(self, ended_as: RunState, reason: str) -> None:
        """Ask for the end and return at once; the first one to ask is the cause."""
        with self._ending:
            self._end = self._end or End(ended_as, reason)
        self._wake.set()

    def close(self) -> None:
        """Let go of what is held, after the record has been completed."""
        if self._reaper.ident is not None:
            self._reaper.join()
        self._finish()

    # The watching thread, from here on

    def _run(self, first: Mapping[str, Any] | None) -> None:
        try:
            outcome = self._watch_to_the_end(first)
        except Exception as exc:
            logger.exception("the watch over a container failed")
            self._stop_at_once()
            self._measured()
            reason = f"its monitor failed, which is a fault of ours: {type(exc).__name__}: {exc}"
            outcome = Outcome(ended_as=RunState.FAILED, reason=reason, warnings=tuple(self._warnings))
        self._outcome = outcome
        self._has_ended.set()

    def _watch_to_the_end(self, state: Mapping[str, Any] | None) -> Outcome:
        self._meter = self._new_meter(state)
        self._reaper.start()
        while state is None or state["Running"]:
            self._wake.wait(self._pause_s())
            self._wake.clear()
            state = self._step(time.monotonic())
            if state is None and self._is_given_up(time.monotonic()):
                break
        return self._concluded(state)

    def _step(self, now: float) -> Mapping[str, Any] | None:
        """Do what is due, and give the container's state if it was looked at."""
        self._on_tick()
        state = self._look(now) if self._is_time_to_look(now) else None
        if state is not None and not state["Running"]:
            return state
        if self._meter is not None:
            self._usage = self._meter.sample() or self._usage
        with self._ending:
            self._end = self._end or self._exceeded(now)
        if self._end is not None:
            self._go_on_ending(now)
        return state

    def _pause_s(self) -> float:
        now = time.monotonic()
        if self._lost_at is not None:
            return _TICK_S
        if self._output.is_over or self._asked_at is not None:
            return _LOOK_AGAIN_S
        return _TICK_S if self._deadline is None else max(min(_TICK_S, self._deadline - now), 0.0)

    def _is_time_to_look(self, now: float) -> bool:
        return now >= self._next_look or self._output.is_over or self._asked_at is not None

    def _first_look(self) -> Mapping[str, Any] | None:
        most_s = [self._engine.timeout_s, *([self._watch.timeout] if self._watch.timeout else [])]
        state = self._look(time.monotonic(), max(_TICK_S, min(most_s)))
        if state is not None and self._engine.address.is_local:
            self._process = FirstProcess.find(int(state.get("Pid") or 0), self._id)
        return state

    def _new_meter(self, state: Mapping[str, Any] | None) -> Meter:
        return Meter(
            self._engine,
            self._id,
            int(state.get("Pid") or 0) if state else 0,
            self._watch.usage_path,
            started=self._started,
            longest_interval_s=self._watch.sample_interval_s,
            is_local=self._process is not None,
        )

    def _look(self, now: float, patience_s: float = _TICK_S) -> Mapping[str, Any] | None:
        """Ask the engine for the container's state; ``None`` where it does not answer, or not yet."""
        self._asked_since = self._asked_since or now
        try:
            state = self._looks.state(patience_s)
        except EngineError as exc:
            self._next_look = now + _LOOK_S
            since, self._asked_since = self._asked_since, None
            if isinstance(exc, EngineLostError) or exc.status != 404:
                self._lost_at, self._lost_by = self._lost_at or since, str(exc)
                return None
            self.stop(RunState.FAILED, "its container was removed by somebody else while it ran")
            return {"Running": False, "ExitCode": None}
        if state is None:
            return None
        self._next_look = now + _LOOK_S
        self._asked_since = self._lost_at = None
        if state["Running"] and self._output.is_over:
            self._follow_again(now)
        return state

    def _follow_again(self, now: float) -> None:
        """Read on after the engine was restarted and has kept the container.

        Not at once: an engine may say that a container runs when it has just ended, and Podman (4.3) prepares an ended
        one to run anew when it is attached to, and forgets its exit code.
        """
        self._over_at = self._over_at or now
        if now < self._over_at + _SETTLES_S or (self._process is not None and self._process.has_ended()):
            return
        self._over_at = None
        with contextlib.suppress(EngineError):
            self._output.follow(self._engine.attach(self._id))
            logger.info("the engine is back, and so is the output", extra={"container": self._id})
        self._next_look = now + _LOOK_S

    def _is_given_up(self, now: float) -> bool:
        """Whether the engine has been silent for too long, or the container resists."""
        if self._lost_at is not None and time.monotonic() - self._lost_at >= self._engine.timeout_s:
            return True
        return self._insisted_at is not None and now - self._insisted_at >= _GIVE_UP_S

    def _exceeded(self, now: float) -> End | None:
        if self._deadline is not None and now >= self._deadline:
            return End(RunState.TIMED_OUT, self._reasons["timeout"])
        if self._output.is_past_limit:
            return End(RunState.LIMIT_EXCEEDED, self._reasons["log_size_limit"])
        if self._stall and self._stall.is_stalled(now, self._output.size):
            return End(RunState.STALLED, self._reasons["stall_timeout"])
        return None

    def _go_on_ending(self, now: float) -> None:
        """Ask; after the grace, insist."""
        if self._asked_at is None:
            self._asked_at = now
            if self._watch.grace_s > 0:
                self._signal(signal.SIGTERM)
                return
        if self._insisted_at is None and now >= self._asked_at + self._watch.grace_s:
            self._insisted_at = now
            if self._watch.grace_s > 0:
                grace = f"grace_s ({self._watch.grace_s:g} s)"
                self._warnings.append(f"the container did not end within {grace} and was killed")
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Signal process 1: directly where that can be done, so that an engine that hangs holds up no limit."""
        process = self._process
        # Only the engine can kill a container that is paused.
        if process and process.send(number) and (number != signal.SIGKILL or process.has_ended(_LOOK_AGAIN_S)):
            return
        try:
            self._engine.kill(self._id, number.name)
        except EngineLostError as exc:
            self._lost_at, self._lost_by = self._lost_at or time.monotonic(), str(exc)
        except EngineError as exc:
            logger.warning("the engine does not signal a container", extra={"container": self._id, "reason": str(exc)})

    def _reap(self) -> None:
        """End what dead callers left, now that this run is on its way."""
        try:
            reap_with(self._engine)
        except EngineError as exc:
            logger.debug("containers of dead callers could not be looked for", extra={"reason": str(exc)})

    def _stop_at_once(self) -> None:
        with contextlib.suppress(EngineError):
            self._engine.destroy(self._id)

    # How it ended

    def _concluded(self, state: Mapping[str, Any] | None) -> Outcome:
        wall_time_s = time.monotonic() - self._started
        is_lost = state is None or state["Running"]
        if is_lost:
            self._end_without_engine()
        self._output.close(0.0 if is_lost else self._engine.timeout_s)
        facts = self._measured()
        if not is_lost:
            state = self._looked_again(state or {})
            self._fetch_files()
        self._remove()
        facts |= self._ending_facts({} if state is None else state)
        return Outcome(wall_time_s=wall_time_s, warnings=tuple(self._warnings), **facts)

    def _looked_again(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask once more how a run with a memory limit has failed: that it was for memory can be told after its end."""
        is_clear = self._watch.memory is None or state.get("OOMKilled") or not state.get("ExitCode")
        if is_clear or self._end is not None:
            return state
        time.sleep(_OOM_IS_TOLD_S)
        try:
            again: Mapping[str, Any] = self._engine.inspect(self._id)["State"]
        except EngineError:
            return state
        return {**state, "OOMKilled": again.get("OOMKilled")}

    def _measured(self) -> dict[str, Any]:
        meter = self._meter
        if meter is None:
            return {}
        self._usage = meter.close() or self._usage
        if meter.problem:
            self._warnings.append(meter.problem)
        return meter.facts()

    def _end_without_engine(self) -> None:
        """End the container's processes by themselves, where they are this machine's."""
        ended = self._process is not None and self._process.send(signal.SIGKILL) and self._process.has_ended(_GIVE_UP_S)
        if self._insisted_at is not None and self._lost_at is None:
            why = f"its container could not be ended within {_GIVE_UP_S:g} s"
        else:
            why = f"the engine was lost during the run: {self._lost_by}"
        what = "its processes were ended without the engine" if ended else "its processes may still run"
        with self._ending:
            cause = End(RunState.FAILED, "") if self._end is None else self._end
            self._end = End(cause.state, "; ".join(part for part in (cause.reason, why, what) if part))

    def _fetch_files(self) -> None:
        try:
            self._warnings += self._fetch()
        except (EngineError, OSError) as exc:
            problem = f"its files could not be copied out: {exc}{self._kept_for_its_files()}"
            with self._ending:
                end = self._end or End(RunState.FAILED, "")
                self._end = End(end.state, "; ".join(part for part in (end.reason, problem) if part))

    def _kept_for_its_files(self) -> str:
        """Keep the container, for it alone has what the run wrote; give the words that say so."""
        name = f"rompy-{self._id[:12]}{KEPT}"
        try:
            self._engine.rename(self._id, name)
        except EngineError:
            return ""
        self._is_kept = True
        return f"; the container {name!r} is kept, which has them"

    def _remove(self) -> None:
        if self._process is not None:
            self._process.close()
        if self._is_kept or self._lost_at is not None:
            return
        try:
            self._engine.remove(self._id)
        except EngineError as exc:
            self._warnings.append(f"the container {self._id[:12]} could not be removed, a later run will: {exc}")

    def _ending_facts(self, state: Mapping[str, Any]) -> dict[str, Any]:
        # One that has been created only, as Podman says if somebody attached to it, has the exit code of no command.
        has_ended = not state.get("Running") and state.get("Status") != "created"
        code = state.get("ExitCode") if has_ended else None
        is_signal = code is not None and code - 128 in _SIGNALS
        if self._end is None:
            self._end = self._end_by_itself(state, code)
        return {
            "ended_as": self._end.state if self._end else None,
            "reason": self._end.reason if self._end else "",
            "exit_code": None if is_signal else code,
            # An engine says 128 and the number, as a shell does.
            "exit_signal": code - 128 if code is not None and is_signal else None,
        }

    def _end_by_itself(self, state: Mapping[str, Any], code: int | None) -> End | None:
        """Say what the exit code alone does not tell."""
        if self._is_out_of_memory(state, code):
            limit = f" of {self._watch.memory} bytes" if self._watch.memory else " of the engine's host"
            killed = "the kernel killed a process of the container"
            if code != 0:
                return End(RunState.OUT_OF_MEMORY, f"exceeded the memory limit{limit}: {killed}")
            self._warnings.append(f"{killed} for the memory limit{limit}, yet the command ended with exit code 0")
        if code in _NOT_EXECUTED and (line := self._word_of_init()):
            return End(RunState.NOT_STARTED, f"the command cannot be executed: {line}")
        if self._output.problem:
            return End(RunState.FAILED, self._output.problem)
        return None

    def _is_out_of_memory(self, state: Mapping[str, Any], code: int | None) -> bool:
        if state.get("OOMKilled") or (self._meter is not None and self._meter.oom_kills() > 0):
            return True
        # Podman 4.3 does not say so: killed by nobody that we know of, with all of its memory in use.
        peak = self._meter.facts().get("peak_rss_bytes") if self._meter else None
        limit = self._watch.memory
        return bool(code == 128 + 9 and limit and peak and peak > 0.9 * limit)

    def _word_of_init(self) -> str:
        with contextlib.suppress(OSError):
            with self._watch.stderr_path.open("rb") as file:
                text = file.read(_BEGINNING).decode("utf-8", "replace")
            return next((line.strip() for line in text.splitlines() if line.startswith(_INITS)), "")
        return ""
