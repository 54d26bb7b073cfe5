"""The container engine: the only module that knows the docker SDK. Every call has a deadline, every failure one class.

The SDK is imported when an engine is first connected to: it takes longer than all the rest of this package.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast, final
from urllib.parse import urlsplit

import attrs

from rompy_docker._answers import Answer, OwnConnection

if TYPE_CHECKING:
    from requests.adapters import HTTPAdapter

_DEFAULT_ADDRESS: Final = "unix:///var/run/docker.sock"
_POOL: Final = 16
"""Connections that one client keeps; fewer than its threads and urllib3 loses some of them (docker-py 2.x to 7.2)."""
_STAT_HEADER: Final = "X-Docker-Container-Path-Stat"


class EngineError(Exception):
    """The engine refused what it was asked for; the text says what, and why.

    Attributes:
        status: The HTTP status of the answer, or 0 where there was none.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class EngineLostError(EngineError):
    """The engine cannot be reached, or did not answer in time."""


@attrs.frozen(kw_only=True)
class EngineFacts:
    """What an engine is and can do.

    Attributes:
        name: ``docker`` or ``podman``.
        version: Its version.
        cpus: How many processors its host has.
        is_rootless: Whether it runs as a user, so that root in a container is that user.
        has_selinux: Whether SELinux guards what containers may read.
        cannot: The limits that it does not keep: names of options.
    """

    name: str
    version: str
    cpus: int
    is_rootless: bool
    has_selinux: bool
    cannot: frozenset[str]


@attrs.frozen(kw_only=True)
class EngineAddress:
    """How to reach an engine; plain values, so that another process can reach the same one.

    Attributes:
        url: Its address.
        options: Further arguments of the SDK's client, for TLS.
    """

    url: str
    options: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    @property
    def is_local(self) -> bool:
        """Whether paths of this machine are paths of the engine's, as far as the address can tell."""
        return urlsplit(self.url).scheme in ("unix", "http+unix", "npipe", "")


def find_address(url: str | None) -> EngineAddress:
    """Find the engine: the given one, else by ``DOCKER_HOST`` and the rest of the environment, else by the context.

    Raises:
        EngineError: The environment or the context cannot be read.
    """
    from docker.context import ContextAPI
    from docker.utils import kwargs_from_env

    with _translated("find the engine"):
        found: dict[str, Any] = dict(kwargs_from_env())
        if url is not None:
            found["base_url"] = url
        elif "base_url" not in found and hasattr(ContextAPI, "kwargs_from_context"):
            found |= {name: value for name, value in ContextAPI.kwargs_from_context().items() if value}
    address = str(found.pop("base_url", None) or _DEFAULT_ADDRESS)
    if address.startswith(("unix:", "npipe:", "ssh:")):
        found.pop("tls", None)
    return EngineAddress(url=address, options=found)


