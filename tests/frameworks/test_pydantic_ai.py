"""Agents of pydantic-ai on Temporal, governed: nothing of theirs is changed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydantic_ai.durable_exec.temporal import AgentPlugin, PydanticAIPlugin

from remit.embedded import Stack
from remit.errors import Refused, Usage
from remit.mapping import Mapping
from remit.settings import Settings
from tests.frameworks.ground import Ground, Run, eventually, governed
from tests.frameworks.pydantic_ai_agents import LET_GO, SEEN, Bare, Desk, GoesOn, Lending, Lent, Planning, noting
from tests.integration.service import asked

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

QUEUE = "pydantic-ai"
INLINE = """
[tools.note]
action = "dataset:query"
resource = "{dataset}"
inline = true

[tools.announce]
action = "report:publish"
resource = "reports"
inline = true
"""
TEXT = f"""
frameworks = ["pydantic-ai"]
ungoverned = ["agent__streaming__event_stream_handler"]

[models."function:scripted"]
resource = "planner"

[tools.query_flights]
action = "dataset:query"
resource = "{{dataset}}"
credential = "flights-ro"

[tools.query_in_thread]
action = "dataset:query"
resource = "{{dataset}}"
credential = "flights-ro"

[tools.publish_report]
action = "report:publish"
resource = "reports"
credential = "reports-rw"

[tools.ask]
action = "dataset:query"
resource = "flights"
inline = true

[agents.writer]
agent = "report-writer"
actions = ["report:publish", "model:invoke"]
spaces = ["flights"]
budget = 10

[agents.friend]
share = true
{INLINE}
"""
COUNT = ["query_flights", {"dataset": "flights", "sql": "select count(*) as n from flights"}]
PAYROLL = ["query_flights", {"dataset": "payroll", "sql": "select * from hr.payroll"}]
LOCK = 5_120_723
LOCKED = f"select count(*) as n from pg_advisory_lock_shared({LOCK})"


def publish(table: str) -> list[Any]:
    return ["publish_report", {"table": table, "sql": "select carrier, count(*) as n from flights group by carrier"}]


def waiting(tool: str) -> list[Any]:
    """Return a call of a query that runs for as long as the lock is held."""
    return [tool, {"dataset": "flights", "sql": LOCKED}]


@contextmanager
def held(stack: Stack) -> Iterator[None]:
    with stack.postgres.connect("flights", autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        yield


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings) -> AsyncIterator[Ground]:
    plugins = [PydanticAIPlugin()]
    async with governed(
        stack, settings, Mapping.parse(TEXT), plugins=plugins, workflows=[Desk, Lent, GoesOn], queue=QUEUE
    ) as made:
        yield made


async def start(ground: Ground, *turns: list[Any], agent: str = "desk", model: str | None = None, **terms: Any) -> Run:
    return await ground.start(Desk.run, agent, json.dumps(turns), model, **terms)


async def told(run: Run) -> list[Any]:
    found: list[Any] = json.loads(await run.result())
    return found


def cut_short(outcomes: list[str]) -> list[str]:
    """Return outcomes, whoever came first to end an attempt: the watch, Temporal's cancellation or PostgreSQL."""
    return ["cut short" if one in ("stopped", "cancelled", "error") else one for one in outcomes]


async def test_calls_of_one_turn_are_decided_one_by_one_and_a_refusal_is_told(ground: Ground) -> None:
    run = await start(ground, [COUNT, PAYROLL], [COUNT])
    first, refused, second = await told(run)
    assert first == second == [{"n": 336776}]
    assert refused.startswith("Refused: ")
    assert refused.endswith("[policy.denied]")
    assert sorted(run.outcomes(resource="flights")) == ["ok"] * 2 + ["permitted"] * 2
    assert run.outcomes(resource="payroll") == ["refused policy.denied"]
    assert run.outcomes(resource="planner") == ["permitted", "ok"] * 3
    assert run.users() == []
    await run.replays()


async def test_a_call_waits_for_its_approval(ground: Ground, stack: Stack) -> None:
    run = await start(ground, [publish("pydantic_ai_yes")])
    waiting = await run.approve()
    assert (waiting["action"], waiting["resource"]) == ("report:publish", "reports")
    assert await told(run) == ["reports.pydantic_ai_yes: 16 rows"]
    assert len(asked(stack, "SELECT * FROM reports.pydantic_ai_yes")) == 16
    assert run.outcomes("publish_report") == ["refused approval.needed", "permitted", "ok"]
    await run.replays()


