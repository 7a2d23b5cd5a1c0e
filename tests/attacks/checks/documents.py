"""Attacks on single documents and chains: what a forger, a greedy agent or a careless signer would send."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from remit import jose, strictjson
from remit.approvals import Approval
from remit.chain import verify_chain
from remit.claims import Claims
from remit.delegation import MAX_LINKS, TYP, Delegation, check_grantable
from remit.jose import LocalSigner
from remit.presentation import Presentation
from remit.principals import Principal
from remit.statements import Statement
from tests.attacks.checks.row import Rows, plain
from tests.unit import documents, test_approvals, test_presentation, test_statements
from tests.unit.documents import (
    ALICE,
    AUDIENCE,
    BOB,
    GROUPS,
    NOW,
    agent,
    anchors,
    b64,
    chain,
    link,
    signer,
    token,
    uuid,
)

ELSEWHERE = "spiffe://elsewhere/user/alice"


def sent(*, by: LocalSigner | None = None, sign: str = "", **header: Any) -> Any:
    """Have alice's root link verified, signed by her with another header."""
    alice = signer("alice")
    text = token(link(0), by=by or alice, **header)
    return jose.verify(text + sign, typ=TYP, key=alice.key)


def forged() -> Any:
    head, _, signature = token(link(0), by=signer("alice")).split(".")
    return jose.verify(f"{head}.{b64(json.dumps(link(1)).encode())}.{signature}", typ=TYP, key=signer("alice").key)


def padded() -> Any:
    """A signature in a second spelling: the bits that its last character carries for nothing are set."""
    text = token(link(0), by=signer("alice"))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return jose.verify(text[:-1] + letters[letters.index(text[-1]) + 1], typ=TYP, key=signer("alice").key)


def long_header() -> Any:
    head = json.dumps({"alg": "EdDSA", "kid": signer("alice").key.kid, "typ": TYP}).encode()
    return jose.verify(token(link(0), by=signer("alice"), header=head + b" " * 600), typ=TYP, key=signer("alice").key)


def root(length: int = 1, **claims: Any) -> Any:
    """Verify a chain whose root claims otherwise."""
    return verified(chain(length, at=0, edit=lambda one: one.update(claims)))


def child(*, by: LocalSigner | None = None, **claims: Any) -> Any:
    """Verify a chain whose second link claims otherwise, signed as it must be."""
    return verified(chain(2, at=1, edit=lambda one: one.update(claims), by=by))


def verified(links: Any, *, audience: str = AUDIENCE, known: Any = None, now: int = NOW) -> Any:
    return verify_chain(links, anchors=known or anchors(), audience=audience, now=now, groups=GROUPS)


def granted(**changes: Any) -> list[dict[str, Any]]:
    return [{**link(0)["authorization_details"][0], **changes}]


def other_audience() -> Any:
    """A child in which audience and all principals but the parent's delegate are of another trust domain."""
    return child(aud="remit:elsewhere")


def elsewhere() -> Any:
    """A chain made wholly for another deployment, whose directory happens to hold the same key."""

    def edit(claims: dict[str, Any]) -> None:
        claims |= {"iss": ELSEWHERE, "sub": ELSEWHERE, "aud": "remit:elsewhere"}
        claims["may_act"] = {"sub": "spiffe://elsewhere/agent/agent-0"}

    return verified(chain(1, edit=edit), known={ELSEWHERE: signer("alice").key})


def deep(length: int) -> Any:
    """A chain of so many links whose every link allows for it."""
    links: list[str] = []
    for depth in range(length):
        claims = {**link(depth, links[-1] if links else None), "del_max_depth": 50}
        by = signer(f"agent-{depth - 1}" if depth else "alice")
        links.append(token({**claims, **_hop(depth)}, by=by))
    return verified(links)


def _hop(depth: int) -> dict[str, Any]:
    hop = {
        "may_act": {"sub": agent(f"agent-{depth}").spiffe_id},
        "cnf": {"jwk": dict(signer(f"agent-{depth}").key.jwk)},
    }
    return {**hop, "iss": agent(f"agent-{depth - 1}").spiffe_id} if depth else hop


def wide() -> Any:
    spaces = [f"space-{number}-{'x' * 50}" for number in range(78)]
    links: list[str] = []
    for depth in range(6):
        claims = link(depth, links[-1] if links else None)
        claims["authorization_details"] = granted(spaces=spaces)
        links.append(token(claims, by=documents.delegator(depth)))
    return verified(links)


def twice() -> Any:
    """The same agent again, further down, with another key."""
    again = {"may_act": {"sub": agent("agent-0").spiffe_id}}
    return verified(chain(2, at=1, edit=lambda one: one.update(again)))


def _jwk(**changes: Any) -> dict[str, Any]:
    return {**signer("alice").key.jwk, **changes}


