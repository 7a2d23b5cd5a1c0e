"""Ledger: what a chain has spent, never above the budget of any of its links.

- One record for each root delegation, ``budget/<root>``, changed by compare-and-set only:
  ``{"taken": {<delegation>: units}, "held": {<process>: {"until": unix seconds, "free": {<delegation>: units}}}}``.
- What is taken counts against every link of the chain, so siblings share what their parent has.
- To keep a step free of I/O, a process takes a block (at most 64 units, at most an eighth of what remains) and spends
  it locally. Idle blocks go back after seconds, all of them on `close`.
- The record may overstate what was spent, never understate it: a process that dies, or whose write has no known
  outcome, leaves its block counted as spent. Blocks that a living process may still give back are waited for (`Held`),
  not refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from remit.errors import Held, OverBudget, RemitError
from remit.vault import Documents
from remit.vault.paths import join

BLOCK = 64
"""Most units a process takes at once beyond what it needs now."""
IDLE_SECONDS = 2.0
"""An unused block goes back after this."""
HELD_SECONDS = 15.0
"""Others wait this long for a block to come back before it counts as spent."""
_TRIES = 16
_REMEMBERED = 4096


class Keeper(Protocol):
    """Whoever has the records: the registry."""

    @property
    def documents(self) -> Documents:
        """Return them."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units set aside for one attempt.

    Args:
        links: Ids of the chain's delegations, root first.
        cost: Units.
    """

    root: str
    links: tuple[str, ...]
    cost: int
    number: int


@dataclass(slots=True)
class _Block:
    """Units taken for one chain and not yet spent."""

    links: tuple[str, ...]
    free: int = 0
    used_at: float = 0.0
    waiting: int = 0


@dataclass(slots=True)
class _Account:
    """What this process knows and holds under one root."""

    path: str
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    blocks: dict[tuple[str, ...], _Block] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int | None = 0
    """Of the record; None: to be read first. A root's first reservation expects that there is no record yet."""

    def free(self) -> dict[str, int]:
        """Return the units this process holds, by delegation."""
        total: dict[str, int] = {}
        for block in self.blocks.values():
            for link in block.links:
                total[link] = total.get(link, 0) + block.free
        return {link: units for link, units in total.items() if units}


