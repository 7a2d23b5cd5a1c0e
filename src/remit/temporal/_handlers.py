"""What every workflow on a governed worker answers to."""

from __future__ import annotations

import asyncio
from typing import Any

from remit.temporal._children import Children
from remit.temporal._task import Answer, GovernedTask


class Handlers:
    """What a workflow answers to; also how `remit.temporal.workflow` finds the task it runs in."""

    def __init__(self, task: GovernedTask, children: Children) -> None:
        self.task = task
        self.children = children

    def signal(self, argument: Any = None) -> None:
        """Stand in for the handler; `Inbound.handle_signal` takes the signals themselves."""

    def view(self) -> dict[str, Any]:
        """Answer `remit.view`."""
        return self.task.shown().to_json()

    async def decide(self, token: Any = None) -> Answer:
        """Answer `remit.decide`: take a signed decision in and tell what became of it."""
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return self.task.desk.put(token, reply=reply) or await reply

    async def resume(self, reference: Any = None) -> Answer:
        """Answer `remit.resume`: take a fresh delegation in and tell whether the task goes on under it."""
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return self.task.resume(reference, reply=reply) or await reply
