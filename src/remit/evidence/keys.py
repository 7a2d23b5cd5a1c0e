"""Keys: who may sign what, as a JWK Set for third parties.

- A key names its owner: ``sub`` is a SPIFFE ID, the authority's or a principal's. A key has one owner.
- Former keys are in the set too, marked: what they signed in their time still has to be read.
- A verifier takes the set from whom it trusts. The copy inside an export is for information only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remit import jose, strictjson
from remit.errors import InvalidDocument, Usage
from remit.jose import PublicKey
from remit.principals import TRUST_DOMAIN, Principal

_AUTHORITY = re.compile(rf"spiffe://(?P<domain>{TRUST_DOMAIN.pattern})/authority", re.ASCII)
_MEMBERS = {"OKP": ("kty", "crv", "x"), "EC": ("kty", "crv", "x", "y")}
_PRIVATE = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys a verifier trusts.

    Args:
        owners: Thumbprint → owner's SPIFFE ID and the key.
        authority: The authority's SPIFFE ID.
    """

    owners: Mapping[str, tuple[str, PublicKey]]
    authority: str

    @property
    def audience(self) -> str:
        """``remit:<trust-domain>`` of all documents."""
        return f"remit:{self.authority.removeprefix('spiffe://').partition('/')[0]}"

    def key(self, kid: str, *, owner: str | None = None) -> tuple[str, PublicKey]:
        """Return owner and key of a thumbprint.

        Raises:
            InvalidDocument: ``keys.unknown``: nobody's, or not this owner's.
        """
        known = self.owners.get(kid)
        if known is None or owner not in (None, known[0]):
            raise InvalidDocument(
                "it is signed with a key that the given keys do not have", code="keys.unknown", rule=5
            )
        return known


def document(keys: Iterable[tuple[str, PublicKey, bool]]) -> dict[str, Any]:
    """Return a JWK Set (RFC 7517) of owners, keys, and whether each is a former one."""
    return {
        "keys": [
            {**key.jwk, "kid": key.kid, "alg": key.alg, "use": "sig", "sub": owner, **({"former": True} if old else {})}
            for owner, key, old in sorted(keys, key=lambda one: (one[0], one[2], one[1].kid))
        ]
    }


def load(path: Path) -> Keys:
    """Read a JWK Set.

    Raises:
        Usage: ``keys.invalid``.
    """
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise _wrong(f"{path} cannot be read: {error.strerror}") from None


def read(data: bytes) -> Keys:
    """Read a JWK Set whose keys name their owners, one of them the authority.

    Raises:
        Usage: ``keys.invalid``.
    """
    try:
        found = strictjson.loads(data).get("keys")
    except InvalidDocument as error:
        raise _wrong(error.message) from None
    if type(found) is not list or not found:
        raise _wrong("it is not a JWK Set with at least one key")
    owners: dict[str, tuple[str, PublicKey]] = {}
    for number, jwk in enumerate(found, start=1):
        owner, key = _one(number, jwk)
        if owners.setdefault(key.kid, (owner, key))[0] != owner:
            raise _wrong(f"key {number} has two owners")
    authorities = {owner for owner, _ in owners.values() if _AUTHORITY.fullmatch(owner)}
    if len(authorities) != 1:
        raise _wrong("it holds no key of the authority, or those of two")
    return Keys(owners, authorities.pop())


def _one(number: int, jwk: object) -> tuple[str, PublicKey]:
    if type(jwk) is not dict or not _PRIVATE.isdisjoint(jwk):
        raise _wrong(f"key {number} is no public key")
    kind = jwk.get("kty")
    names = _MEMBERS.get(kind, ()) if type(kind) is str else ()
    try:
        key = jose.public_key({name: jwk[name] for name in names if name in jwk})
    except InvalidDocument as error:
        raise _wrong(f"key {number}: {error.message}") from None
    if jwk.get("alg", key.alg) != key.alg or jwk.get("kid", key.kid) != key.kid:
        raise _wrong(f"key {number} is not what its alg and kid say")
    owner = jwk.get("sub")
    if type(owner) is str and _AUTHORITY.fullmatch(owner):
        return owner, key
    try:
        return Principal.parse(owner).spiffe_id, key
    except InvalidDocument:
        raise _wrong(f"key {number} does not say whose it is") from None


def _wrong(why: str) -> Usage:
    return Usage(
        f"these keys cannot be used: {why}",
        code="keys.invalid",
        next_action="Give what `remit audit keys` prints, from whom you trust.",
    )
