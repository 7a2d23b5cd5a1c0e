"""Children of a task: each acts under a chain of its own, or shares its parent's.

- A child is named before it starts: a delegation is handed to exactly that workflow id, or the id is allowed to use
  the parent's. Its parent is whoever acts in the task when it starts.
- Where there is a mapping, it says which children are handed what; one that it does not name is refused. What it said
  stands in the history, so that a replay under another mapping does the same again.
- What a mapping handed is made anew when its time is over, as long as the parent's own lasts.
- A child governs itself; the parent only passes on what it learns: look again, go on under a fresh delegation, stop.
- Passing on is best effort: a child that was not told still finds out at its next attempt.
- A child may hear before its parent: when one ends because its chain is not live, the parent looks at its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from remit.delegation import Reference, Scope
from remit.temporal import _names as names
from remit.temporal._acting import Acting
from remit.temporal._agent import Agent, Holder, asked
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
        holder: Whose chain it was made under; None: the task's own.
    """

    child: str
    agent: str
    scope: Scope
    expires_in: int
    max_depth: int
    reference: Reference
    generation: object = 0
    holder: Any = field(default=None, repr=False, compare=False)

    @property
    def terms(self) -> dict[str, Any]:
        """What `remit.delegate` was asked for."""
        return {
            "agent": self.agent,
            "actions": list(self.scope.actions),
            "spaces": list(self.scope.spaces),
            "budget": self.scope.budget,
            "expires_in": self.expires_in,
            "max_depth": self.max_depth,
        }


HANDED: ContextVar[tuple[Handed, Terms | None] | None] = ContextVar("remit_handed", default=None)
"""What the child that is being started is given; set by `remit.temporal.workflow`."""


class Claim:
    """What one child acts under; asked for anew when its parent goes on under another delegation.

    Args:
        holder: Whose chain it is under.
        request: The activity that makes or allows it, and its arguments.
        handed: What was handed over before; None: ask.
    """

    def __init__(
        self, task: GovernedTask, holder: Holder, request: tuple[Any, ...], *, handed: Handed | None = None
    ) -> None:
        self.holder = holder
        self.agent = handed.agent if handed else ""
        self.until = 0
        """Until when it lasts, Unix seconds; 0: as long as the parent's, or as its workflow's code handed it."""
        self._task = task
        self._request = request
        self._reference = handed.reference if handed else None
        self._generation = handed.generation if handed else None

    async def current(self) -> Reference:
        """Return the chain the child acts under now.

        Raises:
            ApplicationError: The refusal, with its code.
        """
        if self._reference is not None and self._generation == self.holder.gate.generation:
            return self._reference
        answer, under = await asked(self._task, self.holder, *self._request)
        generation = self.holder.gate.generation
        if "delegation" not in answer:  # shared: allowed anew each time, for only then is it known to be
            self.until = self.holder.expires_at if isinstance(self.holder, Agent) else 0
            return under
        if self._request[0] == names.HAND:
            self.until = int(answer.get("expires_at") or 0)
        self.agent = answer.get("agent") or self.agent
        self._reference, self._generation = Reference(answer["delegation"], answer["digest"]), generation
        return self._reference

    async def lapsed(self) -> None:
        """Ask anew next time: the time of what was handed over is over, or its holder's."""
        await self.holder.looked()
        self._reference = None


class Children:
    """The children of one run."""

    def __init__(self, task: GovernedTask) -> None:
        self.acting = Acting(task, moved=self._moved)
        self._task = task
        self._live: dict[str, tuple[workflow.ChildWorkflowHandle[Any, Any], Claim]] = {}
        self._errands: dict[asyncio.Task[None], None] = {}
        self._followed: dict[str, asyncio.Task[None]] = {}
        task.nudge, task.move = self._nudge, self._move

    async def delegate(self, *, child: str, agent: str, scope: Scope, expires_in: int, max_depth: int) -> Handed:
        """Hand something narrower to an agent, for one child.

        Raises:
            ApplicationError: The refusal, with its code.
        """
        holder = self.acting.holder
        wanted = Handed(child, agent, scope, expires_in, max_depth, holder.chain)
        answer, _ = await asked(self._task, holder, names.DELEGATE, child, wanted.terms)
        made = Reference(answer["delegation"], answer["digest"])
        return replace(wanted, reference=made, generation=holder.gate.generation, holder=holder)

    def claim(self, child: str, kind: str, *, handed: Handed | None) -> Claim:
        """Return what a child of this workflow type is to act under.

        Args:
            handed: What the workflow's code handed it; None: what the mapping says, and without one the parent's own.
        """
        if handed is not None:
            return Claim(self._task, handed.holder or self._task, (names.DELEGATE, child, handed.terms), handed=handed)
        holder = self.acting.holder
        if self._task.changes.mapped:
            return Claim(self._task, holder, (names.HAND, child, names.CHILDREN, kind))
        return Claim(self._task, holder, (names.ALLOW, child))

    def add(self, handle: workflow.ChildWorkflowHandle[Any, Any], claim: Claim) -> None:
        """Take in a child that was started."""
        self._live[handle.id] = (handle, claim)
        if claim.until:
            self._followed[handle.id] = self._run(self._follow(handle, claim))
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
        if (following := self._followed.pop(handle.id, None)) is not None:
            following.cancel()
        if handle.cancelled() or self._task.over:
            return
        kind, _ = facts_of(handle.exception())
        if kind == "NotLive" and self._task.changes.made(_PARENT_LOOKS):
            self._task.doubt()

    def _nudge(self) -> None:
        for handle, _ in self._live.values():
            self._run(self._signal(handle, names.NOTICE, ()))

    def _move(self) -> None:
        for handle, claim in list(self._live.values()):
            self._run(self._hand_anew(handle, claim))

    def _moved(self, holder: Holder) -> None:
        for handle, claim in list(self._live.values()):
            under = claim.holder
            if under is holder or (isinstance(under, Agent) and under.rests_on(holder)):
                self._run(self._hand_anew(handle, claim))

    async def _hand_anew(self, handle: workflow.ChildWorkflowHandle[Any, Any], claim: Claim) -> None:
        try:
            fresh = await claim.current()
        except ApplicationError as error:
            workflow.logger.warning("child %s goes on waiting: %s", handle.id, error.message)
            return
        await self._signal(handle, names.RESUME, ({"delegation": fresh.delegation, "digest": fresh.digest},))

    async def _follow(self, handle: workflow.ChildWorkflowHandle[Any, Any], claim: Claim) -> None:
        """Have a child go on whenever the time of what it was handed is over, as long as the parent may hand it on."""
        followed = 0
        while followed < claim.until:
            followed = claim.until
            left = max(1, followed + 1 - workflow.time())
            await workflow.sleep(left, summary="then a child gets a fresh delegation")
            await claim.lapsed()
            await self._hand_anew(handle, claim)

    async def _signal(
        self, handle: workflow.ChildWorkflowHandle[Any, Any], name: str, arguments: Sequence[Any]
    ) -> None:
        if not handle.done():
            await handle.signal(name, args=arguments)

    def _run(self, errand: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def quietly() -> None:
            try:
                await errand
            except FailureError as error:
                workflow.logger.warning("a child was not told: %s", error)

        task = asyncio.create_task(quietly())
        self._errands[task] = None
        task.add_done_callback(lambda done: self._errands.pop(done, None))
        return task
