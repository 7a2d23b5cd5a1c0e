"""The ledger over an in-memory record store that answers like KV v2, outages included."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from remit.errors import Held, OverBudget, Refused
from remit.ledger import Ledger
from remit.vault import Documents

ROOT = "11111111-1111-4111-8111-111111111111"
A = "aaaaaaaa-1111-4111-8111-111111111111"
B = "bbbbbbbb-1111-4111-8111-111111111111"


class Records:
    """KV v2 as the ledger uses it; every call gives others a turn."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[dict[str, Any], int]] = {}
        self.calls = 0
        self.lose_answer = False
        self.down = False
        self.gate: asyncio.Event | None = None

    @property
    def documents(self) -> Documents:
        return cast(Documents, self)

    async def versioned(self, path: str) -> tuple[dict[str, Any] | None, int]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.down:
            raise Held("down", code="vault.unreachable")
        record, version = self.held.get(path, (None, 0))
        return copy.deepcopy(record), version

    async def replace(self, path: str, record: Mapping[str, Any], *, version: int) -> bool:
        self.calls += 1
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise Held("down", code="vault.unreachable")
        if self.held.get(path, (None, 0))[1] != version:
            return False
        self.held[path] = (copy.deepcopy(dict(record)), version + 1)
        await asyncio.sleep(0)
        if self.lose_answer:
            raise Held("the answer was lost", code="vault.unreachable")
        return True

    def taken(self) -> dict[str, int]:
        record = self.held.get(f"budget/{ROOT}", ({"taken": {}}, 0))[0]
        return {link: units for link, units in record["taken"].items() if units}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def records() -> Records:
    return Records()


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ledger(records: Records, clock: Clock) -> AsyncIterator[Ledger]:
    made = Ledger(records, clock=clock)
    yield made
    records.down = records.lose_answer = False
    await made.close()


def chain(root: int, leaf: int | None = None, name: str = A) -> list[tuple[str, int]]:
    return [(ROOT, root)] if leaf is None else [(ROOT, root), (name, leaf)]


async def test_a_budget_is_spent_exactly_to_its_end(ledger: Ledger, records: Records) -> None:
    for _ in range(100):
        await ledger.reserve(chain(100), root=ROOT, cost=1)
    with pytest.raises(OverBudget) as caught:
        await ledger.reserve(chain(100), root=ROOT, cost=1)
    assert caught.value.code == "budget.exceeded"
    assert ROOT in caught.value.message
    assert ledger.spent(ROOT) == 100
    assert await ledger.totals(ROOT) == {ROOT: 100}
    assert records.taken() == {ROOT: 100}


async def test_most_steps_ask_nothing(ledger: Ledger, records: Records) -> None:
    for _ in range(1000):
        await ledger.reserve(chain(100_000), root=ROOT, cost=1)
    assert records.calls <= 1 + 1000 // 64 + 1


async def test_what_was_not_spent_is_free_again_once(ledger: Ledger) -> None:
    reservation = await ledger.reserve(chain(10), root=ROOT, cost=10)
    await ledger.settle(reservation, spent=4)
    await ledger.settle(reservation, spent=0)
    assert ledger.spent(ROOT) == 4
    again = await ledger.reserve(chain(10), root=ROOT, cost=6)
    await ledger.settle(again, spent=6)
    with pytest.raises(OverBudget):
        await ledger.reserve(chain(10), root=ROOT, cost=1)


async def test_impossible_amounts_are_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="negative"):
        await ledger.reserve(chain(10), root=ROOT, cost=-1)
    reservation = await ledger.reserve(chain(10), root=ROOT, cost=2)
    for spent in (-1, 3):
        with pytest.raises(ValueError, match="more"):
            await ledger.settle(reservation, spent=spent)


async def test_a_step_without_cost_asks_nothing(ledger: Ledger, records: Records) -> None:
    await ledger.reserve(chain(0), root=ROOT, cost=0)
    assert records.calls == 0


async def test_the_narrowest_link_decides_and_siblings_share_their_parent(ledger: Ledger) -> None:
    for _ in range(5):
        await ledger.reserve(chain(8, 5, A), root=ROOT, cost=1)
    with pytest.raises(OverBudget) as caught:
        await ledger.reserve(chain(8, 5, A), root=ROOT, cost=1)
    assert A in caught.value.message
    for _ in range(3):
        await ledger.reserve(chain(8, 5, B), root=ROOT, cost=1)
    with pytest.raises(OverBudget) as caught:
        await ledger.reserve(chain(8, 5, B), root=ROOT, cost=1)
    assert ROOT in caught.value.message
    assert await ledger.totals(ROOT) == {ROOT: 8, A: 5, B: 3}


