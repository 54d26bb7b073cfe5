"""The executor ``dask``: workers of this machine, of a running scheduler, or in the jobs of a queue."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for_all
from typing import Any, Final, cast, final

import attrs

from rompy_core import ConfigError, fields, structure_config
from rompy_ensemble._engines import processors

logger = logging.getLogger(__name__)
_QUEUES: Final = ("htcondor", "local", "lsf", "moab", "oar", "pbs", "sge", "slurm")
_CLASSES: Final = {
    "htcondor": "HTCondorCluster",
    "local": "LocalCluster",
    "moab": "MoabCluster",
    "slurm": "SLURMCluster",
}
INSTALL: Final = 'needs Dask; install it with: pip install "rompy-ensemble[dask]"'
_QUIET: Final[Mapping[str, Any]] = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.gil.enabled": False,
}
"""What workers of our own do not do: watch, for a dashboard that is off, what their threads are at, up to 100 times a
second. It takes a tenth of a processor as long as they live, which is the members' otherwise."""
_LOOK_EVERY_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
"""Between two times that a queue is asked for what it refused."""
_LOST_AFTER_S: Final = 5.0
"""A worker that died by itself is back within that time: its nanny sees to it."""


def _table(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of names and values, found {type(value).__name__}")  # noqa: TRY004 - as others


@attrs.frozen(kw_only=True)
class DaskConfig(fields.Checked):
    """Which workers Dask runs members on.

    Attributes:
        address: That of a running scheduler, such as ``tcp://host:8786``. Without it and without *queue*, the workers
            are processes of this machine.
        queue: The batch queue whose jobs hold the workers, by ``dask-jobqueue``: ``slurm``, ``pbs``, ``lsf``, ``sge``,
            ``oar``, ``htcondor``, ``moab``, or ``local`` for jobs that are processes of this machine. A job that is
            lost (its time is over, its node is gone) is replaced, and one that the queue refuses is asked for again.
        queue_options: What ``dask-jobqueue`` is given for each job: ``cores``, ``memory``, ``walltime``, ``queue``, ...
        jobs: How many jobs; ``None`` for as many as it takes for ``max_workers`` members at once.
        workers: On this machine: how many worker processes; ``None`` for one a processor, and no more than members at
            once. Each has as many threads as it takes.
        startup_timeout: How many seconds to wait for the scheduler; and for a worker, until the log has a warning that
            the jobs of the queue bring none.
    """

    address: str | None = attrs.field(default=None, validator=attrs.validators.optional(fields.text))
    queue: str | None = attrs.field(default=None, validator=attrs.validators.optional(fields.one_of(*_QUEUES)))
    queue_options: Mapping[str, Any] = attrs.field(
        factory=dict[str, Any], converter=fields.to_table, validator=_table, repr=fields.names_only
    )
    jobs: int | None = attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))
    workers: int | None = attrs.field(default=None, validator=attrs.validators.optional(fields.positive_whole))
    startup_timeout: float = attrs.field(default=60.0, converter=fields.to_float, validator=fields.positive)

    def __attrs_post_init__(self) -> None:
        problems: list[str] = []
        if self.address is not None:
            others = {"queue": self.queue, "jobs": self.jobs, "workers": self.workers}
            problems += [f"{name}: cannot be given with address" for name, value in others.items() if value is not None]
        if self.queue is None:
            asked = {"queue_options": self.queue_options, "jobs": self.jobs}
            problems += [f"{name}: needs queue" for name, value in asked.items() if value and self.address is None]
        elif self.workers is not None:
            problems.append("workers: is for this machine; give jobs with queue")
        if problems:
            raise ConfigError("DaskConfig", problems)


def check_options(options: Mapping[str, Any]) -> DaskConfig:
    """Make the config, where Dask is installed.

    Raises:
        ConfigError: Dask is not installed, or with every option that is wrong.
    """
    config = structure_config(options, DaskConfig)
    try:
        importlib.import_module("distributed")
        if config.queue is not None:
            _jobqueue()
    except ImportError as exc:
        raise ConfigError("DaskConfig", [f"{INSTALL} ({exc})"]) from exc
    return config


