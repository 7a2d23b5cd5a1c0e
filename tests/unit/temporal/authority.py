"""A small authority in memory, scriptable: the neighbour of the plugin's rules, never of the security rules.

- Chains are made here with `Keeper.hand`; references are real references, documents are not signed.
- A tool call is decided by a script: permit, deny, needs-approval, expiring or hold, by tool name.
- Decisions are written ``<approve|reject>.<base64 JSON {"request", "by"}>.x``.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from remit.attempt import Admission, Attempt, Grant, Unasked
from remit.chain import Chain
from remit.credentials import Credential
from remit.delegation import Delegation, Reference, Scope
from remit.errors import Denied, Held, NeedsApproval, NotLive, Refused
from remit.principals import Principal
from remit.standing import Standpoint
from remit.statements import Status
from remit.step import binding, request_id
from remit.verdict import Verdict

DOMAIN = "remit.test"
ALICE = Principal(DOMAIN, "user", "alice")
ANALYST = Principal(DOMAIN, "agent", "flight-analyst")
SECRET = "s3cr3t-canary-8f2e"


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decision(kind: str, request: str, *, by: str = "bob") -> str:
    return f"{kind}.{b64(json.dumps({'request': request, 'by': by}).encode())}.x"


@dataclass
class Keeper:
    """The authority and the presenter."""

    scripts: dict[str, str] = field(default_factory=dict)
    credentials: bool = False
    chains: dict[str, Chain] = field(default_factory=dict)
    tasks: dict[str, set[str]] = field(default_factory=dict)
    status: dict[str, Status] = field(default_factory=dict)
    down: bool = False
    authorized: list[Attempt] = field(default_factory=list)
    granted: list[Grant] = field(default_factory=list)
    released: list[tuple[Grant, str, str | None]] = field(default_factory=list)
    refused: list[tuple[Attempt, str]] = field(default_factory=list)
    unasked: list[tuple[Unasked, BaseException]] = field(default_factory=list)
    unsealed: Exception | None = None
    seals: int = 0
    admitted: list[str] = field(default_factory=list)
    looks: int = 0
    open: int = 0
    most_open: int = 0

    # What a person does.

    def hand(
        self,
        task: str,
        *,
        parent: Reference | None = None,
        agent: Principal = ANALYST,
        expires_in: int = 3600,
        scope: Scope | None = None,
        root: Principal = ALICE,
        purpose: str = "test",
    ) -> Reference:
        above = self.chains[parent.delegation] if parent else None
        now = int(time.time())
        link = Delegation(
            jti=str(uuid.uuid4()),
            iss=above.agent if above else root,
            sub=root,
            aud=root.audience,
            delegate=agent,
            key={},
            iat=now,
            nbf=now,
            exp=now + expires_in,
            depth=len(above.links) if above else 0,
            max_depth=7,
            par_hash=None,
            purpose=purpose,
            scope=scope or Scope(("read",), ("flights",), 1000),
        )
        digest = b64(sha256(link.jti.encode()).digest())
        chain = Chain(
            links=(*(above.links if above else ()), link), jws=(*(above.jws if above else ()), "x"), digest=digest
        )
        self.chains[link.jti] = chain
        self.tasks[link.jti] = {task}
        return Reference(link.jti, digest)

    def revoke(self, reference: Reference) -> None:
        self.status[reference.delegation] = Status.REVOKED

    def suspend(self, reference: Reference) -> None:
        self.status[reference.delegation] = Status.SUSPENDED

    def reinstate(self, reference: Reference) -> None:
        self.status.pop(reference.delegation)

    def runs_of(self, tool: str) -> int:
        return sum(grant.attempt.tool == tool for grant in self.granted)

    # The authority.

    async def authorize(self, attempt: Attempt, presentation: Awaitable[str]) -> Grant:
        self.authorized.append(attempt)
        try:
            return await self._authorize(attempt, presentation)
        except Refused as error:
            self.refused.append((attempt, error.code))
            raise

    async def _authorize(self, attempt: Attempt, presentation: Awaitable[str]) -> Grant:
        if self.down:
            raise Held("the authority is down", code="vault.unreachable")
        assert await presentation == f"proof:{attempt.activity}:{attempt.attempt}"
        chain = self._live(attempt.reference)
        if attempt.task not in self.tasks[attempt.reference.delegation]:
            raise Refused("this delegation belongs to another execution", code="delegation.other-task")
        script = self.scripts.get(attempt.tool, "permit")
        if script == "deny":
            raise Denied("no", policies=("guard-1",))
        if script == "expiring":
            raise NotLive("it expires in 2 s", status="expiring", subject=attempt.reference.delegation)
        if script == "hold":
            raise Held("the database is busy", code="vault.busy")
        if script.startswith("needs-approval"):
            self._approved(attempt, chain, wanted=int([*script.split(":"), "1"][1]))
        credential = Credential("p", "secret", "d-1", chain.expires_at, {"token": SECRET}) if self.credentials else None
        grant = Grant(
            id=str(uuid.uuid4()),
            attempt=attempt,
            root=chain.root.spiffe_id,
            agent=chain.agent.spiffe_id,
            chain=chain.ids,
            verdict=Verdict("permit"),
            expires_at=chain.expires_at,
            credential=credential,
            secrets=credential.secrets if credential else (),
        )
        self.granted.append(grant)
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        return grant

    def _approved(self, attempt: Attempt, chain: Chain, *, wanted: int) -> None:
        bound = binding(task=attempt.task, run=attempt.first_run, delegation=chain.leaf.jti, call=attempt.call)
        name = request_id(bound, attempt.step)
        given = {self._read(token)["by"] for token in attempt.approvals if self._read(token)["request"] == name}
        if len(given) < wanted:
            wait = 3600 if self.scripts[attempt.tool].count(":") < 2 else int(self.scripts[attempt.tool].split(":")[2])
            raise NeedsApproval(
                "a person is needed",
                request={
                    "request": name,
                    "binding": bound,
                    "action": attempt.call.action,
                    "resource": attempt.call.resource,
                    "input": dict(attempt.call.input),
                    "approvers": ["data-steward"],
                    "policies": ["approval-1"],
                    "wait": wait,
                    "refused": [],
                },
            )

    async def release(self, grant: Grant, *, outcome: str, code: str | None = None) -> None:
        await asyncio.sleep(0)
        self.open -= 1
        self.released.append((grant, outcome, code))

    async def watch(self, grant: Grant) -> None:
        if self.down:
            raise Held("the authority is down", code="vault.unreachable")
        self._live(grant.attempt.reference)

    async def describe(self, reference: Reference) -> tuple[Chain, tuple[Standpoint, ...]]:
        self.looks += 1
        if self.down:
            raise Held("the authority is down", code="vault.unreachable")
        chain = self._chain(reference)
        return chain, tuple(self._points(chain))

    async def admit(
        self, token: str, *, request: Mapping[str, Any], reference: Reference, namespace: str, task: str
    ) -> Admission:
        self.admitted.append(token)
        if not token:
            return Admission(accepted=False, code="jws.form", message="this is no document")
        kind, claims = token.split(".")[0], self._read(token)
        if claims["by"] == "alice":
            return Admission(accepted=False, code="approval.self", message="not by the root human")
        if claims["request"] != request["request"] or not request["binding"]:
            return Admission(accepted=False, code="approval.request", message="another request")
        return Admission(accepted=True, decision=kind, approver=claims["by"])

    async def refuse(self, attempt: Unasked, error: BaseException) -> None:
        self.unasked.append((attempt, error))

    async def seal(self) -> dict[str, Any]:
        self.seals += 1
        if self.unsealed is not None:
            raise self.unsealed
        return {"writer": "w", "seq": len(self.released), "head": "x"}

    @property
    def delegating(self) -> Keeper:
        return self

    async def delegate(self, **given: Any) -> Reference:
        chain = self._live(given["parent"])
        self._holds(given["parent"], given["task"])
        agent = Principal(DOMAIN, "agent", given["agent"])
        if set(given["scope"].spaces) - set(chain.leaf.scope.spaces):
            raise Denied("too wide", code="delegation.denied", policies=("attenuation",))
        assert await given["signer"].sign(b"") == chain.agent.name.encode()
        return self.hand(
            given["child"],
            parent=given["parent"],
            agent=agent,
            expires_in=min(given["expires_in"], chain.expires_at - int(time.time())),
            scope=given["scope"],
        )

    async def adopt(self, *, namespace: str, task: str, first_run: str, old: Reference, new: Reference) -> None:
        before, after = self._chain(old), self._live(new)
        if (before.root, before.agent) != (after.root, after.agent):
            raise Refused("another agent", code="resume.different")
        self._holds(new, task)

    async def allow(self, reference: Reference, *, namespace: str, task: str, first_run: str, child: str) -> None:
        self._live(reference)
        self._holds(reference, task)
        self.tasks[reference.delegation].add(child)

    def _holds(self, reference: Reference, task: str) -> None:
        if task not in self.tasks[reference.delegation]:
            raise Refused("this delegation belongs to another execution", code="delegation.other-task")

    def _chain(self, reference: Reference) -> Chain:
        chain = self.chains.get(reference.delegation)
        if chain is None or chain.digest != reference.digest:
            raise NotLive("there is none", status="revoked", subject=reference.delegation)
        return chain

    def _points(self, chain: Chain) -> list[Standpoint]:
        now = time.time()
        return [
            Standpoint(link.jti, self.status.get(link.jti, Status.EXPIRED if link.exp <= now else Status.LIVE))
            for link in chain.links
        ]

    def _live(self, reference: Reference) -> Chain:
        chain = self._chain(reference)
        for point in self._points(chain):
            if point.status is not Status.LIVE:
                raise NotLive(f"{point.subject} is {point.status}", status=point.status.value, subject=point.subject)
        return chain

    @staticmethod
    def _read(token: str) -> dict[str, Any]:
        from base64 import urlsafe_b64decode

        body = token.split(".")[1]
        found: dict[str, Any] = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return found

    # The presenter.

    async def present(self, attempt: Attempt) -> str:
        return f"proof:{attempt.activity}:{attempt.attempt}"

    async def signer(self, agent: Principal) -> Any:
        class Signer:
            key = None

            async def sign(self, data: bytes) -> bytes:
                return agent.name.encode()

        return Signer()
