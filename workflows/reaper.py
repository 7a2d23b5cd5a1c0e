"""Reaper: one reconciliation of registry, OpenBao and PostgreSQL, started by the schedule `remit-reaper`.

- A workflow of its own for each run, so its history never grows. Its result is the report.
- It ends well whatever happens: what one run could not do the next one does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from remit.reaping import ACTIVITY, WORKFLOW
from remit.reaping.report import markdown

_RUN = timedelta(seconds=60)
_BEAT = timedelta(seconds=10)
_RETRY = RetryPolicy(maximum_attempts=2)


@workflow.defn(name=WORKFLOW)
class Reaper:
    """One run."""

    @workflow.run
    async def run(self) -> dict[str, Any]:
        """Return what was found, see `remit.reaping.report`; ``{"failed": code}`` when the run could not be made."""
        try:
            report: dict[str, Any] = await workflow.execute_activity(
                ACTIVITY,
                start_to_close_timeout=_RUN,
                heartbeat_timeout=_BEAT,
                retry_policy=_RETRY,
                summary="registry, leases, database users, cascades",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            cause = error.__cause__
            report = {"failed": (isinstance(cause, ApplicationError) and cause.type) or type(cause).__name__}
        workflow.set_current_details(markdown(report))
        return report
