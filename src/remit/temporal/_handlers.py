"""What every workflow on a governed worker answers to.

No `from __future__ import annotations` here: Temporal reads these annotations anew for every workflow that starts, and
evaluating them from text took longer than the rest of the start.
"""

import asyncio
from typing import Any, NoReturn

from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from remit.temporal._children import Children
from remit.temporal._task import Answer, GovernedTask, as_reference


class Handlers:
    """What a workflow answers to; also how `remit.temporal.workflow` finds the task it runs in."""

    def __init__(self, task: GovernedTask, children: Children) -> None:
        self.task = task
        self.children = children

    def signal(self, argument: RawValue = None) -> None:  # type: ignore[assignment]  # Temporal knows no optional one
        """Stand in for the handler; `Inbound.handle_signal` takes the signals themselves.

        Raw: Temporal logs a stack trace for each it cannot decode, and thousands of them keep a workflow from yielding.
        """

    def view(self) -> dict[str, Any]:
        """Answer `remit.view`."""
        return self.task.shown().to_json()

    async def decide(self, token: Any = None) -> Answer:
        """Answer `remit.decide`: take a signed decision in and tell what became of it."""
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return self.task.desk.put(token, reply=reply) or await reply

    def check_decision(self, token: Any = None) -> None:
        """Keep what is no decision out of the history."""
        self._require_governed()
        if not self.task.desk.readable(token):
            _refuse("approval.malformed", "this is not a signed decision")

    def check_reference(self, reference: Any = None) -> None:
        """Keep what is no reference out of the history."""
        self._require_governed()
        if as_reference(reference) is None:
            _refuse("delegation.reference", "this is not a reference to a delegation")

    def _require_governed(self) -> None:
        if self.task.over:
            _refuse("task.over", "this task takes no decisions any more")

    async def resume(self, reference: Any = None) -> Answer:
        """Answer `remit.resume`: take a fresh delegation in and tell whether the task goes on under it."""
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return self.task.resume(reference, reply=reply) or await reply


def _refuse(code: str, message: str) -> NoReturn:
    raise ApplicationError(message, type=code, non_retryable=True)
