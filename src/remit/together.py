"""Together: several calls awaited to their ends, so that none outlives its event loop or its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar, cast

_T = TypeVar("_T")
_U = TypeVar("_U")


async def both(first: Awaitable[_T], second: Awaitable[_U]) -> tuple[_T, _U]:
    """Return two answers; when a call fails, raise that once both are over."""
    return cast(tuple[_T, _U], tuple(await every((first, second))))


async def every(calls: Iterable[Awaitable[_T]]) -> list[_T]:
    """Return all answers, in order; when a call fails, raise the first failure once all are over."""
    found = await asyncio.gather(*calls, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return cast(list[_T], found)
