"""Another agent in the same execution, on the real stack: it holds less, is stopped alone, and the records say it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Replayer, Worker

from activities import sql
from remit import audit, executions
from remit.assembly import Parts, assemble, temporal_client
from remit.chain import chain_digest
from remit.client import Remit
from remit.delegation import Reference, Scope
from remit.embedded import Stack
from remit.errors import Refused
from remit.mapping import Handover, Mapping
from remit.principals import Principal
from remit.settings import Settings
from remit.statements import DelegationSubject, Event
from remit.temporal import RemitPlugin, delegated, tool
from tests.unit.temporal.acting_flows import Plays
from tests.unit.temporal.flows import FLOWS

from .acting import Task, approve, authorize, delegate, minted_users, state

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

QUEUE = "acting"
DAY = timedelta(days=1)
DID: list[str] = []
READ = {"call": ["sql.query", {"dataset": "flights", "sql": "select count(*) as n from flights"}]}
SLOW = {"call": ["sql.query", {"dataset": "flights", "sql": "select pg_sleep(600)"}]}
PUBLISH = {"call": ["paper.publish", {"table": "delays"}]}
WHO = {"who": True}
READER = {"agent": "flight-analyst", "actions": ["dataset:query"], "spaces": ["flights"], "budget": 5}
MAPPING = Mapping(
    agents={
        "Reader": Handover(**READER),
        "Hasty reader": Handover(**{**READER, "expires_in": 5}),
        "Report writer": Handover(agent="report-writer", actions=("report:publish",), spaces=("flights",), budget=5),
        "Payroll clerk": Handover(**{**READER, "spaces": ["hr"]}),
        "Same": Handover(share=True),
    },
    children={"Calls": Handover(**READER)},
)
Handle = WorkflowHandle[Any, Any]


class Paper(BaseModel):
    table: str


@tool(name="paper.publish", action="report:publish", resource="reports")
async def publish(paper: Paper) -> str:
    """Needs a steward's approval."""
    DID.append(paper.table)
    return paper.table


@pytest.fixture(scope="module")
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with assemble(settings) as parts:
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, mapping=MAPPING)
        made = await temporal_client(settings, plugins=[plugin])
        async with Worker(made, task_queue=QUEUE, workflows=[*FLOWS, Plays], activities=[sql.query, publish]):
            yield made


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DID.clear()


def as_(who: Any, *script: Any) -> dict[str, Any]:
    return {"as": who, "do": list(script)}


async def start(client: Client, task: Task, script: list[Any], **options: Any) -> Handle:
    with delegated(task.reference, **options):
        return await client.start_workflow("Plays", script, id=task.id, task_queue=QUEUE)


async def view(handle: Handle) -> dict[str, Any]:
    found: dict[str, Any] = await handle.query("remit.view")
    return found


async def until(handle: Handle, wanted: Any, *, seconds: float = 40) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while not wanted(found := await view(handle)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
    return found


def records(settings: Settings, task: Task, outcome: str) -> list[dict[str, Any]]:
    found = audit.read(settings.audit_folder, task=task.id)
    return [one for one in found if one["event"] == "attempt" and one["outcome"] == outcome]


async def minted(settings: Settings, task: Task, count: int = 1) -> list[dict[str, Any]]:
    """Return the permitted attempts, once there are so many."""
    deadline = time.monotonic() + 40
    while len(found := records(settings, task, "permitted")) < count:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
    return found


async def listed(client: Client, person: Remit, subject: DelegationSubject | Principal, task: Task) -> None:
    """Return once a task is found under a subject: Temporal's list may lag behind."""
    deadline = time.monotonic() + 40
    while task.id not in [one.id for one in await executions.under(client, person.connection.registry, subject)]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def about(delegation: str) -> DelegationSubject:
    return DelegationSubject(delegation, Principal("remit.local", "agent", "delay-desk"))


async def code_of(handle: Handle) -> str | None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause: BaseException | None = failed.value.cause
    while isinstance(cause, ActivityError):
        cause = cause.__cause__
    assert isinstance(cause, ApplicationError)
    return cause.type


def users(stack: Stack, delegation: str) -> list[str]:
    """Return the database users that exist for a delegation."""
    return minted_users(stack, Task(Reference(delegation, ""), (), "", ""))


async def test_who_acted_is_on_record_and_in_the_answers(client: Client, settings: Settings) -> None:
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [READ, as_("Reader", READ, WHO), READ])
    await handle.result()
    before, inside, after = records(settings, task, "ok")
    assert before["chain"] == after["chain"] == [task.reference.delegation]
    assert inside["chain"][:-1] == before["chain"]
    assert len(inside["chain"]) == 2
    assert [one["step"] for one in (before, inside, after)] == [1, 2, 3]
    assert [one["agent"].rpartition("/")[2] for one in (before, inside, after)] == [
        "delay-desk", "flight-analyst", "delay-desk",
    ]  # fmt: skip
    async with Remit.open(settings, person="alice") as alice:
        (root,) = await alice.delegations(task.id)
        told = {one["id"]: one for one in (await alice.explain(task.id))["answers"]}
    (made,) = root["children"]
    assert (made["delegation"], made["task"]) == (inside["chain"][-1], task.id)
    assert (made["actions"], made["budget"]) == (["dataset:query"], 5)
    routes = told["downstream"]["answer"]
    assert ["by user/alice → agent/delay-desk → agent/flight-analyst" in line for line in routes] == [
        False, True, False,
    ]  # fmt: skip
    replayer = Replayer(workflows=[*FLOWS, Plays], plugins=[RemitPlugin()])
    await replayer.replay_workflow(await handle.fetch_history())


