"""The cascade of a statement on the real servers: whoever dies, it is completed, and there is a record with times."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from remit import audit, cascading, jose
from remit.assembly import Parts, temporal_client
from remit.cascade import workflow_id
from remit.client import Remit, stopping
from remit.client.connection import Connection
from remit.destroying import Destroying
from remit.embedded import Stack
from remit.errors import Held, NeedsApproval, NotLive, Refused, RemitError
from remit.live import CascadeRecord
from remit.revoking import Revoking
from remit.settings import Settings
from remit.standing import Standing
from remit.statements import TYP, DelegationSubject, Event, Statement, Status, fold_principal
from remit.step import Call
from remit.vault import Token, Vault

from .acting import PUBLISH, READ, Task, authorize, delegate, principal, state
from .service import FINAL, asks, followed, job, queries, running, serving, submit, until

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

AGENT = "agent/flight-analyst"
SLOW = '{tool: report.publish, input: {table: slow, sql: "select 6 as cascaded, pg_sleep(60)::text"}}'


@pytest.fixture(scope="module")
async def worker(settings: Settings) -> AsyncIterator[Parts]:
    async with serving(settings, watch=60) as parts:  # whoever stops a task destroys its credential, not its watch
        for left in await parts.registry.live.all_leases():  # by other files; what is counted here is whole principals'
            await Destroying(parts.registry, parts.vault).destroy(left)
        yield parts


@pytest.fixture
async def carol(settings: Settings) -> AsyncIterator[Remit]:
    """Security staff."""
    async with Remit.open(settings, person="carol") as remit:
        yield remit


async def record_of(settings: Settings, statement: str) -> dict[str, Any]:
    """Return a cascade's completion record, once it is complete."""
    client = await temporal_client(settings)
    handle = client.get_workflow_handle(workflow_id(statement), result_type=dict[str, Any])
    async with asyncio.timeout(60):
        return await handle.result()


async def begun(settings: Settings, parts: Parts, statement: str) -> dict[str, Any]:
    """Start a cascade as the reaper does, and return its record."""
    client = await temporal_client(settings)
    assert await cascading.start(client, statement, task_queue=parts.settings.task_queue)
    return await record_of(settings, statement)


def revoking(person: Connection) -> Revoking:
    return Revoking(
        registry=person.registry, vault=person.vault, standing=person.standing, stops=person.stops, clock=time.time
    )


async def code_of(call: Any) -> str:
    with pytest.raises(RemitError) as caught:
        await call
    return caught.value.code


async def chain_of(settings: Settings, task: str) -> str:
    async with Remit.open(settings, person="alice") as alice:
        return str((await alice.show(task))["chain"][-1]["delegation"])


async def approved(settings: Settings, task: str) -> None:
    """Have the steward approve what waits under a task."""
    deadline = time.monotonic() + 120
    async with Remit.open(settings, person="bob") as bob:
        while not (found := [one for one in await bob.approvals() if one.task.startswith(task)]):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await bob.approve(found[0].task)


async def later(moment: int) -> None:
    """Return once delegations are dated after a moment."""
    await asyncio.sleep(max(0.0, moment + 1 - time.time()))


async def test_a_revocation_ends_with_a_record(settings: Settings, stack: Stack, worker: Parts) -> None:
    tasks = [await submit(settings, job(f"[{asks(f'select {n} as cascaded, pg_sleep(60)')}]")) for n in (1, 2)]
    await running(stack, "1 as cascaded")
    await running(stack, "2 as cascaded")
    seen: list[tuple[int, int]] = []
    async with Remit.open(settings, person="alice") as alice:
        done = await alice.revoke(tasks[0], "leak")
        assert queries(stack, "1 as cascaded") == []
        done = await followed(alice, done, progress=lambda stopped, going: seen.append((stopped, going)))
    assert (done.complete, done.tasks, done.leases, done.pending) == (True, 1, 1, ())
    assert done.ms is not None
    record = await record_of(settings, done.statements[0])
    assert record["outcome"] == "complete"
    assert record["stated"] == "revoked"
    assert (record["by"].rpartition("/")[2], record["reason"]) == ("alice", "leak")
    assert record["subject"] == await chain_of(settings, tasks[0])
    assert record["stated_at"] < record["completed_at"]
    assert (record["tasks_stopped"], record["leases_destroyed"], record["pending"]) == (1, 1, [])
    (audited,) = [
        one for one in audit.read(settings.audit_folder) if one.get("statement") == done.statements[0]
    ]  # fmt: skip
    assert audited["event"] == "revocation"
    assert audited["ms_to_last_lease_dead"] == done.ms
    assert await worker.registry.live.cascade(done.statements[0]) is None
    assert len(queries(stack, "2 as cascaded")) == 1, "a task under another delegation goes on"
    async with Remit.open(settings, person="alice") as alice:
        await alice.revoke(tasks[1], "clean up")
    await until(settings, tasks[1], "halted")


