"""Long requests, whose answer comes bit by bit: whoever waits for one can leave at any time, and the engine notices."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

import attrs

if TYPE_CHECKING:
    from requests import PreparedRequest, Response
    from requests.adapters import HTTPAdapter

T = TypeVar("T")

_TICK_S: Final = 0.1
_PARTS: Final = 256
"""Parts of an answer that wait for who reads it, before the engine has to wait as well."""
_GOODBYE_S: Final = 2.0
"""How long a connection that was cut may take to end."""


@attrs.frozen
class _End:
    error: BaseException | None


@final
class Answer(Generic[T]):
    """What an engine says to one request, read by a thread of its own."""

    def __init__(self, ask: Callable[[], Iterator[T]], connection: OwnConnection) -> None:
        """Prepare the request; it is made when the answer is asked for.

        Args:
            ask: Makes the request and gives the parts of its answer.
            connection: What *ask* makes it over.
        """
        self._ask = ask
        self._connection = connection
        self._parts: queue.Queue[T | _End] = queue.Queue(_PARTS)
        self._is_left = threading.Event()
        self._reader = threading.Thread(target=self._read, name="rompy-answer", daemon=True)

    def parts(self, check: Callable[[], None]) -> Iterator[T]:
        """Give the parts as they come; whatever ends this iteration early ends the request, too.

        Args:
            check: Is called with each part, and ten times a second while none comes; what it raises ends the request.
        """
        self._reader.start()
        try:
            while True:
                check()
                try:
                    part = self._parts.get(timeout=_TICK_S)
                except queue.Empty:
                    continue
                if not isinstance(part, _End):
                    yield part
                elif part.error is None:
                    return
                else:
                    raise part.error
        finally:
            self._is_left.set()
            self._connection.cut()
            self._reader.join(_GOODBYE_S)

    def _read(self) -> None:
        end = _End(None)
        try:
            for part in self._ask():
                self._put(part)
                if self._is_left.is_set():
                    break
        except BaseException as exc:  # noqa: BLE001 - it is raised where the answer is read
            end = _End(exc)
        finally:
            self._connection.close()
            self._put(end)

    def _put(self, part: T | _End) -> None:
        while not self._is_left.is_set():
            with contextlib.suppress(queue.Full):
                return self._parts.put(part, timeout=_TICK_S)
        return None


@final
class OwnConnection:
    """A transport for a client of the SDK, over one connection that another thread can cut.

    The SDK's own transport keeps its connection out of reach until an answer begins, which takes minutes where a
    registry is slow. And urllib3 logs whole addresses at DEBUG, which hold the arguments of a build: it is passed by.
    """

    def __init__(self, transport: HTTPAdapter, timeout_s: float) -> None:
        """Stand in for *transport*.

        Args:
            transport: The client's own; it knows sockets, certificates and SSH.
            timeout_s: How long it may take to connect. Nothing else has a limit here.
        """
        self._transport = transport
        self._timeout_s = timeout_s
        self._guard = threading.Lock()
        self._is_cut = False
        self._socket: Any = None
        self._connection: Any = None
        self._answer: Any = None

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: ARG002, FBT001, FBT002 - the signature of requests
        timeout: object = None,  # noqa: ARG002
        verify: bool | str = True,  # noqa: FBT001, FBT002
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Send one request and give its answer, whose content is still to come; as ``HTTPAdapter.send``."""
        from http.client import HTTPConnection

        from urllib3 import HTTPResponse

        self._connect(request, verify, cert, proxies)
        connection = self._connection
        url = self._transport.request_url(request, proxies)
        connection.putrequest(request.method, url, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        is_chunked = request.headers.get("Transfer-Encoding") == "chunked"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it did not want all, and its answer says why
            connection.endheaders(request.body, encode_chunked=is_chunked)
        answer = self._answer = HTTPConnection.getresponse(connection)  # not urllib3's, which wants its own request
        raw = HTTPResponse(
            body=answer,
            headers=dict(answer.getheaders()),
            status=answer.status,
            reason=answer.reason,
            preload_content=False,
            original_response=answer,
        )
        return self._transport.build_response(request, raw)

    def cut(self) -> None:
        """End the connection for the thread that uses it and for the engine; a later one is refused."""
        with self._guard:
            self._is_cut = True
            if self._socket is None:
                return
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:  # an SSH client is no socket that could be shut down
                self._socket.close()

    def close(self) -> None:
        """Close the connection; for the thread that uses it."""
        with self._guard:
            for held in (self._answer, self._connection, self._socket):
                if held is not None:
                    held.close()
            self._answer = self._connection = self._socket = None
        self._transport.close()

    def _connect(self, request: PreparedRequest, verify: bool | str, cert: Any, proxies: Any) -> None:  # noqa: FBT001
        transport: Any = self._transport
        pool = transport.get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
        transport.cert_verify(pool, request.url, verify, cert)
        connection = pool._new_conn()  # noqa: SLF001 - each kind of transport makes its connections in a way of its own
        connection.timeout = self._timeout_s
        connection.connect()
        connection.sock.settimeout(None)
        with self._guard:
            self._connection, self._socket = connection, connection.sock
            if self._is_cut:
                raise ConnectionAbortedError("the request was given up")
