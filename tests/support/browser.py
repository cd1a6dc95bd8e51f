"""A headless Chromium, driven over WebDriver by Debian's chromedriver.

It keeps what pages wrote to the console and what they requested.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import requests

from .waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_LOG = 1 << 20
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's ID in WebDriver."""
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Space": " "}


class Browser:
    """One window. `selector` are CSS selectors, of the first element that matches."""

    def __init__(self, address: str, session: str) -> None:
        self._base = f"{address}/session/{session}"

    def command(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send one command, and return its value. Raises for an error of the driver."""
        answer = requests.request(method, self._base + path, json=body if method == "POST" else None, timeout=30)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value

    def open(self, path: str) -> None:
        """Open a file, and wait until its script has ended."""
        self.visit(f"file://{path}")

    def visit(self, address: str) -> None:
        """Open an address, and wait until its script has ended."""
        self.command("POST", "/url", {"url": address})

    def run(self, script: str, *arguments: object) -> Any:
        """Return the value of a function body."""
        return self.command("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def find(self, selector: str) -> str:
        """Return the ID of an element."""
        value: str = self.command("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]
        return value

    def click(self, selector: str) -> None:
        """Click on an element, where the driver scrolls it into view."""
        self.command("POST", f"/element/{self.find(selector)}/click", {})

    def click_at(self, x: int, y: int) -> None:
        """Click on a point of the window, in pixels from its top left corner."""
        pointer = {
            "type": "pointer",
            "id": "mouse",
            "actions": [
                {"type": "pointerMove", "duration": 0, "x": x, "y": y},
                {"type": "pointerDown", "button": 0},
                {"type": "pointerUp", "button": 0},
            ],
        }
        self.command("POST", "/actions", {"actions": [pointer]})

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self.command("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def press(self, key: str) -> None:
        """Press a key, one of `KEYS`, where the focus is."""
        self.type_keys(KEYS[key])

    def type_keys(self, text: str) -> None:
        """Type where the focus is, which may be in a shadow tree."""
        actions = [{"type": kind, "value": value} for value in text for kind in ("keyDown", "keyUp")]
        self.command("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def devtools(self, name: str, **parameters: object) -> Any:
        """Send a command of the DevTools protocol."""
        return self.command("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def set_window(self, width: int, height: int, *, dark: bool = False) -> None:
        """Set the size of the page in pixels, and the colours that the user prefers."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def take_screenshot(self) -> bytes:
        """Return the window as PNG."""
        return base64.b64decode(self.command("GET", "/screenshot"))

    def read_console(self) -> list[str]:
        """Return the messages of the console since the last call, refused requests and scripts among them."""
        return [entry["message"] for entry in self.command("POST", "/se/log", {"type": "browser"})]

    def read_requests(self) -> list[str]:
        """Return the addresses that were requested since the last call."""
        events = [
            json.loads(entry["message"])["message"]
            for entry in self.command("POST", "/se/log", {"type": "performance"})
        ]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@contextmanager
def start_browser() -> Iterator[Browser]:
    """Start a driver with one window, and end both."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver is not None
    assert chromium is not None
    with (
        tempfile.TemporaryDirectory(prefix="imq-browser-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as log,
    ):
        process = subprocess.Popen([driver, "--port=0"], stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{_wait_for_port(log)}"
            options = {
                "binary": chromium,
                "args": [*_FLAGS, f"--user-data-dir={folder}", "about:blank"],
                "perfLoggingPrefs": {"enableNetwork": True},
            }
            capabilities = {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            body = {"capabilities": {"alwaysMatch": capabilities}}
            value = requests.post(f"{address}/session", json=body, timeout=60).json()["value"]
            assert "sessionId" in value, value
            browser = Browser(address, value["sessionId"])
            try:
                yield browser
            finally:
                browser.command("DELETE", "")
        finally:
            process.terminate()
            process.wait(30)


def _wait_for_port(log: IO[bytes]) -> int:
    """Return the port that a driver writes to its log.

    The driver shares the offset of the file, so it is not moved.
    """
    found: list[str] = []

    def read_port() -> bool:
        found[:] = re.findall(r"on port (\d+)\.", os.pread(log.fileno(), _MAX_LOG, 0).decode())
        return bool(found)

    wait_until(read_port)
    return int(found[0])
