"""Headless Chromium by its own debugging protocol: no driver to install, for the tests of the front page."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SECONDS = 60
"""For anything to happen."""


def chromium() -> str | None:
    """The program, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One page of the browser. `trouble` holds what it wrote to its console and what it was not allowed to do."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: Any) -> None:
        self._loop, self._socket = loop, socket
        self._number = 0
        self.trouble: list[str] = []
        self.asked: list[str] = []

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol."""
        return self._loop.run_until_complete(self._call(method, parameters))

    def open(self, address: str) -> None:
        """Goes to an address, and returns once it is loaded."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"].get("exception", found["exceptionDetails"]))
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """Waits until an expression is true, and returns its value."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            # An element would come back as an empty object.
            if found := self.run(f"(one => one instanceof Node || one)({script})"):
                return found
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}; the page shows: {self.run('document.body.innerText')}")

    def text(self, selector: str) -> str:
        """What an element shows."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def key(self, key: str, *, control: bool = False) -> None:
        """Presses a key, with the text that it writes."""
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = {"Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9}.get(key, 0)
        given = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if control else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="" if control else text, **given)
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def write(self, text: str) -> None:
        """Writes into whatever has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Clicks the middle of an element."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.click_at(*self.run(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({element}.getBoundingClientRect())"))

    def click_at(self, x: float, y: float) -> None:
        """Clicks a place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def size(self, width: int, height: int, *, scale: float = 1, phone: bool = False) -> None:
        """The window's size in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )

    def picture(self, path: Path) -> None:
        """Saves what the window shows."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    async def _call(self, method: str, parameters: dict[str, Any]) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=SECONDS)
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        method, told = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.trouble.append(json.dumps(told["exceptionDetails"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.trouble.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])


@contextmanager
def browser() -> Iterator[Page]:
    """A page of a fresh browser that knows nobody."""
    import aiohttp

    program = chromium()
    assert program is not None
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-extensions", "--remote-debugging-port=0",
            f"--user-data-dir={folder}", "about:blank",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                port = _port(Path(folder) / "DevToolsActivePort", process)

                async def opened() -> tuple[Any, Any]:
                    session = aiohttp.ClientSession()
                    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                        pages = [one for one in await answer.json() if one["type"] == "page"]
                    return session, await session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)

                session, socket = loop.run_until_complete(opened())
                page = Page(loop, socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    page.call(f"{domain}.enable")
                yield page
                loop.run_until_complete(socket.close())
                loop.run_until_complete(session.close())
            finally:
                process.kill()
                process.wait()
                loop.close()


def _port(path: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, f"chromium ended with {process.returncode}"
        if path.exists() and (lines := path.read_text().split()):
            return int(lines[0])
        time.sleep(0.05)
    raise AssertionError("chromium opened no port")
