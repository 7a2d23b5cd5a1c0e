"""Signed documents for tests: correct ones, and any single thing wrong with them.

- `chain` makes a correct chain; `edit` changes one link's claims before it is signed, so only that rule breaks.
- `token` signs any header and any payload bytes, as an attacker with a key would.
- Keys are made once a process, one for each principal's name.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import pytest

from remit.chain import Chain, parent_hash, verify_chain
from remit.delegation import TYP
from remit.errors import Refused
from remit.jose import LocalSigner, PublicKey
from remit.principals import Principal

NOW = 1_800_000_000
DOMAIN = "remit.local"
AUDIENCE = f"remit:{DOMAIN}"
GROUPS = {
    "tool": frozenset({"tool"}),
    "read": frozenset({"read", "tool"}),
    "write": frozenset({"write", "tool"}),
    "dataset:query": frozenset({"dataset:query", "read", "tool"}),
    "report:publish": frozenset({"report:publish", "write", "tool"}),
}
AGENTS = tuple(f"agent-{number}" for number in range(9))

Edit = Callable[[dict[str, Any]], object]


def refusal(call: Callable[[], object]) -> Refused:
    """Return the refusal a call ends in: final, and within 50 ms of processor time (best of three)."""
    for _ in range(3):
        started = time.process_time()
        with pytest.raises(Refused) as refused:
            call()
        if time.process_time() - started < 0.05:
            assert refused.value.retryable is False
            return refused.value
    raise AssertionError("refused, but slowly")


def user(name: str) -> Principal:
    return Principal(DOMAIN, "user", name)


def agent(name: str) -> Principal:
    return Principal(DOMAIN, "agent", name)


ALICE, BOB, CAROL = user("alice"), user("bob"), user("carol")


@cache
def signer(name: str, alg: str = "EdDSA") -> LocalSigner:
    return LocalSigner.generate("ES256" if alg == "ES256" else "EdDSA")


def anchors(*names: str) -> dict[str, PublicKey]:
    return {user(name).spiffe_id: signer(name).key for name in names or ("alice", "bob")}


def uuid(number: int) -> str:
    return str(UUID(int=number, version=4))


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def run(coroutine: Any) -> Any:
    """Finish a coroutine that waits for nothing, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the coroutine waits for something")


def token(
    payload: Mapping[str, Any] | bytes,
    *,
    typ: str = TYP,
    by: LocalSigner,
    header: Mapping[str, Any] | bytes | None = None,
    **names: Any,
) -> str:
    """Sign anything; `names` change single header members."""
    if header is None:
        header = {"alg": by.key.alg, "kid": by.key.kid, "typ": typ, **names}
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    data = f"{b64(head)}.{b64(body)}"
    return f"{data}.{b64(run(by.sign(data.encode())))}"


def link(depth: int, parent: str | None = None) -> dict[str, Any]:
    """Return the claims of one correct link of the standard chain alice → agent-0 → agent-1 → …."""
    claims: dict[str, Any] = {
        "iss": (agent(AGENTS[depth - 1]) if depth else ALICE).spiffe_id,
        "sub": ALICE.spiffe_id,
        "aud": AUDIENCE,
        "may_act": {"sub": agent(AGENTS[depth]).spiffe_id},
        "cnf": {"jwk": dict(signer(AGENTS[depth]).key.jwk)},
        "jti": uuid(1000 + depth),
        "iat": NOW - 100,
        "nbf": NOW - 100,
        "exp": NOW + 3600,
        "del_depth": depth,
        "del_max_depth": 7,
        "purpose": "delay-review",
        "authorization_details": [
            {
                "type": "urn:remit:grant",
                "actions": ["read", "report:publish"],
                "spaces": ["flights", "hr"],
                "budget": 100,
            }
        ],
    }
    if parent is not None:
        claims["par_hash"] = parent_hash(parent)
    return claims


def delegator(depth: int) -> LocalSigner:
    return signer(AGENTS[depth - 1] if depth else "alice")


def chain(length: int = 3, *, at: int = -1, edit: Edit | None = None, by: LocalSigner | None = None) -> list[str]:
    """Return a signed chain, correct but for what `edit` or `by` does to link `at`."""
    links: list[str] = []
    for depth in range(length):
        claims = link(depth, links[-1] if links else None)
        wrong = depth == at % length
        if wrong and edit:
            edit(claims)
        links.append(token(claims, by=by if wrong and by else delegator(depth)))
    return links


def verified(links: Sequence[str], *, now: int | None = NOW, **known: PublicKey) -> Chain:
    return verify_chain(links, anchors=known or anchors(), audience=AUDIENCE, now=now, groups=GROUPS)
