"""Workflows of agents other people wrote: they know nothing of Remit, except where they ask it for something."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Literal

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError

from remit.temporal import workflow as remit

SOON = timedelta(seconds=30)


@workflow.defn
class Calls:
    """Makes the calls it is given, one after the other: ``[tool, input]``."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> list[Any]:
        return [
            await workflow.execute_activity(tool, argument, start_to_close_timeout=SOON) for tool, argument in calls
        ]


@workflow.defn
class Pausing:
    """Makes its calls a second apart; a number among them is a longer pause, in seconds."""

    @workflow.run
    async def run(self, calls: list[Any]) -> list[Any]:
        found = []
        for call in calls:
            if isinstance(call, int):
                await workflow.sleep(call)
                continue
            found.append(await workflow.execute_activity(call[0], call[1], start_to_close_timeout=SOON))
            await workflow.sleep(1)
        return found


@workflow.defn
class CallsOnce:
    """Makes calls that are never retried."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> list[Any]:
        once = RetryPolicy(maximum_attempts=1)
        return [
            await workflow.execute_activity(tool, argument, start_to_close_timeout=SOON, retry_policy=once)
            for tool, argument in calls
        ]


@workflow.defn
class Parallel:
    """Makes its calls at once."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> list[Any]:
        return list(
            await asyncio.gather(
                *(workflow.execute_activity(tool, argument, start_to_close_timeout=SOON) for tool, argument in calls)
            )
        )


@workflow.defn
class Local:
    """Makes its calls as local activities."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> list[Any]:
        return [
            await workflow.execute_local_activity(tool, argument, start_to_close_timeout=SOON)
            for tool, argument in calls
        ]


@workflow.defn
class Parent:
    """Starts `Calls` as a child."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> list[Any]:
        child = f"{workflow.info().workflow_id}-child"
        return await workflow.execute_child_workflow(Calls.run, calls, id=child)


@workflow.defn
class Delegator:
    """Hands something narrower to a child: ``[spaces, calls]``."""

    @workflow.run
    async def run(self, wanted: list[Any]) -> list[Any]:
        handed = await remit.delegate(
            "report-writer",
            child=f"{workflow.info().workflow_id}-child",
            actions=["read"],
            spaces=wanted[0],
            budget=5,
            expires_in=timedelta(minutes=5),
        )
        found: list[Any] = await remit.execute_child(Calls.run, wanted[1], handed=handed)
        return found


@workflow.defn
class Wrapping:
    """Reports a child's failure in words of its own."""

    @workflow.run
    async def run(self, wanted: list[Any]) -> list[Any]:
        try:
            return await Delegator().run(wanted)
        except ChildWorkflowError as error:
            raise ApplicationError("a part of it failed") from error


@workflow.defn
class Swallowing:
    """Gets by without its child."""

    @workflow.run
    async def run(self, wanted: list[Any]) -> list[Any]:
        try:
            return await Delegator().run(wanted)
        except ChildWorkflowError:
            return []


@workflow.defn
class HaltingChild:
    """Has a child that never waits."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> Any:
        return await handing(calls, on_revocation="halt")


@workflow.defn
class WaitingChild:
    """Has a child that waits, whatever itself is to do."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> Any:
        return await handing(calls, on_revocation=timedelta(hours=1))


async def handing(calls: list[list[Any]], *, on_revocation: timedelta | Literal["halt"]) -> Any:
    child = f"{workflow.info().workflow_id}-child"
    handed = await remit.delegate(
        "report-writer", child=child, actions=["read"], spaces=["flights"], budget=5, expires_in=timedelta(minutes=5)
    )
    return await remit.execute_child(Calls.run, calls, handed=handed, on_revocation=on_revocation)


@workflow.defn
class Renewing:
    """Makes one call a run and continues as new until none is left."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> int:
        await workflow.execute_activity(calls[0][0], calls[0][1], start_to_close_timeout=SOON)
        if calls[1:]:
            workflow.continue_as_new(calls[1:])
        return remit.current().steps


@workflow.defn
class Reserved:
    """Tries the plugin's own activity by name."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> Any:
        return await workflow.execute_local_activity(
            "remit.delegate", args=["", ["a", "b"], "x", {}], start_to_close_timeout=SOON
        )


@workflow.defn
class Nexus:
    """Tries a Nexus operation."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> Any:
        client = workflow.create_nexus_client(service="anything", endpoint="anywhere")
        return await client.execute_operation("do", 1)


@workflow.defn
class Stubborn:
    """Catches every failure of its calls and goes on, and sleeps in the end."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> str:
        for tool, argument in calls:
            try:
                await workflow.execute_activity(tool, argument, start_to_close_timeout=SOON)
            except ActivityError as error:
                workflow.logger.info("went on after %s", error)
        await workflow.sleep(3600)
        return "done"


@workflow.defn
class GivesUp:
    """Cancels its call: at once, or after a moment."""

    @workflow.run
    async def run(self, wanted: list[Any]) -> str:
        tool, argument, at_once, kind = wanted
        handle = workflow.start_activity(
            tool,
            argument,
            start_to_close_timeout=SOON,
            cancellation_type=workflow.ActivityCancellationType[kind],
        )
        if not at_once:
            await workflow.sleep(0.3)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            return type(error.cause).__name__
        except asyncio.CancelledError:
            return "asyncio"
        return "finished"


@workflow.defn
class Untidy:
    """Fails while it cleans up, a second after it was told to end."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> None:
        try:
            await workflow.execute_activity(calls[0][0], calls[0][1], start_to_close_timeout=SOON)
        except (ActivityError, asyncio.CancelledError):
            await workflow.sleep(1)
            for _ in range(20):
                await asyncio.sleep(0)
            raise ApplicationError("untidy") from None


FLOWS = [
    Calls,
    Pausing,
    CallsOnce,
    Parallel,
    Local,
    Parent,
    Delegator,
    Wrapping,
    Swallowing,
    HaltingChild,
    WaitingChild,
    Renewing,
    Reserved,
    Nexus,
    Stubborn,
    GivesUp,
    Untidy,
]
