"""Toolbox: the names of the tools that workers of a state folder run, so that a job naming another is refused early.

- For convenience only: what a tool may do is decided at each attempt, and an unknown one is refused there as well.
- A folder no worker has written to says nothing, and nothing is refused by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from remit import private

_FILE = "tools.json"


def announce(home: Path, names: Iterable[str]) -> None:
    """Write the names of the tools a worker runs, replacing those of the one before."""
    private.replace(home / _FILE, json.dumps(sorted(names)))


def announced(home: Path) -> frozenset[str] | None:
    """Return the names last written; None where no worker has written any."""
    try:
        names: object = json.loads((home / _FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return frozenset(str(name) for name in names) if isinstance(names, list) else None
