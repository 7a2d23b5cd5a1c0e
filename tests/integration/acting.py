"""People and agents acting on the real stack: delegations, attempts, approvals, statements."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from remit import approvals, jose
from remit.approvals import Approval
from remit.assembly import Parts
from remit.attempt import Attempt, Grant
from remit.chain import chain_digest
from remit.client.connection import Connection
from remit.delegation import TYP, Delegation, Reference, Scope
from remit.embedded import Stack
from remit.principals import Principal
from remit.revoking import Outcome, Revoking
from remit.settings import Settings
from remit.statements import Event
from remit.step import Call

READ = Call(action="dataset:query", resource="flights", input={"dataset": "flights", "sql": "select 1", "limit": 10})
PUBLISH = Call(
    action="report:publish", resource="reports", input={"table": "delays", "sql": "select count(*) from flights"}
)


@dataclass(frozen=True, slots=True)
class Task:
    """A delegation and the execution it was made for."""

    reference: Reference
    links: tuple[str, ...]
    id: str
    run: str

    def attempt(self, call: Call = READ, *, step: int = 1, **changes: Any) -> Attempt:
        made = Attempt(
            reference=self.reference,
            namespace="default",
            task=self.id,
            run=self.run,
            first_run=self.run,
            activity=str(step),
            attempt=1,
            step=step,
            tool="sql.query",
            call=call,
        )
        return replace(made, **changes)


def principal(name: str) -> Principal:
    kind, _, short = name.partition("/")
    return Principal("remit.local", "user" if kind == "user" else "agent", short)


async def delegate(
    settings: Settings,
    *,
    by: str = "alice",
    agent: str = "flight-analyst",
    actions: tuple[str, ...] = ("read", "report:publish"),
    budget: int = 100,
    seconds: int = 600,
    max_depth: int = 2,
) -> Task:
    """Make and store a root delegation."""
    person = Connection(settings, by)
    try:
        record = await person.registry.principal(principal(f"agent/{agent}"))
        assert record is not None
        now = int(time.time())
        link = Delegation(
            jti=str(uuid.uuid4()),
            iss=person.principal,
            sub=person.principal,
            aud=person.audience,
            delegate=record.principal,
            key=record.key.jwk,
            iat=now,
            nbf=now,
            exp=now + seconds,
            depth=0,
            max_depth=max_depth,
            par_hash=None,
            purpose="delay-review",
            scope=Scope(actions, ("flights",), budget),
        )
        token = await jose.sign(link.to_claims(), typ=TYP, signer=await person.signer())
        task = Task(Reference(link.jti, chain_digest([token])), (token,), f"task-{link.jti}", str(uuid.uuid4()))
        await person.registry.put_delegation(token, jti=link.jti, parent=None, namespace="default", workflow_id=task.id)
        return task
    finally:
        await person.vault.close()


async def narrower(
    parts: Parts,
    parent: Task,
    *,
    actions: tuple[str, ...] = ("report:publish",),
    budget: int = 10,
    name: str = "report",
) -> Task:
    """Have the parent's agent delegate to the report writer, for a child execution of this name."""
    agent = "report-writer"
    leaf = await parts.presenter.agent(parent.reference)
    child = f"{parent.id}-{name}"
    reference = await parts.authority.delegating.delegate(
        parent=parent.reference,
        agent=agent,
        scope=Scope(actions, ("flights",), budget),
        expires_in=300,
        max_depth=2,
        namespace="default",
        task=parent.id,
        first_run=parent.run,
        child=child,
        signer=await parts.presenter.signer(leaf),
    )
    links = await parts.registry.links(reference)
    assert links is not None
    return Task(reference, links, child, str(uuid.uuid4()))


async def approve(
    settings: Settings,
    request: dict[str, Any],
    *,
    by: str,
    decision: str = "approve",
    lifetime: int = 600,
    age: int = 0,
) -> str:
    """Sign a decision about a request; `age` seconds ago, good for `lifetime` from now."""
    person = Connection(settings, by)
    try:
        now = int(time.time())
        made = Approval(
            jti=str(uuid.uuid4()),
            iss=person.principal,
            aud=person.audience,
            iat=now - age,
            exp=now + lifetime,
            request=request["request"],
            binding=request["binding"],
            decision="approve" if decision == "approve" else "reject",
            reason=None,
        )
        return await jose.sign(made.to_claims(), typ=approvals.TYP, signer=await person.signer())
    finally:
        await person.vault.close()


async def state(
    settings: Settings, target: Task | str, event: Event, *, by: str = "alice", reason: str = "test"
) -> Outcome:
    """State a revocation, suspension or reinstatement."""
    person = Connection(settings, by)
    try:
        revoking = Revoking(
            registry=person.registry,
            vault=person.vault,
            standing=person.standing,
            stops=person.stops,
            clock=time.time,
        )
        declared = await revoking.declare(
            signer=await person.signer(),
            issuer=person.principal,
            subject=principal(target) if isinstance(target, str) else await person.chain(target.reference.delegation),
            event=event,
            reason=reason,
        )
        return await revoking.carry_out(declared)
    finally:
        await person.vault.close()


async def authorize(parts: Parts, attempt: Attempt) -> Grant:
    return await parts.authority.authorize(attempt, parts.presenter.present(attempt))


def minted_users(stack: Stack, task: Task) -> list[str]:
    """Return the database users that exist for a task's delegation."""
    with stack.postgres.connect("flights", autocommit=True) as admin:
        pattern = f"d-{task.reference.delegation}-%"
        return [row[0] for row in admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", (pattern,))]


@contextmanager
def session_of(grant: Grant) -> Iterator[psycopg.Connection[Any]]:
    connection = psycopg.connect(grant.credential["dsn"], autocommit=True)
    try:
        yield connection
    finally:
        connection.close()
