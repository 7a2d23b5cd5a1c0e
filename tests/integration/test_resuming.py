"""Going on: after a suspension, a fresh delegation, another worker; what was done is not done again."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Worker

from activities import http
from remit import audit
from remit.assembly import Parts, assemble, temporal_client
from remit.client import Remit
from remit.embedded import Stack
from remit.settings import Settings
from remit.statements import Event
from remit.temporal import RemitPlugin, delegated, tool
from tests.unit.temporal.flows import FLOWS

from .acting import Task, approve, delegate, state

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

DID: list[str] = []
WORKING: list[Parts] = []
DAY = timedelta(days=1)


class Deed(BaseModel):
    dataset: str = "flights"
    seconds: float = 0


async def did(name: str, deed: Deed) -> str:
    DID.append(f"{name} began")
    await asyncio.sleep(deed.seconds)
    DID.append(name)
    return name


@tool(name="deed.read", action="dataset:query", resource=lambda deed: deed.dataset)
async def read(deed: Deed) -> str:
    """May be repeated."""
    return await did("read", deed)


@tool(name="deed.pay", action="dataset:query", resource=lambda deed: deed.dataset, credential="flights-ro", once=True)
async def pay(deed: Deed) -> str:
    """Must not be repeated."""
    return await did("pay", deed)


@tool(name="deed.publish", action="report:publish", resource="reports")
async def publish(deed: Deed) -> str:
    """Needs a steward's approval."""
    return await did("publish", deed)


READ, PAY = ["deed.read", {}], ["deed.pay", {}]
PAYING = ["deed.pay", {"seconds": 30}]
PUBLISHING = ["deed.publish", {"seconds": 30}]


@asynccontextmanager
async def worker(settings: Settings, queue: str, **options: Any) -> AsyncIterator[Client]:
    async with assemble(settings) as parts:
        WORKING.append(parts)
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter)
        client = await temporal_client(settings, plugins=[plugin])
        async with Worker(client, task_queue=queue, workflows=FLOWS, activities=[read, pay, publish], **options):
            yield client


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with worker(settings, "resuming") as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DID.clear()


async def start(
    client: Client, task: Task, flow: str, calls: Any, *, queue: str = "resuming", **options: Any
) -> WorkflowHandle[Any, Any]:
    with delegated(task.reference, **options):
        return await client.start_workflow(flow, calls, id=task.id, task_queue=queue)


async def happened(what: str, count: int = 1) -> None:
    deadline = time.monotonic() + 40
    while DID.count(what) < count:
        assert time.monotonic() < deadline, DID
        await asyncio.sleep(0.02)


async def until(handle: WorkflowHandle[Any, Any], wanted: str) -> dict[str, Any]:
    deadline = time.monotonic() + 40
    while True:
        view: dict[str, Any] = await handle.query("remit.view")
        if view["state"] == wanted:
            return view
        assert time.monotonic() < deadline, view
        await asyncio.sleep(0.05)


async def code_of(handle: WorkflowHandle[Any, Any]) -> str | None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause: BaseException | None = failed.value.cause
    while isinstance(cause, ActivityError):
        cause = cause.__cause__
    assert isinstance(cause, ApplicationError)
    return cause.type


def attempts(settings: Settings, task: Task, step: int) -> list[str]:
    """Return the codes or outcomes of what was not merely permitted."""
    found = audit.read(settings.audit_folder, task=task.id)
    tried = [one for one in found if one["event"] == "attempt" and one["step"] == step]
    return [str(one.get("code") or one["outcome"]) for one in tried if one["outcome"] != "permitted"]


async def reset(client: Client, handle: WorkflowHandle[Any, Any]) -> WorkflowHandle[Any, Any]:
    made = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.first_execution_run_id or ""),
            reason="a test",
            request_id=str(uuid.uuid4()),
            workflow_task_finish_event_id=4,
        )
    )
    return client.get_workflow_handle(handle.id, run_id=made.run_id)


