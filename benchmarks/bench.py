"""The bench: a stack, a governed and an ungoverned worker on it, one for cascades, and delegations to measure with."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.revocation import Revocations
from benchmarks import tools
from benchmarks.apart import Apart, apart, person, witness
from benchmarks.byhand import ByHand
from benchmarks.workflows import Fan, Steps
from remit import jose
from remit.assembly import Parts, assemble, temporal_client
from remit.chain import chain_digest
from remit.client.connection import Connection
from remit.delegation import TYP, Delegation, Reference, Scope
from remit.embedded import Stack
from remit.settings import Settings
from remit.temporal import RemitPlugin, delegated
from workflows.revocation import Revocation

POLICIES = Path(__file__).parent.parent / "policies"
GOVERNED, UNGOVERNED = "bench-governed", "bench-ungoverned"
AT_ONCE = 256
"""Activities and workflow tasks a worker runs at once, for both sides."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What measures need.

    Args:
        governed, ungoverned: Clients with and without the plugin.
        alice: Her session, to delegate.
        revoker, witness: Processes of their own, see `benchmarks.apart`.
    """

    stack: Stack
    settings: Settings
    parts: Parts
    alice: Connection
    governed: Client
    ungoverned: Client
    revoker: Apart
    witness: Apart

    async def delegate(self, task: str, *, budget: int = 1_000_000) -> Reference:
        """Delegate reading the flights to the analyst, for one task."""
        agent = self.parts.catalogue.principal("agent/flight-analyst")
        record = await self.alice.registry.principal(agent)
        if record is None:
            raise RuntimeError("the stack is not provisioned")
        now = int(time.time())
        link = Delegation(
            jti=str(uuid.uuid4()),
            iss=self.alice.principal,
            sub=self.alice.principal,
            aud=self.alice.audience,
            delegate=agent,
            key=record.key.jwk,
            iat=now,
            nbf=now,
            exp=now + 3600,
            depth=0,
            max_depth=2,
            par_hash=None,
            purpose="delay-review",
            scope=Scope(("read",), ("flights",), budget),
        )
        token = await jose.sign(link.to_claims(), typ=TYP, signer=await self.alice.signer())
        await self.alice.registry.put_delegation(
            token, jti=link.jti, parent=None, namespace="default", workflow_id=task
        )
        return Reference(link.jti, chain_digest([token]))

    async def references(self, count: int) -> list[tuple[str, Reference]]:
        """Return task ids with a delegation each."""
        names = [f"bench-{uuid.uuid4()}" for _ in range(count)]
        return list(zip(names, await asyncio.gather(*map(self.delegate, names)), strict=True))

    async def start(
        self, workflow: str, *arguments: Any, task: str, reference: Reference | None
    ) -> WorkflowHandle[Any, Any]:
        """Start a task: under a delegation on the governed worker, without one on the other."""
        if reference is None:
            return await self.ungoverned.start_workflow(workflow, args=arguments, id=task, task_queue=UNGOVERNED)
        with delegated(reference):
            return await self.governed.start_workflow(workflow, args=arguments, id=task, task_queue=GOVERNED)


@asynccontextmanager
async def opened(stack: Stack) -> AsyncIterator[Bench]:
    """Run both workers and close them at the end."""
    settings = Settings.load(home=stack.home)
    async with AsyncExitStack() as closing:
        parts = await closing.enter_async_context(assemble(settings))
        alice = Connection(settings, "alice")
        closing.push_async_callback(alice.close)
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter)
        governed = await temporal_client(settings, plugins=[plugin])
        ungoverned = await temporal_client(settings)
        threads = closing.enter_context(ThreadPoolExecutor(AT_ONCE))
        shared: dict[str, Any] = {
            "workflows": [Steps, Fan],
            "activity_executor": threads,
            "max_concurrent_activities": AT_ONCE,
            "max_concurrent_workflow_tasks": AT_ONCE,
        }
        declared = [tools.governed_plain, tools.governed_query, tools.hold]
        by_hand = [tools.plain, ByHand(stack).query]
        await closing.enter_async_context(Worker(governed, task_queue=GOVERNED, activities=declared, **shared))
        await closing.enter_async_context(Worker(ungoverned, task_queue=UNGOVERNED, activities=by_hand, **shared))
        cascades: dict[str, Any] = {"workflows": [Revocation], "activities": Revocations(parts).activities}
        await closing.enter_async_context(Worker(ungoverned, task_queue=settings.task_queue, **cascades))
        revoker = await closing.enter_async_context(apart(person, settings.home, "alice"))
        witnessing = await closing.enter_async_context(apart(witness, _superuser(stack)))
        yield Bench(stack, settings, parts, alice, governed, ungoverned, revoker, witnessing)


def _superuser(stack: Stack) -> str:
    """Return how PostgreSQL's superuser connects, unlogged."""
    with stack.postgres.connect("flights") as admin:
        return f"{admin.info.dsn} password={admin.info.password}"
