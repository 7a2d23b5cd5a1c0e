"""Errors across Temporal: an error of Remit becomes an `ApplicationError` and is recognised again in the workflow.

- `type` is the stable code; `non_retryable` follows the error's own `retryable`; the one detail holds the facts.
- The workflow acts only on facts this module wrote; a tool that imitates them can make its own step wait, no more.
- Refusals are expected outcomes: they carry no cause and are logged quietly.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    RetryState,
    TimeoutError,
)

from remit.errors import HELD, Held, NeedsApproval, NotLive, RemitError


def kind_of(error: RemitError) -> str:
    """Return what the workflow does about an error: ``Held``, ``NeedsApproval``, ``NotLive`` or ``Refused``."""
    return next((one.__name__ for one in (Held, NeedsApproval, NotLive) if isinstance(error, one)), "Refused")


def to_application_error(error: RemitError, *, attempt: int = 1, tells: bool = False) -> ApplicationError:
    """Return what Temporal carries of an error.

    Args:
        attempt: Temporal's attempt number; spaces the retries of an outage from 1 s to 60 s.
        tells: Whether the model that asked is told, and the agent goes on. It stands in the failure, so that a
            workflow that is replayed under another mapping does the same again.
    """
    return ApplicationError(
        error.message,
        {"remit": kind_of(error), **error.facts(), **({"tells": True} if tells else {})},
        type=error.code,
        non_retryable=not error.retryable,
        next_retry_delay=timedelta(seconds=min(60, 2 ** min(attempt - 1, 6))) if error.retryable else None,
        category=ApplicationErrorCategory.BENIGN,
    )


def facts_of(error: BaseException | None) -> tuple[str, Mapping[str, Any]]:
    """Return ``(kind, facts)`` of the error of Remit behind a failure, ``("", {})`` when there is none.

    A step that timed out while it was held counts as held: Temporal keeps the last attempt's failure as the cause.
    """
    seen = 0
    while error is not None and seen < 8:
        if isinstance(error, ApplicationError):
            if error.type and error.type.startswith(HELD) and not error.details:
                # Without OpenBao nothing can be encrypted, so such a failure has no facts (remit.codec).
                code = error.type.removeprefix(HELD)
                return Held.__name__, {"remit": Held.__name__, "code": code, "message": error.message}
            found = error.details[0] if error.details else None
            if isinstance(found, dict) and isinstance(found.get("remit"), str):
                return found["remit"], found
            return "", {}
        if not isinstance(error, ActivityError | ChildWorkflowError | TimeoutError):
            return "", {}
        error = error.__cause__
        seen += 1
    return "", {}


def ending_of(error: BaseException) -> tuple[str, str]:
    """Return ``(code, message)`` of what ended a task: the error at the bottom of activities and children.

    What a framework raises because a step failed says less than that step's refusal, and is passed over for it.
    """
    error = _refusal(error) or error
    while isinstance(error, ActivityError | ChildWorkflowError) and error.__cause__ is not None:
        error = error.__cause__
    code = error.type if isinstance(error, ApplicationError) and error.type else type(error).__name__
    message = error.message if isinstance(error, FailureError) else str(error)
    return code, message[:500]


def _refusal(error: BaseException | None) -> FailureError | None:
    """Return the refused step behind an error that is not Temporal's; an author's own `ApplicationError` hides it."""
    for _ in range(8):
        if isinstance(error, FailureError):
            return error if facts_of(error)[0] else None
        error = error.__cause__ if error is not None else None
    return None


def was_cancelled(error: BaseException) -> bool:
    """Tell whether an activity ended because it was told to: cancelled, or out of heartbeats.

    A local activity's failure comes bare, an activity's as the cause of an `ActivityError`.
    """
    return isinstance(error.__cause__ if isinstance(error, ActivityError) else error, CancelledError | TimeoutError)


def was_cut_off(error: BaseException) -> bool:
    """Tell whether an activity failed in a way that is tried again, and was not only because it had been told to stop.

    So fails, for example, an attempt whose worker is shut down while it is being stopped.
    """
    if not isinstance(error, ActivityError) or error.retry_state is not RetryState.CANCEL_REQUESTED:
        return False
    cause = error.__cause__
    return not (isinstance(cause, ApplicationError) and cause.non_retryable)
