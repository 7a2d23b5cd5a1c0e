"""A whole authority over OpenBao in memory, with the project's own policies: people, agents, delegations, attempts.

Time stands still at `NOW` until a test moves it. Nothing is stubbed but the server; see `tests.unit.openbao`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from remit import approvals, audit, jose, presentation, statements
from remit.approvals import Approval
from remit.attempt import Admission, Attempt, Grant
from remit.audit import AuditLog
from remit.authority import Authority
from remit.chain import chain_digest, parent_hash
from remit.credentials import Mint
from remit.delegation import TYP, Delegation, Reference, Scope
from remit.ledger import Ledger
from remit.policy import PolicyEngine
from remit.presentation import Presentation
from remit.principals import Principal
from remit.registry import PrincipalRecord, Registry
from remit.sealing import Sealing
from remit.statements import DelegationSubject, Event, Statement, Subject
from remit.step import Call, arguments_digest
from tests.policies.questions import POLICIES
from tests.unit.documents import AUDIENCE, DOMAIN, NOW, agent, signer, user
from tests.unit.openbao import OpenBao

READ = Call("dataset:query", "flights", {"dataset": "flights", "sql": "select 1", "limit": 10})
PUBLISH = Call("report:publish", "reports", {"table": "delays", "sql": "select 1"})
ANALYST, WRITER = agent("flight-analyst"), agent("report-writer")
PEOPLE = (user("alice"), user("bob"), user("carol"))


@cache
def policies() -> PolicyEngine:
    """The project's policies, parsed once."""
    return PolicyEngine.load(POLICIES)


@dataclass(frozen=True, slots=True)
class Task:
    """A delegation and the execution it was made for."""

    links: tuple[Delegation, ...]
    jws: tuple[str, ...]
    id: str = "task"
    run: str = "run-1"

    @property
    def reference(self) -> Reference:
        return Reference(self.links[-1].jti, chain_digest(self.jws))

    @property
    def subject(self) -> DelegationSubject:
        return DelegationSubject(self.links[-1].jti, self.links[-1].iss)

    def attempt(self, call: Call = READ, **changes: Any) -> Attempt:
        made = Attempt(self.reference, "default", self.id, self.run, self.run, "1", 1, 1, "tool", call)
        return replace(made, **changes)


