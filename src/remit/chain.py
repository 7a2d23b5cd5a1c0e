"""Chain: delegations from a human down to the agent that acts, verified as one.

- `verify_chain` is every rule that needs no I/O, 1 to 13: link by link from the root, each link's rules in their order.
  The first failure refuses the chain.
- The root's key comes from the anchors, every other key only from the parent's ``cnf.jwk``.
- A verified chain never changes: cache it by digest, with `check_time` on each use (time is never cached).
- Rules 14 and 17, status, are `Standing.require_live`'s, asked before and after minting; 15, the presenter, is
  `remit.presentation.check`'s. Rule 16 has no line: an attempt names one chain, and nothing here takes two.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from remit import jose
from remit.claims import SKEW
from remit.delegation import MAX_LINKS, TYP, ActionGroups, Delegation, Reference, narrows
from remit.errors import InvalidDocument
from remit.jose import PublicKey
from remit.principals import Principal
from remit.statements import DelegationSubject, Subject

MAX_CHAIN = 32 * 1024
"""Characters of all links together (rule 1)."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A verified chain, root first.

    Args:
        links: The delegations.
        jws: Their compact JWS.
        digest: Names the chain; see `chain_digest`.
    """

    links: tuple[Delegation, ...]
    jws: tuple[str, ...]
    digest: str

    @property
    def root(self) -> Principal:
        """The human at the head."""
        return self.links[0].iss

    @property
    def leaf(self) -> Delegation:
        """The last link."""
        return self.links[-1]

    @property
    def agent(self) -> Principal:
        """The only principal that may present this chain."""
        return self.leaf.delegate

    @property
    def key(self) -> PublicKey:
        """The agent's key: signs presentations and the next link."""
        return jose.public_key(self.leaf.key)

    @property
    def ids(self) -> tuple[str, ...]:
        """The delegations' ids, root first."""
        return tuple(link.jti for link in self.links)

    @property
    def principals(self) -> tuple[Principal, ...]:
        """The root human, then every delegate."""
        return (self.root, *(link.delegate for link in self.links))

    @property
    def reference(self) -> Reference:
        """What travels in headers."""
        return Reference(self.leaf.jti, self.digest)

    @property
    def expires_at(self) -> int:
        """When its first link expires, seconds."""
        return min(link.exp for link in self.links)


def chain_digest(links: Sequence[str]) -> str:
    """Return base64url SHA-256 over the links' JWS, root first, joined with newlines."""
    return _digest("\n".join(links).encode())


def parent_hash(parent: str) -> str:
    """Return the ``par_hash`` a child of this JWS carries: base64url SHA-256 of its signing input."""
    return _digest(jose.signing_input(parent))


def subject_of(named: Chain | Principal) -> Subject:
    """Return the subject of a statement about this: a chain's leaf, or the principal itself."""
    if isinstance(named, Principal):
        return named
    return DelegationSubject(jti=named.leaf.jti, iss=named.leaf.iss)


def verify_chain(
    links: Sequence[str], *, anchors: Mapping[str, PublicKey], audience: str, now: int | None, groups: ActionGroups
) -> Chain:
    """Verify a chain by rules 1 to 13.

    Args:
        links: Compact JWS, root first.
        anchors: SPIFFE ID of a user → the user's key, from the principal directory.
        audience: ``remit:<trust-domain>``.
        now: Seconds; None only where `check_time` follows, so that an expired chain can still be named and cached.
        groups: The schema's action hierarchy.

    Raises:
        InvalidDocument: With the rule's number and a code ``chain.…`` or ``jws.…``.
    """
    _check_sizes(links)  # rule 1
    key = _anchor(links[0], anchors)  # rules 1 to 5: the root's key
    seen: set[object] = {key.kid}
    chain: list[Delegation] = []
    for at, token in enumerate(links):
        link = Delegation.from_claims(jose.verify(token, typ=TYP, key=key))  # rules 1 to 8, 9 to 12 of a link alone
        following = jose.public_key(link.key)  # rule 5, the next link's key
        if now is not None:
            _check_link_time(link, now)  # rule 9, the clock
        if at == 0:
            _check_root(link, key, anchors, audience)  # rules 5, 10, 11, 12
        else:
            _check_parent_hash(link, links[at - 1])  # rule 10
            narrows(chain[-1], link, groups)  # rules 9 to 13 between two links
        _check_once(link, following, seen)  # rule 12, the chain so far
        chain.append(link)
        key = following
    return Chain(tuple(chain), tuple(links), chain_digest(links))


def check_time(chain: Chain, now: int) -> None:
    """Check rule 9 again on a chain verified before.

    Raises:
        InvalidDocument: ``chain.expired`` or ``chain.not-yet``.
    """
    for link in chain.links:
        _check_link_time(link, now)


def _check_sizes(links: Sequence[str]) -> None:
    if not isinstance(links, list | tuple) or not 1 <= len(links) <= MAX_LINKS:
        raise _broken(1, "length", f"a chain has 1 to {MAX_LINKS} links")
    for link in links:
        jose.check_size(link)
    if sum(map(len, links)) > MAX_CHAIN:
        raise _broken(1, "size", f"a chain has at most {MAX_CHAIN} characters")


def _anchor(root: str, anchors: Mapping[str, PublicKey]) -> PublicKey:
    kid = jose.peek_kid(root, typ=TYP)
    for key in anchors.values():
        if key.kid == kid:
            return key
    raise _broken(5, "anchor", "no known user's key signed the root")


def _check_root(link: Delegation, key: PublicKey, anchors: Mapping[str, PublicKey], audience: str) -> None:
    anchor = anchors.get(link.iss.spiffe_id)
    if anchor is None or anchor.kid != key.kid:
        raise _broken(5, "anchor", "the root is not signed by its issuer's key")
    if link.iss != link.sub:  # `sub` is a user, so the issuer is one too
        raise _broken(10, "issuer", "the root is not issued by the root human")
    if link.par_hash is not None:
        raise _broken(10, "par-hash", "the root names a parent")
    if link.aud != audience:
        raise _broken(11, "aud", "the chain is meant for another audience")
    if link.depth != 0:
        raise _broken(12, "depth", "the first link is not a root")


def _check_parent_hash(link: Delegation, parent: str) -> None:
    if not compare_digest(link.par_hash or "", parent_hash(parent)):
        raise _broken(10, "par-hash", "a link was made for another parent")


def _check_link_time(link: Delegation, now: int) -> None:
    if max(link.iat, link.nbf) > now + SKEW:
        raise _broken(9, "not-yet", f"delegation {link.jti} is not valid yet")
    if link.exp <= now - SKEW:
        raise _broken(9, "expired", f"delegation {link.jti} has expired", "Delegate anew.")


def _check_once(link: Delegation, key: PublicKey, seen: set[object]) -> None:
    for kind, one in (("agent", link.delegate), ("key", key.kid), ("jti", link.jti)):
        if one in seen:
            raise _broken(12, f"{kind}-twice", f"one {kind} stands twice in the chain")
        seen.add(one)


def _digest(data: bytes) -> str:
    return urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()


def _broken(rule: int, kind: str, message: str, next_action: str = "") -> InvalidDocument:
    return InvalidDocument(message, code=f"chain.{kind}", rule=rule, next_action=next_action)
