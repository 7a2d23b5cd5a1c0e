"""An outage, in the service's own activities: one line in the log and another try, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import activity

from remit.errors import Held
from remit.temporal._failure import to_application_error


@contextmanager
def held() -> Iterator[None]:
    """Hold what is inside.

    Raises:
        ApplicationError: Something did not answer; Temporal tries again, and logs nothing by itself. Whatever else is
            raised passes as it is: it is not expected, and its traceback is wanted.
    """
    try:
        yield
    except Held as error:
        activity.logger.warning("%s [%s]; it is tried again", error.message, error.code)
        raise to_application_error(error, attempt=activity.info().attempt) from None