async def test_a_block_held_for_one_sibling_goes_to_the_other(ledger: Ledger, records: Records) -> None:
    await ledger.reserve(chain(100, 100, A), root=ROOT, cost=1)  # takes a block of 12
    for _ in range(99):
        await ledger.reserve(chain(100, 100, B), root=ROOT, cost=1)
    assert records.taken() == {ROOT: 100, A: 1, B: 99}
    with pytest.raises(OverBudget):
        await ledger.reserve(chain(100, 100, A), root=ROOT, cost=1)


async def becomes(records: Records, taken: dict[str, int]) -> None:
    """Return once this is what is taken."""
    deadline = asyncio.get_running_loop().time() + 10
    while records.taken() != taken:
        assert asyncio.get_running_loop().time() < deadline, records.taken()
        await asyncio.sleep(0.01)


async def test_idle_blocks_go_back_by_themselves(records: Records, clock: Clock) -> None:
    ledger = Ledger(records, clock=clock, idle=0.01)
    reservation = await ledger.reserve(chain(800), root=ROOT, cost=3)
    assert records.taken() == {ROOT: 64}
    clock.now += 10
    await becomes(records, {ROOT: 3})
    assert records.held[f"budget/{ROOT}"][0]["held"] == {}
    await ledger.settle(reservation, spent=1)  # long after its block went back
    assert ledger.spent(ROOT) == 1
    clock.now += 10
    await becomes(records, {ROOT: 1})
    await ledger.close()


async def test_closing_gives_everything_back(records: Records, clock: Clock) -> None:
    ledger = Ledger(records, clock=clock)
    await ledger.reserve(chain(800, 400, A), root=ROOT, cost=2)
    await ledger.reserve(chain(800, 400, B), root=ROOT, cost=3)
    await ledger.close()
    assert records.taken() == {ROOT: 5, A: 2, B: 3}


async def test_what_another_may_give_back_is_waited_for_and_what_the_dead_held_is_spent(
    records: Records, clock: Clock
) -> None:
    dead = Ledger(records, clock=clock)
    await dead.reserve(chain(80), root=ROOT, cost=1)  # holds 10, and is never heard of again
    ledger = Ledger(records, clock=clock)
    for _ in range(70):
        await ledger.reserve(chain(80), root=ROOT, cost=1)
    with pytest.raises(Held) as held:
        await ledger.reserve(chain(80), root=ROOT, cost=1)
    assert held.value.code == "budget.settling"
    with pytest.raises(OverBudget):
        await ledger.reserve(chain(80), root=ROOT, cost=11)
    clock.now += 60
    with pytest.raises(OverBudget):
        await ledger.reserve(chain(80), root=ROOT, cost=1)
    assert await ledger.totals(ROOT) == {ROOT: 80}
    await ledger.close()
    await dead.close()


async def test_an_outage_holds_and_takes_nothing(ledger: Ledger, records: Records) -> None:
    records.down = True
    with pytest.raises(Held):
        await ledger.reserve(chain(10), root=ROOT, cost=1)
    records.down = False
    for _ in range(10):
        await ledger.reserve(chain(10), root=ROOT, cost=1)


async def test_a_lost_answer_counts_as_spent_never_as_free(ledger: Ledger, records: Records) -> None:
    records.lose_answer = True
    with pytest.raises(Held):
        await ledger.reserve(chain(800), root=ROOT, cost=1)
    records.lose_answer = False
    assert records.taken() == {ROOT: 64}
    for _ in range(800 - 64):
        await ledger.reserve(chain(800), root=ROOT, cost=1)
    with pytest.raises(OverBudget):
        await ledger.reserve(chain(800), root=ROOT, cost=1)


