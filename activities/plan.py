"""Planning: what comes next, given what was done.

- A planner proposes; it has no authority. What it proposes is decided like any other step.
- `FixedPlan` takes the job's steps in order.
- `Obedient` does, besides, what a tool's output tells it to: a naive agent, so that what stops it is the authority.
- A planner that asks a model has the same interface.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from temporalio import activity
from temporalio.exceptions import ApplicationError

NEXT = "plan.next"
_DEEPEST = 8


@dataclass(frozen=True)
class Progress:
    """How far a task is.

    Args:
        steps: The fixed plan. planner: What the job says of planning beyond it.
        position: Fixed steps taken. proposed: Other steps taken. last: The latest output.
    """

    steps: list[dict[str, Any]]
    planner: dict[str, Any] | None
    position: int
    proposed: int
    last: Any


@dataclass(frozen=True)
class Proposal:
    """The next step; ``fixed`` tells whether it is the plan's own."""

    step: dict[str, Any]
    fixed: bool


class Planner(Protocol):
    """Proposes the next step."""

    async def next(self, progress: Progress) -> Proposal | None:
        """Return the next step, None when there is nothing left to do."""


class FixedPlan:
    """The job's steps, in order."""

    async def next(self, progress: Progress) -> Proposal | None:
        """Return the next fixed step."""
        if progress.position >= len(progress.steps):
            return None
        return Proposal(progress.steps[progress.position], fixed=True)


class Obedient:
    """Does what it reads: an output that holds ``{"next": {"tool", "input"}}`` anywhere gets its way.

    Args:
        most: How many such steps it takes at most.
        otherwise: Who plans when nothing was read.
    """

    def __init__(self, most: int, otherwise: Planner) -> None:
        self._most = most
        self._otherwise = otherwise

    async def next(self, progress: Progress) -> Proposal | None:
        """Return the step the last output asks for, else the next of the plan."""
        if progress.proposed < self._most:
            for asked in _instructions(progress.last, depth=0):
                return Proposal(asked, fixed=False)
        return await self._otherwise.next(progress)


def planner_of(wanted: dict[str, Any] | None) -> Planner:
    """Return the planner a job names.

    Raises:
        ApplicationError: ``plan.unknown``.
    """
    if wanted is None:
        return FixedPlan()
    if wanted.get("follow") == "output":
        return Obedient(int(wanted.get("most", 10)), FixedPlan())
    raise ApplicationError(f"there is no planner {sorted(wanted)}", type="plan.unknown", non_retryable=True)


@activity.defn(name=NEXT)
async def propose(progress: Progress) -> Proposal | None:
    """Propose the next step of a task."""
    return await planner_of(progress.planner).next(progress)


def _instructions(value: Any, *, depth: int) -> Iterator[dict[str, Any]]:
    """Find what an output asks for, also where it stands as JSON text inside a field."""
    if depth > _DEEPEST:
        return
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return
    if isinstance(value, dict):
        asked = value.get("next")
        if isinstance(asked, dict) and isinstance(asked.get("tool"), str):
            yield {"tool": asked["tool"], "input": asked.get("input") or {}}
        for inner in value.values():
            yield from _instructions(inner, depth=depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _instructions(inner, depth=depth + 1)
