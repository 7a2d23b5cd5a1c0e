"""Reaper: one run over everything, each part as far as it goes.

- A part that gets no answer is noted and left to the next run; the others go on.
- What was found is audited once; a run that found nothing leaves no record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from remit.errors import Held, RemitError
from remit.reaping.report import Findings

if TYPE_CHECKING:
    from remit.audit import AuditLog
    from remit.reaping.cascades import Cascades
    from remit.reaping.leases import Leases
    from remit.reaping.users import Users

PART_SECONDS = 40.0
"""Longest time for one part."""


class Reaper:
    """Reconciles registry, OpenBao and PostgreSQL.

    Args:
        leases, users, cascades: The parts.
        audit: Where what was found is recorded.
    """

    def __init__(self, *, leases: Leases, users: Users, cascades: Cascades, audit: AuditLog) -> None:
        self._leases = leases
        self._users = users
        self._cascades = cascades
        self._audit = audit

    async def run(self) -> dict[str, Any]:
        """Do it once; return the report (`remit.reaping.report`)."""
        began = time.monotonic()
        found = Findings()
        parts = {"leases": self._leases.reap, "users": self._users.reap, "cascades": self._cascades.reap}
        await asyncio.gather(*(_tried(name, reap, found) for name, reap in parts.items()))
        report = found.document(ms=(time.monotonic() - began) * 1000)
        if found:
            self._audit.append({"event": "reaped", **report})
        return report


async def _tried(name: str, reap: Callable[[Findings], Awaitable[None]], found: Findings) -> None:
    try:
        async with asyncio.timeout(PART_SECONDS):
            await reap(found)
    except TimeoutError:
        found.unreachable[name] = "reaper.timeout"
    except Held as error:
        found.unreachable[name] = error.code
    except RemitError as error:
        found.not_set_up[name] = error.code
