"""Cascades: what follows from a statement is started where nobody did.

- Whoever states starts the cascade right after; a record older than that takes is somebody's who died, or whom Temporal
  did not answer.
- A cascade that runs already is left alone; it verifies its statement itself, so starting one proves nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from remit.reaping import report

if TYPE_CHECKING:
    from remit.reaping.report import Findings
    from remit.registry import Registry

PATIENCE_SECONDS = 30.0
"""Seconds a cascade is left to whoever stated."""


class Cascades:
    """Starts cascades.

    Args:
        registry: Where they are recorded.
        start: Starts one by its statement's id; tells whether it did not run.
        clock: Unix seconds.
        patience: Seconds one is left to whoever stated.
    """

    def __init__(
        self,
        registry: Registry,
        start: Callable[[str], Awaitable[bool]],
        *,
        clock: Callable[[], float],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._registry = registry
        self._start = start
        self._clock = clock
        self._patience = patience

    async def reap(self, found: Findings) -> None:
        """Start what is due.

        Raises:
            Held: OpenBao or Temporal does not answer.
        """
        for record in await self._registry.live.cascades():
            if self._clock() - record.at > self._patience and await self._start(record.statement):
                found.did(report.CASCADES, record.statement)
