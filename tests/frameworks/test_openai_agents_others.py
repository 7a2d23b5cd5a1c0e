"""What OpenAI agents have besides tools: MCP servers, other agents, keys, and workers that do not start."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from agents.lifecycle import RunHooksBase
from temporalio.client import WorkflowFailureError
from temporalio.openai_agents import (
    OpenAIAgentsPlugin,
    StatefulMCPServerProvider,
)
from temporalio.worker import Worker

from examples.openai_agents.connections import flights, models
from examples.openai_agents.scripted import Scripted
from remit.assembly import assemble, temporal_client
from remit.embedded import Stack
from remit.errors import Refused, Usage
from remit.mapping import ModelRule
from remit.settings import Settings
from remit.temporal import RemitPlugin
from tests.frameworks import openai_tools
from tests.frameworks.ground import Ground, governed
from tests.frameworks.openai_ground import ACTIVITIES, ALL, MAPPING, PARAMETERS, SCRIPTS, heard, worker
from tests.frameworks.openai_workflows import WORKFLOWS, Desk, Pair, Served

pytestmark = [
    pytest.mark.servers,
    pytest.mark.filterwarnings("ignore:Cannot find activity to cancel"),
    pytest.mark.filterwarnings("ignore:.*is deprecated; use:DeprecationWarning"),
]

QUEUE = "openai-agents-others"


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings) -> AsyncIterator[Ground]:
    async with worker(stack, settings, QUEUE) as made:
        yield made


@pytest.mark.parametrize(("server", "old"), [("pipe", False), ("old", True)])
async def test_an_mcp_servers_tools_are_governed(ground: Ground, server: str, old: bool) -> None:
    run = await ground.start(Served.run, "payroll, and what is not mapped", server, old)
    given, denied, unmapped = (one[0]["text"] for one in heard(await run.result()))
    assert "336776" in given
    assert "[policy.denied]" in denied
    assert "[tool.unmapped]" in unmapped
    assert sorted(run.outcomes(f"{server}.query_flights")) == ["ok", "permitted", "refused policy.denied"]
    assert run.users() == []
    await run.replays()


async def test_an_mcp_servers_query_is_revoked_in_mid_call(ground: Ground) -> None:
    run = await ground.start(Served.run, "nap for long", "pipe", False)
    user = await run.querying()
    await run.revoke()
    await run.dead(user)
    await run.until("suspended")
    assert run.users() == []
    await run.resume()
    again = await run.querying()
    assert again != user
    await run.handle.cancel()
    await run.dead(again)
    with pytest.raises(WorkflowFailureError):
        await run.result()


async def test_an_mcp_server_that_is_not_mapped_is_not_listed(ground: Ground) -> None:
    run = await ground.start(Served.run, "count", "nowhere", False)
    assert await run.code() == "tool.unmapped"


@pytest.mark.parametrize("way", ["agent", "handoff", "tool"])
async def test_nothing_is_handed_to_an_agent_that_is_not_mapped(ground: Ground, way: str) -> None:
    run = await ground.start(Pair.run, "count", "Stranger", way)
    assert await run.code() == "agent.unmapped"
    assert run.records() == []


async def test_an_agent_that_shares_goes_on_under_the_same_delegation(ground: Ground) -> None:
    run = await ground.start(Pair.run, "hand over", "Trusted writer", "handoff")
    await run.approve()
    assert heard(await run.result())[1] == "reports.openai_handed: 1 rows"
    assert run.outcomes("writer") == ["permitted", "ok"] * 2
    assert {one["delegation"] for one in run.records()} == set(run.delegations)
    await run.replays()


async def test_an_agent_that_is_a_tool_and_shares_is_governed(ground: Ground) -> None:
    run = await ground.start(Pair.run, "ask", "Trusted writer", "tool")
    assert heard(await run.result()) == [json.dumps([ALL])]
    assert run.outcomes("query_flights") == ["permitted", "ok"]


@pytest.mark.parametrize("way", ["agent", "stream"])
async def test_an_agent_that_is_handed_something_acts_under_that_until_it_hands_back(ground: Ground, way: str) -> None:
    run = await ground.start(Pair.run, "hand over, and back", "Report writer", way)
    await run.approve()
    before, _, refused, published, _, after = heard(await run.result())
    assert before == after == ALL
    assert "[policy.denied]" in refused, "the task's agent may read, the one it handed over to may not"
    assert published == "reports.openai_narrower: 1 rows"
    (own,) = run.delegations
    (handed,) = {one["delegation"] for one in run.records("publish_report")}
    assert handed != own
    assert {one["agent"] for one in run.records("publish_report")} == {"spiffe://remit.local/agent/report-writer"}
    assert {one["delegation"] for one in run.records("writer")} == {handed}
    assert {one["delegation"] for one in run.records("planner")} == {own}
    assert [one["delegation"] for one in run.records("query_flights") if one["outcome"] == "ok"] == [own, own]
    await run.replays()


async def test_an_agent_that_is_a_tool_acts_under_what_it_is_handed(ground: Ground) -> None:
    run = await ground.start(Pair.run, "ask, and go on", "Report writer", "tool")
    told, given = heard(await run.result())
    assert "[policy.denied]" in told, "the writer may not read"
    assert given == ALL
    (own,) = run.delegations
    assert own not in {one["delegation"] for one in run.records("writer")}
    assert [one["delegation"] for one in run.records("query_flights") if one["outcome"] == "ok"] == [own]
    await run.replays()


async def test_nothing_is_handed_over_that_the_task_does_not_hold(ground: Ground) -> None:
    run = await ground.start(Pair.run, "be greedy", "Greedy writer", "agent")
    assert (await run.code() or "").startswith(("delegation.", "chain."))
    assert run.outcomes("writer") == []


async def test_the_order_of_the_plugins_does_not_matter_and_a_denial_may_fail_the_run(
    stack: Stack, settings: Settings
) -> None:
    strict = MAPPING.model_copy(update={"on_denied": "fail"})
    async with assemble(settings) as parts:
        remit = RemitPlugin(authority=parts.authority, presenter=parts.presenter, mapping=strict)
        both = [OpenAIAgentsPlugin(model_params=PARAMETERS, model_provider=Scripted(SCRIPTS)), remit]
        client = await temporal_client(settings, plugins=both)
        async with Worker(client, task_queue=f"{QUEUE}-turned", workflows=WORKFLOWS, activities=ACTIVITIES):
            turned = Ground(stack, settings, parts, client, f"{QUEUE}-turned", WORKFLOWS, both)
            run = await turned.start(Desk.run, "count twice at once", ["query_flights"])
            assert heard(await run.result()) == [ALL] * 2
            await run.replays()
            run = await turned.start(Desk.run, "payroll", ["query_flights"])
            assert await run.code() == "AgentsWorkflowError", "the framework's own name for it"
            assert (await run.shown())["error"]["code"] == "policy.denied", "and the task's"
            assert run.outcomes("query_flights")[-1] == "refused policy.denied"
            await run.replays()


class Provider(BaseHTTPRequestHandler):
    """OpenAI's service, with a scripted model: notes the keys it is shown."""

    keys: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:
        self.keys.append(self.headers["Authorization"])
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = Scripted(SCRIPTS, name=asked["model"]).answer(asked["input"]).model_dump_json().encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[str]:
    Provider.keys.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    serving.join()


