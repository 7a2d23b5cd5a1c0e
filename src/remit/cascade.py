"""Cascade: what follows from a statement, as values that cross Temporal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

WORKFLOW = "Revocation"
PROGRESS = "progress"
"""Query: how far it is."""
BEGIN = "revocation.begin"
ROUND = "revocation.round"
COMPLETE = "revocation.complete"
ACTIVITIES = (BEGIN, ROUND, COMPLETE)


def workflow_id(statement: str) -> str:
    """Return the id of a statement's cascade: one each, however often it is started."""
    return f"revocation-{statement}"


class Outcome(StrEnum):
    """How far a statement is known to be made."""

    STATED = "stated"
    ABSENT = "absent"
    INVALID = "invalid"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Begun:
    """What a cascade is about.

    Args:
        outcome: Whether the statement is there and counts; ``nothing``: no cascade of this id is open.
        event: Its URI. subject: Delegation id or SPIFFE ID. by: Who stated it. reason: Their words.
        asked_at: When the command to state it began, Unix seconds. code: Why it does not count.
    """

    outcome: Outcome
    event: str = ""
    subject: str = ""
    by: str = ""
    reason: str = ""
    asked_at: float = 0.0
    code: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one round did and found.

    Args:
        overtaken: The subject is live again, or was already; there is nothing to stop.
        destroyed: Leases this round destroyed. last_dead_at: When the last of them died, Unix seconds.
        stopped: Tasks that stand still. going: Tasks that do not. told: Tasks told to look, in this round.
        pending: What is not done, each ``"<what>: <why>"``.
    """

    overtaken: bool = False
    destroyed: int = 0
    last_dead_at: float | None = None
    stopped: int = 0
    going: int = 0
    told: int = 0
    pending: tuple[str, ...] = ()
