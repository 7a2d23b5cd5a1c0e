"""An agent that acts in a task, the task's own or another one: who steps are made by.

- Another agent has a delegation of its own, narrower than that of whoever it was handed over by, made for this
  workflow's id. What it starts, children too, starts under that and nothing else.
- It is its own gate: a stop of its delegation stops what runs under it, and no more; a stop of the task stops it too.
- Its delegation is made anew, before its next step, once the task goes on under a fresh one or its own time is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from remit.delegation import Reference
from remit.errors import Denied, NotLive
from remit.principals import Principal
from remit.statements import Status
from remit.temporal import _names as names
from remit.temporal._failure import to_application_error
from remit.temporal._gate import Gate

if TYPE_CHECKING:
    from remit.temporal._task import GovernedTask


class Passage(Protocol):
    """What a step waits at."""

    @property
    def open(self) -> bool:
        """Whether something may start."""

    @property
    def halted(self) -> NotLive | None:
        """Why nothing will start any more."""

    @property
    def generation(self) -> object:
        """Which delegation this is; another one, when requests made before are void."""

    async def passed(self) -> None:
        """Return once it is open."""


class Holder(Protocol):
    """Whoever steps are made by: the task, or another agent that acts in it."""

    @property
    def gate(self) -> Passage:
        """What its steps wait at."""

    @property
    def chain(self) -> Reference:
        """What its steps carry."""

    @property
    def chain_ids(self) -> list[str]:
        """The delegations of its chain, root first."""

    @property
    def agent(self) -> str:
        """Name of its agent; empty: the task's own."""

    async def looked(self) -> None:
        """Have its standing read; return when it was taken over."""


