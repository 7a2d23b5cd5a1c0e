"""The workflows that are measured. They know nothing of Remit; the same code runs governed and ungoverned."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

SOON = timedelta(seconds=60)
LONG = timedelta(minutes=10)
ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn(name="bench.Steps")
class Steps:
    """Runs one activity so many times, one after the other; returns the seconds of each."""

    @workflow.run
    async def run(self, activity: str, argument: dict[str, Any], count: int) -> list[float]:
        """Return how long each step took, from its scheduling to the next workflow task."""
        taken = []
        for _ in range(count):
            began = workflow.time()
            await workflow.execute_activity(activity, argument, start_to_close_timeout=SOON)
            taken.append(workflow.time() - began)
        return taken


@workflow.defn(name="bench.Fan")
class Fan:
    """Starts children that each run one long step under the same delegation, and is itself one of them."""

    @workflow.run
    async def run(self, activity: str, argument: dict[str, Any], children: int) -> None:
        """Return when all are over."""
        own = workflow.info().workflow_id
        begun = [
            workflow.execute_child_workflow("bench.Fan", args=[activity, argument, 0], id=f"{own}-{number}")
            for number in range(children)
        ]
        step = workflow.execute_activity(activity, argument, start_to_close_timeout=LONG, retry_policy=ONCE)
        await asyncio.gather(step, *begun)
