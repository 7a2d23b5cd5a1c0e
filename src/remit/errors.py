"""Every error of Remit, in one tree.

    RemitError                what happened, what to do next, a stable code
    ├── Refused               a final no; never retried by itself       exit status 1
    │   ├── InvalidDocument   a signed document breaks a rule (`rule` is its number in the chain rules)
    │   ├── Denied            Cedar said no (`policies` decided)
    │   ├── NeedsApproval     a person must decide first (`request` says what)
    │   ├── Rejected          a person said no
    │   ├── NotLive           revoked, suspended or expired (`status`, `subject`)
    │   └── OverBudget        the step would pass a ceiling of the chain
    ├── Usage                 the caller asked for something malformed  exit status 2
    └── Held                  something needed is unreachable; retried  exit status 3

`retryable` alone decides whether Temporal retries an attempt: an outage holds, a refusal ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

HELD = "held:"
"""Begins the type of a failure in Temporal that says no more than that something needed did not answer."""


class RemitError(Exception):
    """Base of the tree.

    Args:
        message: What happened, one line, no secret.
        code: Stable identifier, dotted lower case, e.g. ``chain.par-hash``.
        next_action: What the reader can do about it, one line; may be empty.
    """

    default_code: ClassVar[str] = "remit.error"
    retryable: ClassVar[bool] = False
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, code: str | None = None, next_action: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.next_action = next_action

    def facts(self) -> dict[str, Any]:
        """Return what travels with the error across Temporal: JSON values, no secret."""
        return {"code": self.code, "message": self.message, "next_action": self.next_action}

    def diagnostics(self) -> str:
        """Return the one or two lines a person reads: what happened, what to do, the code."""
        first = f"{self.message} [{self.code}]"
        return f"{first}\n{self.next_action}" if self.next_action else first


class Refused(RemitError):
    """A final no."""

    default_code = "refused"


class InvalidDocument(Refused):
    """A signed document breaks a verification rule.

    Args:
        rule: Number of the broken rule among the chain rules, 0 where none applies.
    """

    default_code = "document.invalid"

    def __init__(self, message: str, *, code: str | None = None, rule: int = 0, next_action: str = "") -> None:
        super().__init__(message, code=code, next_action=next_action)
        self.rule = rule

    def facts(self) -> dict[str, Any]:
        """Add the rule's number."""
        return {**super().facts(), "rule": self.rule}


class Denied(Refused):
    """Cedar denies; ``policies`` are the ids that decided (empty: nothing permits)."""

    default_code = "policy.denied"

    def __init__(
        self, message: str, *, code: str | None = None, policies: tuple[str, ...] = (), next_action: str = ""
    ) -> None:
        super().__init__(message, code=code, next_action=next_action)
        self.policies = policies

    def facts(self) -> dict[str, Any]:
        """Add the deciding policies."""
        return {**super().facts(), "policies": list(self.policies)}


class NeedsApproval(Refused):
    """A person must decide first.

    Args:
        request: ``{"request", "binding", "action", "resource", "input", "approvers": [role…],
            "policies": [id…], "wait": seconds | None, "refused": [{"code", "message"}…]}``
    """

    default_code = "approval.needed"

    def __init__(self, message: str, *, request: Mapping[str, Any], next_action: str = "") -> None:
        super().__init__(message, next_action=next_action)
        self.request = dict(request)

    def facts(self) -> dict[str, Any]:
        """Add the request."""
        return {**super().facts(), "request": self.request}


class Rejected(Refused):
    """A person said no to this step."""

    default_code = "approval.rejected"


class NotLive(Refused):
    """The chain carries no authority now.

    Args:
        status: ``revoked``, ``suspended`` or ``expired``.
        subject: The delegation id or SPIFFE ID the status is about.
    """

    default_code = "chain.not-live"

    def __init__(self, message: str, *, status: str, subject: str, next_action: str = "") -> None:
        super().__init__(message, code=f"chain.{status}", next_action=next_action)
        self.status = status
        self.subject = subject

    def facts(self) -> dict[str, Any]:
        """Add status and subject."""
        return {**super().facts(), "status": self.status, "subject": self.subject}


class OverBudget(Refused):
    """The step would take some link of the chain above its budget."""

    default_code = "budget.exceeded"


class Usage(RemitError):
    """The caller asked for something malformed."""

    default_code = "usage"
    exit_status = 2


class Held(RemitError):
    """Something needed is unreachable: the step waits and is tried again, it is never let through."""

    default_code = "held"
    retryable = True
    exit_status = 3
