"""Attacks on stops, and on what is handed on: statements by who may not make them, and authority under former keys."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from remit import jose, statements
from remit.catalogue import Catalogue
from remit.chain import Chain
from remit.delegation import Scope
from remit.policy import PolicyEngine
from remit.revoking import Revoking
from remit.standing import Standing
from remit.statements import DelegationSubject, Event, Statement
from tests.attacks.checks.actions import REVOKED, SUSPENDED, nothing
from tests.attacks.checks.row import Row, Rows
from tests.policies.questions import POLICIES, merged
from tests.unit.documents import AUDIENCE, NOW, signer, user
from tests.unit.documents import uuid as numbered
from tests.unit.world import Task, World


def stopped(
    event: Event, then: Callable[[World, Task], Any], *, by: str = "alice", credential: str | None = None
) -> Any:
    """Stop a task, let something be said about it, and try the next step."""

    async def attack(w: World) -> object:
        task = await w.delegate()
        await w.state(task, event, by=by)
        await then(w, task)
        return await w.authorize(task.attempt(credential=credential))

    return attack


@contextmanager
def not_asked_before() -> Iterator[None]:
    """Leave the standing unasked until there is a credential."""
    real = Standing.require_live

    async def require_live(self: Standing, chain: Chain, *, epoch: str | None = None) -> None:
        if epoch is None:
            await real(self, chain)

    with patch.object(Standing, "require_live", require_live):
        yield


def lifted(by: str = "alice", **changes: Any) -> Callable[[World, Task], Any]:
    return lambda w, task: w.state(task, Event.REINSTATED, by=by, **{"iat": NOW + 1, **changes})


async def with_former_key(w: World, task: Task) -> None:
    """Security staff got a fresh key; whoever has the old one reinstates in its name."""
    await w.enter(user("carol"), key="carol-fresh")
    await w.state(task, Event.REINSTATED, by="carol", iat=NOW + 1)


async def about_another(w: World, task: Task) -> None:
    """Her own reinstatement of another task, put where this one's statements are."""
    other = await w.delegate()
    said = Statement(str(uuid.uuid4()), user("alice"), AUDIENCE, NOW + 1, other.subject, Event.REINSTATED)
    token = await jose.sign(said.to_claims(), typ=statements.TYP, signer=signer("alice"))
    await w.registry.put_statement(task.subject, said.jti, token)


async def root_of_a_former_key(w: World) -> object:
    task = await w.delegate()
    await w.enter(user("alice"), key="alice-fresh")
    return await w.authorize(task.attempt())


async def without_standing(w: World) -> object:
    task = await w.delegate()
    w.vault.kept.broken["GET remit/data/epoch"] = 503
    return await w.authorize(task.attempt())


async def delegated(w: World, parent: Task, *, to: str = "report-writer", max_depth: int = 2) -> object:
    return await w.authority.delegating.delegate(
        parent=parent.reference,
        agent=to,
        scope=Scope(("read",), ("flights",), 10),
        expires_in=60,
        max_depth=max_depth,
        namespace="default",
        task=parent.id,
        first_run=parent.run,
        child="child",
        signer=signer("flight-analyst"),
    )


async def to_nobody(w: World) -> object:
    return await delegated(w, await w.delegate(), to="nobody")


async def of_what_is_spent(w: World) -> object:
    """Ten units go to a child of which five were left."""
    parent = await w.delegate()
    for number in range(1, 20):
        await w.authorize(parent.attempt(step=number, cost=5))
    return await delegated(w, parent)


async def after_one_that_was_stopped(w: World) -> object:
    """A link that was revoked is asked for again once its time is over."""
    parent = await w.delegate()
    made: Any = await delegated(w, parent)
    await w.state(DelegationSubject(made.delegation, parent.links[-1].delegate), Event.REVOKED, by="alice")
    w.now += 120
    return await delegated(w, parent)


def resumed(**changes: Any) -> Any:
    async def attack(w: World) -> object:
        old = await w.delegate(**changes.get("old", {}))
        new = await w.delegate(**changes.get("new", {}))
        if changes.get("stopped", True):
            await w.state(old, Event.REVOKED)
        place = {"namespace": "default", "task": "task", "first_run": "run-1"}
        return await w.authority.delegating.adopt(**place, old=old.reference, new=new.reference)

    return attack


async def resumed_in_quarantine(w: World) -> object:
    w.authority.delegating._policy = changed({"agents": {"flight-analyst": {"roles": ["analyst", "quarantined"]}}})
    return await resumed()(w)


def changed(catalogue: dict[str, Any]) -> PolicyEngine:
    """Return the project's policies over a changed catalogue."""
    plain = Catalogue.load(POLICIES / "catalogue.yaml").model_dump()
    return PolicyEngine.load(POLICIES, Catalogue.model_validate(merged(plain, catalogue)))


