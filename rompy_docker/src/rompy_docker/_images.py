"""The image of a run: found, pulled or built. A built one is named by what went into it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import attrs

from rompy_core import RunLogger
from rompy_docker._build_output import BuildOutput, Mask
from rompy_docker._config import DockerConfig
from rompy_docker._context import BuildContext, ContextError, read_context
from rompy_docker._dockerfile import BaseImage, base_images
from rompy_docker._engine import Engine, EngineError

BUILT_LABEL: Final = "rompy.built"
"""The label of every image that is built here; its value is the tag, which stands for all that went in."""

_REPOSITORY: Final = "rompy-built"
_TICK_S: Final = 0.1
_PROGRESS_EVERY_S: Final = 10.0
_ROUNDS: Final = 20_000
"""What it costs to guess at the arguments of a build from the name of the image: some 5 ms each time."""
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_PLATFORM: Final = ("Os", "Architecture", "Variant")
_FINDING_LOCK: Final = threading.Lock()
_LOCKS: Final[weakref.WeakValueDictionary[tuple[str, str], threading.Lock]] = weakref.WeakValueDictionary()
"""For what this process is pulling or building: the engine's address, and the name of the image."""


def ready_image(
    engine: Engine, config: DockerConfig, *, log: RunLogger, build_log: Path, check: Callable[[], None]
) -> dict[str, Any]:
    """Find the image of a run, or have it pulled or built.

    Args:
        engine: Where the image is needed.
        config: Says which one, and when it is pulled.
        log: Where to report the start, the progress and the end of a pull or a build.
        build_log: Where the output of a build goes; without a build, it is not made.
        check: Is called about ten times a second; what it raises ends the pull or build, on the engine as well.

    Returns:
        What the engine knows of the image, with its ``Id``.

    Raises:
        EngineError: There is no such image and none can be had, in one sentence for a person.
    """
    mask = Mask(config.build_args.values())
    job = _Job(engine=engine, config=config, log=log, mask=mask, check=_Patience(config.prepare_timeout, check))
    try:
        if config.dockerfile is None:
            return job.found_or_pulled(str(config.image), config.platform)
        return job.found_or_built(*_places(config.dockerfile, config.build_context), build_log)
    except ContextError as exc:
        problem = EngineError(mask(str(exc)))
    except EngineError as exc:
        problem = type(exc)(mask(str(exc)), exc.status)
    raise problem  # without its cause, which may show the arguments of the build


class _LateError(EngineError):
    """The time for preparing an image is over."""


