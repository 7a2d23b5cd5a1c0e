"""Workers with pydantic-ai's agents: what does not start, where tools run, MCP servers and a model behind a key."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic_ai.durable_exec.temporal import AgentPlugin, PydanticAIPlugin

from remit.embedded import Stack
from remit.errors import Refused, Usage
from remit.mapping import Mapping
from remit.settings import Settings
from tests.frameworks.ground import governed
from tests.frameworks.pydantic_ai_agents import Bare, Desk, Lending, Planning, noting
from tests.frameworks.pydantic_ai_ground import (
    COUNT,
    INLINE,
    PAYROLL,
    QUEUE,
    TEXT,
    cut_short,
    held,
    start,
    told,
    waiting,
)

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        (TEXT.replace(INLINE, ""), "tool.unmapped", "'note'"),
        (TEXT.replace(INLINE, INLINE.replace("inline = true", "")), "tool.inline", "'note'"),
        (TEXT.replace("[tools.query_in_thread]", "[tools.another]"), "tool.unmapped", "'query_in_thread'"),
        (TEXT.replace("agent__streaming", "agent__another"), "activity.undeclared", "event_stream_handler"),
    ],
)
async def test_a_worker_does_not_start_with(stack: Stack, settings: Settings, text: str, code: str, named: str) -> None:
    await refused_at_start(
        stack, settings, text, plugins=[PydanticAIPlugin()], workflows=[Desk], code=code, named=named
    )


async def test_an_agent_of_a_plugin_of_its_own_is_looked_into(stack: Stack, settings: Settings) -> None:
    plugins = [PydanticAIPlugin(), AgentPlugin(noting)]
    text = TEXT.replace(INLINE, "")
    await refused_at_start(
        stack, settings, text, plugins=plugins, workflows=[Bare], code="tool.unmapped", named="agent 'noting'"
    )
    async with governed(
        stack, settings, Mapping.parse(TEXT), plugins=plugins, workflows=[Bare], queue=f"{QUEUE}-bare"
    ) as ground:
        run = await ground.start(Bare.run, json.dumps([[COUNT]]))
        assert await told(run) == [[{"n": 336776}]]


async def refused_at_start(
    stack: Stack, settings: Settings, text: str, *, plugins: list[Any], workflows: list[type], code: str, named: str
) -> None:
    with pytest.raises(Usage) as refused:
        async with governed(
            stack, settings, Mapping.parse(text), plugins=plugins, workflows=workflows, queue=f"{QUEUE}-refused"
        ):
            await asyncio.sleep(60)
    assert refused.value.code == code
    assert named in refused.value.message


MORE = """
[tools.my_query_flights]
action = "dataset:query"
resource = "{dataset}"
inline = true

[tools.web_search]
action = "model:invoke"
resource = "planner"
inline = true

[tools.count_flights]
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"

[children."agent__planning__toolset__children__call_tool__child_workflow"]
share = true
"""


async def test_what_is_mapped_for_where_it_runs_is_decided_there(stack: Stack, settings: Settings) -> None:
    async with governed(
        stack,
        settings,
        Mapping.parse(TEXT + MORE),
        plugins=[PydanticAIPlugin()],
        workflows=[Desk, Lending, Planning],
        queue=f"{QUEUE}-more",
    ) as ground:
        tool, arguments = COUNT
        prefixed = await start(ground, [[f"my_{tool}", arguments]], agent="prefixed")
        assert await told(prefixed) == [[{"n": 336776}]]
        assert prefixed.outcomes("my_query_flights") == prefixed.outcomes("query_flights") == ["permitted", "ok"]

        searching = await start(ground, [COUNT], agent="searching")
        assert await told(searching) == [[{"n": 336776}]]
        assert searching.outcomes("web_search") == ["permitted", "ok"] * 2

        lending = await ground.start(Lending.run, json.dumps([[["count_flights", {"dataset": "flights"}]]]))
        assert await told(lending) == [[{"n": 336776}]]

        planning = await ground.start(
            Planning.run, json.dumps([[["plan", {"prompt": json.dumps([[COUNT, PAYROLL]])}]]])
        )
        ((counted, refused),) = [json.loads(one) for one in await told(planning)]
        assert counted == [{"n": 336776}]
        assert refused.endswith("[policy.denied]")
        for run in (prefixed, searching, lending, planning):
            await run.replays()


SERVER = """
frameworks = ["pydantic-ai"]
models."*".resource = "planner"

