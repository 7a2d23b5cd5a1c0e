"""Calls: what a framework's activity becomes in a governed workflow.

- A tool's activity is one step; one that makes several calls is one step for each, so that each is decided, approved,
  credentialed and recorded by itself. Their results are put together as the framework would have.
- A refused call is told to the model where its failure says so; the failure stays in the history.
- A model's answer reaches the workflow only after every call in it that would run inside the workflow was permitted.
- A tool that the model's provider would run is decided before the model is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.worker import StartActivityInput, StartLocalActivityInput

from remit.errors import Refused, RemitError
from remit.frameworks import ToolCall
from remit.temporal import _names as names
from remit.temporal._failure import to_application_error
from remit.temporal._mapped import MappedActivity
from remit.temporal._settled import settled
from remit.temporal._step import Told
from remit.temporal._task import GovernedTask
from remit.temporal._wire import typed

_DECIDED_WITHIN = timedelta(minutes=1)
_RETRY = RetryPolicy(maximum_interval=timedelta(seconds=60))


Asked = TypeVar("Asked", StartActivityInput, StartLocalActivityInput)
_Contra = TypeVar("_Contra", contravariant=True)


class Governs(Protocol[_Contra]):
    """Starts an activity, or a local activity, as a step."""

    def __call__(self, input: _Contra, *, told: Told | None = None) -> asyncio.Task[Any]:
        """Return its handle."""


class Calls:
    """The calls of one run.

    Args:
        task: The task.
        local: Starts a local activity as a step.
    """

    def __init__(self, task: GovernedTask, local: Governs[StartLocalActivityInput]) -> None:
        self._task = task
        self._local = local

    def start(self, input: Asked, mapped: MappedActivity, governs: Governs[Asked]) -> asyncio.Task[Any]:
        """Start a framework's activity and return the handle the workflow awaits."""
        parts = mapped.parts(input.args)
        if parts:
            started = [self._tool(replace(input, args=one, activity_id=None), mapped, governs) for one in parts]
            return _bound(asyncio.create_task(self._together(started, mapped, input.ret_type)), started)
        if mapped.asks and (hosted := mapped.hosted(input.args)):
            return asyncio.create_task(self._offered(hosted, input, mapped, governs))
        started_one = self._tool(input, mapped, governs)
        if not mapped.asks:
            return started_one
        return _bound(asyncio.create_task(self._answered(started_one, mapped)), [started_one])

    def _tool(self, input: Asked, mapped: MappedActivity, governs: Governs[Asked]) -> asyncio.Task[Any]:
        if mapped.asks:
            return governs(input)

        def told(facts: Mapping[str, Any]) -> Any:
            said = mapped.told(input.args, facts)
            try:
                return typed(said, input.ret_type)
            except Exception:  # the workflow would be stuck
                raise Refused("a refusal is no result of this type", code="tool.input") from None

        return governs(input, told=told)

    async def _together(self, started: Sequence[asyncio.Task[Any]], mapped: MappedActivity, hint: type | None) -> Any:
        """Return the results of all parts as one; when one fails, the others are stopped first."""
        failed: asyncio.Task[Any] | None = None
        try:
            while failed is None and not all(one.done() for one in started):
                await settled(*(one for one in started if not one.done()))
                failed = next((one for one in started if one.done() and (one.cancelled() or one.exception())), None)
        except asyncio.CancelledError:
            await _stopped(started)
            raise
        await _stopped(started)
        if failed is not None:
            return failed.result()
        try:
            return typed(mapped.joined([one.result() for one in started]), hint)
        except RemitError as error:
            raise to_application_error(error) from None

    async def _offered(
        self, hosted: Sequence[ToolCall], input: Asked, mapped: MappedActivity, governs: Governs[Asked]
    ) -> Any:
        """Ask a model once every tool that its provider would run, where nothing is seen, was permitted."""
        for call in hosted:
            await self._decided(call)
        return await self._answered(self._tool(input, mapped, governs), mapped)

    async def _answered(self, asked: asyncio.Task[Any], mapped: MappedActivity) -> Any:
        """Return a model's answer once the calls in it that run inside the workflow are permitted."""
        result = await asked
        try:
            proposed = mapped.inline(result)
        except RemitError as error:
            raise to_application_error(error) from None
        for call in proposed:
            await self._decided(call)
        return result

    async def _decided(self, call: ToolCall) -> None:
        await self._local(
            StartLocalActivityInput(
                activity=names.INLINE,
                args=[call.name, dict(call.arguments)],
                activity_id=None,
                schedule_to_close_timeout=None,
                schedule_to_start_timeout=None,
                start_to_close_timeout=_DECIDED_WITHIN,
                retry_policy=_RETRY,
                local_retry_threshold=None,
                cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
                headers={},
                summary=None,
            )
        )


def _bound(handle: asyncio.Task[Any], started: Sequence[asyncio.Task[Any]]) -> asyncio.Task[Any]:
    """Return a handle that leaves nothing behind: one cancelled before its first turn never runs."""

    def finish(done: asyncio.Task[Any]) -> None:
        for one in started:
            if done.cancelled() and not one.done():
                one.cancel()

    handle.add_done_callback(finish)
    return handle


async def _stopped(started: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel what runs and return when it has ended."""
    for one in started:
        if not one.done():
            one.cancel()
    while not all(one.done() for one in started):
        try:
            await settled(*(one for one in started if not one.done()))
        except asyncio.CancelledError:
            if (current := asyncio.current_task()) is not None:
                current.uncancel()
