"""MCP servers over stdio and streamable HTTP, used by workflows through `temporalio-mcp`, governed."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp import Client as MCPClient
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from temporalio.mcp import MCPPlugin

from examples.mcp.server import HEADER
from remit.assembly import Parts
from remit.credentials import CREDENTIAL
from remit.embedded import Stack
from remit.errors import Usage
from remit.mapping import Mapping
from remit.settings import Settings
from tests.attacks.effects import effects
from tests.frameworks.ground import Ground, Run, eventually, governed
from tests.frameworks.mcp_agents import AGENTS, AtOnce, Connected, Operations

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

REPOSITORY = Path(__file__).parents[2]
RULES = """
[servers.{server}.tools.query_flights]
action = "dataset:query"
resource = "{{dataset}}"
credential = "flights-ro"

[servers.{server}.tools.whoami]
action = "dataset:query"
resource = "{{dataset}}"
credential = "flights-ro"

[servers.{server}.tools.publish_report]
action = "report:publish"
resource = "reports"
credential = "reports-rw"

[servers.{server}.other.read-resource]
action = "dataset:query"
resource = "flights"
credential = "flights-ro"

[servers.{server}.other.get-prompt]
action = "model:invoke"
resource = "planner"
"""
MAPPING = Mapping.parse('frameworks = ["mcp"]\n' + RULES.format(server="pipe") + RULES.format(server="web"))
QUERY = ["call_tool", "query_flights", {"dataset": "flights", "sql": "select count(*) as n from flights"}]
PAYROLL = ["call_tool", "query_flights", {"dataset": "payroll", "sql": "select * from hr.payroll"}]
WHO = ["call_tool", "whoami", {"dataset": "flights"}]
NOWHERE = ["call_tool", "nowhere", {"dataset": "flights"}]
LIST = ["list_tools"]


def publish(table: str) -> list[Any]:
    return ["call_tool", "publish_report", {"table": table, "sql": "select count(*) as n from flights"}]


def nap(seconds: float) -> list[Any]:
    sql = f"select pg_sleep({seconds})::text as slept"
    return ["call_tool", "query_flights", {"dataset": "flights", "sql": sql}]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server over streamable HTTP, with no connection string of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.frameworks.mcp_server", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            assert process.poll() is None
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def over_http(address: str, headers: dict[str, str]) -> AsyncIterator[Any]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        streamable_http_client(address, http_client=http) as streams,
    ):
        yield streams


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings, address: str) -> AsyncIterator[Ground]:
    def pipe(attempt: str | None) -> MCPClient:
        credential = CREDENTIAL.get()
        return MCPClient(
            StdioServerParameters(
                command=sys.executable,
                args=["-m", "tests.frameworks.mcp_server"],
                env={"DATABASE_URL": credential["dsn"]} if credential else {},
                cwd=REPOSITORY,
            )
        )

    def web(attempt: str | None) -> MCPClient:
        credential = CREDENTIAL.get()
        headers = {HEADER: credential["dsn"]} if credential else {}
        return MCPClient(over_http(address, headers))

    plugin = MCPPlugin({"pipe": pipe, "web": web})
    async with governed(stack, settings, MAPPING, plugins=[plugin], workflows=AGENTS, queue="mcp") as made:
        yield made


both = pytest.mark.parametrize("server", ["pipe", "web"])


@both
async def test_a_permitted_call_queries_as_a_user_of_its_own(ground: Ground, server: str) -> None:
    run = await ground.start(Operations.run, server, [QUERY, WHO])
    counted, who = await run.result()
    assert counted == [False, "[{'n': 336776}]"]
    assert who[1].split()[1].startswith(f"d-{run.delegations[0]}-2-")
    assert run.outcomes() == ["permitted", "ok"] * 2
    assert run.users() == []
    await run.replays()
