"""What is fuzzed: everything that reads a document somebody else wrote, and what must hold for any bytes.

- A reader answers or raises `InvalidDocument`. Anything else is a find.
- It takes less than `MOST_SECONDS` of processor time. Anything slower is a find.
- Where the oracle (`tests.oracle`) can answer the same question, it answers the same.

The first byte of an input chooses the reader; `seeds` are valid inputs for each.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from typing import Any

from remit import jose, strictjson
from remit.approvals import Approval
from remit.chain import verify_chain
from remit.client import offline
from remit.delegation import TYP, Delegation
from remit.errors import InvalidDocument, Usage
from remit.evidence import document, folder, history
from remit.evidence import verification as evidence
from remit.presentation import Presentation
from remit.principals import Principal
from remit.statements import Statement
from tests.unit.evidence import making

from ..oracle import oracle
from ..oracle.making import AUDIENCE, NOW, PARENTS, Draft, Link, agent, b64, correct, groups, key, user

MOST_SECONDS = 0.25
"""Processor time one input may take; a correct chain of eight links takes about two milliseconds."""
PARENT = b'"@"'
"""Stands in a link's claims for the hash of the link above."""
_ALICE = key("alice")
_KEYS = {one.jwk["x"]: one for one in (key(name) for name in ("alice", *(f"agent-{number}" for number in range(40))))}
_ANCHORS = {user("alice"): _ALICE.jwk}
_TRUSTED = jose.public_key(_ALICE.jwk)
_GROUPS = groups()


class Find(Exception):
    """An input does what none may do."""


def run(data: bytes) -> None:
    """Try one input.

    Raises:
        Find: It is answered wrongly or slowly. Anything else that is raised is a find as well.
    """
    if not data:
        return
    readers = list(READERS.values())
    began = time.process_time()
    readers[data[0] % len(readers)](data[1:])
    if (took := time.process_time() - began) > MOST_SECONDS:
        raise Find(f"{took:.2f} s for {len(data)} bytes")


def seeds() -> Iterator[bytes]:
    """Return valid inputs, of each reader."""
    for length in range(1, 9):
        draft = _chain_of(length)
        tokens, claims = draft.signed(), [link.claims for link in draft.links]
        lines = (json.dumps(one | ({"par_hash": "@"} if at else {})) for at, one in enumerate(claims))
        yield _seed("token", tokens[0])
        yield _seed("json", json.dumps(claims[-1]))
        yield _seed("delegation", json.dumps(claims[-1]))
        yield _seed("file", json.dumps({"links": tokens}))
        yield _seed("chain", "\n".join(lines))
    yield _seed("anchors", json.dumps(making.jwks()))
    yield _seed("export", json.dumps(making.sound()))
    yield _seed("history", json.dumps({"events": making.events(making.seal_of(making.sound()))}))
    yield _seed("log", "\n".join(making.sound()["writers"][0]["records"]))
    yield _seed("header", json.dumps({"alg": "EdDSA", "typ": TYP, "kid": _ALICE.kid}))
    for alg in ("EdDSA", "ES256"):
        yield _seed("key", json.dumps(key("agent-1", alg).jwk))
    for name, claimed in _DOCUMENTS.items():
        yield _seed(name, json.dumps(claimed))


def _seed(name: str, content: str) -> bytes:
    return bytes([list(READERS).index(name)]) + content.encode()


def _chain_of(length: int) -> Draft:
    """Return a correct chain of keys that are known here, at `NOW`."""
    draft = correct(length, random.Random(length))
    by = _ALICE
    for at, link in enumerate(draft.links):
        held = key(f"agent-{at}")
        link.by = by
        link.claims |= {"cnf": {"jwk": held.jwk}, "may_act": {"sub": agent(f"agent-{at}")}}
        link.claims |= {"iss": agent(f"agent-{at - 1}") if at else user("alice")}
        link.claims |= {"iat": NOW - 100, "nbf": NOW - 100, "exp": NOW + 3600}
        by = held
    return draft


_ID = "9d2c2a4e-3c0f-4a51-9d0e-0f2f8f5b7c11"
_COMMON = {"iss": user("bob"), "aud": AUDIENCE, "jti": _ID, "iat": NOW, "exp": NOW + 60}
_DOCUMENTS: dict[str, dict[str, Any]] = {
    "approval": _COMMON | {"request": "r-1", "binding": b64(bytes(32)), "decision": "approve", "reason": "looks right"},
    "statement": {name: _COMMON[name] for name in ("iss", "aud", "jti", "iat")}
    | {
        "sub_id": {"format": "jwt_id", "iss": user("alice"), "jti": _ID},
        "events": {"urn:remit:event:suspended": {"reason_admin": {"en": "wait"}}},
    },
    "presentation": _COMMON
    | {"delegation": _ID, "digest": b64(bytes(32)), "workflow": "w", "run": "r", "activity": "1", "attempt": 1}
    | {"arguments": b64(bytes(32))},
}


