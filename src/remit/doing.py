"""Doing: which steps that must not happen twice have been begun.

- Before the tool of such a step begins, a record is created that nobody can overwrite or delete. Whoever comes later,
  on whatever worker and under whatever delegation, finds it and is refused for good.
- A step is named by task, first run and number: the same over retries, resumption, continue-as-new and workflow reset.
  Not by its arguments: after a reset a planner may word the same deed differently, so at the same number nothing else
  begins either.
- The record is the last thing before the tool. A process that dies before it certainly did nothing; one that dies
  behind it may have, and only a person can tell.
- A claim no tool was begun for (an outage while it was written) can be taken up again by the process that made it.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from remit.errors import Refused
from remit.vault import Documents
from remit.vault.paths import join

if TYPE_CHECKING:
    from remit.attempt import Attempt

_KEPT = 4096


class Doing:
    """Claims steps, as one process does it.

    Args:
        documents: The registry's records; ``once/<step>`` are
            ``{"claim", "task", "first_run", "run", "step", "attempt", "tool", "arguments", "at"}``.
        clock: Unix seconds.
    """

    def __init__(self, documents: Documents, *, clock: Callable[[], float]) -> None:
        self._documents = documents
        self._clock = clock
        self._idle: dict[str, str] = {}

    @asynccontextmanager
    async def claimed(self, attempt: Attempt, *, arguments: str) -> AsyncIterator[None]:
        """Claim an attempt's step, then run the block: one that ends well uses the claim up, another gives it back.

        Args:
            arguments: Digest of the call, for the record.

        Raises:
            Refused: ``step.once``: an earlier attempt may have done it. Held: The registry did not answer.
        """
        path = join("once", attempt.name)
        claim = self._idle.pop(path, None) or str(uuid.uuid4())
        try:
            await self._claim(path, claim, attempt, arguments)
            yield
        except Refused as error:
            if error.code != "step.once":
                self._keep(path, claim)
            raise
        except BaseException:
            self._keep(path, claim)
            raise

    async def _claim(self, path: str, claim: str, attempt: Attempt, arguments: str) -> None:
        record = {
            "claim": claim,
            "task": attempt.task,
            "first_run": attempt.first_run,
            "run": attempt.run,
            "step": attempt.step,
            "attempt": attempt.attempt,
            "tool": attempt.tool,
            "arguments": arguments,
            "at": int(self._clock()),
        }
        if await self._documents.create(path, record):
            return
        found = await self._documents.get(path)
        if found is None or found["claim"] != claim:
            raise _begun(attempt, found or {})

    def _keep(self, path: str, claim: str) -> None:
        while len(self._idle) >= _KEPT:
            self._idle.pop(next(iter(self._idle)))
        self._idle[path] = claim


def _begun(attempt: Attempt, found: Mapping[str, Any]) -> Refused:
    at = found.get("at")
    when = f" at {datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(at, int) else ""
    return Refused(
        f"step {attempt.step} ({found.get('tool') or attempt.tool}) is done at most once, and attempt"
        f" {found.get('attempt', '?')} of run {found.get('run', '?')} began it{when}: it may have been done",
        code="step.once",
        next_action="Look at what it was to change; a new task does what is left.",
    )
