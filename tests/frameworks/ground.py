"""The ground other people's agents are tried on: real servers, a mapping, their plugin, and people round the agent.

    async with governed(stack, settings, mapping, plugins=[Theirs(…)], workflows=[TheirAgent], queue="q") as ground:
        run = await ground.start(TheirAgent.run, "prompt")
        await run.until("waiting-approval")
        await run.approve()
        await run.result()

- Everything goes through what people use: `remit.client.Remit`, each person in their own name.
- What is asserted is what servers say: who queries, which database users exist, what the audit log holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from temporalio.client import Client, Plugin, WorkflowFailureError, WorkflowHandle, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, Worker

from remit import audit
from remit.assembly import Parts, assemble, temporal_client
from remit.client import Remit, Terms
from remit.client.stopping import Stopped
from remit.client.submitting import Submitted
from remit.delegation import Scope
from remit.embedded import Stack
from remit.mapping import Mapping as Meaning
from remit.settings import Settings
from remit.temporal import RemitPlugin
from tests.integration.service import asked, queries

FINAL = ("completed", "failed", "halted", "rejected")
SECONDS = 60.0
AGENT = "delay-desk"
"""The catalogue's agent that may both query and publish."""
ACTIONS = ("read", "report:publish", "model:invoke")


@dataclass(slots=True)
class Run:
    """One workflow of theirs that runs under a delegation of alice's."""

    ground: Ground
    task: str
    delegations: list[str]
    """The one it was started under, then the fresh ones."""
    handle: WorkflowHandle[Any, Any]

    async def shown(self) -> dict[str, Any]:
        """Return it as `remit show --json` prints it."""
        async with self.ground.person("alice") as alice:
            return await alice.show(self.task)

    async def until(self, *states: str, seconds: float = SECONDS) -> dict[str, Any]:
        """Return it once it is in one of these states; fail when it ended in another."""
        deadline = time.monotonic() + seconds
        async with self.ground.person("alice") as alice:
            while True:
                shown = await alice.show(self.task)
                if shown["state"] in states:
                    return shown
                assert shown["state"] not in FINAL, shown
                assert time.monotonic() < deadline, shown
                await asyncio.sleep(0.05)

    async def result(self) -> Any:
        return await self.handle.result()

    async def code(self) -> str | None:
        """Return the code the workflow failed with."""
        try:
            result = await self.handle.result()
        except WorkflowFailureError as failed:
            found: BaseException | None = failed.cause
        else:
            raise AssertionError(f"it did not fail: {result!r}")
        while found is not None and not isinstance(found, ApplicationError):
            found = found.__cause__
        return found.type if found is not None else None

    async def approve(self, *, by: str = "bob") -> dict[str, Any]:
        """Wait until it asks, and say yes; return what was asked."""
        return await self._decide(by, "approve")

    async def reject(self, *, by: str = "bob") -> dict[str, Any]:
        return await self._decide(by, "reject")

    async def revoke(self, *, by: str = "alice") -> Stopped:
        async with self.ground.person(by) as person:
            return await person.revoke(self.task, "a test")

    async def resume(self) -> Submitted:
        """Let it go on under a fresh delegation, with the same terms; it must be suspended."""
        async with self.ground.person("alice") as alice:
            resumed = await alice.resume(self.task)
        self.delegations.append(resumed.delegation)
        return resumed

    async def querying(self, like: str = "pg_sleep") -> str:
        """Return the database user of its query, once such a query runs."""
        deadline = time.monotonic() + SECONDS
        while True:
            users = [user for user, _ in queries(self.ground.stack, like) if self._own(user)]
            if users:
                return users[0]
            assert time.monotonic() < deadline, f"no query like {like!r} ran: {await self.shown()}"
            await asyncio.sleep(0.02)

    async def dead(self, user: str, *, seconds: float = 10.0) -> float:
        """Return after how many milliseconds a database user has no session and is gone."""
        began = time.monotonic()
        statement = (
            "SELECT 1 FROM pg_stat_activity WHERE usename = %s UNION ALL SELECT 1 FROM pg_roles WHERE rolname = %s"
        )
        while asked(self.ground.stack, statement, user, user):
            assert time.monotonic() < began + seconds, f"{user} still lives"
            await asyncio.sleep(0.005)
        return (time.monotonic() - began) * 1000

    def users(self) -> list[str]:
        """Return the database users that exist now for any of its delegations."""
        found = asked(self.ground.stack, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'd-%%'")
        return [str(user) for (user,) in found if self._own(str(user))]

    def records(self, tool: str = "", *, resource: str = "") -> list[dict[str, Any]]:
        """Return the audit records of its attempts, in order; only of a tool, or of what touches a resource."""
        return [
            one
            for one in audit.read(self.ground.settings.audit_folder, task=self.task)
            if one["event"] == "attempt"
            and (not tool or one.get("tool") == tool)
            and (not resource or one.get("resource") == resource)
        ]

    def outcomes(self, tool: str = "", *, resource: str = "") -> list[str]:
        """Return how its attempts went, a refusal with its code: ``permitted``, ``ok``, ``refused policy.denied``."""
        found = self.records(tool, resource=resource)
        return [f"{one['outcome']} {one['code']}" if one["outcome"] == "refused" else one["outcome"] for one in found]

    async def history(self) -> WorkflowHistory:
        return await self.handle.fetch_history()

    async def replays(self) -> None:
        """Replay its history as it is now, with their plugins and Remit's."""
        replayer = Replayer(
            workflows=list(self.ground.workflows), plugins=list(self.ground.plugins), **self.ground.replay
        )
        await replayer.replay_workflow(await self.history())

    async def _decide(self, by: str, decision: Literal["approve", "reject"]) -> dict[str, Any]:
        waiting: dict[str, Any] = (await self.until("waiting-approval"))["waiting"]
        async with self.ground.person(by) as person:
            await (person.approve if decision == "approve" else person.reject)(self.task, reason="a test")
        return waiting

    def _own(self, user: str) -> bool:
        return any(user.startswith(f"d-{delegation}-") for delegation in self.delegations)


@dataclass(frozen=True, slots=True)
class Ground:
    """A worker of theirs, governed."""

    stack: Stack
    settings: Settings
    parts: Parts
    client: Client
    queue: str
    workflows: Sequence[type]
    plugins: Sequence[Any]
    replay: Mapping[str, Any] = field(default_factory=dict)

    def person(self, name: str) -> AbstractAsyncContextManager[Remit]:
        """Open what a person can do."""
        return Remit.open(self.settings, person=name)

    async def start(
        self,
        workflow: Any,
        *arguments: Any,
        agent: str = AGENT,
        actions: Sequence[str] = ACTIONS,
        spaces: Sequence[str] = ("flights",),
        budget: int = 100,
        max_depth: int = 2,
        on_revocation: timedelta | Literal["halt"] = timedelta(minutes=10),
        **options: Any,
    ) -> Run:
        """Start a workflow of theirs as alice's agent."""
        terms = Terms(agent, "delay-review", Scope(tuple(actions), tuple(spaces), budget), 3600, max_depth)
        async with self.person("alice") as alice:
            started = await alice.start(
                self.client,
                workflow,
                *arguments,
                terms=terms,
                task_queue=self.queue,
                on_revocation=on_revocation,
                **options,
            )
        return Run(self, started.task, [started.delegation], self.client.get_workflow_handle(started.task))


@asynccontextmanager
async def governed(
    stack: Stack,
    settings: Settings,
    mapping: Meaning,
    *,
    plugins: Sequence[Plugin] | Callable[[Parts], Sequence[Plugin]] = (),
    workflows: Sequence[type],
    activities: Sequence[Callable[..., Any]] = (),
    queue: str,
    replay: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Ground]:
    """Run a worker of theirs with their plugins and Remit's, in this process.

    Args:
        plugins: Theirs, or what makes them. queue: Task queue, of this test file alone.
        replay: Options of the Replayer. options: Of the Worker.
    """
    async with assemble(settings) as parts:
        theirs = list(plugins(parts) if callable(plugins) else plugins)
        remit = RemitPlugin(authority=parts.authority, presenter=parts.presenter, mapping=mapping)
        both = [remit, *theirs]
        client = await temporal_client(settings, plugins=both)
        async with Worker(client, task_queue=queue, workflows=list(workflows), activities=list(activities), **options):
            yield Ground(stack, settings, parts, client, queue, workflows, both, replay or {})


def nap(name: str) -> str:
    """Return a query that sleeps a minute, unless `wake` was called with the same name: then it does not sleep."""
    return f"select pg_sleep(case when to_regclass('reports.awake_{name}') is null then 60 else 0 end)::text as slept"


def wake(stack: Stack, name: str) -> None:
    """Let queries of `nap` that begin from now on be quick."""
    with stack.postgres.connect("flights", autocommit=True) as admin:
        admin.execute(f"CREATE TABLE IF NOT EXISTS reports.awake_{name} ()".encode())


async def eventually(holds: Callable[[], Any] | Callable[[], Awaitable[Any]], *, seconds: float = SECONDS) -> Any:
    """Return what is true once it is."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        found = await found if isinstance(found, Awaitable) else found
        if found:
            return found
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)