def _token(data: bytes) -> None:
    """A compact JWS as it comes."""
    text = data.decode("utf-8", "surrogateescape")
    for read in (
        lambda: jose.peek_kid(text, typ=TYP),
        lambda: jose.signing_input(text),
        lambda: jose.verify(text, typ=TYP, key=_TRUSTED),
    ):
        with suppress(InvalidDocument):
            read()
    _alike([text])


def _json(data: bytes) -> None:
    """JSON, read alike by both."""
    try:
        mine: Any = strictjson.loads(data)
    except InvalidDocument:
        mine = None
    try:
        theirs = oracle.parse(data)
    except oracle.Fault:
        theirs = None
    if mine != (theirs if isinstance(theirs, dict) else None) or repr(mine) != repr(
        theirs if mine is not None else None
    ):
        raise Find(f"read as {mine!r} and as {theirs!r}")


def _claims(read: Callable[[object], Any]) -> Callable[[bytes], None]:
    """Claims of a document; what is read is written as it was read."""

    def reader(data: bytes) -> None:
        with suppress(InvalidDocument):
            claims = strictjson.loads(data)
            made = read(claims)
            if read(made.to_claims()) != made:
                raise Find(f"{made!r} is not what its claims say")

    return reader


def _key(data: bytes) -> None:
    """A public JWK."""
    with suppress(InvalidDocument):
        jwk = strictjson.loads(data)
        if jose.public_key(jwk).kid != oracle.thumbprint(jwk):
            raise Find("another thumbprint")


def _file(data: bytes) -> None:
    """A chain file as `remit verify` gets it."""
    anchor = offline.Anchor(_TRUSTED, Principal.parse(user("alice")))
    finding = offline.verify(data, anchors=[anchor], at=NOW, groups=_GROUPS)
    try:
        told = oracle.parse(data)
    except oracle.Fault:
        told = None
    if not isinstance(told, dict) or set(told) != {"links"} or len(data) > offline.MAX_FILE:
        if finding.error is None:
            raise Find("a file that is none is valid")
        return
    _judge(told["links"], finding.error)


def _anchors(data: bytes) -> None:
    """A key set: whatever is an anchor is some user's."""
    with suppress(InvalidDocument):
        if any(anchor.owner.kind != "user" for anchor in offline.anchors_in(data)):
            raise Find("an anchor that is no user's")


def _export(data: bytes) -> None:
    """An export of a task's evidence."""
    with suppress(InvalidDocument):
        evidence.verify(document.read(data), keys=_trusted_keys())


def _history(data: bytes) -> None:
    """A run as Temporal prints it, beside an export that says it is the one."""
    with suppress(InvalidDocument, Usage):
        events = history.read(data)
        told = making.sound()
        told["history"][0] |= {"events": len(events), "digest": history.digest(events)}
        evidence.verify(document.read(json.dumps(told).encode()), keys=_trusted_keys(), histories=[events])
        for found in (*history.approvals(events), *history.children(events)):
            if not isinstance(found, str):
                raise Find(f"{found!r} is no text")


def _log(data: bytes) -> None:
    """One writer's file of the audit log."""
    folder.check({f"log-{making.sound()['writers'][0]['writer']}.jsonl": data})


_trusted_keys = cache(making.trusted)


def _header(data: bytes) -> None:
    """Any bytes as the header of a link that alice really signed."""
    link = _chain_of(1).links[0]
    link.head = data
    _alike([link.token(None)])


def _chain(data: bytes) -> None:
    """Any bytes as claims, one link a line, each signed by whoever the line above gives the key to."""
    tokens: list[str] = []
    by = _ALICE
    for line in filter(None, data.split(b"\n")[:9]):
        above = b64(sha256(tokens[-1].rpartition(".")[0].encode()).digest()) if tokens else "@"
        body = line.replace(PARENT, f'"{above}"'.encode())
        tokens.append(Link(by, {}, body=body).token(None))
        with suppress(InvalidDocument):
            by = _KEYS.get(Delegation.from_claims(strictjson.loads(body)).key["x"], by)
    _alike(tokens)


def _alike(links: list[str]) -> None:
    refused: InvalidDocument | None = None
    try:
        verify_chain(links, anchors={user("alice"): _TRUSTED}, audience=AUDIENCE, now=NOW, groups=_GROUPS)
    except InvalidDocument as error:
        refused = error
    _judge(links, refused)


def _judge(links: Any, refused: InvalidDocument | None) -> None:
    judged = oracle.judge(links, anchors=_ANCHORS, audience=AUDIENCE, now=NOW, parents=PARENTS)
    if (refused is None) is not judged.valid or (refused is not None and refused.rule not in judged.broken):
        raise Find(f"library: {refused and (refused.rule, refused.code)}, oracle: {judged}")


READERS: dict[str, Callable[[bytes], None]] = {
    "token": _token,
    "json": _json,
    "delegation": _claims(Delegation.from_claims),
    "approval": _claims(Approval.from_claims),
    "statement": _claims(Statement.from_claims),
    "presentation": _claims(Presentation.from_claims),
    "key": _key,
    "file": _file,
    "anchors": _anchors,
    "export": _export,
    "history": _history,
    "log": _log,
    "header": _header,
    "chain": _chain,
}
