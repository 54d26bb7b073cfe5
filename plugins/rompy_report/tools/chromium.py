"""Drive Debian's Chromium by its DevTools protocol, over two pipes: nothing to install, no port, no driver.

Chromium reads its commands from file descriptor 3 and writes answers and events to 4, each a JSON text that ends with a
NUL (its option ``--remote-debugging-pipe``).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_PATIENCE_S = 30.0


def find() -> str | None:
    """Give the path of the Chromium of this machine, or ``None``."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Chromium:
    """A headless browser with one page. Use it in a ``with`` block; it ends there, with all its processes.

    Attributes:
        events: All that the browser told unasked, in order: each a mapping with ``method`` and ``params``.
    """

    def __init__(self, program: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session: str | None = None
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._pid, self._to, self._from = _start(program, self._profile.name)

    def __enter__(self) -> Self:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            os.close(self._to)  # the end of its commands is the end of the browser
        deadline = time.monotonic() + 10
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.killpg(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                break
            time.sleep(0.02)
        os.close(self._from)
        self._profile.cleanup()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and give its result.

        Raises:
            RuntimeError: The browser refused it.
            TimeoutError: It gave no answer in time.
        """
        number = next(self._numbers)
        command: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            message = self._next(deadline, method)
            if message.get("id") == number:
                break
            self.events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        result: dict[str, Any] = message["result"]
        return result

    def open(self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open a file, in a window of this size in CSS pixels, and wait until it is loaded."""
        is_phone = width < 600
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if is_phone else 1, mobile=is_phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.ask("Page.navigate", url=page.absolute().as_uri())
        deadline = time.monotonic() + _PATIENCE_S
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next(deadline, str(page)))

    def evaluate(self, expression: str) -> Any:
        """Give the value of an expression of JavaScript; of a promise, what it comes to.

        Raises:
            RuntimeError: It threw.
        """
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press a key and let it go, as a person does."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code="Space" if key == " " else key, windowsVirtualKeyCode=codes[key], text=text,
            )  # fmt: skip

    def click(self, selector: str) -> None:
        """Click on the middle of the first element that matches, with the mouse."""
        spot = self.evaluate(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                element.scrollIntoView({{ block: "center" }});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=spot[0], y=spot[1], button="left", clickCount=1)

    def screenshot(self, *, whole: bool = True, most: int = 6000) -> bytes:
        """Give a PNG of the whole page, down to *most* CSS pixels, or of the window."""
        clip: dict[str, Any] = {}
        if whole:
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}}
        answer = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)
        return base64.b64decode(answer["data"])

    def _next(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(deadline - time.monotonic(), 0))
            data = os.read(self._from, 2**20) if ready else b""
            if not data:
                raise TimeoutError(f"Chromium {'ended' if ready else 'did not answer in time'}: {what}")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


def _start(program: str, profile: str) -> tuple[int, int, int]:
    """Start the browser; gives its process, and our ends of the two pipes."""
    its_input, our_output = os.pipe()
    our_input, its_output = os.pipe()
    # Numbers above those that they are to have in the child, or one would be closed by the other.
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (its_input, its_output)]
    words = [
        program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run",
        "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb", "--font-render-hinting=none",
        *(["--no-sandbox"] if os.geteuid() == 0 else []), "about:blank",
    ]  # fmt: skip
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        actions = [
            (os.POSIX_SPAWN_DUP2, ends[0], 3),
            (os.POSIX_SPAWN_DUP2, ends[1], 4),
            *((os.POSIX_SPAWN_DUP2, nowhere, standard) for standard in (0, 1, 2)),
        ]
        pid = os.posix_spawn(program, words, {**os.environ, "HOME": profile}, file_actions=actions, setpgroup=0)
    finally:
        for end in (its_input, its_output, nowhere, *ends):
            os.close(end)
    return pid, our_output, our_input
