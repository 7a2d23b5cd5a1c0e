"""Approving: which of the decisions that were sent count for a step, and that each counts once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from remit.approvals import Decision
from remit.approving import MOST
from remit.attempt import Attempt, Grant
from remit.catalogue import Catalogue
from remit.errors import Held, NeedsApproval, Refused, Rejected
from remit.policy import PolicyEngine
from remit.statements import Event
from tests.policies.questions import POLICIES, merged
from tests.unit.documents import NOW, signer, user, uuid
from tests.unit.world import PUBLISH, World, world

BOB = user("bob")


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def asked(w: World, **changes: Any) -> tuple[Attempt, dict[str, Any]]:
    """Return an attempt to publish, and the request it ends in."""
    task = await w.narrower(await w.delegate(**changes))
    attempt = task.attempt(PUBLISH)
    return attempt, (await waiting(w, attempt)).request


async def waiting(w: World, attempt: Attempt, *tokens: str) -> NeedsApproval:
    with pytest.raises(NeedsApproval) as caught:
        await given(w, attempt, *tokens)
    return caught.value


async def given(w: World, attempt: Attempt, *tokens: str) -> Grant:
    return await w.authorize(replace(attempt, approvals=tokens), by="report-writer")


async def sent(w: World, attempt: Attempt, request: dict[str, Any], token: str) -> Any:
    return await w.admit(token, attempt, request)


async def why(w: World, attempt: Attempt, *tokens: str) -> list[str]:
    return [one["code"] for one in (await waiting(w, attempt, *tokens)).request["refused"]]


async def test_a_decision_that_counts(w: World) -> None:
    attempt, request = await asked(w)
    token = await w.approve(request, jti=uuid(1))
    answer = await sent(w, attempt, request, token)
    assert (answer.accepted, answer.decision, answer.approver) == (True, "approve", BOB.spiffe_id)
    assert (answer.code, answer.message) == ("", "")
    grant = await given(w, attempt, token)
    assert grant.verdict.permitted
    told, permitted = w.records()[-2:]
    assert (told["event"], told["task"], told["delegation"]) == ("decision", "child", attempt.reference.delegation)
    assert (told["request"], told["outcome"], told["approval"]) == (request["request"], "approve", uuid(1))
    assert told["by"] == BOB.spiffe_id
    assert permitted["approvals"] == [{"id": uuid(1), "by": BOB.spiffe_id}]


async def test_a_decision_that_does_not_is_recorded_with_its_code(w: World) -> None:
    attempt, request = await asked(w)
    answer = await sent(w, attempt, request, await w.approve(request, by="carol"))
    assert (answer.accepted, answer.code, answer.decision) == (False, "approval.not-permitted", "")
    assert answer.message == "user/carol may not approve this"
    told = w.records()[-1]
    assert (told["event"], told["task"], told["outcome"], told["code"]) == (
        "decision",
        "child",
        "refused",
        "approval.not-permitted",
    )
    assert told["message"] == answer.message
    assert (told["delegation"], told["request"]) == (attempt.reference.delegation, request["request"])


@pytest.mark.parametrize(
    ("by", "key", "changes", "code"),
    [
        ("bob", "carol", {}, "approval.issuer"),
        ("bob", "nobody", {}, "principal.unknown-key"),
        ("alice", "", {}, "approval.four-eyes"),
        ("carol", "", {}, "approval.not-permitted"),
        ("bob", "", {"request": "another"}, "approval.request"),
        ("bob", "", {"binding": "B" * 42 + "A"}, "approval.binding"),
        ("bob", "", {"aud": "remit:elsewhere"}, "approval.audience"),
        ("bob", "", {"iat": NOW + 31, "exp": NOW + 60}, "approval.not-yet"),
        ("bob", "", {"iat": NOW - 90, "exp": NOW - 30}, "approval.expired"),
    ],
)
async def test_a_decision_that_does_not_count(w: World, by: str, key: str, changes: dict[str, Any], code: str) -> None:
    attempt, request = await asked(w)
    token = await w.approve(request, by=by, key=key, **changes)
    assert await why(w, attempt, token) == [code]
    assert (await sent(w, attempt, request, token)).code == code
    good = await w.approve(request)
    assert (await given(w, attempt, token, good)).verdict.permitted


async def test_who_is_stopped_or_was_does_not_count(w: World) -> None:
    attempt, request = await asked(w)
    before, later = await w.approve(request), await w.approve(request, iat=NOW + 2)
    await w.state(BOB, Event.SUSPENDED, by="carol")
    assert await why(w, attempt, before) == ["chain.suspended"]
    await w.state(BOB, Event.REVOKED, by="carol")
    assert await why(w, attempt, before) == ["chain.revoked"]
    await w.state(BOB, Event.REINSTATED, by="carol", iat=NOW + 1)
    assert await why(w, attempt, before) == ["chain.revoked"]
    assert (await given(w, attempt, later)).verdict.permitted


async def test_a_stopped_approver_is_named(w: World) -> None:
    attempt, request = await asked(w)
    token = await w.approve(request)
    await w.state(BOB, Event.SUSPENDED, by="carol")
    with pytest.raises(Refused) as refused:
        await verified(w, attempt, request, token)
    assert refused.value.facts()["status"] == "suspended"
    assert refused.value.facts()["subject"] == BOB.spiffe_id


async def verified(w: World, attempt: Attempt, request: dict[str, Any], token: str, **changes: Any) -> Any:
    epoch = await w.standing.epoch()
    chain = await w.authority._chains.load(attempt.reference, epoch=epoch)
    options: dict[str, Any] = {
        "request": request["request"],
        "bound": request["binding"],
        "approvers": ("data-steward",),
    }
    return await w.authority._approving.verify(token, **{**options, **changes}, chain=chain, epoch=epoch)


async def test_a_refused_approver_is_told_who_may(w: World) -> None:
    attempt, request = await asked(w)
    token = await w.approve(request)
    assert (await verified(w, attempt, request, token)).kid == signer("bob").key.kid
    for approvers, named in ((("security", "hr-team"), "security, hr-team"), ((), "nobody")):
        with pytest.raises(Refused) as refused:
            await verified(w, attempt, request, token, approvers=approvers)
        assert refused.value.code == "approval.not-permitted"
        assert named in refused.value.next_action
    with pytest.raises(Refused) as refused:
        await verified(w, attempt, request, token, bound="")
    assert refused.value.code == "approval.no-request"


@pytest.mark.parametrize("key", ["alice", "flight-analyst", "report-writer"])
async def test_no_key_of_the_chain_approves(w: World, key: str) -> None:
    attempt, request = await asked(w)
    await w.registry.put_principal(replace((await w.registry.principal(BOB)), key=signer(key).key))  # type: ignore[arg-type]
    assert await why(w, attempt, await w.approve(request, key=key)) == ["approval.four-eyes"]


async def test_who_signed_is_read_once_for_an_epoch(w: World) -> None:
    attempt, request = await asked(w)
    await w.state(BOB, Event.SUSPENDED, by="carol", iat=NOW - 9)
    await w.state(BOB, Event.REINSTATED, by="carol", iat=NOW - 8)
    token = await w.approve(request)
    await verified(w, attempt, request, token)
    w.vault.kept.asked.clear()
    await verified(w, attempt, request, token)
    assert [path for _, path, _ in w.vault.kept.asked if "/keys/" in path] == []
    assert (await sent(w, attempt, request, token)).accepted
    await given(w, attempt, token)
    assert [path for _, path, _ in w.vault.kept.asked if "/keys/" in path] == []


async def test_an_outage_holds_and_is_no_refusal(w: World) -> None:
    attempt, request = await asked(w)
    token = await w.approve(request)
    w.vault.kept.broken["LIST remit/metadata/statements/user/bob"] = 503
    with pytest.raises(Held):
        await given(w, attempt, token)
    records = len(w.records())
    with pytest.raises(Held):
        await sent(w, attempt, request, token)
    assert len(w.records()) == records


@pytest.mark.parametrize("decisions", [("approve", "reject"), ("reject", "approve"), ("reject",)])
async def test_one_no_outweighs_every_yes(w: World, decisions: tuple[Decision, ...]) -> None:
    attempt, request = await asked(w)
    tokens = [await w.approve(request, decision=one, reason="too early") for one in decisions]
    with pytest.raises(Rejected) as rejected:
        await given(w, attempt, *tokens)
    assert rejected.value.message == "user/bob rejected report:publish on reports"
    assert rejected.value.next_action == "too early"
    record = w.records()[-1]
    assert (record["code"], record["verdict"]) == ("approval.rejected", "needs-approval")
    assert record["policies"] == ["publishing-needs-a-steward"]


async def test_a_no_without_a_right_is_none(w: World) -> None:
    attempt, request = await asked(w)
    no = await w.approve(request, by="carol", decision="reject")
    assert await why(w, attempt, no) == ["approval.not-permitted"]
    await sent(w, attempt, request, no)
    assert (await given(w, attempt, await w.approve(request))).verdict.permitted


async def test_a_no_that_was_taken_stays(w: World) -> None:
    attempt, request = await asked(w)
    no = await w.approve(request, decision="reject", jti=uuid(3))
    answer = await sent(w, attempt, request, no)
    assert (answer.accepted, answer.decision, answer.approver) == (True, "reject", BOB.spiffe_id)
    assert w.records()[-1]["outcome"] == "reject"
    with pytest.raises(Rejected) as rejected:
        await given(w, attempt, await w.approve(request))
    assert rejected.value.message == "user/bob rejected report:publish on reports"
    assert await w.registry.decisions.rejected_by(request["request"], binding=request["binding"]) == BOB.spiffe_id
    assert await w.registry.decisions.rejection(request["request"], binding=request["binding"]) == no
    await waiting(w, replace(attempt, step=2, activity="2"))  # another step is asked about anew


async def test_only_so_many_decisions_are_looked_at(w: World) -> None:
    attempt, request = await asked(w)
    bad, good = await w.approve(request, by="carol"), await w.approve(request)
    assert (await given(w, attempt, *[bad] * (MOST - 1), good)).verdict.permitted
    assert await why(w, replace(attempt, attempt=2), *[bad] * MOST, good) == ["approval.not-permitted"] * MOST


async def test_an_approval_is_used_up_by_one_step_of_one_run(w: World) -> None:
    attempt, request = await asked(w)
    token = await w.approve(request, jti=uuid(4))
    await given(w, attempt, token)
    await given(w, replace(attempt, attempt=2), token)
    used = w.vault.kept.documents[f"remit/data/approvals/{uuid(4)}"][0]
    assert used == {"binding": request["binding"], "run": "run-1", "step": 1, "jws": token}
    w.vault.kept.minted.clear()
    with pytest.raises(Refused) as refused:
        await given(w, replace(attempt, run="run-2", credential="reports-rw"), token)
    assert refused.value.code == "approval.used"
    assert w.vault.kept.minted == []


async def test_two_people_count_as_two_and_one_as_one(tmp_path: Path) -> None:
    change = {"datasets": {"reports": {"classification": 3}}, "agents": {"report-writer": {"clearance": 3}}}
    people = {"carol": {"roles": ["security"]}}
    plain = Catalogue.load(POLICIES / "catalogue.yaml").model_dump()
    catalogue = Catalogue.model_validate(merged(merged(plain, change), {"people": people}))
    async with world(tmp_path, PolicyEngine.load(POLICIES, catalogue)) as w:
        attempt, request = await asked(w)
        assert set(request["approvers"]) == {"data-steward", "security"}
        bob, carol = await w.approve(request), await w.approve(request, by="carol")
        assert set((await waiting(w, attempt, bob, await w.approve(request))).request["approvers"]) == {
            "data-steward",
            "security",
        }
        assert (await waiting(w, attempt, carol)).request["refused"] == []
        grant = await given(w, attempt, bob, carol)
        assert grant.verdict.permitted
        assert {one["by"] for one in w.records()[-1]["approvals"]} == {BOB.spiffe_id, user("carol").spiffe_id}