async def test_a_cancelled_caller_takes_nothing_from_others(ledger: Ledger, records: Records) -> None:
    waiting = [asyncio.create_task(ledger.reserve(chain(20), root=ROOT, cost=1)) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    got = sum(not isinstance(one, BaseException) for one in done)
    assert got >= 17
    assert got <= records.taken()[ROOT] <= 20


async def test_who_waits_for_more_gets_no_more_when_others_spend_meanwhile(records: Records, clock: Clock) -> None:
    ledger = Ledger(records, clock=clock, block=1)
    await ledger.settle(await ledger.reserve(chain(6), root=ROOT, cost=3), spent=0)
    records.gate = asyncio.Event()
    waiting = asyncio.create_task(ledger.reserve(chain(6), root=ROOT, cost=5))  # needs two more than the three
    await asyncio.sleep(0.001)
    await ledger.reserve(chain(6), root=ROOT, cost=3)  # takes the three
    records.gate.set()
    with pytest.raises(OverBudget):
        await waiting
    await ledger.close()
    assert records.taken() == {ROOT: 3}


async def test_what_is_free_already_is_not_asked_for_again(records: Records, clock: Clock) -> None:
    ledger = Ledger(records, clock=clock, block=1)
    await ledger.settle(await ledger.reserve(chain(5), root=ROOT, cost=3), spent=0)
    await ledger.reserve(chain(5), root=ROOT, cost=5)
    assert records.taken() == {ROOT: 5}


async def test_what_went_back_elsewhere_is_seen_before_anything_is_refused(records: Records, clock: Clock) -> None:
    one, other = Ledger(records, clock=clock), Ledger(records, clock=clock)
    await other.reserve(chain(80), root=ROOT, cost=1)
    for _ in range(70):
        await one.reserve(chain(80), root=ROOT, cost=1)
    await other.close()
    for _ in range(9):
        await one.reserve(chain(80), root=ROOT, cost=1)
    assert records.taken() == {ROOT: 80}


async def test_giving_back_goes_on_after_a_lost_race(records: Records, clock: Clock) -> None:
    one, other = Ledger(records, clock=clock), Ledger(records, clock=clock)
    await one.reserve(chain(800), root=ROOT, cost=1)
    await other.reserve(chain(800), root=ROOT, cost=1)  # the record is no longer the one that `one` knows
    await one.close()
    await other.close()
    assert records.taken() == {ROOT: 2}


async def test_a_block_somebody_waits_for_is_not_swept_out_of_sight(records: Records, clock: Clock) -> None:
    ledger = Ledger(records, clock=clock, idle=0.01)
    await ledger.reserve(chain(800), root=ROOT, cost=1)
    clock.now += 10
    records.gate = asyncio.Event()
    await asyncio.sleep(0.03)  # the sweep is giving the block back
    waiting = asyncio.create_task(ledger.reserve(chain(800), root=ROOT, cost=1))
    await asyncio.sleep(0.001)
    records.gate.set()
    await waiting
    await ledger.close()
    assert records.taken() == {ROOT: 2}


async def test_closing_loses_nothing_that_a_sweep_is_giving_back(records: Records, clock: Clock) -> None:
    ledger = Ledger(records, clock=clock, idle=0.01)
    await ledger.reserve(chain(800), root=ROOT, cost=1)
    clock.now += 10
    records.gate = asyncio.Event()
    await asyncio.sleep(0.03)  # the sweep is giving the block back
    closing = asyncio.create_task(ledger.close())
    await asyncio.sleep(0.001)
    records.gate.set()
    await closing
    assert records.taken() == {ROOT: 1}


async def test_a_bad_root_never_reaches_a_path(ledger: Ledger, records: Records) -> None:
    with pytest.raises(Refused):
        await ledger.reserve([("../x", 10)], root="../x", cost=1)
    assert records.calls == 0


@pytest.mark.parametrize("seed", range(30))
async def test_many_processes_and_siblings_never_pass_any_ceiling(seed: int, clock: Clock) -> None:
    """Three processes, a tree of delegations, random costs, sweeps, outages: an independent count agrees."""
    chance = random.Random(seed)
    records = Records()
    names = [f"{number:08d}-1111-4111-8111-111111111111" for number in range(6)]
    parents = {
        names[0]: ROOT,
        names[1]: ROOT,
        names[2]: names[0],
        names[3]: names[0],
        names[4]: names[1],
        names[5]: names[2],
    }
    ceilings = {ROOT: chance.randint(20, 400)}
    for name, parent in parents.items():
        ceilings[name] = chance.randint(1, ceilings[parent])
    really: dict[str, int] = dict.fromkeys(ceilings, 0)
    ledgers = [Ledger(records, clock=clock, idle=0.005, block=chance.choice([1, 8, 64])) for _ in range(3)]

    def links(name: str) -> list[str]:
        return [ROOT] if name == ROOT else [*links(parents[name]), name]

    async def work(ledger: Ledger) -> None:
        for _ in range(40):
            path = links(chance.choice([ROOT, *names]))
            cost = chance.choice([0, 1, 1, 1, 2, 5, 30])
            try:
                got = await ledger.reserve([(link, ceilings[link]) for link in path], root=ROOT, cost=cost)
            except (OverBudget, Held):
                continue
            for link in path:
                really[link] += cost
                assert really[link] <= ceilings[link]
            if chance.random() < 0.3:
                await asyncio.sleep(0.001)
            spent = chance.randint(0, cost)
            for link in path:
                really[link] -= cost - spent
            await ledger.settle(got, spent=spent)
            clock.now += chance.random() / 100
            records.down = chance.random() < 0.03
            records.lose_answer = chance.random() < 0.03

    await asyncio.gather(*(work(ledger) for ledger in ledgers for _ in range(3)))
    records.down = records.lose_answer = False
    for ledger in ledgers:
        await ledger.close()
    taken = records.taken()
    for link, ceiling in ceilings.items():
        assert really[link] <= taken.get(link, 0) <= ceiling
