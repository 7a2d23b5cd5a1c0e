"""One soak from its stack to its violations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remit.embedded import Stack
from remit.embedded.provision import provision
from tests.conftest import POLICIES
from tests.faults.ground import Ground
from tests.faults.points import Points
from tests.soak import plan
from tests.soak.checks import violations
from tests.soak.soak import Soak, summary

SETTLE_SECONDS = 240.0
"""Longest time until nothing runs: an attempt that met an outage may wait a minute before it tries again."""


async def soaked(
    folder: Path,
    *,
    seed: int,
    tasks: int,
    seconds: float,
    kills: int,
    principals: int,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Any], list[str]]:
    """Start a stack in an empty folder, soak it, and return what was done and every violation."""
    stack = Stack(folder / "home", port_base=0, bootstrap=lambda started: provision(started, policies=POLICIES))
    await asyncio.to_thread(stack.start)
    try:
        points = Points(folder / "points")
        points.folder.mkdir()
        planned = plan.make(seed, tasks=tasks, seconds=seconds, kills=kills, principals=principals)
        async with Soak(Ground(stack, points), planned, say).opened() as soak:
            await soak.run()
            say("settling")
            states = await soak.settle(seconds=SETTLE_SECONDS)
            say("checking")
            found = await violations(soak, states)
            return summary(soak, states), found
    finally:
        await asyncio.to_thread(stack.stop)