async def test_what_it_was_not_handed_is_denied_though_the_task_may(
    client: Client, settings: Settings, stack: Stack
) -> None:
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [{"tried": [as_("Report writer", READ)]}, READ])
    denied, rows = await handle.result()
    assert denied == "policy.denied"
    assert rows["rows"]
    (refused,) = records(settings, task, "refused")
    assert refused["agent"].endswith("agent/report-writer")
    assert users(stack, refused["chain"][-1]) == []


async def test_an_approval_is_for_the_agent_that_asked(client: Client, settings: Settings) -> None:
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [as_("Report writer", PUBLISH)])
    found = await until(handle, lambda seen: seen["waiting"])
    (other,) = found["others"]
    async with Remit.open(settings, person="bob") as bob:
        shown = await bob.waiting(task.id)
        assert (shown.delegation, shown.agent) == (other["delegation"], other["agent"])
        decided = await bob.decide(shown, "approve")
    assert decided.accepted
    assert await handle.result() == ["delays"]
    (record,) = records(settings, task, "ok")
    assert record["agent"].endswith("agent/report-writer")
    assert [one["by"].rpartition("/")[2] for one in record["approvals"]] == ["bob"]


async def test_an_approval_of_one_agent_is_none_for_another(client: Client, settings: Settings) -> None:
    """The same call by the task's own agent asks anew: it is another delegation's."""
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [as_("Report writer", PUBLISH), PUBLISH])
    first = (await until(handle, lambda seen: seen["waiting"]))["waiting"]
    token = await approve(settings, first, by="bob")
    assert (await handle.execute_update("remit.decide", token))["accepted"]
    second = (await until(handle, lambda seen: seen["waiting"] and seen["waiting"] != first))["waiting"]
    assert second["binding"] != first["binding"]
    assert "delegation" not in second
    await handle.execute_update("remit.decide", token)
    assert (await view(handle))["waiting"] == second
    assert DID == ["delays"]
    await handle.terminate()


async def test_a_revocation_of_its_link_stops_its_query_and_nothing_else(
    client: Client, settings: Settings, stack: Stack
) -> None:
    task = await delegate(settings, agent="delay-desk")
    nap = {"call": ["sql.query", {"dataset": "flights", "sql": "select pg_sleep(6)"}]}
    handle = await start(client, task, [{"both": [[as_("Reader", SLOW, READ)], [nap, READ]]}], on_revocation=DAY)
    await minted(settings, task, 2)
    (other,) = (await view(handle))["others"]
    assert len(users(stack, other["delegation"])) == 1
    async with Remit.open(settings, person="alice") as alice:
        await listed(client, alice, about(other["delegation"]), task)
        stopped = await alice.revoke(other["delegation"], "a test")
        assert (stopped.leases, stopped.tasks) == (1, 1)
        seen = await until(handle, lambda seen: seen["state"] == "suspended")
        assert seen["stopped"]["subject"] == other["delegation"]
        assert users(stack, other["delegation"]) == []
        await until(handle, lambda seen: [step["state"] for step in seen["steps"]].count("done") == 2)
        assert {step["state"] for step in seen["steps"] if step.get("agent")} == {"stopped"}
        shown = await alice.show(task.id)
        assert (shown["state"], shown["others"][0]["status"]) == ("suspended", "revoked")
        assert [link["status"] for link in shown["chain"]] == ["live"]
        found = await executions.under(client, alice.connection.registry, about(other["delegation"]))
        assert [(one.id, one.going) for one in found] == [(task.id, False)], "so its cascade is complete"
        with pytest.raises(Refused, match="live"):  # the task itself may act
            await alice.resume(task.id)
        await alice.suspend(task.id, "to delegate anew")
        fresh = await alice.resume(task.id)
    again = (await minted(settings, task, 4))[-1]
    assert (again["chain"][0], len(again["chain"])) == (fresh.delegation, 2)
    await handle.terminate()


