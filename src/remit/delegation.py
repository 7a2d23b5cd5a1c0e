"""Delegation: one hop of authority, from a delegator to an agent.

- A delegation is a closed set of claims (rule 8); its times are integers and last at most 30 days (rule 9).
- A child holds at most what its parent holds: time, agents' order, actions, spaces, budget (rules 9 to 13).
- Nothing may be missing: absence never means "as the parent".
- Pure: the signature, the parent's hash and the chain as a whole are `remit.chain`'s.

Claims: RFC 7519 (registered), RFC 8693 section 4.4 (``may_act``), RFC 7800 (``cnf``), RFC 9396.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from remit.claims import Claims
from remit.errors import InvalidDocument
from remit.principals import SAFE_NAME, Principal

TYP = "delegation+jwt"
GRANT = "urn:remit:grant"
MAX_LIFETIME = 30 * 86_400
"""Seconds from ``iat`` to ``exp`` at most."""
MAX_LINKS = 8

ActionGroups = Mapping[str, frozenset[str]]
"""Action or group name → every action or group it stands under, itself included."""

# A Cedar action or group, and a Cedar Space id: ASCII only, so look-alike letters never reach a comparison.
ACTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,62}", re.ASCII)
SPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)

_REQUIRED = frozenset(
    {"iss", "sub", "aud", "may_act", "cnf", "jti", "iat", "nbf", "exp"}
    | {"del_depth", "del_max_depth", "purpose", "authorization_details"}
)
_OPTIONAL = frozenset({"par_hash"})
_GRANT = frozenset({"type", "actions", "spaces", "budget"})


@dataclass(frozen=True, slots=True)
class Reference:
    """What travels in headers: names a chain, carries no authority and no secret.

    Args:
        delegation: The leaf's ``jti``.
        digest: The chain's digest.
    """

    delegation: str
    digest: str


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be done, where, and for how much.

    Args:
        actions: Cedar actions or action groups, sorted, each once.
        spaces: Cedar Space ids, sorted, each once.
        budget: Ceiling in whole cost units for everything below this link.
    """

    actions: tuple[str, ...]
    spaces: tuple[str, ...]
    budget: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", tuple(sorted(set(self.actions))))
        object.__setattr__(self, "spaces", tuple(sorted(set(self.spaces))))

    def to_details(self) -> list[dict[str, Any]]:
        """Return it as ``authorization_details``: exactly one object (RFC 9396)."""
        return [{"type": GRANT, "actions": list(self.actions), "spaces": list(self.spaces), "budget": self.budget}]


@dataclass(frozen=True, slots=True)
class Delegation:
    """One signed hop; the claims of ``delegation+jwt`` under plain names.

    Args:
        jti: Its id, a UUID.
        iss: Delegator: a user at the root, else the parent's delegate.
        sub: The root human, the same in every link.
        aud: ``remit:<trust-domain>``.
        delegate: The agent that receives the authority (``may_act.sub``).
        key: The delegate's public JWK (``cnf.jwk``), the only key that may sign the next link.
        iat: Issued, seconds.
        nbf: Not before, seconds.
        exp: Expires, seconds.
        depth: 0 at the root.
        max_depth: Deepest link allowed below.
        par_hash: base64url SHA-256 of the parent's signing input; None exactly at the root.
        purpose: A slug.
        scope: What may be done.
    """

    jti: str
    iss: Principal
    sub: Principal
    aud: str
    delegate: Principal
    key: Mapping[str, str] = field(hash=False)
    iat: int
    nbf: int
    exp: int
    depth: int
    max_depth: int
    par_hash: str | None
    purpose: str
    scope: Scope

    def to_claims(self) -> dict[str, Any]:
        """Return the claims to sign."""
        claims: dict[str, Any] = {
            "iss": self.iss.spiffe_id,
            "sub": self.sub.spiffe_id,
            "aud": self.aud,
            "may_act": {"sub": self.delegate.spiffe_id},
            "cnf": {"jwk": dict(self.key)},
            "jti": self.jti,
            "iat": self.iat,
            "nbf": self.nbf,
            "exp": self.exp,
            "del_depth": self.depth,
            "del_max_depth": self.max_depth,
            "purpose": self.purpose,
            "authorization_details": self.scope.to_details(),
        }
        if self.par_hash is not None:
            claims["par_hash"] = self.par_hash
        return claims

    @classmethod
    def from_claims(cls, claims: object) -> Delegation:
        """Read verified claims: rule 8, the types of rule 9, and what one link says about itself.

        Raises:
            InvalidDocument: ``chain.claims``, ``chain.key``, ``chain.time``, ``chain.lifetime``, ``chain.delegate``,
                ``chain.trust-domain`` or ``chain.depth``.
        """
        read = Claims(claims, document="chain", required=_REQUIRED, optional=_OPTIONAL)
        link = cls(
            jti=read.uuid("jti"),
            iss=read.principal("iss"),
            sub=read.principal("sub"),
            aud=read.text("aud"),
            delegate=read.member("may_act", frozenset({"sub"})).principal("sub"),
            key=_public_members(read.member("cnf", frozenset({"jwk"})).value("jwk")),
            iat=read.time("iat"),
            nbf=read.time("nbf"),
            exp=read.time("exp"),
            depth=read.number("del_depth"),
            max_depth=read.number("del_max_depth"),
            par_hash=read.digest("par_hash") if "par_hash" in read else None,
            purpose=read.matching("purpose", SAFE_NAME),
            scope=_scope(read),
        )
        _check_alone(link)
        return link


