"""The suite's workflows: plain Temporal code that knows no governor.

- `Steps` makes calls one after the other, each in the way it says; it is also the child workflow.
- The others go on for as long as they are let: a revocation meets them wherever they are.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

from remit.conformance.tools import BEATING, SILENT, Input

Way = Literal["activity", "local", "child"]

BACK_OFF = timedelta(seconds=6)
"""Between two attempts of a call; long, so that none is under way when the grant is revoked between them."""
_LONGEST = timedelta(minutes=5)
_BEAT = timedelta(seconds=5)
_PAUSE = 0.1
_RETRIES = RetryPolicy(initial_interval=BACK_OFF, backoff_coefficient=1)


@dataclass(frozen=True)
class Call:
    """One call of a workflow.

    Args:
        step: Names it.
        tool: Activity type.
        seconds, fails: See `Input`.
        way: As an activity, as a local activity, or in a child workflow.
        held: Wait for the signal `go` first.
        anew: Continue as new first.
    """

    step: str
    tool: str = SILENT
    seconds: int = 0
    fails: int = 0
    way: Way = "activity"
    held: bool = False
    anew: bool = False


async def make(call: Call) -> None:
    """Make one call."""
    given = Input(call.step, call.seconds, call.fails)
    if call.way == "child":
        child = f"{workflow.info().workflow_id}.{call.step}"
        await workflow.execute_child_workflow(Steps.run, [replace(call, way="activity", held=False)], id=child)
    elif call.way == "local":
        await workflow.execute_local_activity(
            call.tool, given, start_to_close_timeout=_LONGEST, retry_policy=_RETRIES, result_type=str
        )
    else:
        await workflow.execute_activity(
            call.tool,
            given,
            start_to_close_timeout=_LONGEST,
            heartbeat_timeout=_BEAT if call.tool == BEATING else None,
            retry_policy=_RETRIES,
            result_type=str,
        )


@workflow.defn(name="conformance.steps")
class Steps:
    """Makes its calls one after the other."""

    def __init__(self) -> None:
        self._go = False

    @workflow.signal
    def go(self) -> None:
        """Let the held call be made."""
        self._go = True

    @workflow.run
    async def run(self, calls: list[Call]) -> int:
        """Make them all."""
        for number, call in enumerate(calls):
            if call.held:
                await workflow.wait_condition(lambda: self._go)
            if call.anew:
                workflow.continue_as_new([replace(call, anew=False, held=False), *calls[number + 1 :]])
            await make(call)
        return len(calls)


@workflow.defn(name="conformance.parallel")
class Parallel:
    """Makes its calls at once."""

    @workflow.run
    async def run(self, calls: list[Call]) -> int:
        """Make them all."""
        await asyncio.gather(*(make(call) for call in calls))
        return len(calls)


@workflow.defn(name="conformance.renewing")
class Renewing:
    """Makes one call a run, and continues as new."""

    @workflow.run
    async def run(self, rounds: int) -> int:
        """Go on for so many rounds."""
        await make(Call(f"round-{rounds}"))
        await workflow.sleep(_PAUSE)
        if rounds > 1:
            workflow.continue_as_new(rounds - 1)
        return 0


@workflow.defn(name="conformance.spawning")
class Spawning:
    """Starts one child after the other."""

    @workflow.run
    async def run(self, rounds: int) -> int:
        """Go on for so many rounds."""
        for number in range(rounds):
            await make(Call(f"child-{number}", way="child"))
            await workflow.sleep(_PAUSE)
        return rounds


@workflow.defn(name="conformance.stubborn")
class Stubborn:
    """Takes no failure of a call for an answer: makes the next one."""

    @workflow.run
    async def run(self, rounds: int) -> int:
        """Go on for so many rounds."""
        for number in range(rounds):
            try:
                await make(Call(f"round-{number}"))
            except ActivityError as error:
                workflow.logger.info("goes on after %s", error)
            await workflow.sleep(_PAUSE)
        return rounds


FLOWS = (Steps, Parallel, Renewing, Spawning, Stubborn)
