"""Waiting for tasks without consuming their outcome, in a workflow.

- Cancelling the one who waits leaves what it waits for alone.
- Woken by the tasks themselves: costs nothing while nothing happens, and works while a workflow is evicted.
"""

from __future__ import annotations

import asyncio
from typing import Any


async def settled(*futures: asyncio.Future[Any]) -> None:
    """Return when any of these is done; with one that is done already, at once."""
    waiter = asyncio.get_running_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    for future in futures:
        future.add_done_callback(wake)
    try:
        await waiter
    finally:
        for future in futures:
            future.remove_done_callback(wake)