@pytest.mark.parametrize("back", ["reinstated", "fresh delegation"])
async def test_what_may_happen_once_is_not_repeated_after_an_interruption(
    client: Client, settings: Settings, back: str
) -> None:
    """A person has to look: whether it was done nobody here knows."""
    task = await delegate(settings)
    handle = await start(client, task, "Calls", [READ, PAYING], on_revocation=DAY)
    await happened("pay began")
    await state(settings, task, Event.SUSPENDED if back == "reinstated" else Event.REVOKED)
    await handle.signal("remit.notice")
    await until(handle, "suspended")
    if back == "reinstated":
        await state(settings, task, Event.REINSTATED)
        await handle.signal("remit.notice")
    else:
        async with Remit.open(settings, person="alice") as alice:
            await alice.resume(task.id)
    assert await code_of(handle) == "step.once"
    assert DID == ["read began", "read", "pay began"]
    async with Remit.open(settings, person="alice") as alice:
        shown = await alice.show(task.id)
    assert (shown["state"], shown["error"]["code"]) == ("failed", "step.once")
    assert "may have been done" in shown["error"]["message"]
    assert [one["state"] for one in shown["steps"]] == ["done", "unknown"]
    assert shown["steps"][1]["attempts"][-1]["code"] == "step.once"


async def test_what_may_happen_once_is_not_repeated_by_a_reset(client: Client, settings: Settings) -> None:
    """Attack 28: the run is another one, the step the same; what may be repeated is."""
    task = await delegate(settings)
    handle = await start(client, task, "Calls", [READ, PAY])
    assert await handle.result() == ["read", "pay"]
    assert await code_of(await reset(client, handle)) == "step.once"
    assert (DID.count("read"), DID.count("pay")) == (2, 1)


async def test_each_of_two_such_steps_happens(client: Client, settings: Settings) -> None:
    """The same call twice, in one run and over continue-as-new."""
    task = await delegate(settings)
    assert await (await start(client, task, "Calls", [PAY, PAY])).result() == ["pay", "pay"]
    task = await delegate(settings)
    assert await (await start(client, task, "Renewing", [PAY, PAY])).result() == 2
    assert DID.count("pay") == 4


async def test_resuming_asks_policy_anew(settings: Settings, tmp_path: Path) -> None:
    """Attack 35: suspended in the middle of its plan, the worker replaced and the policy changed meanwhile."""
    task, queue = await delegate(settings), f"replaced-{uuid.uuid4()}"
    async with worker(settings, queue) as client:
        handle = await start(client, task, "Calls", [READ, ["deed.read", {"seconds": 30}]], queue=queue)
        await happened("read began", 2)
        await state(settings, task, Event.SUSPENDED)
        await handle.signal("remit.notice")
        await until(handle, "suspended")
    await state(settings, task, Event.REINSTATED)
    policies = tmp_path / "policies"
    shutil.copytree(settings.policies, policies)
    with (policies / "guards.cedar").open("a") as guards:
        guards.write('\n@id("no-more-queries")\nforbid (principal, action == Action::"dataset:query", resource);\n')
    async with worker(settings.model_copy(update={"policies": policies}), queue, max_cached_workflows=1) as client:
        handle = client.get_workflow_handle(task.id)
        await handle.signal("remit.notice")
        assert await code_of(handle) == "policy.denied"
    assert DID == ["read began", "read", "read began"], "what was done is not done again"
    assert attempts(settings, task, 1) == ["ok"]
    assert attempts(settings, task, 2)[-1] == "policy.denied"


async def test_another_worker_goes_on_at_the_same_step(settings: Settings) -> None:
    """Attack 35, with nothing cached anywhere."""
    task, queue = await delegate(settings), f"another-{uuid.uuid4()}"
    async with worker(settings, queue) as client:
        handle = await start(client, task, "Calls", [READ, ["deed.read", {"seconds": 8}], READ], queue=queue)
        await happened("read began", 2)
        await state(settings, task, Event.SUSPENDED, by="carol")
        await handle.signal("remit.notice")
        await until(handle, "suspended")
    async with worker(settings, queue, max_cached_workflows=0) as client:
        handle = client.get_workflow_handle(task.id)
        await handle.signal("remit.notice")
        await asyncio.sleep(1)
        assert DID.count("read began") == 2, "a notice is no reinstatement"
        await state(settings, task, Event.REINSTATED, by="carol")
        await handle.signal("remit.notice")
        assert await handle.result() == ["read"] * 3
    assert (DID.count("read began"), DID.count("read")) == (4, 3)
    assert [attempts(settings, task, step)[-1] for step in (1, 2, 3)] == ["ok"] * 3
    assert len(attempts(settings, task, 1)) == len(attempts(settings, task, 3)) == 1


