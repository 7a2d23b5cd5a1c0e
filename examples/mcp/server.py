"""A flights MCP server: two tools, a resource and a prompt over PostgreSQL.

    DATABASE_URL=… python -m examples.mcp.server          over stdio
    python -m examples.mcp.server --port 8800             over streamable HTTP, the connection string in a header

It knows nothing of Remit: it uses the connection string it is given, and does what it is asked.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from examples.database import publish, rows

HEADER = "x-database-url"
server = MCPServer("flights")


def dsn(context: Context) -> str:
    """Return the connection string of a request: of its header, else of this process."""
    return (context.headers or {}).get(HEADER) or os.environ["DATABASE_URL"]


@contextmanager
def answering() -> Iterator[None]:
    """Answer what the database refuses, or a session that is ended, as a tool's error."""
    try:
        yield
    except psycopg.Error as error:
        raise ToolError(str(error)) from None


@server.tool()
async def query_flights(dataset: str, sql: str, context: Context) -> str:
    """Query a dataset with one SELECT."""
    with answering():
        return repr(await rows(dsn(context), sql))


@server.tool()
async def publish_report(table: str, sql: str, context: Context) -> str:
    """Publish what a SELECT returns as a table of reports."""
    with answering():
        return await publish(dsn(context), table, sql)


@server.resource("flights://{dataset}/size")
async def size(dataset: str, context: Context) -> str:
    """How many rows a dataset has."""
    return repr(await rows(dsn(context), f'select count(*) from "{dataset}"'))  # noqa: S608 - as who may only read


@server.prompt()
def summary(carrier: str) -> str:
    """Ask for a summary of one carrier."""
    return f"Summarise the delays of {carrier}."


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    port = parser.parse_args().port
    if port is None:
        server.run()
    else:
        server.run("streamable-http", port=port)
