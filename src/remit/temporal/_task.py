"""A governed task, as the workflow sees it: its chain, its gate, what waits and what runs.

- The registry's truth comes in through local activities; they have their own slots, so a busy worker still stops.
- A signal is a nudge: it makes the task look, it proves nothing. 10,000 of them are one look.
- One loop does what signals and updates ask for: looking first, then resuming, then one decision at a time.
- Everything that decides about commands is in headers and recorded results, so replay never asks anyone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeUpdate
from temporalio.exceptions import FailureError
from temporalio.worker import StartLocalActivityInput

from remit.delegation import Reference
from remit.errors import InvalidDocument
from remit.temporal import _header as header
from remit.temporal import _names as names
from remit.temporal._changes import Changes
from remit.temporal._desk import Asker, Desk
from remit.temporal._gate import Gate
from remit.temporal._parts import Facts
from remit.temporal._view import View

StartLocal = Callable[[StartLocalActivityInput], workflow.ActivityHandle[Any]]
Answer = Mapping[str, Any]
_MOST_RESUMES = 8


_APART = timedelta(milliseconds=1)
_MOST_LISTED = 1400
"""Characters of other agents in the search attribute: Temporal takes 2 KB, and a chain needs its part."""


class Interruptible(Protocol):
    """Something that runs and can be told to stop."""

    @property
    def holder(self) -> Any:
        """Whoever it is a step of."""

    def interrupt(self) -> None:
        """Stop; it begins again once the gate is open."""


class Other(Protocol):
    """Another agent that acts in the task; see `remit.temporal._agent`."""

    @property
    def acts(self) -> bool:
        """Whether it may start something, or something of it runs or waits."""

    @property
    def stopped(self) -> Mapping[str, Any] | None:
        """Why what it started waits; None while nothing does."""

    @property
    def listed(self) -> list[str]:
        """By what somebody who stops it finds the task: SPIFFE ID and delegation."""

    def shown(self) -> dict[str, Any]:
        """Return its entry in the task's view."""

    async def look(self) -> None:
        """Read its standing."""


