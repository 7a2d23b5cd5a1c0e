"""The watch over one running attempt: it beats for the tool, and stops it when its chain is not live any more.

- Beating and looking are apart: a slow registry never costs a heartbeat. Beating lasts until the grant is released:
  an outage of OpenBao must not turn a step that is done into one that timed out.
- Both begin only after one interval, so a quick tool pays for neither.
- A tool's own progress survives: our beats repeat the last details it gave, without its secrets.
- An outage while a tool runs stops nothing: its credential dies by itself, and the next attempt is decided anew.
- An async tool is cancelled, a tool on a thread gets the exception there, as Temporal's own cancellation does it.
- A tool that goes on all the same is left behind: its attempt ends without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from temporalio import activity
from temporalio.exceptions import CancelledError
from temporalio.worker import ActivityInboundInterceptor, ActivityOutboundInterceptor

from remit.attempt import Grant
from remit.credentials import living, scrub
from remit.errors import Held, Refused
from remit.temporal._parts import Authority

_GRACE = 5.0
"""Seconds a tool has to end after it was told; then its attempt ends without it."""


class Beats(ActivityOutboundInterceptor):
    """Remembers a tool's heartbeat details, so that our beats do not erase them."""

    def __init__(self, next: ActivityOutboundInterceptor) -> None:
        super().__init__(next)
        self.secrets: Sequence[str] = ()
        self._details: tuple[Any, ...] = tuple(activity.info().heartbeat_details)

    def heartbeat(self, *details: Any) -> None:
        """Beat for the tool."""
        self._details = scrub(details, self.secrets)
        self.next.heartbeat(*self._details)

    def again(self) -> None:
        """Beat by ourselves; only on the event loop."""
        self.next.heartbeat(*self._details)


class Watch:
    """Watches one attempt.

    Args:
        authority: Knows whether a grant's chain is live.
        beats: Beats; None for a local activity, which has none.
        innermost: Where the tool runs.
        every: Seconds between looks; beats keep within a third of the heartbeat timeout.
    """

    def __init__(
        self, authority: Authority, beats: Beats | None, *, innermost: ActivityInboundInterceptor, every: float
    ) -> None:
        self.stopped: Refused | None = None
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the tool did not end although it was told."""
        self._authority = authority
        self._beats = beats
        self._innermost = innermost
        self._every = every
        timeout = activity.info().heartbeat_timeout
        self._pause = min(every, timeout.total_seconds() / 3) if timeout else every
        self._loop = asyncio.get_running_loop()
        self._tool: asyncio.Task[Any] | None = None
        self._grant: Grant | None = None
        self._looking: asyncio.Task[None] | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        if beats is not None:
            self._timers["beat"] = self._loop.call_later(self._pause, self._beat)

    def guard(self, grant: Grant, tool: asyncio.Task[Any]) -> None:
        """Look after this grant and the tool that runs with it from now on."""
        self._grant, self._tool = grant, tool
        living.begin(grant.id, grant.secrets)
        self._timers["look"] = self._loop.call_later(self._every, self._begin)

    def over(self) -> None:
        """Look no more: the tool has ended. Go on beating, for its release may take longer than a heartbeat."""
        for name in [name for name in self._timers if name != "beat"]:
            self._timers.pop(name).cancel()
        if self._looking is not None:
            self._looking.cancel()

    def end(self) -> None:
        """Stop watching."""
        self.over()
        if self._grant is not None:
            living.end(self._grant.id)
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    async def live(self) -> bool:
        """Tell whether the grant may go on for certain."""
        try:
            return await self._look() is None
        except Held:
            return False

    async def died(self) -> Refused | None:
        """Return why the grant may not go on, if that is the reason a tool failed: its session is killed first."""
        try:
            return await self._look()
        except Held:
            return None

    async def _look(self) -> Refused | None:
        """Return why the grant may not go on, None while it may; raise `Held` when that cannot be known."""
        if self.stopped is None and self._grant is not None:
            try:
                await self._authority.watch(self._grant)
            except Refused as error:
                self.stopped = error
        return self.stopped

    def _beat(self) -> None:
        if self._beats is not None:
            self._beats.again()
            self._timers["beat"] = self._loop.call_later(self._pause, self._beat)

    def _begin(self) -> None:
        self._looking = self._loop.create_task(self._looks())

    async def _looks(self) -> None:
        if await self.died() is None:
            self._timers["look"] = self._loop.call_later(self._every, self._begin)
        else:
            self._stop()

    def _stop(self) -> None:
        running = _running(self._innermost)
        raiser = getattr(running, "cancel_thread_raiser", None)
        told = getattr(running, "cancelled_event", None)
        if told is not None:
            told.set()
        if raiser is not None:
            raiser.raise_in_thread(CancelledError)
        elif self._tool is not None:
            self._tool.cancel()
        self._timers["grace"] = self._loop.call_later(_GRACE, self._leave)

    def _leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)


def _running(interceptor: ActivityInboundInterceptor) -> object | None:
    """Return Temporal's record of the running activity: there is no public way to raise in a tool's thread."""
    while (beneath := getattr(interceptor, "next", None)) is not None:
        interceptor = beneath
    return getattr(interceptor, "_running_activity", None)
