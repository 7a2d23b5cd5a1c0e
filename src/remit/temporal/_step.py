"""A step: one activity, or local activity, through every time it has to be scheduled.

- It is scheduled at once, in the order the workflow asked, so that a plain step adds no event to the history.
- needs-approval waits for people; a chain that is not live waits for the gate; an outage waits and tries again.
  Each then schedules the same step anew: same number, same input.
- Every other refusal goes to the workflow as it came.
- A result that comes although the step was interrupted counts: its worker delivers none that was obtained without
  authority, and one that was complete before the tool heard must not be obtained twice.
- On the wire an interrupted step is waited for until it really ended, so it never runs twice at once. How the
  workflow itself wants its cancellations handled is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, CancelledError, FailureError, RetryState

from remit.errors import RemitError
from remit.temporal._agent import Agent, Holder
from remit.temporal._desk import Asker
from remit.temporal._failure import facts_of, was_cancelled, was_cut_off
from remit.temporal._header import MAX_APPROVALS
from remit.temporal._settled import settled
from remit.temporal._task import GovernedTask
from remit.temporal._view import StepView

Schedule = Callable[[tuple[str, ...]], "asyncio.Task[Any]"]
"""From the approvals given so far to the scheduled activity."""
Told = Callable[[Mapping[str, Any]], Any]
"""From a refusal's facts to the result by which a model reads it."""

_CUT_OFF_IS_TRIED = "remit-cut-off-is-tried"
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_LONGEST_APPROVAL = 366 * 24 * 3600


