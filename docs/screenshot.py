"""Takes a picture of a page with headless Chromium: `python docs/screenshot.py URL FILE.png [--wait SECONDS]`.

- Needs `chromium` on PATH and nothing else: the browser is spoken to over its debugging pipe (file descriptors 3
  and 4, messages ended by NUL), so no port is opened and no driver is needed.
- The Temporal UI polls for ever and never goes idle, so the wait is a fixed one.
- The browser's profile is a new empty folder that is removed afterwards.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ANSWER_SECONDS = 60.0


class Browser:
    """A Chromium that runs from ``with`` to the end of the block."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._number = 0
        self._unread = b""

    def __enter__(self) -> Browser:
        self._profile = tempfile.mkdtemp(prefix="screenshot-")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # A shell puts the pipes where Chromium looks for them; the numbers are ours, not input.
        line = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", line, self._program, *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._out)  # the end of the pipe ends the browser
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        for _ in range(50):  # its child processes end a little later and may still write
            shutil.rmtree(self._profile, ignore_errors=True)
            if not Path(self._profile).exists():
                break
            time.sleep(0.1)

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result.

        Raises:
            RuntimeError: When the browser refuses, ends or does not answer in time.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            answer = json.loads(self._next(deadline))
            if answer.get("id") != self._number:
                continue  # an event
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error'].get('message')}")
            return dict(answer["result"])

    def _next(self, deadline: float) -> bytes:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._in, 1 << 20) if ready else b""
            if not data:
                raise RuntimeError("the browser ended, or does not answer")
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        return message


def take(url: str, file: Path, *, program: str, width: int, height: int, wait: float) -> None:
    """Write a PNG of the page as it is ``wait`` seconds after it was asked for.

    Raises:
        RuntimeError: When the page cannot be reached or the browser fails.
    """
    with Browser(program) as browser:
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.ask(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        reached = browser.ask("Page.navigate", session, url=url)
        if "errorText" in reached:
            raise RuntimeError(f"{url}: {reached['errorText']}")
        time.sleep(wait)
        picture = browser.ask("Page.captureScreenshot", session, format="png")["data"]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(base64.b64decode(picture))


def main() -> int:
    """Take one picture; return the exit status."""
    parser = argparse.ArgumentParser(description="Takes a picture of a page with headless Chromium.")
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--wait", type=float, default=8.0, metavar="SECONDS")
    parser.add_argument("--width", type=int, default=1600)
    parser.add_argument("--height", type=int, default=1100)
    given = parser.parse_args()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        sys.stderr.write("Chromium is not installed; on Debian: apt-get install chromium\n")
        return 3
    try:
        take(given.url, given.file, program=program, width=given.width, height=given.height, wait=given.wait)
    except RuntimeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{given.file}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