@final
class _Patience:
    """Is called while something is waited for: asks the caller now and then, and keeps the deadline."""

    def __init__(self, limit_s: float, check: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._check = check
        self._deadline = time.monotonic() + limit_s
        self._next = 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _TICK_S / 2
        self._check()
        if now > self._deadline:
            raise _LateError(f"the image was not ready within prepare_timeout={self._limit_s:g} s")


@attrs.frozen(kw_only=True)
class _Job:
    """What finding, pulling and building have in common."""

    engine: Engine
    config: DockerConfig
    log: RunLogger
    mask: Mask
    check: Callable[[], None]

    def found_or_pulled(self, name: str, platform: str | None) -> dict[str, Any]:
        """Give an image by its name, pulled as the option ``pull`` says."""
        with self._alone(name):
            image = None if self.config.pull == "always" else self.engine.image(name)
            if image is not None and _fits(image, platform):
                return image
            if self.config.pull == "never":
                raise EngineError(f"the image {name!r} {_found(image, platform)}, and pull is 'never'")
            self._pull(name, platform)
            image = self.engine.image(name)
        if image is None or not _fits(image, platform):
            raise EngineError(f"the image {name!r} was pulled, but {_found(image, platform)}")
        return image

    def found_or_built(self, dockerfile: Path, root: Path, build_log: Path) -> dict[str, Any]:
        """Give the image that these files make; it is built unless the same ones made it before."""
        context = read_context(root, dockerfile, self.check)
        bases = base_images(context.dockerfile.decode("utf-8", "replace"), self.config.build_args)
        try:
            found = [self.found_or_pulled(base.name, base.platform or self.config.platform) for base in bases]
        except EngineError as exc:
            raise type(exc)(f"the Dockerfile {str(dockerfile)!r} needs another image: {exc}", exc.status) from exc
        name = _name(context, self.config, bases, [str(image["Id"]) for image in found])
        with self._alone(name):
            image = self.engine.image(name)
            if image is None:
                self._build(name, context, dockerfile, build_log)
                image = self.engine.image(name)
        if image is None:
            raise EngineError(f"the image {name!r} was built, but is not on the engine")
        return image

    def _pull(self, name: str, platform: str | None) -> None:
        messages = self.engine.pull(name, platform=platform, check=self.check)
        with _reported(self.log, "pull", {"image": self.mask(name)}) as tell, contextlib.closing(messages):
            layers: dict[str, Mapping[str, int]] = {}
            for message in messages:
                if "error" in message:
                    raise EngineError(f"the image {name!r} could not be pulled: {str(message['error']).strip()}")
                if message.get("status") == "Downloading":
                    layers[str(message.get("id"))] = message.get("progressDetail", {})
                    have, total = (sum(layer.get(key, 0) for layer in layers.values()) for key in ("current", "total"))
                    tell(f"{have / 1e6:.0f} of {total / 1e6:.0f} MB")

    def _build(self, name: str, context: BuildContext, dockerfile: Path, build_log: Path) -> None:
        messages = self.engine.build(
            context.tar(),
            name=name,
            dockerfile=context.dockerfile_name,
            args=self.config.build_args,
            labels={BUILT_LABEL: name.rpartition(":")[2]},
            platform=self.config.platform,
            check=self.check,
        )
        facts = {"image": name, "build_log": str(build_log)}
        with (
            _reported(self.log, "build", facts) as tell,
            contextlib.closing(messages),
            BuildOutput(build_log, self.mask) as output,
        ):
            try:
                for message in messages:
                    output.take(message)
                    tell(output.step)
                    if "error" in message:
                        reason = f"{output.failure(str(message['error']))}; its whole output is in {str(build_log)!r}"
                        raise EngineError(f"the image of {str(dockerfile)!r} could not be built: {reason}")
            except _LateError as exc:
                raise _LateError(f"{exc}; the build was at {output.step!r}" if output.step else str(exc)) from exc

    @contextlib.contextmanager
    def _alone(self, name: str) -> Generator[None]:
        """Keep other threads from pulling or building the same image meanwhile: they will find it."""
        with _FINDING_LOCK:
            lock = _LOCKS.setdefault((self.engine.address.url, name), threading.Lock())
        while not lock.acquire(timeout=_TICK_S):
            self.check()
        try:
            yield
        finally:
            lock.release()


def _places(dockerfile: Path, build_context: Path | None) -> tuple[Path, Path]:
    """Give the Dockerfile and the directory of the context."""
    if build_context is None:
        dockerfile = dockerfile.expanduser().absolute()
        return dockerfile, dockerfile.parent
    root = build_context.expanduser().absolute()
    return root / dockerfile.expanduser(), root


def _name(context: BuildContext, config: DockerConfig, bases: Sequence[BaseImage], ids: Sequence[str]) -> str:
    """Name an image by what goes in; a base that has become another image makes another name.

    The arguments of the build may be secret, and names are seen by many: each guess at them costs many rounds.
    """
    total = hashlib.sha256(context.digest + json.dumps([config.platform, *ids]).encode()).digest()
    if config.build_args:
        args = json.dumps(sorted(config.build_args.items())).encode()
        total = hashlib.pbkdf2_hmac("sha256", args, total, _ROUNDS)
    literal = next((base.name for base in bases if base.is_literal), "")
    readable = re.sub(r"[^a-z0-9]+", "-", re.split("[:@]", literal.rpartition("/")[2])[0].lower()).strip("-")
    return f"{_REPOSITORY}/{readable or 'image'}:{total.hex()[:32]}"


def _fits(image: Mapping[str, Any], platform: str | None) -> bool:
    """Whether an image is for *platform*: ``os/architecture/variant``, or the first two, or one of them."""
    if platform is None:
        return True
    have = [str(image.get(key) or "").lower() for key in _PLATFORM]
    wanted = [_MACHINES.get(part, part) for part in platform.lower().split("/")]
    if len(wanted) == 1:
        return wanted[0] in have[:2]
    return all(there in ("", part) for part, there in zip(wanted, have, strict=False))


def _found(image: Mapping[str, Any] | None, platform: str | None) -> str:
    if image is None:
        return "is not on the engine"
    its = "/".join(filter(None, (str(image.get(key) or "") for key in _PLATFORM)))
    return f"is for {its}, not for {platform}"


@contextlib.contextmanager
def _reported(log: RunLogger, what: str, facts: Mapping[str, str]) -> Generator[Callable[[str], None]]:
    """Log the start and the end of something; gives what tells how far it is, which is logged now and then."""
    began = told = time.monotonic()

    def tell(text: str) -> None:
        nonlocal told
        if time.monotonic() - told >= _PROGRESS_EVERY_S:
            told = time.monotonic()
            log.info("%s of an image: %s", what, text, extra=facts)

    log.info("%s of an image started", what, extra=facts)
    yield tell
    log.info("%s of an image ended", what, extra={**facts, "wall_time_s": time.monotonic() - began})
