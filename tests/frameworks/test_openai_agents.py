"""Agents of the OpenAI Agents SDK, run by `temporalio-openai-agents`, governed."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from agents.lifecycle import RunHooksBase
from temporalio.client import WorkflowFailureError
from temporalio.openai_agents import (
    ModelActivityParameters,
    OpenAIAgentsPlugin,
    StatefulMCPServerProvider,
    StatelessMCPServerProvider,
)
from temporalio.worker import Worker

from examples.openai_agents import tools
from examples.openai_agents.connections import flights, models
from examples.openai_agents.scripted import Scripted
from examples.scenario import Call
from remit.assembly import assemble, temporal_client
from remit.credentials import CREDENTIAL
from remit.embedded import Stack
from remit.errors import Refused, Usage
from remit.mapping import Mapping, ModelRule
from remit.settings import Settings
from remit.temporal import RemitPlugin
from tests.frameworks import openai_tools
from tests.frameworks.ground import ACTIONS, Ground, governed
from tests.frameworks.openai_workflows import WORKFLOWS, Desk, Pair, Served, Sly, Streaming

pytestmark = [
    pytest.mark.servers,
    pytest.mark.filterwarnings("ignore:Cannot find activity to cancel"),
    pytest.mark.filterwarnings("ignore:.*is deprecated; use:DeprecationWarning"),
]

QUEUE = "openai-agents"
COUNT = Call("query_flights", {"dataset": "flights", "sql": "select count(*) as n from flights"})
PAYROLL = Call("query_flights", {"dataset": "payroll", "sql": "select * from hr.payroll"})
ALL = "[{'n': 336776}]"
NAP = Call("query_flights", {"dataset": "flights", "sql": "select pg_sleep(8)::text as slept"})
SERVER = """
[servers.{0}.tools.query_flights]
action = "dataset:query"
resource = "{{dataset}}"
credential = "flights-ro"
"""
MAPPING = Mapping.parse(
    """
frameworks = ["openai-agents"]
ungoverned = ["acme.clock"]

[models.planner]
resource = "planner"

[models.writer]
resource = "planner"

[tools.query_flights]
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"

[tools.publish_report]
action = "report:publish"
resource = "reports"
credential = "reports-rw"

[tools.lookup]
activity = "acme.lookup"
action = "dataset:query"
resource = "{dataset}"

[tools.note]
action = "dataset:query"
resource = "{dataset}"
inline = true

[tools.announce]
action = "report:publish"
resource = "reports"
inline = true

[tools.web_search]
action = "http:request"
resource = "status-page"
inline = true

[agents."Trusted writer"]
share = true

[agents."Report writer"]
agent = "report-writer"
actions = ["report:publish", "model:invoke"]
spaces = ["flights"]
budget = 10