class World:
    """One authority and everybody it deals with."""

    def __init__(self, folder: Path, policy: PolicyEngine) -> None:
        self.now = float(NOW)
        self.folder = folder
        self.vault = OpenBao(signer("steps").key)
        self.registry = Registry(self.vault)
        self.policy = policy
        self.ledger = Ledger(self.registry, clock=self.clock, block=1)
        self.mint = Mint(
            vault=self.vault,
            registry=self.registry,
            steps=signer("steps"),
            tokens=signer("tokens"),
            issuer=f"spiffe://{DOMAIN}/authority",
            postgres={"database": "host=h dbname=d"},
            clock=self.clock,
        )
        log = AuditLog(folder, clock=self.clock)
        self.sealing = Sealing(
            audit=log, heads=self.registry.heads, signer=signer("steps"), trust_domain=DOMAIN, clock=self.clock
        )
        self.authority = Authority(
            registry=self.registry,
            policy=policy,
            catalogue=policy.catalogue,
            mint=self.mint,
            ledger=self.ledger,
            audit=log,
            sealing=self.sealing,
            clock=self.clock,
        )
        self.standing = self.authority.standing

    def clock(self) -> float:
        return self.now

    async def enter(self, *principals: Principal, key: str | None = None) -> None:
        """Write principals to the directory, with the key of their name or with another."""
        for one in principals:
            await self.registry.put_principal(PrincipalRecord(one, signer(key or one.name).key, f"key-{one.name}"))

    async def delegate(self, *, by: str = "alice", to: Principal = ANALYST, task: str = "task", **changes: Any) -> Task:
        """Sign and store a root delegation; `changes` are of the `Delegation`."""
        root = Delegation(
            jti=str(uuid.uuid4()),
            iss=user(by),
            sub=user(by),
            aud=AUDIENCE,
            delegate=to,
            key=signer(to.name).key.jwk,
            iat=NOW - 60,
            nbf=NOW - 60,
            exp=NOW + 3600,
            depth=0,
            max_depth=3,
            par_hash=None,
            purpose="delay-review",
            scope=Scope(("read", "report:publish", "http:request"), ("flights",), 100),
        )
        return await self._stored(replace(root, **changes), above=None, by=by, task=task)

    async def narrower(self, above: Task, *, to: Principal = WRITER, task: str = "child", **changes: Any) -> Task:
        """Sign and store a link below another, as that one's agent would."""
        parent = above.links[-1]
        link = replace(
            parent,
            jti=str(uuid.uuid4()),
            iss=parent.delegate,
            delegate=to,
            key=signer(to.name).key.jwk,
            depth=parent.depth + 1,
            par_hash=parent_hash(above.jws[-1]),
        )
        return await self._stored(replace(link, **changes), above=above, by=parent.delegate.name, task=task)

    async def _stored(self, link: Delegation, *, above: Task | None, by: str, task: str) -> Task:
        token = await jose.sign(link.to_claims(), typ=TYP, signer=signer(by))
        parent = above.links[-1].jti if above else None
        await self.registry.put_delegation(token, jti=link.jti, parent=parent, namespace="default", workflow_id=task)
        before = (above.links, above.jws) if above else ((), ())
        return Task((*before[0], link), (*before[1], token), task)

    async def proof(self, attempt: Attempt, *, by: str = "flight-analyst", key: str = "", **changes: Any) -> str:
        """Present an attempt as an agent does."""
        shown = Presentation(
            jti=str(uuid.uuid4()),
            iss=agent(by),
            aud=AUDIENCE,
            iat=int(self.now),
            exp=int(self.now) + 60,
            delegation=attempt.reference.delegation,
            digest=attempt.reference.digest,
            workflow=attempt.task,
            run=attempt.run,
            activity=attempt.activity,
            attempt=attempt.attempt,
            arguments=arguments_digest(attempt.call),
        )
        claims = replace(shown, **changes).to_claims()
        return await jose.sign(claims, typ=presentation.TYP, signer=signer(key or by))

    async def authorize(self, attempt: Attempt, **shown: Any) -> Grant:
        proof = asyncio.ensure_future(self.proof(attempt, **shown))
        try:
            return await self.authority.authorize(attempt, proof)
        finally:
            proof.cancel()

    async def admit(self, token: str, attempt: Attempt, asked: dict[str, Any]) -> Admission:
        """Send a decision about an attempt that waits."""
        place = {"namespace": attempt.namespace, "task": attempt.task}
        return await self.authority.admit(token, request=asked, reference=attempt.reference, **place)

    async def approve(self, asked: dict[str, Any], *, by: str = "bob", key: str = "", **changes: Any) -> str:
        """Sign a decision about a request."""
        made = Approval(
            jti=str(uuid.uuid4()),
            iss=user(by),
            aud=AUDIENCE,
            iat=int(self.now),
            exp=int(self.now) + 600,
            request=asked["request"],
            binding=asked["binding"],
            decision="approve",
        )
        return await jose.sign(replace(made, **changes).to_claims(), typ=approvals.TYP, signer=signer(key or by))

    async def state(
        self, about: Task | Subject, event: Event, *, by: str = "alice", key: str = "", **changes: Any
    ) -> str:
        """Sign and store a statement, whoever may make it; return it."""
        subject = about.subject if isinstance(about, Task) else about
        made = Statement(str(uuid.uuid4()), user(by), AUDIENCE, int(self.now), subject, event)
        said = replace(made, **changes)
        token = await jose.sign(said.to_claims(), typ=statements.TYP, signer=signer(key or by))
        await self.registry.put_statement(subject, said.jti, token)
        return token

    def records(self) -> list[dict[str, Any]]:
        """Return what the audit log holds."""
        return list(audit.read(self.folder))


@asynccontextmanager
async def world(folder: Path, policy: PolicyEngine | None = None) -> AsyncIterator[World]:
    """Set up a world, and leave nothing of it."""
    made = World(folder, policy or policies())
    await made.registry.raise_epoch()
    await made.enter(*PEOPLE, ANALYST, WRITER)
    try:
        yield made
    finally:
        made.vault.kept.broken.clear()
        await made.authority.close()