async def stated(w: World, *, by: str, event: Event = Event.REVOKED, before: Event | None = None) -> object:
    task = await w.delegate()
    if before is not None:
        await w.state(task, before)
    revoking = Revoking(registry=w.registry, vault=w.vault, standing=w.standing, stops=w.policy.stops, clock=w.clock)
    chain = await w.authority._chains.load(task.reference, epoch=await w.standing.epoch())
    return await revoking.declare(signer=signer(by), issuer=user(by), subject=chain, event=event)


async def overwritten(w: World) -> object:
    """A delegation under the id of another."""
    task = await w.delegate()
    other = await w.delegate()
    where = {"jti": task.links[0].jti, "parent": None, "namespace": "default", "workflow_id": "task"}
    return await w.registry.put_delegation(other.jws[0], **where)


async def said_over(w: World) -> object:
    task = await w.delegate()
    await w.state(task, Event.REVOKED, jti=numbered(5))
    return await w.state(task, Event.REINSTATED, jti=numbered(5))


async def deleted(w: World) -> object:
    """Somebody deleted what a statement says, not its name."""
    task = await w.delegate()
    await w.state(task, Event.REVOKED)
    path = next(one for one in w.vault.kept.documents if "/statements/" in one)
    w.vault.meanwhile(f"GET {path}", _dropping(w, path))
    return await w.authorize(task.attempt())


def _dropping(w: World, path: str) -> Any:
    async def dropped() -> None:
        w.vault.kept.documents.pop(path)

    return dropped


async def unset(w: World) -> object:
    w.vault.kept.documents.pop("remit/data/epoch")
    return await w.authorize((await w.delegate()).attempt())


ROWS: Rows = {
    "authority: the standing before anything is decided": Row(
        stopped(REVOKED, nothing, credential="flights-ro"),
        "chain.revoked",
        ("credentials.mint.Mint._fenced: answer",),
        removed=not_asked_before,
    ),
    "standing.Standing.require_live: NotLive": Row(stopped(REVOKED, nothing), "chain.revoked"),
    "standing.Standing.signer: _unknown_key": Row(root_of_a_former_key, "principal.unknown-key"),
    "standing.Standing._owner: _unknown_key": Row(
        lambda w: w.standing.signer("A" * 43, epoch="1"), "principal.unknown-key", lost=True
    ),
    "standing.Standing.statement: _unknown_key": Row(
        stopped(SUSPENDED, with_former_key, by="carol"), "chain.suspended"
    ),
    "standing.Standing.statement: issuer": Row(stopped(SUSPENDED, lifted("bob", iss=user("alice"))), "chain.suspended"),
    "standing.Standing.statement: not-permitted": Row(
        stopped(SUSPENDED, lifted("bob")), "chain.suspended", ("policy.engine.PolicyEngine.stops: bool",)
    ),
    "statements.may_state: bool": Row(
        stopped(SUSPENDED, lifted("bob")), "chain.suspended", ("policy.engine.PolicyEngine.stops: bool",)
    ),
    "policy.engine.PolicyEngine.stops: bool": Row(stopped(SUSPENDED, lifted(), by="carol"), "chain.suspended"),
    "statements.check: audience": Row(stopped(SUSPENDED, lifted(aud="remit:elsewhere")), "chain.suspended"),
    "statements.check: subject": Row(
        stopped(SUSPENDED, about_another), "chain.suspended", ("statements.may_state: bool",)
    ),
    "statements.check: not-yet": Row(stopped(SUSPENDED, lifted(iat=NOW + 31)), "chain.suspended"),
    "revoking.Revoking._require_permitted: not-permitted": Row(
        lambda w: stated(w, by="bob"), "statement.not-permitted"
    ),
    "revoking.Revoking._require_permitted: final": Row(
        lambda w: stated(w, by="alice", event=Event.REINSTATED, before=REVOKED), "statement.final"
    ),
    "registry.Registry.confirmed: bool": Row(
        stopped(SUSPENDED, lifted("bob")), "chain.suspended", ("policy.engine.PolicyEngine.stops: bool",)
    ),
    "registry.Registry.put_delegation: exists": Row(overwritten, "registry.exists"),
    "registry.Registry.put_statement: exists": Row(said_over, "registry.exists"),
    "registry.Registry._statement: damaged": Row(deleted, "registry.damaged", lost=True),
    "registry.Registry._read_epoch: empty": Row(unset, "registry.empty", lost=True),
    "authority.Authority._authorize: epoch": Row(without_standing, "vault.sealed"),
    "delegating.Delegating.delegate: unknown": Row(to_nobody, "agent.unknown", lost=True),
    "delegating.Delegating.delegate: denied": Row(of_what_is_spent, "delegation.denied"),
    "delegating.Delegating._latest: stopped": Row(after_one_that_was_stopped, "delegation.stopped"),
    "delegating.Delegating.adopt: not-waiting": Row(resumed(stopped=False), "resume.not-waiting"),
    "delegating.Delegating.adopt: different": Row(resumed(new={"purpose": "audit"}), "resume.different"),
    "delegating.Delegating.adopt: denied": Row(resumed_in_quarantine, "resume.denied"),
}
