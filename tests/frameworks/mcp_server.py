"""The example's MCP server with tools that tell who serves, and one that no mapping knows."""

from __future__ import annotations

import argparse
import os

from mcp.server.mcpserver import Context

from examples.mcp.server import dsn, server


@server.tool()
async def whoami(dataset: str, context: Context) -> str:
    """Say which process serves, and as which database user."""
    user = next(part for part in dsn(context).split() if part.startswith("user="))
    return f"{os.getpid()} {user.removeprefix('user=')}"


@server.tool()
async def nowhere(dataset: str) -> str:
    """Do what nobody mapped."""
    return "done"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    port = parser.parse_args().port
    if port is None:
        server.run()
    else:
        server.run("streamable-http", port=port)
