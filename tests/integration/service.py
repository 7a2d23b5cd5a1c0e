"""The service on the real stack: its worker in this process, jobs submitted, tasks and queries looked at."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from temporalio.worker import Worker

from activities import http, plan, publish, sql
from activities.revocation import Revocations
from remit import cascade
from remit.assembly import Parts, assemble, temporal_client
from remit.client import Remit
from remit.client.stopping import Stopped
from remit.embedded import Stack
from remit.job import Job
from remit.settings import Settings
from remit.temporal import RemitPlugin, names_of
from workflows.agent_task import AgentTask
from workflows.revocation import Revocation

FINAL = ("completed", "failed", "halted", "rejected")


@asynccontextmanager
async def serving(
    settings: Settings, *, service: str = "http://127.0.0.1:1", watch: float = 1.0
) -> AsyncIterator[Parts]:
    """Run a worker of the service, as `worker.py` does.

    Args:
        service: Address of the catalogue's status page.
        watch: Seconds between looks at the chain of a running attempt.
    """
    async with assemble(settings) as parts:
        plugin = RemitPlugin(
            authority=parts.authority,
            presenter=parts.presenter,
            ungoverned=[plan.NEXT, cascade.WORKFLOW, *cascade.ACTIVITIES],
            watch=watch,
        )
        tools = [sql.query, publish.publish, http.requests({"status-page": service})]
        async with Worker(
            await temporal_client(settings, vault=parts.vault, plugins=[plugin]),
            task_queue=settings.task_queue,
            workflows=[AgentTask, Revocation],
            activities=[plan.Planning(names_of(tools)).propose, *Revocations(parts).activities, *tools],
        ):
            yield parts


async def followed(
    person: Remit, stopped: Stopped, *, progress: Callable[[int, int], None] = lambda stopped, going: None
) -> Stopped:
    """Follow a stop to its end, which on a loaded machine may come later than a command waits for."""
    for _ in range(6):
        if (done := await person.follow(stopped, progress=progress)).complete:
            break
    return done


async def submit(settings: Settings, job: Job, *, by: str = "alice") -> str:
    async with Remit.open(settings, person=by) as remit:
        return (await remit.submit(job)).task


async def until(settings: Settings, task: str, *states: str, seconds: float = 120) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    async with Remit.open(settings, person="alice") as remit:
        while True:
            shown = await remit.show(task)
            if shown["state"] in states:
                return shown
            assert time.monotonic() < deadline, shown
            assert shown["state"] not in FINAL, shown
            await asyncio.sleep(0.05)


def job(steps: str, **changes: str) -> Job:
    lines = {
        "agent": "flight-analyst",
        "purpose": "delay-review",
        "delegation": "{actions: [read, report:publish], spaces: [flights], budget: 50, expires_in: 1h, max_depth: 2}",
        "steps": steps,
        **changes,
    }
    return Job.parse("\n".join(f"{key}: {value}" for key, value in lines.items()))


def asks(statement: str) -> str:
    return f'{{tool: sql.query, input: {{dataset: flights, sql: "{statement}"}}}}'


def queries(stack: Stack, like: str) -> list[tuple[str, str]]:
    """Return user and query of what runs in PostgreSQL now."""
    return [
        (str(user), str(query))
        for user, query in asked(
            stack,
            "SELECT usename, query FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
            " AND pid <> pg_backend_pid()",
            f"%{like}%",
        )
    ]


def asked(stack: Stack, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with stack.postgres.connect("flights", autocommit=True) as admin:
        return admin.execute(statement, parameters).fetchall()


async def running(stack: Stack, like: str, *, seconds: float = 60) -> str:
    """Return the user of such a query, once it runs."""
    deadline = time.monotonic() + seconds
    while not (found := queries(stack, like)):
        assert time.monotonic() < deadline, "the query never ran"
        await asyncio.sleep(0.02)
    return found[0][0]
