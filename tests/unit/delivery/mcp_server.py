"""A real MCP server over stdio: it says which variables it has, by the hash of their values, and who it is.

Started as ``python mcp_server.py [stubborn]``: stubborn, it ends neither with its input nor when it is asked to.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time

from mcp.server import MCPServer

server = MCPServer("variables")


@server.tool()
def variables() -> dict[str, str]:
    """Return the hash of each variable's value."""
    return {name: hashlib.sha256(value.encode()).hexdigest() for name, value in os.environ.items()}


@server.tool()
def pid() -> int:
    """Return the process."""
    return os.getpid()


@server.tool()
def spills() -> str:
    """Return what it has, as a careless server might."""
    return f"connecting with {os.environ.get('FLIGHTS_DSN', 'nothing')}"


@server.tool()
def nap(seconds: float) -> str:
    """Take a while."""
    time.sleep(seconds)
    return "rested"


if __name__ == "__main__":
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        server.run("stdio")
    finally:
        if "stubborn" in sys.argv:
            time.sleep(600)