async def test_the_models_key_is_leased_for_each_request_and_seen_by_its_provider_alone(
    stack: Stack, settings: Settings, provider: str
) -> None:
    keyed = MAPPING.model_copy(update={"models": {"planner": ModelRule(resource="planner", credential="model-key")}})
    key = stack.state.secret("keys/model-key", bytes).decode()
    made = models(provider)
    plugin = OpenAIAgentsPlugin(model_params=PARAMETERS, model_provider=made)
    async with governed(
        stack,
        settings,
        keyed,
        plugins=[plugin],
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        queue=f"{QUEUE}-keyed",
    ) as ground:
        run = await ground.start(Desk.run, "count", ["query_flights"])
        assert heard(await run.result()) == [ALL]
        assert Provider.keys == [f"Bearer {key}"] * 2
        leased = [one for one in run.records("planner") if one["outcome"] == "permitted"]
        assert len({one["lease"]["id"] for one in leased}) == 2
        everywhere = (await run.history()).to_json() + json.dumps([await run.shown(), run.records()])
        assert key not in everywhere
        async with made._get_client() as client:
            with pytest.raises(Refused, match="no credential here"):
                await client.models.list()
        await run.replays()


async def test_a_worker_that_could_not_be_governed_does_not_start(
    stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def code(activities: Sequence[Any] = (), **options: Any) -> str:
        plugin = OpenAIAgentsPlugin(model_params=PARAMETERS, model_provider=Scripted(SCRIPTS), **options)
        with pytest.raises(Usage) as refused:
            async with governed(
                stack,
                settings,
                MAPPING,
                plugins=[plugin],
                workflows=WORKFLOWS,
                activities=activities,
                queue=f"{QUEUE}-none",
            ):
                await asyncio.sleep(60)
        return refused.value.code

    assert await code(activities=[openai_tools.unmapped]) == "activity.undeclared"
    assert await code(mcp_servers={"pipe": lambda: flights(None)}) == "mcp.shared"
    assert await code(mcp_server_providers=[StatefulMCPServerProvider("held", flights)]) == "activity.undeclared"
    monkeypatch.delattr(RunHooksBase, "on_tool_start")
    assert await code() == "framework.unknown"
