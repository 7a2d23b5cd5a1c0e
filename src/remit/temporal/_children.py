"""Children of a task: each acts under a chain of its own, or shares its parent's.

- A child is named before it starts: a delegation is handed to exactly that workflow id, or the id is allowed to use
  the parent's.
- A child governs itself; the parent only passes on what it learns: look again, go on under a fresh delegation, stop.
- Passing on is best effort: a child that was not told still finds out at its next attempt.
- A child may hear before its parent: when one ends because its chain is not live, the parent looks at its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from remit.delegation import Reference, Scope
from remit.temporal import _names as names
from remit.temporal._failure import facts_of
from remit.temporal._header import Terms
from remit.temporal._task import GovernedTask

_PARENT_LOOKS = "remit-parent-looks"


@dataclass(frozen=True, slots=True)
class Handed:
    """What one task hands to one child.

    Args:
        child: The child's workflow id; no other execution may use it.
        agent: Name of the agent it is handed to.
        scope: What it may do.
        expires_in: Seconds.
        max_depth: Deepest link allowed below.
        reference: The delegation that was made.
        generation: Which of the task's own delegations it was made under.
    """

    child: str
    agent: str
    scope: Scope
    expires_in: int
    max_depth: int
    reference: Reference
    generation: int = 0


HANDED: ContextVar[tuple[Handed, Terms | None] | None] = ContextVar("remit_handed", default=None)
"""What the child that is being started is given; set by `remit.temporal.workflow`."""


class Children:
    """The children of one run."""

    def __init__(self, task: GovernedTask) -> None:
        self._task = task
        self._live: dict[str, tuple[workflow.ChildWorkflowHandle[Any, Any], Handed | None]] = {}
        self._errands: dict[asyncio.Task[None], None] = {}
        task.nudge, task.move = self._nudge, self._move

    async def delegate(self, *, child: str, agent: str, scope: Scope, expires_in: int, max_depth: int) -> Handed:
        """Hand something narrower to an agent, for one child.

        Raises:
            ApplicationError: The refusal, with its code.
        """
        answer = await self._ask(
            names.DELEGATE,
            child,
            {
                "agent": agent,
                "actions": list(scope.actions),
                "spaces": list(scope.spaces),
                "budget": scope.budget,
                "expires_in": expires_in,
                "max_depth": max_depth,
            },
        )
        reference = Reference(answer["delegation"], answer["digest"])
        return Handed(child, agent, scope, expires_in, max_depth, reference, self._task.gate.generation)

    async def current(self, handed: Handed) -> Handed:
        """Return what was handed, made again if the task goes on under another delegation since."""
        if handed.generation == self._task.gate.generation:
            return handed
        return await self.delegate(
            child=handed.child,
            agent=handed.agent,
            scope=handed.scope,
            expires_in=handed.expires_in,
            max_depth=handed.max_depth,
        )

    async def allow(self, child: str) -> Reference:
        """Let a child use the task's own delegation.

        Raises:
            ApplicationError: The refusal, with its code.
        """
        await self._ask(names.ALLOW, child)
        return self._task.chain

    def add(self, handle: workflow.ChildWorkflowHandle[Any, Any], handed: Handed | None) -> None:
        """Take in a child that was started."""
        self._live[handle.id] = (handle, handed)
        self._task.view.children.append(handle.id)
        # Called before the workflow's code hears how the child ended: nobody else has had the handle yet.
        handle.add_done_callback(lambda _: self._ended(handle))

    @property
    def busy(self) -> bool:
        """Whether a child runs."""
        return bool(self._live)

    def cancel(self) -> None:
        """Cancel every child that runs."""
        for handle, _ in list(self._live.values()):
            handle.cancel()

    def _ended(self, handle: workflow.ChildWorkflowHandle[Any, Any]) -> None:
        self._live.pop(handle.id, None)
        if handle.cancelled() or self._task.over:
            return
        kind, _ = facts_of(handle.exception())
        if kind == "NotLive" and workflow.patched(_PARENT_LOOKS):
            self._task.doubt()

    def _nudge(self) -> None:
        for handle, _ in self._live.values():
            self._run(self._signal(handle, names.NOTICE, ()))

    def _move(self) -> None:
        for handle, handed in list(self._live.values()):
            self._run(self._hand_anew(handle, handed))

    async def _hand_anew(self, handle: workflow.ChildWorkflowHandle[Any, Any], handed: Handed | None) -> None:
        try:
            if handed is None:
                fresh = await self.allow(handle.id)
            else:
                handed = await self.current(handed)
                self._live[handle.id] = (handle, handed)
                fresh = handed.reference
        except ApplicationError as error:
            workflow.logger.warning("child %s goes on waiting: %s", handle.id, error.message)
            return
        await self._signal(handle, names.RESUME, ({"delegation": fresh.delegation, "digest": fresh.digest},))

    async def _signal(
        self, handle: workflow.ChildWorkflowHandle[Any, Any], name: str, arguments: Sequence[Any]
    ) -> None:
        if not handle.done():
            await handle.signal(name, args=arguments)

    async def _ask(self, activity: str, *arguments: Any) -> Mapping[str, Any]:
        """Ask for something under the task's own chain; while the chain is not live, wait at the gate."""
        task = self._task
        while True:
            await task.gate.passed()
            chain, first_run = task.chain, workflow.info().first_execution_run_id
            answer: Mapping[str, Any] = await task.ask(
                activity, first_run, [chain.delegation, chain.digest], *arguments
            )
            if answer["accepted"] and chain == task.chain:
                return answer
            if answer["accepted"]:
                continue  # made under a delegation the task does not use any more
            if answer["remit"] != "NotLive":
                raise ApplicationError(answer["message"], {**answer}, type=answer["code"], non_retryable=True)
            await task.looked()
            if task.gate.open:
                await workflow.sleep(1)

    def _run(self, errand: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            try:
                await errand
            except FailureError as error:
                workflow.logger.warning("a child was not told: %s", error)

        task = asyncio.create_task(quietly())
        self._errands[task] = None
        task.add_done_callback(lambda done: self._errands.pop(done, None))
