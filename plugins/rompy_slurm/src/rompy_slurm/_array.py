"""The executor ``slurm-array``: functions run by the tasks of job arrays, each of which does many."""

from __future__ import annotations

import difflib
import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_all
from pathlib import Path
from typing import Any, Final, final

import attrs

from rompy_core import ConfigError, RompyError, fields, structure_config
from rompy_slurm import _scheduler, _script
from rompy_slurm._config import SlurmConfig
from rompy_slurm._pool import Pool
from rompy_slurm._scheduler import SchedulerError
from rompy_slurm._spool import Spool, abandoned, dumps

logger = logging.getLogger(__name__)
_NAME: Final = "slurm-array"
_OF_THE_ALLOCATION: Final = (
    "account", "additional_options", "cluster", "constraint", "cpus_per_task", "exclusive", "export", "gres",
    "job_name", "mail_type", "mail_user", "mem", "modules", "nodes", "ntasks", "ntasks_per_node", "partition", "python",
    "qos", "queue", "reservation", "setup", "time_limit",
)  # fmt: skip
"""The options of ``SlurmConfig`` that say what each task of an array is given; the others are those of a run."""
_NEEDED: Final = ("sbatch", "squeue", "scancel")


def _spool_parent(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a path that ``sbatch`` takes as it is."""
    fields.path(_, __, value)
    if "\\" in str(value) or not str(value).isprintable():
        raise ValueError(f"must be a path without backslashes and control characters, found {str(value)!r}")


@attrs.frozen(kw_only=True)
class ArrayOptions(fields.Checked):
    """How many tasks of arrays there are, and where they and this process meet.

    Attributes:
        tasks: How many tasks at most, each of which does one piece of work at a time; ``None`` for as many as pieces
            are handed over at once.
        directory: Where the files are by which work is handed over, on a file system that this machine and the nodes
            share. What is made in it is removed at the end. ``None`` for ``~/.cache/rompy-slurm``.
        idle_timeout: After how many seconds without work a task ends, and gives its allocation back.
    """

    tasks: int | None = attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))
    directory: Path | None = attrs.field(
        default=None, converter=fields.to_path, validator=attrs.validators.optional(_spool_parent)
    )
    idle_timeout: float = attrs.field(default=60.0, converter=fields.to_float, validator=fields.positive)

    @property
    def parent(self) -> Path:
        """The directory to use, absolute."""
        return (self.directory or Path.home() / ".cache" / "rompy-slurm").absolute()


def check_options(options: Mapping[str, Any]) -> tuple[ArrayOptions, SlurmConfig]:
    """Find what is wrong with the options: by themselves, and to Slurm, which is asked whether it would take them.

    Raises:
        ConfigError: With every option that is wrong; or Slurm is not here, or refuses such an array.
    """
    own, allocation = _read(options)
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise ConfigError(_NAME, [f"needs the commands of Slurm; not on PATH: {', '.join(missing)}"])
    refusal = _scheduler.refusal(_script.array_argv(allocation, key="rompy-check", logs_dir=Path("/"), size=1))
    if refusal:
        raise ConfigError(_NAME, [f"Slurm would not take such an array: {refusal}"])
    return own, allocation


def make_executor(max_workers: int, options: Mapping[str, Any]) -> SlurmArrayExecutor:
    """Make the executor; nothing is submitted before there is work.

    Raises:
        ConfigError: An option is wrong.
        OSError: The directory cannot be used.
    """
    own, allocation = _read(options)
    _end_abandoned(own.parent)
    spool = Spool.make(own.parent)
    try:
        return SlurmArrayExecutor(Pool(spool, allocation, own.tasks or max_workers, own.idle_timeout))
    except BaseException:
        spool.remove()
        raise


def _read(options: Mapping[str, Any]) -> tuple[ArrayOptions, SlurmConfig]:
    names = {field.name for field in attrs.fields(ArrayOptions)}
    own = {name: value for name, value in options.items() if name in names}
    rest = {name: value for name, value in options.items() if name in _OF_THE_ALLOCATION}
    problems = [_unknown(name, names) for name in options if name not in own and name not in rest]
    made: list[Any] = []
    for given, kind in ((own, ArrayOptions), (rest, SlurmConfig)):
        try:
            made.append(structure_config(given, kind))
        except ConfigError as exc:
            problems += exc.problems
    if problems:
        raise ConfigError(_NAME, problems)
    return made[0], made[1]


def _unknown(name: str, names: set[str]) -> str:
    if name in {field.name for field in attrs.fields(SlurmConfig)}:
        return f"{name}: is an option of a run, not of the array's tasks; give it in run_kwargs"
    nearest = difflib.get_close_matches(name, [*names, *_OF_THE_ALLOCATION], 1)
    return f"{name}: is no option{f'; did you mean {nearest[0]!r}?' if nearest else ''}"


def _end_abandoned(parent: Path) -> None:
    """End what a driver that was killed has left in the queue, where it is certain that it was."""
    for spool, driver in abandoned(parent):
        try:
            _scheduler.cancel(driver.jobs, driver.cluster)
        except SchedulerError as exc:
            logger.warning("the arrays of a driver that is gone could not be ended: %s", exc)
        else:
            spool.remove()


@final
class SlurmArrayExecutor(Executor):
    """Has functions called by the tasks of job arrays, which are sent when there is work.

    What is submitted has to pickle, and means the same on the nodes: same file system, same Python environment.
    A future whose array task is lost has an exception that says how Slurm ended it.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._is_shut_down = False
        self._futures: set[Future[Any]] = set()
        self._closing: threading.Thread | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand a function over.

        Raises:
            BrokenExecutor: No task of an array comes to work.
            RuntimeError: The executor is shut down.
        """
        future = _Future(self._pool.withdraw)
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("the executor slurm-array is shut down and takes nothing more")
            self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        try:
            future.number = self._pool.add(future, dumps((fn, args, kwargs)))
        except RuntimeError:  # broken
            self._futures.discard(future)
            raise
        except Exception as exc:  # noqa: BLE001 - what does not pickle may raise anything
            future.set_exception(RompyError(f"cannot be handed to the nodes: {type(exc).__name__}: {exc}"))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """End the tasks of all arrays once the work is done, and remove what they shared with this process.

        Args:
            wait: Whether to wait until they are gone.
            cancel_futures: Whether to cancel what has not begun.
        """
        with self._lock:
            self._is_shut_down = True
            futures = list(self._futures)
            if self._closing is None:
                self._closing = threading.Thread(target=self._close, name="rompy-slurm-array-end", daemon=True)
                self._closing.start()
        if cancel_futures:
            for future in futures:
                future.cancel()
        if wait:
            self._closing.join()

    def _close(self) -> None:
        wait_for_all(list(self._futures))
        self._pool.close()


@final
class _Future(Future[Any]):
    """A future that can be cancelled until its work is taken, and not after that."""

    def __init__(self, withdraw: Callable[[int], bool]) -> None:
        super().__init__()
        self.number = 0
        self._withdraw = withdraw

    def cancel(self) -> bool:
        """Cancel it, unless it has been taken; says whether it is cancelled."""
        if not self._withdraw(self.number):
            return self.cancelled()
        super().cancel()
        self.set_running_or_notify_cancel()
        return True