async def test_a_rejected_call_is_told_and_was_never_made(ground: Ground, stack: Stack) -> None:
    run = await start(ground, [publish("pydantic_ai_no")], [COUNT])
    await run.reject()
    refused, counted = await told(run)
    assert refused.endswith("[approval.rejected]")
    assert counted == [{"n": 336776}]
    assert asked(stack, "SELECT to_regclass('reports.pydantic_ai_no')") == [(None,)]
    assert "permitted" not in run.outcomes("publish_report")
    await run.replays()


async def test_a_revocation_ends_an_async_tool_and_a_fresh_delegation_goes_on(ground: Ground, stack: Stack) -> None:
    with held(stack):
        run = await start(ground, [COUNT], [waiting("query_flights")])
        user = await run.querying("pg_advisory_lock_shared")
        await run.revoke()
        await run.dead(user)
        await run.until("suspended")
    await run.resume()
    assert await told(run) == [[{"n": 336776}], [{"n": 1}]]
    assert cut_short(run.outcomes("query_flights")) == ["permitted", "ok", "permitted", "cut short", "permitted", "ok"]
    assert run.users() == []
    await run.replays()


async def test_a_thread_that_runs_on_has_no_credential_and_its_result_does_not_count(
    ground: Ground, stack: Stack
) -> None:
    SEEN.clear()
    LET_GO.clear()
    try:
        with held(stack):
            run = await start(ground, [waiting("query_in_thread")])
            user = await run.querying("pg_advisory_lock_shared")
            await run.revoke()
            await run.dead(user)
            await eventually(lambda: SEEN == ["query ended"])
            await run.until("suspended")
        LET_GO.set()
        await eventually(lambda: SEEN == ["query ended", "credential dead"])
        await run.resume()
        assert await told(run) == ["in time: [(1,)]"]
    finally:
        LET_GO.set()
    assert cut_short(run.outcomes("query_in_thread")) == ["permitted", "cut short", "permitted", "ok"]
    assert run.users() == []
    await run.replays()


async def test_an_inline_call_is_decided_when_it_is_proposed(ground: Ground) -> None:
    run = await start(ground, [["note", {"dataset": "flights", "text": "late"}], COUNT], agent="noting")
    assert await told(run) == ["noted late", [{"n": 336776}]]
    assert run.outcomes("note") == ["permitted", "ok"]
    assert await run.handle.query(Desk.noted) == ["late"]
    await run.replays()


async def test_an_inline_call_waits_for_its_approval(ground: Ground) -> None:
    run = await start(ground, [["announce", {"text": "all late"}]], agent="noting")
    await run.until("waiting-approval")
    assert await run.handle.query(Desk.noted) == []
    await run.approve()
    assert await told(run) == ["announced all late"]
    assert run.outcomes("announce") == ["refused approval.needed", "permitted", "ok"]
    await run.replays()


async def test_a_denied_inline_call_ends_the_run_undone(ground: Ground) -> None:
    run = await start(ground, [COUNT], [["note", {"dataset": "payroll", "text": "secret"}]], agent="noting")
    assert await run.code() == "policy.denied"
    assert await run.handle.query(Desk.noted) == []
    assert run.outcomes("note") == ["refused policy.denied"]


async def test_a_history_brings_no_inline_call_along(ground: Ground) -> None:
    run = await ground.start(GoesOn.run, "note", {"dataset": "flights", "text": "late"})
    assert await run.code() == "tool.inline"
    assert await run.handle.query(GoesOn.noted) == []
    run = await ground.start(GoesOn.run, *COUNT)
    assert await told(run) == [[{"n": 336776}]]
    assert run.outcomes("query_flights") == ["permitted", "ok"]


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


async def test_a_streamed_request_and_its_tools_are_governed(ground: Ground) -> None:
    SEEN.clear()
    run = await start(ground, [COUNT], [PAYROLL], agent="streaming")
    counted, refused = await told(run)
    assert counted == [{"n": 336776}]
    assert refused.endswith("[policy.denied]")
    assert run.outcomes(resource="planner") == ["permitted", "ok"] * 3
    assert "function_tool_call" in SEEN
    await run.replays()


