"""Attacks on approvals: by who may not, for another step, twice, or after a no."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from remit.approvals import Decision
from remit.attempt import Admission, Attempt
from remit.errors import NeedsApproval, Refused
from remit.step import shown
from tests.attacks.checks.actions import OTHER_DIGEST, SUSPENDED
from tests.attacks.checks.row import Row, Rows
from tests.unit.documents import NOW, user
from tests.unit.world import PUBLISH, World


async def publishing(w: World, *, by: str = "alice", **changes: Any) -> tuple[Attempt, dict[str, Any]]:
    """Have the report writer ask to publish; return the attempt and its request for approval."""
    task = await w.narrower(await w.delegate(by=by))
    attempt = task.attempt(PUBLISH, **changes)
    try:
        await w.authorize(attempt, by="report-writer")
    except NeedsApproval as asked:
        return attempt, asked.request
    raise AssertionError("nobody is asked")


async def tried(w: World, attempt: Attempt, *tokens: str) -> object:
    """Try it with decisions; what refuses the first of them is the refusal."""
    try:
        return await w.authorize(replace(attempt, approvals=tokens), by="report-writer")
    except NeedsApproval as asked:
        for one in asked.request["refused"]:
            raise Refused("", code=one["code"]) from None
        raise


def approved(*, by: str = "bob", before: Any = None, **changes: Any) -> Any:
    """Have somebody approve in some way, and publish."""

    async def attack(w: World) -> object:
        attempt, request = await publishing(w)
        token = await w.approve(request, by=by, **changes)
        if before is not None:
            await before(w)
        return await tried(w, attempt, token)

    return attack


def admitted(*, by: str) -> Any:
    """Have somebody send a decision; the refusal is why it is not taken."""

    async def attack(w: World) -> object:
        attempt, request = await publishing(w)
        return taken(await w.admit(await w.approve(request, by=by), attempt, request))

    return attack


def taken(answer: Admission) -> Admission:
    if not answer.accepted:
        raise Refused("", code=answer.code)
    return answer


async def for_nothing(w: World) -> object:
    """A decision sent to a task of which nothing waits."""
    attempt, request = await publishing(w)
    token = await w.approve(request)
    return taken(await w.admit(token, attempt, {"request": "", "binding": "", "approvers": []}))


async def by_a_key_of_the_chain(w: World) -> object:
    """The report writer's key is also entered as bob's: one key approves what it asked for."""
    attempt, request = await publishing(w)
    await w.enter(user("bob"), key="report-writer")
    return await tried(w, attempt, await w.approve(request, key="report-writer"))


async def both_answers(w: World, *decisions: Decision) -> object:
    attempt, request = await publishing(w)
    return await tried(w, attempt, *[await w.approve(request, decision=one) for one in decisions])


async def rejected_before(w: World) -> object:
    """A rejection was admitted, and the workflow that asked was reset and remembers only the approval."""
    attempt, request = await publishing(w)
    no = await w.approve(request, decision="reject")
    await w.admit(no, attempt, request)
    return await tried(w, attempt, await w.approve(request))


async def used_twice(w: World) -> object:
    attempt, request = await publishing(w)
    token = await w.approve(request)
    await tried(w, attempt, token)
    return await tried(w, replace(attempt, run="run-2"), token)


def turned_round() -> str:
    """Turn round what an approver reads."""
    text = shown({"sql": "\u202e select 1"})
    if "\u202e" not in text:
        raise Refused("", code="escaped")
    return text


ROWS: Rows = {
    "approvals.check: audience": Row(approved(aud="remit:elsewhere"), "approval.audience"),
    "approvals.check: not-yet": Row(approved(iat=NOW + 31), "approval.not-yet"),
    "approvals.check: expired": Row(approved(iat=NOW - 90, exp=NOW - 30), "approval.expired"),
    "approvals.check: lifetime": Row(approved(exp=NOW + 86_401), "approval.lifetime"),
    "approvals.check: request": Row(approved(request="another"), "approval.request"),
    "approvals.check: binding": Row(approved(binding=OTHER_DIGEST), "approval.binding"),
    "approving.Approving.verify: issuer": Row(
        approved(by="carol", iss=user("bob")), "approval.issuer", ("approving.Approving.verify: not-permitted",)
    ),
    "approving.Approving.verify: no-request": Row(
        for_nothing,
        "approval.no-request",
        ("approvals.check: request", "approvals.check: binding", "approving.Approving.verify: not-permitted"),
    ),
    "approving.Approving.verify: four-eyes": Row(by_a_key_of_the_chain, "approval.four-eyes"),
    "approving.Approving.verify: NotLive": Row(
        approved(before=lambda w: w.state(user("bob"), SUSPENDED, by="carol")), "chain.suspended"
    ),
    "approving.Approving.verify: not-permitted": Row(admitted(by="carol"), "approval.not-permitted"),
    "approving.Approving.given: Rejected": Row(rejected_before, "approval.rejected"),
    "approving.Approving.given: Rejected#2": Row(lambda w: both_answers(w, "approve", "reject"), "approval.rejected"),
    "approving.Approving.consume: used": Row(used_twice, "approval.used"),
    "decisions.Decisions.use: bool": Row(used_twice, "approval.used"),
    "deciding.Deciding.decide: _needed": Row(
        lambda w: both_answers(w), "approval.needed", ("deciding.Deciding.decide: Denied",), lost=True
    ),
    "step._plain: bool": Row(lambda _: turned_round(), "escaped"),
}
