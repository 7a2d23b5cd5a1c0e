"""Points: named places where a worker stops until a test lets it go on, kept as files so that a kill cannot lose them.

- A point is armed by a test; the first attempt that comes there takes it, once, and waits.
- What tools did is written down here as well, a line for each: the effects that must not happen twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

PAUSE = 0.01


class Points:
    """The points of one folder.

    Args:
        folder: Shared by the test and its workers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def arm(self, name: str) -> None:
        """Have the next attempt that comes there wait."""
        for left in ("reached", "released"):
            self._file(left, name).unlink(missing_ok=True)
        self._file("armed", name).touch()

    def disarm(self) -> None:
        """Forget every point, as if none had been armed."""
        for path in self.folder.glob("*.point"):
            path.unlink(missing_ok=True)

    async def reached(self, name: str, *, seconds: float = 60) -> None:
        """Return once an attempt waits there."""
        deadline = time.monotonic() + seconds
        while not self._file("reached", name).exists():
            assert time.monotonic() < deadline, f"nobody came to {name}"
            await asyncio.sleep(PAUSE)

    def release(self, name: str) -> None:
        """Let whoever waits there go on."""
        self._file("released", name).touch()

    async def pause(self, name: str) -> None:
        """Wait here, if this point is armed and nobody has taken it."""
        try:
            self._file("armed", name).rename(self._file("reached", name))
        except FileNotFoundError:
            return
        while not self._file("released", name).exists():  # noqa: ASYNC110 - whoever lets it go is another process
            await asyncio.sleep(PAUSE)

    def note(self, **facts: Any) -> None:
        """Write down what was done."""
        line = json.dumps({"time": time.time(), **facts}) + "\n"
        file = os.open(self.folder / "done.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def noted(self, what: str, **facts: Any) -> list[dict[str, Any]]:
        """Return what was written down of this kind and with these facts."""
        path = self.folder / "done.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [one for one in found if one["what"] == what and facts.items() <= one.items()]

    def _file(self, state: str, name: str) -> Path:
        return self.folder / f"{state}.{name}.point"
