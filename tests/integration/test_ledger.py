"""The ledger on the real OpenBao: several authorities, one tree, no ceiling passed."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from remit.errors import Held, OverBudget, Refused
from remit.ledger import Ledger
from remit.registry import Registry
from tests.integration.site import Site, site

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
async def made(openbao: Any) -> AsyncIterator[Site]:
    async with site(openbao) as one:
        yield one


def new() -> str:
    return str(uuid.uuid4())


async def test_ten_siblings_spend_one_budget_at_once(made: Site) -> None:
    """Attack 13."""
    root, siblings = new(), [new() for _ in range(10)]
    ledgers = [Ledger(Registry(made.authority), idle=0.2) for _ in range(3)]
    spent = 0

    async def sibling(number: int, name: str) -> None:
        nonlocal spent
        ledger = ledgers[number % 3]
        patience = 20
        while patience:
            try:
                reservation = await ledger.reserve([(root, 100), (name, 100)], root=root, cost=1)
            except Held:
                patience -= 1
                await asyncio.sleep(0.1)
                continue
            except OverBudget:
                return
            await ledger.settle(reservation, spent=1)
            spent, patience = spent + 1, 20

    await asyncio.gather(*(sibling(number, name) for number, name in enumerate(siblings)))
    for ledger in ledgers:
        await ledger.close()
    assert spent == 100
    totals = await Ledger(Registry(made.authority)).totals(root)
    assert totals[root] == 100
    assert sum(totals.get(name, 0) for name in siblings) == 100


async def test_costs_of_all_sizes_from_three_authorities(made: Site) -> None:
    root, child = new(), new()
    ceilings = [(root, 500), (child, 300)]
    ledgers = [Ledger(Registry(made.authority), idle=0.2) for _ in range(3)]
    chance = random.Random(7)
    really = {root: 0, child: 0}

    async def work(ledger: Ledger) -> None:
        for _ in range(60):
            path = ceilings if chance.random() < 0.7 else ceilings[:1]
            cost = chance.choice([1, 2, 3, 10])
            try:
                reservation = await ledger.reserve(path, root=root, cost=cost)
            except (OverBudget, Held):
                continue
            used = chance.randint(0, cost)
            for link, ceiling in path:
                really[link] += used
                assert really[link] <= ceiling
            await ledger.settle(reservation, spent=used)

    await asyncio.gather(*(work(ledger) for ledger in ledgers for _ in range(2)))
    for ledger in ledgers:
        await ledger.close()
    assert await Ledger(Registry(made.authority)).totals(root) == really


async def test_only_the_authority_keeps_it(made: Site) -> None:
    root = new()
    for vault in (made.person("alice"), made.agent("flight-analyst")):
        with pytest.raises(Refused) as caught:
            await Ledger(Registry(vault)).reserve([(root, 10)], root=root, cost=1)
        assert caught.value.code == "vault.forbidden"
    ledger = Ledger(Registry(made.authority))
    await ledger.reserve([(root, 10)], root=root, cost=1)
    assert await Ledger(Registry(made.person("alice"))).totals(root) == {root: 1}  # an eighth of ten: nothing ahead
    await ledger.close()
