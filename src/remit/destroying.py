"""Destroying: the live leases under a subject, synchronously, until none is recorded.

- A lease is dead when OpenBao has acknowledged the end of its login *and* of its credential; its record goes then.
- What cannot be destroyed now keeps its record and is reported with the reason. It is never forgotten.
- Whoever may end leases may do this: the person who states, the authority, the reaper.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remit.credentials import end_login
from remit.errors import RemitError
from remit.principals import Principal

if TYPE_CHECKING:
    from remit.live import LeaseRecord
    from remit.registry import Registry
    from remit.statements import Subject
    from remit.vault import Vault

AT_ONCE = 8
"""Leases destroyed side by side: OpenBao serialises them per database anyway."""
ROUNDS = 5
"""How often the live leases are listed again for those that were being minted meanwhile."""


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What became of the leases under a subject.

    Args:
        dead: When each died (`time.monotonic`), by grant.
        pending: Why each of the others is not dead yet, by grant.
    """

    dead: Mapping[str, float]
    pending: Mapping[str, str]

    @property
    def last(self) -> float | None:
        """Return when the last one died; None when none was live."""
        return max(self.dead.values(), default=None)


class Destroying:
    """Destroys recorded leases with one session's rights.

    Args:
        registry, vault: With the same session.
    """

    def __init__(self, registry: Registry, vault: Vault) -> None:
        self._registry = registry
        self._vault = vault

    async def under(self, about: Subject, *, root: str | None) -> Destroyed:
        """Destroy what is live under a subject.

        Args:
            root: Root delegation of the subject's chain; None for a principal, whose chains may have any root.
        """
        dead: dict[str, float] = {}
        failed: dict[str, str] = {}
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(lease: LeaseRecord) -> None:
            async with gate:
                code = await self.destroy(lease)
            if code is None:
                dead[lease.grant] = time.monotonic()
                failed.pop(lease.grant, None)
            else:
                failed[lease.grant] = code

        for _ in range(ROUNDS):
            recorded = await (self._registry.live.leases(root) if root else self._registry.live.all_leases())
            found = [lease for lease in recorded if stands_under(lease.facts, about) and lease.grant not in dead]
            if not found:
                break
            await asyncio.gather(*(one(lease) for lease in found))
        return Destroyed(dead, failed)

    async def destroy(self, lease: LeaseRecord) -> str | None:
        """Destroy one lease; return why it is pending, or None once it is dead and forgotten."""
        try:
            await end_login(self._vault, lease.facts["accessor"])
            if lease.facts.get("lease"):
                await self._vault.write(f"sys/leases/revoke/{lease.facts['lease']}", sync=True)
            await self._registry.live.forget(lease.root, lease.grant)
        except RemitError as error:
            return error.code
        return None


def stands_under(facts: Mapping[str, Any], about: Subject) -> bool:
    """Tell whether a recorded lease belongs to a chain through this delegation or principal."""
    if isinstance(about, Principal):
        return about.spiffe_id in facts["principals"]
    return about.jti in facts["chain"]