async def test_a_suspended_agent_goes_on_when_its_link_is_reinstated(client: Client, settings: Settings) -> None:
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [as_("Reader", SLOW)])
    await minted(settings, task)
    (other,) = (await view(handle))["others"]
    async with Remit.open(settings, person="alice") as alice:
        await alice.suspend(other["delegation"], "a test")
        await until(handle, lambda seen: seen["state"] == "suspended")
        await alice.reinstate(other["delegation"], "a test")
    again = await minted(settings, task, 2)
    assert again[0]["chain"] == again[1]["chain"]
    assert (await view(handle))["state"] == "running"
    await handle.terminate()


async def test_a_suspended_principal_stops_the_tasks_it_acts_in(client: Client, settings: Settings) -> None:
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [as_("Report writer", PUBLISH), READ])
    first = (await until(handle, lambda seen: seen["waiting"]))["waiting"]
    await state(settings, "agent/report-writer", Event.SUSPENDED, by="carol")
    try:
        async with Remit.open(settings, person="carol") as carol:
            await listed(client, carol, Principal("remit.local", "agent", "report-writer"), task)
        assert (await handle.execute_update("remit.decide", await approve(settings, first, by="bob")))["accepted"]
        await until(handle, lambda seen: seen["state"] == "suspended")
        assert not DID
    finally:
        await state(settings, "agent/report-writer", Event.REINSTATED, by="carol")
    await handle.signal("remit.notice")
    assert (await handle.result())[0] == "delays"


async def test_a_revocation_of_the_task_stops_both(client: Client, settings: Settings, stack: Stack) -> None:
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [{"both": [[as_("Reader", SLOW)], [SLOW]]}])
    await minted(settings, task, 2)
    (other,) = (await view(handle))["others"]
    async with Remit.open(settings, person="alice") as alice:
        stopped = await alice.revoke(task.reference.delegation, "a test")
    assert stopped.leases == 2
    assert await code_of(handle) == "chain.revoked"
    assert users(stack, other["delegation"]) == minted_users(stack, task) == []


async def test_a_task_revoked_by_its_name_goes_on_with_its_agents(client: Client, settings: Settings) -> None:
    """Naming the task names every delegation made for it; what stands under another of them stops with it."""
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [as_("Reader", SLOW)], on_revocation=DAY)
    await minted(settings, task)
    async with Remit.open(settings, person="alice") as alice:
        stopped = await alice.revoke(task.id, "a test")
        assert (len(stopped.statements), stopped.leases) == (1, 1)
        await until(handle, lambda seen: seen["state"] == "suspended")
        fresh = await alice.resume(task.id)
    again = (await minted(settings, task, 2))[-1]
    assert (again["chain"][0], len(again["chain"])) == (fresh.delegation, 2)
    assert again["agent"].endswith("agent/flight-analyst")
    await handle.terminate()


async def test_one_whose_time_is_over_is_made_anew(client: Client, settings: Settings) -> None:
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [as_("Hasty reader", SLOW)])
    first, second = (await minted(settings, task, 2))[:2]
    assert first["chain"][0] == second["chain"][0]
    assert first["chain"] != second["chain"]
    made = [one for one in audit.read(settings.audit_folder, task=task.id) if one["event"] == "delegated"]
    assert [one["chain"] for one in made][:2] == [first["chain"], second["chain"]]
    await handle.terminate()


