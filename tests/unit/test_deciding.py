"""Deciding: an answer foreseen counts for exactly the chain and moment it was asked with, and for no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from remit.attempt import Attempt
from remit.deciding import NOBODY, Deciding, Foreseen
from remit.delegation import Reference, Scope
from remit.errors import Denied, NeedsApproval
from remit.policy import Approvals, RunContext
from remit.step import Call, binding, request_id
from remit.verdict import Verdict
from tests.unit.documents import NOW, chain, verified
from tests.unit.world import PUBLISH, READ, world

CHAIN = verified(chain(3))
SCOPE = Scope(("http:request",), ("flights",), 10)
CALL = Call("dataset:query", "flights", {})


class World:
    """A policy that answers what it is told, and notes what it is asked; a clock; a ledger."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer = "permit"
        self.now = 100.4
        self.units = 3
        self.facts: dict[str, Any] = {}
        self.spent_under: list[str] = []
        policy: Any = SimpleNamespace(decide=self.decide)
        approving: Any = None
        self.deciding = Deciding(policy, approving, spent=self.spent, clock=lambda: self.now)

    def spent(self, delegation: str) -> int:
        self.spent_under.append(delegation)
        return self.units

    def decide(self, *, chain: Any, call: Any, run: Any, approvals: Any) -> Verdict:
        assert (chain.ids, call, approvals) == (CHAIN.ids, CALL, NOBODY)
        self.asked.append(run)
        return Verdict("permit" if self.answer == "permit" else "deny", (f"p{len(self.asked)}",))

    async def decided(self, foreseen: Foreseen | None, **changes: Any) -> tuple[str, ...]:
        record: Any = SimpleNamespace(note=lambda **facts: self.facts.update(facts))
        options = {"chain": CHAIN, "epoch": "1.x", "record": record, "foreseen": foreseen}
        verdict, approvals = await self.deciding.decide(attempt(), **{**options, **changes})
        assert approvals == ()
        return verdict.policies


def attempt() -> Attempt:
    return Attempt(Reference("d", "g"), "default", "t", "r", "r", "1", 4, 7, "tool", CALL, cost=2)


async def test_a_foreseen_answer_saves_the_question() -> None:
    world = World()
    foreseen = await world.deciding.foresee(attempt(), chain=CHAIN)
    assert await world.decided(foreseen) == ("p1",)
    assert len(world.asked) == 1
    assert world.asked == [RunContext(now=100, step=7, attempt=4, spent=3, cost=2)]
    assert set(world.spent_under) == {CHAIN.leaf.jti}
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
    given = verified(chain(3)) if change == "chain" else CHAIN
    await world.decided(foreseen, chain=given)
    assert len(world.asked) == before + 1
    assert isinstance(world.asked[-1], RunContext)


async def test_a_foreseen_no_is_a_no() -> None:
    world = World()
    world.answer = "deny"
    foreseen = await world.deciding.foresee(attempt(), chain=CHAIN)
    world.answer = "permit"
    with pytest.raises(Denied):
        await world.decided(foreseen)


async def test_a_person_is_asked_about_exactly_this_step(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task = await w.narrower(await w.delegate())
        waiting = task.attempt(PUBLISH, run="run-2", step=3, cost=2)
        bad = await w.approve({"request": "r" * 16, "binding": "A" * 43})
        with pytest.raises(NeedsApproval) as asked:
            await w.authorize(replace(waiting, approvals=(bad,)), by="report-writer")
        bound = binding(task="child", run="run-1", delegation=task.links[-1].jti, call=PUBLISH)
        assert asked.value.request == {
            "request": request_id(bound, 3),
            "binding": bound,
            "action": "report:publish",
            "resource": "reports",
            "input": dict(PUBLISH.input),
            "approvers": ["data-steward"],
            "policies": ["publishing-needs-a-steward"],
            "wait": 24 * 3600,
            "refused": [{"code": "approval.request", "message": "the approval answers another request"}],
        }
        record = w.records()[-1]
        assert (record["verdict"], record["policies"]) == ("needs-approval", ["publishing-needs-a-steward"])
        assert (record["request"], record["binding"]) == (request_id(bound, 3), bound)
        assert "errors" not in record


async def test_cedar_is_asked_as_things_stand_and_then_with_who_approved(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        task = await w.narrower(await w.delegate())
        await w.authorize((await w.delegate(task="other")).attempt(cost=9))
        attempt = task.attempt(PUBLISH, step=3, attempt=2, cost=4)
        with pytest.raises(NeedsApproval) as waiting:
            await w.authorize(attempt, by="report-writer")
        token = await w.approve(waiting.value.request)
        with patch.object(w.policy, "decide", side_effect=w.policy.decide) as decide:
            await w.authorize(replace(attempt, approvals=(token,)), by="report-writer")
        told = [call.kwargs for call in decide.call_args_list]
        assert [one["approvals"] for one in told] == [
            Approvals(),
            Approvals(1, frozenset({"flight-team", "data-steward"})),
        ]
        assert {one["chain"].leaf.jti for one in told} == {task.links[-1].jti}
        assert all(one["call"] == PUBLISH for one in told)
        assert {one["run"] for one in told} == {RunContext(now=NOW, step=3, attempt=2, spent=0, cost=4)}
        assert w.records()[-1]["verdict"] == "permit"
        with patch.object(w.policy, "decide", side_effect=w.policy.decide) as decide:
            await w.authorize(replace(attempt, approvals=(token,)), by="report-writer")
        assert decide.call_args.kwargs["run"].spent == 4


async def test_a_no_says_which_policies_and_why(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        attempt = (await w.delegate(scope=SCOPE)).attempt(credential="flights-ro")
        with pytest.raises(Denied) as denied:
            await w.authorize(attempt)
        assert denied.value.policies == ("delegated-scope",)
        assert denied.value.message == (
            "agent/flight-analyst: forbidden by delegated-scope; user/alice: forbidden by delegated-scope"
        )
        record = w.records()[-1]
        assert (record["verdict"], record["policies"], record["outcome"]) == ("deny", ["delegated-scope"], "refused")
        assert w.vault.kept.minted == []
        with pytest.raises(Denied):
            await w.authorize(replace(attempt, call=replace(READ, input={"limit": "ten"})))
        assert w.records()[-1]["errors"]


async def test_a_no_without_a_reason_names_the_call() -> None:
    one = World()
    one.answer = "deny"
    with pytest.raises(Denied) as denied:
        await one.decided(None)
    assert denied.value.message == "policy denies dataset:query on flights"
    assert denied.value.policies == ("p1",)
