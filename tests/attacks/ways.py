"""Workflows that look for a way round: by handlers, children, cancellations, or by running a tool themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from tests.attacks.errands import touch

SOON = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn
class Answering:
    """Calls tools from handlers of its own, until it is told to finish."""

    def __init__(self) -> None:
        self._found: list[Any] = []
        self._finished = False

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> list[Any]:
        await workflow.wait_condition(lambda: self._finished and workflow.all_handlers_finished())
        return self._found

    @workflow.update
    async def act(self, call: list[Any]) -> Any:
        try:
            found = await workflow.execute_activity(call[0], call[1], start_to_close_timeout=SOON, retry_policy=ONCE)
        except ActivityError as error:
            found = error.cause.type if isinstance(error.cause, ApplicationError) else "?"
        self._found.append(found)
        return found

    @workflow.signal
    async def told(self, call: list[Any]) -> None:
        await self.act(call)
        self._finished = True

    @workflow.signal
    def finish(self) -> None:
        self._finished = True


@workflow.defn
class Bearing:
    """Starts a child: ``{"type", "calls", "policy", "wait"}``."""

    @workflow.run
    async def run(self, wanted: dict[str, Any]) -> Any:
        child = await workflow.start_child_workflow(
            wanted["type"],
            wanted["calls"],
            id=f"{workflow.info().workflow_id}-child",
            parent_close_policy=workflow.ParentClosePolicy[wanted["policy"]],
            cancellation_type=workflow.ChildWorkflowCancellationType.ABANDON,
        )
        return await child if wanted["wait"] else child.id


@workflow.defn
class Becoming:
    """Goes on as another type of workflow."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> Any:
        await workflow.execute_activity(calls[0][0], calls[0][1], start_to_close_timeout=SOON, retry_policy=ONCE)
        workflow.continue_as_new(calls[1:], workflow="CallsOnce")


@workflow.defn
class Abandoning:
    """Cancels its call, of ``[tool, input, cancellation type]``, and stays."""

    @workflow.run
    async def run(self, wanted: list[Any]) -> None:
        tool, argument, kind = wanted
        handle = workflow.start_activity(
            tool,
            argument,
            start_to_close_timeout=SOON,
            cancellation_type=workflow.ActivityCancellationType[kind],
        )
        await workflow.sleep(1)
        handle.cancel()
        try:
            await handle
        except (ActivityError, asyncio.CancelledError):
            await workflow.sleep(3600)


@workflow.defn
class Insisting:
    """Tries its call again and again, whatever becomes of it."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> Any:
        for_ever = RetryPolicy(initial_interval=timedelta(milliseconds=1), backoff_coefficient=1.0, maximum_attempts=0)
        return await workflow.execute_activity(
            calls[0][0], calls[0][1], start_to_close_timeout=SOON, retry_policy=for_ever
        )


@workflow.defn
class Inline:
    """Runs a tool's function itself."""

    @workflow.run
    async def run(self, how: str) -> str:
        if how == "unsafe":
            with workflow.unsafe.sandbox_unrestricted():
                return await touch({"dataset": "flights"})  # type: ignore[arg-type]
        return await touch({"dataset": "flights"})  # type: ignore[arg-type]


@workflow.defn
class Versions:
    """Is of two versions."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> list[Any]:
        if not workflow.patched("calls"):
            return []
        workflow.deprecate_patch("older")
        return [
            await workflow.execute_activity(tool, argument, start_to_close_timeout=SOON, retry_policy=ONCE)
            for tool, argument in calls
        ]


@workflow.defn(dynamic=True)
class Anything:
    """Stands in for whatever type was started."""

    @workflow.run
    async def run(self, arguments: Sequence[RawValue]) -> Any:
        calls = workflow.payload_converter().from_payload(arguments[0].payload)
        return await workflow.execute_activity(calls[0][0], calls[0][1], start_to_close_timeout=SOON, retry_policy=ONCE)


@workflow.defn
class Asking:
    """Asks a Nexus service: ``[endpoint, operation, argument]``."""

    @workflow.run
    async def run(self, wanted: list[str]) -> str:
        client = workflow.create_nexus_client(service="errands", endpoint=wanted[0])
        found: str = await client.execute_operation(wanted[1], wanted[2], output_type=str)
        return found


WAYS = [Answering, Bearing, Becoming, Abandoning, Insisting, Inline, Versions, Anything, Asking]
