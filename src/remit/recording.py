"""Recording: what the audit log says of one attempt.

- Facts are noted as they become known, so that a refusal's record holds all that was known when it was refused.
- A permitted attempt has a record before its tool runs and one when it ended; any other has exactly one, also when it
  ended before the authority could be asked about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from remit.attempt import Attempt, Unasked
from remit.audit import AuditLog
from remit.errors import Denied, Held, RemitError


class AttemptRecord:
    """The record of one attempt while it is being made.

    Args:
        policy_set: Digest of the policies that decide.
        clock: Unix seconds.
    """

    __slots__ = ("_audit", "_began", "_clock", "_facts")

    def __init__(self, attempt: Attempt, *, audit: AuditLog, policy_set: str, clock: Callable[[], float]) -> None:
        self._audit = audit
        self._clock = clock
        self._began = clock()
        self._facts: dict[str, Any] = {
            "event": "attempt",
            "namespace": attempt.namespace,
            "task": attempt.task,
            "run": attempt.run,
            "step": attempt.step,
            "activity": attempt.activity,
            "attempt": attempt.attempt,
            "tool": attempt.tool,
            "action": attempt.call.action,
            "resource": attempt.call.resource,
            "delegation": attempt.reference.delegation,
            "policy_set": policy_set,
        }

    def note(self, **facts: Any) -> None:
        """Add facts to every record written from now on."""
        self._facts |= facts

    def write(
        self,
        outcome: str,
        *,
        error: RemitError | None = None,
        code: str | None = None,
        pending: str | None = None,
    ) -> None:
        """Append a record.

        Args:
            outcome: ``permitted``, ``refused``, ``held``, ``failed``, or how a permitted attempt ended: ``ok``,
                ``error``, ``cancelled``, ``stopped``.
            error: Why it was refused or held.
            code: A stable code or an exception's type name.
            pending: Why its lease could not be destroyed yet.
        """
        record = {**self._facts, "outcome": outcome, "ms": round((self._clock() - self._began) * 1000, 2)}
        if error is not None:
            record = {**_why(error), **record}
        if code:
            record["code"] = code
        if pending:
            record["pending"] = pending
        self._audit.append(record)


def record_refusal(attempt: Unasked, error: BaseException, *, audit: AuditLog) -> None:
    """Append the record of an attempt that ended before the authority could be asked about it."""
    record: dict[str, Any] = {"event": "attempt", **attempt.facts(), "outcome": outcome_of(error)}
    audit.append(record | (_why(error) if isinstance(error, RemitError) else {"code": type(error).__name__}))


def outcome_of(error: BaseException) -> str:
    """Return the outcome of an attempt that ends with this before its tool began."""
    if not isinstance(error, RemitError):
        return "failed"
    return "held" if isinstance(error, Held) else "refused"


def _why(error: RemitError) -> dict[str, Any]:
    why: dict[str, Any] = {"code": error.code, "message": error.message}
    return why | ({"policies": list(error.policies)} if isinstance(error, Denied) else {})
