"""MCP servers: a process and a connection for each attempt, with its credential, gone with it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from agents.mcp import (
    MCPServerStdio,
    MCPServerStdioParams,
    MCPServerStreamableHttp,
    MCPServerStreamableHttpParams,
)
from mcp import Client, StdioServerParameters
from mcp.client.stdio import DEFAULT_INHERITED_ENV_VARS

from remit.delivery import environment
from remit.delivery.httpx2 import Auth
from remit.delivery.mcp import http, stdio
from remit.errors import Refused, Usage

from .conftest import SECRET, attempt
from .mcp_site import Front, mcp_site

FILE = str(Path(__file__).with_name("mcp_server.py"))


def server(*arguments: str, **env: str) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=[FILE, *arguments], env=env or None)


async def said(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    content = result.structured_content
    return content["result"] if isinstance(content, dict) and set(content) == {"result"} else content


def digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def gone(pid: int) -> None:
    deadline = asyncio.get_running_loop().time() + 60
    while alive(pid):
        assert asyncio.get_running_loop().time() < deadline, "the server outlived its attempt"
        await asyncio.sleep(0.05)


async def test_a_process_has_what_is_named_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the worker's own")
    connect = stdio(server(REGION="eu"), {"FLIGHTS_DSN": "token"})
    with attempt(token=SECRET, password="another field"):
        async with connect({"attempt": "1"}) as client:
            seen, pid = await said(client, "variables"), await said(client, "pid")
    assert seen["FLIGHTS_DSN"] == digest(SECRET)
    assert seen["REGION"] == digest("eu")
    # LC_CTYPE is what Python sets for itself where no locale is.
    assert set(seen) - {"LC_CTYPE"} <= {*DEFAULT_INHERITED_ENV_VARS, "REGION", "FLIGHTS_DSN"}
    assert not alive(pid)


async def test_each_attempt_has_a_process_of_its_own() -> None:
    connect = stdio(server(), {"FLIGHTS_DSN": "token"})

    async def one(secret: str) -> tuple[int, bool]:
        with attempt(token=secret):
            async with connect({"attempt": secret}) as client:
                seen = await said(client, "variables")
                return await said(client, "pid"), seen["FLIGHTS_DSN"] == digest(secret)

    found = await asyncio.gather(one("secret-number-1"), one("secret-number-2"))
    assert [own for _, own in found] == [True, True]
    assert found[0][0] != found[1][0]
    assert [alive(pid) for pid, _ in found] == [False, False]


async def test_what_is_shared_has_no_credential_even_within_an_attempt() -> None:
    connect = stdio(server(), {"FLIGHTS_DSN": "token"})
    with attempt():
        async with connect(None) as client:
            assert "FLIGHTS_DSN" not in await said(client, "variables")


async def test_outside_an_attempt_a_server_has_none() -> None:
    async with stdio(server(), {"FLIGHTS_DSN": "token"})("an argument of the agent's own") as client:
        assert "FLIGHTS_DSN" not in await said(client, "variables")


async def test_nothing_is_started_after_an_attempt() -> None:
    for connect in (stdio(server(), {"FLIGHTS_DSN": "token"}), http("http://127.0.0.1:1/mcp")):
        with attempt() as credential:
            credential.forget()
            with pytest.raises(Refused) as refused:
                connect({"attempt": "1"})
        assert refused.value.code == "credential.none"


async def test_an_attempt_that_ends_before_its_server_starts_gives_it_nothing() -> None:
    with attempt() as credential:
        client = stdio(server(), {"FLIGHTS_DSN": "token"})({"attempt": "1"})
        credential.forget()
        with pytest.raises(Refused) as refused:
            await client.__aenter__()
    assert refused.value.code == "credential.none"


async def test_a_server_that_is_not_there_is_said() -> None:
    connect = stdio(StdioServerParameters(command="/nowhere/flights-mcp"), {"FLIGHTS_DSN": "token"})
    with attempt(), pytest.raises(FileNotFoundError) as failed:
        await connect({"attempt": "1"}).__aenter__()
    assert SECRET not in repr(failed.value)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("manner", ["willing", "stubborn"])
async def test_a_cancelled_attempts_process_is_killed(manner: str, times: int) -> None:
    """Also one that ignores its input's end and SIGTERM, and also when its attempt is cancelled twice."""
    pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    connect = stdio(server(manner), {"FLIGHTS_DSN": "token"})

    async def tool() -> None:
        with attempt():
            async with connect({"attempt": "1"}) as client:
                pid.set_result(await said(client, "pid"))
                await client.call_tool("nap", {"seconds": 600})

    running = asyncio.create_task(tool())
    process = await pid
    for _ in range(times):
        running.cancel()
        await asyncio.wait({running}, timeout=0.3)
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(process)


@pytest.fixture
async def site() -> AsyncIterator[tuple[str, Front]]:
    async with mcp_site() as made:
        yield made


@pytest.mark.parametrize("name", ["Authorization", "X-Flights-Key"])
async def test_each_attempt_asks_with_its_own_header(site: tuple[str, Front], name: str) -> None:
    url, front = site
    scheme = "Bearer" if name == "Authorization" else ""
    connect = http(url, name=name, scheme=scheme)
    for secret in ("secret-number-1", "secret-number-2"):
        front.seen.clear()
        with attempt(token=secret):
            async with connect({"attempt": secret}) as client:
                assert await said(client, "echo", text="a") == "a"
        assert {one.get(name.lower()) for one in front.seen} == {f"{scheme} {secret}".lstrip()}


async def test_listing_asks_without_it(site: tuple[str, Front]) -> None:
    url, front = site
    with attempt():
        async with http(url)(None) as client:
            assert "echo" in [one.name for one in (await client.list_tools()).tools]
    assert front.seen
    assert SECRET not in json.dumps(front.seen)


async def test_a_connection_kept_beyond_its_attempt_sends_nothing(site: tuple[str, Front]) -> None:
    url, front = site

    async def late() -> None:
        with attempt() as credential:
            async with http(url)({"attempt": "1"}) as client:
                credential.forget()
                front.seen.clear()
                await client.call_tool("echo", {"text": "a"})

    with pytest.raises(BaseExceptionGroup) as failed:
        await late()
    assert front.seen == []
    assert "no credential here" in "".join(traceback.format_exception(failed.value))


def test_a_wrong_address_is_said_at_once() -> None:
    with pytest.raises(Usage) as refused:
        http("flights")
    assert refused.value.code == "delivery.origin"


async def test_the_openai_agents_sdks_own_servers_take_the_same() -> None:
    with attempt():
        stdio_params = MCPServerStdioParams(command=sys.executable, args=[FILE], env=environment({"KEY": "token"}))
        async with MCPServerStdio(stdio_params, client_session_timeout_seconds=60) as own:
            seen = (await own.call_tool("variables", {})).structured_content
    assert seen is not None
    assert digest(SECRET) in json.dumps(seen)
    with pytest.raises(Refused):
        environment({"KEY": "token"})


async def test_the_openai_agents_sdks_own_connections_take_the_same(site: tuple[str, Front]) -> None:
    url, front = site
    with attempt():
        async with MCPServerStreamableHttp(MCPServerStreamableHttpParams(url=url, auth=Auth(to=url))) as own:
            assert "a" in str((await own.call_tool("echo", {"text": "a"})).content)
    assert {one.get("authorization") for one in front.seen} == {f"Bearer {SECRET}"}
