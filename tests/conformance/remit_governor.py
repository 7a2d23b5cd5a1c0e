"""Remit, as the conformance suite sees it: ``python -m remit.conformance tests.conformance.remit_governor:governor``.

- alice delegates and revokes, bob approves: both with the same code as the command line.
- The suite's activities stay as they are; what they do in Cedar's words is declared to the plugin beside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from temporalio.client import Client
from temporalio.worker import Worker

from remit import jose
from remit.assembly import assemble, temporal_client
from remit.chain import chain_digest
from remit.client import Remit, deciding, submitting, workflows
from remit.client.targets import new_delegation
from remit.conformance import SENSITIVE, Capability, Governor, Work
from remit.conformance.tools import TOOLS
from remit.delegation import TYP, Reference, Scope
from remit.errors import Held
from remit.revoking import Revoking
from remit.settings import Settings
from remit.statements import Event
from remit.temporal import RemitPlugin, delegated
from remit.tool import Tool

AGENT = "report-writer"
WAIT = timedelta(minutes=10)
TIMES = 5
TERMS = submitting.Terms(AGENT, "delay-review", Scope(("egress", "report:publish"), ("flights",), 10_000), 600, 2)


class Given(BaseModel):
    """What the suite gives its activities."""

    model_config = ConfigDict(from_attributes=True)

    step: str
    seconds: int
    fails: int


def declared(name: str) -> Tool:
    """Say what an activity of the suite does: one publishes, which needs a steward; the others call a service."""
    if name == SENSITIVE:
        return Tool(name=name, action="report:publish", resource=lambda _: "reports", input=Given)
    return Tool(name=name, action="http:request", resource=lambda _: "status-page", input=Given)


class RemitGovernor:
    """Remit on a stack that runs."""

    name = "Remit"
    capabilities = frozenset(Capability)

    def __init__(self, *, client: Client, alice: Remit, bob: Remit) -> None:
        self._client = client
        self._alice = alice
        self._bob = bob

    def worker(self, work: Work) -> AbstractAsyncContextManager[object]:
        """Run a worker of a client that has the plugin."""
        return Worker(
            self._client,
            task_queue=work.queue,
            workflows=work.workflows,
            activities=work.activities,
            activity_executor=work.executor,
        )

    async def grant(self, task: str) -> Reference:
        """Have alice delegate."""
        alice = self._alice.connection
        record = await alice.registry.principal(alice.catalogue.principal(f"agent/{AGENT}"))
        assert record is not None
        jti = new_delegation()
        link = submitting.root(TERMS, connection=alice, jti=jti, key=record.key.jwk)
        token = await jose.sign(link.to_claims(), typ=TYP, signer=await alice.signer())
        await alice.registry.put_delegation(
            token, jti=jti, parent=None, namespace=self._client.namespace, workflow_id=task
        )
        return Reference(jti, chain_digest([token]))

    async def start(
        self, workflow: str, argument: Any, *, task: str, queue: str, grant: Reference, waits: bool
    ) -> object:
        """Start under that delegation."""
        alice = self._alice.connection
        with delegated(
            grant,
            on_revocation=WAIT if waits else "halt",
            root=alice.principal.spiffe_id,
            agent=alice.catalogue.principal(f"agent/{AGENT}").spiffe_id,
        ):
            return await self._client.start_workflow(workflow, argument, id=task, task_queue=queue)

    async def revoke(self, grant: Reference) -> object:
        """Have alice revoke it."""
        return await _said(lambda: self._alice.revoke(grant.delegation, "conformance"))

    async def waiting(self, task: str) -> bool:
        """Ask the task."""
        return bool(deciding.requests(await workflows.view(self._bob.connection, task) or {}, task=task))

    async def approve(self, task: str) -> object:
        """Have bob approve."""
        return await _said(lambda: self._bob.approve(task))

    async def regrant(self, task: str) -> object:
        """Have alice delegate anew."""
        return await _said(lambda: self._alice.resume(task))


class Untold(RemitGovernor):
    """Remit, where whoever revokes is gone once the statement is in force: nobody tells a task or a worker."""

    name = "Remit, with nobody told"

    async def revoke(self, grant: Reference) -> object:
        """Have alice state it, and no more."""
        alice = self._alice.connection
        revoking = Revoking(
            registry=alice.registry,
            vault=alice.vault,
            standing=alice.standing,
            stops=alice.stops,
            clock=alice.clock,
        )
        return await revoking.declare(
            signer=await alice.signer(),
            issuer=alice.principal,
            subject=await alice.chain(grant.delegation),
            event=Event.REVOKED,
            reason="conformance",
        )


async def _said(action: Callable[[], Awaitable[object]]) -> object:
    """Do what a person does who is told that something does not answer now: say it again."""
    for _ in range(TIMES):
        try:
            return await action()
        except Held:
            await asyncio.sleep(1)
    return await action()


@asynccontextmanager
async def opened(settings: Settings, made: type[RemitGovernor] = RemitGovernor) -> AsyncIterator[Governor]:
    """Open Remit on the stack of these settings."""
    async with AsyncExitStack() as closing:
        parts = await closing.enter_async_context(assemble(settings))
        tools = [declared(name) for name in TOOLS]
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, tools=tools)
        yield made(
            client=await temporal_client(settings, plugins=[plugin]),
            alice=await closing.enter_async_context(Remit.open(settings, person="alice")),
            bob=await closing.enter_async_context(Remit.open(settings, person="bob")),
        )


def governor(address: str, namespace: str) -> AbstractAsyncContextManager[Governor]:
    """Open Remit as its settings say; they must lead to the same Temporal as the suite's own address."""
    return opened(Settings.load())
