"""What is said of a task that failed: the refusal, whatever a framework made of it."""

from __future__ import annotations

from temporalio.exceptions import ActivityError, ApplicationError, RetryState

from remit.errors import Denied
from remit.temporal._failure import ending_of, to_application_error


def step_failed(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "Activity task failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="",
        activity_type="look",
        activity_id="1",
        retry_state=RetryState.NON_RETRYABLE_FAILURE,
    )
    error.__cause__ = cause
    return error


def refused() -> ActivityError:
    return step_failed(to_application_error(Denied("not in its remit", code="policy.denied")))


def test_a_refusal_is_said_as_it_is() -> None:
    assert ending_of(refused()) == ("policy.denied", "not in its remit")


def test_what_a_framework_makes_of_a_refusal_is_passed_over() -> None:
    error = LookupError("the run failed")
    error.__cause__ = ValueError("in a tool")
    error.__cause__.__cause__ = refused()
    assert ending_of(error) == ("policy.denied", "not in its remit")


def test_what_an_author_raises_stands() -> None:
    error = ApplicationError("no flights today", type="desk.closed")
    error.__cause__ = refused()
    assert ending_of(error) == ("desk.closed", "no flights today")


def test_what_no_refusal_caused_stands() -> None:
    error = LookupError("the run failed")
    error.__cause__ = step_failed(ApplicationError("broken", type="Broken"))
    assert ending_of(error) == ("LookupError", "the run failed")
    error.__cause__ = error
    assert ending_of(error) == ("LookupError", "the run failed")
