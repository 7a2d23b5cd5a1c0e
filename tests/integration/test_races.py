"""Revocations that race what they stop, and statements nobody should have made, on the real servers.

Each race leaves the task alive and waiting, nothing done under the revoked link, no database user, and one record.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError
from temporalio.worker import Worker

from remit import audit, jose
from remit.assembly import Parts, assemble, temporal_client
from remit.client.connection import Connection
from remit.embedded import Stack
from remit.errors import NotLive
from remit.settings import Settings
from remit.statements import TYP, DelegationSubject, Event, Statement
from remit.temporal import RemitPlugin, current_credential, delegated, tool
from tests.unit.temporal.flows import FLOWS

from .acting import Task, authorize, delegate, minted_users, principal, state

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

DID: list[str] = []
TRIED: list[str] = []
HOOKS: dict[str, Callable[[], Awaitable[Any]]] = {}
QUEUE = "races"


class Deed(BaseModel):
    dataset: str = "flights"
    hook: str = ""


@tool(name="race.work", action="dataset:query", resource=lambda deed: deed.dataset, credential="flights-ro")
async def work(deed: Deed) -> str:
    """Do something only a living credential can."""
    TRIED.append("work")
    async with await psycopg.AsyncConnection.connect(current_credential()["dsn"]) as session:
        await session.execute("select count(*) from flights")
    DID.append("work")
    return "work"


@tool(name="race.hook", action="dataset:query", resource=lambda deed: deed.dataset)
async def hooked(deed: Deed) -> str:
    """Let the test act while a step runs that is over before anybody could tell it to stop."""
    await HOOKS[deed.hook]()
    DID.append("hook")
    return "hook"


@tool(name="race.flaky", action="dataset:query", resource=lambda deed: deed.dataset)
async def flaky(deed: Deed) -> str:
    """Fail the first time."""
    TRIED.append("flaky")
    if activity.info().attempt == 1:
        raise ApplicationError("again, please", next_retry_delay=timedelta(seconds=8))
    DID.append("flaky")
    return "flaky"


WORK = ["race.work", {}]


@asynccontextmanager
async def working(settings: Settings, *, queue: str = QUEUE) -> AsyncIterator[tuple[Client, Parts]]:
    async with assemble(settings) as parts:
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter)
        client = await temporal_client(settings, plugins=[plugin])
        async with Worker(client, task_queue=queue, workflows=FLOWS, activities=[work, hooked, flaky]):
            yield client, parts


@pytest.fixture(scope="module")
async def worker(settings: Settings) -> AsyncIterator[tuple[Client, Parts]]:
    async with working(settings) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DID.clear()
    TRIED.clear()
    HOOKS.clear()


async def start(client: Client, task: Task, flow: str, calls: Any, *, queue: str = QUEUE) -> WorkflowHandle[Any, Any]:
    with delegated(task.reference, on_revocation=timedelta(days=1)):
        return await client.start_workflow(flow, calls, id=task.id, task_queue=queue)


async def eventually(true: Callable[[], Awaitable[Any]]) -> Any:
    deadline = time.monotonic() + 40
    while not (found := await true()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)
    return found


async def suspended(handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
    async def seen() -> Any:
        try:
            view = await handle.query("remit.view")
        except RPCError:  # the run it would be asked of is just being replaced
            return None
        return view if view["state"] == "suspended" else None

    found: dict[str, Any] = await eventually(seen)
    return found


def records(settings: Settings, task: str, step: int) -> list[tuple[str, str | None]]:
    found = [one for one in audit.read(settings.audit_folder, task=task) if one["event"] == "attempt"]
    return [(one["outcome"], one.get("code")) for one in found if one["step"] == step]


REFUSED = ("refused", "chain.revoked")


async def nothing_left(stack: Stack, parts: Parts, task: Task) -> None:
    assert minted_users(stack, task) == []
    await parts.authority.settled()
    assert await parts.registry.live.leases(task.reference.delegation) == []


async def test_between_decision_and_mint(
    worker: tuple[Client, Parts], stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack 32."""
    client, parts = worker
    task = await delegate(settings)
    reserve = parts.authority._ledger.reserve

    async def reserving(*args: Any, **options: Any) -> Any:
        if options["root"] == task.reference.delegation:
            await state(settings, task, Event.REVOKED)
        return await reserve(*args, **options)

    monkeypatch.setattr(parts.authority._ledger, "reserve", reserving)
    handle = await start(client, task, "Calls", [WORK])
    view = await suspended(handle)
    assert view["steps"][0]["state"] == "stopped"
    assert (DID, TRIED) == ([], [])
    assert records(settings, task.id, 1) == [REFUSED]
    await nothing_left(stack, parts, task)
    await handle.terminate()


