#!/usr/bin/env python3
"""Open HTML pages in headless Chromium; fail on an error or on anything that is not in the page.

    open_report.py PAGE.html ...          each page: no exception, no console error, no failed load,
                                          no request but for the page itself and data: or blob:
    open_report.py --self-check           planted faults of every kind must be found
    open_report.py --screenshots FOLDER PAGE.html ...

Needs Python's standard library and a Chromium alone; speaks the DevTools protocol over two pipes.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the step runs as root in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # what a page asks for is reported, never fetched
    "--remote-debugging-pipe",
)
START_S, PAGE_S = 60.0, 60.0  # a browser that starts for the first time takes its time
SETTLE_S = 0.3  # real time, which workers run on
TIMERS_MS = 5000  # of the page's own clock, so that what it does later is seen as well
OWN = ("data:", "blob:", "about:")


class Browser:
    """A running Chromium; messages go to its descriptor 3 and come from its descriptor 4."""

    def __init__(self, program: str, profile: str) -> None:
        to_read, self.out = os.pipe()
        self.into, to_write = os.pipe()

        def connect() -> None:
            # both are moved out of the way first: either may be 3 or 4 already
            high_read, high_write = os.dup(to_read), os.dup(to_write)
            while high_read < 5:
                high_read = os.dup(high_read)
            while high_write < 5:
                high_write = os.dup(high_write)
            os.dup2(high_read, 3)
            os.dup2(high_write, 4)

        self.process = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=connect,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(to_write)
        self.rest = b""
        self.last = 0

    def send(self, method: str, session: str | None = None, **params: Any) -> int:
        self.last += 1
        message: dict[str, Any] = {"id": self.last, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        return self.last

    def waiting(self, until: float) -> dict[str, Any] | None:
        """The next message; None at that time, even if a page never stops to talk."""
        while True:
            left = until - time.monotonic()
            if left <= 0.0:
                return None
            if b"\0" in self.rest:
                message, self.rest = self.rest.split(b"\0", 1)
                found: dict[str, Any] = json.loads(message)
                return found
            if select.select([self.into], [], [], left)[0]:
                chunk = os.read(self.into, 1 << 16)
                if not chunk:
                    raise ConnectionError("the browser is gone")
                self.rest += chunk

    def receive(self, until: float) -> dict[str, Any]:
        message = self.waiting(until)
        if message is None:
            raise TimeoutError("browser and page did not come to an end in time")
        return message

    def close(self) -> None:
        try:
            os.write(self.out, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)  # with its renderers
            self.process.wait()
        os.close(self.out)
        os.close(self.into)


class Page:
    """One opened page: what it asked for and what went wrong."""

    def __init__(self, browser: Browser, path: Path, faults: list[str]) -> None:
        self.browser, self.url = browser, path.resolve().as_uri()
        self.faults = faults
        self.events: set[str] = set()
        self.urls: dict[str, str] = {}
        self.until = time.monotonic() + START_S
        target = self.call("Target.createTarget", None, url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", None, targetId=target, flatten=True)
        self.target, self.session = target, attached["sessionId"]

    def call(self, method: str, session: str | None, **params: Any) -> dict[str, Any]:
        """Send and wait for the answer; whatever comes before it is looked at."""
        number = self.browser.send(method, session, **params)
        while True:
            message = self.browser.receive(self.until)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
            self.look(message)

    def look(self, message: dict[str, Any]) -> None:
        method, p = message.get("method", ""), message.get("params", {})
        self.events.add(method)
        if method == "Target.attachedToTarget":  # a frame or worker of the page
            self.watch(p["sessionId"], wait=False)
        elif method == "Network.requestWillBeSent":
            self.urls[p["requestId"]] = p["request"]["url"]
            self.asked(p["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.asked(p["url"])
        elif method == "Network.loadingFailed":
            url = self.urls.get(p["requestId"], "?")
            self.faults.append(f"load failed ({p['errorText']}): {url[:200]}")
        elif method == "Network.responseReceived" and p["response"]["status"] >= 400:
            self.faults.append(f"load failed ({p['response']['status']}): {p['response']['url']}")
        elif method == "Runtime.exceptionThrown":
            details = p["exceptionDetails"]
            text = details.get("exception", {}).get("description", details["text"])
            self.faults.append(f"exception: {text.splitlines()[0]}")
        elif method == "Runtime.consoleAPICalled" and p["type"] in ("error", "assert"):
            words = [str(a.get("value", a.get("description", "?"))) for a in p["args"]]
            self.faults.append(f"console {p['type']}: {' '.join(words)}")
        elif method == "Log.entryAdded" and p["entry"]["level"] == "error":
            self.faults.append(f"logged error: {p['entry']['text']} {p['entry'].get('url', '')}")
        elif method in ("Inspector.targetCrashed", "Target.targetCrashed"):
            self.faults.append("the page crashed")

    def asked(self, url: str) -> None:
        if url != self.url and not url.startswith(OWN):
            self.faults.append(f"asked for {url[:200]}")

    def watch(self, session: str, wait: bool = True) -> None:
        calls: list[tuple[str, dict[str, Any]]] = [
            ("Runtime.enable", {}),
            ("Log.enable", {}),
            ("Network.enable", {}),
            (
                "Target.setAutoAttach",
                {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True},
            ),
        ]
        for method, params in calls:
            if wait:
                self.call(method, session, **params)
            else:
                self.browser.send(method, session, **params)
        if not wait:
            self.browser.send("Runtime.runIfWaitingForDebugger", session)

    def open(self) -> None:
        self.until = time.monotonic() + PAGE_S
        self.call("Page.enable", self.session)
        self.watch(self.session)
        went = self.call("Page.navigate", self.session, url=self.url)
        if "errorText" in went:
            raise RuntimeError(f"{self.url}: {went['errorText']}")
        while "Page.loadEventFired" not in self.events:
            self.look(self.browser.receive(self.until))
        self.call(
            "Emulation.setVirtualTimePolicy",
            self.session,
            policy="advance",
            budget=TIMERS_MS,
        )
        while "Emulation.virtualTimeBudgetExpired" not in self.events:
            self.look(self.browser.receive(self.until))
        self.settle()
        # a hint to connect is no request, but reaches the network all the same
        hints = "[...document.querySelectorAll('link[href]')].map(link => link.href)"
        for url in self.evaluate(hints):
            self.asked(url)
        if not self.evaluate("document.body.innerText.trim().length"):
            self.faults.append("the page shows no text")

    def settle(self) -> None:
        """Look at all that comes in SETTLE_S."""
        until = time.monotonic() + SETTLE_S
        while (message := self.browser.waiting(until)) is not None:
            self.look(message)

    def evaluate(self, expression: str) -> Any:
        found = self.call(
            "Runtime.evaluate", self.session, expression=expression, returnByValue=True
        )
        return found["result"]["value"]

    def screenshot(self, path: Path, width: int = 1180) -> None:
        def size(height: int) -> None:
            self.call(
                "Emulation.setDeviceMetricsOverride",
                self.session,
                width=width,
                height=height,
                deviceScaleFactor=1,
                mobile=False,
            )

        size(800)
        size(min(int(self.evaluate("document.documentElement.scrollHeight")), 16_000))
        shot = self.call("Page.captureScreenshot", self.session, format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self.call("Target.closeTarget", None, targetId=self.target)


def faults_of(
    browser: Browser, path: Path, screenshots: Path | None = None, name: str = ""
) -> list[str]:
    """What is wrong with a page, each thing once."""
    faults: list[str] = []
    try:
        page = Page(browser, path, faults)
        page.open()
        if screenshots is not None:
            page.screenshot(screenshots / f"{name or path.stem}.png")
        page.close()
    except (OSError, RuntimeError) as error:  # a timeout and a lost browser are OSErrors
        faults.append(str(error))
    return list(dict.fromkeys(faults))


# ----- the check of the check -----

CLEAN = (
    "<p>text</p><img src='data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA='>"
    "<svg width='9' height='9'><rect width='9' height='9'/></svg><script>var a = 1</script>"
)
PLANTED = {
    "an image of another host": ("<img src='https://example.org/a.png'>", "asked for https://"),
    "a fetch": ("<script>fetch('https://example.org/a')</script>", "asked for https://"),
    "a fetch after a while": (
        "<script>setTimeout(() => fetch('http://example.org/a').catch(() => 0), 2500)</script>",
        "asked for http://",
    ),
    "a style sheet": ("<style>@import url(http://example.org/a.css);</style>", "asked for http://"),
    "a font": (
        "<style>@font-face {font-family: f; src: url(https://example.org/f.woff)} "
        "p {font-family: f}</style>",
        "asked for https://",
    ),
    "a socket": ("<script>new WebSocket('ws://example.org/')</script>", "asked for ws://"),
    "a frame": ("<iframe src='https://example.org/'></iframe>", "asked for https://"),
    "a worker's fetch": (
        "<script>new Worker(URL.createObjectURL(new Blob(["
        "\"fetch('https://example.org/w').catch(() => 0)\"])))</script>",
        "asked for https://",
    ),
    "a hint to connect": ("<link rel='preconnect' href='https://example.org'>", "asked for https"),
    "a file beside the page": ("<img src='beside.png'>", "asked for file:"),
    "an exception": ("<script>throw new Error('planted')</script>", "exception: Error: planted"),
    "a rejected promise": (
        "<script>Promise.reject(new Error('late'))</script>",
        "exception: Error",
    ),
    "a syntax error": ("<script>var = 1</script>", "exception: SyntaxError"),
    "a console error": ("<script>console.error('planted')</script>", "console error: planted"),
}


def self_check(browser: Browser) -> list[str]:
    """What the check does not find, or finds where nothing is."""
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        for name, (html, wanted) in {"nothing": (CLEAN, ""), **PLANTED}.items():
            path.write_text(f"<!DOCTYPE html><meta charset='utf-8'><title>t</title>{CLEAN}{html}")
            found = faults_of(browser, path)
            is_right = any(wanted in fault for fault in found) if wanted else not found
            print(f"  planted {name}: {found[0] if found else 'nothing found'}")
            if not is_right:
                wrong.append(f"planted {name}, found {found or 'nothing'}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pages", nargs="*", type=Path)
    parser.add_argument("--self-check", action="store_true")
    parser.add_argument("--screenshots", type=Path)
    given = parser.parse_args()
    program = next((p for p in map(shutil.which, BROWSERS) if p), None)
    if program is None:
        print(f"error: no browser found (looked for {', '.join(BROWSERS)})", file=sys.stderr)
        return 1
    missing = [str(p) for p in given.pages if not p.is_file()]
    if missing or not (given.pages or given.self_check):
        print(f"error: no such page: {', '.join(missing) or 'none was given'}", file=sys.stderr)
        return 1
    if given.screenshots:
        given.screenshots.mkdir(parents=True, exist_ok=True)
    wrong: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="open_report_", ignore_cleanup_errors=True) as profile,
        closing(Browser(program, profile)) as browser,
    ):
        if given.self_check:
            wrong += self_check(browser)
        for path in given.pages:
            name = f"{path.resolve().parent.name}_{path.stem}"
            found = faults_of(browser, path, given.screenshots, name)
            print(f"  {path}: {'; '.join(found) if found else 'opens, nothing asked for'}")
            wrong += [f"{path}: {fault}" for fault in found]
    for fault in wrong:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
