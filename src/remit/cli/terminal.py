"""The terminal: what people read, escaped, and what programs read, as JSON.

- Text that came from elsewhere is never markup and never moves the cursor: control and direction characters are
  spelled out, and styles come only from here.
- Progress and errors go to stderr; stdout carries the answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from remit.errors import RemitError

WIDE = 200
"""Columns where there is no window."""
STYLES: Mapping[str, str] = {
    "running": "cyan", "waiting-approval": "yellow", "suspended": "yellow", "completed": "green", "failed": "red",
    "halted": "red", "rejected": "red", "live": "green", "revoked": "red", "expired": "red", "unknown": "red",
    "done": "green", "ok": "green", "permit": "green", "deny": "red", "needs-approval": "yellow", "refused": "red",
    "error": "red", "stopped": "red", "denied": "red", "waiting": "yellow", "bad": "red", "warn": "yellow",
}  # fmt: skip


@cache
def _consoles() -> tuple[Console, Console]:
    return _console(stderr=False), _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = WIDE  # nobody's window: ids stay whole in a file or a pipe
    return made


def out() -> Console:
    """Return the console of the answer."""
    return _consoles()[0]


def err() -> Console:
    """Return the console of progress and errors."""
    return _consoles()[1]


def reset() -> None:
    """Forget the consoles, for a caller that replaced stdout or stderr."""
    _consoles.cache_clear()


def say(*lines: RenderableType) -> None:
    """Print lines of an answer; a plain string is text from us, not markup."""
    for line in lines:
        out().print(line, soft_wrap=isinstance(line, str | Text))


def document(value: Any) -> None:
    """Print one JSON document; nothing may be printed besides it."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def refuse(error: RemitError) -> int:
    """Print an error's one or two lines on stderr and return its exit status."""
    for line in error.diagnostics().splitlines():
        err().print(safe(line), soft_wrap=True)
    return error.exit_status


def safe(value: object, style: str = "") -> Text:
    """Return text from elsewhere as it can be shown: no markup, no control, no direction characters."""
    from remit.audit import plain

    return Text(str(plain(str(value))), style=style)


def state(word: str) -> Text:
    """Return a state in its colour."""
    return safe(word, STYLES.get(word, ""))


def exact(value: Any) -> Text:
    """Return a value an approver decides about, complete and in the order it is signed."""
    from remit.step import shown

    return Text(shown(value), overflow="fold", no_wrap=False)


def table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table whose cells are folded, never cut."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def short(spiffe_id: str) -> str:
    """Return ``user/alice`` for its SPIFFE ID."""
    return "/".join(spiffe_id.rsplit("/", 2)[-2:]) if spiffe_id.startswith("spiffe://") else spiffe_id


def moment(seconds: float) -> str:
    """Return a time as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