class GovernedTask:
    """State of one workflow run.

    Args:
        facts: What the worker knows of its activities.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.view = View()
        self.changes = Changes(mapping=facts.mapping is not None)
        self.gate = Gate(stop=self._stop, halt=self._halt, look=self.notice, changes=self.changes)
        self.desk = Desk(admit=self._admit, changed=self.publish, changes=self.changes)
        self.reference: Reference | None = None
        self.steps = 0
        self.running: dict[Interruptible, None] = {}
        self.inflight: dict[asyncio.Task[Any], None] = {}
        self.end: Callable[[], None] = lambda: None
        self.nudge: Callable[[], None] = lambda: None
        self.move: Callable[[], None] = lambda: None
        self._start_local: StartLocal | None = None
        self._loop: asyncio.Task[None] | None = None
        self._wanted = 0
        self._looked = 0
        self._doubt = 0
        self._resumes: deque[tuple[Reference, asyncio.Future[Answer] | None]] = deque()
        self._closed = ""
        self.searchable = False
        self.others: list[Other] = []
        self._attributes: dict[str, Any] = {}

    @property
    def over(self) -> bool:
        """Whether nothing can change any more, or this is no task at all."""
        return self.reference is None or self.gate.halted is not None or bool(self._closed)

    @property
    def chain(self) -> Reference:
        """The reference the task acts under now; only for governed tasks."""
        if self.reference is None:
            raise InvalidDocument("this workflow was started without a delegation", code="delegation.missing")
        return self.reference

    @property
    def agent(self) -> str:
        """Empty: the task's own agent."""
        return ""

    @property
    def chain_ids(self) -> list[str]:
        """The delegations of the chain, root first."""
        return [link["delegation"] for link in self.view.chain] or [self.chain.delegation]

    def bind(self, start_local: StartLocal) -> None:
        """Take what starts local activities beneath our own interceptor."""
        self._start_local = start_local

    def begin(self, mark: header.Mark, terms: header.Terms) -> None:
        """Take over what the run was started with: from now on it is governed."""
        self.reference, self.steps, self.gate.terms = mark.reference, mark.step, terms

    async def open(self) -> None:
        """Read the standing; wait or halt right away when the chain is not live."""
        info = workflow.info()
        self.view.task, self.view.run_id = info.workflow_id, info.run_id
        self._attributes = {pair.key.name: pair.value for pair in info.typed_search_attributes}
        self.searchable = names.STATE.name in self._attributes
        await self._look()
        self._loop = asyncio.create_task(self._attend())
        if self.changes.apart:
            await workflow.sleep(_APART, summary="begins in a workflow task of its own")
        await self.gate.passed()

    async def ask(self, activity: str, *arguments: Any, once: timedelta | None = None) -> Any:
        """Run one of the plugin's own local activities; an outage is waited out, however long.

        Args:
            once: How long it may take, if it is not to be tried again.
        """
        if self._start_local is None:
            raise RuntimeError("asked before the interceptors were initialised")
        return await self._start_local(
            StartLocalActivityInput(
                activity=activity,
                args=arguments,
                activity_id=None,
                schedule_to_close_timeout=None,
                schedule_to_start_timeout=None,
                start_to_close_timeout=once or timedelta(seconds=30),
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(milliseconds=200),
                    maximum_interval=timedelta(seconds=60),
                    maximum_attempts=1 if once else 0,
                ),
                local_retry_threshold=timedelta(seconds=2),
                cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
                headers={},
                summary=None,
            )
        )

    def notice(self) -> None:
        """Something changed: look."""
        self._wanted += 1

    async def looked(self) -> None:
        """Have the standing read by a look that begins after this call; return when it was taken over."""
        self._wanted += 1
        ticket = self._wanted
        await workflow.wait_condition(lambda: self._looked >= ticket or self.gate.halted is not None)

    def doubt(self) -> None:
        """A child has lost its authority: look whether the task still has its own."""
        self._wanted += 1
        self._doubt = self._wanted

    @property
    def doubted(self) -> bool:
        """Whether a child ever lost its authority."""
        return self._doubt > 0

    @property
    def doubtful(self) -> bool:
        """Whether the look wanted because of a child is not over."""
        return self._looked < self._doubt and self.gate.halted is None

    def resume(self, reference: object, *, reply: asyncio.Future[Answer] | None = None) -> Answer | None:
        """Take in a reference to a fresh delegation; never raises.

        Returns:
            Why it was not taken in; None when it was, the answer then comes through `reply`.
        """
        if self.over:
            return _refused("task.over", "this task does not wait for a delegation")
        fresh = as_reference(reference)
        if fresh is None:
            return _refused("delegation.reference", "this is not a reference to a delegation")
        if len(self._resumes) >= _MOST_RESUMES:
            return _refused("resume.busy", "too many at once; send it again")
        self._resumes.append((fresh, reply))
        return None

    def close(self, state: str, *, result: Any = None, error: Answer | None = None) -> None:
        """Record how the task ended."""
        self._closed = state
        self.view.result, self.view.error = result, error
        self.publish()

    def publish(self) -> None:
        """Bring the search attributes up to date; a command only if something changed."""
        if self.searchable:
            self._upsert()

    def shown(self) -> View:
        """Return the view as of now."""
        if self.reference is None:
            self.view.state = "ungoverned"
        else:
            self.view.delegation = self.reference.delegation
            self.view.state = self.state
            self.view.others = [one.shown() for one in self._acting]
            if self.gate.open:
                self.view.stopped = next((one.stopped for one in self._acting if one.stopped), None)
        self.view.waiting = self.desk.shown()
        return self.view

    @property
    def state(self) -> str:
        """The task's state, one of the words of `remit show`."""
        if self._closed:
            return self._closed
        if self.gate.halted is not None:
            return "halted"
        if not self.gate.open or any(one.stopped for one in self._acting):
            return "suspended"
        return "waiting-approval" if self.desk.waiting else "running"

    def _upsert(self) -> None:
        wanted: list[SearchAttributeUpdate[Any]] = [names.STATE.value_set(self.state)]
        if self.view.root:
            wanted += [names.ROOT.value_set(self.view.root), names.AGENT.value_set(self.view.agent)]
            wanted += [names.DELEGATIONS.value_set(self._listed())]
        changed = [one for one in wanted if self._attributes.get(one.key.name) != one.value]
        if changed:
            self._attributes |= {one.key.name: one.value for one in changed}
            workflow.upsert_search_attributes(changed)

    @property
    def _acting(self) -> list[Other]:
        return [one for one in self.others if one.acts]

    def _listed(self) -> list[str]:
        """Return under what a stop finds the task; its own delegation stands last."""
        *above, own = self.chain_ids
        others: list[str] = []
        for name in dict.fromkeys(name for one in self._acting for name in one.listed):
            if sum(map(len, (*others, name))) <= _MOST_LISTED:
                others.append(name)
        return [*above, *others, own]

    async def _attend(self) -> None:
        while self.gate.halted is None:
            await workflow.wait_condition(lambda: self._wanted > self._looked or bool(self._resumes) or self.desk.busy)
            try:
                if self._wanted > self._looked:
                    await self._look()
                elif self._resumes:
                    await self._adopt(*self._resumes.popleft())
                else:
                    await self.desk.judge()
            except FailureError as error:
                # The plugin's own activities wait outages out; one that fails for good means it is misconfigured.
                workflow.logger.error("the plugin cannot reach its authority", exc_info=error)
                self.gate.fail("this worker cannot reach its authority")

    async def _look(self) -> None:
        ticket, asked = self._wanted, self.chain
        standing = await self.ask(names.STATUS, asked.delegation, asked.digest)
        if asked == self.reference:
            self.view.adopt(standing)
            self.gate.apply(standing)
            told = {name: standing.get(name) for name in ("status", "subject", "message")}
            self.view.stopped = None if self.gate.open else {**told, **self.gate.waiting}
            for one in self._acting:
                await one.look()
        self._looked = ticket
        if asked == self.reference:
            self.publish()

    async def _adopt(self, fresh: Reference, reply: asyncio.Future[Answer] | None) -> None:
        info, old = workflow.info(), self.chain
        answer = await self.ask(
            names.ADOPT,
            info.first_execution_run_id,
            [old.delegation, old.digest],
            [fresh.delegation, fresh.digest],
        )
        if answer["accepted"]:
            self.reference = fresh
            self.gate.renew()
            self.view.chain = []
            await self._look()
            self.move()
        if reply is not None and not reply.done():
            reply.set_result(answer)

    async def _admit(self, token: str, request: Mapping[str, Any], asker: Asker | None) -> Answer:
        chain = asker.chain if asker else self.chain
        answer: Answer = await self.ask(names.ADMIT, token, dict(request), [chain.delegation, chain.digest])
        return answer

    def _stop(self) -> None:
        for step in list(self.running):
            step.interrupt()
        self.nudge()

    def _halt(self) -> None:
        self.end()


def as_reference(value: object) -> Reference | None:
    """Read ``{"delegation", "digest"}``; None for anything else."""
    if not isinstance(value, Mapping):
        return None
    delegation, digest = value.get("delegation"), value.get("digest")
    if not isinstance(delegation, str) or not isinstance(digest, str):
        return None
    fresh = Reference(delegation, digest)
    try:
        header.write(header.Mark(fresh))
    except InvalidDocument:
        return None
    return fresh


def _refused(code: str, message: str) -> Answer:
    return {"accepted": False, "code": code, "message": message}