def _rsa() -> Any:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return LocalSigner.from_pem(key.private_bytes(*form))


def shown(**claims: Any) -> Any:
    return Presentation.from_claims({**test_presentation.SHOWN.to_claims(), **claims})


def said(**claims: Any) -> Any:
    return Statement.from_claims({**test_statements.REVOKE.to_claims(), **claims})


def issued(**scope: Any) -> Any:
    claims = link(0)
    claims["authorization_details"] = granted(**scope)
    return check_grantable(Delegation.from_claims(claims))


def approved(**changes: Any) -> Any:
    return test_approvals.checked(dataclasses.replace(test_approvals.YES, **changes))


def read(data: bytes) -> Callable[[], Any]:
    return lambda: strictjson.loads(data)


USER = {"may_act": {"sub": BOB.spiffe_id}}
SECP256K1 = ec.generate_private_key(ec.SECP256K1()).public_key()
ROWS: Rows = {
    # One document: form, header, key, signature.
    "jose.PublicKey.verifies: bool": plain(forged, "jws.signature"),
    "jose.LocalSigner.from_pem: key": plain(_rsa, "jws.key", lost=True),
    "jose.public_jwk: key": plain(lambda: jose.public_jwk(SECP256K1), "jws.key"),
    "jose.public_key: key": plain(lambda: jose.public_key(_jwk(x=b64(bytes(32)))), "jws.key"),
    "jose.public_key: key#2": plain(lambda: jose.public_key(_jwk(d="secret")), "jws.key"),
    "jose._is_ones_own: bool": plain(lambda: jose.public_key(_jwk(x=b64(bytes(32)))), "jws.key"),
    "jose._coordinate: key": plain(lambda: jose.public_key(_jwk(x="AA")), "jws.key", lost=True),
    "jose.verify: alg": plain(lambda: sent(alg="ES256"), "jws.alg"),
    "jose.verify: typ": plain(lambda: sent(typ="approval+jwt"), "jws.typ"),
    "jose.verify: kid": plain(lambda: sent(kid=signer("bob").key.kid), "jws.kid"),
    "jose.verify: signature": plain(forged, "jws.signature"),
    "jose.peek_kid: typ": plain(
        lambda: jose.peek_kid(token(link(0), by=signer("alice"), typ="at+jwt"), typ=TYP), "jws.typ"
    ),
    "jose.peek_kid: kid": plain(
        lambda: jose.peek_kid(token(link(0), by=signer("alice"), kid="../../etc/passwd"), typ=TYP), "jws.kid"
    ),
    "jose.check_size: size": plain(
        lambda: jose.verify(token({"x": "a" * 9000}, by=signer("alice")), typ=TYP, key=signer("alice").key), "jws.size"
    ),
    "jose.check_size: size#2": plain(long_header, "jws.size"),
    "jose._split: form": plain(lambda: sent(sign=".AAAA"), "jws.form", lost=True),
    "jose._header: header": plain(lambda: sent(jku="https://evil.example"), "jws.header"),
    "jose._decode: form": plain(padded, "jws.form", lost=True),
    # Strict JSON.
    "strictjson.loads: json": plain(read(b"[1]"), "jws.json"),
    "strictjson._check_depth: json-depth": plain(read(b'{"a":' * 17 + b"1" + b"}" * 17), "jws.json-depth"),
    "strictjson._object: json-duplicate": plain(read(b'{"a":1,"a":2}'), "jws.json-duplicate"),
    "strictjson._integer: json-number": plain(read(b'{"a":9007199254740992}'), "jws.json-number"),
    "strictjson._real: json-number": plain(read(b'{"a":1e400}'), "jws.json-number"),
    "strictjson._constant: json-number": plain(read(b'{"a":NaN}'), "jws.json-number"),
    # Closed, typed claims.
    "claims.Claims.__init__: claims": plain(
        lambda: Claims([], document="x", required=frozenset("a")), "x.claims", lost=True
    ),
    "claims.Claims.__init__: invalid": plain(lambda: Claims({}, document="x", required=frozenset("a")), "x.claims"),
    "claims.Claims.__init__: invalid#2": plain(lambda: root(admin=True), "chain.claims"),
    "claims.Claims.text: invalid": plain(lambda: shown(workflow=""), "presentation.claims"),
    "claims.Claims.matching: invalid": plain(lambda: shown(jti="../x"), "presentation.claims"),
    "claims.Claims.number: invalid": plain(lambda: shown(attempt=True), "presentation.claims"),
    "claims.Claims.time: invalid": plain(lambda: shown(exp=1e300), "presentation.time"),
    "claims.Claims.words: invalid": plain(
        lambda: root(authorization_details=granted(actions=["rеad"])), "chain.claims"
    ),
    "principals.Principal.__post_init__: name": plain(
        lambda: Principal("remit.local", "user", "a/b"), "principal.name"
    ),
    "principals.Principal.parse: name": plain(lambda: Principal.parse("alice"), "principal.name", lost=True),
    # One link.
    "delegation.check_grantable: budget": plain(lambda: issued(budget=0), "chain.budget"),
    "delegation.check_grantable: empty": plain(lambda: issued(actions=[]), "chain.empty"),
    "delegation._check_alone: delegate": plain(lambda: root(**USER), "chain.delegate"),
    "delegation._check_alone: lifetime": plain(lambda: root(exp=NOW + 31 * 86_400), "chain.lifetime"),
    "delegation._check_alone: trust-domain": plain(
        lambda: root(may_act={"sub": "spiffe://elsewhere/agent/agent-0"}), "chain.trust-domain"
    ),
    "delegation._check_alone: depth": plain(lambda: child(del_max_depth=0), "chain.depth"),
    "delegation._scope: authorization_details": plain(
        lambda: root(authorization_details=granted() * 2), "chain.claims"
    ),
    "delegation._scope: type": plain(lambda: root(authorization_details=granted(type="x")), "chain.claims"),
    "delegation._public_members: key": plain(lambda: root(cnf={"jwk": _jwk(d="secret")}), "chain.key", lost=True),
    # Two links: never more than the parent.
    "delegation.narrows: exp": plain(lambda: child(exp=NOW + 3601), "chain.exp"),
    "delegation.narrows: iat": plain(lambda: child(iat=NOW - 101), "chain.iat"),
    "delegation.narrows: issuer": plain(lambda: child(iss=agent("agent-5").spiffe_id), "chain.issuer"),
    "delegation.narrows: sub": plain(lambda: child(sub=BOB.spiffe_id), "chain.sub"),
    "delegation.narrows: aud": plain(other_audience, "chain.trust-domain", "delegation._check_alone: trust-domain"),
    "delegation.narrows: purpose": plain(lambda: child(purpose="payroll"), "chain.purpose"),
    "delegation.narrows: depth": plain(lambda: child(del_max_depth=8), "chain.depth"),
    "delegation.narrows: actions": plain(
        lambda: child(authorization_details=granted(actions=["write"])), "chain.actions"
    ),
    "delegation.narrows: spaces": plain(
        lambda: child(authorization_details=granted(spaces=["payroll"])), "chain.spaces"
    ),
    "delegation.narrows: budget": plain(lambda: child(authorization_details=granted(budget=101)), "chain.budget"),
    # The chain.
    "chain._check_sizes: length": plain(lambda: deep(MAX_LINKS + 1), "chain.length", "delegation._check_alone: depth"),
    "chain._check_sizes: size": plain(wide, "chain.size"),
    "chain._anchor: anchor": plain(lambda: verified(chain(1, by=signer("mallory"))), "chain.anchor", lost=True),
    "chain._check_root: anchor": plain(lambda: root(iss=BOB.spiffe_id, sub=BOB.spiffe_id), "chain.anchor"),
    "chain._check_root: issuer": plain(lambda: root(sub=BOB.spiffe_id), "chain.issuer"),
    "chain._check_root: par-hash": plain(lambda: root(par_hash="A" * 43), "chain.par-hash"),
    "chain._check_root: aud": plain(elsewhere, "chain.aud"),
    "chain._check_root: depth": plain(lambda: root(del_depth=1), "chain.depth"),
    "chain._check_parent_hash: par-hash": plain(lambda: child(par_hash="A" * 43), "chain.par-hash"),
    "chain._check_link_time: not-yet": plain(lambda: verified(chain(2), now=NOW - 131), "chain.not-yet"),
    "chain._check_link_time: expired": plain(lambda: verified(chain(2), now=NOW + 3630), "chain.expired"),
    "chain._check_once: twice": plain(twice, "chain.agent-twice"),
    # What other documents say of themselves.
    "presentation.access_token_claims: expired": plain(
        lambda: test_presentation.access(expires_at=NOW), "chain.expired"
    ),
    "approvals.Approval.from_claims: decision": plain(
        lambda: Approval.from_claims({**test_approvals.YES.to_claims(), "decision": "maybe"}), "approval.claims"
    ),
    "approvals.check: person": plain(lambda: approved(iss=agent("outsider")), "approval.person"),
    "approvals.check: four-eyes": plain(lambda: approved(iss=ALICE), "approval.four-eyes"),
    "statements._subject: format": plain(
        lambda: said(sub_id={"format": "email", "iss": ALICE.spiffe_id, "jti": uuid(1)}), "statement.claims"
    ),
    "statements._event: events": plain(lambda: said(events={}), "statement.claims", lost=True),
    "statements._event: events#2": plain(lambda: said(events={"urn:x": {}}), "statement.claims", lost=True),
}
