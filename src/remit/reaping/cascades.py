"""Cascades: what follows from a statement is started where nobody did.

- A statement that stands has its cascade started at once; one that runs already is left alone.
- A record without its statement is somebody about to make it, or somebody who died: it is looked at again for a while
  before its cascade is started, which then finds nothing to do and closes it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from remit.reaping import report
from remit.vault.paths import join

if TYPE_CHECKING:
    from remit.live import CascadeRecord
    from remit.reaping.report import Findings
    from remit.registry import Registry

PATIENCE_SECONDS = 60.0
"""Seconds a record without a statement is left to whoever made it."""


class Cascades:
    """Starts cascades.

    Args:
        registry: Where they are recorded.
        start: Starts one by its statement's id; tells whether it had not been started.
        monotonic: Seconds.
    """

    def __init__(
        self,
        registry: Registry,
        start: Callable[[str], Awaitable[bool]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._start = start
        self._monotonic = monotonic
        self._seen: dict[str, float] = {}

    async def reap(self, found: Findings) -> None:
        """Start what is due.

        Raises:
            Held: OpenBao or Temporal does not answer.
        """
        records = await self._registry.live.cascades()
        now = self._monotonic()
        self._seen = {record.statement: self._seen.get(record.statement, now) for record in records}
        for record in records:
            due = now - self._seen[record.statement] > PATIENCE_SECONDS or await self._stated(record)
            if due and await self._start(record.statement):
                found.did(report.CASCADES, record.statement)

    async def _stated(self, record: CascadeRecord) -> bool:
        path = join("statements", record.kind, record.subject, record.statement)
        return await self._registry.documents.get(path) is not None
