"""A stdio MCP server's process: started with the attempt's variables, ended with the connection.

- A task of its own owns it: the SDK alone leaves a stubborn process alive when whoever uses it is cancelled twice, as
  an attempt is that does not end when it is told.
- The variables are read when it is started; what it inherits besides is the MCP SDK's own short list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client

from remit.delivery.environment import environment

_ENDING: set[asyncio.Task[None]] = set()


class Process:
    """An MCP transport over a process that lives as long as its connection.

    Args:
        server: How it is started.
        variables: Field of the credential by the variable's name; none, and no credential is asked for.
    """

    def __init__(self, server: StdioServerParameters, variables: Mapping[str, str]) -> None:
        self._server = server
        self._variables = variables
        self._over = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Any:
        """Start it.

        Raises:
            Refused: ``credential.none`` outside an attempt; nothing is started.
        """
        given = environment(self._variables) if self._variables else {}
        server = self._server.model_copy(update={"env": {**(self._server.env or {}), **given}})
        ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(server, ready))
        _ENDING.add(self._owner)
        self._owner.add_done_callback(_ended)
        try:
            return await asyncio.shield(ready)
        except BaseException:
            await self._end()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, and return when it has ended."""
        await self._end()

    async def _own(self, server: StdioServerParameters, ready: asyncio.Future[Any]) -> None:
        try:
            async with stdio_client(server) as streams:
                ready.set_result(streams)
                await self._over.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)
            ready.exception()  # seen, should nobody wait any more

    async def _end(self) -> None:
        self._over.set()
        if self._owner is not None:
            await asyncio.wait({self._owner})


def _ended(owner: asyncio.Task[None]) -> None:
    _ENDING.discard(owner)
    if not owner.cancelled():
        owner.exception()
