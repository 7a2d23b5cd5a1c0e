"""Scenario files: a question to the policy engine, written as JSON, and how it is asked.

A file says `why`, then what differs from the plain case: alice → flight-analyst, purpose delay-review, at a fixed time.
`ask` is decide (default), delegate, submit, resume, revoke or approve; the folder is the answer; `expect` says more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from remit.catalogue import Catalogue
from remit.chain import Chain, chain_digest
from remit.delegation import Delegation, Scope
from remit.policy import Approvals, PolicyEngine, RunContext
from remit.principals import Principal
from remit.step import Call
from remit.verdict import Verdict

HERE = Path(__file__).parent
POLICIES = HERE.parents[1] / "policies"
NOW = 1_772_359_200  # 2026-03-01T10:00:00Z
DOMAIN = "remit.local"
ANSWERS = {"permit": "permit", "needs_approval": "needs-approval", "deny": "deny"}


def principal(short: str) -> Principal:
    """Read user/alice, agent/x, or a whole SPIFFE ID."""
    if short.startswith("spiffe:"):
        return Principal.parse(short)
    kind, _, name = short.partition("/")
    return Principal.parse(f"spiffe://{DOMAIN}/{kind}/{name}")


def chain_of(hops: Sequence[Mapping[str, Any]]) -> Chain:
    """Build a chain of plain links; nothing is signed, for the engine takes chains that were verified."""
    links: list[Delegation] = []
    for place, hop in enumerate(hops):
        above = links[-1] if links else None
        links.append(link_of(hop, place=place, above=above))
    jws = tuple(f"{link!r}" for link in links)
    return Chain(tuple(links), jws, chain_digest(jws))


def link_of(hop: Mapping[str, Any], *, place: int, above: Delegation | None) -> Delegation:
    """Build one link; what a hop does not say is as in the plain case."""
    giver = above.delegate if above else principal("user/alice")
    return Delegation(
        jti=hop.get("jti", str(UUID(int=place + 1))),
        iss=principal(hop["from"]) if "from" in hop else giver,
        sub=principal(hop["root"])
        if "root" in hop
        else above.sub
        if above
        else principal(hop.get("from", "user/alice")),
        aud=f"remit:{DOMAIN}",
        delegate=principal(hop.get("to", "agent/flight-analyst")),
        key={"kty": "OKP", "crv": "Ed25519", "x": "A" * 43},
        iat=NOW - 60,
        nbf=NOW - 60,
        exp=NOW + hop.get("expires_in", 3600),
        depth=hop.get("depth", place),
        max_depth=hop.get("max_depth", 2),
        par_hash=None if above is None else "A" * 43,
        purpose=hop.get("purpose", "delay-review"),
        scope=Scope(
            actions=tuple(hop.get("actions", ["read", "report:publish", "http:request", "model:invoke"])),
            spaces=tuple(hop.get("spaces", ["flights"])),
            budget=hop.get("budget", 100),
        ),
    )


@dataclass(frozen=True, slots=True)
class Scenario:
    """One file."""

    name: str
    answer: str
    asked: Mapping[str, Any]

    @classmethod
    def all(cls) -> list[Scenario]:
        """Read every file of the three folders."""
        return [
            cls(f"{folder}/{path.stem}", answer, json.loads(path.read_text()))
            for folder, answer in ANSWERS.items()
            for path in sorted((HERE / folder).glob("*.json"))
        ]

    def catalogue(self) -> Catalogue:
        """Return the project's catalogue with this file's changes."""
        plain = Catalogue.load(POLICIES / "catalogue.yaml").model_dump()
        return Catalogue.model_validate(merged(plain, self.asked.get("catalogue", {})))

    def put(self, engine: PolicyEngine) -> Verdict:
        """Ask the engine."""
        asked = self.asked
        run = RunContext(**{"now": NOW, "step": 1, "attempt": 1, "spent": 0, "cost": 1, **asked.get("run", {})})
        match asked.get("ask", "decide"):
            case "submit":
                return engine.may_submit(root=link_of(asked["grant"], place=0, above=None))
            case "revoke":
                owner = asked.get("owner")
                return engine.may_revoke(by=principal(asked["by"]), owner=principal(owner) if owner else None)
            case "approve":
                return engine.may_approve(
                    approver=principal(asked["by"]),
                    requester=principal(asked.get("requester", "user/alice")),
                    approvers=asked.get("approvers", ["data-steward"]),
                )
        chain = chain_of(asked.get("chain", [{}]))
        match asked.get("ask", "decide"):
            case "delegate":
                child = link_of({"jti": str(UUID(int=99)), **asked["grant"]}, place=len(chain.links), above=chain.leaf)
                return engine.may_delegate(chain=chain, child=child, run=run)
            case "resume":
                return engine.may_resume(chain=chain, owner=principal(asked.get("owner", "user/alice")), run=run)
        given = asked.get("approvals", {})
        return engine.decide(
            chain=chain,
            call=Call(**{"action": "dataset:query", "resource": "flights", "input": {}, **asked.get("call", {})}),
            run=run,
            approvals=Approvals(given.get("count", 0), frozenset(given.get("roles", []))),
        )


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep merge; what is no mapping is replaced."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
