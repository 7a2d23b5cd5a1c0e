"""Ending: what happens to leases when their attempt is over.

- A released lease is dead, its database sessions with it, before the release returns. Its login, which can do nothing
  without the token that only this process ever had, and its record are ended behind it, a bounded number at a time.
- What cannot be ended now is kept and tried again. It stays recorded, so a revoker finds it, and it dies by its TTL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from remit.credentials.lease import Lease
from remit.credentials.mint import Mint

BEHIND = 64
"""Logins ended behind at once; a release that would add another waits."""


class Ending:
    """Ends the leases of one authority.

    Args:
        mint: Destroys them.
    """

    def __init__(self, mint: Mint) -> None:
        self._mint = mint
        self._pending: dict[str, Lease] = {}
        self._behind: set[asyncio.Task[str | None]] = set()
        self._room = asyncio.Semaphore(BEHIND)

    async def release(self, grant: str, lease: Lease) -> str | None:
        """Destroy a lease; return why it is still pending, or None once it is dead."""
        pending = await self._mint.revoke(lease)
        if pending is not None:
            self._pending[grant] = lease
            await self._mint.end(lease, forget=False)
            return pending
        await self._room.acquire()
        behind = asyncio.create_task(self._kept(grant, lease, self._mint.end(lease)))
        self._behind.add(behind)
        behind.add_done_callback(self._done)
        return None

    async def destroy(self, grant: str, lease: Lease) -> str | None:
        """Destroy a lease with its login and record; return why it is still pending, or None once all are gone."""
        return await self._kept(grant, lease, self._mint.destroy(lease))

    async def retry(self) -> int:
        """Try again what could not be ended; return how many are still pending."""
        for grant, lease in list(self._pending.items()):
            await self.destroy(grant, lease)
        return len(self._pending)

    async def settled(self) -> None:
        """Return when nothing that was begun is under way any more."""
        while self._behind:
            await asyncio.wait(self._behind)

    async def _kept(self, grant: str, lease: Lease, ending: Coroutine[None, None, str | None]) -> str | None:
        """Return what an ending says, and keep the lease for the next try while it says why not."""
        pending = await ending
        if pending is None:
            self._pending.pop(grant, None)
        else:
            self._pending[grant] = lease
        return pending

    def _done(self, behind: asyncio.Task[str | None]) -> None:
        self._behind.discard(behind)
        self._room.release()