async def test_tools_of_a_dynamic_toolset_are_decided_when_they_are_called(ground: Ground) -> None:
    run = await start(ground, [COUNT, PAYROLL], agent="changing")
    counted, refused = await told(run)
    assert counted == [{"n": 336776}]
    assert refused.endswith("[policy.denied]")
    await run.replays()


@pytest.mark.parametrize("agent", ["prefixed", "searching"])
async def test_no_model_is_offered_what_nobody_would_decide(ground: Ground, agent: str) -> None:
    run = await start(ground, [COUNT], agent=agent)
    assert await run.code() == "tool.unmapped"
    assert "permitted" not in run.outcomes()


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


async def test_a_toolset_lent_at_run_time_is_held_at_the_model(ground: Ground) -> None:
    run = await ground.start(Lent.run, "shelf", json.dumps([[["shelve", {"what": "it"}]]]))
    assert await run.code() == "tool.unmapped"
    assert await run.handle.query(Lent.noted) == []
    assert run.outcomes() == ["refused tool.unmapped"]
    run = await ground.start(Lent.run, "notes", json.dumps([[["note", {"dataset": "payroll", "text": "secret"}]]]))
    assert await run.code() == "policy.denied"
    assert await run.handle.query(Lent.noted) == []
    SEEN.clear()
    run = await ground.start(Lent.run, "data", json.dumps([[["wipe", {"dataset": "flights"}]]]))
    assert await run.code() == "UserError", "pydantic-ai itself refuses it"
    assert (run.outcomes(), SEEN) == ([], [])


def asked_of(who: str, *turns: list[Any]) -> list[Any]:
    return ["ask", {"who": who, "prompt": json.dumps(turns)}]


async def test_an_agent_that_is_handed_something_acts_under_that_while_it_runs(ground: Ground) -> None:
    run = await start(ground, [COUNT], [asked_of("writer", [COUNT, publish("pydantic_ai_handed")])], agent="leading")
    await run.approve()
    counted, answer = await told(run)
    refused, published = json.loads(answer)
    assert counted == [{"n": 336776}]
    assert refused.endswith("[policy.denied]"), "the task's agent may read, the one it asked may not"
    assert published == "reports.pydantic_ai_handed: 16 rows"
    (own,) = run.delegations
    (handed,) = {one["delegation"] for one in run.records("publish_report")}
    assert handed != own
    assert {one["agent"] for one in run.records("publish_report")} == {"spiffe://remit.local/agent/report-writer"}
    assert [one["delegation"] for one in run.records("query_flights")] == [own, own, handed]
    assert [one["delegation"] for one in run.records(resource="planner")].count(handed) == 4
    assert run.records(resource="planner")[-1]["delegation"] == own
    await run.replays()


async def test_an_agent_that_shares_goes_on_and_one_nobody_mapped_does_nothing(ground: Ground) -> None:
    run = await start(ground, [asked_of("friend", [COUNT])], agent="leading")
    assert await told(run) == [json.dumps([[{"n": 336776}]])]
    assert {one["delegation"] for one in run.records()} == set(run.delegations)
    run = await start(ground, [asked_of("stranger", [COUNT])], agent="leading")
    assert await run.code() == "agent.unmapped"
    assert run.outcomes("query_flights") == []


async def test_a_model_is_denied(ground: Ground) -> None:
    run = await start(ground, [COUNT], actions=("read",))
    assert await run.code() == "policy.denied"
    run = await start(ground, [COUNT], model="other")
    assert await run.code() == "model.unmapped"
    assert run.outcomes() == ["refused model.unmapped"]


async def test_one_revocation_ends_many_calls(ground: Ground, stack: Stack) -> None:
    with held(stack):
        run = await start(ground, [waiting("query_flights")] * 3)
        await eventually(lambda: len(run.users()) == 3)
        await run.revoke()
        await eventually(lambda: run.users() == [])
        await asyncio.wait_for(run.until("suspended"), 60)
    await run.resume()
    assert await told(run) == [[{"n": 1}]] * 3
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
    pytest.importorskip("fastmcp", reason="MCPToolset needs pydantic-ai-slim[mcp]")
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
