"""The ground of the attacks sees what it must see: a permitted attempt, with its mint and its records."""

from __future__ import annotations

import pytest

from remit.assembly import Parts
from remit.embedded import Stack
from remit.errors import Denied
from remit.settings import Settings
from remit.step import Call

from ..integration.acting import authorize, delegate
from .effects import effects

pytestmark = pytest.mark.servers


async def test_effects_show_a_mint_and_its_records(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        grant = await authorize(parts, task.attempt(credential="flights-ro"))
    assert "database/creds/flights-ro" in seen.minted
    assert any(path.startswith("auth/remit-step/") for path in seen.minted)
    assert seen.leases == [grant.id]
    assert [one["outcome"] for one in seen.records] == ["permitted"]
    with pytest.raises(AssertionError):
        seen.refused("policy.denied")
    async with effects(stack, settings, parts) as after:
        await parts.authority.release(grant, outcome="ok")
        await parts.authority.settled()
    assert (after.minted, after.leases) == ([], [])
    assert [one["outcome"] for one in after.records] == ["ok"]


async def test_effects_show_a_refusal(stack: Stack, settings: Settings, parts: Parts) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        with pytest.raises(Denied):
            await authorize(parts, task.attempt(Call("no:such", "flights", {}), credential="flights-ro"))
    seen.refused("policy.denied")
