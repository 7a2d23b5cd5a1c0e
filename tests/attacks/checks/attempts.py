"""Attacks on single attempts: presented by another, elsewhere, out of time, or for what policy does not permit."""

from __future__ import annotations

from typing import Any

from remit.catalogue import Catalogue
from remit.chain import chain_digest
from remit.delegation import Reference
from remit.errors import Refused
from remit.policy import PolicyEngine
from remit.policy.entities import UnknownName
from remit.step import Call
from tests.attacks.checks.actions import OTHER_DIGEST, answered, delegating, denied, elsewhere, step
from tests.attacks.checks.row import Row, Rows
from tests.policies.questions import POLICIES, link_of
from tests.unit.documents import NOW
from tests.unit.documents import uuid as numbered
from tests.unit.world import PUBLISH, WRITER, World


async def reset_elsewhere(w: World) -> object:
    """Another execution under the same workflow id: terminated and begun anew."""
    task = await w.delegate()
    await w.authorize(task.attempt())
    return await w.authorize(task.attempt(first_run="run-2", run="run-2"))


def unproven(error: Exception) -> Any:
    async def attack(w: World) -> object:
        async def nobody() -> str:
            raise error

        return await w.authority.authorize((await w.delegate()).attempt(), nobody())

    return attack


async def another_digest(w: World) -> object:
    task = await w.delegate()
    attempt = task.attempt(reference=Reference(task.reference.delegation, OTHER_DIGEST))
    return await w.authorize(attempt, digest=task.reference.digest)


async def copied(w: World) -> object:
    """The same delegation again under an id of one's own, made for a task of one's own."""
    task = await w.delegate()
    where = {"parent": None, "namespace": "default", "workflow_id": "task"}
    await w.registry.put_delegation(task.jws[0], jti=numbered(1), **where)
    attempt = task.attempt(reference=Reference(numbered(1), task.reference.digest))
    return await w.authorize(attempt, delegation=task.reference.delegation)


async def nine_links(w: World) -> object:
    task = await w.delegate()
    for number in range(9):
        where = {"namespace": "default", "workflow_id": "task", "parent": numbered(number) if number else None}
        await w.registry.put_delegation(task.jws[0], jti=numbered(number + 1), **where)
    return await w.registry.links(Reference(numbered(9), chain_digest(task.jws * 9)))


def no_group(_w: World) -> object:
    """Delegate a group of which no agent may do anything, for there is none."""
    plain = Catalogue.load(POLICIES / "catalogue.yaml")
    return PolicyEngine.load(POLICIES, plain.model_copy(update={"agents": {}})).delegable(["read"])


UNREADABLE = Call("dataset:query", "flights", {"limit": "ten"})


EVIL = link_of({"from": "spiffe://elsewhere/user/alice"}, place=0, above=None)


PROPOSED = "policy.delegable.check_delegable: _refused"


def _named(w: World, name: str) -> object:
    try:
        return w.policy._entities.resource(name)
    except UnknownName:
        raise Refused("", code="unknown") from None


ROWS: Rows = {
    "presentation.check: agent": Row(step(iss=WRITER), "presentation.agent"),
    "presentation.check: audience": Row(step(aud="remit:elsewhere"), "presentation.audience"),
    "presentation.check: not-yet": Row(step(iat=NOW + 31, exp=NOW + 60), "presentation.not-yet"),
    "presentation.check: expired": Row(step(iat=NOW - 90, exp=NOW - 30), "presentation.expired"),
    "presentation.check: lifetime": Row(step(exp=NOW + 61), "presentation.lifetime"),
    "presentation.check: chain": Row(step(delegation=numbered(8)), "presentation.chain"),
    "presentation.check: attempt": Row(step(run="run-2"), "presentation.attempt"),
    "presentation.check: arguments": Row(step(arguments=OTHER_DIGEST), "presentation.arguments"),
    "authority.Authority._authorize: proof": Row(unproven(OSError()), "lost", ("jose.check_size: size",), lost=True),
    "authority.Authority._authorize: unproven": Row(
        unproven(Refused("", code="vault.login")), "vault.login", ("jose.check_size: size",), lost=True
    ),
    "chains.Chains.require_bound: other-task": Row(elsewhere, "delegation.other-task"),
    "registry.Registry.bind_run: bool": Row(elsewhere, "delegation.other-task"),
    "registry._enter: bool": Row(reset_elsewhere, "delegation.other-task"),
    "proving.require_time: expiring": Row(step(task={"exp": NOW + 4}), "chain.expiring"),
    "chains.Chains.load: revoked": Row(
        lambda w: w.authority.describe(Reference(numbered(1), OTHER_DIGEST)), "chain.revoked", lost=True
    ),
    "chains.Chains.down_to: unknown": Row(
        lambda w: w.authority._chains.down_to(numbered(1), epoch="1"), "delegation.unknown", lost=True
    ),
    "chains.Chains.load: reference": Row(copied, "chain.reference"),
    "registry.Registry.links: links": Row(nine_links, "chain.links"),
    "registry.Registry.links: digest": Row(another_digest, "chain.digest"),
    "deciding.Deciding.decide: Denied": Row(step(call=PUBLISH), "policy.denied", lost=True),
    "policy: the agent's answer": Row(step(call=PUBLISH), "policy.denied", removed=lambda: answered("Agent")),
    "policy: the human's answer": Row(step(task={"by": "carol"}), "policy.denied", removed=lambda: answered("User")),
    "policy.entities.Entities.principal: UnknownName": Row(
        denied(lambda w: w.policy.may_submit(root=EVIL)), "policy.denied"
    ),
    "policy.entities.Entities.resource: UnknownName": Row(lambda w: _named(w, "nowhere"), "unknown"),
    PROPOSED: Row(delegating(), "delegation.action"),
    f"{PROPOSED}#2": Row(delegating("tool"), "delegation.action", (f"{PROPOSED}#5", f"{PROPOSED}#6")),
    f"{PROPOSED}#3": Row(
        delegating("dataset:delete"), "delegation.action", (f"{PROPOSED}#4", f"{PROPOSED}#5", f"{PROPOSED}#6")
    ),
    f"{PROPOSED}#4": Row(no_group, "delegation.action", (f"{PROPOSED}#5", f"{PROPOSED}#6")),
    f"{PROPOSED}#5": Row(delegating("approve"), "delegation.action", (f"{PROPOSED}#6",)),
    f"{PROPOSED}#6": Row(delegating("everything"), "delegation.action"),
    "policy.delegable._possible: bool": Row(delegating("dataset:delete"), "delegation.action"),
    "policy.asking.Answer.clean: bool": Row(step(call=UNREADABLE), "policy.denied"),
    "authority.Authority._profile: unknown": Row(step(credential="nothing"), "credential.unknown"),
}
