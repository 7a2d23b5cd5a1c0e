"""One task's whole evidence, made with keys of our own by the code that makes the real one: log, heads, documents.

step 1 permitted · step 2 needs bob, who approves · step 3 suspended by alice, reinstated, permitted · step 4 denied,
by a second writer. Another task writes in between.
"""

from __future__ import annotations

import copy
import json
from base64 import b64encode
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from remit.approvals import TYP as APPROVAL
from remit.audit import AuditLog, leaves_digest
from remit.chain import Chain
from remit.evidence import history, keys
from remit.evidence.document import Export, Run, Sealed, Stated, Writer
from remit.evidence.document import read as read_export
from remit.evidence.verification import Report, verify
from remit.sealing import TYP as HEAD
from remit.sealing import Head
from remit.statements import TYP as SECEVENT
from remit.statements import DelegationSubject, Event, Statement
from remit.step import Call, binding, request_id
from tests.unit.documents import AUDIENCE, DOMAIN, GROUPS, NOW, chain, signer, token, user, uuid, verified

TASK, NAMESPACE, RUN = "task-1", "default", "run-1"
AUTHORITY = f"spiffe://{DOMAIN}/authority"
PUBLISH = Call("report:publish", "reports", {"table": "delays"})
SUSPENDED, REINSTATED = NOW + 100, NOW + 200


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


def trusted() -> keys.Keys:
    return keys.read(json.dumps(jwks()).encode())


def jwks() -> dict[str, Any]:
    people = [(user(name).spiffe_id, signer(name).key, False) for name in ("alice", "bob", "carol")]
    own = [(AUTHORITY, signer("authority").key, False), (AUTHORITY, signer("tokens", "ES256").key, False)]
    return keys.document(own + people)


def head(log: AuditLog, *, by: str = "authority", **changes: Any) -> Sealed:
    """Sign how far a log is, as the authority does, or somebody else."""
    (mark,) = log.marks()
    said = Head(
        iss=AUTHORITY,
        aud=AUDIENCE,
        iat=NOW,
        writer=mark.writer,
        seq=mark.seq,
        hash=mark.hash,
        closed=mark.closed,
        tasks=leaves_digest(mark.leaves),
    )
    return Sealed(token(said.to_claims() | changes, typ=HEAD, by=signer(by)), mark.leaves)


def approval(number: int = 1, *, by: str = "bob", key: str = "", step: int = 2, **changes: Any) -> str:
    bound = bound_to(held())
    claims = {
        "iss": user(by).spiffe_id,
        "aud": AUDIENCE,
        "jti": uuid(2000 + number),
        "iat": NOW + 20,
        "exp": NOW + 4000,
        "request": request_id(bound, step),
        "binding": bound,
        "decision": "approve",
    }
    return token(claims | changes, typ=APPROVAL, by=signer(key or by))


def statement(number: int, event: Event, at: int, *, by: str = "alice", about: Any = None) -> str:
    leaf = held().leaf
    said = Statement(uuid(3000 + number), user(by), AUDIENCE, at, about or DelegationSubject(leaf.jti, leaf.iss), event)
    return token(said.to_claims(), typ=SECEVENT, by=signer(by))


@cache
def held() -> Chain:
    return verified(chain(1))


def bound_to(held: Chain) -> str:
    return binding(task=TASK, run=RUN, delegation=held.leaf.jti, call=PUBLISH)


def facts(step: int, outcome: str, *, grant: int = 0, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "event": "attempt",
        "namespace": NAMESPACE,
        "task": TASK,
        "run": RUN,
        "step": step,
        "activity": str(step),
        "attempt": 1,
        "action": "dataset:query",
        "resource": "flights",
        "delegation": held().leaf.jti,
        "chain": list(held().ids),
        "digest": held().digest,
        "root": held().root.spiffe_id,
        "agent": held().agent.spiffe_id,
        "policy_set": "p",
        "outcome": outcome,
        "ms": 5.0,
    }
    return made | ({"grant": uuid(grant), "approvals": []} if grant else {}) | more


def approved(outcome: str, **more: Any) -> dict[str, Any]:
    by = {"action": "report:publish", "resource": "reports", "binding": bound_to(held())}
    by |= {"request": request_id(bound_to(held()), 2), "approvals": [{"id": uuid(2001), "by": user("bob").spiffe_id}]}
    return facts(2, outcome, grant=12) | by | more


