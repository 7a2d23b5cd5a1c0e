"""Destroying: the live leases under a subject, synchronously, until none is recorded.

- Credentials first: all that are recorded die, their database sessions with them, before the first login is ended. A
  login alone does nothing, for nobody but the authority ever has it, and ending it costs OpenBao as much again.
- A login without a recorded credential may be about to get one: it is ended at once.
- A lease is forgotten when OpenBao has acknowledged the end of its login *and* of its credential.
- What cannot be destroyed now keeps its record and is reported with the reason. It is never forgotten.
- Whoever may end leases may do this: the person who states, the authority, the reaper.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
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

    async def under(
        self, about: Subject, *, root: str | None, credentials_dead: Callable[[], None] = lambda: None
    ) -> Destroyed:
        """Destroy what is live under a subject.

        Args:
            root: Root delegation of the subject's chain; None for a principal, whose chains may have any root.
            credentials_dead: Called when every credential that was recorded is dead, or known to be pending.
        """
        dead: dict[str, float] = {}
        pending: dict[str, str] = {}
        for _ in range(ROUNDS):
            recorded = await (self._registry.live.leases(root) if root else self._registry.live.all_leases())
            found = [lease for lease in recorded if stands_under(lease.facts, about) and lease.grant not in dead]
            pending = {}
            died = await self._each(self._credential, found, pending)
            credentials_dead()
            if not found:
                break
            await self._each(self._login, found, pending)
            dead |= {grant: at for grant, at in died.items() if grant not in pending}
        return Destroyed(dead, pending)

    async def destroy(self, lease: LeaseRecord) -> str | None:
        """Destroy one lease; return why it is pending, or None once it is dead and forgotten."""
        pending: dict[str, str] = {}
        await self._each(self._credential, [lease], pending)
        await self._each(self._login, [lease], pending)
        return pending.get(lease.grant)

    async def _each(
        self,
        end: Callable[[LeaseRecord, bool], Awaitable[None]],
        leases: Sequence[LeaseRecord],
        pending: dict[str, str],
    ) -> dict[str, float]:
        """End something of each lease, some at a time; return when that was done, and note why it was not."""
        done: dict[str, float] = {}
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(lease: LeaseRecord) -> None:
            async with gate:
                try:
                    await end(lease, lease.grant not in pending)
                except RemitError as error:
                    pending.setdefault(lease.grant, error.code)
                else:
                    done[lease.grant] = time.monotonic()

        await asyncio.gather(*(one(lease) for lease in leases))
        return done

    async def _credential(self, lease: LeaseRecord, _dead: bool) -> None:
        if lease.facts.get("lease"):
            await self._vault.write(f"sys/leases/revoke/{lease.facts['lease']}", sync=True)
        else:
            await end_login(self._vault, lease.facts["accessor"])

    async def _login(self, lease: LeaseRecord, dead: bool) -> None:
        await end_login(self._vault, lease.facts["accessor"])
        if dead:
            await self._registry.live.forget(lease.root, lease.grant)


def stands_under(facts: Mapping[str, Any], about: Subject) -> bool:
    """Tell whether a recorded lease belongs to a chain through this delegation or principal."""
    if isinstance(about, Principal):
        return about.spiffe_id in facts["principals"]
    return about.jti in facts["chain"]
