"""No call outlives the answer to those it was made with."""

from __future__ import annotations

import asyncio

import pytest

from remit.together import both, every


async def test_answers_come_in_order() -> None:
    async def after(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    assert await every(after(n) for n in (0.02, 0.0, 0.01)) == [0.02, 0.0, 0.01]
    assert await both(after(0.0), asyncio.sleep(0, "two")) == (0.0, "two")


async def test_a_failure_is_raised_when_all_are_over() -> None:
    over: list[str] = []

    async def slow() -> None:
        await asyncio.sleep(0.02)
        over.append("slow")

    async def failing() -> None:
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        await both(failing(), slow())
    assert over == ["slow"]
