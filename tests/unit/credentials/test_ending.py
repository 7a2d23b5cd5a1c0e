"""Ending: the lease is dead before a release returns, its login ends behind, and nothing pending is forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

from remit.credentials import Credential, Lease
from remit.credentials.ending import BEHIND, Ending
from remit.credentials.lease import Occasion
from remit.delegation import Scope
from remit.vault import StepLogin


class Mint:
    """Notes what is destroyed; answers what a test says."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.revoking: str | None = None
        self.ending: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def revoke(self, lease: Lease) -> str | None:
        assert lease == LEASE
        self.done.append("revoke")
        return self.revoking

    async def end(self, lease: Lease, *, forget: bool = True) -> str | None:
        assert lease == LEASE
        await self.gate.wait()
        self.done.append("end" if forget else "end, recorded")
        return self.ending

    async def destroy(self, lease: Lease) -> str | None:
        return await self.revoke(lease) or await self.end(lease)


def lease() -> Lease:
    occasion = Occasion("g", "t", "r", 1, 1, "", Scope(("read",), ("flights",), 1))
    credential = Credential("p", "postgres", "u", 0, {})
    return Lease(occasion, "root", credential, StepLogin("token", "accessor", 60), "database/creds/p/1")


LEASE = lease()


def ending() -> tuple[Ending, Any]:
    mint: Any = Mint()
    return Ending(mint), mint


async def test_a_release_returns_once_the_lease_is_dead_and_ends_the_login_behind() -> None:
    leases, mint = ending()
    mint.gate.clear()
    assert await leases.release("g", lease()) is None
    assert mint.done == ["revoke"]
    mint.gate.set()
    await leases.settled()
    assert mint.done == ["revoke", "end"]
    assert await leases.retry() == 0


async def test_a_lease_that_cannot_be_destroyed_keeps_its_record_and_is_tried_again() -> None:
    leases, mint = ending()
    mint.revoking = "vault.failed"
    assert await leases.release("g", lease()) == "vault.failed"
    assert mint.done == ["revoke", "end, recorded"]
    assert await leases.retry() == 1
    mint.revoking = None
    assert await leases.retry() == 0


async def test_a_login_that_cannot_be_ended_behind_is_tried_again() -> None:
    leases, mint = ending()
    mint.ending = "vault.unreachable"
    assert await leases.release("g", lease()) is None
    await leases.settled()
    mint.done.clear()
    assert await leases.retry() == 1
    mint.ending = None
    assert await leases.retry() == 0
    assert mint.done == ["revoke", "end", "revoke", "end"]


async def test_what_is_pending_is_pending_for_each_grant() -> None:
    leases, mint = ending()
    mint.ending = "vault.unreachable"
    for grant in ("g", "h"):
        assert await leases.release(grant, lease()) is None
    await leases.settled()
    mint.revoking = "vault.failed"
    assert await leases.destroy("i", lease()) == "vault.failed"
    assert await leases.release("j", lease()) == "vault.failed"
    assert await leases.retry() == 4
    mint.ending = mint.revoking = None
    assert await leases.destroy("i", lease()) is None
    assert await leases.destroy("i", lease()) is None
    assert await leases.retry() == 0


async def test_only_so_many_logins_end_behind_at_once() -> None:
    leases, mint = ending()
    mint.gate.clear()
    for number in range(BEHIND):
        await leases.release(str(number), lease())
    one_more = asyncio.create_task(leases.release("more", lease()))
    done, _ = await asyncio.wait({one_more}, timeout=0.02)
    assert not done
    mint.gate.set()
    await one_more
    await leases.settled()
    assert mint.done.count("end") == BEHIND + 1
