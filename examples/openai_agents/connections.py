"""Connections that carry the credential of the attempt they are used in: to a model's provider, to an MCP server."""

from __future__ import annotations

import sys
from typing import Any

import httpx2
from agents import OpenAIProvider
from agents.mcp import MCPServer, MCPServerStdio
from openai import AsyncOpenAI

from remit.delivery import environment
from remit.delivery.httpx2 import Auth


def models(url: str = "https://api.openai.com") -> OpenAIProvider:
    """Return the models of a service that speaks OpenAI's API, for `OpenAIAgentsPlugin(model_provider=…)`."""
    http = httpx2.AsyncClient(auth=Auth(to=url, field="key"))
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", http_client=http, max_retries=0)
    return OpenAIProvider(openai_client=client)


def flights(attempt: Any) -> MCPServer:
    """Return a server over stdio, for `OpenAIAgentsPlugin(mcp_servers={"flights": flights})`; listing needs nothing."""
    login: dict[str, str] = {} if attempt is None else environment({"DATABASE_URL": "dsn"})
    return MCPServerStdio(
        {"command": sys.executable, "args": ["-m", "examples.mcp.server"], "env": login},
        client_session_timeout_seconds=60,
    )