async def test_starting_a_cascade_again_is_harmless(settings: Settings, worker: Parts) -> None:
    task = await delegate(settings)
    async with Remit.open(settings, person="alice") as alice:
        done = await alice.follow(await alice.revoke(task.reference.delegation, "test"))
    first = await record_of(settings, done.statements[0])
    assert first["outcome"] == "complete"
    again = await begun(settings, worker, done.statements[0])
    assert again["outcome"] == "nothing"
    assert len([one for one in audit.read(settings.audit_folder) if one.get("statement") == done.statements[0]]) == 1


async def test_a_command_that_died_before_its_statement_was_in_force(
    settings: Settings, stack: Stack, worker: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored, and dead before the epoch changed: whoever finds the cascade makes it true."""
    task = await submit(settings, job(f"[{asks('select 3 as cascaded, pg_sleep(60)')}]"))
    await running(stack, "3 as cascaded")
    person = Connection(settings, "alice")

    async def killed() -> str:
        raise asyncio.CancelledError

    monkeypatch.setattr(person.registry, "raise_epoch", killed)
    with pytest.raises(asyncio.CancelledError):
        await revoking(person).declare(
            signer=await person.signer(),
            issuer=person.principal,
            subject=await person.chain(await chain_of(settings, task)),
            event=Event.REVOKED,
        )
    await person.vault.close()
    (open_one,) = [
        one for one in await worker.registry.live.cascades() if one.subject == await chain_of(settings, task)
    ]
    record = await begun(settings, worker, open_one.statement)
    assert (record["outcome"], record["tasks_stopped"], record["leases_destroyed"]) == ("complete", 1, 1)
    assert record["ms_to_last_lease_dead"] > 0
    assert queries(stack, "3 as cascaded") == []
    await until(settings, task, "halted")


async def test_with_temporal_down_the_stop_is_complete_and_the_cascade_waits(
    settings: Settings, stack: Stack, worker: Parts, tmp_path: Path
) -> None:
    task = await submit(settings, job(f"[{asks('select 4 as cascaded, pg_sleep(60)')}]"))
    await running(stack, "4 as cascaded")
    nowhere = tmp_path / "temporal.toml"
    nowhere.write_text('[profile.default]\naddress = "127.0.0.1:1"\n')
    cut_off = settings.model_copy(update={"temporal_config": nowhere})
    async with Remit.open(cut_off, person="alice") as alice:
        done = await alice.follow(await alice.revoke(await chain_of(settings, task), "test"))
    assert queries(stack, "4 as cascaded") == []
    assert (done.tasks, done.leases, done.complete) == (None, 1, False)
    assert any(line.startswith("temporal: temporal.unreachable") for line in done.pending)
    record = await begun(settings, worker, done.statements[0])
    assert (record["outcome"], record["tasks_stopped"]) == ("complete", 1)
    await until(settings, task, "halted")


async def test_a_statement_nobody_may_make_stops_nothing(settings: Settings, worker: Parts) -> None:
    task = await delegate(settings)
    bob = Connection(settings, "bob")
    try:
        about = DelegationSubject(task.reference.delegation, principal("user/alice"))
        forged = Statement(str(uuid.uuid4()), bob.principal, bob.audience, int(time.time()), about, Event.REVOKED)
        await bob.registry.live.open_cascade(CascadeRecord.of(forged, root=task.reference.delegation, at=time.time()))
        token = await jose.sign(forged.to_claims(), typ=TYP, signer=await bob.signer())
        await bob.registry.put_statement(about, forged.jti, token)
    finally:
        await bob.vault.close()
    record = await begun(settings, worker, forged.jti)
    assert (record["outcome"], record["code"]) == ("invalid", "statement.not-permitted")
    assert (record["tasks_stopped"], record["leases_destroyed"]) == (0, 0)
    grant = await authorize(worker, task.attempt())
    await worker.authority.release(grant, outcome="ok")
    unknown = await begun(settings, worker, str(uuid.uuid4()))
    assert unknown["outcome"] == "nothing"


async def test_a_suspension_that_was_lifted_meanwhile_destroys_nothing(settings: Settings, worker: Parts) -> None:
    task = await delegate(settings)
    suspended = await state(settings, task, Event.SUSPENDED)
    await state(settings, task, Event.REINSTATED)
    grant = await authorize(worker, task.attempt(credential="flights-ro"))
    record = await begun(settings, worker, suspended.statement)
    assert (record["outcome"], record["leases_destroyed"]) == ("overtaken", 0)
    await worker.authority.watch(grant)
    assert len(await worker.registry.live.leases(task.reference.delegation)) == 1
    await worker.authority.release(grant, outcome="ok")


async def test_an_agent_is_revoked_with_every_chain_through_it_and_reinstated(
    settings: Settings, stack: Stack, worker: Parts, carol: Remit
) -> None:
    """Attack 33: every descendant stops, siblings live; what existed stays dead after the reinstatement."""
    own = await submit(settings, job(f"[{asks('select 5 as cascaded, pg_sleep(60)')}]", on_revocation="{wait: 1h}"))
    under = await submit(settings, _delegating(SLOW))
    sibling = await delegate(settings, agent="report-writer")
    await running(stack, "5 as cascaded")
    await approved(settings, under)
    await running(stack, "6 as cascaded")
    entity = await _entity(worker, AGENT)
    try:
        done = await followed(carol, await carol.revoke(AGENT, "compromised"))
        assert done.complete
        assert done.pending == ()
        assert done.leases == 2
        assert queries(stack, "as cascaded") == []
        await until(settings, own, "suspended")
        assert (await until(settings, under, *FINAL))["state"] == "halted"
        assert await _locked(stack, entity)
        async with Remit.open(settings, person="alice") as alice:
            assert await code_of(alice.submit(job(f"[{asks('select 1')}]"))) == "principal.revoked"
        analyst = await delegate(settings)
        error = await _refused(worker, analyst)
        assert isinstance(error, NotLive), "the standing is the reason, not the locked key"
        assert error.subject == principal(AGENT).spiffe_id
        assert isinstance(await _refused(worker, sibling, PUBLISH), NeedsApproval), "decided as ever"
    finally:
        back = await followed(carol, await carol.reinstate(AGENT, "cleaned"))
    assert back.complete
    assert not await _locked(stack, entity)
    assert isinstance(await _refused(worker, analyst), NotLive), "a revocation is final for what existed"
    await later(await _barred(settings, AGENT))
    fresh = await delegate(settings)
    grant = await authorize(worker, fresh.attempt())
    await worker.authority.release(grant, outcome="ok")
    async with Remit.open(settings, person="alice") as alice:
        await alice.resume(own)
        await running(stack, "5 as cascaded")
        await alice.revoke(own, "clean up")


async def test_an_employee_leaves_and_comes_back(settings: Settings, stack: Stack, worker: Parts, carol: Remit) -> None:
    task = await submit(settings, job(f"[{asks('select 7 as cascaded, pg_sleep(60)')}]"))
    await running(stack, "7 as cascaded")
    old = await delegate(settings)
    entity = await _entity(worker, "user/alice")
    try:
        done = await followed(carol, await carol.revoke("user/alice", "left"))
        assert (done.complete, done.leases) == (True, 1)
        assert queries(stack, "7 as cascaded") == []
        await until_as(settings, "carol", task, "halted")
        assert await _locked(stack, entity)
        assert await code_of(delegate(settings)) in ("vault.forbidden", "login.refused")
        assert isinstance(await _refused(worker, old), NotLive)
    finally:
        await followed(carol, await carol.reinstate("user/alice", "back"))
    await later(await _barred(settings, "user/alice"))
    assert isinstance(await _refused(worker, old), NotLive)
    fresh = await delegate(settings)
    grant = await authorize(worker, fresh.attempt())
    await worker.authority.release(grant, outcome="ok")


async def test_a_suspended_agent_goes_on_where_it_was(
    settings: Settings, stack: Stack, worker: Parts, carol: Remit
) -> None:
    task = await submit(settings, job(f"[{asks('select 8 as cascaded, pg_sleep(6)')}]"))
    await running(stack, "8 as cascaded")
    try:
        await followed(carol, await carol.suspend(AGENT, "look into it"))
        await until(settings, task, "suspended")
        assert queries(stack, "8 as cascaded") == []
    finally:
        await followed(carol, await carol.reinstate(AGENT, "fine"))
    shown = await until(settings, task, "completed")
    assert shown["steps"][0]["attempts"][-1]["outcome"] == "ok"


async def test_only_staff_stops_a_principal(settings: Settings) -> None:
    async with Remit.open(settings, person="alice") as alice:
        assert await code_of(alice.revoke(AGENT, "mine")) == "statement.not-permitted"
        assert await code_of(alice.revoke("user/bob", "mine")) == "statement.not-permitted"


async def test_what_staff_stopped_stays_stopped_when_they_are_staff_no_more(
    settings: Settings, worker: Parts, carol: Remit
) -> None:
    task = await delegate(settings)
    async with Remit.open(settings, person="alice") as alice:
        chain = await alice.connection.chain(task.reference.delegation)
        done = await followed(carol, await carol.revoke(task.reference.delegation, "security"))
        assert done.complete
        demoted = Standing(
            alice.connection.registry, audience=alice.connection.audience, stops=lambda *_: False, clock=time.time
        )
        points = await demoted.of(chain, epoch=await demoted.epoch())
    assert points[0].status is Status.REVOKED


async def test_a_held_registry_says_so_and_nothing_is_lost(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The statement is in force; its leases could not be listed: pending, never an error that hides the stop."""
    task = await delegate(settings)
    async with Remit.open(settings, person="alice") as alice:

        async def silent(root: str) -> Any:
            raise Held("no answer", code="vault.unreachable")

        monkeypatch.setattr(alice.connection.registry.live, "leases", silent)
        done = await stopping.state(alice.connection, task.reference.delegation, Event.REVOKED, "test")
    assert any(line == "leases: vault.unreachable" for line in done.pending)


async def until_as(settings: Settings, person: str, task: str, state: str) -> None:
    deadline = time.monotonic() + 120
    async with Remit.open(settings, person=person) as remit:
        while (await remit.show(task))["state"] != state:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def _refused(worker: Parts, task: Task, call: Call = READ) -> RemitError:
    with pytest.raises(Refused) as caught:
        await authorize(worker, task.attempt(call))
    return caught.value


async def _entity(worker: Parts, name: str) -> str:
    record = await worker.registry.principal(principal(name))
    assert record is not None
    return record.signing_key


async def _locked(stack: Stack, entity: str) -> bool:
    """Tell whether an entity is disabled and its key deleted; both or neither."""
    async with Vault(stack.openbao.address, stack.openbao.ca, Token(stack.openbao.admin_token())) as admin:
        answer, key = await admin.read(f"identity/entity/id/{entity}"), await admin.read(f"transit/keys/{entity}")
        assert answer is not None
        assert key is not None
        disabled, deleted = bool(answer["data"]["disabled"]), bool(key["data"].get("soft_deleted"))
    assert disabled is deleted
    return disabled


async def _barred(settings: Settings, name: str) -> int:
    """Return the second up to which delegations through a reinstated principal stay dead."""
    person = Connection(settings, "carol")
    try:
        epoch = await person.standing.epoch()
        about = principal(name)
        told = [
            await person.standing.statement(token, subject=about, links=(), epoch=epoch)
            for token in await person.registry.statements(about)
        ]
        return fold_principal(told, overrules=lambda later, earlier: True)[1]
    finally:
        await person.vault.close()


def _delegating(step: str) -> Any:
    given = '{actions: ["report:publish"], spaces: [flights], budget: 10, expires_in: 30m, max_depth: 2}'
    return job(f"[{{delegate: {{agent: report-writer, delegation: {given}, steps: [{step}]}}}}]")
