"""What people and agents signed: the chains, approvals and statements of an export, verified by the given keys.

- A chain's root is signed with a key of its human; every other key comes from the chain (rules 1 to 13).
- A statement counts from the delegator of that link or anyone above; from somebody else only if it was found permitted.
  That, and whether its issuer may undo what others stated, is the exporter's word and not a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from remit import jose
from remit.approvals import TYP as APPROVAL
from remit.approvals import Approval
from remit.chain import Chain, verify_chain
from remit.claims import SKEW
from remit.delegation import TYP as DELEGATION
from remit.delegation import ActionGroups, Delegation
from remit.errors import InvalidDocument
from remit.evidence.document import Export
from remit.evidence.findings import Finding, found
from remit.evidence.keys import Keys
from remit.principals import Principal
from remit.statements import TYP as SECEVENT
from remit.statements import DelegationSubject, Event, Statement, Status, Subject, fold, fold_principal, may_state


@dataclass(slots=True)
class Signed:
    """What verifies.

    Args:
        chains: Chain digest → chain. approvals: Id → approval and the thumbprint that signed it.
        statements: Those whose issuer could make them. staff: Who may undo what others stated about what.
    """

    chains: dict[str, Chain] = field(default_factory=dict)
    approvals: dict[str, tuple[Approval, str]] = field(default_factory=dict)
    statements: list[Statement] = field(default_factory=list)
    staff: set[tuple[Principal, Subject]] = field(default_factory=set)

    def stopped(self, chain: Chain, at: float) -> str | None:
        """Return what of a chain was not live at a moment, whatever two clocks make of it; None: all was live."""
        for link in chain.links:
            subject = DelegationSubject(link.jti, link.iss)
            if fold(self._known(subject, at), overrules=self._overrules(subject)) is not Status.LIVE:
                return f"delegation {link.jti}"
        for who in chain.principals:
            if self.barred(who, at, links=chain.links):
                return who.short
        return None

    def barred(self, who: Principal, at: float, *, links: Sequence[Delegation] = ()) -> bool:
        """Tell whether a principal was stopped at a moment, or these links through it stay dead since it was."""
        status, until = fold_principal(self._known(who, at), overrules=self._overrules(who))
        dated = [link.iat for link in links if who in (link.iss, link.delegate)]
        return status is not Status.LIVE or (bool(dated) and min(dated) <= until)

    def _known(self, subject: Subject, at: float) -> Iterator[Statement]:
        """Yield what was surely said before a moment, and what may have lifted it."""
        for one in self.statements:
            leeway = SKEW if one.event is Event.REINSTATED else -SKEW
            if one.subject == subject and one.iat <= at + leeway:
                yield one

    def _overrules(self, subject: Subject) -> Callable[[Principal, Principal], bool]:
        return lambda later, _: (later, subject) in self.staff


def verify(export: Export, *, keys: Keys, groups: ActionGroups) -> tuple[Signed, list[Finding]]:
    """Return what verifies of an export's signed documents, and what does not."""
    signed, wrong = Signed(), []
    for leaf, links in export.chains.items():
        try:
            chain = _chain(links, keys=keys, groups=groups)
            if chain.leaf.jti != leaf:
                raise InvalidDocument("it is another delegation's chain", code="chain.leaf")
            signed.chains[chain.digest] = chain
        except InvalidDocument as error:
            wrong.append(_invalid("chain", "a chain", error, delegation=leaf))
    for at, token in enumerate(export.approvals, start=1):
        try:
            owner, key = keys.key(jose.peek_kid(token, typ=APPROVAL))
            approval = Approval.from_claims(jose.verify(token, typ=APPROVAL, key=key))
            if approval.iss.spiffe_id != owner:
                raise InvalidDocument("it is not its signer's", code="approval.issuer")
            signed.approvals[approval.jti] = (approval, key.kid)
        except InvalidDocument as error:
            wrong.append(_invalid("approval", "an approval", error, number=at))
    down_to: dict[str, Sequence[Delegation]] = {
        link.jti: chain.links[: at + 1] for chain in signed.chains.values() for at, link in enumerate(chain.links)
    }
    for at, told in enumerate(export.statements, start=1):
        try:
            statement = _statement(told.jws, keys=keys)
        except InvalidDocument as error:
            wrong.append(_invalid("statement", "a statement", error, number=at))
            continue
        about = statement.subject
        above = down_to.get(about.jti, ()) if isinstance(about, DelegationSubject) else ()
        if may_state(statement, above, permitted=_was if told.confirmed else _was_not):
            signed.statements.append(statement)
        if told.staff:
            signed.staff.add((statement.iss, about))
    return signed, wrong


def _chain(links: Sequence[str], *, keys: Keys, groups: ActionGroups) -> Chain:
    if not links:
        raise InvalidDocument("it is empty", code="chain.length", rule=1)
    owner, key = keys.key(jose.peek_kid(links[0], typ=DELEGATION))
    anchors: Mapping[str, jose.PublicKey] = {owner: key}
    return verify_chain(links, anchors=anchors, audience=keys.audience, now=None, groups=groups)


def _statement(token: str, *, keys: Keys) -> Statement:
    owner, key = keys.key(jose.peek_kid(token, typ=SECEVENT))
    statement = Statement.from_claims(jose.verify(token, typ=SECEVENT, key=key))
    if statement.iss.spiffe_id != owner or statement.aud != keys.audience:
        raise InvalidDocument("it is not its signer's", code="statement.issuer")
    return statement


def _was(_user: Principal, _whose: Principal) -> bool:
    return True


def _was_not(_user: Principal, _whose: Principal) -> bool:
    return False


def _invalid(kind: str, what: str, error: InvalidDocument, **where: object) -> Finding:
    return found(kind, f"{what} does not verify: {error.message} [{error.code}]", **where)