def _jobqueue() -> Any:
    """Import ``dask_jobqueue``, and undo what that does: an interrupt would end this process, with exit code 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module("dask_jobqueue")
    except ValueError as exc:  # it sets a handler, and signals belong to the main thread
        problem = f"queue: dask-jobqueue is imported in the main thread only; import dask_jobqueue there first ({exc})"
        raise ConfigError("DaskConfig", [problem]) from exc
    finally:
        if handler is not None and signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


def make_executor(max_workers: int, options: Mapping[str, Any]) -> DaskExecutor:
    """Start what is asked for, and give the executor that owns it.

    Raises:
        ConfigError: An option is wrong.
        OSError: The scheduler did not answer in time, or the queue takes no job.
    """
    config = check_options(options)
    with contextlib.ExitStack() as held:
        where, keep = _scheduler(config, max_workers, held)
        client = held.enter_context(_client(where, config.startup_timeout))
        if keep is not None:
            held.enter_context(keep)
        return DaskExecutor(client, held.pop_all())


@final
class DaskExecutor(Executor):
    """Runs functions on the workers of one client, which it owns.

    A worker that dies has its functions run elsewhere by Dask itself, three times.
    """

    def __init__(self, client: Any, held: contextlib.ExitStack) -> None:
        self._client = client
        self._held = held
        self._on_workers: dict[Future[Any], Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand a function over."""
        future: Future[Any] = Future()
        on_workers: Any = self._client.submit(fn, *args, pure=False, **kwargs)
        self._on_workers[future] = on_workers
        future.add_done_callback(self._let_go)
        self._client.loop.add_callback(_pass_on, on_workers, future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of Executor
        """Let go of the client, and end the workers that were started for it."""
        with self._held:
            if wait and not cancel_futures:
                wait_for_all(list(self._on_workers))
            else:
                self._client.cancel(list(self._on_workers.values()))

    def _let_go(self, future: Future[Any]) -> None:
        on_workers = self._on_workers.pop(future)
        if future.cancelled():
            on_workers.cancel()


async def _pass_on(on_workers: Any, future: Future[Any]) -> None:
    """Give the outcome of a function to who waits for it, whatever it is.

    Dask's own executor does not where a result is lost with its worker before it is fetched: who waits would for ever.
    """
    tell: Callable[[], None]
    try:
        tell = functools.partial(future.set_result, await on_workers)
    except BaseException as exc:  # noqa: BLE001 - of the function, or of Dask, which has lost it
        tell = functools.partial(future.set_exception, exc)
    if future.set_running_or_notify_cancel():
        tell()


@contextlib.contextmanager
def _client(where: Any, timeout: float) -> Any:
    from distributed import Client

    client: Any = cast("Any", Client)(where, timeout=timeout, set_as_default=False)
    try:
        yield client
    finally:
        client.close(timeout=10)


def _scheduler(config: DaskConfig, max_workers: int, held: contextlib.ExitStack) -> tuple[Any, Any]:
    if config.address is not None:
        return config.address, None
    if config.queue is not None:
        cluster = held.enter_context(_queue_cluster(config))
        slots = int(config.queue_options.get("cores", 1))
        jobs = config.jobs or math.ceil(max_workers / slots)
        return cluster, JobKeeper(cluster, jobs, config.startup_timeout)
    return held.enter_context(_local_cluster(config, max_workers)), None


def _local_cluster(config: DaskConfig, max_workers: int) -> Any:
    import dask
    from distributed import LocalCluster  # first, or what it sets up would be undone with what is set here

    workers = config.workers or min(max_workers, processors())
    with cast("Any", dask).config.set(_QUIET):
        return cast("Any", LocalCluster)(
            n_workers=workers,
            threads_per_worker=math.ceil(max_workers / workers),
            processes=True,
            memory_limit=0,  # the members are processes of their own, with limits of their own
            dashboard_address="127.0.0.1:0",  # a fixed port may be taken
            scheduler_kwargs={"dashboard": False},
        )


def _queue_cluster(config: DaskConfig) -> Any:
    name = str(config.queue)
    cluster_type: Any = getattr(_jobqueue(), _CLASSES.get(name, f"{name.upper()}Cluster"), None)
    if cluster_type is None:
        from dask_jobqueue import local

        cluster_type = local.LocalCluster
    options = {"cores": 1, "memory": "1GB", "scheduler_options": {"dashboard_address": ":0"}, **config.queue_options}
    return cluster_type(**options)


@final
class JobKeeper:
    """Keeps a number of jobs in the queue: ``dask-jobqueue`` does not notice that one is gone, or was refused.

    A job whose workers were there and have been away for some seconds is given up, and another one is asked for. A job
    that the queue refused is asked for again; where it refuses all of them at the start, that is an ``OSError``. Jobs
    that wait in the queue, or end before they have a worker, look the same from here: a warning says that none came.
    """

    def __init__(self, cluster: Any, jobs: int, patience_s: float) -> None:
        self._cluster = cluster
        self._jobs = jobs
        self._patience_s = patience_s
        self._quiet_since: float | None = time.monotonic()
        self._ask_at = 0.0
        self._pause_s = _LOOK_EVERY_S
        self._came: set[str] = set()
        self._seen_at: dict[object, float] = {}
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="rompy-dask-jobs", daemon=True)

    def __enter__(self) -> None:
        self._cluster.scheduler.add_plugin(_notes_of_workers(self._came.add), name="rompy-dask-jobs")
        self._cluster.scale(jobs=self._jobs)
        try:
            self._cluster.sync(self._has_some)
        except BaseException:
            self._call_all_closed()
            raise
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join(10)
        self._call_all_closed()

    def _call_all_closed(self) -> None:
        """Call the jobs closed before they are: the cluster insists on it at its end, and a job never says so itself.

        It goes well without that where nothing holds the jobs any more by then, as the error of a refused one may.
        """
        for job in list(self._cluster.workers.values()):
            _call_closed(job)

    def _keep(self) -> None:
        while not self._has_ended.wait(_LOOK_EVERY_S):
            for look in (self._ask_again, self._replace_lost, self._tell_quiet):
                try:
                    look(time.monotonic())
                except Exception as exc:  # noqa: BLE001 - a library of other hands, and a queue that may not answer
                    logger.warning("the jobs of the queue could not be looked after: %s", exc)

    async def _has_some(self) -> None:
        with contextlib.suppress(Exception):  # of one job, while the others may be there
            await self._cluster
        refused = self._refused()
        if len(refused) == self._jobs:
            try:
                await refused[0]
            except Exception as exc:  # whatever the command of the queue, or the library, makes of it
                raise OSError(f"the queue takes none of {self._jobs} jobs: {exc}") from exc

    def _ask_again(self, now: float) -> None:
        """Ask for the jobs that were refused, less and less often."""
        if self._refused() and now >= self._ask_at:
            self._ask_at = now + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self._cluster.sync(self._ask)
            self._pause_s = _LOOK_EVERY_S

    async def _ask(self) -> None:
        for job in self._refused():
            await job

    def _refused(self) -> list[Any]:
        """List the jobs that were asked for, in vain."""
        return [job for job in list(self._cluster.workers.values()) if job.job_id is None]

    def _replace_lost(self, now: float) -> None:
        here = self._names_here()
        jobs = list(self._cluster.worker_spec)
        came = self._came.copy()
        self._seen_at.update({job: now for job in jobs if _has_worker(job, here)})
        for job in jobs:  # whose worker came and went between two looks
            if _has_worker(job, came):
                self._seen_at.setdefault(job, now)
        lost = [job for job in jobs if now - self._seen_at.get(job, now) > _LOST_AFTER_S]
        if not lost:
            return
        logger.warning("jobs of the queue are gone and are replaced", extra={"jobs": list(map(str, lost))})
        # The new ones first: the name of one that is gone must not be taken again, for Dask cleans up by names.
        self._cluster.scale(jobs=len(jobs) + len(lost))
        self._cluster.sync(self._give_up, lost)

    def _tell_quiet(self, now: float) -> None:
        """Warn once each time that there has been no worker for long."""
        if self._names_here():
            self._quiet_since = now
        elif self._quiet_since is not None and now - self._quiet_since > self._patience_s:
            self._quiet_since = None
            numbers = ", ".join(str(job.job_id) for job in list(self._cluster.workers.values()))
            logger.warning(
                "no worker for %g s from the jobs %s: they wait in the queue, or ended at their start, of which their "
                "own logs tell (queue_options: log_directory)",
                self._patience_s,
                numbers,
            )

    async def _give_up(self, jobs: Sequence[object]) -> None:
        for job in jobs:
            self._seen_at.pop(job, None)
            self._cluster.worker_spec.pop(job, None)
            worker = self._cluster.workers.pop(job, None)
            if worker is not None:
                with contextlib.suppress(Exception):  # whatever the queue says of a job that is gone
                    await worker.close()
                _call_closed(worker)

    def _names_here(self) -> set[str]:
        workers: Mapping[str, Mapping[str, Any]] = self._cluster.scheduler_info["workers"]
        return {str(facts["name"]) for facts in workers.values()}


def _call_closed(job: Any) -> None:
    from distributed import Status

    job.status = Status.closed


def _notes_of_workers(note: Callable[[str], None]) -> Any:
    from distributed import SchedulerPlugin

    class Notes(SchedulerPlugin):
        def add_worker(self, scheduler: Any, worker: str) -> None:
            note(str(scheduler.workers[worker].name))

    return Notes()


def _has_worker(job: object, names: set[str]) -> bool:
    """Whether a worker of the job is there; a job of several processes numbers their names."""
    return str(job) in names or any(name.startswith(f"{job}-") for name in names)
