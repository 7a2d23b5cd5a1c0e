"""Attacks on the authority: by people and agents with keys and chains of their own, on a world with real policies."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from remit import jose, statements
from remit.approvals import Decision
from remit.attempt import Admission, Attempt
from remit.catalogue import Catalogue
from remit.chain import chain_digest
from remit.credentials.lease import Occasion
from remit.delegation import Reference, Scope
from remit.errors import NeedsApproval, Refused
from remit.ledger import Reservation
from remit.policy import PolicyEngine
from remit.policy.asking import Answer, Questions
from remit.policy.entities import UnknownName
from remit.revoking import Revoking
from remit.statements import Event, Statement
from remit.step import Call, shown
from remit.vault import steps
from remit.vault.paths import join, under
from tests.attacks.checks.row import Row, Rows
from tests.policies.questions import POLICIES, link_of, merged
from tests.unit.documents import AUDIENCE, NOW, signer, user
from tests.unit.documents import uuid as numbered
from tests.unit.world import PUBLISH, READ, WRITER, Task, World

OTHER_DIGEST = "B" * 42 + "A"


def step(*, call: Call = READ, credential: str | None = "flights-ro", task: Any = None, **shown: Any) -> Any:
    """Have the analyst do a step; `shown` is what it shows otherwise, `task` changes its delegation."""

    async def attack(w: World) -> object:
        made = await w.delegate(**(task or {}))
        return await w.authorize(made.attempt(call, credential=credential), **shown)

    return attack


def stopped(event: Event, then: Callable[[World, Task], Any], *, by: str = "alice") -> Any:
    """Stop a task, let something be said about it, and try the next step."""

    async def attack(w: World) -> object:
        task = await w.delegate()
        await w.state(task, event, by=by)
        await then(w, task)
        return await w.authorize(task.attempt())

    return attack


async def nothing(_w: World, _task: Task) -> None:
    """Nobody says anything."""


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


async def once_more(w: World) -> object:
    task = await w.delegate()
    await w.authorize(task.attempt(once=True))
    return await w.authorize(task.attempt(once=True, attempt=2))


async def elsewhere(w: World) -> object:
    task = await w.delegate()
    return await w.authorize(task.attempt(task="another"))


async def reset_elsewhere(w: World) -> object:
    """Another execution under the same workflow id: terminated and begun anew."""
    task = await w.delegate()
    await w.authorize(task.attempt())
    return await w.authorize(task.attempt(first_run="run-2", run="run-2"))


async def without_standing(w: World) -> object:
    task = await w.delegate()
    w.vault.kept.broken["GET remit/data/epoch"] = 503
    return await w.authorize(task.attempt())


def unproven(error: Exception) -> Any:
    async def attack(w: World) -> object:
        async def nobody() -> str:
            raise error

        return await w.authority.authorize((await w.delegate()).attempt(), nobody())

    return attack


async def revoked_while_minting(w: World) -> object:
    task = await w.delegate()
    w.vault.meanwhile("GET database/creds", lambda: w.state(task, Event.REVOKED))
    return await w.authorize(task.attempt(credential="flights-ro"))


async def login_ended_while_minting(w: World) -> object:
    task = await w.delegate()

    async def ended() -> None:
        await w.vault.write("auth/token/revoke-accessor", accessor="a1")

    w.vault.meanwhile("GET auth/token/lookup-self", ended)
    return await w.authorize(task.attempt(credential="flights-ro"))


async def absent(w: World) -> object:
    del w.vault._secrets["remit-secrets/data/weather-api"]
    return await w.authorize((await w.delegate()).attempt(credential="weather-api"))


async def for_no_service(w: World) -> object:
    task = await w.delegate()
    chain = await w.authority._chains.load(task.reference, epoch=await w.standing.epoch())
    occasion = Occasion(numbered(1), "task", "run-1", 1, 1, "", Scope(("read",), ("flights",), 1))

    async def live() -> None:
        await w.standing.require_live(chain)

    profile = w.policy.catalogue.credentials["service-token"]
    return await w.mint.mint(profile, occasion=occasion, chain=chain, longest=60, require_live=live)


async def of_no_database(w: World) -> object:
    w.mint._postgres = {}
    return await w.authorize((await w.delegate()).attempt(credential="flights-ro"))


async def too_long(w: World) -> object:
    task = await w.delegate(exp=NOW + 3 * 86_400)
    grant = await w.authorize(task.attempt(credential="flights-ro"))
    w.now += 9 * 3600
    return await w.authority.watch(grant)


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


async def overspent(w: World) -> object:
    return await w.ledger.reserve([("a", 1)], root="a", cost=2)


async def given_back(w: World) -> object:
    reserved = await w.ledger.reserve([("a", 9)], root="a", cost=1)
    return await w.ledger.settle(Reservation("a", ("a",), 1, reserved.number), spent=-5)


def denied(attack: Callable[[World], Any]) -> Any:
    """Ask the policies something; a verdict that is no permit is the refusal."""

    async def asked(w: World) -> object:
        verdict = attack(w)
        if not verdict.permitted:
            raise Refused(verdict.reason, code="policy.denied")
        return verdict

    return asked


def delegating(*names: str) -> Any:
    return lambda w: w.policy.delegable(names)


def no_group(_w: World) -> object:
    """Delegate a group of which no agent may do anything, for there is none."""
    plain = Catalogue.load(POLICIES / "catalogue.yaml")
    return PolicyEngine.load(POLICIES, plain.model_copy(update={"agents": {}})).delegable(["read"])


def turned_round() -> str:
    """Turn round what an approver reads."""
    text = shown({"sql": "\u202e select 1"})
    if "\u202e" not in text:
        raise Refused("", code="escaped")
    return text


@contextmanager
def answered(kind: str) -> Iterator[None]:
    """Let Cedar's answer about a kind of principal always be a clean Allow."""
    real = Questions.put

    def put(self: Questions, ask: Any, context: str, entities: Any) -> Answer:
        answer = real(self, ask, context, entities)
        return replace(answer, allowed=True, errors=()) if ask.request["principal"]["type"] == kind else answer

    with patch.object(Questions, "put", put):
        yield


