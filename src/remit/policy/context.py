"""What the authority tells Cedar about the moment of asking."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunContext:
    """The attempt being decided.

    Args:
        now: Unix seconds.
        step: Number of the step in its task.
        attempt: Number of the try of that step.
        spent: Cost units already spent under the leaf delegation.
        cost: Cost units this step would add.
    """

    now: int
    step: int
    attempt: int
    spent: int
    cost: int


@dataclass(frozen=True, slots=True)
class Approvals:
    """The approvals that hold for exactly this step.

    Args:
        count: Distinct people who approved.
        roles: The roles they hold, together.
    """

    count: int = 0
    roles: frozenset[str] = frozenset()
