"""The suite's activities: plain Temporal code that writes down that it runs, and knows no governor.

- `beating` heartbeats, `silent` does not, `threaded` blocks a thread; each takes the seconds it is given.
- None of them swallows a cancellation: a tool that does cannot be stopped from outside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from remit.conformance.governor import SENSITIVE
from remit.conformance.recorder import TICK, Execution, Recorder

BEATING = "conformance.beating"
SILENT = "conformance.silent"
THREADED = "conformance.threaded"
TOOLS = (BEATING, SILENT, THREADED, SENSITIVE)
"""Every activity type of the suite."""


@dataclass(frozen=True)
class Input:
    """The one argument of every activity.

    Args:
        step: Names the call.
        seconds: How long it takes.
        fails: How many attempts fail before one succeeds.
    """

    step: str
    seconds: int = 0
    fails: int = 0


class Tools:
    """The activities, writing to one recorder."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    @property
    def activities(self) -> Sequence[Callable[..., Any]]:
        """Return them all."""
        return [self.beating, self.silent, self.threaded, self.sensitive]

    @activity.defn(name=BEATING)
    async def beating(self, input: Input) -> str:
        """Heartbeat while it runs."""
        return await self._run(input, beat=True)

    @activity.defn(name=SILENT)
    async def silent(self, input: Input) -> str:
        """Never heartbeat."""
        return await self._run(input)

    @activity.defn(name=SENSITIVE)
    async def sensitive(self, input: Input) -> str:
        """Do what a person has to approve."""
        return await self._run(input)

    @activity.defn(name=THREADED)
    def threaded(self, input: Input) -> str:
        """Block a thread; never heartbeat."""
        with self._recorder.execution(input.step) as one:
            while self._recorder.goes_on(one, input.seconds):
                time.sleep(TICK)
            return _result(one, input)

    async def _run(self, input: Input, *, beat: bool = False) -> str:
        with self._recorder.execution(input.step) as one:
            while self._recorder.goes_on(one, input.seconds):
                if beat:
                    activity.heartbeat()
                await asyncio.sleep(TICK)
            return _result(one, input)


def _result(one: Execution, input: Input) -> str:
    if one.attempt <= input.fails:
        raise ApplicationError(f"attempt {one.attempt} of {input.step} fails", category=ApplicationErrorCategory.BENIGN)
    return input.step
