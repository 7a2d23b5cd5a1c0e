"""Attempts: every permitted one had its authority at that moment, and every one has its end.

- Its chain verifies, is the one the record names, and held at the record's time.
- A step that needed a person names approvals of exactly that step, by people outside the chain, each used for it alone.
- Nothing was permitted while a statement of the export was in force; two clocks may differ by 30 s.
- What a record says was stopped is explained by a statement. A statement no record felt can be left out unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from remit import jose
from remit.approvals import check, distinct
from remit.chain import Chain, check_time
from remit.claims import SKEW
from remit.delegation import TYP as DELEGATION
from remit.delegation import ActionGroups
from remit.errors import InvalidDocument
from remit.evidence.findings import Finding, found
from remit.evidence.records import Record
from remit.evidence.signed import Signed
from remit.statements import DelegationSubject, Event
from remit.step import request_id

ENDINGS = frozenset({"ok", "error", "cancelled", "stopped"})
_STOPPED = {"chain.revoked": Event.REVOKED, "chain.suspended": Event.SUSPENDED}


def check_all(records: Sequence[Record], signed: Signed, *, audience: str, groups: ActionGroups) -> list[Finding]:
    """Return what does not hold about a task's records of all writers."""
    wrong: list[Finding] = []
    uses: dict[str, tuple[Any, ...]] = {}
    for one in records:
        event, outcome = one.facts.get("event"), one.facts.get("outcome")
        wrong += _named(one, signed)
        if event == "attempt" and outcome == "permitted":
            wrong += _permitted(one, signed, audience=audience, groups=groups)
            wrong += _single_use(one, uses)
        if one.facts.get("code") in _STOPPED:
            wrong += _explained(one, signed)
    return wrong + list(_ends(records))


def _named(one: Record, signed: Signed) -> Iterator[Finding]:
    """Find documents that a record names and the export does not hold."""
    digest = one.facts.get("digest")
    if digest is not None and digest not in signed.chains:
        yield found(
            "chain-missing",
            "the chain it acted under is not in the export, or does not verify",
            delegation=one.facts.get("delegation"),
            **one.where,
        )
    ids = [given.get("id") for given in one.facts.get("approvals") or ()]
    if one.facts.get("event") == "decision" and one.facts.get("approval"):
        ids.append(one.facts["approval"])
    for jti in ids:
        if jti not in signed.approvals:
            yield found("approval-missing", "an approval it names is not in the export", approval=jti, **one.where)


def _permitted(one: Record, signed: Signed, *, audience: str, groups: ActionGroups) -> Iterator[Finding]:
    facts = one.facts
    chain = signed.chains.get(str(facts.get("digest")))
    if chain is None:
        return
    said = [facts.get(name) for name in ("delegation", "chain", "root", "agent")]
    if said != [chain.leaf.jti, list(chain.ids), chain.root.spiffe_id, chain.agent.spiffe_id]:
        yield found("chain", "it says of its chain what the chain does not", **one.where)
    action = str(facts.get("action"))
    if {action, *groups.get(action, ())}.isdisjoint(chain.leaf.scope.actions):
        yield found("scope", f"its chain does not hold {action}", **one.where)
    try:
        check_time(chain, int(one.time))
    except InvalidDocument as error:
        yield found("chain", f"its chain did not hold then: {error.message} [{error.code}]", **one.where)
    if (stopped := signed.stopped(chain, one.time)) is not None:
        yield found("stopped", f"it was permitted although {stopped} was stopped", **one.where)
    yield from _approved(one, chain, signed, audience=audience)


def _approved(one: Record, chain: Chain, signed: Signed, *, audience: str) -> Iterator[Finding]:
    facts, bound = one.facts, one.facts.get("binding")
    given = facts.get("approvals") or ()
    if bound is None:
        if given:
            yield found("approval", "it does not say what was approved", **one.where)
        return
    if not given:
        yield found("approval-missing", "it needed a person and names no approval", **one.where)
    if facts.get("request") != request_id(str(bound), facts.get("step") or 0):
        yield found("approval", "its request is another step's", **one.where)
    held = [signed.approvals[named["id"]] for named in given if named.get("id") in signed.approvals]
    keys = {chain.key.kid, *(jose.peek_kid(token, typ=DELEGATION) for token in chain.jws)}
    for approval, kid in held:
        try:
            if approval.decision != "approve":
                raise InvalidDocument("it is a rejection", code="approval.rejected")
            if kid in keys:
                raise InvalidDocument("its key is part of the chain", code="approval.four-eyes")
            check(
                approval,
                request=str(facts.get("request")),
                binding=str(bound),
                audience=audience,
                root=chain.root,
                principals=chain.principals,
                now=int(one.time),
            )
        except InvalidDocument as error:
            message = f"an approval does not count: {error.message} [{error.code}]"
            yield found("approval", message, approval=approval.jti, **one.where)
        if signed.barred(approval.iss, one.time):
            yield found("approval", f"{approval.iss.short} was stopped then", approval=approval.jti, **one.where)
    if len(distinct(held)) != len(held):
        yield found("approval", "two of its approvals are one person's, or of one key", **one.where)


def _single_use(one: Record, uses: dict[str, tuple[Any, ...]]) -> Iterator[Finding]:
    use = (one.facts.get("run"), one.facts.get("step"), one.facts.get("binding"))
    for named in one.facts.get("approvals") or ():
        if uses.setdefault(str(named.get("id")), use) != use:
            yield found("approval-used", "an approval was used by two steps", approval=named.get("id"), **one.where)


def _explained(one: Record, signed: Signed) -> Iterator[Finding]:
    """Find a stop that no statement of the export explains."""
    chain = signed.chains.get(str(one.facts.get("digest")))
    if chain is None:
        return
    subjects = {*(DelegationSubject(link.jti, link.iss) for link in chain.links), *chain.principals}
    wanted = _STOPPED[one.facts["code"]]
    if not any(
        told.event is wanted and told.subject in subjects and told.iat <= one.time + SKEW for told in signed.statements
    ):
        yield found("statement-missing", f"no statement explains why it was {one.facts['code'][6:]}", **one.where)


def _ends(records: Sequence[Record]) -> Iterator[Finding]:
    """Find permitted attempts without an end, and ends without a permit before them."""
    begun: dict[tuple[str, str], Record] = {}
    for one in records:
        if one.facts.get("event") != "attempt":
            continue
        grant = (one.writer, str(one.facts.get("grant")))
        if one.facts.get("outcome") == "permitted":
            if grant in begun:
                yield found("repeated", "one grant was permitted twice", grant=grant[1], **one.where)
            begun[grant] = one
        elif one.facts.get("outcome") in ENDINGS and begun.pop(grant, None) is None:
            yield found("unbegun", "it ended and was never permitted", grant=grant[1], **one.where)
    for (_, grant_id), one in begun.items():
        yield found(
            "unended",
            "nothing says how it ended: it was running, or its worker died",
            grant=grant_id,
            **one.where,
        )