async def approved(settings: Settings, handle: WorkflowHandle[Any, Any]) -> None:
    """Have the waiting request approved by the steward, for ten minutes."""
    request = (await until(handle, "waiting-approval"))["waiting"]
    token = await approve(settings, request, by="bob")
    assert (await handle.execute_update("remit.decide", token))["accepted"]


async def publishing(client: Client, settings: Settings, **options: Any) -> tuple[Task, WorkflowHandle[Any, Any]]:
    task = await delegate(settings, agent="report-writer", actions=("report:publish",))
    return task, await start(client, task, "Calls", [PUBLISHING], **options)


@pytest.mark.parametrize("later", [0, 700])
async def test_an_approval_outlives_a_suspension_but_not_its_own_end(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    """Attack 21: an approval is for one step with these arguments, and no permit to go on whenever one likes."""
    task, handle = await publishing(client, settings)
    await approved(settings, handle)
    await happened("publish began")
    await state(settings, task, Event.SUSPENDED)
    await handle.signal("remit.notice")
    await until(handle, "suspended")
    for parts in WORKING:
        monkeypatch.setattr(parts.authority._approving, "_clock", lambda: time.time() + later)
    await state(settings, task, Event.REINSTATED)
    await handle.signal("remit.notice")
    if not later:
        await happened("publish began", 2)
    else:
        waiting = (await until(handle, "waiting-approval"))["waiting"]
        assert [one["code"] for one in waiting["refused"]] == ["approval.expired"]
        assert DID.count("publish began") == 1
    await handle.terminate()


async def test_a_fresh_delegation_voids_old_approvals(client: Client, settings: Settings, stack: Stack) -> None:
    """Attack 35: whoever delegates anew has everything decided anew."""
    task, handle = await publishing(client, settings, on_revocation=DAY)
    await approved(settings, handle)
    await happened("publish began")
    await state(settings, task, Event.REVOKED)
    await handle.signal("remit.notice")
    await until(handle, "suspended")
    async with Remit.open(settings, person="alice") as alice:
        await alice.resume(task.id)
    view = await until(handle, "waiting-approval")
    assert view["delegation"] != task.reference.delegation
    assert DID.count("publish began") == 1
    await approved(settings, handle)
    await happened("publish began", 2)
    await handle.terminate()


async def test_an_expired_task_goes_on_when_it_is_delegated_anew(client: Client, settings: Settings) -> None:
    """Its job says to halt: an expiry waits all the same, and what was done stays done."""
    task = await delegate(settings, seconds=8)
    handle = await start(client, task, "Calls", [READ, PAY, ["deed.read", {"seconds": 12}]])
    view = await until(handle, "suspended")
    assert (view["stopped"]["status"], view["stopped"]["waits_for"]) == ("expired", "a fresh delegation")
    async with Remit.open(settings, person="alice") as alice:
        shown = await alice.show(task.id)
        assert shown["stopped"]["until"] == view["stopped"]["until"]
        assert [one["state"] for one in shown["steps"]] == ["done", "done", "stopped"]
        await alice.resume(task.id)
    await happened("read began", 3)
    assert DID.count("pay") == 1
    await handle.terminate()


async def test_a_repeated_request_says_that_it_is_one(settings: Settings) -> None:
    """Interrupted in a POST: its repetition, another activity, has the same key; the next step has another."""
    keys: list[str] = []
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        keys.extend(line.partition(": ")[2] for line in head.splitlines() if line.lower().startswith("idempotency-key"))
        asked.set()
        if len(keys) > 1:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            await writer.drain()
            writer.close()
        else:
            await reader.read()  # until the client is gone
            writer.close()

    task, queue = await delegate(settings, actions=("http:request",)), f"requests-{uuid.uuid4()}"
    post = ["http.request", {"service": "status-page", "method": "POST", "path": "/flights", "body": {"n": 1}}]
    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        assemble(settings) as parts,
    ):
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter)
        client = await temporal_client(settings, plugins=[plugin])
        request = http.requests({"status-page": address})
        async with Worker(client, task_queue=queue, workflows=FLOWS, activities=[request]):
            handle = await start(client, task, "Calls", [post, post], queue=queue)
            await asked.wait()
            await state(settings, task, Event.SUSPENDED)
            await handle.signal("remit.notice")
            await until(handle, "suspended")
            await state(settings, task, Event.REINSTATED)
            await handle.signal("remit.notice")
            assert [one["status"] for one in await handle.result()] == [200, 200]
    first, again, following = keys
    assert first == again != following
    assert first.startswith('"')
    assert first.endswith('"')
