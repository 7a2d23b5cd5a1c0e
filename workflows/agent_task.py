"""AgentTask: an agent works through a plan, step by step, for as long as it takes.

- The plan comes from an activity: given what was done so far it proposes the next step, or says that it is done.
- Who may do what is not decided here: each step is a governed activity, each delegated part a child of its own.
- A denied step fails the task or is passed over, as the job says; nothing else is passed over.
- Continues as new when the history grows; what was done, and the last output, go along.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from remit.temporal import workflow as remit

NAME = "AgentTask"
NEXT = "plan.next"
_STEP = timedelta(hours=1)
_PLANNING = timedelta(minutes=2)
_RETRY = RetryPolicy(maximum_interval=timedelta(seconds=60))
_KEPT = 100
_DENIALS = ("policy.denied", "delegation.denied")


@dataclass(frozen=True)
class Task:
    """What a task is to do, and how far it is.

    Args:
        agent, purpose: As the delegation says; shown, and never trusted.
        steps: The fixed plan; each ``{"tool", "input"}`` or ``{"delegate": {"agent", "delegation", "steps"}}``.
        on_denied: ``fail`` or ``continue``.
        planner: What plans beyond the fixed steps, e.g. ``{"follow": "output", "most": 10}``; or None.
        position: Fixed steps taken. proposed: Steps taken that somebody else proposed.
        done: The latest outcomes. last: The latest output.
    """

    agent: str
    purpose: str
    steps: list[dict[str, Any]]
    on_denied: str = "fail"
    planner: dict[str, Any] | None = None
    position: int = 0
    proposed: int = 0
    done: list[dict[str, Any]] = field(default_factory=list)
    last: Any = None


@workflow.defn(name=NAME)
class AgentTask:
    """One task of one agent."""

    @workflow.run
    async def run(self, task: Task) -> dict[str, Any]:
        """Work through the plan; return ``{"done": [outcome…], "output": the last output}``."""
        while (proposal := await self._next(task)) is not None:
            step, fixed = proposal["step"], proposal["fixed"]
            outcome, output = await self._take(task, step)
            task = replace(
                task,
                position=task.position + fixed,
                proposed=task.proposed + (not fixed),
                done=[*task.done[1 - _KEPT :], outcome],
                last=output,
            )
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(task)
        return {"done": task.done, "output": task.last}

    async def _next(self, task: Task) -> dict[str, Any] | None:
        progress = {
            "steps": task.steps,
            "planner": task.planner,
            "position": task.position,
            "proposed": task.proposed,
            "last": task.last,
        }
        proposal: dict[str, Any] | None = await workflow.execute_local_activity(
            NEXT, progress, start_to_close_timeout=_PLANNING, retry_policy=_RETRY
        )
        return proposal

    async def _take(self, task: Task, step: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Take one step; return its outcome and its output."""
        if "delegate" in step:
            named, taken = step["delegate"]["agent"], self._delegate(task, step["delegate"])
        else:
            named, taken = step["tool"], self._call(step)
        try:
            return {"step": named, "outcome": "done"}, await taken
        except FailureError as error:
            code = _code(error)
            if task.on_denied != "continue" or code not in _DENIALS:
                raise
            return {"step": named, "outcome": "denied", "code": code}, None

    async def _call(self, step: dict[str, Any]) -> Any:
        return await workflow.execute_activity(
            step["tool"], step["input"], start_to_close_timeout=_STEP, retry_policy=_RETRY
        )

    async def _delegate(self, task: Task, part: dict[str, Any]) -> Any:
        given = part["delegation"]
        handed = await remit.delegate(
            part["agent"],
            child=f"{workflow.info().workflow_id}-{task.position + task.proposed + 1}-{part['agent']}",
            actions=given["actions"],
            spaces=given["spaces"],
            budget=given["budget"],
            expires_in=timedelta(seconds=given["expires_in"]),
            max_depth=given["max_depth"],
        )
        inner = Task(agent=part["agent"], purpose=task.purpose, steps=part["steps"], on_denied=task.on_denied)
        found: dict[str, Any] = await remit.execute_child(NAME, inner, handed=handed)
        return found["output"]


def _code(error: BaseException | None) -> str | None:
    """Return the stable code behind a step's failure; a child's own failures are the child's."""
    if isinstance(error, ActivityError):
        error = error.__cause__
    return error.type if isinstance(error, ApplicationError) else None
