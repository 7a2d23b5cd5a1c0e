"""Options that every command takes, before its name or after it.

- What stands after the command wins over what stands before it.
- `--json` prints one JSON document on stdout and nothing else.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from remit.settings import Settings

Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="FOLDER", help="State folder (default: REMIT_HOME, else .remit)."),
]
As = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="The person to act as (default: who logged in last).")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in your words; it is signed and kept.")]
RequiredReason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, in your words; it is signed and kept.")
]
Task = Annotated[str, typer.Argument(metavar="TASK", help="A task's id.", show_default=False)]


@dataclass(frozen=True, slots=True)
class Before:
    """What was given before the command's name."""

    home: Path | None = None
    person: str | None = None


_NONE = Before()
BEFORE: ContextVar[Before] = ContextVar("BEFORE", default=_NONE)


def settings(home: Path | None) -> Settings:
    """Return the settings of this call.

    Raises:
        Usage: ``settings.invalid``.
    """
    from remit.settings import Settings

    return Settings.load(home=home or BEFORE.get().home)


def person(name: str | None) -> str | None:
    """Return whom this call acts as; None: whoever logged in last."""
    return name or BEFORE.get().person
