"""From a config to a running container: engine, image, create, copy in, attach, start; undone where a step fails."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import posixpath
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast, final

from rompy_core import LiveRun, RunLogger, RunRecord, RunState, StartError
from rompy_docker._config import DockerConfig
from rompy_docker._container import Container, Watch
from rompy_docker._copies import copied_in, copied_out, refuse_uncopied
from rompy_docker._engine import Engine, EngineError, find_address
from rompy_docker._images import ready_image
from rompy_docker._labels import container_name, labels_for
from rompy_docker._output import Output
from rompy_docker._reap import hold, let_go
from rompy_docker._shield import shielded
from rompy_docker._spec import ContainerSpec, container_spec
from rompy_docker._watchdog import Watchdog, WatchdogError

logger = logging.getLogger(__name__)

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a command is looked for if neither the options nor the image say so; as Docker's engine does."""
_CANCELLED: Final = "cancelled while it was being started"
_INTERRUPTED: Final = f"{_CANCELLED}: KeyboardInterrupt"
_EXECUTABLE: Final = 0o111
_DIRECTORY: Final = 1 << 31
_LINK: Final = 1 << 27
"""Bits of a file's mode as Go writes it (package ``os``, ``FileMode``), which is what an engine answers."""
_MOST_LINKS: Final = 8


class LaunchError(Exception):
    """The run cannot be started; the text says why."""


class LaunchCancelledError(Exception):
    """Another process, or an interrupt, asked for the end while the run was being started."""


def started(
    record: RunRecord, config: DockerConfig, argv: Sequence[str], watchdog: Watchdog, log: RunLogger
) -> Container:
    """Start the container of a run; where that fails, nothing is left, and the record is complete.

    Raises:
        StartError: It cannot be started, or another process asked for the end meanwhile.
    """
    is_interrupted = threading.Event()

    def end(container: Container) -> None:
        container.stop(RunState.CANCELLED, _INTERRUPTED)
        LiveRun(record, container, config, log).wait()

    work = functools.partial(_started, record, config, argv, watchdog, log, is_interrupted)
    return shielded(work, give_up=is_interrupted.set, discard=end)


def _started(
    record: RunRecord,
    config: DockerConfig,
    argv: Sequence[str],
    watchdog: Watchdog,
    log: RunLogger,
    is_interrupted: threading.Event,
) -> Container:
    check = functools.partial(_refuse_cancelled, record, is_interrupted)
    try:
        return _launched(record, config, argv, watchdog, log, check)
    except LaunchCancelledError as exc:
        raise StartError(str(exc), record.finish(RunState.CANCELLED, str(exc))) from exc
    except (EngineError, LaunchError, OSError) as exc:
        raise record.refusal(str(exc)) from exc
    except BaseException as exc:
        # Whatever it is, nobody will get a handle: the run ends here, and its record with it.
        record.finish(RunState.CANCELLED, f"{_CANCELLED}: {type(exc).__name__}")
        raise


def _launched(
    record: RunRecord,
    config: DockerConfig,
    argv: Sequence[str],
    watchdog: Watchdog,
    log: RunLogger,
    check: Callable[[], None],
) -> Container:
    with contextlib.ExitStack() as undo:
        name = container_name(record)
        guard = Guard(record, watchdog, config, name)  # from here on the record is completed, whatever becomes of us
        undo.callback(guard.give_up)
        engine = Engine(find_address(config.engine), config.engine_timeout)
        undo.callback(engine.close)
        image = ready_image(engine, config, log=log, build_log=record.directory / "build.log", check=check)
        spec = _spec(record, config, argv, engine, image, watchdog)
        owner = refuse_uncopied(spec.copies, spec.arguments["user"], image)
        undo.callback(_discard, engine, name)
        container = engine.create(name, spec.arguments)
        trees = copied_in(engine, container, spec.copies, owner, check)
        if argv and not config.use_entrypoint:
            _refuse_command(engine, container, argv[0], config, _path(config, image), record.report.workspace_dir)
        watch = _watch(record, config, spec)
        output = _output(record, config)
        undo.callback(output.close, 0.0)
        output.follow(engine.attach(container))
        check()
        engine.start(container)
        running = Container(
            engine,
            container,
            output,
            watch,
            on_tick=guard.tick,
            fetch=functools.partial(copied_out, engine, container, trees),
            finish=functools.partial(_finish, engine, guard),
        )
        running.begin()
        undo.pop_all()
        return running


@final
class Guard:
    """Keeps a watchdog beside a container for as long as its run lives."""

    def __init__(self, record: RunRecord, watchdog: Watchdog, config: DockerConfig, container: str) -> None:
        """Have *watchdog* guard the container, which need not exist yet."""
        self._record = record
        self._watchdog = watchdog
        self._container = container
        self._order = {
            "engine": config.engine,
            "engine_timeout": config.engine_timeout,
            "container": container,
            "record_dir": str(record.directory),
            "is_kept": not config.remove_container,
        }
        hold(container)
        watchdog.guard(**self._order)

    def tick(self) -> None:
        """Replace a watchdog that another process has killed."""
        if self._watchdog.is_alive:
            return
        with contextlib.suppress(WatchdogError, OSError):
            self._watchdog.release()
            self._watchdog = Watchdog()
            self._watchdog.guard(**self._order)
            self._record.update(supervisor=self._watchdog.identity)
            logger.warning("the process that guards a run was killed; there is another one now")

    def give_up(self) -> None:
        """Leave the container to ``reap``, if there still is one."""
        let_go(self._container)

    def release(self) -> None:
        """Let the watchdog go, for the run has ended and its record is complete."""
        let_go(self._container)
        self._watchdog.release()


