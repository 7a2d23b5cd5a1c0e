"""Planning: what comes next, given what was done.

- A planner proposes; it has no authority. What it proposes is decided like any other step.
- `FixedPlan` takes the job's steps in order.
- `Obedient` does, besides, what a tool's output tells it to: a naive agent, so that what stops it is the authority.
- What a model proposes comes after the fixed steps: `activities.model` asks it, as a step.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from temporalio import activity
from temporalio.exceptions import ApplicationError

from remit.catalogue import nearest
from remit.job import ASK

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


class Planning:
    """The activity that plans.

    Args:
        tools: Activity types a step may name; a step with another one would wait for a worker for ever.
    """

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tools

    @activity.defn(name=NEXT)
    async def propose(self, progress: Progress) -> Proposal | None:
        """Propose the next step of a task.

        Raises:
            ApplicationError: ``tool.unknown`` or ``plan.unknown``, not retried.
        """
        proposal = await _planner(progress.planner).next(progress)
        named = progress.steps if progress.position == 0 else []
        asks = [{"tool": ASK}] if progress.planner and "model" in progress.planner else []
        for tool in _tools([*asks, *named, *([proposal.step] if proposal else [])]):
            if tool not in self._tools:
                hint = nearest(tool, self._tools)
                raise ApplicationError(
                    f"there is no tool {tool[:100]!r}" + (f"; did you mean {hint!r}?" if hint else ""),
                    type="tool.unknown",
                    non_retryable=True,
                )
        return proposal


def _planner(wanted: dict[str, Any] | None) -> Planner:
    if wanted is None or "model" in wanted:  # a model is asked by a step of its own (activities/model.py)
        return FixedPlan()
    if wanted.get("follow") == "output":
        return Obedient(int(wanted.get("most", 10)), FixedPlan())
    raise ApplicationError(f"there is no planner {sorted(wanted)}", type="plan.unknown", non_retryable=True)


def _tools(steps: Iterable[dict[str, Any]]) -> Iterator[str]:
    for step in steps:
        if "delegate" in step:
            yield from _tools(step["delegate"]["steps"])
        else:
            yield step["tool"]


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
