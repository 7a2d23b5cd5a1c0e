"""The plugin with the real authority, under workflows that know nothing of it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from temporalio.worker import Worker

from activities import sql
from remit import audit
from remit.assembly import Parts, assemble, temporal_client
from remit.embedded import Stack
from remit.settings import Settings
from remit.statements import Event
from remit.temporal import RemitPlugin, delegated, tool
from tests.unit.temporal.flows import FLOWS

from .acting import Task, delegate, minted_users, state

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

QUERY = ["sql.query", {"dataset": "flights", "sql": "select count(*) as n from flights"}]
NAP = ["nap", {"dataset": "flights", "seconds": 120}]
QUEUE = "agents"
NAPS: list[str] = []


class Nap(BaseModel):
    dataset: str
    seconds: float


@tool(name="nap", action="dataset:query", resource=lambda nap: nap.dataset)
async def nap(nap: Nap) -> str:
    """Take a while, with nothing minted."""
    NAPS.append("began")
    await asyncio.sleep(nap.seconds)
    NAPS.append("ended")
    return "rested"


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncIterator[Client]:
    """A client whose worker runs other people's agents."""
    async with assemble(settings) as parts:
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, ungoverned=["model.*"])
        made = await temporal_client(settings, plugins=[plugin])
        async with Worker(made, task_queue=QUEUE, workflows=FLOWS, activities=[sql.query, nap]):
            yield made


@pytest.fixture(autouse=True)
def rested() -> None:
    NAPS.clear()


async def start(client: Client, task: Task, flow: str, argument: Any, **options: Any) -> WorkflowHandle[Any, Any]:
    with delegated(task.reference, **options):
        return await client.start_workflow(flow, argument, id=task.id, task_queue=QUEUE)


async def code_of(handle: WorkflowHandle[Any, Any]) -> str | None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause: BaseException | None = failed.value.cause
    while isinstance(cause, ActivityError | ChildWorkflowError):
        cause = cause.__cause__
    assert isinstance(cause, ApplicationError)
    return cause.type


async def napping(count: int = 1) -> None:
    deadline = time.monotonic() + 120
    while NAPS.count("began") < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def outcomes(settings: Settings, task: str) -> list[tuple[str, str | None]]:
    found = [one for one in audit.read(settings.audit_folder, task=task) if one["event"] == "attempt"]
    return [(one["outcome"], one.get("code")) for one in found]


@pytest.mark.parametrize("flow", ["Calls", "Local", "Parent", "Renewing"])
async def test_every_way_to_a_tool_is_governed(client: Client, settings: Settings, stack: Stack, flow: str) -> None:
    task = await delegate(settings)
    handle = await start(client, task, flow, [QUERY, QUERY])
    await handle.result()
    running = f"{task.id}-child" if flow == "Parent" else task.id
    assert [outcome for outcome, _ in outcomes(settings, running)] == ["permitted", "ok"] * 2
    assert minted_users(stack, task) == []


async def test_a_reference_opens_nothing_elsewhere(client: Client, settings: Settings, stack: Stack) -> None:
    task = await delegate(settings)
    for flow, argument in (("CallsOnce", [QUERY]), ("Delegator", [["flights"], [QUERY]]), ("Parent", [QUERY])):
        with delegated(task.reference):
            handle = await client.start_workflow(flow, argument, id=f"copy-{uuid.uuid4()}", task_queue=QUEUE)
        assert await code_of(handle) == "delegation.other-task"
    assert minted_users(stack, task) == []


async def test_a_task_started_again_under_its_id_has_no_authority(client: Client, settings: Settings) -> None:
    task = await delegate(settings)
    first = await start(client, task, "Calls", [QUERY, NAP])
    await napping()
    await first.terminate()
    again = await start(client, task, "CallsOnce", [QUERY])
    assert await code_of(again) == "delegation.other-task"


async def test_a_reset_brings_no_revoked_authority_back(client: Client, settings: Settings) -> None:
    task = await delegate(settings)
    handle = await start(client, task, "Calls", [QUERY, NAP])
    await napping()
    await state(settings, task, Event.REVOKED)
    await handle.signal("remit.notice")
    assert await code_of(handle) == "chain.revoked"
    made = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=task.id, run_id=handle.first_execution_run_id or ""),
            reason="a test",
            request_id=str(uuid.uuid4()),
            workflow_task_finish_event_id=4,
        )
    )
    NAPS.clear()
    assert await code_of(client.get_workflow_handle(task.id, run_id=made.run_id)) == "chain.revoked"
    assert NAPS == []


async def test_a_reset_of_a_live_task_goes_on(client: Client, settings: Settings) -> None:
    task = await delegate(settings)
    handle = await start(client, task, "Calls", [QUERY, QUERY])
    await handle.result()
    made = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=task.id, run_id=handle.first_execution_run_id or ""),
            reason="a test",
            request_id=str(uuid.uuid4()),
            workflow_task_finish_event_id=4,
        )
    )
    assert len(await client.get_workflow_handle(task.id, run_id=made.run_id).result()) == 2


async def test_a_budget_ends(client: Client, settings: Settings) -> None:
    task = await delegate(settings, budget=2)
    handle = await start(client, task, "CallsOnce", [["nap", {"dataset": "flights", "seconds": 0}]] * 3)
    assert await code_of(handle) in ("budget.exceeded", "policy.denied")
    assert NAPS.count("ended") == 2


async def test_a_child_holds_less(client: Client, settings: Settings) -> None:
    task = await delegate(settings)
    handle = await start(client, task, "Delegator", [["flights"], [QUERY]])
    # A report writer may not read data, whoever handed it that.
    assert await code_of(handle) == "delegation.denied"
    wider = await delegate(settings)
    handle = await start(client, wider, "Delegator", [["flights", "hr"], [QUERY]])
    assert (await code_of(handle) or "").startswith(("chain.", "delegation."))


async def test_one_revocation_stops_many(client: Client, settings: Settings) -> None:
    task = await delegate(settings)
    handle = await start(client, task, "Parallel", [NAP] * 40)
    others = [await delegate(settings) for _ in range(3)]
    live = [await start(client, other, "Calls", [["nap", {"dataset": "flights", "seconds": 4}]]) for other in others]
    await napping(43)
    began = time.monotonic()
    await state(settings, task, Event.REVOKED)
    await handle.signal("remit.notice")
    assert await code_of(handle) == "chain.revoked"
    assert time.monotonic() - began < 60
    assert [await one.result() for one in live] == [["rested"]] * 3, "the others are left alone"
    assert NAPS.count("ended") == 3


async def test_the_watch_alone_stops_a_tool(client: Client, settings: Settings) -> None:
    task = await delegate(settings)
    handle = await start(client, task, "Calls", [NAP], on_revocation=timedelta(minutes=5))
    await napping()
    began = time.monotonic()
    await state(settings, "user/alice", Event.SUSPENDED, by="carol")
    try:
        while (await handle.query("remit.view"))["state"] != "suspended":
            assert time.monotonic() - began < 60
            await asyncio.sleep(0.05)
        assert outcomes(settings, task.id)[-1][0] in ("stopped", "cancelled")
        assert NAPS.count("ended") == 0, "it was stopped, and did not end by itself"
    finally:
        await state(settings, "user/alice", Event.REINSTATED, by="carol")
    await handle.signal("remit.notice")
    await napping(2)
    await handle.terminate()


def test_parts_are_what_the_plugin_asks_for(parts: Parts) -> None:
    RemitPlugin(authority=parts.authority, presenter=parts.presenter)
