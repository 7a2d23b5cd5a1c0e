"""The gate: whether a task's chain is live as far as the workflow has been told, and what happens when it is not.

- Closed means: nothing starts. What runs is interrupted by whoever closed it.
- A suspended chain waits until it is reinstated, revoked or expired.
- An expired one waits for a fresh delegation, as long as the terms say, else 7 days: nobody took the authority back.
- A revoked one waits as long as the terms say for a fresh delegation; without terms it halts.
- Halted is final: the task ends, whatever its code does.
- The gate is a convenience for stopping early; every attempt is still decided by the authority.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from remit.errors import NotLive
from remit.statements import Status
from remit.temporal._changes import Changes
from remit.temporal._failure import to_application_error
from remit.temporal._header import Terms

EXPIRY_WAIT = 7 * 24 * 3600
"""Seconds a task without terms waits for a fresh delegation when its chain has expired."""
_EXPIRY_WAITS = "remit-expiry-waits"
_LONGEST_LOOK = 3600
"""Seconds after which a suspended task looks again by itself."""
_AGAIN = "looks whether it may go on"
_FRESH = "a fresh delegation"


class Gate:
    """Opens and closes a task.

    Args:
        stop: Called when the gate closes: interrupt what runs.
        halt: Called when the task has to end.
        look: Called to have the standing read again.
        changes: What the run does and older ones did not.
    """

    def __init__(
        self, *, stop: Callable[[], None], halt: Callable[[], None], look: Callable[[], None], changes: Changes
    ) -> None:
        self._changes = changes
        self.terms = Terms()
        self.status = Status.LIVE
        self.halted: NotLive | None = None
        self.generation = 0
        self.waiting: Mapping[str, str] = {}
        """What a closed gate waits for: ``{"waits_for", "until"}``, the time as RFC 3339."""
        self._stop = stop
        self._halt = halt
        self._look = look
        self._timer: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """Whether something may start."""
        return self.status is Status.LIVE and self.halted is None

    async def passed(self) -> None:
        """Return once the gate is open.

        Raises:
            ApplicationError: The task halted.
        """
        if not self.open:
            await workflow.wait_condition(lambda: self.open or self.halted is not None)
        if self.halted is not None:
            raise self.refusal()

    def apply(self, standing: Mapping[str, Any]) -> None:
        """Take over a standing that was read.

        Args:
            standing: What `remit.status` returned: ``status``, ``subject``, ``message``, ``expires_at``.
        """
        if self.halted is not None:
            return
        before, self.status = self.status, Status(standing["status"])
        if self.status is before:
            return
        self._disarm()
        if self.status is Status.LIVE:
            return
        if self.status is Status.SUSPENDED:
            expires_at = int(standing.get("expires_at") or 0)
            self._wait("a reinstatement", until=expires_at)
            left = expires_at - int(workflow.time()) + 1
            self._arm(max(1, min(left, _LONGEST_LOOK)), self._look_again, summary=_AGAIN)
        elif (seconds := self._patience()) is None:
            self._end(standing)
        else:
            self._wait(_FRESH, until=workflow.time() + seconds)
            self._arm(seconds, lambda: self._end(standing), summary=f"waits for {_FRESH}")
        self._stop()

    def refusal(self) -> ApplicationError:
        """Return what a halted task ends with; a new exception each time, for each has its own traceback."""
        return to_application_error(self.halted or NotLive("halted", status=self.status.value, subject=""))

    def renew(self) -> None:
        """Begin a new generation: requests made under the old delegation are void."""
        self.generation += 1

    def fail(self, message: str) -> None:
        """Halt because nothing can be known any more."""
        self._disarm()
        self.status = Status.REVOKED
        self._end({"status": "unknown", "message": message})
        self._stop()

    def _patience(self) -> int | None:
        """Return how many seconds to wait for a fresh delegation; None: not at all."""
        if self.terms.wait is None and self.status is Status.EXPIRED and self._changes.made(_EXPIRY_WAITS):
            return EXPIRY_WAIT
        return self.terms.wait

    def _wait(self, what: str, *, until: float) -> None:
        self.waiting = {
            "waits_for": what,
            "until": datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _look_again(self) -> None:
        self._look()
        self._arm(_LONGEST_LOOK, self._look_again, summary=_AGAIN)

    def _end(self, standing: Mapping[str, Any]) -> None:
        self.halted = NotLive(
            str(standing.get("message") or f"{standing.get('subject')} is {standing['status']}"),
            status=str(standing["status"]),
            subject=str(standing.get("subject") or ""),
            next_action="Delegate anew and start the task again.",
        )
        self.waiting = {}
        self._halt()

    def _arm(self, seconds: int, then: Callable[[], None], *, summary: str) -> None:
        async def ring() -> None:
            await workflow.sleep(seconds, summary=summary)
            self._timer = None
            then()

        self._timer = asyncio.create_task(ring())

    def _disarm(self) -> None:
        self.waiting = {}
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
