"""`Remit`: what a person can do, for Python code. No printing.

async with Remit.open(person="alice") as remit:
    started = await remit.submit(Job.load(Path("job.yaml")))
    print((await remit.show(started.task))["state"])
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from remit import audit
from remit.approvals import Decision
from remit.client import deciding, explaining, stopping, submitting, viewing
from remit.client.connection import Connection
from remit.client.deciding import Decided, Waiting
from remit.client.stopping import Stopped
from remit.client.submitting import Submitted, Terms
from remit.errors import Refused
from remit.settings import Settings
from remit.statements import Event

if TYPE_CHECKING:
    from datetime import timedelta

    from temporalio.client import Client

    from remit.job import Job

POLL_SECONDS = 0.5
PAUSED = frozenset({"waiting-approval", "suspended"})


class Remit:
    """One person's hands. Every method raises the errors of `remit.errors`; see each module for which.

    Args:
        connection: The way to OpenBao and Temporal.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings | None = None, *, home: Path | None = None, person: str | None = None
    ) -> AsyncIterator[Remit]:
        """Open it for the length of a ``with`` block.

        Args:
            settings: None: from the environment and the state folder.
            home: State folder, where settings are not given.
            person: Whom to act as; None: whoever logged in last.
        """
        connection = Connection(settings or Settings.load(home=home), person)
        try:
            yield cls(connection)
        finally:
            await connection.close()

    async def submit(self, job: Job) -> Submitted:
        """Delegate and start a job."""
        return await submitting.submit(self.connection, job)

    async def start(
        self,
        client: Client,
        workflow: Any,
        *arguments: Any,
        terms: Terms,
        task_queue: str,
        on_revocation: timedelta | Literal["halt"] = "halt",
        **options: Any,
    ) -> Submitted:
        """Delegate and start any workflow, with a client that has the `RemitPlugin`."""
        return await submitting.start(
            self.connection,
            client,
            workflow,
            arguments,
            terms=terms,
            task_queue=task_queue,
            on_revocation=on_revocation,
            **options,
        )

    async def resume(self, task: str, job: Job | None = None) -> Submitted:
        """Let a waiting task go on under a fresh delegation."""
        return await submitting.resume(self.connection, task, job)

    async def tasks(self, *, query: str = "", most: int = 100) -> list[dict[str, Any]]:
        """List tasks, newest first; `query` is a Temporal visibility query that narrows them."""
        return await viewing.tasks(self.connection, query=query, most=most)

    async def show(self, task: str) -> dict[str, Any]:
        """Return one task, as `remit show --json` prints it."""
        return await viewing.show(self.connection, task)

    async def watch(self, task: str, *, until: frozenset[str] = viewing.FINAL) -> AsyncIterator[dict[str, Any]]:
        """Yield a task each time it changes, last when its state is one of `until`."""
        before: dict[str, Any] | None = None
        while True:
            now = await self.show(task)
            if now != before:
                yield now
            if now["state"] in until:
                return
            before = now
            await asyncio.sleep(POLL_SECONDS)

    async def approvals(self) -> list[Waiting]:
        """Return what waits for a decision."""
        return await deciding.waiting(self.connection)

    async def waiting(self, task: str, request: str | None = None) -> Waiting:
        """Return the request a decision about this task would be for."""
        return await deciding.request_of(self.connection, task, request)

    async def approve(self, task: str, request: str | None = None, reason: str | None = None) -> Decided:
        """Say yes to one step with exactly these arguments."""
        return await self.decide(await self.waiting(task, request), "approve", reason)

    async def reject(self, task: str, request: str | None = None, reason: str | None = None) -> Decided:
        """Say no to it."""
        return await self.decide(await self.waiting(task, request), "reject", reason)

    async def decide(self, shown: Waiting, decision: Decision, reason: str | None = None) -> Decided:
        """Say yes or no to exactly the request that `waiting` returned, and to no other."""
        return await deciding.decide(self.connection, shown, decision, reason=reason)

    async def revoke(self, target: str, reason: str) -> Stopped:
        """End a delegation, a task's delegations, or whatever an agent or user holds; final."""
        return await stopping.state(self.connection, target, Event.REVOKED, reason)

    async def suspend(self, target: str, reason: str) -> Stopped:
        """Pause it."""
        return await stopping.state(self.connection, target, Event.SUSPENDED, reason)

    async def reinstate(self, target: str, reason: str) -> Stopped:
        """Lift a pause."""
        return await stopping.state(self.connection, target, Event.REINSTATED, reason)

    async def follow(
        self, stopped: Stopped, *, progress: Callable[[int, int], None] = lambda stopped, going: None
    ) -> Stopped:
        """Follow what a statement set going for a while; return how it stands then."""
        return await stopping.follow(self.connection, stopped, progress=progress)

    async def delegations(self, target: str | None = None) -> list[dict[str, Any]]:
        """Return who handed what to whom, as trees."""
        return await viewing.delegations(self.connection, target)

    async def explain(self, task: str, step: int | None = None) -> dict[str, Any]:
        """Answer the five questions for a task, or for one step of it."""
        shown = await self.show(task)
        if step is not None and step not in {one["n"] for one in shown["steps"]}:
            raise Refused(
                f"{task} has no step {step}",
                code="step.unknown",
                next_action=f"It has {len(shown['steps'])}; see: remit show {task}",
            )
        everything = list(audit.read(self.connection.settings.audit_folder, task=None if step is None else task))
        records = [record for record in everything if record.get("task") == task]
        own = {record["chain"][-1] for record in records if record.get("chain")} | {shown["chain"][-1]["delegation"]}
        if step is None:  # and what was done under what it handed on
            records = [record for record in everything if own & {*(record.get("chain") or ())}]
        leaves = dict.fromkeys([*sorted(own), *(record["chain"][-1] for record in records if record.get("chain"))])
        chains = [await self.connection.chain(jti) for jti in leaves]
        links = {link.jti: link for chain in chains for link in chain.links}
        # A decision names the delegation it was made about, and no chain.
        records += [one for one in everything if one not in records and one.get("delegation") in links]
        records.sort(key=lambda record: float(record.get("time") or 0))
        stated = await viewing.statements(self.connection, chains)
        evidence = explaining.Evidence(shown, tuple(links.values()), tuple(records), stated, step)
        return explaining.explain(evidence)
