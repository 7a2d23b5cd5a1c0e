"""Statement: a signed revoke, suspend or reinstate of one delegation or one principal.

- It is a Security Event Token (RFC 8417) with exactly one event, no ``sub`` and no ``exp``.
- A revocation is final. A reinstatement lifts only suspensions dated before it, by the same issuer or one it overrules.
- A principal that was revoked may be reinstated and begin anew; what was delegated through it until then stays dead.
- The status is a fold over all statements in any order; repetition changes nothing.
- Only the delegator of that link, anyone above it, or a user whom Cedar permits may state anything.

Events: OpenID CAEP ``session-revoked`` for the final one; the other two are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from remit.claims import SKEW, Claims
from remit.delegation import Delegation
from remit.errors import InvalidDocument
from remit.principals import Principal

TYP = "secevent+jwt"
MAX_REASON = 500
"""Characters."""

_REQUIRED = frozenset({"iss", "aud", "jti", "iat", "sub_id", "events"})


class Event(StrEnum):
    """What a statement says."""

    REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
    SUSPENDED = "urn:remit:event:suspended"
    REINSTATED = "urn:remit:event:reinstated"


class Status(StrEnum):
    """Where a delegation or principal stands; only ``live`` carries authority."""

    LIVE = "live"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class DelegationSubject:
    """One delegation, named by its id and its delegator (RFC 9493 ``jwt_id``)."""

    jti: str
    iss: Principal


Subject = DelegationSubject | Principal


@dataclass(frozen=True, slots=True)
class Statement:
    """One event about one subject.

    Args:
        jti: Its id, a UUID.
        iss: Who says it.
        aud: ``remit:<trust-domain>``.
        iat: When, seconds.
        subject: A delegation, or a whole principal.
        event: What.
        reason: The person's words; may be empty.
    """

    jti: str
    iss: Principal
    aud: str
    iat: int
    subject: Subject
    event: Event
    reason: str = ""

    def to_claims(self) -> dict[str, Any]:
        """Return the claims to sign."""
        return {
            "iss": self.iss.spiffe_id,
            "aud": self.aud,
            "jti": self.jti,
            "iat": self.iat,
            "sub_id": _sub_id(self.subject),
            "events": {self.event.value: {"reason_admin": {"en": self.reason}} if self.reason else {}},
        }

    @classmethod
    def from_claims(cls, claims: object) -> Statement:
        """Read verified claims.

        Raises:
            InvalidDocument: ``statement.claims`` or ``statement.time``.
        """
        read = Claims(claims, document="statement", required=_REQUIRED)
        event, reason = _event(read)
        return cls(
            jti=read.uuid("jti"),
            iss=read.principal("iss"),
            aud=read.text("aud"),
            iat=read.time("iat"),
            subject=_subject(read),
            event=event,
            reason=reason,
        )


def check(statement: Statement, *, audience: str, subject: Subject, now: int) -> None:
    """Check that a statement is for us, about this subject and not made for later.

    A future date refuses only a reinstatement: a wrong clock must never keep authority alive.

    Args:
        statement: A verified statement.
        audience: ``remit:<trust-domain>``.
        subject: Whom or what it is read for.
        now: Seconds.

    Raises:
        InvalidDocument: ``statement.audience``, ``statement.subject`` or ``statement.not-yet``.
    """
    if statement.aud != audience or statement.iss.audience != audience:
        raise _broken("audience", "the statement is meant for another audience")
    if statement.subject != subject:
        raise _broken("subject", "the statement is about something else")
    if statement.event is Event.REINSTATED and statement.iat > now + SKEW:
        raise _broken("not-yet", "the reinstatement is dated in the future")


def whose(subject: Subject, links: Sequence[Delegation]) -> Principal:
    """Return whose tenant a subject is in: the root human's of a chain, or the principal's itself."""
    return links[0].sub if isinstance(subject, DelegationSubject) else subject


def may_state(
    statement: Statement, links: Sequence[Delegation], *, permitted: Callable[[Principal, Principal], bool]
) -> bool:
    """Tell whether its issuer may make this statement.

    Args:
        statement: A verified and checked statement.
        links: The verified chain, root first, at least down to the subject; not used for a principal.
        permitted: ``permitted(user, whose)``: whether Cedar permits a user ``revoke`` on what is this principal's.
    """
    if isinstance(statement.subject, DelegationSubject):
        for at, link in enumerate(links):
            if link.jti == statement.subject.jti:
                if link.iss != statement.subject.iss:
                    return False
                if statement.iss in {above.iss for above in links[: at + 1]}:
                    return True
                break
        else:
            return False  # an unknown delegation is nobody's to speak about
    return statement.iss.kind == "user" and permitted(statement.iss, whose(statement.subject, links))


def fold(statements: Iterable[Statement], *, overrules: Callable[[Principal, Principal], bool]) -> Status:
    """Return the status that the statements about one subject leave, whatever their order.

    Args:
        statements: Verified, checked and permitted ones.
        overrules: ``overrules(reinstating, suspending)``: whether one issuer may undo the other's suspension.
    """
    told = list(statements)
    if any(statement.event is Event.REVOKED for statement in told):
        return Status.REVOKED
    if any(one.event is Event.SUSPENDED and _lifted(one, told, overrules) is None for one in told):
        return Status.SUSPENDED
    return Status.LIVE


def fold_principal(
    statements: Iterable[Statement], *, overrules: Callable[[Principal, Principal], bool]
) -> tuple[Status, int]:
    """Return where the statements about one principal leave it, whatever their order.

    Args:
        statements, overrules: As for `fold`.

    Returns:
        Its status, and the second up to which delegations through it stay dead although it is not revoked any more;
        0 for none.
    """
    told = list(statements)
    lifted = [_lifted(one, told, overrules) for one in told if one.event is Event.REVOKED]
    if None in lifted:
        return Status.REVOKED, 0
    paused = fold((one for one in told if one.event is not Event.REVOKED), overrules=overrules)
    return paused, max((second for second in lifted if second is not None), default=0)


def _lifted(
    stop: Statement, told: Sequence[Statement], overrules: Callable[[Principal, Principal], bool]
) -> int | None:
    """Return when a stop was first undone; at the same second it stands: when in doubt, stop."""
    return min(
        (
            one.iat
            for one in told
            if one.event is Event.REINSTATED
            and one.iat > stop.iat
            and (one.iss == stop.iss or overrules(one.iss, stop.iss))
        ),
        default=None,
    )


def next_iat(statements: Iterable[Statement], *, now: int) -> int:
    """Return the date for a new statement: now, but after every earlier one about the same subject."""
    return max([now, *(statement.iat + 1 for statement in statements)])


def _sub_id(subject: Subject) -> dict[str, str]:
    if isinstance(subject, Principal):
        return {"format": "uri", "uri": subject.spiffe_id}
    return {"format": "jwt_id", "iss": subject.iss.spiffe_id, "jti": subject.jti}


def _subject(read: Claims) -> Subject:
    value = read.value("sub_id")
    if type(value) is dict and value.get("format") == "uri":
        return read.member("sub_id", frozenset({"format", "uri"})).principal("uri")
    named = read.member("sub_id", frozenset({"format", "iss", "jti"}))
    if named.value("format") != "jwt_id":
        raise read.invalid("sub_id.format", "is neither jwt_id nor uri")
    return DelegationSubject(named.uuid("jti"), named.principal("iss"))


def _event(read: Claims) -> tuple[Event, str]:
    value = read.value("events")
    if type(value) is not dict or len(value) != 1:
        raise read.invalid("events", "is not exactly one event")
    (name,) = value
    if name not in {event.value for event in Event}:
        raise read.invalid("events", "holds an unknown event")
    body = read.member("events", frozenset({name})).member(name, frozenset(), frozenset({"reason_admin"}))
    if "reason_admin" not in body:
        return Event(name), ""
    return Event(name), body.member("reason_admin", frozenset({"en"})).text("en", most=MAX_REASON)


def _broken(kind: str, message: str) -> InvalidDocument:
    return InvalidDocument(message, code=f"statement.{kind}")