async def test_between_mint_and_use(
    worker: tuple[Client, Parts], stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack 32: behind the fence, when the credential is on its way to the tool. It is dead before it is used."""
    client, parts = worker
    task = await delegate(settings)
    authorizing = parts.authority.authorize
    revoked = []

    async def authorized(attempt: Any, presentation: Any) -> Any:
        grant = await authorizing(attempt, presentation)
        if attempt.task == task.id:
            revoked.append(await state(settings, task, Event.REVOKED))
        return grant

    monkeypatch.setattr(parts.authority, "authorize", authorized)
    handle = await start(client, task, "Calls", [WORK])
    await suspended(handle)
    assert [(one.leases_revoked, one.pending) for one in revoked] == [(1, ())]
    assert (DID, TRIED) == ([], ["work"])
    assert records(settings, task.id, 1) == [("permitted", None), ("stopped", "chain.revoked")]
    await nothing_left(stack, parts, task)
    await handle.terminate()


async def test_during_retry_back_off(worker: tuple[Client, Parts], stack: Stack, settings: Settings) -> None:
    """Attack 32: no task is told; the second attempt finds it."""
    client, parts = worker
    task = await delegate(settings)
    handle = await start(client, task, "Calls", [["race.flaky", {}]])

    async def failed() -> bool:
        return len(records(settings, task.id, 1)) == 2

    await eventually(failed)
    await state(settings, task, Event.REVOKED)
    await suspended(handle)
    assert (DID, TRIED) == ([], ["flaky"])
    assert records(settings, task.id, 1) == [("permitted", None), ("error", "ApplicationError"), REFUSED]
    await nothing_left(stack, parts, task)
    await handle.terminate()


async def test_with_the_worker_down(stack: Stack, settings: Settings) -> None:
    """Attack 32: everything was started, nobody runs it, and then it is revoked."""
    task, queue = await delegate(settings), f"down-{uuid.uuid4()}"
    handle = await start(await temporal_client(settings, plugins=[RemitPlugin()]), task, "Calls", [WORK], queue=queue)
    await state(settings, task, Event.REVOKED)
    await handle.signal("remit.notice")
    async with working(settings, queue=queue) as (_, parts):
        await suspended(handle)
        assert (DID, TRIED) == ([], [])
        assert records(settings, task.id, 1) == []
        await nothing_left(stack, parts, task)
    await handle.terminate()


async def test_during_continue_as_new(worker: tuple[Client, Parts], stack: Stack, settings: Settings) -> None:
    """Attack 32: revoked by the time the first run ends; the second one begins, and does nothing."""
    client, parts = worker
    task = await delegate(settings)
    HOOKS[task.id] = lambda: state(settings, task, Event.REVOKED)
    handle = await start(client, task, "Renewing", [["race.hook", {"hook": task.id}], WORK])
    newest = client.get_workflow_handle(task.id)
    await suspended(newest)
    assert (await newest.describe()).run_id != handle.first_execution_run_id
    assert (DID, TRIED) == (["hook"], [])
    assert records(settings, task.id, 1) == [("permitted", None), ("ok", None)]
    assert records(settings, task.id, 2) == []
    await nothing_left(stack, parts, task)
    await newest.terminate()


@pytest.mark.parametrize("moment", ["before it is allowed", "after it is allowed"])
async def test_during_the_start_of_a_child(
    worker: tuple[Client, Parts], stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Attack 32: the child never starts, or starts and does nothing."""
    client, parts = worker
    task = await delegate(settings)
    allowing, asked = parts.authority.delegating.allow, []

    async def allow(reference: Any, **options: Any) -> None:
        first, mine = not asked, options["task"] == task.id
        asked.append(options["child"])
        if mine and first and moment.startswith("before"):
            await state(settings, task, Event.REVOKED)
        await allowing(reference, **options)
        if mine and first and moment.startswith("after"):
            await state(settings, task, Event.REVOKED)

    monkeypatch.setattr(parts.authority.delegating, "allow", allow)
    handle = await start(client, task, "Parent", [WORK])
    child = client.get_workflow_handle(f"{task.id}-child")
    if moment.startswith("before"):
        await suspended(handle)
        with pytest.raises(RPCError):
            await child.describe()
    else:
        await suspended(child)
        await child.terminate()
    assert (DID, TRIED) == ([], [])
    assert records(settings, child.id, 1) == []
    await nothing_left(stack, parts, task)
    if moment.startswith("before"):
        await handle.terminate()


async def written(
    settings: Settings, task: Task, claims: dict[str, Any] | str, *, by: str = "alice", typ: str = TYP
) -> str:
    """Put a statement about a task's delegation straight into the registry, as a person's session can."""
    person = Connection(settings, by)
    try:
        token = claims if isinstance(claims, str) else await jose.sign(claims, typ=typ, signer=await person.signer())
        jti = str(uuid.uuid4())
        path = f"remit/data/statements/delegation/{task.reference.delegation}/{jti}"
        await person.vault.write(path, data={"jws": token}, options={"cas": 0})
        await person.registry.raise_epoch()
        return token
    finally:
        await person.vault.close()


def claims_of(task: Task, event: Event = Event.REVOKED, *, at: int | None = None) -> dict[str, Any]:
    alice = principal("user/alice")
    return Statement(
        jti=str(uuid.uuid4()),
        iss=alice,
        aud=alice.audience,
        iat=int(time.time()) if at is None else at,
        subject=DelegationSubject(task.reference.delegation, alice),
        event=event,
    ).to_claims()


async def live(parts: Parts, task: Task, *, step: int = 1) -> bool:
    try:
        await parts.authority.release(await authorize(parts, task.attempt(step=step)), outcome="ok")
    except NotLive:
        return False
    return True


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"aud": "remit:elsewhere"}, id="another audience"),
        pytest.param({"iss": "spiffe://remit.local/user/carol"}, id="another's name"),
        pytest.param({"iss": "spiffe://elsewhere/user/alice"}, id="another domain"),
        pytest.param({"sub": "spiffe://remit.local/user/alice"}, id="sub"),
        pytest.param({"exp": 2_000_000_000}, id="exp"),
        pytest.param({"events": {"urn:remit:event:resumed": {}}}, id="unknown event"),
        pytest.param({"events": {Event.REVOKED.value: {}, Event.SUSPENDED.value: {}}}, id="two events"),
        pytest.param({"events": {}}, id="no event"),
        pytest.param({"jti": "not-a-uuid"}, id="no id"),
        pytest.param({"iat": "today"}, id="no time"),
    ],
)  # fmt: skip
async def test_a_statement_that_breaks_a_rule_says_nothing(
    settings: Settings, parts: Parts, change: dict[str, Any]
) -> None:
    """Attack 36: signed by somebody who may revoke, and still none."""
    task = await delegate(settings)
    await written(settings, task, claims_of(task) | change)
    assert await live(parts, task)
    await written(settings, task, claims_of(task))
    assert not await live(parts, task, step=2), "a proper one counts all the same"