[servers.flights.tools.query_flights]
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"
"""


async def test_an_mcp_servers_tools_are_decided_one_by_one(stack: Stack, settings: Settings) -> None:
    from tests.frameworks.pydantic_ai_mcp import Asking

    async with governed(
        stack,
        settings,
        Mapping.parse(SERVER),
        plugins=[PydanticAIPlugin()],
        workflows=[Asking],
        queue=f"{QUEUE}-mcp",
    ) as ground:
        turn = [COUNT, COUNT, PAYROLL, ["nowhere", {"dataset": "flights"}]]
        run = await ground.start(Asking.run, json.dumps([turn]))
        *counted, refused, unmapped = await told(run)
        assert [json.loads(one) for one in counted] == [[{"n": 336776}]] * 2
        assert refused.endswith("[policy.denied]")
        assert unmapped.endswith("[tool.unmapped]")
        assert sorted(run.outcomes("flights.query_flights", resource="flights")) == ["ok"] * 2 + ["permitted"] * 2
        assert run.users() == []
        await run.replays()
        with held(stack):
            run = await ground.start(Asking.run, json.dumps([[waiting("query_flights")]]))
            user = await run.querying("pg_advisory_lock_shared")
            await run.revoke()
            await run.dead(user)
            await run.until("suspended")
        await run.resume()
        assert await told(run) == ['[{"n": 1}]']
        assert cut_short(run.outcomes("flights.query_flights")) == ["permitted", "cut short", "permitted", "ok"]


class Model(ThreadingHTTPServer):
    """OpenAI's chat completions on loopback: one tool call, then what was told of it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Completions)
        self.asked: list[tuple[str | None, dict[str, Any]]] = []
        """Authorization and body of each request."""


class Completions(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.headers["Authorization"], body))
        tool, given = COUNT
        last = body["messages"][-1]
        call = {"id": "call-1", "type": "function", "function": {"name": tool, "arguments": json.dumps(given)}}
        message = {"content": last["content"]} if last["role"] == "tool" else {"content": None, "tool_calls": [call]}
        answer = {
            "id": "chat-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-scripted",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        sent = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: Any) -> None:
        pass


async def test_a_model_is_asked_with_the_attempts_key(
    stack: Stack, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    serving = threading.Thread(target=model.serve_forever)
    serving.start()
    monkeypatch.setenv("REMIT_TEST_MODEL", f"http://127.0.0.1:{model.server_port}")
    try:
        from tests.frameworks.pydantic_ai_openai import Paying, client

        rule = '[models."openai:gpt-*"]\nresource = "planner"\ncredential = "model-key"\n'
        text = TEXT.replace('[models."function:scripted"]\nresource = "planner"\n', rule)
        async with governed(
            stack,
            settings,
            Mapping.parse(text),
            plugins=[PydanticAIPlugin()],
            workflows=[Paying],
            queue=f"{QUEUE}-openai",
        ) as ground:
            run = await ground.start(Paying.run, "How many flights were there?")
            assert await told(run) == [{"n": 336776}]
            key = (stack.home / "keys" / "model-key").read_text()
            assert [given for given, _ in model.asked] == [f"Bearer {key}"] * 2
            assert key not in (await run.history()).to_json()
            assert run.outcomes("openai:gpt-scripted") == ["permitted", "ok"] * 2
            await run.replays()
            refused = await ground.start(Paying.run, "And now?", actions=("read",))
            assert await refused.code() == "policy.denied"
        with pytest.raises(Refused, match="no credential here"):
            await client.models.list()
        assert len(model.asked) == 2, "nothing is asked without a permitted attempt"
    finally:
        model.shutdown()
        serving.join()
        model.server_close()
