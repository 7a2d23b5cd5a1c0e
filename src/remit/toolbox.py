"""Toolbox: the names of the tools that workers of a state folder run, so that a job naming another is refused early.

- For convenience only: what a tool may do is decided at each attempt, and an unknown one is refused there as well.
- A folder no worker has written to says nothing, and nothing is refused by it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

_FILE = "tools.json"


def announce(home: Path, names: Iterable[str]) -> None:
    """Write the names of the tools a worker runs, replacing those of the one before."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = home / f".{_FILE}.{os.getpid()}"
    beside.write_text(json.dumps(sorted(names)), encoding="utf-8")
    beside.replace(home / _FILE)


def announced(home: Path) -> frozenset[str] | None:
    """Return the names last written; None where no worker has written any."""
    try:
        names: object = json.loads((home / _FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return frozenset(str(name) for name in names) if isinstance(names, list) else None
