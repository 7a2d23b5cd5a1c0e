"""A real MCP server over streamable HTTP, in this process, that notes the headers of each request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from mcp.server import MCPServer
from starlette.types import ASGIApp, Receive, Scope, Send


class Front:
    """What stands before the server."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.seen: list[dict[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await self.app(scope, receive, send)


@asynccontextmanager
async def mcp_site() -> AsyncIterator[tuple[str, Front]]:
    """Serve it; yield its endpoint and what it saw."""
    made = MCPServer("headers")
    made.tool(name="echo")(_echo)
    front = Front(made.streamable_http_app())
    running = uvicorn.Server(uvicorn.Config(front, port=0, log_level="error", lifespan="on"))
    serving = asyncio.create_task(running.serve())
    while not running.started:
        assert not serving.done()
        await asyncio.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/mcp", front
    finally:
        running.should_exit = True
        await serving


def _echo(text: str) -> str:
    return text
