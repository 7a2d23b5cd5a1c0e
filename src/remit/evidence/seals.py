"""Seals: heads that the authority of the given keys signed, and nobody else."""

from __future__ import annotations

from remit import jose
from remit.errors import InvalidDocument
from remit.evidence.keys import Keys
from remit.sealing import TYP, Head


def verify(token: str, *, keys: Keys) -> Head:
    """Return a signed head; what its leaves are is the caller's to compare.

    Raises:
        InvalidDocument: The authority did not sign it as a head.
    """
    _, key = keys.key(jose.peek_kid(token, typ=TYP), owner=keys.authority)
    if key.alg != "EdDSA":
        raise InvalidDocument("it is signed with the key for access tokens", code="keys.unknown", rule=5)
    head = Head.from_claims(jose.verify(token, typ=TYP, key=key))
    if (head.iss, head.aud) != (keys.authority, keys.audience):
        raise InvalidDocument("it is another authority's", code="head.audience")
    return head
