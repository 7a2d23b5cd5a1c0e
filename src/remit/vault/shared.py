"""Sharing: callers that wait together share one request.

- Nobody is ever answered by a request that began before they asked. Who comes while one is under way waits for the
  next, which begins when that one is answered.
- Callers of one turn of the event loop go together, the first of them included.
- One caller giving up does not disturb the others; an error reaches each of them as an object of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batch(Generic[T, R]):
    """Turns single calls into requests for many.

    Args:
        run: Answers many items at once, in order; an exception among the results is that item's own.
        most: Items of one request.
    """

    __slots__ = ("_busy", "_most", "_run", "_task", "_waiting")

    def __init__(self, run: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], *, most: int = 128) -> None:
        self._run = run
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._busy: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: T) -> R:
        """Return the answer to one item, from a request that begins after this call."""
        loop = asyncio.get_running_loop()
        if self._busy is not loop:
            # None under way here; whatever another, finished loop left behind is of no use to anybody.
            self._waiting = []
            self._busy = loop
            loop.call_soon(self._begin)
        answer: asyncio.Future[R] = loop.create_future()
        self._waiting.append((item, answer))
        return await answer

    def _begin(self) -> None:
        batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        batch = [(item, answer) for item, answer in batch if not answer.done()]
        if batch:
            self._task = asyncio.get_running_loop().create_task(self._answer(batch))
        elif self._waiting:
            self._begin()
        else:
            self._busy = None

    async def _answer(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results: Sequence[R | Exception] = await self._run([item for item, _ in batch])
        except Exception as error:
            results = [error if len(batch) == 1 else _own(error) for _ in batch]
        except BaseException:
            for _, answer in (*batch, *self._waiting):
                answer.cancel()
            self._waiting, self._busy = [], None
            raise
        for (_, answer), result in zip(batch, results, strict=True):
            if answer.done():
                continue
            if isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)
        self._begin()


class Shared(Generic[R]):
    """One read that all who wait share.

    Args:
        read: Does it.
    """

    __slots__ = ("_batch", "_read")

    def __init__(self, read: Callable[[], Awaitable[R]]) -> None:
        self._read = read
        self._batch: Batch[None, R] = Batch(self._all, most=1_000_000)

    async def __call__(self) -> R:
        """Return what a read finds that begins after this call."""
        return await self._batch(None)

    async def _all(self, callers: Sequence[None]) -> Sequence[R]:
        return [await self._read()] * len(callers)


def _own(error: Exception) -> Exception:
    """Return a copy, so that callers do not write their tracebacks into one another's."""
    own = type(error).__new__(type(error))
    own.args = error.args
    own.__dict__.update(error.__dict__)
    return own
