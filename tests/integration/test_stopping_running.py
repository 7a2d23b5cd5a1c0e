"""Stopping what runs, on the real servers: whatever kind of tool it is, and however it hears.

Ways it hears: a worker command from Temporal, Temporal's answer to a heartbeat, or the watch alone when no task was
told at all. Whatever the way, the database session is dead and the result of a tool that went on is nobody's.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from sys import executable
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from remit import audit
from remit.assembly import assemble, temporal_client
from remit.embedded import Stack
from remit.settings import Settings
from remit.statements import Event
from remit.temporal import SEARCH_ATTRIBUTES, RemitPlugin, _watch, current_credential, delegated, tool
from tests.unit.temporal.flows import FLOWS

from .acting import Task, delegate, minted_users, state

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

TOLD: list[str] = []
END = threading.Event()


class Work(BaseModel):
    dataset: str = "flights"
    mark: str = ""
    seconds: float = 3


@tool(name="work.async", action="dataset:query", resource=lambda work: work.dataset, credential="flights-ro")
async def waiting(work: Work) -> str:
    """Ask for something that takes long."""
    async with await psycopg.AsyncConnection.connect(current_credential()["dsn"]) as session:
        await session.execute(f"select pg_sleep(60) -- {work.mark}")
    return work.mark


@tool(name="work.thread", action="dataset:query", resource=lambda work: work.dataset, credential="flights-ro")
def blocking(work: Work) -> str:
    """Ask for something that takes long, and block a thread meanwhile."""
    with psycopg.connect(current_credential()["dsn"]) as session:
        session.execute(f"select pg_sleep(60) -- {work.mark}")
    return work.mark


@tool(name="work.mute", action="dataset:query", resource=lambda work: work.dataset, credential="flights-ro")
def mute(work: Work) -> str:
    """Hold a session, block a thread and say nothing: no heartbeat, no query that could fail."""
    with psycopg.connect(current_credential()["dsn"]) as session:
        session.execute(f"select 1 -- {work.mark}")
        while not END.wait(0.05):
            pass
    return work.mark


@tool(name="work.deaf", action="dataset:query", resource=lambda work: work.dataset, credential="flights-ro")
async def deaf(work: Work) -> str:
    """Ignore everything it is told, and try its credential again and again."""
    dsn, until = current_credential()["dsn"], time.monotonic() + work.seconds
    session = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    await session.execute(f"select 1 -- {work.mark}")
    while time.monotonic() < until and not END.is_set():
        try:
            await asyncio.sleep(0.1)
            if session.closed:
                session = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
                TOLD.append("connected again")
            await session.execute(f"select 1 -- {work.mark}")
        except asyncio.CancelledError:
            TOLD.append(work.mark)
        except psycopg.Error:
            TOLD.append("no credential")
    await session.close()
    return work.mark


TOOLS = [waiting, blocking, mute, deaf]


@dataclass(frozen=True, slots=True)
class Way:
    """A worker, and how it hears."""

    client: Client
    notices: bool
    queue: str


@pytest.fixture(scope="module", params=["worker command", "heartbeat", "watch"])
async def way(request: pytest.FixtureRequest, settings: Settings) -> AsyncIterator[Way]:
    async with assemble(settings) as parts:
        watch = 0.5 if request.param == "watch" else 3600.0
        plugin = RemitPlugin(
            authority=parts.authority, presenter=parts.presenter, watch=watch, heartbeat=timedelta(seconds=9)
        )
        queue = f"stopping-{request.param}".replace(" ", "-")
        with ThreadPoolExecutor(8) as threads:
            options: dict[str, Any] = {"workflows": FLOWS, "activities": TOOLS, "activity_executor": threads}
            if request.param != "heartbeat":
                client = await temporal_client(settings, plugins=[plugin])
                async with Worker(client, task_queue=queue, **options):
                    yield Way(client, request.param != "watch", queue)
                return
            async with await WorkflowEnvironment.start_local(
                dev_server_existing_path=str(Path(executable).parent / "temporal"), search_attributes=SEARCH_ATTRIBUTES
            ) as plain:
                client = await Client.connect(plain.client.service_client.config.target_host, plugins=[plugin])
                async with Worker(client, task_queue=queue, **options):
                    yield Way(client, True, queue)


@pytest.fixture(autouse=True)
def fresh() -> Any:
    TOLD.clear()
    END.clear()
    yield
    END.set()


async def until(true: Callable[[], Any], *, seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := await asyncio.to_thread(true)):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)
    return found


def sessions(stack: Stack, task: Task) -> list[str]:
    """Return the queries of sessions minted for a task."""
    with stack.postgres.connect("flights", autocommit=True) as admin:
        asked = admin.execute(
            "SELECT query FROM pg_stat_activity WHERE usename LIKE %s", (f"d-{task.reference.delegation}-%",)
        )
        return [str(row[0]) for row in asked]


def ended(settings: Settings, task: Task) -> list[dict[str, Any]]:
    """Return the records of attempts that are over."""
    found = [one for one in audit.read(settings.audit_folder, task=task.id) if one["event"] == "attempt"]
    return [one for one in found if one["outcome"] != "permitted"]


async def suspended(handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 40
    while True:
        view: dict[str, Any] = await handle.query("remit.view")
        if view["state"] == "suspended":
            return view
        assert time.monotonic() < deadline, view
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", ["work.async", "work.thread", "work.mute", "work.deaf"])
async def test_a_running_tool_is_stopped_however_it_hears(
    way: Way, stack: Stack, settings: Settings, name: str
) -> None:
    """Attack 34, and a tool that does not even listen."""
    task = await delegate(settings)
    mark = uuid.uuid4().hex
    with delegated(task.reference, on_revocation=timedelta(hours=1)):
        handle = await way.client.start_workflow("Calls", [[name, {"mark": mark}]], id=task.id, task_queue=way.queue)
    await until(lambda: any(mark in query for query in sessions(stack, task)))
    outcome = await state(settings, task, Event.REVOKED)
    assert (outcome.leases_revoked, outcome.pending) == (1, ())
    assert sessions(stack, task) == [], "its session is dead when the revocation returns"
    assert minted_users(stack, task) == []
    if way.notices:
        await handle.signal("remit.notice")
    (record,) = await until(lambda: ended(settings, task))
    assert record["outcome"] in ("stopped", "cancelled")
    view = await suspended(handle)
    assert view["steps"][0]["state"] == "stopped"
    if name == "work.deaf":
        assert record["outcome"] == "stopped"
        assert mark in TOLD, "it was told"
        assert "no credential" in TOLD, "and could do nothing more"
        assert "connected again" not in TOLD
    history = await handle.fetch_history()
    assert not any(event.HasField("activity_task_completed_event_attributes") for event in history.events)
    assert sessions(stack, task) == []
    await handle.terminate()


@pytest.mark.parametrize("way", ["watch"], indirect=True)
async def test_an_expiry_takes_the_credential_as_well(
    way: Way, stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody revokes: whoever watches a tool destroys its credential, though it goes on, and its step waits."""
    monkeypatch.setattr(_watch, "_GRACE", 600.0)
    task, mark = await delegate(settings, seconds=12), uuid.uuid4().hex
    with delegated(task.reference):
        handle = await way.client.start_workflow(
            "Calls", [["work.deaf", {"mark": mark, "seconds": 600}]], id=task.id, task_queue=way.queue
        )
    await until(lambda: any(mark in query for query in sessions(stack, task)))
    await until(lambda: "no credential" in TOLD)
    assert ended(settings, task) == [], "the tool still runs"
    assert minted_users(stack, task) == []
    assert "connected again" not in TOLD
    END.set()
    view = await suspended(handle)
    assert (view["stopped"]["status"], view["stopped"]["waits_for"]) == ("expired", "a fresh delegation")
    (record,) = await until(lambda: ended(settings, task))
    assert (record["outcome"], record["code"]) == ("stopped", "chain.expired")
    await handle.terminate()
