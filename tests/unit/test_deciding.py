"""Deciding: an answer foreseen counts for exactly the chain and moment it was asked with, and for no other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from remit.attempt import Attempt
from remit.deciding import Deciding, Foreseen
from remit.delegation import Reference
from remit.errors import Denied
from remit.step import Call
from remit.verdict import Verdict
from tests.unit.documents import chain, verified

CHAIN = verified(chain(2))


class World:
    """A policy that answers what it is told, and notes what it is asked; a clock; a ledger."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer = "permit"
        self.now = 100.4
        self.units = 3
        self.facts: dict[str, Any] = {}
        policy: Any = SimpleNamespace(decide=self.decide)
        approving: Any = None
        self.deciding = Deciding(policy, approving, spent=lambda _: self.units, clock=lambda: self.now)

    def decide(self, *, run: Any, **_: Any) -> Verdict:
        self.asked.append(run)
        return Verdict("permit" if self.answer == "permit" else "deny", (f"p{len(self.asked)}",))

    async def decided(self, foreseen: Foreseen | None, **changes: Any) -> tuple[str, ...]:
        record: Any = SimpleNamespace(note=lambda **facts: self.facts.update(facts))
        options = {"chain": CHAIN, "epoch": "1.x", "record": record, "foreseen": foreseen}
        verdict, approvals = await self.deciding.decide(attempt(), **{**options, **changes})
        assert approvals == ()
        return verdict.policies


def attempt() -> Attempt:
    call = Call("dataset:query", "flights", {})
    return Attempt(Reference("d", "g"), "default", "t", "r", "r", "1", 1, 1, "tool", call)


async def test_a_foreseen_answer_saves_the_question() -> None:
    world = World()
    foreseen = await world.deciding.foresee(attempt(), chain=CHAIN)
    assert await world.decided(foreseen) == ("p1",)
    assert len(world.asked) == 1
    assert (world.asked[0].now, world.asked[0].spent) == (100, 3)
    assert world.facts["policies"] == ["p1"]


@pytest.mark.parametrize("change", ["second", "spent", "chain", "nothing was foreseen"])
async def test_it_is_asked_again_when_anything_it_depends_on_differs(change: str) -> None:
    world = World()
    foreseen = await world.deciding.foresee(attempt(), chain=None if change.startswith("nothing") else CHAIN)
    before = len(world.asked)
    if change == "second":
        world.now = 101.0
    elif change == "spent":
        world.units = 4
    given = verified(chain(2)) if change == "chain" else CHAIN
    await world.decided(foreseen, chain=given)
    assert len(world.asked) == before + 1


async def test_a_foreseen_no_is_a_no() -> None:
    world = World()
    world.answer = "deny"
    foreseen = await world.deciding.foresee(attempt(), chain=CHAIN)
    world.answer = "permit"
    with pytest.raises(Denied):
        await world.decided(foreseen)
