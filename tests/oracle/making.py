"""Chains to judge: correct ones of every shape, and anything wrong with them. Deterministic for a number.

- A `Draft` is a chain before it is signed; changes to claims are made there, so that the links below follow them.
- Others touch what is signed afterwards: headers, signatures, encodings, the order of links, the moment, the anchors.
- Keys come from numbers and ES256 signs deterministically: the same number always gives the same chain.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

NOW = 1_800_000_000
DOMAIN = "remit.local"
AUDIENCE = f"remit:{DOMAIN}"
DAY = 24 * 3600
TYP = "delegation+jwt"
PEOPLE = ("alice", "bob")
PARENTS = {
    "dataset:query": ["read"],
    "dataset:export": ["read", "export"],
    "report:publish": ["write"],
    "report:archive": ["write"],
    "http:request": ["network"],
    "read": ["work"],
    "write": ["work"],
    "export": ["network"],
    "network": ["anything"],
    "work": ["anything"],
}
"""Each action or group → the groups directly above it."""
ACTIONS = (*PARENTS, "anything", "unheard:of")
SPACES = ("flights", "hr", "ops", "reports", "a.b_c-d")


def groups() -> dict[str, frozenset[str]]:
    """Return `PARENTS` as the library takes it: each name → everything it stands under, itself included."""

    def above(name: str) -> frozenset[str]:
        return frozenset({name}).union(*(above(group) for group in PARENTS.get(name, ())))

    return {name: above(name) for name in (*PARENTS, "anything")}


@dataclass(frozen=True)
class Key:
    """A private key and the public JWK of it."""

    alg: str
    private: Any
    jwk: dict[str, str]
    kid: str

    def sign(self, data: bytes) -> bytes:
        if self.alg == "EdDSA":
            return self.private.sign(data)
        made = self.private.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        r, s = utils.decode_dss_signature(made)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@cache
def key(name: str, alg: str = "EdDSA") -> Key:
    """Return the key of a name."""
    seed = hashlib.sha256(f"{alg} {name}".encode()).digest()
    if alg == "EdDSA":
        ours = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(ours.public_key().public_bytes_raw())}
        text = f'{{"crv":"Ed25519","kty":"OKP","x":"{jwk["x"]}"}}'
        return Key(alg, ours, jwk, b64(hashlib.sha256(text.encode()).digest()))
    private = ec.derive_private_key(int.from_bytes(seed, "big") >> 1, ec.SECP256R1())
    point = private.public_key().public_numbers()
    x, y = (b64(number.to_bytes(32, "big")) for number in (point.x, point.y))
    text = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    return Key(alg, private, jwk, b64(hashlib.sha256(text.encode()).digest()))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def user(name: str, domain: str = DOMAIN) -> str:
    return f"spiffe://{domain}/user/{name}"


def agent(name: str, domain: str = DOMAIN) -> str:
    return f"spiffe://{domain}/agent/{name}"


@dataclass
class Link:
    """One link before it is signed.

    Args:
        by: Whose key signs. claims: What is signed; `par_hash` is filled in unless `pinned`.
        header: Members that replace the right ones; None takes one away. head, body: Bytes signed instead.
        pad: Characters the token is made long with. after: What happens to the signed token.
    """

    by: Key
    claims: dict[str, Any]
    header: dict[str, Any] = field(default_factory=dict)
    head: bytes | None = None
    body: bytes | None = None
    pad: int = 0
    pinned: bool = False
    after: Callable[[str], Any] | None = None

    def token(self, parent: str | None) -> str:
        if parent is not None and not self.pinned:
            self.claims["par_hash"] = b64(hashlib.sha256(parent.rpartition(".")[0].encode()).digest())
        names = {"alg": self.by.alg, "typ": TYP, "kid": self.by.kid} | self.header
        plain = json.dumps({name: value for name, value in names.items() if value is not None}).encode()
        head = b64(plain if self.head is None else self.head)
        body = json.dumps(self.claims).encode() if self.body is None else self.body
        if self.pad:
            body = body.ljust((self.pad - len(head) - 2 - 86) * 3 // 4)
        data = f"{head}.{b64(body)}"
        return f"{data}.{b64(self.by.sign(data.encode()))}"


@dataclass
class Draft:
    """A chain and the question about it."""

    links: list[Link]
    now: int
    rng: random.Random
    audience: str = AUDIENCE
    anchors: dict[str, dict[str, str]] = field(
        default_factory=lambda: {user(name): key(name).jwk for name in PEOPLE[1:]}
    )
    arrange: Callable[[list[Any]], Any] | None = None

    def signed(self) -> Any:
        """Return the links as they are presented."""
        tokens: list[str] = []
        for link in self.links:
            tokens.append(link.token(tokens[-1] if tokens else None))
        shown = [link.after(token) if link.after else token for link, token in zip(self.links, tokens, strict=True)]
        return shown if self.arrange is None else self.arrange(shown)


def correct(length: int, rng: random.Random) -> Draft:
    """Return a correct chain; everything that may narrow does so at random, and times stand at their edges."""
    now = NOW + rng.randrange(1000)
    root = key("alice", rng.choice(("EdDSA", "EdDSA", "ES256")))
    begin, nbf = now - rng.choice((0, 1, 500, -30)), now - rng.choice((0, 700, -30))
    end = max(begin, nbf) + rng.choice((600, 3600, 5 * DAY, 30 * DAY - 1000))
    ceiling = rng.choice((length - 1, 7, 7, 12))
    actions = rng.sample(ACTIONS, rng.randrange(3, len(ACTIONS)))
    spaces, budget = rng.sample(SPACES, rng.randrange(1, len(SPACES))), rng.choice((0, 7, 100, 2**53 - 1))
    names = rng.sample(range(40), length)
    links: list[Link] = []
    by, issuer = root, user("alice")
    for depth in range(length):
        held = key(f"agent-{names[depth]}", rng.choice(("EdDSA", "EdDSA", "ES256")))
        claims = {
            "iss": issuer,
            "sub": user("alice"),
            "aud": AUDIENCE,
            "may_act": {"sub": agent(f"agent-{names[depth]}")},
            "cnf": {"jwk": held.jwk},
            "jti": _uuid(rng),
            "iat": begin,
            "nbf": nbf,
            "exp": end,
            "del_depth": depth,
            "del_max_depth": ceiling,
            "purpose": "delay-review",
            "authorization_details": [
                {"type": "urn:remit:grant", "actions": actions, "spaces": spaces, "budget": budget}
            ],
        }
        links.append(Link(by, claims))
        by, issuer = held, claims["may_act"]["sub"]
        begin, nbf = min(now + 30, begin + rng.choice((0, 0, 20))), min(now + 30, nbf + rng.choice((0, 0, 20)))
        end = max(begin + 1, nbf + 1, end - rng.choice((0, 0, 1, 40)))
        ceiling = rng.choice((ceiling, max(length - 1, ceiling - 1)))
        actions = _narrower(actions, rng)
        spaces = rng.sample(spaces, rng.randrange(len(spaces) + 1)) if rng.random() < 0.3 else spaces
        budget -= rng.choice((0, budget // 2))
    draft = Draft(links, now, rng)
    draft.anchors[user("alice")] = root.jwk
    return draft


def _narrower(actions: list[str], rng: random.Random) -> list[str]:
    """Keep some; put something that stands under a group in the group's place."""
    below = {name: [one for one in ACTIONS if name in PARENTS.get(one, ())] for name in actions}
    kept = [rng.choice([*below[name], name]) if rng.random() < 0.4 else name for name in actions]
    return rng.sample(kept, rng.randrange(1, len(kept) + 1)) if rng.random() < 0.5 and kept else kept


def _uuid(rng: random.Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