UNREADABLE = Call("dataset:query", "flights", {"limit": "ten"})
EVIL = link_of({"from": "spiffe://elsewhere/user/alice"}, place=0, above=None)
SUSPENDED, REVOKED = Event.SUSPENDED, Event.REVOKED
PROPOSED = "policy.delegable.check_delegable: _refused"
ROWS: Rows = {
    # Who presents.
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
    # Where and when.
    "chains.Chains.require_bound: other-task": Row(elsewhere, "delegation.other-task"),
    "registry.Registry.bind_run: bool": Row(elsewhere, "delegation.other-task"),
    "registry._enter: bool": Row(reset_elsewhere, "delegation.other-task"),
    "proving.require_time: expiring": Row(step(task={"exp": NOW + 4}), "chain.expiring"),
    "doing.Doing._claim: _begun": Row(once_more, "step.once"),
    "chains.Chains.load: revoked": Row(
        lambda w: w.authority.describe(Reference(numbered(1), OTHER_DIGEST)), "chain.revoked", lost=True
    ),
    "chains.Chains.down_to: unknown": Row(
        lambda w: w.authority._chains.down_to(numbered(1), epoch="1"), "delegation.unknown", lost=True
    ),
    "chains.Chains.load: reference": Row(copied, "chain.reference"),
    "registry.Registry.links: links": Row(nine_links, "chain.links"),
    "registry.Registry.links: digest": Row(another_digest, "chain.digest"),
    # Standing, and who may say what.
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
    # Approvals.
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
    "registry.Registry.consume_approval: bool": Row(used_twice, "approval.used"),
    # Policy.
    "deciding.Deciding.decide: Denied": Row(step(call=PUBLISH), "policy.denied", lost=True),
    "deciding.Deciding.decide: _needed": Row(
        lambda w: both_answers(w), "approval.needed", ("deciding.Deciding.decide: Denied",), lost=True
    ),
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
    "step._plain: bool": Row(lambda _: turned_round(), "escaped"),
    "authority.Authority._profile: unknown": Row(step(credential="nothing"), "credential.unknown"),
    "delegating.Delegating.delegate: unknown": Row(to_nobody, "agent.unknown", lost=True),
    "delegating.Delegating.delegate: denied": Row(of_what_is_spent, "delegation.denied"),
    "delegating.Delegating.adopt: not-waiting": Row(resumed(stopped=False), "resume.not-waiting"),
    "delegating.Delegating.adopt: different": Row(resumed(new={"purpose": "audit"}), "resume.different"),
    "delegating.Delegating.adopt: denied": Row(resumed_in_quarantine, "resume.denied"),
    # Budget.
    "ledger.Ledger._take: _short": Row(overspent, "budget.exceeded"),
    "ledger.Ledger.settle: ValueError": Row(given_back, "lost"),
    "ledger.Ledger.reserve: ValueError": Row(lambda w: w.ledger.reserve([("a", 1)], root="a", cost=-5), "lost"),
    # The fence.
    "credentials.mint.Mint._fenced: answer": Row(revoked_while_minting, "chain.revoked"),
    "credentials.mint.Mint._fenced: absent": Row(absent, "credential.absent", lost=True),
    "credentials.mint.Mint._downstream: audience": Row(for_no_service, "credential.audience"),
    "credentials.mint.Mint._lease: postgres": Row(of_no_database, "settings.postgres"),
    "running.Running.watch: ttl": Row(too_long, "credential.ttl"),
    "vault.steps.answered: login": Row(
        lambda _: steps.answered({"auth": {"client_token": "s.1", "accessor": None}}), "vault.login"
    ),
    # Names, before anything is sent.
    "vault.paths.checked: _refused": Row(lambda w: w.vault.read("remit/../sys/policies"), "vault.name"),
    "vault.paths.join: _refused": Row(lambda _: join("principals", "../../sys"), "vault.name"),
    "vault.paths.under: _refused": Row(lambda _: under("transit/sign", "key?x"), "vault.name"),
}


def _named(w: World, name: str) -> object:
    try:
        return w.policy._entities.resource(name)
    except UnknownName:
        raise Refused("", code="unknown") from None
