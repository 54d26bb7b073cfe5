"""What the conformance suites of ``rompy_core.testing`` are made of. No pytest here."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, final

import attrs

from rompy_core._model import ModelRun
from rompy_core._protocols import RunHandle, SubmittingBackend
from rompy_core._reports import RunReport

P = ParamSpec("P")
ErrorT = TypeVar("ErrorT", bound=BaseException)

ConfigFor = Callable[..., Any]
"""Takes the text of a Python program, and options; gives the config of a run that executes it."""

_POLL_S: Final = 0.005
_VARIABLE: Final = "ROMPY_CONTRACT"
_READY: Final = "ready"
_GO: Final = "go"
_STAY: Final = """# {token}
import os, signal, sys, time
def stay(name):
    open(name, "w").close()
    deadline = time.monotonic() + {life_s}
    while not os.path.exists("go") and time.monotonic() < deadline:
        time.sleep(0.01)
{first}
stay("ready")
{then}
"""
"""Says that it is ready, and stays until it is released; whatever becomes of the test, it ends by itself."""
DAEMON: Final = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        stay("ready-daemon")
    os._exit(0)
os.wait()
"""
"""A grandchild in a session of its own, whose parent has ended."""
_STUBBORN: Final = """
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stay("ready-stubborn")
    os._exit(0)
"""
"""A child that ignores the request to end."""
TREE: Final = (_READY, "ready-daemon", "ready-stubborn")
"""The files that say that all of a tree is there."""


def claim(test: Callable[P, None]) -> Callable[P, None]:
    """Have *test*, however it fails, say which promise was broken: the first line of its docstring."""
    promise = (inspect.getdoc(test) or test.__name__).partition("\n")[0]

    @functools.wraps(test)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            test(*args, **kwargs)
        except Exception as exc:  # a plugin may raise anything
            found = str(exc) if isinstance(exc, AssertionError) else f"{type(exc).__name__}: {exc}"
            raise AssertionError(f"broken promise: {promise} Found: {found}") from exc

    return checked


