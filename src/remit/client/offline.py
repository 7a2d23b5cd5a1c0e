"""Offline verification of a chain, with nothing but the chain, the humans' keys and a moment.

- It is `remit.chain.verify_chain`, rules 1 to 13; standing (14) needs the registry and is not looked at.
- A key of the set belongs to the user its ``kid``, ``sub`` or ``principal`` names as a SPIFFE ID. A set that names
  nobody (RFC 7517 has no place for it) says only which keys are humans'; then the root's own claim says whose.
- A malformed chain is an invalid chain; a malformed key set is the caller's mistake.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remit import jose, strictjson
from remit.chain import Chain, verify_chain
from remit.delegation import TYP, ActionGroups
from remit.errors import InvalidDocument, Usage
from remit.jose import PublicKey
from remit.principals import Principal

MAX_FILE = 256 * 1024
"""Bytes of a chain file; a chain has 32 KB at most."""
_KEY_MEMBERS = {"OKP": ("kty", "crv", "x"), "EC": ("kty", "crv", "x", "y")}
_NAMES = ("principal", "sub", "kid")


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
    """A human's key; `owner` is None where the set does not say whose."""

    key: PublicKey
    owner: str | None


def verify(chain: bytes, *, anchors: tuple[Anchor, ...], at: int, groups: ActionGroups) -> Finding:
    """Verify a chain file.

    Args:
        chain: ``{"links": [jws…]}``, root first.
        anchors: The humans' keys.
        at: The moment, Unix seconds.
        groups: The schema's action hierarchy; empty: an action covers only itself.
    """
    try:
        links = _links(chain)
        known, audience = _named(links, anchors)
        return Finding(verify_chain(links, anchors=known, audience=audience, now=at, groups=groups))
    except InvalidDocument as error:
        return Finding(None, error)


def read_anchors(path: Path) -> tuple[Anchor, ...]:
    """Read a JWK Set (RFC 7517) of public keys.

    Raises:
        Usage: ``anchors.invalid``.
    """
    try:
        document = json.loads(path.read_bytes())
        keys = document["keys"]
        if not isinstance(keys, list) or not keys:
            raise ValueError("it holds no keys")
        return tuple(_anchor(key) for key in keys)
    except OSError as error:
        raise _wrong(path, error.strerror or "it cannot be read") from None
    except (ValueError, KeyError, TypeError, RecursionError, InvalidDocument) as error:
        why = error.message if isinstance(error, InvalidDocument) else "it is not a JWK Set"
        raise _wrong(path, why) from None


def _anchor(jwk: Mapping[str, Any]) -> Anchor:
    if {"d", "k", "p", "q"} & set(jwk):
        raise ValueError("a private key stands in it")
    members = _KEY_MEMBERS.get(jwk["kty"], ())
    key = jose.public_key({name: jwk[name] for name in members})
    if "alg" in jwk and jwk["alg"] not in (key.alg, "Ed25519"):
        raise ValueError("a key is meant for another algorithm")
    named = (jwk.get(name) for name in _NAMES)
    owner = next((name for name in named if isinstance(name, str) and name.startswith("spiffe://")), None)
    return Anchor(key, owner)


def _links(chain: bytes) -> list[str]:
    if len(chain) > MAX_FILE:
        raise InvalidDocument("the chain is too large", code="chain.size", rule=1)
    document = strictjson.loads(chain)
    links = document.get("links")
    if document.keys() != {"links"} or not isinstance(links, list):
        raise InvalidDocument('a chain file is {"links": [jws…]} and nothing else', code="chain.form", rule=2)
    return links


def _named(links: list[str], anchors: tuple[Anchor, ...]) -> tuple[dict[str, PublicKey], str]:
    """Return the anchors by user and the audience, for the root these links claim to have."""
    kid, issuer = _claimed_root(links)
    known: dict[str, PublicKey] = {}
    for number, anchor in enumerate(anchors):
        ours = anchor.key.kid == kid
        if anchor.owner is None:
            known[issuer.spiffe_id if ours and issuer else f"unnamed-{number}"] = anchor.key
        elif ours or anchor.owner not in known:
            known[anchor.owner] = anchor.key
    return known, issuer.audience if issuer else ""


def _claimed_root(links: list[str]) -> tuple[str, Principal | None]:
    """Return what the root says of itself, unverified; `verify_chain` then holds it to that."""
    try:
        kid = jose.peek_kid(links[0], typ=TYP)
        payload = jose.signing_input(links[0]).partition(b".")[2].decode()
        claims = strictjson.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return kid, Principal.parse(claims.get("iss"))
    except (InvalidDocument, IndexError, ValueError):
        return "", None


def _wrong(path: Path, why: str) -> Usage:
    return Usage(
        f"the anchors in {path} cannot be used: {why}",
        code="anchors.invalid",
        next_action='Give a JWK Set of public keys: {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": …}]}.',
    )