class Ledger:
    """Budgets, as one process keeps them.

    Args:
        registry: Where the records are.
        clock: Unix seconds.
        block: Most units taken ahead; 1 takes nothing ahead.
        idle: Seconds after which an unused block goes back.
    """

    def __init__(
        self,
        registry: Keeper,
        *,
        clock: Callable[[], float] = time.time,
        block: int = BLOCK,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self._documents = registry.documents
        self._clock = clock
        self._most = block
        self._idle = idle
        self._me = str(uuid.uuid4())
        self._accounts: dict[str, _Account] = {}
        self._root_of: dict[str, str] = {}
        self._open: set[int] = set()
        self._number = 0
        self._sweeper: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def reserve(self, ceilings: Sequence[tuple[str, int]], *, root: str, cost: int) -> Reservation:
        """Set units aside in every link of a chain.

        Args:
            ceilings: Each link's delegation id and budget, root first.
            root: The root delegation's id.
            cost: Units, not negative.

        Raises:
            OverBudget: Some link has not enough left.
            Held: ``budget.settling``: others hold units that may come back; or OpenBao did not answer.
        """
        if cost < 0:
            raise ValueError("cost is negative")
        links = tuple(link for link, _ in ceilings)
        account = self._account(root)
        block = account.blocks.get(links)
        if block is None:
            block = account.blocks[links] = _Block(links)
            for link in links:
                self._root_of[link] = root
        if block.free < cost:
            block.waiting += 1
            try:
                async with account.lock:
                    while block.free < cost:  # others spend from it while this call waits
                        await self._take(account, block, dict(ceilings), cost)
            finally:
                block.waiting -= 1
        block.free -= cost
        block.used_at = self._clock()
        self._sweep_later()
        self._number += 1
        self._open.add(self._number)
        return Reservation(root, links, cost, self._number)

    async def settle(self, reservation: Reservation, *, spent: int) -> None:
        """Say what a reservation really cost; the rest is free again. A second time has no effect.

        Args:
            spent: Units, at most what was reserved.
        """
        if not 0 <= spent <= reservation.cost:
            raise ValueError("more was spent than reserved")
        if reservation.number not in self._open:
            return
        self._open.remove(reservation.number)
        if spent < reservation.cost:
            blocks = self._account(reservation.root).blocks
            block = blocks.setdefault(reservation.links, _Block(reservation.links))
            block.free += reservation.cost - spent
            block.used_at = self._clock()
            self._sweep_later()

    def spent(self, delegation: str) -> int:
        """Return what was spent under one delegation as far as this process knows: 0 until it first reserved there.

        Units others hold count as spent.
        """
        root = self._root_of.get(delegation)
        account = self._accounts.get(root) if root else None
        if account is None:
            return 0
        return account.taken.get(delegation, 0) - account.free().get(delegation, 0)

    async def totals(self, root: str) -> dict[str, int]:
        """Return what was spent under each delegation of a root, read now; units others hold count as spent."""
        record, _ = await self._documents.versioned(join("budget", root))
        account = self._accounts.get(root)
        free = account.free() if account else {}
        return {link: int(units) - free.get(link, 0) for link, units in (record or {}).get("taken", {}).items()}

    async def close(self) -> None:
        """Give everything unspent back.

        Raises:
            Held: OpenBao did not answer; what is not given back counts as spent.
        """
        if self._sweeper is not None:
            self._closing.set()  # not cancelled: what a write under way gives back would count as spent
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
            self._closing.clear()
        for account in list(self._accounts.values()):
            async with account.lock:
                await self._give_back(account, [block for block in account.blocks.values() if block.free])

    def _account(self, root: str) -> _Account:
        account = self._accounts.get(root)
        if account is None:
            if len(self._accounts) >= _REMEMBERED:
                idle = next((one for one, old in self._accounts.items() if not old.blocks), None)
                if idle is not None:
                    for link in self._accounts.pop(idle).taken:
                        self._root_of.pop(link, None)
            account = self._accounts[root] = _Account(join("budget", root))
        return account

    async def _take(self, account: _Account, block: _Block, ceilings: Mapping[str, int], cost: int) -> None:
        """Take units until the block covers the cost."""
        for number in range(_TRIES):
            known = account.version is not None
            if not known:
                await self._load(account)
            need = cost - block.free
            left = min(ceiling - account.taken.get(link, 0) for link, ceiling in ceilings.items())
            # When little is left, what this process holds for other chains of the root goes back in the same write.
            back = [other for other in account.blocks.values() if other is not block and other.free and left < need]
            taken = _without(account.taken, back)
            left = min(ceiling - taken.get(link, 0) for link, ceiling in ceilings.items())
            if left < need:
                if known:  # others may have given back since
                    account.version = None
                    continue
                raise self._short(account, taken, ceilings, need)
            wanted = max(need, min(self._most, left // 8))
            for link in block.links:
                taken[link] = taken.get(link, 0) + wanted
            if await self._replace(account, taken, back, gained=(block, wanted)):
                return
            await asyncio.sleep(0.002 * number)
        raise _busy(account)

    async def _give_back(self, account: _Account, blocks: Sequence[_Block]) -> None:
        for number in range(_TRIES):
            if not any(block.free for block in blocks):
                return
            if account.version is None:
                await self._load(account)
            if await self._replace(account, _without(account.taken, blocks), blocks):
                return
            await asyncio.sleep(0.002 * number)
        raise _busy(account)

    async def _load(self, account: _Account) -> None:
        record, version = await self._documents.versioned(account.path)
        account.taken = dict(record["taken"]) if record else {}
        account.held = dict(record["held"]) if record else {}
        account.version = version

    async def _replace(
        self,
        account: _Account,
        taken: dict[str, int],
        back: Sequence[_Block],
        *,
        gained: tuple[_Block, int] | None = None,
    ) -> bool:
        """Write the record; tell whether it was still the one that was read (one not read is nobody's).

        What goes back is out of reach before the write and returns only when the write is known not to have happened.
        """
        if account.version is None:
            return False
        amounts = [block.free for block in back]
        for block in back:
            block.free = 0
        free = account.free()
        if gained is not None:
            for link in gained[0].links:
                free[link] = free.get(link, 0) + gained[1]
        now = self._clock()
        held = {one: hold for one, hold in account.held.items() if one != self._me and hold["until"] > now}
        if free:
            held[self._me] = {"until": int(now + HELD_SECONDS), "free": free}
        version, account.version = account.version, None  # unknown until the answer is there
        if not await self._documents.replace(account.path, {"taken": taken, "held": held}, version=version):
            for block, amount in zip(back, amounts, strict=True):
                block.free += amount
            return False
        account.taken, account.held, account.version = taken, held, version + 1
        if gained is not None:
            gained[0].free += gained[1]
        return True

    def _short(self, account: _Account, taken: Mapping[str, int], ceilings: Mapping[str, int], need: int) -> RemitError:
        now = self._clock()
        for link, ceiling in ceilings.items():
            left = ceiling - taken.get(link, 0)
            may_return = sum(
                int(hold["free"].get(link, 0))
                for one, hold in account.held.items()
                if one != self._me and hold["until"] > now
            )
            if left + may_return < need:
                return OverBudget(
                    f"delegation {link} has {max(left, 0)} of its budget of {ceiling} left, the step needs {need}",
                    next_action="Delegate anew with a larger budget and run `remit resume TASK`.",
                )
        return Held(
            "the rest of the budget is set aside by other workers and may come back",
            code="budget.settling",
            next_action="It is tried again.",
        )

    def _sweep_later(self) -> None:
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def _sweep(self) -> None:
        """Give idle blocks back until none is left, or all are to go back."""
        while any(account.blocks for account in self._accounts.values()):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._idle)
                return
            now = self._clock()
            for account in list(self._accounts.values()):
                idle = [block for block in account.blocks.values() if now - block.used_at >= self._idle]
                if not idle or account.lock.locked():
                    continue
                async with account.lock:
                    try:
                        await self._give_back(account, idle)
                    except RemitError:
                        continue  # no answer: tried again, or counted as spent
                    for block in idle:
                        if not block.free and not block.waiting:
                            account.blocks.pop(block.links, None)


def _without(taken: Mapping[str, int], blocks: Sequence[_Block]) -> dict[str, int]:
    """Return what remains taken when these blocks' free units go back."""
    rest = dict(taken)
    for block in blocks:
        for link in block.links:
            rest[link] = rest.get(link, 0) - block.free
    return rest


def _busy(account: _Account) -> Held:
    return Held(f"{account.path}: too many writers at once", code="budget.busy", next_action="It is tried again.")
