"""One row of the table: a check, and the attack that it stops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

Attack = Callable[[Any], Awaitable[object] | object]


@dataclass(frozen=True, slots=True)
class Row:
    """What stands behind a check.

    Args:
        attack: Done to a fresh world; refused with `code` while the check is in place.
        code: The refusal's.
        also: The other checks that stop the same attack; with all of them gone too it goes through.
        removed: Takes the check away, where that is not one `raise` or answer.
        alone: Whether the attack needs no world.
        lost: The check says that there is nothing to go on with: without it the attack ends in an error of Python's.
    """

    attack: Attack
    code: str
    also: tuple[str, ...] = ()
    lost: bool = False
    removed: Callable[[], AbstractContextManager[None]] | None = None
    alone: bool = False


Rows = dict[str, Row]
Plain = Callable[[], Any]


def plain(attack: Plain, code: str, *also: str, lost: bool = False) -> Row:
    """Return a row whose attack needs no world."""
    return Row(lambda _: attack(), code, also, lost, alone=True)
