"""MCP: connections to a server with the credential of the attempt that makes them, as `temporalio.mcp` asks for them.

- A factory is called with an argument. Remit's mapping gives each attempt with a credential one of its own, so each has
  a connection, and over stdio a process, of its own, and it ends with the attempt.
- Without an argument, as for listing tools, a connection is shared between attempts. It gets no credential, whoever
  makes it: its server is started without the variables and asked without the header.
- Needs mcp 2.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from remit.credentials import CREDENTIAL, current_credential
from remit.delivery._header import AUTHORIZATION
from remit.delivery._process import Process
from remit.delivery.httpx2 import AsyncTransport

Factory = Callable[[Any], Client]
_TIMEOUT = httpx2.Timeout(30, read=300)
"""Seconds, as the MCP SDK's own client has them: a server may hold its answer open."""


def stdio(server: StdioServerParameters, variables: Mapping[str, str], **options: Any) -> Factory:
    """Return the factory of a server that finds its credential in its environment.

    Args:
        server: How it is started; its `env` are further variables, the same for everybody.
        variables: Field of the credential by the variable's name, e.g. ``{"FLIGHTS_DSN": "dsn"}``.
        options: As of `mcp.Client`.

    Example:
        MCPPlugin(clients={"flights": stdio(StdioServerParameters(command="flights-mcp"), {"FLIGHTS_DSN": "dsn"})})
    """

    def connect(argument: Any) -> Client:
        return Client(Process(server, variables if _given(argument) else {}), **options)

    return connect


def http(
    url: str, *, field: str = "token", name: str = AUTHORIZATION, scheme: str = "Bearer", **options: Any
) -> Factory:
    """Return the factory of a streamable HTTP server that finds its credential in a header.

    Args:
        url: The server's endpoint; only its origin gets the header.
        field: Field of the credential. name: The header. scheme: Stands before the value.
        options: As of `mcp.Client`.

    Raises:
        Usage: ``delivery.origin``: it has no origin.
    """

    def transport() -> AsyncTransport:
        return AsyncTransport(to=url, name=name, field=field, scheme=scheme)

    transport()  # a wrong address is said now

    def connect(argument: Any) -> Client:
        return Client(_http(url, transport() if _given(argument) else httpx2.AsyncHTTPTransport()), **options)

    return connect


@asynccontextmanager
async def _http(url: str, transport: httpx2.AsyncBaseTransport) -> AsyncIterator[Any]:
    async with (
        httpx2.AsyncClient(transport=transport, timeout=_TIMEOUT) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams


def _given(argument: Any) -> bool:
    """Tell whether a connection is an attempt's own, and has a credential.

    Raises:
        Refused: ``credential.none``: the attempt is over.
    """
    if argument is None or CREDENTIAL.get() is None:
        return False
    current_credential()
    return True
