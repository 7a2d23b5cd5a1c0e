"""Listing: what tools an MCP server offers, asked of the server itself. Needs the extra ``mcp``.

- The server is asked for its tools and nothing else: no tool is called, nothing it may ask back is answered.
- A server that is started gets the environment the MCP SDK lets through and the variables named to it, nothing else of
  ours. What it writes to stderr is not shown, but for its last line, escaped, when it fails.
- All of it is bounded: time, pages, tools.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from remit.errors import Held, RemitError, Usage
from remit.policy.offered import MOST_TOOLS, told

if TYPE_CHECKING:
    from mcp.client._transport import Transport

SECONDS = 30.0
"""For all of it."""
_PAGES = 100
_TAIL = 4096
"""Bytes of a failed server's stderr that its last line is looked for in."""


def missing() -> RemitError:
    """Return the error of a machine without the MCP SDK."""
    return RemitError(
        "the MCP SDK is not installed", code="mcp.missing", next_action="Install it with: pip install 'remit[mcp]'"
    )


async def started(command: Sequence[str], *, variables: Sequence[str] = (), seconds: float = SECONDS) -> list[Any]:
    """Return the tools of a server that is started for this, over stdio.

    Args:
        command: Program and arguments.
        variables: Names of environment variables it gets besides the usual ones.

    Raises:
        Usage: ``mcp.command`` for a variable that is not set. Held: ``mcp.unreachable``. RemitError: ``mcp.missing``.
    """
    try:
        from mcp import StdioServerParameters, stdio_client
    except ImportError:
        raise missing() from None
    unset = sorted(name for name in variables if name not in os.environ)
    if unset:
        raise Usage(f"there is no environment variable {told(unset[0])}", code="mcp.command", next_action="Set it.")
    given = {name: os.environ[name] for name in variables}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as written:
        server = StdioServerParameters(command=command[0], args=list(command[1:]), env=given)
        try:
            return await _listed(stdio_client(server, errlog=written), seconds=seconds)
        except Held as error:
            error.next_action = _last(written.fileno()) or error.next_action
            raise


async def reached(url: str, *, seconds: float = SECONDS) -> list[Any]:
    """Return the tools of a server that listens, over streamable HTTP.

    Raises:
        Usage: ``mcp.url``. Held: ``mcp.unreachable``. RemitError: ``mcp.missing``.
    """
    if not _is_address(url):
        raise Usage(  # without the address, for there may be a password in it
            "this is not the address of an MCP server",
            code="mcp.url",
            next_action="Give http:// or https:// with a host, without a user.",
        )
    try:
        from mcp.client.streamable_http import streamable_http_client
    except ImportError:
        raise missing() from None
    return await _listed(streamable_http_client(url), seconds=seconds)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


async def _listed(transport: Transport, *, seconds: float) -> list[Any]:
    from mcp import Client

    # The SDK logs what it could not read, which is the server's text, unescaped.
    logging.getLogger("mcp").addHandler(logging.NullHandler())
    try:
        async with asyncio.timeout(seconds), Client(transport) as client:
            return await _pages(client)
    except TimeoutError:
        raise _unreachable(f"it did not answer within {seconds:g} s") from None
    except Exception as error:
        refused = _found(error)
        raise (refused or _unreachable(f"it did not answer as MCP servers do ({_deepest(error)})")) from None


async def _pages(client: Any) -> list[Any]:
    tools: list[Any] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None or len(tools) > MOST_TOOLS:
            return tools
    raise _unreachable(f"its list has more than {_PAGES} pages")


def _found(error: BaseException) -> RemitError | None:
    """Return the error of ours inside whatever groups a task group made of it."""
    if isinstance(error, RemitError):
        return error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next((found for one in inner if (found := _found(one))), None)


def _deepest(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


def _unreachable(why: str) -> Held:
    return Held(
        f"the MCP server cannot be asked: {why}",
        code="mcp.unreachable",
        next_action="Start it by hand to see why, or save its tools/list and give that with --tools.",
    )


def _last(written: int) -> str:
    """Return what a server said last on stderr, escaped; empty where it said nothing."""
    size = os.fstat(written).st_size
    lines = os.pread(written, _TAIL, max(0, size - _TAIL)).decode("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    return f"It said last: {told(said[-1])}" if said else ""
