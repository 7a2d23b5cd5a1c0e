"""MCP servers over stdio and streamable HTTP, used by workflows through `temporalio-mcp`, governed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client, StdioServerParameters
from temporalio.mcp import MCPPlugin

from examples.mcp.server import HEADER
from remit.delegation import Reference
from remit.delivery.mcp import http, stdio
from remit.embedded import Stack
from remit.errors import Usage
from remit.mapping import Mapping
from remit.settings import Settings
from remit.statements import Event
from tests.attacks.effects import effects
from tests.frameworks.ground import Ground, eventually, governed, nap, wake
from tests.frameworks.mcp_agents import AGENTS, AtOnce, Connected, Operations
from tests.integration.acting import Task, state

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


def napping(name: str) -> list[Any]:
    return ["call_tool", "query_flights", {"dataset": "flights", "sql": nap(name)}]


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


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings, address: str) -> AsyncIterator[Ground]:
    command = StdioServerParameters(command=sys.executable, args=["-m", "tests.frameworks.mcp_server"], cwd=REPOSITORY)
    pipe = stdio(command, {"DATABASE_URL": "dsn"})
    web = http(address, field="dsn", name=HEADER, scheme="")
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


@both
async def test_a_denial_is_told_and_the_workflow_goes_on(
    ground: Ground, stack: Stack, settings: Settings, server: str
) -> None:
    async with effects(stack, settings, ground.parts) as seen:
        run = await ground.start(Operations.run, server, [PAYROLL])
        ((failed, told),) = await run.result()
    assert failed
    assert "policy.denied" in told
    seen.refused("policy.denied")
    assert (await run.shown())["state"] == "completed"
    await run.replays()


async def test_a_tool_the_mapping_does_not_know_is_denied(ground: Ground, stack: Stack, settings: Settings) -> None:
    async with effects(stack, settings, ground.parts) as seen:
        run = await ground.start(Operations.run, "pipe", [NOWHERE])
        ((failed, told),) = await run.result()
    assert (failed, "tool.unmapped" in told) == (True, True)
    seen.refused("tool.unmapped")


@both
async def test_publishing_waits_for_a_person(ground: Ground, server: str) -> None:
    run = await ground.start(Operations.run, server, [publish(f"mcp_{server}"), QUERY])
    assert (await run.approve())["input"]["table"] == f"mcp_{server}"
    published, queried = await run.result()
    assert published == [False, f"reports.mcp_{server}: 1 rows"]
    assert not queried[0]
    assert run.outcomes(resource="reports") == ["refused approval.needed", "permitted", "ok"]
    await run.replays()


async def test_a_rejection_is_told(ground: Ground) -> None:
    run = await ground.start(Operations.run, "pipe", [publish("never"), QUERY])
    await run.reject()
    (failed, told), queried = await run.result()
    assert (failed, "approval.rejected" in told, queried[0]) == (True, True, False)
    assert "ok" not in run.outcomes(resource="reports")
    await run.replays()


@both
async def test_a_revocation_in_mid_call_ends_server_and_query_and_a_fresh_delegation_goes_on(
    ground: Ground, stack: Stack, server: str
) -> None:
    run = await ground.start(Operations.run, server, [napping(f"mcp_{server}"), QUERY])
    user = await run.querying()
    processes = serving(user)
    assert len(processes) == (1 if server == "pipe" else 0)
    await run.revoke()
    await run.dead(user)
    await run.until("suspended")
    await eventually(lambda: run.outcomes() in (["permitted", "stopped"], ["permitted", "cancelled"]))
    assert run.users() == []
    await eventually(lambda: not any(one.is_running() for one in processes))
    wake(stack, f"mcp_{server}")
    fresh = (await run.resume()).delegation
    slept, counted = await run.result()
    assert (slept[0], counted[0]) == (False, False)
    users = [attempt["lease"]["user"] for attempt in (await run.shown())["steps"][0]["attempts"]]
    assert (users[0], users[-1][: len(f"d-{fresh}-1-")]) == (user, f"d-{fresh}-1-")
    assert run.outcomes()[-4:] == ["permitted", "ok", "permitted", "ok"]
    assert run.outcomes().count("ok") == 2
    await run.replays()


async def test_a_server_that_dies_is_started_again_with_another_credential(ground: Ground, stack: Stack) -> None:
    run = await ground.start(Operations.run, "pipe", [napping("mcp_dies")])
    user = await run.querying()
    (process,) = serving(user)
    wake(stack, "mcp_dies")
    process.kill()
    assert await run.result() == [[False, "[{'slept': ''}]"]]
    assert run.outcomes() == ["permitted", "error", "permitted", "ok"]
    users = [attempt["lease"]["user"] for attempt in (await run.shown())["steps"][0]["attempts"]]
    assert (users[0], len(set(users))) == (user, 2)
    assert run.users() == []


@both
async def test_an_error_for_want_of_authority_is_no_result(
    ground: Ground, stack: Stack, settings: Settings, server: str
) -> None:
    """A server that lost its session answers with an error; nobody told the task why."""
    run = await ground.start(Operations.run, server, [napping(f"mcp_untold_{server}")])
    user = await run.querying()
    untold = Task(Reference(run.delegations[0], ""), (), run.task, "")
    await state(settings, untold, Event.REVOKED)
    await run.dead(user)
    await run.until("suspended")
    assert run.outcomes() == ["permitted", "stopped"]
    wake(stack, f"mcp_untold_{server}")
    await run.resume()
    assert await run.result() == [[False, "[{'slept': ''}]"]]


async def test_no_two_attempts_share_a_process(ground: Ground) -> None:
    run = await ground.start(AtOnce.run, "pipe", [WHO] * 4)
    answers = [answer.split() for failed, answer in await run.result() if not failed]
    assert len({process for process, _ in answers}) == 4
    assert len({user for _, user in answers}) == 4
    await eventually(lambda: not any(psutil.pid_exists(int(process)) for process, _ in answers))


async def test_a_connection_the_workflow_names_is_kept_and_shown_to_whoever_approves(ground: Ground) -> None:
    run = await ground.start(Connected.run, "pipe", "mine", publish("mcp_mine"))
    asked = (await run.approve())["input"]
    assert (asked["table"], asked["_connection"]) == ("mcp_mine", "mine")
    assert await run.result() == [False, "reports.mcp_mine: 1 rows"]


@both
async def test_listing_needs_no_credential_and_makes_no_step(
    ground: Ground, stack: Stack, settings: Settings, server: str
) -> None:
    lists = [LIST, ["list_prompts"], ["list_resources"], ["list_resource_templates"]]
    async with effects(stack, settings, ground.parts) as seen:
        run = await ground.start(Operations.run, server, lists)
        tools, prompts, _, templates = await run.result()
    assert {"query_flights", "publish_report"} < {tool["name"] for tool in tools["tools"]}
    assert [prompt["name"] for prompt in prompts["prompts"]] == ["summary"]
    assert [one["name"] for one in templates["resource_templates"]] == ["size"]
    assert (seen.records, seen.minted) == ([], [])
    assert {process.environ().get("DATABASE_URL") for process in serving()} <= {None}
    assert server == "web" or serving(), "the process that lists is kept, and is nobody's"


@both
async def test_resources_and_prompts_are_decided_like_calls(ground: Ground, server: str) -> None:
    asked = [["read_resource", "flights://flights/size"], ["get_prompt", "summary", {"carrier": "UA"}]]
    run = await ground.start(Operations.run, server, asked)
    resource, prompt = await run.result()
    assert "336776" in json.dumps(resource)
    assert "UA" in json.dumps(prompt)
    done = [(one["tool"], one["action"], one["resource"]) for one in run.records() if one["outcome"] == "ok"]
    assert done == [
        (f"{server}.read-resource", "dataset:query", "flights"),
        (f"{server}.get-prompt", "model:invoke", "planner"),
    ]


async def test_a_resource_nobody_delegated_fails_for_its_result_has_no_form_for_it(ground: Ground) -> None:
    run = await ground.start(
        Operations.run, "pipe", [["read_resource", "flights://flights/size"]], actions=["report:publish"]
    )
    assert await run.code() == "policy.denied"


async def test_a_factory_without_an_argument_is_refused_where_calls_have_credentials(
    stack: Stack, settings: Settings
) -> None:
    def shared() -> Client:
        raise AssertionError("it is never asked")

    plugin = MCPPlugin({"pipe": shared, "other": shared})
    with pytest.raises(Usage) as refused:
        async with governed(stack, settings, MAPPING, plugins=[plugin], workflows=AGENTS, queue="mcp-shared"):
            await asyncio.sleep(60)
    assert refused.value.code == "mcp.shared"
    assert "'pipe'" in refused.value.message


def serving(user: str = "") -> list[psutil.Process]:
    """Return the stdio servers' processes; with a database user, those whose environment holds it."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command, given = process.cmdline(), process.environ().get("DATABASE_URL", "").split()
            if "tests.frameworks.mcp_server" in command and "--port" not in command:
                found += [process] if not user or f"user={user}" in given else []
    return found