class Agent:
    """Another agent that acts in a task.

    Args:
        task: The task.
        base: Who handed over.
        asked: The activity and its arguments by which its delegation is made.
        moved: Called when another delegation followed one whose time was over.
    """

    def __init__(
        self, task: GovernedTask, base: Holder, asked: tuple[Any, ...], *, moved: Callable[[Holder], None]
    ) -> None:
        self.agent = ""
        self.expires_at = 0
        self.scopes = 0
        self._task = task
        self._base = base
        self._asked = asked
        self._moved = moved
        self._reference: Reference | None = None
        self._under: Reference | None = None
        self._lapsed = False
        self._made = 0
        self._waiting = 0
        self._making = asyncio.Lock()
        self._own = self._gate()

    @property
    def gate(self) -> Agent:
        """What its steps wait at: itself."""
        return self

    @property
    def open(self) -> bool:
        """Whether something may start."""
        return self._base.gate.open and not self._stale and self._own.open

    @property
    def halted(self) -> NotLive | None:
        """Why nothing will start any more."""
        return self._base.gate.halted or (None if self._stale else self._own.halted)

    @property
    def generation(self) -> object:
        """Which delegation this is."""
        return self._base.gate.generation, self._made, self._lapsed

    @property
    def chain(self) -> Reference:
        """What its steps carry."""
        if self._reference is None:
            raise RuntimeError("nothing was handed over yet")
        return self._reference

    @property
    def chain_ids(self) -> list[str]:
        """The delegations of its chain, root first."""
        return [*self._base.chain_ids, self.chain.delegation]

    @property
    def spiffe_id(self) -> str:
        """The agent's SPIFFE ID."""
        return Principal(Principal.parse(self._task.view.root).trust_domain, "agent", self.agent).spiffe_id

    @property
    def acts(self) -> bool:
        """Whether it may start something, or something of it runs or waits."""
        return self._made > 0 and bool(self.scopes or self._waiting or any(self._steps()))

    @property
    def stopped(self) -> Mapping[str, Any] | None:
        """Why what it started waits; None while nothing does."""
        if not self._waiting or self._stale or self._own.open or not self._base.gate.open:
            return None
        status = self._own.status.value
        told = {"status": status, "subject": self.chain.delegation, "message": f"{self.agent}: {self._why or status}"}
        return {**told, **self._own.waiting}

    @property
    def listed(self) -> list[str]:
        """By what somebody who stops it finds the task, as long as there is something to stop."""
        return [self.spiffe_id, self.chain.delegation] if self._own.open or self._waiting else []

    def shown(self) -> dict[str, Any]:
        """Return its entry in the task's view."""
        status = Status.EXPIRED if self._lapsed else self._own.status
        return {"agent": self.spiffe_id, "delegation": self.chain.delegation, "status": status.value}

    async def passed(self) -> None:
        """Return once it is open.

        Raises:
            ApplicationError: It halted, or is not handed anything any more.
        """
        while True:
            await self._base.gate.passed()
            if self._stale:
                async with self._making:  # one at a time: who comes next finds it made
                    if self._stale:
                        await self._make()
            elif self._own.open:
                return
            else:
                await self._let_go_on()

    async def looked(self) -> None:
        """Have the task's standing and its own read; return when they were taken over."""
        await self._task.looked()

    async def look(self) -> None:
        """Read its own standing; what stops the task is the task's to see."""
        if self._stale or not self._base.gate.open:
            return
        asked = self.chain
        standing = await self._task.ask(names.STATUS, asked.delegation, asked.digest)
        if asked != self._reference:
            return
        status, subject = Status(standing["status"]), standing.get("subject")
        if status is not Status.LIVE and subject not in (asked.delegation, self.spiffe_id):
            return
        if status is Status.EXPIRED:
            self._lapsed = True
            self._interrupt()
        else:
            self._why = str(standing.get("message") or "")
            self._own.apply(standing)

    def rests_on(self, holder: Holder) -> bool:
        """Tell whether its authority comes through this one."""
        return self._base is holder or (isinstance(self._base, Agent) and self._base.rests_on(holder))

    @property
    def _stale(self) -> bool:
        return self._reference is None or self._lapsed or self._under != self._base.chain

    def take(self, answer: Mapping[str, Any], under: Reference) -> None:
        """Act under a delegation that was made.

        Args:
            answer: What `remit.delegate` or `remit.hand` returned.
            under: The chain it was made under.
        """
        self._own.apply({"status": Status.LIVE})  # a clock of the last one may still run
        self._own = self._gate()
        self._reference, self._under = Reference(answer["delegation"], answer["digest"]), under
        self._lapsed = False
        self.agent = answer["agent"]
        self.expires_at = int(answer.get("expires_at") or 0)
        self._made += 1
        self._task.publish()

    async def _make(self) -> None:
        lapsed = self._lapsed
        answer, under = await asked(self._task, self._base, *self._asked)
        if answer.get("share"):
            raise to_application_error(
                Denied(
                    f"{self.agent} is not handed anything of its own any more",
                    code="agent.unmapped",
                    next_action="The mapping was changed while the task ran: start the task again.",
                )
            )
        self.take(answer, under)
        if lapsed:
            self._moved(self)

    async def _let_go_on(self) -> None:
        self._waiting += 1
        try:
            await self._task.looked()
            await workflow.wait_condition(
                lambda: self._stale or self._own.open or self.halted is not None or not self._base.gate.open
            )
        finally:
            self._waiting -= 1
        self._task.publish()
        if not self._stale and self._own.halted is not None:
            raise self._own.refusal()

    def _gate(self) -> Gate:
        self._why = ""
        gate = Gate(stop=self._interrupt, halt=lambda: None, look=self._task.notice, changes=self._task.changes)
        gate.terms = self._task.gate.terms
        return gate

    def _interrupt(self) -> None:
        for step in list(self._steps()):
            step.interrupt()
        self._task.nudge()

    def _steps(self) -> Iterator[Any]:
        for step in self._task.running:
            holder = step.holder
            if holder is self or (isinstance(holder, Agent) and holder.rests_on(self)):
                yield step


async def asked(
    task: GovernedTask, holder: Holder, activity: str, *arguments: Any
) -> tuple[Mapping[str, Any], Reference]:
    """Ask for something under a holder's chain; while that is not live, wait at its gate.

    Returns:
        The answer, and the chain it was given for.

    Raises:
        ApplicationError: The refusal, with its code.
    """
    while True:
        await holder.gate.passed()
        chain, first_run = holder.chain, workflow.info().first_execution_run_id
        answer: Mapping[str, Any] = await task.ask(activity, first_run, [chain.delegation, chain.digest], *arguments)
        if answer["accepted"] and chain == holder.chain:
            return answer, chain
        if answer["accepted"]:
            continue  # made under a delegation that is not used any more
        if answer["remit"] != "NotLive":
            raise ApplicationError(answer["message"], {**answer}, type=answer["code"], non_retryable=True)
        await holder.looked()
        if holder.gate.open:
            await workflow.sleep(1)