class Step:
    """One step of a task.

    Args:
        task: The task it belongs to.
        schedule: Schedules the activity.
        view: What is shown of it.
        cancellation: How the workflow wants its own cancellation of it handled.
        told: Makes of a refusal's facts the result by which a model reads it.
        holder: Whoever it is a step of; None: the task's own agent.
    """

    def __init__(
        self,
        task: GovernedTask,
        schedule: Schedule,
        *,
        view: StepView,
        cancellation: workflow.ActivityCancellationType,
        told: Told | None = None,
        holder: Holder | None = None,
    ) -> None:
        self.holder: Holder = holder or task
        self._task = task
        self._schedule = schedule
        self._view = view
        if isinstance(self.holder, Agent):
            view.agent = self.holder.spiffe_id
        self._cancellation = cancellation
        self._told = told
        self._tells = False
        self._approvals: dict[str, str] = {}
        self._generation = self.holder.gate.generation
        self._inner: asyncio.Task[Any] | None = None
        self._interrupted = False
        self._given_up = False
        self._wait = _FIRST_WAIT

    def start(self) -> asyncio.Task[Any]:
        """Schedule it, if the gate is open, and return the handle the workflow awaits."""
        if self.holder.gate.open:
            self._begin()
        inner, handle = self._inner, asyncio.create_task(self._drive())

        def finish(done: asyncio.Task[Any]) -> None:
            # A handle cancelled before its first turn never runs: what was scheduled must not be left behind.
            if inner is not None and done.cancelled() and not inner.done():
                inner.cancel()

        if self._cancellation is not workflow.ActivityCancellationType.ABANDON:
            handle.add_done_callback(finish)
        handle.add_done_callback(_seen)
        return handle

    def interrupt(self) -> None:
        """Stop what runs; it is scheduled again once the gate is open."""
        self._interrupted = True
        self._view.state = "stopped"
        if self._inner is not None:
            self._inner.cancel()

    def _begin(self) -> None:
        gate = self.holder.gate
        if self._generation != gate.generation:
            self._generation = gate.generation
            self._approvals.clear()  # they were given for the old delegation
        self._interrupted = False
        self._view.begin()
        self._inner = self._schedule(tuple(self._approvals.values())[-MAX_APPROVALS:])
        self._inner.add_done_callback(self._ended)
        self._task.inflight[self._inner] = None
        self._task.running[self] = None

    async def _drive(self) -> Any:
        try:
            while True:
                if self._inner is None:
                    await self.holder.gate.passed()
                    self._begin()
                try:
                    result = await self._finished()
                except FailureError as error:
                    self._over()
                    await self._again(error)
                else:
                    self._view.state = "done"
                    return result
        except BaseException as error:
            kind, facts = facts_of(error)
            self._view.end(kind, facts)
            if self._told is None or not kind or not (self._tells or facts.get("tells") is True):
                raise
            try:
                return self._told(facts)
            except RemitError:  # there is no form to tell it in
                raise error from None
        finally:
            self._over()

    def _over(self) -> None:
        self._inner = None
        self._task.running.pop(self, None)

    async def _finished(self) -> Any:
        inner = self._inner
        if inner is None:
            raise RuntimeError("nothing is scheduled")
        while not inner.done():
            try:
                await settled(inner)
            except asyncio.CancelledError as cancelled:
                if self._cancellation is workflow.ActivityCancellationType.ABANDON:
                    raise
                self._given_up = True
                inner.cancel(*cancelled.args)
                if self._cancellation is workflow.ActivityCancellationType.TRY_CANCEL:
                    raise self._cancelled() from CancelledError("Cancelled")
                if (current := asyncio.current_task()) is not None:
                    current.uncancel()
        return inner.result()

    async def _again(self, error: FailureError) -> None:
        """Return when the step is to be scheduled anew; raise when it is over."""
        gate = self.holder.gate
        kind, facts = facts_of(error)
        if self._given_up:
            raise error
        if kind == "NeedsApproval" and _is_request(facts.get("request")) and self._task.desk.takes(facts["request"]):
            self._tells = facts.get("tells") is True  # a rejection is a refusal of this call, too
            await self._decided(facts["request"])
            self._tells = False
        elif kind == "NotLive":
            self._view.state = "stopped"
            await self.holder.looked()
            if gate.open:  # reinstated meanwhile, or the registry's readers disagree for a moment
                await self._pause()
        elif kind == "Held":
            self._view.state = "held"
            await self._pause()
        elif not (self._interrupted and (was_cancelled(error) or self._cut_off(error))):
            raise error

    def _cut_off(self, error: FailureError) -> bool:
        return was_cut_off(error) and self._task.changes.made(_CUT_OFF_IS_TRIED)

    async def _decided(self, request: Mapping[str, Any]) -> None:
        gate, generation = self.holder.gate, self.holder.gate.generation
        self._view.wait_for(request)
        self._approvals = await self._task.desk.decided(
            request,
            given=self._approvals,
            void=lambda: gate.halted is not None or gate.generation != generation,
            asker=Asker(self.holder.chain, self.holder.spiffe_id) if isinstance(self.holder, Agent) else None,
        )

    async def _pause(self) -> None:
        await workflow.sleep(self._wait, summary="something needed does not answer: tries again")
        self._wait = min(_LONGEST_WAIT, self._wait * 2)

    def _ended(self, done: asyncio.Task[Any]) -> None:
        self._task.inflight.pop(done, None)
        if not done.cancelled():
            done.exception()  # seen, whether or not anybody still waits for it

    def _cancelled(self) -> ActivityError:
        return ActivityError(
            "Activity cancelled",
            scheduled_event_id=0,
            started_event_id=0,
            identity="",
            activity_type=self._view.tool,
            activity_id="",
            retry_state=RetryState.CANCEL_REQUESTED,
        )


def _seen(done: asyncio.Task[Any]) -> None:
    """Take note of how a step ended: the workflow's code may have failed already, and wait for it no more."""
    if not done.cancelled():
        done.exception()


def _is_request(found: object) -> bool:
    """Tell whether people can be asked this: whoever can complete an activity from outside can write a failure."""
    if not isinstance(found, Mapping):
        return False
    wait, approvers = found.get("wait"), found.get("approvers")
    return (
        all(isinstance(found.get(name), str) for name in ("request", "binding", "action", "resource"))
        and isinstance(approvers, list)
        and (wait is None or (type(wait) is int and 0 < wait <= _LONGEST_APPROVAL))
    )
