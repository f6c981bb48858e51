"""A headless Chromium, driven over a pipe by its own protocol; see ``Browser``.

Nothing but Python and the browser is needed: Chromium reads commands from file descriptor 3 and
writes answers and events to 4, as JSON that ends in a null byte.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
# Puts the two ends of the pipes where Chromium expects them.
LAUNCHER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execvp(sys.argv[3], sys.argv[3:])"
)
SWITCHES = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
)


def chromium():
    """Path of the browser; skips the test where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return found


class Browser:
    """A running browser; use it with ``with``."""

    def __init__(self, folder):
        away, self._commands = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in _pipe())
        self._answers, back = (fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in _pipe())
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", LAUNCHER, f"{away}", f"{back}", chromium(), *SWITCHES),
                f"--user-data-dir={folder}",
            ],
            pass_fds=(away, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(away)
        os.close(back)
        self._rest, self._number, self._events = b"", 0, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call("Browser.close")
        self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method, session=None, **parameters):
        """Call a method and return its result; events that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        _write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._events.append(answer)

    def wait(self, method, session):
        """Wait for an event; all that came up to it."""
        while not any(_is(event, method, session) for event in self._events):
            self._events.append(self._next())
        events, self._events = self._events, []
        return [event for event in events if event.get("sessionId") == session]

    def _next(self):
        while b"\0" not in self._rest:
            read = os.read(self._answers, 1 << 16)
            assert read, "Chromium has ended"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def page(self, path, width, *, dark=False):
        """Open a file in a window of this width."""
        return Page(self, Path(path), width, dark)


class Page:
    """An open page.

    Attributes
    ----------
    complaints : list of str
        What the browser's console holds: errors, warnings, refusals of the page's own policy.
    requests : list of str
        Addresses that were asked for, but data in the page itself.
    """

    def __init__(self, browser, path, width, dark):
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.call("Page.navigate", url=path.resolve().as_uri())
        events = browser.wait("Page.loadEventFired", self._session)
        # The console's messages of the load are there once a later command is answered.
        self.evaluate("document.fonts.ready.then(() => new Promise(requestAnimationFrame))")
        events += browser._events
        self.complaints = [c for event in events if (c := _complaint(event))]
        self.requests = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
            and not event["params"]["request"]["url"].startswith("data:")
        ]

    def call(self, method, **parameters):
        """Call a method of this page."""
        return self._browser.call(method, self._session, **parameters)

    def evaluate(self, script):
        """Value of an expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path):
        """Write the whole page as a picture, for a look."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        Path(path).write_bytes(base64.b64decode(shot["data"]))


def _pipe():
    ends = os.pipe()
    yield from ends
    for end in ends:
        os.close(end)


def _write(descriptor, data):
    while data:
        data = data[os.write(descriptor, data) :]


def _is(event, method, session):
    return event.get("method") == method and event.get("sessionId") == session


def _complaint(event):
    details = event.get("params", {})
    if event.get("method") == "Log.entryAdded":
        return details["entry"]["text"]
    if event.get("method") == "Runtime.consoleAPICalled":
        return f"console.{details['type']}"
    if event.get("method") == "Runtime.exceptionThrown":
        return details["exceptionDetails"]["text"]
    return None