async def test_a_statement_about_something_else_or_by_somebody_else_says_nothing(
    settings: Settings, parts: Parts
) -> None:
    """Attack 36: an unknown delegation, another's delegation, another document, another person, no document at all."""
    task, other = await delegate(settings), await delegate(settings)
    unknown = claims_of(task)
    unknown["sub_id"] = {**unknown["sub_id"], "jti": str(uuid.uuid4())}
    await written(settings, task, unknown)
    await written(settings, task, claims_of(other))
    await written(settings, task, claims_of(task), typ="approval+jwt")
    bobs = claims_of(task) | {"iss": "spiffe://remit.local/user/bob"}
    await written(settings, task, bobs, by="bob")
    for nonsense in ("", "a.b.c", "x" * 10_000, "{}"):
        await written(settings, task, nonsense)
    assert await live(parts, task)
    assert await live(parts, other)


async def test_statements_count_by_their_dates_and_once(settings: Settings, parts: Parts) -> None:
    """Attack 36: twice, and in another order than they were made."""
    task, now = await delegate(settings), int(time.time())
    await written(settings, task, claims_of(task, Event.REINSTATED, at=now - 10))
    assert await live(parts, task)
    old = await written(settings, task, claims_of(task, Event.SUSPENDED, at=now - 20))
    assert await live(parts, task, step=2), "it was lifted before it arrived"
    await written(settings, task, old)
    assert await live(parts, task, step=3), "again: nothing new"
    new = await written(settings, task, claims_of(task, Event.SUSPENDED, at=now - 5))
    await written(settings, task, new)
    assert not await live(parts, task, step=4)
    await written(settings, task, claims_of(task, Event.REINSTATED, at=now - 1))
    assert await live(parts, task, step=4), "lifted once for both"
    await written(settings, task, claims_of(task, Event.REVOKED, at=now - 60))
    assert not await live(parts, task, step=5), "final, whatever is dated later"