def first_script(**permit: Any) -> list[tuple[float, dict[str, Any]]]:
    """Return what the first writer writes, and when; `permit` changes the record of step 2."""
    decision = {"event": "decision", "namespace": NAMESPACE, "task": TASK, "outcome": "approve", "approval": uuid(2001)}
    other = facts(1, "refused", code="policy.denied") | {"task": "task-2"}
    return [
        (1, facts(1, "permitted", grant=11)),
        (2, facts(1, "ok", grant=11)),
        (3, other),
        (4, facts(2, "refused", code="approval.needed", binding=bound_to(held()))),
        (30, decision),
        (31, approved("permitted", **permit)),
        (32, approved("ok", **permit)),
        (150, facts(3, "refused", code="chain.suspended")),
        (151, other),
        (260, facts(3, "permitted", grant=13)),
        (262, facts(3, "error", grant=13, code="ValueError")),
        (263, other),
    ]


def written(folder: Path, script: list[tuple[float, dict[str, Any]]]) -> Writer:
    """Write records as the authority does, and seal them."""
    clock = Clock()
    log = AuditLog(folder, clock=clock)
    for at, record in script:
        clock.now = NOW + at
        log.append(record)
    sealed, writer = head(log), log.writer
    log.close()
    (path,) = folder.glob(f"*-{writer}.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    return Writer(writer, tuple(line for line in lines if f'"task":"{TASK}"' in line), sealed)


def events(seal: dict[str, Any] | None, *, steps: tuple[int, ...] = (1, 2)) -> list[dict[str, Any]]:
    """Return a run's history: steps that completed, and the seal."""
    found: list[dict[str, Any]] = []
    for step in steps:
        header = {"fields": {"remit": {"data": "AQ=="}}}
        at = len(found) + 1
        asked = {"activityId": str(step), "header": header}
        found.append({"eventId": str(at), "activityTaskScheduledEventAttributes": asked})
        found.append({"eventId": str(at + 1), "activityTaskCompletedEventAttributes": {"scheduledEventId": str(at)}})
    if seal is not None:
        said = {
            "data": {"payloads": [payload({"activity_type": history.SEAL})]},
            "result": {"payloads": [payload(seal)]},
        }
        found.append({"eventId": "99", "markerRecordedEventAttributes": {"details": said}})
    return found


def payload(value: Any) -> dict[str, Any]:
    return {"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": b64encode(json.dumps(value).encode()).decode()}


@cache
def _sound() -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        writers = (
            written(Path(folder), first_script()),
            written(Path(folder), [(300, facts(4, "refused", code="policy.denied"))]),
        )
    last = writers[1]
    assert last.head is not None
    seal = {"writer": last.writer, "seq": 1, "head": last.head.head}
    run = events(seal)
    made = Export(
        task=TASK,
        namespace=NAMESPACE,
        writers=writers,
        chains={held().leaf.jti: held().jws},
        approvals=(approval(),),
        statements=(
            Stated(statement(1, Event.SUSPENDED, SUSPENDED), confirmed=True, staff=False),
            Stated(statement(2, Event.REINSTATED, REINSTATED), confirmed=True, staff=False),
        ),
        actions=GROUPS,
        history=(Run(RUN, len(run), history.digest(run), seal),),
        exported_at=NOW + 400,
        by=user("alice").spiffe_id,
        policy_sets=("p",),
        keys=jwks(),
    )
    return made.document()


def sound() -> dict[str, Any]:
    """Return an export in which everything holds, to be changed at will."""
    return copy.deepcopy(_sound())


def seal_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["history"][0]["seal"]
    return found


def verified_export(document: dict[str, Any], **given: Any) -> Report:
    return verify(read_export(json.dumps(document).encode()), **{"keys": trusted(), **given})


def codes(document: dict[str, Any], **given: Any) -> list[str]:
    return sorted({one.code.removeprefix("evidence.") for one in verified_export(document, **given).findings})


def rewritten(script: list[tuple[float, dict[str, Any]]]) -> dict[str, Any]:
    """Return an export whose first writer, records and head are genuine but say something else."""
    document = sound()
    with TemporaryDirectory() as folder:
        first = written(Path(folder), script)
    assert first.head is not None
    document["writers"][0] = {
        "writer": first.writer,
        "records": list(first.records),
        "head": {"head": first.head.head, "leaves": list(first.head.leaves)},
    }
    return document
