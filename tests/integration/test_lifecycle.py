"""How authority ends and comes back, on the real servers: disabled principals, expiry, renewal, what happens once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from remit import audit
from remit.assembly import Parts, assemble
from remit.attempt import Attempt
from remit.disabling import Disabling
from remit.embedded import Stack
from remit.errors import Held, NotLive, Refused, RemitError
from remit.settings import Settings
from remit.statements import Event
from remit.vault import Token, Vault

from .acting import Task, authorize, delegate, minted_users, principal, state

pytestmark = pytest.mark.servers


async def refused(parts: Parts, attempt: Attempt) -> RemitError:
    with pytest.raises(RemitError) as caught:
        await authorize(parts, attempt)
    return caught.value


async def permitted(parts: Parts, attempt: Attempt) -> None:
    await parts.authority.release(await authorize(parts, attempt), outcome="ok")


def records(settings: Settings, task: Task) -> list[dict[str, Any]]:
    return [one for one in audit.read(settings.audit_folder, task=task.id) if one["event"] == "attempt"]


@asynccontextmanager
async def operator(stack: Stack) -> AsyncIterator[Vault]:
    openbao = stack.openbao
    async with Vault(openbao.address, openbao.ca, Token(openbao.admin_token())) as vault:
        yield vault


async def test_whoever_is_locked_out_is_said_to_be_stopped_and_comes_back(
    stack: Stack, settings: Settings, parts: Parts
) -> None:
    """Its key and sessions are gone while it is stopped; the reason is the statement, and both work again after."""
    task, agent = await delegate(settings), "agent/flight-analyst"
    await permitted(parts, task.attempt())
    locks = Disabling(parts.vault, parts.registry)
    await state(settings, agent, Event.SUSPENDED, by="carol")
    await locks.apply(principal(agent), stopped=True)
    try:
        for step in (2, 3):
            error = await refused(parts, task.attempt(step=step, credential="flights-ro"))
            assert isinstance(error, NotLive), error
            assert (error.status, error.subject) == ("suspended", principal(agent).spiffe_id)
        async with assemble(settings) as fresh:  # has no session of the agent's yet
            error = await refused(fresh, task.attempt(step=4))
            assert isinstance(error, NotLive), error
        assert minted_users(stack, task) == []
    finally:
        await state(settings, agent, Event.REINSTATED, by="carol")
        await locks.apply(principal(agent), stopped=False)
    await permitted(parts, task.attempt(step=2))
    assert [one["outcome"] for one in records(settings, task)] == ["permitted", "ok"] + ["refused"] * 3 + [
        "permitted",
        "ok",
    ]


async def test_who_is_locked_out_without_a_statement_is_held_for_that(settings: Settings, parts: Parts) -> None:
    """A lock outlasts its reinstatement by a moment: it must not fail a task for good."""
    task, agent = await delegate(settings), principal("agent/flight-analyst")
    locks = Disabling(parts.vault, parts.registry)
    await locks.apply(agent, stopped=True)
    try:
        with pytest.raises(Held) as held:
            await authorize(parts, task.attempt())
        assert held.value.code.startswith(("vault.", "transit.")), held.value.code
    finally:
        await locks.apply(agent, stopped=False)
    await permitted(parts, task.attempt())


async def claim(parts: Parts, attempt: Attempt) -> dict[str, Any] | None:
    return await parts.registry.documents.get(f"once/{attempt.name}")


async def test_a_step_that_may_happen_once_is_begun_once(settings: Settings, parts: Parts) -> None:
    """Not by a retry, not in another run (reset, continue-as-new), not elsewhere, not under a fresh delegation."""
    task = await delegate(settings)
    first = task.attempt(once=True, tool="pay")
    await permitted(parts, first)
    found = await claim(parts, first)
    assert found is not None
    assert (found["task"], found["step"], found["attempt"], found["tool"]) == (task.id, 1, 1, "pay")
    fresh = await delegate(settings)
    await parts.registry.allow_task(fresh.reference.delegation, workflow_id=task.id)
    reworded = replace(first.call, input={**first.call.input, "limit": 11})
    async with assemble(settings) as elsewhere:
        for where, again in (
            (parts, replace(first, attempt=2)),
            (elsewhere, replace(first, attempt=2)),
            (elsewhere, replace(first, run="6a1fd3a4-3f6e-4c5e-9d0e-2f6f5b8f6a11")),
            (elsewhere, replace(first, call=reworded)),
            (elsewhere, replace(first, reference=fresh.reference)),
        ):
            error = await refused(where, again)
            assert (error.code, error.retryable) == ("step.once", False)
            assert "may have been done" in error.message
        assert await claim(parts, first) == found
        await permitted(elsewhere, replace(first, step=2, activity="2"))
    assert [one["code"] for one in records(settings, task) if one["outcome"] == "refused"] == ["step.once"] * 5


async def test_nobody_can_take_such_a_record_back(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    attempt = task.attempt(once=True)
    await permitted(parts, attempt)
    path = f"remit/data/once/{attempt.name}"
    for asked in (parts.vault.write(path, data={"claim": "x"}), parts.vault.delete(path)):
        with pytest.raises(Refused):
            await asked


async def test_what_is_refused_behind_the_fence_was_not_begun(
    stack: Stack, settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspended between decision and mint: the step may still happen once it is reinstated."""
    task = await delegate(settings)
    attempt = task.attempt(once=True, credential="flights-ro")
    reserve = parts.authority._ledger.reserve

    async def reserving(*args: Any, **options: Any) -> Any:
        await state(settings, task, Event.SUSPENDED)
        return await reserve(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(parts.authority._ledger, "reserve", reserving)
        assert isinstance(await refused(parts, attempt), NotLive)
    assert await claim(parts, attempt) is None
    assert minted_users(stack, task) == []
    await state(settings, task, Event.REINSTATED)
    await permitted(parts, attempt)


@pytest.mark.parametrize("where", ["answer lost", "audit log full"])
async def test_a_claim_no_tool_was_begun_for_is_not_used_up_where_that_is_known(
    settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    task = await delegate(settings)
    attempt = task.attempt(once=True, credential="flights-ro")
    create, append = parts.registry.documents.create, parts.audit.append

    async def lost(path: str, record: Any) -> bool:
        await create(path, record)
        raise Held("no answer", code="vault.unreachable")

    def full(record: Any) -> str:
        if record["outcome"] == "permitted":
            raise OSError("no space left")
        return append(record)

    with monkeypatch.context() as patched:
        if where == "answer lost":
            patched.setattr(parts.registry.documents, "create", lost)
        else:
            patched.setattr(parts.audit, "append", full)
        with pytest.raises((Held, OSError)):
            await authorize(parts, attempt)
    assert await claim(parts, attempt) is not None
    async with assemble(settings) as elsewhere:
        assert (await refused(elsewhere, attempt)).code == "step.once", "nobody else can know"
    await permitted(parts, attempt)
    assert (await refused(parts, replace(attempt, attempt=2))).code == "step.once"


async def test_of_attempts_at_once_one_begins(settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    await permitted(parts, task.attempt(step=7))
    async with assemble(settings) as elsewhere:
        answers = await asyncio.gather(
            *(
                authorize(where, task.attempt(once=True, attempt=number))
                for number, where in enumerate([parts, elsewhere] * 4, start=1)
            ),
            return_exceptions=True,
        )
        granted = [one for one in answers if not isinstance(one, BaseException)]
        assert len(granted) == 1
        assert {one.code for one in answers if isinstance(one, RemitError)} == {"step.once"}
        for where in (parts, elsewhere):
            await where.authority.release(granted[0], outcome="ok")


async def test_what_is_about_to_expire_begins_nothing(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await delegate(settings, seconds=60)
    chain, _ = await parts.authority.describe(task.reference)
    await permitted(parts, task.attempt(credential="flights-ro"))
    now, parts.authority._clock = parts.authority._clock, lambda: chain.expires_at - 4.9
    try:
        error = await refused(parts, task.attempt(step=2, credential="flights-ro"))
    finally:
        parts.authority._clock = now
    assert isinstance(error, NotLive)
    assert (error.code, error.subject) == ("chain.expiring", task.reference.delegation)
    assert minted_users(stack, task) == []
    await permitted(parts, task.attempt(step=3))


async def end_of(stack: Stack, lease: str) -> float:
    """Return when OpenBao will end a lease."""
    async with operator(stack) as vault:
        answer = await vault.write("sys/leases/lookup", lease_id=lease)
        assert answer is not None
        return datetime.fromisoformat(answer["data"]["expire_time"][:26].rstrip("Z") + "+00:00").timestamp()


@pytest.mark.parametrize("seconds", [600, 70, 50])
async def test_a_running_lease_is_renewed_up_to_the_chains_expiry(
    stack: Stack, settings: Settings, parts: Parts, seconds: int
) -> None:
    """A third of its first minute is over, says the authority's clock."""
    ahead = 25
    task = await delegate(settings, seconds=seconds)
    chain, _ = await parts.authority.describe(task.reference)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    (record,) = await parts.registry.live.leases(task.reference.delegation)
    first = await end_of(stack, record.facts["lease"])
    await asyncio.sleep(2)
    running, mint = parts.authority._running, parts.authority._mint
    running._clock = mint._clock = lambda: time.time() + ahead
    try:
        await parts.authority.watch(grant)
    finally:
        running._clock = mint._clock = time.time
    then = await end_of(stack, record.facts["lease"])
    if seconds == 600:
        assert then >= first + 1.9, "another whole minute"
    elif seconds == 70:
        assert then != first
        assert then + ahead <= chain.expires_at + 1.5, "only as long as the chain lives"
    else:
        assert then == first, "it outlives the chain already; an expiry ends it"
    await parts.authority.release(grant, outcome="ok")
    assert minted_users(stack, task) == []


async def test_a_credential_lives_as_long_as_its_profile_lets_it(
    stack: Stack, settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond that its step is refused for good: tried again it would only run as long again."""
    task = await delegate(settings)
    short = parts.catalogue.credentials["flights-ro"].model_copy(update={"ttl": 60})
    monkeypatch.setattr(parts.authority, "_profile", lambda name: short)
    grant = await authorize(parts, task.attempt(credential="flights-ro"))
    await parts.authority.watch(grant)
    monkeypatch.setattr(parts.authority._running, "_clock", lambda: time.time() + 61)
    with pytest.raises(Refused) as caught:
        await parts.authority.watch(grant)
    assert caught.value.code == "credential.ttl"
    assert not caught.value.retryable
    await parts.authority.release(grant, outcome="stopped", code=caught.value.code)
    assert minted_users(stack, task) == []
