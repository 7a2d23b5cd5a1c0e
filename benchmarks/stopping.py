"""Stopping: from `remit revoke` to the death of the last session, the end of each activity and the stop of each task.

- Sessions are watched by PostgreSQL's superuser, activities by themselves; when a task waits or is closed is what
  Temporal wrote into its history, read afterwards. The person who revokes and the witness are processes of their own.
- A revocation ends its tasks, so each begins with fresh ones. Suspending and reinstating the same tasks would not be
  cheaper, nor the same: it was tried.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import WorkflowHandle

from benchmarks import tools
from benchmarks.apart import Command
from benchmarks.bench import Bench
from benchmarks.stops import Stop
from remit.statements import Event

READY = 120.0
GONE = 60.0


@dataclass(frozen=True, slots=True)
class Tasks:
    """Tasks under one delegation, each with a running activity that holds a database session."""

    bench: Bench
    delegation: str
    names: tuple[str, ...]
    handle: WorkflowHandle[Any, Any]

    @classmethod
    async def start(cls, bench: Bench, count: int) -> Tasks:
        """Start so many; they are not running yet."""
        own = f"bench-{uuid.uuid4()}"
        reference = await bench.delegate(own)
        tools.HELD.running.clear()
        handle = await bench.start("bench.Fan", tools.HOLD, tools.INPUT, count - 1, task=own, reference=reference)
        names = (own, *(f"{own}-{number}" for number in range(count - 1)))
        return cls(bench, reference.delegation, names, handle)

    async def running(self) -> None:
        """Return when each holds its session, and PostgreSQL shows it.

        Raises:
            TimeoutError: They did not get there.
        """
        await self.bench.witness.ask(self.delegation)

        async def begun() -> bool:
            alive, _ = await self.bench.witness.ask(True)
            return len(alive) == len(self.names) and alive == tools.HELD.running

        await _until(begun, READY, lambda: f"{len(tools.HELD.running)} of {len(self.names)} steps run")

    async def revoke(self) -> Stop:
        """Revoke their delegation; return what happened when.

        Raises:
            TimeoutError: Something did not stop.
        """
        users = set(tools.HELD.running)
        tools.HELD.ended.clear()
        wall = time.time() - time.monotonic()
        command: Command = await self.bench.revoker.ask((self.delegation, Event.REVOKED.value))
        died: dict[str, float] = {}

        async def over() -> bool:
            nonlocal died
            _, died = await self.bench.witness.ask(True)
            return users <= died.keys() and users <= tools.HELD.ended.keys()

        await _until(
            over,
            GONE,
            lambda: f"{len(users & died.keys())} sessions dead, {len(users & tools.HELD.ended.keys())} steps ended",
        )
        closed = [at - wall for at in await asyncio.gather(*map(self._closed, self.names))]

        def since(times: list[float]) -> list[float]:
            return [(at - command.began) * 1000 for at in times]

        return Stop(
            returned=(command.returned - command.began) * 1000,
            dead=since([died[user] for user in users]),
            cancelled=since([tools.HELD.ended[user] for user in users]),
            closed=since(closed),
            document=command.document,
        )

    async def _closed(self, name: str) -> float:
        """Return when (Unix seconds) Temporal recorded that a task ended."""
        client = self.bench.governed
        request = GetWorkflowExecutionHistoryRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=name),
            wait_new_event=True,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
        )
        async with asyncio.timeout(GONE):
            while not (
                events := (await client.workflow_service.get_workflow_execution_history(request)).history.events
            ):
                pass
        return events[-1].event_time.ToNanoseconds() / 1e9


@dataclass(slots=True)
class Revocations:
    """What a number of revocations came to.

    Args:
        stops: One for each that was seen to its end.
        broke: What did not happen in time, where it ended early.
    """

    stops: list[Stop] = field(default_factory=list)
    broke: str | None = None


async def revocations(bench: Bench, tasks: int, *, times: int) -> Revocations:
    """Revoke so many times, fresh tasks each time, after one that is not counted."""
    made = Revocations()
    try:
        for count in (min(tasks, 20), *[tasks] * times):
            held = await Tasks.start(bench, count)
            await held.running()
            made.stops.append(await held.revoke())
            await asyncio.gather(held.handle.result(), return_exceptions=True)
            await bench.parts.authority.settled()
    except TimeoutError as late:
        made.broke = str(late)
    made.stops = made.stops[1:]
    return made


async def _until(done: Callable[[], Coroutine[Any, Any, bool]], seconds: float, what: Callable[[], str]) -> None:
    until = time.monotonic() + seconds
    while not await done():
        if time.monotonic() > until:
            raise TimeoutError(f"{what()} after {seconds:.0f} s")
        await asyncio.sleep(0.02)
