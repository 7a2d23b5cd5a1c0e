"""How authority ends and comes back, on the real servers: disabled principals, expiry, renewal, what happens once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from remit import audit
from remit.assembly import Parts, assemble
from remit.attempt import Attempt
from remit.disabling import Disabling
from remit.embedded import Stack
from remit.errors import NotLive, Refused, RemitError
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


async def test_who_is_locked_out_without_a_statement_is_refused_for_that(settings: Settings, parts: Parts) -> None:
    task, agent = await delegate(settings), principal("agent/flight-analyst")
    locks = Disabling(parts.vault, parts.registry)
    await locks.apply(agent, stopped=True)
    try:
        error = await refused(parts, task.attempt())
        assert isinstance(error, Refused)
        assert error.code.startswith(("vault.", "transit.")), error.code
    finally:
        await locks.apply(agent, stopped=False)
    await permitted(parts, task.attempt())
