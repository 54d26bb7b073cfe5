"""What the parts of the project ask of one another: the smallest thing that works, each a Protocol of its own.

``*args: Any, **kwargs: Any`` after a fixed first parameter accepts every signature that begins so (typing
specification, "gradual" parameters), so a class with ``def run(self, model_run, **kwargs)`` fits as it stands.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from rompy_core._configs import BackendConfig
from rompy_core._reports import Outcome, Progress, RunReport, RunState, Usage

ConfigT = TypeVar("ConfigT", bound=BackendConfig)


@runtime_checkable
class ModelRunLike(Protocol):
    """The least that a model run must have; ``output_dir``, ``config`` and ``generate()`` are used where they exist."""

    @property
    def run_id(self) -> str:
        """The name of the run."""
        ...


@runtime_checkable
class ModelConfig(Protocol):
    """Knows a model's input files. It may also have ``command``, or ``run(model_run)``."""

    def generate(self, workspace_dir: Path, model_run: Any) -> Any:
        """Write the inputs of *model_run* into *workspace_dir*."""
        ...


@runtime_checkable
class RunBackend(Protocol):
    """Executes one model run: the least that a third party must offer."""

    def run(self, model_run: Any, *args: Any, **kwargs: Any) -> Any:
        """Run to the end; true only for success."""
        ...


@runtime_checkable
class Postprocessor(Protocol):
    """Analyses the outputs of a run."""

    def process(self, model_run: Any, *args: Any, **kwargs: Any) -> Any:
        """Give the results: a mapping, or an object, with at least ``success``."""
        ...


@runtime_checkable
class PipelineBackend(Protocol):
    """Takes a model run from its inputs to its results."""

    def execute(self, model_run: Any, *args: Any, **kwargs: Any) -> Any:
        """Give the results: a mapping with at least ``success``, ``run_id`` and ``stages_completed``."""
        ...


@runtime_checkable
class RunHandle(Protocol):
    """A run that was started. Leaving its ``with`` block by an exception cancels the run."""

    @property
    def run_id(self) -> str:
        """The model run's identifier."""
        ...

    @property
    def state(self) -> RunState:
        """Where the run stands."""
        ...

    @property
    def progress(self) -> Progress | None:
        """How far it is, or ``None`` where nothing says so."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The newest sample, or ``None`` before the first one."""
        ...

    def cancel(self) -> bool:
        """Ask for the end of the run and return at once.

        Returns:
            Whether the run will end; ``False`` for one that has ended, or whose backend cannot end it.
        """
        ...

    def done(self) -> bool:
        """Whether the run has ended and its report is complete."""
        ...

    def wait(self, timeout: float | None = None) -> RunReport:
        """Wait for the end of the run.

        Args:
            timeout: How many seconds to wait, or ``None`` for as long as it takes.

        Raises:
            TimeoutError: The wait, not the run, ran out of time, as in ``concurrent.futures``.
        """
        ...

    def __await__(self) -> Generator[Any, None, RunReport]:
        """Wait in an event loop of ``asyncio``."""
        ...

    def __enter__(self) -> Self:
        """Enter the block."""
        ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel the run, and wait for its end, where the block is left by an exception."""
        ...


@runtime_checkable
class Configured(Protocol):
    """A plugin that takes its options as one typed object, passed as ``config=``."""

    @property
    def config_type(self) -> type[Any]:
        """The class that options are structured into; a plain class attribute satisfies it."""
        ...


@runtime_checkable
class SubmittingBackend(RunBackend, Protocol[ConfigT]):
    """A backend whose runs can be watched and cancelled."""

    @property
    def config_type(self) -> type[ConfigT]:
        """The class that options are structured into."""
        ...

    def submit(self, model_run: Any, config: ConfigT, workspace_dir: Path) -> RunHandle:
        """Start the run in *workspace_dir* and return at once.

        Raises:
            StartError: It could not be started at all.
        """
        ...


@runtime_checkable
class CheckingBackend(Protocol):
    """A backend that can tell early what stands against a run."""

    def check(self, model_run: Any, config: Any) -> None:
        """Find what stands against the run, before anything is written.

        Raises:
            ConfigError: With every problem.
        """
        ...


class Execution(Protocol):
    """One started command, as a backend hands it to ``LiveRun``: what is left to the backend."""

    @property
    def usage(self) -> Usage | None:
        """The newest sample."""
        ...

    def wait(self, timeout: float) -> Outcome | None:
        """Wait at most *timeout* seconds for the end, and give the outcome once every process is gone."""
        ...

    def stop(self, ended_as: RunState, reason: str) -> None:
        """Ask for the end and return at once; may be called from any thread, and more than once: the first counts."""
        ...

    def close(self) -> None:
        """Let go of what is held, after the record has been completed."""
        ...