def _refuse_cancelled(record: RunRecord, is_interrupted: threading.Event) -> None:
    if is_interrupted.is_set():
        raise LaunchCancelledError(_INTERRUPTED)
    if record.cancel_requested():
        raise LaunchCancelledError("cancelled from another process while it was being started")


def _spec(
    record: RunRecord,
    config: DockerConfig,
    argv: Sequence[str],
    engine: Engine,
    image: Mapping[str, Any],
    watchdog: Watchdog,
) -> ContainerSpec:
    workspace_dir = record.report.workspace_dir
    start = workspace_dir / config.working_dir if config.working_dir else workspace_dir
    is_in_container = config.working_dir is not None and config.working_dir.is_absolute()
    if not is_in_container and not start.is_dir():  # the engine would make it, as root
        raise LaunchError(f"the working_dir {str(start)!r} is no directory")
    return container_spec(
        config,
        argv,
        image_id=str(image["Id"]),
        facts=engine.facts,
        workspace_dir=workspace_dir,
        is_copied=config.transfer == "copy" or (config.transfer == "auto" and not engine.address.is_local),
        labels=labels_for(record, watchdog.identity, is_kept=not config.remove_container),
    )


def _watch(record: RunRecord, config: DockerConfig, spec: ContainerSpec) -> Watch:
    return Watch(
        workspace_dir=record.report.workspace_dir,
        stderr_path=record.directory / "stderr.log",
        usage_path=record.directory / "usage.csv",
        timeout=config.timeout,
        grace_s=config.grace_s,
        stall_timeout=config.stall_timeout,
        memory=config.memory,
        log_size_limit=config.log_size_limit,
        sample_interval_s=config.sample_interval_s,
        is_kept=not config.remove_container,
        warnings=spec.warnings,
    )


def _output(record: RunRecord, config: DockerConfig) -> Output:
    return Output(
        record.directory / "stdout.log",
        record.directory / "stderr.log",
        size_limit=config.log_size_limit,
    )


def _discard(engine: Engine, name: str) -> None:
    with contextlib.suppress(EngineError):  # a later run will, by its labels
        engine.destroy(name)


def _finish(engine: Engine, guard: Guard) -> None:
    guard.release()
    engine.close()


# The command


def _path(config: DockerConfig, image: Mapping[str, Any]) -> str:
    """Give the PATH that the command will be looked for in."""
    settings = cast("Mapping[str, Any]", image.get("Config") or {})
    known = cast("list[str]", settings.get("Env") or [])
    variables = {name: value for name, _, value in (text.partition("=") for text in known)}
    return config.env_vars.get("PATH") or variables.get("PATH") or _PATH


def _refuse_command(
    engine: Engine, container: str, word: str, config: DockerConfig, path: str, workspace_dir: Path
) -> None:
    """Refuse a command that is missing or not executable, before the engine's init finds out.

    An init as process 1 starts well, and ends with 127 or 126 when it cannot execute the command.

    Raises:
        LaunchError: It is.
    """
    candidates = [PurePosixPath(folder) / word for folder in ([config.start_dir] if "/" in word else path.split(":"))]
    found = [status for candidate in candidates if (status := _followed(engine, container, candidate))]
    files = [status for status in found if not status["mode"] & _DIRECTORY]
    if any(status["mode"] & _EXECUTABLE for status in files):
        return
    # Podman (4.3) sees no symbolic links in what is mounted: its init has to find out.
    if not found and engine.facts.name == "podman" and _is_here(candidates, config, workspace_dir):
        return
    why = "Permission denied: it is not executable" if files else "it is a directory" if found else "No such file"
    where = f"in {config.start_dir!r}" if "/" in word else f"on the PATH {path!r}"
    raise LaunchError(f"the command {word!r} cannot be executed: {why} ({where} of the container)")


def _is_here(candidates: Sequence[PurePosixPath], config: DockerConfig, workspace_dir: Path) -> bool:
    """Whether one of these paths of the container is a path of this machine."""
    volumes = [(volume.target, volume.host_path()) for volume in config.mounts if volume.is_path]
    places = [(PurePosixPath(config.workspace_mount), workspace_dir), *volumes]
    paths = [PurePosixPath(posixpath.normpath(candidate)) for candidate in candidates]
    return any(
        os.path.lexists(here / path.relative_to(target))
        for path in paths
        for target, here in places
        if path.is_relative_to(target)
    )


def _followed(engine: Engine, container: str, path: PurePosixPath) -> dict[str, Any] | None:
    """Look at a path in the container, through symbolic links."""
    for _ in range(_MOST_LINKS):
        status = engine.stat(container, str(path))
        if status is None or not status["mode"] & _LINK or not status.get("linkTarget"):
            return status
        path = path.parent / status["linkTarget"]
    return None
