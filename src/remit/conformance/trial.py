"""One scenario's run: the tasks it starts, the moments it waits for, and what it finds.

Two rules decide, both about the suite's own observations:

- `nothing_begins`: where no activity runs when the grant is revoked, none may begin after `revoke` returned.
- `stops`: where one may be running, every sign of life must be over within the bound (seconds after `revoke` returned).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from remit.conformance.flows import Call
from remit.conformance.governor import Governor, Work
from remit.conformance.recorder import Execution, Recorder

QUIET = 5.0
"""Seconds it is watched that nothing begins."""
MARGIN = 2.0
"""Seconds beyond the bound that it is watched that nothing lives."""
_PACE = 3
"""Calls a twin makes beyond the bound before its task counts as stopped, not as slow."""
_POLL = 0.05
_RPC = timedelta(seconds=10)


class Violated(Exception):
    """A promise was not kept; says what was observed."""


class NotDone(Violated):
    """Work that is allowed was not done in time."""


@dataclass(slots=True)
class Task:
    """A workflow the scenario started, its grant, and when that was revoked (the recorder's clock)."""

    id: str
    grant: Any
    revoked: float = float("inf")


class Trial:
    """What a scenario works with.

    Args:
        governor: The product.
        client: A plain client of the suite's own; it starts nothing, it signals, resets and terminates.
        recorder: What really ran.
        work: From a task queue to what a worker of it runs.
        queue: Where the suite's worker is. name: Begins every workflow id.
        bound: Seconds. patience: Longest wait, in seconds, for work that is allowed.
    """

    def __init__(
        self,
        *,
        governor: Governor,
        client: Client,
        recorder: Recorder,
        work: Callable[[str], Work],
        queue: str,
        name: str,
        bound: float,
        patience: float,
    ) -> None:
        self.governor = governor
        self.client = client
        self.recorder = recorder
        self.bound = bound
        self.queue = queue
        self.observations: list[str] = []
        self.last: float | None = None
        self._work = work
        self._name = name
        self._patience = patience
        self._tasks: list[Task] = []

    # What happens.

    async def grant(self) -> Task:
        """Make a grant for a task that is not started yet."""
        task = f"{self._name}-{len(self._tasks) + 1}"
        made = Task(task, await self.governor.grant(task))
        self._tasks.append(made)
        return made

    async def start(
        self, task: Task, argument: object, *, flow: str = "steps", queue: str = "", waits: bool = False
    ) -> None:
        """Start a workflow under its task's grant."""
        await self.governor.start(
            f"conformance.{flow}", argument, task=task.id, queue=queue or self.queue, grant=task.grant, waits=waits
        )

    async def begin(self, argument: object, *, flow: str = "steps", queue: str = "", waits: bool = False) -> Task:
        """Start a workflow under a fresh grant."""
        task = await self.grant()
        await self.start(task, argument, flow=flow, queue=queue, waits=waits)
        return task

    async def revoke(self, task: Task) -> None:
        """Revoke a task's grant; the clock starts when that returns."""
        began = self.recorder.clock()
        await self.governor.revoke(task.grant)
        task.revoked = self.recorder.clock()
        self.note(f"revoke returned after {task.revoked - began:.2f} s")

    async def attempt(self, what: str, doing: Awaitable[object]) -> None:
        """Do something the governor may refuse."""
        try:
            await doing
        except Exception as error:
            self.note(f"{what} was refused: {type(error).__name__}: {error}")
        else:
            self.note(f"{what} was taken")

    async def go(self, task: Task) -> None:
        """Let a held call be made; a workflow that is over already hears nothing any more."""
        await self.attempt("the signal to make the next call", self.handle(task).signal("go", rpc_timeout=_RPC))

    def handle(self, task: Task) -> WorkflowHandle[Any, Any]:
        """Return a plain handle to a task's newest run."""
        return self.client.get_workflow_handle(task.id)

    @asynccontextmanager
    async def worker(self, queue: str) -> AsyncIterator[None]:
        """Run a governed worker of another queue."""
        async with self.governor.worker(self._work(queue)):
            yield

    def note(self, text: str) -> None:
        """Write down what was observed."""
        self.observations.append(" ".join(text.split())[:300])

    async def end(self) -> None:
        """Leave nothing running."""
        for task in self._tasks:
            self.recorder.finish(task.id)
            try:
                await self.handle(task).terminate("the scenario is over", rpc_timeout=_RPC)
            except RPCError:
                continue  # over already, or never started

    # What is waited for: work that is allowed has to be done.

    async def running(self, task: Task, step: str, *, times: int = 1) -> None:
        """Return once a call runs, for that many times begun."""
        await self._until(
            lambda: len(found := self.recorder.of(task.id, step)) >= times and found[-1].outcome == "running",
            f"{step!r} of {task.id} did not run under a live grant",
        )

    async def ended(self, task: Task, step: str) -> None:
        """Return once a call came to its end."""
        await self._until(
            lambda: any(one.outcome == "ended" for one in self.recorder.of(task.id, step)),
            f"{step!r} of {task.id} was not done under a live grant",
        )

    async def failed(self, task: Task, step: str) -> None:
        """Return once an attempt of a call failed."""
        await self._until(
            lambda: any(one.outcome == "failed" for one in self.recorder.of(task.id, step)),
            f"{step!r} of {task.id} was not attempted under a live grant",
        )

    async def waiting(self, task: Task) -> None:
        """Return once a call waits for a person."""
        deadline = time.monotonic() + self._patience
        while not await self.governor.waiting(task.id):
            self._require_patience(deadline, f"no step of {task.id} waits for a person")
            await asyncio.sleep(4 * _POLL)

    # What decides.

    async def nothing_begins(
        self, *tasks: Task, until: Coroutine[Any, Any, None] | None = None, seconds: float = QUIET
    ) -> None:
        """Require that no activity of these tasks begins after their grants were revoked.

        Args:
            until: It is watched while this goes on, e.g. a twin's work, and for `seconds` afterwards.

        Raises:
            Violated: One did. Also what `until` raises.
        """
        waiting = asyncio.create_task(until) if until is not None else None
        quiet: float | None = None
        try:
            while quiet is None or self.recorder.clock() < quiet:
                for task in tasks:
                    self._measure(task)
                    if late := [one for one in self.recorder.of(task.id) if one.began > task.revoked]:
                        after = late[0].began - task.revoked
                        raise Violated(f"{_named(late[0])} began {after:.2f} s after the revocation")
                if quiet is None and (waiting is None or waiting.done()):
                    if waiting is not None:
                        waiting.result()
                    quiet = self.recorder.clock() + seconds
                await asyncio.sleep(_POLL)
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    async def stops(self, task: Task, *, twin: Task | None = None) -> None:
        """Require that a task's activities show no sign of life later than the bound.

        Args:
            twin: Makes the same short calls all the time, and goes on meanwhile.

        Raises:
            Violated: One did. NotDone: The twin does not go on.
        """
        limit = task.revoked + self.bound
        deadline = time.monotonic() + self.bound + self._patience
        while True:
            late = [one for one in self.recorder.of(task.id) if one.seen > limit]
            self._measure(task)
            if late:
                raise Violated(f"{_named(late[0])} was alive {self.bound:g} s after the revocation")
            made = [one for one in self.recorder.of(twin.id) if one.began > limit] if twin else []
            if self.recorder.clock() > limit + MARGIN and (twin is None or len(made) >= _PACE):
                break
            self._require_patience(deadline, f"{twin.id if twin else task.id} did not go on under a live grant")
            await asyncio.sleep(_POLL)
        seen = self.recorder.of(task.id)
        if cut := [one for one in seen if one.outcome == "cancelled"]:
            self.note(f"{len(cut)} running: cancelled")
        if late := [one for one in seen if one.began > task.revoked]:
            self.note(f"{len(late)} began after the revocation, within the bound: {counted(late)}")

    def require(self, kept: bool, otherwise: str) -> None:
        """Require something else that was promised.

        Raises:
            Violated: With `otherwise`.
        """
        if not kept:
            raise Violated(otherwise)

    def _measure(self, task: Task) -> None:
        seen = [one.seen - task.revoked for one in self.recorder.of(task.id) if one.seen > task.revoked]
        if seen:
            self.last = max(self.last or 0.0, *seen)

    async def _until(self, reached: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + self._patience
        while not reached():
            self._require_patience(deadline, otherwise)
            await asyncio.sleep(_POLL)

    def _require_patience(self, deadline: float, otherwise: str) -> None:
        if time.monotonic() > deadline:
            raise NotDone(f"{otherwise} within {self._patience:g} s")


def counted(executions: Sequence[Execution]) -> str:
    """Return how often each call was begun, for an observation."""
    steps = [one.step for one in executions]
    return ", ".join(f"{step} × {steps.count(step)}" for step in dict.fromkeys(steps)) or "nothing"


def long(step: str, **options: Any) -> Call:
    """Return a call that takes longer than any scenario."""
    return Call(step, seconds=240, **options)


def _named(one: Execution) -> str:
    return f"{one.tool} ({one.step}, attempt {one.attempt}) of {one.workflow}"
