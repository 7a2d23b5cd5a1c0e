"""Failures without secrets: what an attempt raises, and the converter that has the last look before anything leaves.

- The interceptor has an attempt's exception cleaned at once. Whatever reaches the converter by another way (a worker's
  own error, a failure of an interceptor further out, a workflow's) loses the secrets of every attempt that lives here.
- The user's own converter does the converting; the result is cleaned: message, stack trace, details, causes.
- A payload that is no JSON any more without the secret is replaced as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import FailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError, CancelledError

from remit.attempt import Grant
from remit.credentials.living import known
from remit.credentials.scrub import REDACTED, holds, leaks, scrub, scrub_text
from remit.errors import RemitError
from remit.temporal._failure import to_application_error

_DETAILS = (
    ("application_failure_info", "details"),
    ("canceled_failure_info", "details"),
    ("timeout_failure_info", "last_heartbeat_details"),
    ("reset_workflow_failure_info", "last_heartbeat_details"),
)


class Scrubbing(FailureConverter):
    """Converts with another converter and cleans what it made; made by `scrubbing`."""

    over: type[FailureConverter]

    def __init__(self) -> None:
        self._over = self.over()

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Convert an exception."""
        self._over.to_failure(exception, payload_converter, failure)
        if secrets := known():
            _clean(failure, secrets, payload_converter)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """Convert a failure back."""
        return self._over.from_failure(failure, payload_converter)


def scrubbing(over: type[FailureConverter]) -> type[FailureConverter]:
    """Return a converter class that cleans what this one makes; itself, if it does so already."""
    return over if issubclass(over, Scrubbing) else type("RemitFailures", (Scrubbing,), {"over": over})


def cleaned(error: BaseException, grant: Grant) -> BaseException:
    """Return the exception; rebuilt as text when it or a cause of it holds a secret, or when it must be final."""
    once = grant.attempt.once
    if isinstance(error, RemitError) and not once:
        return _told(to_application_error(error), grant)
    kept = error if isinstance(error, ApplicationError) else None
    final = isinstance(error, CancelledError) or (kept is not None and kept.non_retryable)
    if (final or not once) and not holds(error, grant.secrets):
        return error
    if isinstance(error, CancelledError):
        return CancelledError("Cancelled")
    return ApplicationError(
        scrub_text(str(error), grant.secrets),
        type=scrub_text(
            (kept.type if kept else error.code if isinstance(error, RemitError) else "") or type(error).__name__,
            grant.secrets,
        ),
        non_retryable=once or (kept is not None and kept.non_retryable),
        next_retry_delay=kept.next_retry_delay if kept else None,
    )


def _told(error: ApplicationError, grant: Grant) -> ApplicationError:
    """Return an error of Remit's that a tool raised, without secrets in what it says."""
    if not holds(error, grant.secrets):
        return error
    return ApplicationError(
        scrub_text(error.message, grant.secrets),
        *scrub(error.details, grant.secrets),
        type=scrub_text(error.type or "", grant.secrets),
        non_retryable=error.non_retryable,
        next_retry_delay=error.next_retry_delay,
        category=error.category,
    )


def _clean(failure: Failure, secrets: Sequence[str], payload_converter: PayloadConverter) -> None:
    while True:
        failure.message = scrub_text(failure.message, secrets)
        failure.stack_trace = scrub_text(failure.stack_trace, secrets)
        if failure.HasField("application_failure_info"):
            told = failure.application_failure_info
            told.type = scrub_text(told.type, secrets)
        if failure.HasField("encoded_attributes"):
            _cleaned(failure.encoded_attributes, secrets, payload_converter)
        for info, name in _DETAILS:
            if failure.HasField(info):  # type: ignore[arg-type]
                for payload in getattr(getattr(failure, info), name).payloads:
                    _cleaned(payload, secrets, payload_converter)
        if not failure.HasField("cause"):
            return
        failure = failure.cause


def _cleaned(payload: Payload, secrets: Sequence[str], payload_converter: PayloadConverter) -> None:
    if not leaks(payload.data, secrets):
        return
    data = scrub(payload.data, secrets)
    try:
        json.loads(data)
    except ValueError:
        payload.CopyFrom(payload_converter.to_payloads([REDACTED])[0])
    else:
        payload.data = data
