"""Approval: a signed yes or no of one person to one step with exactly these arguments.

- It names the request and the step's binding, so it fits no other step, run, delegation or input.
- It lives at most 24 hours; single use is the registry's part.
- The approver is a user, not the root human, and no principal of the chain (four eyes).
- Two approvals count as two only with different principals *and* different keys; one rejection wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Literal

from remit.claims import SKEW, Claims
from remit.errors import InvalidDocument
from remit.principals import Principal

TYP = "approval+jwt"
MAX_LIFETIME = 24 * 3600
"""Seconds from ``iat`` to ``exp`` at most."""
MAX_REASON = 500
"""Characters."""

Decision = Literal["approve", "reject"]

_REQUIRED = frozenset({"iss", "aud", "jti", "iat", "exp", "request", "binding", "decision"})
_OPTIONAL = frozenset({"reason"})


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's decision; the claims of ``approval+jwt``.

    Args:
        jti: Its id, a UUID; consumed once.
        iss: The approver.
        aud: ``remit:<trust-domain>``.
        iat: Issued, seconds.
        exp: Expires, seconds.
        request: `remit.step.request_id` of the step.
        binding: `remit.step.binding` of the step.
        decision: ``approve`` or ``reject``.
        reason: The person's words, or None.
    """

    jti: str
    iss: Principal
    aud: str
    iat: int
    exp: int
    request: str
    binding: str
    decision: Decision
    reason: str | None = None

    def to_claims(self) -> dict[str, Any]:
        """Return the claims to sign."""
        claims: dict[str, Any] = {
            "iss": self.iss.spiffe_id,
            "aud": self.aud,
            "jti": self.jti,
            "iat": self.iat,
            "exp": self.exp,
            "request": self.request,
            "binding": self.binding,
            "decision": self.decision,
        }
        if self.reason is not None:
            claims["reason"] = self.reason
        return claims

    @classmethod
    def from_claims(cls, claims: object) -> Approval:
        """Read verified claims.

        Raises:
            InvalidDocument: ``approval.claims`` or ``approval.time``.
        """
        read = Claims(claims, document="approval", required=_REQUIRED, optional=_OPTIONAL)
        decision = read.value("decision")
        if decision != "approve" and decision != "reject":
            raise read.invalid("decision", "is neither approve nor reject")
        return cls(
            jti=read.uuid("jti"),
            iss=read.principal("iss"),
            aud=read.text("aud"),
            iat=read.time("iat"),
            exp=read.time("exp"),
            request=read.text("request", most=64),
            binding=read.digest("binding"),
            decision=decision,
            reason=read.text("reason", most=MAX_REASON) if "reason" in read else None,
        )


def check(
    approval: Approval,
    *,
    request: str,
    binding: str,
    audience: str,
    root: Principal,
    principals: Collection[Principal],
    now: int,
) -> None:
    """Check that an approval answers this request, in time, from someone who is not part of it.

    Whether Cedar lets this person approve is decided elsewhere, at the moment of use.

    Args:
        approval: A verified approval.
        request: Id of the waiting request.
        binding: The step's binding, computed from the call itself.
        audience: ``remit:<trust-domain>``.
        root: The root human.
        principals: Every principal of the chain.
        now: Seconds.

    Raises:
        InvalidDocument: ``approval.audience``, ``approval.not-yet``, ``approval.expired``,
            ``approval.lifetime``, ``approval.request``, ``approval.binding``, ``approval.person`` or
            ``approval.four-eyes``.
    """
    if approval.aud != audience or approval.iss.audience != audience:
        raise _broken("audience", "the approval is meant for another audience")
    if approval.iat > now + SKEW:
        raise _broken("not-yet", "the approval is dated in the future")
    if approval.exp <= now - SKEW:
        raise _broken("expired", "the approval has expired", "Decide again.")
    if not approval.iat < approval.exp <= approval.iat + MAX_LIFETIME:
        raise _broken("lifetime", "an approval lasts more than 0 seconds and at most 24 hours")
    if approval.request != request:
        raise _broken("request", "the approval answers another request")
    if not compare_digest(approval.binding, binding):
        raise _broken("binding", "the approval is for other arguments", "Read the request again and decide.")
    if approval.iss.kind != "user":
        raise _broken("person", "only a person approves")
    if approval.iss == root or approval.iss in principals:
        raise _broken("four-eyes", f"{approval.iss.short} is part of the task", "Someone else must decide.")


def distinct(approvals: Sequence[tuple[Approval, str]]) -> tuple[Approval, ...]:
    """Return the approvals that count, in order: one for each principal, one for each key.

    Args:
        approvals: Checked decisions, each with the ``kid`` that signed it. Rejections never count.
    """
    counted: list[Approval] = []
    seen: set[Principal | str] = set()
    for approval, kid in approvals:
        if approval.decision == "approve" and seen.isdisjoint({approval.iss, kid}):
            counted.append(approval)
            seen |= {approval.iss, kid}
    return tuple(counted)


def rejection(approvals: Iterable[Approval]) -> Approval | None:
    """Return the first rejection, which outweighs every approval, or None."""
    return next((approval for approval in approvals if approval.decision == "reject"), None)


def _broken(kind: str, message: str, next_action: str = "") -> InvalidDocument:
    return InvalidDocument(message, code=f"approval.{kind}", next_action=next_action)
