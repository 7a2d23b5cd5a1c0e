"""Sharing: nobody is answered by a request that began before they asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from remit.errors import Held, NotLive
from remit.vault import Batch, Shared


class Reads:
    """Reads that take a while; each returns its own number."""

    def __init__(self) -> None:
        self.began = 0
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.began += 1
        mine = self.began
        await asyncio.sleep(0.01)
        if self.error is not None:
            raise self.error
        return mine


async def test_callers_of_one_moment_share_one_read() -> None:
    reads = Reads()
    shared = Shared(reads)
    assert await asyncio.gather(*(shared() for _ in range(50))) == [1] * 50
    assert await shared() == 2


async def test_who_comes_during_a_read_waits_for_the_next() -> None:
    reads = Reads()
    shared = Shared(reads)
    first = asyncio.create_task(shared())
    await asyncio.sleep(0.005)
    assert reads.began == 1
    later = [asyncio.create_task(shared()) for _ in range(20)]
    assert await first == 1
    assert await asyncio.gather(*later) == [2] * 20
    assert reads.began == 2


async def test_nobody_is_ever_answered_by_an_earlier_read() -> None:
    reads = Reads()
    shared = Shared(reads)

    async def caller(number: int) -> None:
        for _ in range(5):
            await asyncio.sleep(0.003 * (number % 4))
            before = reads.began
            assert await shared() > before

    await asyncio.gather(*(caller(number) for number in range(20)))
    assert reads.began < 100


async def test_one_who_gives_up_disturbs_nobody() -> None:
    reads = Reads()
    shared = Shared(reads)
    tasks = [asyncio.create_task(shared()) for _ in range(3)]
    await asyncio.sleep(0.005)
    tasks[0].cancel()
    assert await asyncio.gather(*tasks[1:]) == [1, 1]
    only = asyncio.create_task(shared())
    await asyncio.sleep(0)
    only.cancel()
    await asyncio.sleep(0.02)
    assert await shared() >= 2


async def test_an_error_reaches_everybody_as_its_own_object() -> None:
    reads = Reads()
    reads.error = NotLive("revoked", status="revoked", subject="x")
    shared = Shared(reads)
    answers = await asyncio.gather(*(shared() for _ in range(3)), return_exceptions=True)
    assert len({id(answer) for answer in answers}) == 3
    assert all(isinstance(answer, NotLive) and answer.facts() == reads.error.facts() for answer in answers)
    reads.error = None
    assert await shared() == 2


async def test_items_go_together_in_order_and_fail_alone() -> None:
    sizes: list[int] = []

    async def double(items: Sequence[int]) -> list[int | Exception]:
        sizes.append(len(items))
        await asyncio.sleep(0)
        return [Held(f"{item}") if item == 3 else item * 2 for item in items]

    batch: Batch[int, int] = Batch(double, most=4)
    answers = await asyncio.gather(*(batch(item) for item in range(10)), return_exceptions=True)
    assert sizes == [4, 4, 2]
    assert isinstance(answers[3], Held)
    assert [answer for answer in answers if isinstance(answer, int)] == [0, 2, 4, 8, 10, 12, 14, 16, 18]


def test_another_event_loop_begins_afresh() -> None:
    reads = Reads()
    shared = Shared(reads)

    async def abandoned() -> None:
        asyncio.create_task(shared())  # noqa: RUF006 - never finished, on purpose
        await asyncio.sleep(0.002)

    asyncio.run(abandoned())
    assert asyncio.run(asyncio.wait_for(shared(), 60)) == 2


async def test_it_ends_with_its_loop() -> None:
    async def never(_: Sequence[None]) -> list[int]:
        await asyncio.sleep(60)
        return []

    batch: Batch[None, int] = Batch(never)
    waiting = [asyncio.create_task(batch(None))]
    await asyncio.sleep(0.001)
    waiting.append(asyncio.create_task(batch(None)))
    await asyncio.sleep(0)
    assert batch._task is not None
    batch._task.cancel()
    for task in waiting:
        with pytest.raises(asyncio.CancelledError):
            await task
