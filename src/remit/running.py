"""Running: the grants whose tools run now, from their beginning to their release.

- Whoever watches a grant has its chain's standing read anew; while the chain is live its lease is kept alive, never
  beyond the chain's expiry, nor longer than its profile and policy let one credential live.
- A chain that is not live costs the credential at once, whatever its tool goes on doing: a revoker destroys what is
  recorded, and an expiry has no revoker.
- Whatever was begun is released once; what cannot be destroyed now is kept and tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remit.credentials import Ending, Lease, Mint
from remit.errors import NotLive, Refused
from remit.telemetry import span

if TYPE_CHECKING:
    from remit.attempt import Grant
    from remit.chain import Chain
    from remit.ledger import Ledger, Reservation
    from remit.recording import AttemptRecord
    from remit.standing import Standing


@dataclass(slots=True)
class _Held:
    """What the authority itself keeps of a grant until it is released."""

    chain: Chain
    reservation: Reservation
    record: AttemptRecord
    lease: Lease | None
    renewed: float
    dying: asyncio.Future[str | None] | None = None


class Running:
    """The running grants of one authority.

    Args:
        standing: Tells whether a chain is live.
        mint: Renews and destroys leases.
        ledger: Settles what a grant reserved.
        clock: Unix seconds.
    """

    def __init__(self, *, standing: Standing, mint: Mint, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._standing = standing
        self._mint = mint
        self._ledger = ledger
        self._clock = clock
        self._ending = Ending(mint)
        self._held: dict[str, _Held] = {}

    def begin(
        self, grant: str, *, chain: Chain, reservation: Reservation, record: AttemptRecord, lease: Lease | None
    ) -> None:
        """Take in a grant that is about to be handed out."""
        self._held[grant] = _Held(chain, reservation, record, lease, self._clock())

    async def undo(self, grant: str, *, reservation: Reservation, lease: Lease | None) -> None:
        """Give back what was reserved and minted for a grant that is not handed out."""
        await self._ledger.settle(reservation, spent=0)
        if lease is not None:
            await asyncio.shield(self._ending.destroy(grant, lease))

    async def watch(self, grant: Grant) -> None:
        """Look whether a running grant's chain is still live, and keep its lease alive while it is.

        Raises:
            NotLive: It is not: stop the tool; its credential is being destroyed. Held: It cannot be known now.
            Refused: ``credential.ttl``: it has run as long as one credential may live.
        """
        held = self._held.get(grant.id)
        if held is None:
            return
        try:
            await self._standing.require_live(held.chain)
        except NotLive:
            self._destroy(grant, held)
            raise
        if held.lease is not None and held.lease.ttl and self._clock() >= held.lease.until:
            self._destroy(grant, held)
            raise Refused(
                "the step ran as long as its credential may live",
                code="credential.ttl",
                next_action="Let it do less in one step, or raise the profile's ttl and the policy's @ttl.",
            )
        await self._renew(grant, held)

    async def release(self, grant: Grant, *, outcome: str, code: str | None = None) -> None:
        """End a grant: destroy its lease, settle its budget, record how it went; its login is ended behind.

        Never raises: what cannot be destroyed now stays recorded, is tried again, and dies by its TTL.
        """
        held = self._held.pop(grant.id, None)
        if held is None:
            return
        with span("remit.release", outcome=outcome):
            if held.dying is not None:
                pending = await held.dying
            else:
                pending = await self._ending.release(grant.id, held.lease) if held.lease else None
            await self._ledger.settle(held.reservation, spent=grant.attempt.cost)
            held.record.write(outcome, code=code, pending=pending)

    async def settled(self) -> None:
        """Return when the logins of all grants released so far are ended, or known to be pending."""
        await self._ending.settled()

    async def retry_pending(self) -> int:
        """Try again to destroy what could not be destroyed; return how many are still pending."""
        return await self._ending.retry()

    async def close(self) -> None:
        """Destroy what is still held."""
        for grant, held in list(self._held.items()):
            if held.lease is not None:
                await (held.dying or self._ending.destroy(grant, held.lease))
        await self._ending.settled()

    def _destroy(self, grant: Grant, held: _Held) -> None:
        """Begin to destroy a running grant's credential; a slow database must not keep the tool from being told."""
        if held.lease is not None and held.dying is None:
            held.dying = asyncio.ensure_future(self._ending.destroy(grant.id, held.lease))

    async def _renew(self, grant: Grant, held: _Held) -> None:
        lease, now = held.lease, self._clock()
        if lease is None or not lease.ttl or now - held.renewed <= lease.ttl / 3:
            return
        if lease.until <= held.renewed + lease.ttl:
            return  # it lasts as long as it may
        try:
            held.lease = await self._mint.renew(lease)
        except Refused:
            raise NotLive(
                "the step's credential was destroyed while it ran",
                status="revoked",
                subject=grant.chain[-1],
            ) from None
        held.renewed = now