[agents."Greedy writer"]
agent = "report-writer"
actions = ["report:publish", "model:invoke"]
spaces = ["hr"]
budget = 10
"""
    + SERVER.format("pipe")
    + SERVER.format("old")
)


def publish(table: str) -> Call:
    return Call("publish_report", {"table": table, "sql": "select count(*) as n from flights"})


SCRIPTS = {
    "count": [[COUNT]],
    "count twice at once": [[COUNT, COUNT]],
    "payroll": [[COUNT], [PAYROLL], [COUNT]],
    "payroll beside": [[COUNT, PAYROLL]],
    "publish": [[publish("openai_published")]],
    "publish and be refused": [[publish("openai_refused")], [COUNT]],
    "nap": [[NAP]],
    "nap for long": [[Call("query_flights", {"dataset": "flights", "sql": "select pg_sleep(120)::text as slept"})]],
    "look up": [[Call("lookup", {"dataset": "flights", "word": "late"}), Call("clock", {})]],
    "note": [[Call("note", {"dataset": "flights"})]],
    "note payroll": [[Call("note", {"dataset": "payroll"})]],
    "announce": [[Call("announce", {"text": "delays"})]],
    "scribble": [[Call("scribble", {"text": "x"})]],
    "hand over": [[Call("transfer_to_trusted_writer", {})], [publish("openai_handed")]],
    "ask": [[Call("ask_writer", {"input": "count"})]],
    "hand over, and back": [
        [COUNT],
        [Call("transfer_to_report_writer", {})],
        [COUNT],
        [publish("openai_narrower")],
        [Call("transfer_to_desk", {})],
        [COUNT],
    ],
    "ask, and go on": [[Call("ask_writer", {"input": "count"})], [COUNT]],
    "be greedy": [[Call("transfer_to_greedy_writer", {})], [COUNT]],
    "payroll, and what is not mapped": [[COUNT, PAYROLL, publish("openai_unmapped")]],
}


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings) -> AsyncIterator[Ground]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old = StatelessMCPServerProvider("old", lambda: flights(CREDENTIAL.get()))
    plugin = OpenAIAgentsPlugin(
        model_params=PARAMETERS,
        model_provider=Scripted(SCRIPTS),
        mcp_servers={"pipe": flights},
        mcp_server_providers=[old],
    )
    async with governed(
        stack,
        settings,
        MAPPING,
        plugins=[plugin],
        workflows=WORKFLOWS,
        activities=ACTIVITIES,
        queue=QUEUE,
    ) as made:
        yield made


ACTIVITIES: list[Any] = [tools.query_flights, tools.publish_report, openai_tools.lookup, openai_tools.clock]
PARAMETERS = ModelActivityParameters(start_to_close_timeout=timedelta(minutes=1), streaming_topic="events")


@pytest.fixture
def done() -> Iterator[list[str]]:
    """What tools did inside workflows since the test began."""
    found: list[str] = []
    logger, handler = logging.getLogger("tests.inline"), logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(handler)


def heard(result: Any) -> list[Any]:
    """What the model was given, as it says itself in the end."""
    found: list[Any] = json.loads(result)
    return found


async def test_permitted_calls_run_with_a_credential_each(ground: Ground) -> None:
    run = await ground.start(Desk.run, "count twice at once", ["query_flights"])
    assert heard(await run.result()) == [ALL] * 2
    assert sorted(run.outcomes("query_flights")) == ["ok", "ok", "permitted", "permitted"]
    assert run.outcomes("planner") == ["permitted", "ok"] * 2
    assert run.users() == []
    await run.replays()


async def test_the_model_is_told_of_a_denial_and_goes_on(ground: Ground) -> None:
    run = await ground.start(Desk.run, "payroll", ["query_flights"])
    first, refused, last = heard(await run.result())
    assert first == last == ALL
    assert refused.startswith("Refused: ")
    assert "[policy.denied]" in refused
    assert run.outcomes("query_flights", resource="payroll") == ["refused policy.denied"]
    assert (await run.shown())["state"] == "completed"
    await run.replays()


async def test_of_calls_made_at_once_only_the_denied_one_is_refused(ground: Ground) -> None:
    run = await ground.start(Desk.run, "payroll beside", ["query_flights"])
    given, refused = heard(await run.result())
    assert given == ALL
    assert "[policy.denied]" in refused
    await run.replays()


async def test_a_call_waits_for_its_approval(ground: Ground) -> None:
    run = await ground.start(Desk.run, "publish", ["publish_report"])
    await run.until("waiting-approval")
    assert run.users() == [], "nothing is minted before somebody says yes"
    asked = await run.approve()
    assert (asked["action"], asked["resource"], asked["input"]["table"]) == (
        "report:publish",
        "reports",
        "openai_published",
    )
    assert heard(await run.result()) == ["reports.openai_published: 1 rows"]
    assert run.outcomes("publish_report") == ["refused approval.needed", "permitted", "ok"]
    await run.replays()


async def test_the_model_is_told_of_a_rejection(ground: Ground) -> None:
    run = await ground.start(Desk.run, "publish and be refused", ["publish_report", "query_flights"])
    await run.reject()
    refused, given = heard(await run.result())
    assert given == ALL
    assert "[approval.rejected]" in refused
    assert run.outcomes("publish_report") == ["refused approval.needed"]
    await run.replays()


async def test_a_query_is_revoked_in_mid_call_and_goes_on_under_a_fresh_delegation(ground: Ground) -> None:
    run = await ground.start(Desk.run, "nap", ["query_flights"])
    user = await run.querying()
    await run.revoke()
    await run.dead(user)
    await run.until("suspended")
    assert run.users() == []
    await run.resume()
    assert await run.querying() != user
    assert heard(await run.result()) == ["[{'slept': ''}]"]
    assert run.users() == []
    await run.replays()


async def test_a_tool_has_another_name_than_its_activity_and_leaves_arguments_out(ground: Ground) -> None:
    run = await ground.start(Desk.run, "look up", ["lookup", "clock"])
    assert heard(await run.result()) == ["late in flights", "noon"]
    assert run.outcomes("lookup") == ["permitted", "ok"]


async def test_a_tool_inside_the_workflow_is_decided_when_it_is_proposed(ground: Ground, done: list[str]) -> None:
    run = await ground.start(Desk.run, "note", ["note"])
    assert heard(await run.result()) == ["did note flights"]
    assert run.outcomes("note") == ["permitted", "ok"]
    assert done == [f"{run.task} note flights"]
    await run.replays()


async def test_a_denied_tool_inside_the_workflow_is_not_run(ground: Ground, done: list[str]) -> None:
    run = await ground.start(Desk.run, "note payroll", ["note"])
    assert await run.code() == "policy.denied"
    assert run.outcomes("note") == ["refused policy.denied"]
    assert done == []


async def test_a_tool_inside_the_workflow_waits_for_its_approval(ground: Ground, done: list[str]) -> None:
    run = await ground.start(Desk.run, "announce", ["announce"])
    asked = await run.approve()
    assert asked["input"] == {"text": "delays"}
    assert heard(await run.result()) == ["did announce delays"]
    assert done == [f"{run.task} announce delays"]
    await run.replays()


@pytest.mark.parametrize(
    ("having", "code"),
    [
        ("scribble", "tool.inline"),
        ("publish_inside", "tool.inline"),
        ("write", "tool.inline"),
        ("file_search", "tool.inline"),
        ("code_interpreter", "tool.inline"),
        ("image_generation", "tool.inline"),
        ("hosted_mcp", "tool.inline"),
        ("unmapped", "tool.unmapped"),
    ],
)
async def test_an_agent_with_a_tool_nobody_would_govern_does_not_run(
    ground: Ground, done: list[str], having: str, code: str
) -> None:
    run = await ground.start(Desk.run, "scribble", ["query_flights", having])
    assert await run.code() == code
    assert run.records() == [], "no model was asked"
    assert done == []


async def test_a_hosted_tool_is_decided_before_it_is_offered(ground: Ground) -> None:
    run = await ground.start(Desk.run, "count", ["query_flights", "web_search"])
    assert await run.code() == "policy.denied"
    assert run.outcomes() == ["refused policy.denied"], "the model was not asked"
    run = await ground.start(Desk.run, "count", ["query_flights", "web_search"], actions=(*ACTIONS, "http:request"))
    assert heard(await run.result()) == [ALL]
    assert run.outcomes("web_search") == ["permitted", "ok"] * 2, "once for each request"
    await run.replays()


@pytest.mark.parametrize(
    ("way", "code"),
    [("late", "tool.inline"), ("state", "tool.inline"), ("direct", "agent.unseen"), ("local", "model.local")],
)
async def test_what_would_not_be_seen_is_refused(ground: Ground, way: str, code: str) -> None:
    run = await ground.start(Sly.run, "note", way)
    assert await run.code() == code


async def test_a_stream_of_a_model_is_governed(ground: Ground) -> None:
    run = await ground.start(Streaming.run, "payroll", ["query_flights"])
    given, refused, last = heard(await run.result())
    assert given == last == ALL
    assert "[policy.denied]" in refused
    run = await ground.start(Streaming.run, "note", ["note"])
    assert heard(await run.result()) == ["did note flights"]
    assert run.outcomes("note") == ["permitted", "ok"]
    await run.replays()


async def test_a_delegation_without_models_asks_none(ground: Ground) -> None:
    run = await ground.start(Desk.run, "count", ["query_flights"], actions=("read",))
    assert await run.code() == "policy.denied"
    assert run.outcomes() == ["refused policy.denied"]
    run = await ground.start(Desk.run, "count", ["query_flights"], "unheard-of")
    assert await run.code() == "model.unmapped"


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
