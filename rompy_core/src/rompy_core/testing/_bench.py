"""A run backend on trial: the programs that it is given, and what is seen of them. No pytest here."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any, Final, cast, final

import attrs

from rompy_core._model import ModelRun
from rompy_core._protocols import RunHandle, SubmittingBackend
from rompy_core._reports import RunReport
from rompy_core.testing._claims import wait_until

ConfigFor = Callable[..., Any]
"""Takes the text of a Python program, and options; gives the config of a run that executes it."""

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
_CALLER: Final = """
import pickle, sys
backend, model_run, config, workspace_dir = pickle.load(sys.stdin.buffer)
backend.submit(model_run, config, workspace_dir).wait()
"""
TREE: Final = (_READY, "ready-daemon", "ready-stubborn")
"""The files that say that all of a tree is there."""


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

    def calling(self, config: Any, name: str = "workspace") -> subprocess.Popen[bytes]:
        """Start a run from a process of its own, which waits for it; backend and config travel by pickle."""
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([*_homes_of(self.backend, config), *sys.path])}
        process = subprocess.Popen([sys.executable, "-c", _CALLER], stdin=subprocess.PIPE, env=environ)
        pipe = cast("IO[bytes]", process.stdin)
        pickle.dump((self.backend, self.model_run, config, self.workspace(name)), pipe)
        pipe.flush()
        return process

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
            with warnings.catch_warnings():
                # It may come between an open() and its "with": Python closes the file then, and warns.
                warnings.filterwarnings("ignore", "unclosed file", ResourceWarning)
                self.verdict_of(config)
        except KeyboardInterrupt:
            return True
        finally:
            is_over.set()
            thread.join()
        return False


def _homes_of(*things: object) -> list[str]:
    """Give the directories from which the modules of the classes of *things* can be imported, wherever they are."""
    found: list[str] = []
    for name in {type(thing).__module__ for thing in things}:
        file = getattr(sys.modules[name], "__file__", None)
        found += [str(Path(file).parents[name.count(".")])] if file else []
    return found


@final
class CountingRun:
    """A model run of another library: no base class, no config; counts how often its inputs are generated."""

    def __init__(self, output_dir: Path, form: Callable[[Path], object] = lambda path: path) -> None:
        self.run_id = "contract"
        self.output_dir = output_dir
        self.form = form
        self.generated = 0

    @property
    def workspace(self) -> Path:
        """Where the inputs are."""
        return self.output_dir / self.run_id

    def generate(self) -> object:
        """Make the workspace, and give it in the form that is wanted."""
        self.generated += 1
        self.workspace.mkdir(parents=True, exist_ok=True)
        return self.form(self.workspace)
