"""Offline verification of a chain, with nothing but the chain, the humans' keys and a moment.

- It is `remit.chain.verify_chain`, rules 1 to 13; standing (14) needs the registry and is not looked at.
- An anchor is a public key and the user it is trusted for: ``sub`` of its JWK, a SPIFFE ID. A key that names nobody is
  refused, not guessed at; a user may have several keys, a key has one owner.
- Agents' keys and the authority's, which `remit audit keys` prints too, are no anchors and are left aside.
- Nothing a link says is read before its signature holds: trust domain and audience are the anchor's.
- A malformed chain is an invalid chain; a malformed key set is the caller's mistake.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remit import jose, strictjson
from remit.chain import Chain, verify_chain
from remit.delegation import TYP, ActionGroups
from remit.errors import InvalidDocument, Usage
from remit.jose import PublicKey
from remit.principals import PRINCIPAL_NAME, TRUST_DOMAIN, Principal

MAX_FILE = 256 * 1024
"""Bytes of a chain file; a chain has 32 KB at most."""
_KEY_MEMBERS = {"OKP": ("kty", "crv", "x"), "EC": ("kty", "crv", "x", "y")}
_NO_USER = re.compile(rf"spiffe://{TRUST_DOMAIN.pattern}/(?:agent/{PRINCIPAL_NAME.pattern}|authority)", re.ASCII)
_PRIVATE = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What verification found: the chain, or why it is none."""

    chain: Chain | None
    error: InvalidDocument | None = None

    def document(self) -> dict[str, Any]:
        """Return ``{"valid", "code", "rule"}``; code and rule are null for a valid chain."""
        if self.error is None:
            return {"valid": True, "code": None, "rule": None}
        return {"valid": False, "code": self.error.code, "rule": self.error.rule or None}


@dataclass(frozen=True, slots=True)
class Anchor:
    """A user's key, trusted to sign that user's root delegations and nobody else's."""

    key: PublicKey
    owner: Principal


def verify(chain: bytes, *, anchors: Sequence[Anchor], at: int, groups: ActionGroups) -> Finding:
    """Verify a chain file.

    Args:
        chain: ``{"links": [jws…]}``, root first.
        anchors: The users' keys.
        at: The moment, Unix seconds.
        groups: The schema's action hierarchy; empty: an action covers only itself.
    """
    try:
        links = _links(chain)
        anchor = _anchor_of(links, anchors)
        return Finding(
            verify_chain(
                links,
                anchors={anchor.owner.spiffe_id: anchor.key} if anchor else {},
                audience=anchor.owner.audience if anchor else "",
                now=at,
                groups=groups,
            )
        )
    except InvalidDocument as error:
        return Finding(None, error)


def read_anchors(path: Path) -> tuple[Anchor, ...]:
    """Read a file of anchors; see `anchors_in`.

    Raises:
        Usage: ``anchors.invalid``.
    """
    try:
        return anchors_in(path.read_bytes())
    except (OSError, InvalidDocument) as error:
        why = error.message if isinstance(error, InvalidDocument) else error.strerror or "it cannot be read"
        raise Usage(
            f"the anchors in {path} cannot be used: {why}",
            code="anchors.invalid",
            next_action="Give a JWK Set of public keys, each with its user: "
            '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": …, "sub": "spiffe://<trust-domain>/user/<name>"}]}.',
        ) from None


def anchors_in(data: bytes) -> tuple[Anchor, ...]:
    """Read a JWK Set (RFC 7517) of public keys, each with ``sub``, its user's SPIFFE ID.

    Raises:
        InvalidDocument: ``anchors.invalid``, or what is wrong with its JSON or with a key.
    """
    keys = strictjson.loads(data).get("keys")
    if type(keys) is not list or not keys:
        raise _unusable("it is not a JWK Set with at least one key")
    owners: dict[str, str] = {}
    anchors = []
    for number, jwk in enumerate(keys, start=1):
        key, owner = _owned(number, jwk)
        if owners.setdefault(key.kid, owner) != owner:
            raise _unusable(f"key {number} stands in it for another owner as well")
        if not _NO_USER.fullmatch(owner):
            anchors.append(Anchor(key, _user(number, owner)))
    if not anchors:
        raise _unusable("no key in it is a user's")
    return tuple(anchors)


def _owned(number: int, jwk: object) -> tuple[PublicKey, str]:
    if type(jwk) is not dict:
        raise _unusable(f"key {number} is not an object")
    if not _PRIVATE.isdisjoint(jwk):
        raise _unusable(f"key {number} is private")
    key = jose.public_key({name: jwk[name] for name in _members(jwk) if name in jwk})
    if "alg" in jwk and jwk["alg"] not in (key.alg, {"EdDSA": "Ed25519"}.get(key.alg)):
        raise _unusable(f"key {number} is meant for another algorithm")
    owner = jwk.get("sub")
    return key, owner if type(owner) is str else ""


def _user(number: int, owner: str) -> Principal:
    try:
        return Principal.parse(owner)
    except InvalidDocument:
        raise _unusable(f"key {number} does not say which user's it is") from None


def _members(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    kind = jwk.get("kty")
    return _KEY_MEMBERS.get(kind, ()) if type(kind) is str else ()


def _links(chain: bytes) -> list[Any]:
    if len(chain) > MAX_FILE:
        raise InvalidDocument("the chain is too large", code="chain.size", rule=1)
    document = strictjson.loads(chain)
    links = document.get("links")
    if document.keys() != {"links"} or not isinstance(links, list):
        raise InvalidDocument('a chain file is {"links": [jws…]} and nothing else', code="chain.form", rule=2)
    return links


def _anchor_of(links: list[Any], anchors: Sequence[Anchor]) -> Anchor | None:
    """Return the anchor whose key the root names; where it names none, `verify_chain` says which rule it breaks."""
    with contextlib.suppress(InvalidDocument, IndexError):
        kid = jose.peek_kid(links[0], typ=TYP)
        return next((anchor for anchor in anchors if anchor.key.kid == kid), None)
    return None


def _unusable(why: str) -> InvalidDocument:
    return InvalidDocument(why, code="anchors.invalid")