async def test_a_budget_of_its_own_ends(client: Client, settings: Settings) -> None:
    task = await delegate(settings, agent="delay-desk")
    script = [{"tried": [as_({**READER, "budget": 2}, READ, READ, READ)]}, READ]
    handle = await start(client, task, script)
    found = await handle.result()
    assert found[2] in ("budget.exceeded", "policy.denied")
    assert len(records(settings, task, "ok")) == 3


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (as_("Stranger", READ), "agent.unmapped"),
        ({"over": "Stranger"}, "agent.unmapped"),
        (as_("Payroll clerk", READ), "delegation.denied"),
        (as_({**READER, "budget": 1000}, READ), "delegation.denied"),
        (as_({**READER, "actions": ["http:request"]}, READ), "delegation.denied"),
        (as_({**READER, "agent": "nobody"}, READ), "agent.unknown"),
        (as_("Reader", as_("Report writer", PUBLISH)), "delegation.denied"),  # its max_depth is 0
        (as_("Reader", as_("Reader", READ)), "delegation.denied"),
        ({"child": ["Local", [READ["call"]]]}, "child.unmapped"),
    ],
)
async def test_what_cannot_be_handed_over_is_refused(
    client: Client, settings: Settings, step: dict[str, Any], code: str
) -> None:
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [step])
    assert await code_of(handle) == code
    assert records(settings, task, "permitted") == []
    told = [one for one in audit.read(settings.audit_folder, task=task.id) if one.get("outcome") == "refused"]
    assert [one["code"] for one in told] == [code], "what is refused is on record"


async def test_a_child_is_handed_what_the_mapping_says(client: Client, settings: Settings) -> None:
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [{"child": ["Calls", [READ["call"]]]}])
    await handle.result()
    done = [one for one in audit.read(settings.audit_folder, task=f"{task.id}-Calls") if one["event"] == "attempt"]
    assert {tuple(one["chain"][:1]) for one in done} == {(task.reference.delegation,)}
    assert {len(one["chain"]) for one in done} == {2}


async def test_no_agent_outlives_a_run_and_gets_the_same_again(client: Client, settings: Settings) -> None:
    task = await delegate(settings, agent="delay-desk")
    script = [{"over": "Reader"}, READ, {"continue": [READ, {"over": "Reader"}, READ]}]
    handle = await start(client, task, script)
    await handle.result()
    first, second, third = [one["chain"] for one in records(settings, task, "ok")]
    assert second == [task.reference.delegation]
    assert first == third


async def test_its_link_opens_nothing_elsewhere(client: Client, settings: Settings, stack: Stack) -> None:
    """Neither in another task, nor in one that is started later under the same id, not even before its first use."""
    task = await delegate(settings, agent="delay-desk")
    handle = await start(client, task, [as_("Reader", SLOW)])
    await minted(settings, task)
    (other,) = (await view(handle))["others"]
    async with assemble(settings) as parts:
        links = [await parts.registry.delegation(jti) for jti in (task.reference.delegation, other["delegation"])]
    reference = Reference(other["delegation"], chain_digest([one.jws for one in links if one]))
    for name in (f"copy-{uuid.uuid4()}", task.id):
        if name == task.id:
            await handle.terminate()
        with delegated(reference):
            copy = await client.start_workflow("CallsOnce", [READ["call"]], id=name, task_queue=QUEUE)
        assert await code_of(copy) == "delegation.other-task"


async def test_a_link_is_bound_before_anything_was_done_under_it(parts: Parts, settings: Settings) -> None:
    task = await delegate(settings)
    made = await own(parts, task, run=task.run)
    thief = Task(made, (), task.id, str(uuid.uuid4()))
    with pytest.raises(Refused) as refused:
        await authorize(parts, thief.attempt())
    assert refused.value.code == "delegation.other-task"
    with pytest.raises(Refused) as refused:  # nor can a second execution have one made
        await own(parts, task, run=thief.run)
    assert refused.value.code == "delegation.other-task"
    assert await own(parts, task, run=task.run) == made, "asked again, it is the same"


async def test_one_that_was_stopped_is_not_followed_by_another(parts: Parts, settings: Settings) -> None:
    task = await delegate(settings)
    made = await own(parts, task, run=task.run, seconds=6)
    await state(settings, Task(made, (), task.id, task.run), Event.REVOKED)
    assert await own(parts, task, run=task.run, seconds=6) == made
    await asyncio.sleep(6.5)
    with pytest.raises(Refused) as refused:
        await own(parts, task, run=task.run, seconds=600)
    assert refused.value.code == "delegation.stopped"


async def own(parts: Parts, task: Task, *, run: str, seconds: int = 300) -> Reference:
    """Have the task's agent hand something to another agent in the same execution."""
    leaf = await parts.presenter.agent(task.reference)
    return await parts.authority.delegating.delegate(
        parent=task.reference,
        agent="report-writer",
        scope=Scope(("report:publish",), ("flights",), 5),
        expires_in=seconds,
        max_depth=1,
        namespace="default",
        task=task.id,
        first_run=run,
        child=task.id,
        signer=await parts.presenter.signer(leaf),
    )