@final
class Engine:
    """A connection to one engine. Its methods may be called from any thread.

    All of them raise ``EngineLostError`` where the engine does not answer in time, ``EngineError`` where it refuses.
    """

    def __init__(self, address: EngineAddress, timeout_s: float) -> None:
        """Connect.

        Args:
            address: Where the engine is.
            timeout_s: How long it may take to answer.
        """
        from docker import APIClient

        self.address = address
        self.timeout_s = timeout_s
        with self._asked("be reached"):
            self.api: Any = APIClient(  # Any, for its stubs leave half of it open
                base_url=address.url,
                version=_API_VERSIONS.get(address.url, "auto"),
                timeout=cast("int", timeout_s),
                max_pool_size=_POOL,
                **address.options,
            )
            _API_VERSIONS[address.url] = self.api.api_version

    def close(self) -> None:
        """Let go of the connections."""
        self.api.close()

    def patient(self, timeout_s: float) -> Engine:
        """Give a connection of its own for an answer that takes longer."""
        return Engine(self.address, timeout_s)

    @property
    def facts(self) -> EngineFacts:
        """What the engine is; asked once in a process."""
        with _ASKING_FACTS:
            if self.address.url not in _FACTS:
                with self._asked("say what it is"):
                    _FACTS[self.address.url] = _facts(self.api.info(), self.api.version())
            return _FACTS[self.address.url]

    def image(self, name: str) -> dict[str, Any] | None:
        """Give what is known of an image, or ``None`` where the engine does not have it."""
        try:
            with self._asked("show an image"):
                return cast("dict[str, Any]", self.api.inspect_image(name))
        except EngineError as exc:
            if exc.status == 404:
                return None
            raise

    def pull(self, name: str, *, platform: str | None = None, check: Callable[[], None]) -> Generator[dict[str, Any]]:
        """Pull an image; gives what the engine tells meanwhile, and its ``error`` last.

        Args:
            name: The image's name; without a tag, ``latest``.
            platform: Its platform, or ``None`` for the engine's own.
            check: Is called ten times a second; what it raises ends the pull, as does the end of this iteration.
        """

        def ask(api: Any) -> Iterator[dict[str, Any]]:
            return cast("Iterator[dict[str, Any]]", api.pull(name, stream=True, decode=True, platform=platform))

        return self._told("pull an image", ask, check)

    def build(
        self,
        context: Iterable[bytes],
        *,
        name: str,
        dockerfile: str,
        args: Mapping[str, str],
        labels: Mapping[str, str],
        platform: str | None = None,
        check: Callable[[], None],
    ) -> Generator[dict[str, Any]]:
        """Build an image; gives what the engine tells meanwhile, and its ``error`` last.

        Args:
            context: The files as a tar stream; where it raises, nothing is built.
            name: What the image is called in the end.
            dockerfile: The name of the Dockerfile in *context*.
            args: The arguments of the build.
            labels: The labels of the image.
            platform: Its platform, or ``None`` for the engine's own.
            check: Is called ten times a second; what it raises ends the build, as does the end of this iteration.
        """

        def ask(api: Any) -> Iterator[dict[str, Any]]:
            options = {"rm": True, "forcerm": True, "custom_context": True, "decode": True}
            named = {"tag": name, "dockerfile": dockerfile, "platform": platform}
            told = api.build(fileobj=context, buildargs=dict(args), labels=dict(labels), **named, **options)
            return cast("Iterator[dict[str, Any]]", told)

        return self._told("build an image", ask, check)

    def _told(
        self, to: str, ask: Callable[[Any], Iterator[dict[str, Any]]], check: Callable[[], None]
    ) -> Generator[dict[str, Any]]:
        from docker.errors import APIError

        # A client of its own: what ends this answer must not end any other one.
        api = self.patient(self.timeout_s).api
        connection = OwnConnection(cast("HTTPAdapter", api.get_adapter(api.base_url)), self.timeout_s)
        api.mount(api.base_url, cast("HTTPAdapter", connection))

        def tell() -> Iterator[dict[str, Any]]:
            with self._asked(to):
                try:
                    yield from ask(api)
                except APIError as exc:  # some engines tell a failure so, some in the stream
                    yield {"error": exc.explanation or f"HTTP status {exc.status_code}"}

        yield from Answer(tell, connection).parts(check)

    def create(self, name: str, spec: Mapping[str, Any]) -> str:
        """Create a container and give its id.

        Args:
            name: Its name.
            spec: The arguments of the SDK's ``create_container``; ``host_config`` holds those of
                ``create_host_config``.
        """
        spec = dict(spec)
        host = spec.pop("host_config")
        with self._asked("create the container"):
            host_config = self.api.create_host_config(**host)
            return str(self.api.create_container(name=name, host_config=host_config, **spec)["Id"])

    def attach(self, container: str) -> Attached:
        """Give what a container writes from now on, until it ends or the engine does."""
        with self._asked("attach to the container"):
            # Not the SDK's attach_socket(), which has no deadline.
            response = self.api.post(
                self._url(container, "attach"),
                params={"stdout": 1, "stderr": 1, "stream": 1},
                headers={"Connection": "Upgrade", "Upgrade": "tcp"},
                stream=True,
                timeout=self.timeout_s,
            )
            return Attached(self.api._get_raw_response_socket(response))  # noqa: SLF001 - no public name for it

    def start(self, container: str) -> None:
        """Start a container."""
        with self._asked("start the container"):
            self.api.start(container)

    def inspect(self, container: str) -> dict[str, Any]:
        """Give what is known of a container."""
        with self._asked("show the container"):
            return cast("dict[str, Any]", self.api.inspect_container(container))

    def kill(self, container: str, signal_name: str) -> None:
        """Send a signal to process 1 of a container; one that has ended is no error."""
        with self._asked("signal the container"), _tolerated(404, 409, 500):
            self.api.kill(container, signal_name)

    def remove(self, container: str) -> bool:
        """Remove a container and its anonymous volumes, running or not; say whether there was one."""
        try:
            with self._asked("remove the container"), _tolerated(409):  # it is being removed already
                self.api.remove_container(container, v=True, force=True)
        except EngineError as exc:
            if exc.status == 404:
                return False
            raise
        return True

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        with self._asked("rename the container"):
            self.api.rename(container, name)

    def destroy(self, container: str) -> bool:
        """Kill and remove a container; say whether there was one.

        Podman's removal of a running container asks it first and waits ten seconds.
        """
        with contextlib.suppress(EngineError):
            self.kill(container, "SIGKILL")
        return self.remove(container)

    def containers(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """List containers, also ended and never started ones, that have all of these labels."""
        with self._asked("list containers"):
            found = self.api.containers(all=True, filters={"label": list(labels)})
            return cast("list[dict[str, Any]]", found)

    def stat(self, container: str, path: str) -> dict[str, Any] | None:
        """Look at a path in a container: ``mode``, ``size``, ``linkTarget``; ``None`` where there is nothing."""
        with self._asked("look into the container"):
            url = self._url(container, "archive")
            response = self.api.head(url, params={"path": path}, timeout=self.timeout_s)
            if response.status_code == 404 or _STAT_HEADER not in response.headers:
                return None
            return cast("dict[str, Any]", json.loads(base64.b64decode(response.headers[_STAT_HEADER])))

    def put_archive(self, container: str, path: str, data: Iterable[bytes]) -> None:
        """Extract a tar stream below *path* in a container."""
        with self._asked("take files in"):
            self.api.put_archive(container, path, cast("bytes", data))

    def get_archive(self, container: str, path: str) -> Generator[bytes]:
        """Give *path* of a container as a tar stream, whose entries begin with the path's last part."""
        # Not the SDK's get_archive(), which waits for ever for the next part and keeps a connection that is left early.
        url = f"{self.api.base_url}/v{self.api.api_version}/containers/{container}/archive"
        as_it_is = {"Accept-Encoding": "identity"}
        with (
            self._asked("give files out"),
            self.api.get(url, params={"path": path}, headers=as_it_is, stream=True, timeout=self.timeout_s) as answer,
        ):
            self.api._raise_for_status(answer)  # noqa: SLF001 - it turns an answer into the SDK's own errors
            yield from answer.iter_content(2**18)

    def stats(self, container: str) -> Iterator[dict[str, Any]]:
        """Give the engine's own statistics of a container, about one a second."""
        with self._asked("give statistics"):
            yield from cast("Iterator[dict[str, Any]]", self.api.stats(container, decode=True, stream=True))

    def _url(self, container: str, what: str) -> str:
        return f"{self.api.base_url}/v{self.api.api_version}/containers/{container}/{what}"

    @contextlib.contextmanager
    def _asked(self, to: str) -> Generator[None]:
        with _translated(to, self.address.url, self.timeout_s):
            yield


@final
class Attached:
    """The output of a container, as pairs of (stdout, stderr).

    Over a socket of our own rather than the SDK's ``attach(stream=True)``, whose stream leaves its files open.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._socket = getattr(connection, "_sock", connection)  # what SocketIO wraps; TLS and SSH give it as it is
        # A model may be silent for days, and the engine says nothing meanwhile.
        self._socket.settimeout(None)

    def __iter__(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        from docker.utils import socket as untyped

        sdk: Any = untyped
        return (sdk.demux_adaptor(*frame) for frame in sdk.frames_iter(self._connection, tty=False))

    def interrupt(self) -> None:
        """End the stream for the thread that reads it; the container does not notice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; for the thread that reads it."""
        # The SDK keeps the answer that the connection came with; from Python 3.13 on it complains if it is left open.
        for held in (getattr(self._connection, "_response", None), self._connection, self._socket):
            if held is not None:
                with contextlib.suppress(OSError):
                    held.close()


_API_VERSIONS: Final[dict[str, str]] = {}
"""What each engine speaks; asking costs a request, so it is asked once in a process."""
_FACTS: Final[dict[str, EngineFacts]] = {}
_ASKING_FACTS: Final = threading.Lock()


@contextlib.contextmanager
def _translated(to: str, url: str = "", timeout_s: float = 0.0) -> Generator[None]:
    """Turn what the SDK and what it stands on raise into our own errors."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import RequestException, Timeout
    from urllib3.exceptions import HTTPError

    try:
        yield
    except APIError as exc:
        status = exc.response.status_code if exc.response is not None else 0
        raise EngineError(f"the engine refused to {to}: {exc.explanation or exc}", status) from exc
    except Timeout as exc:
        _close_what_is_left(_innermost(exc))
        raise EngineLostError(f"the engine at {url!r} did not answer within {timeout_s:g} s") from exc
    except (NoConnection, RequestException, HTTPError, DockerException, OSError) as exc:
        cause = _innermost(exc)
        _close_what_is_left(cause)
        if isinstance(cause, TimeoutError):
            raise EngineLostError(f"the engine at {url!r} did not answer within {timeout_s:g} s") from exc
        why = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise EngineLostError(f"the engine at {url!r} could not {to}: {why}") from exc


@contextlib.contextmanager
def _tolerated(*statuses: int) -> Generator[None]:
    from docker.errors import APIError

    try:
        yield
    except APIError as exc:
        if exc.response is None or exc.response.status_code not in statuses:
            raise


def _innermost(exc: BaseException) -> BaseException:
    """Give the innermost cause, which is what says what to do: no such file, refused, permission denied."""
    seen: set[int] = set()
    while id(exc) not in seen:
        seen.add(id(exc))
        exc = exc.__cause__ or exc.__context__ or exc
    return exc


def _close_what_is_left(cause: BaseException) -> None:
    """Close the socket that the SDK (7.2, ``UnixHTTPConnection.connect``) leaves open where nobody listens."""
    for frame, _ in traceback.walk_tb(cause.__traceback__):
        left = frame.f_locals.get("sock")
        if frame.f_code.co_name == "connect" and isinstance(left, socket.socket):
            left.close()


def _facts(info: Mapping[str, Any], version: Mapping[str, Any]) -> EngineFacts:
    security = " ".join(info.get("SecurityOptions") or ())
    components = " ".join(str(part.get("Name")) for part in version.get("Components") or ())
    asked = {"memory": "MemoryLimit", "cpu": "CpuCfsQuota", "pids_limit": "PidsLimit"}
    return EngineFacts(
        name="podman" if "podman" in components.lower() else "docker",
        version=str(version.get("Version", "unknown")),
        cpus=int(info.get("NCPU") or 1),
        is_rootless="rootless" in security,
        has_selinux="selinux" in security,
        cannot=frozenset(option for option, name in asked.items() if info.get(name) is False),
    )