def wait_until(condition: Callable[[], object], timeout: float, what: str = "") -> None:
    """Wait for an event, with a deadline.

    Args:
        condition: Called again and again, until it gives something true.
        timeout: How many seconds to wait at most.
        what: What is waited for, for the message.

    Raises:
        AssertionError: The event did not come in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what or 'an event'}")
        time.sleep(_POLL_S)


def error_of(kind: type[ErrorT], call: Callable[..., object], *args: Any, **kwargs: Any) -> ErrorT:
    """Give the error of *kind* that the call raises; another one goes on.

    Raises:
        AssertionError: It raised nothing.
    """
    try:
        given = call(*args, **kwargs)
    except kind as exc:
        return exc
    raise AssertionError(f"no {kind.__name__} was raised, {given!r} was given")


def processes_with(token: str) -> list[str]:
    """List the living processes of this machine that carry *token* in their command line or environment.

    A process that waits to be collected by its parent has ended; it is not listed.
    """
    return _by_proc(os.fsencode(token)) if sys.platform == "linux" else _by_ps(token)


def _by_proc(token: bytes) -> list[str]:
    found: list[str] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            command = _content(folder / "cmdline")
            if token in command or token in _content(folder / "environ"):
                found.append(f"{folder.name} {os.fsdecode(command.split(bytes(1))[0])}")
    return found


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has ended meanwhile, or is another user's
        return b""


def _by_ps(token: str) -> list[str]:  # pragma: no cover - not on Linux
    ps = ["/bin/ps", "-A", "-E", "-ww", "-o", "pid=,stat=,command="]
    lines = subprocess.run(ps, capture_output=True, text=True, errors="replace", check=False).stdout.splitlines()
    rows = [line.split(maxsplit=2) for line in lines if token in line]
    return [f"{pid} {command}" for pid, stat, command in rows if "Z" not in stat and int(pid) != os.getpid()]


@final
@attrs.define(kw_only=True)
class RunBench:
    """A run backend on trial, and a directory of its own.

    Attributes:
        backend: The run backend.
        config_for: Makes its configs.
        directory: Where the workspaces are.
        live_processes: Lists the living processes that carry a token.
        patience_s: How long to wait for what must come, seconds.
        token: What the runs carry in their command line and in their environment.
    """

    backend: SubmittingBackend[Any]
    config_for: ConfigFor
    directory: Path
    live_processes: Callable[[str], list[str]]
    patience_s: float
    token: str = attrs.field(factory=lambda: f"token-{secrets.token_hex(8)}")

    @property
    def model_run(self) -> ModelRun:
        """A model run whose inputs need not be generated."""
        return ModelRun(run_id="contract", output_dir=self.directory / "runs")

    def workspace(self, name: str = "workspace") -> Path:
        """Give a workspace; it is there."""
        workspace = self.directory / name
        workspace.mkdir(exist_ok=True)
        return workspace

    def staying(self, first: str = "", *, then: str = "", **options: Any) -> Any:
        """Give the config of a run that stays until it is released.

        Args:
            first: What it does before it is ready.
            then: What it does after it was released.
            options: As for the config.
        """
        source = _STAY.format(token=self.token, life_s=2 * self.patience_s, first=first, then=then)
        env_vars = {_VARIABLE: self.token, **options.pop("env_vars", {})}
        return self.config_for(source, env_vars=env_vars, **{"timeout": self.patience_s, **options})

    def tree(self, **options: Any) -> Any:
        """Give the config of a run of three processes, that stay: the command, a daemon, and a stubborn child."""
        return self.staying(DAEMON + _STUBBORN, **options)

    def release(self, name: str = "workspace") -> None:
        """Let the runs in the workspace go on."""
        (self.workspace(name) / _GO).touch()

    def wait_for(self, *files: str, name: str = "workspace") -> None:
        """Wait until the run in the workspace is ready, or has written *files*."""
        wanted = [self.workspace(name) / file for file in files or (_READY,)]
        wait_until(lambda: all(file.exists() for file in wanted), self.patience_s, f"files of the run: {wanted}")

    def left(self) -> list[str]:
        """List the processes of the runs that still live."""
        return self.live_processes(self.token)

    def submit(self, config: Any, name: str = "workspace") -> RunHandle:
        """Start a run."""
        return self.backend.submit(self.model_run, config, self.workspace(name))

    @contextlib.contextmanager
    def started(self, config: Any, name: str = "workspace") -> Generator[RunHandle]:
        """Start a run, and leave nothing behind, also where the backend is wrong."""
        handle = self.submit(config, name)
        try:
            yield handle
        finally:
            self.release(name)
            if not handle.done() and handle.cancel():
                with contextlib.suppress(TimeoutError):
                    handle.wait(self.patience_s)

    def report_of(self, config: Any, name: str = "workspace") -> RunReport:
        """Run to the end."""
        with self.started(config, name) as handle:
            return handle.wait(self.patience_s)

    def verdict_of(self, config: Any, name: str = "workspace") -> object:
        """Run to the end by ``run()``."""
        return self.backend.run(self.model_run, config, self.workspace(name))

    def is_interrupted(self, config: Any) -> bool:
        """Whether an interrupt that comes when the run is ready comes out of ``run()``."""
        is_over = threading.Event()
        ready = self.workspace() / _READY

        def interrupt() -> None:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: is_over.is_set() or ready.exists(), self.patience_s)
            if not is_over.is_set():
                # Not os.kill(): another thread could take the signal, and the main one would go on waiting.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        try:
            thread.start()
            self.verdict_of(config)
        except KeyboardInterrupt:
            return True
        finally:
            is_over.set()
            thread.join()
        return False


@final
class CountingRun:
    """A model run of another library: no base class, no config; counts how often its inputs are generated."""

    def __init__(self, output_dir: Path) -> None:
        self.run_id = "contract"
        self.output_dir = output_dir
        self.generated = 0

    @property
    def workspace(self) -> Path:
        """Where the inputs are."""
        return self.output_dir / self.run_id

    def generate(self) -> Path:
        """Make the workspace."""
        self.generated += 1
        self.workspace.mkdir(parents=True, exist_ok=True)
        return self.workspace


@final
@attrs.define
class Parts:
    """What a pipeline drives: a model run, a run backend and a postprocessor in one, so that their calls are in order.

    Attributes:
        output_dir: Where the workspace is.
        endings: By stage, what it raises, or gives, in place of success.
        calls: The stages that were called.
        nodes: The option that reached the run backend.
        scale: The option that reached the postprocessor.
    """

    output_dir: Path
    endings: Mapping[str, object] = attrs.field(factory=dict[str, object])
    calls: list[str] = attrs.field(factory=list[str])
    run_id: str = "contract"
    nodes: int | None = None
    scale: float | None = None

    @property
    def workspace(self) -> Path:
        """Where the inputs are."""
        return self.output_dir / self.run_id

    def generate(self) -> Path:
        """Be the model run."""
        self.workspace.mkdir(parents=True, exist_ok=True)
        (self.workspace / "made-by-generate").write_text("input")
        self._end("generate")
        return self.workspace

    def run(self, model_run: Any, nodes: int = 1) -> object:
        """Be the run backend: as those of other libraries do, ask the model run to generate."""
        self.nodes = nodes
        (Path(model_run.generate()) / "made-by-run").write_text("output")
        return self._end("run", default=True)

    def process(self, model_run: Any, scale: float = 1.0) -> object:
        """Be the postprocessor."""
        self.scale = scale
        return self._end("postprocess", default={"success": model_run.run_id == self.run_id})

    def _end(self, stage: str, default: object = None) -> object:
        self.calls.append(stage)
        ending = self.endings.get(stage, default)
        if isinstance(ending, BaseException):
            raise ending
        return ending