def check_grantable(link: Delegation) -> None:
    """Refuse to issue what would carry no authority; a verifier has no such need.

    Raises:
        InvalidDocument: ``chain.budget``, ``chain.empty``, or what `Delegation.from_claims` raises.
    """
    Delegation.from_claims(link.to_claims())
    if link.scope.budget < 1:
        raise _broken(13, "budget", "a budget of 0 lets nothing be done", "Give a budget of at least 1.")
    if not link.scope.actions or not link.scope.spaces:
        raise _broken(13, "empty", "no actions or no spaces are delegated", "Name at least one of each.")


def narrows(parent: Delegation, child: Delegation, groups: ActionGroups) -> None:
    """Check that a child holds at most what its parent holds (rules 9 to 13, two links at a time).

    Args:
        parent: The link above.
        child: The link below.
        groups: The schema's action hierarchy; an action it does not know covers only itself.

    Raises:
        InvalidDocument: ``chain.exp``, ``chain.iat``, ``chain.issuer``, ``chain.sub``, ``chain.aud``,
            ``chain.purpose``, ``chain.depth``, ``chain.actions``, ``chain.spaces`` or ``chain.budget``.
    """
    # Rule 9: a child lives inside its parent's time, with no leeway between links.
    if child.exp > parent.exp:
        raise _broken(9, "exp", "a link expires after its parent", "End it no later than its parent.")
    if child.iat < parent.iat or child.nbf < parent.nbf:
        raise _broken(9, "iat", "a link begins before its parent")
    # Rule 10: only the parent's delegate may hand on.
    if child.iss != parent.delegate:
        raise _broken(10, "issuer", "a link is not issued by its parent's delegate")
    # Rule 11: one human, one audience, one purpose.
    if child.sub != parent.sub:
        raise _broken(11, "sub", "the root human changes inside the chain")
    if child.aud != parent.aud:
        raise _broken(11, "aud", "the audience changes inside the chain")
    if child.purpose != parent.purpose:
        raise _broken(11, "purpose", "the purpose changes inside the chain")
    # Rule 12: depth is exact and its ceiling never rises.
    if child.depth != parent.depth + 1 or child.max_depth > parent.max_depth:
        raise _broken(12, "depth", "a link's depth is wrong or its ceiling rises", "Delegate to fewer levels.")
    # Rule 13: actions, spaces and budget are within the parent's, byte for byte.
    held = frozenset(parent.scope.actions)
    if extra := [name for name in child.scope.actions if held.isdisjoint(groups.get(name, frozenset()) | {name})]:
        raise _broken(13, "actions", f"the parent does not hold the action {extra[0]!r}")
    if extra := sorted(set(child.scope.spaces) - set(parent.scope.spaces)):
        raise _broken(13, "spaces", f"the parent does not hold the space {extra[0]!r}")
    if child.scope.budget > parent.scope.budget:
        raise _broken(13, "budget", "a link's budget is above its parent's")


def _check_alone(link: Delegation) -> None:
    """Check what needs no other link: rules 8, 9, 11 and 12 of one link by itself."""
    # Rule 8: from a user, to an agent.
    if link.delegate.kind != "agent" or link.sub.kind != "user":
        raise _broken(8, "delegate", "a delegation goes from a user, to an agent")
    # Rule 9: a life, and a short one.
    if not link.iat < link.exp or link.nbf >= link.exp or link.exp - link.iat > MAX_LIFETIME:
        raise _broken(9, "lifetime", "a delegation lasts more than 0 seconds and at most 30 days")
    # Rule 11: all of it in the audience's trust domain.
    if {link.iss.audience, link.sub.audience, link.delegate.audience} != {link.aud}:
        raise _broken(11, "trust-domain", "a principal stands outside the audience's trust domain")
    # Rule 12: under its own ceiling, and ours.
    if link.depth > link.max_depth or link.depth >= MAX_LINKS:
        raise _broken(12, "depth", "a link is deeper than allowed")


def _scope(read: Claims) -> Scope:
    details = read.value("authorization_details")
    if type(details) is not list or len(details) != 1:
        raise read.invalid("authorization_details", "is not a list of exactly one object")
    grant = Claims(details[0], document="chain", required=_GRANT, path="authorization_details.")
    if grant.text("type") != GRANT:
        raise read.invalid("authorization_details.type", f"is not {GRANT}")
    return Scope(grant.words("actions", ACTION), grant.words("spaces", SPACE), grant.number("budget"))


def _public_members(jwk: object) -> dict[str, str]:
    # Rule 5. A private or unknown member refuses the link; `remit.jose.public_key` then checks the point.
    if type(jwk) is dict and all(type(value) is str for value in jwk.values()):
        match jwk:
            case {"kty": "OKP", "crv": "Ed25519", "x": _} if len(jwk) == 3:
                return dict(jwk)
            case {"kty": "EC", "crv": "P-256", "x": _, "y": _} if len(jwk) == 4:
                return dict(jwk)
    raise _broken(5, "key", "cnf.jwk is not a public Ed25519 or P-256 key and nothing else")


def _broken(rule: int, kind: str, message: str, next_action: str = "") -> InvalidDocument:
    return InvalidDocument(message, code=f"chain.{kind}", rule=rule, next_action=next_action)
