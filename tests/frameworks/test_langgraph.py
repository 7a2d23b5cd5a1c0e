"""Agents of LangGraph, run by `temporalio-langgraph` as their authors wrote them, governed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.langgraph import LangGraphPlugin

from remit.assembly import temporal_client
from remit.embedded import Stack
from remit.errors import Usage
from remit.mapping import Mapping
from remit.settings import Settings
from tests.attacks.effects import effects
from tests.frameworks import langgraph_agents as agents
from tests.frameworks.ground import Ground, Run, eventually, governed
from tests.frameworks.langgraph_agents import AGENTS, Functional, GivesUp, Graph, Renewing

pytestmark = [
    pytest.mark.servers,
    pytest.mark.filterwarnings("ignore:Cannot find activity to cancel"),
    # Temporal's own converter asks LangChain's messages for a form that pydantic would rather not give.
    pytest.mark.filterwarnings("ignore:The `dict` method is deprecated"),
]

QUEUE = "langgraph"
RULES = """
frameworks = ["langgraph"]
ungoverned = ["free.only"]

[models.planner]
resource = "planner"
[nodes."desk.agent"]
runs = "model"
model = "planner"
[nodes."desk.tools"]
runs = "tools"
[models.keyed]
resource = "planner"
credential = "model-key"
[nodes."keyed.agent"]
runs = "model"
model = "keyed"
[nodes."keyed.tools"]
runs = "tools"
[nodes."handling.agent"]
runs = "model"
model = "planner"
[nodes."handling.tools"]
runs = "tools"
[nodes."meddling.agent"]
runs = "model"
model = "planner"
[nodes."meddling.tools"]
runs = "tools"
[nodes."forgiving.agent"]
runs = "model"
model = "planner"
[nodes."forgiving.tools"]
runs = "tools"
[nodes."inside.agent"]
runs = "model"
model = "planner"
[nodes."inside.tools"]
runs = "tools"
[nodes."other.agent"]
runs = "model"
model = "planner"
[nodes."other.tools"]
runs = "tools"
[nodes."whole.only"]
runs = "model"
model = "planner"
[nodes."tests.frameworks.langgraph_agents.ask"]
runs = "model"
model = "planner"
[nodes."tests.frameworks.langgraph_agents.call_tool"]
runs = "tools"

[tools.query_flights]
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"
[tools.who]
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"
[tools.count_in_a_thread]
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"
[tools.ask_first]
action = "dataset:query"
resource = "{dataset}"
[tools.hand_on]
action = "dataset:query"
resource = "{dataset}"
[tools.outer]
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"
[tools.count_flights]
activity = "tests.frameworks.langgraph_agents.count_flights"
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"
[tools.publish_report]
action = "report:publish"
resource = "reports"
credential = "reports-rw"
[tools.shout]
action = "dataset:query"
resource = "flights"
inline = true
"""
LISTED = Mapping.parse(RULES.replace('"free.only"', '"free.only", "itself.only"'))
FLIGHTS = ("query_flights", {"dataset": "flights", "sql": "select count(*) as n from flights"})
PAYROLL = ("query_flights", {"dataset": "payroll", "sql": "select * from hr.payroll"})
COUNTED = "[{'n': 336776}]"


def asking(*turns: list[tuple[str, dict[str, Any]]]) -> str:
    return json.dumps(turns)


def publish(table: str) -> tuple[str, dict[str, Any]]:
    return "publish_report", {"table": table, "sql": "select count(*) as n from flights"}


def wait_for(sign: str) -> tuple[str, dict[str, Any]]:
    """Return a query that takes a minute as long as there is no such table."""
    sql = f"select pg_sleep(case when to_regclass('public.{sign}') is null then 60 else 0 end)::text as slept"
    return "query_flights", {"dataset": "flights", "sql": sql}


def give(stack: Stack, sign: str) -> None:
    with stack.postgres.connect("flights", autocommit=True) as admin:
        admin.execute(f'create table "{sign}" ()')


def plugin() -> LangGraphPlugin:
    return LangGraphPlugin(graphs=agents.graphs())


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings) -> AsyncIterator[Ground]:
    theirs = LangGraphPlugin(
        graphs=agents.graphs(), entrypoints=agents.ENTRYPOINTS, tasks=agents.TASKS, activity_options=agents.OPTIONS
    )
    async with governed(stack, settings, LISTED, plugins=[theirs], workflows=AGENTS, queue=QUEUE) as made:
        yield made


async def heard(run: Run) -> list[str]:
    """Return what the model was told of its calls, in order."""
    found: list[str] = json.loads(await run.result())
    return found


async def test_a_permitted_call_queries_as_a_user_of_its_own(ground: Ground) -> None:
    run = await ground.start(Graph.run, "desk", asking([FLIGHTS], [("who", {"dataset": "flights"})]))
    counted, user = await heard(run)
    assert counted == COUNTED
    assert user.startswith(f"d-{run.delegations[0]}-")
    assert [(one["tool"], one["resource"]) for one in run.records() if one["outcome"] == "ok"] == [
        ("planner", "planner"),
        ("query_flights", "flights"),
        ("planner", "planner"),
        ("who", "flights"),
        ("planner", "planner"),
    ]
    assert run.users() == []
    await run.replays()


async def test_a_denied_call_is_told_to_the_model(ground: Ground, stack: Stack, settings: Settings) -> None:
    async with effects(stack, settings, ground.parts) as seen:
        run = await ground.start(Graph.run, "desk", asking([PAYROLL]))
        (told,) = await heard(run)
    assert "policy.denied" in told
    assert seen.minted == []
    assert run.outcomes("query_flights") == ["refused policy.denied"]
    await run.replays()


async def test_a_tool_that_is_not_mapped_is_told_to_the_model(ground: Ground) -> None:
    run = await ground.start(Graph.run, "desk", asking([("drop_tables", {})]))
    (told,) = await heard(run)
    assert "tool.unmapped" in told
    await run.replays()


async def test_calls_of_one_message_are_steps_of_their_own(ground: Ground) -> None:
    run = await ground.start(
        Graph.run, "desk", asking([("who", {"dataset": "flights"}), PAYROLL, ("who", {"dataset": "flights"})])
    )
    first, refused, second = await heard(run)
    assert first != second, "each has its own credential"
    assert {one.rsplit("-", 1)[0][:38] for one in (first, second)} == {f"d-{run.delegations[0]}"}
    assert "policy.denied" in refused
    assert sorted(run.outcomes("who")) == ["ok", "ok", "permitted", "permitted"]
    assert run.outcomes("query_flights") == ["refused policy.denied"]
    assert run.users() == []
    await run.replays()


async def test_a_revocation_stops_what_runs_and_keeps_what_was_done_beside_it(ground: Ground, stack: Stack) -> None:
    run = await ground.start(Graph.run, "desk", asking([FLIGHTS, wait_for("sign_beside")]))
    await run.querying()
    await eventually(lambda: run.outcomes("query_flights").count("ok") == 1)
    await run.revoke()
    await run.until("suspended")
    give(stack, "sign_beside")
    await run.resume()
    assert await heard(run) == [COUNTED, "[{'slept': ''}]"]
    assert run.outcomes("query_flights").count("ok") == 2
    await run.replays()


@pytest.mark.parametrize("node", ["desk.tools", "desk.agent"])
async def test_what_a_workflow_gives_up_at_once_leaves_nothing_behind(ground: Ground, node: str) -> None:
    calls = [{"name": name, "args": given, "id": f"call-{place}"} for place, (name, given) in enumerate([FLIGHTS] * 2)]
    run = await ground.start(GivesUp.run, node, {"type": "ai", "content": "", "tool_calls": calls})
    assert await run.result() is True
    assert run.outcomes() == []
    await run.replays()


async def test_publishing_waits_for_a_person_while_the_call_beside_it_is_done(ground: Ground) -> None:
    run = await ground.start(Graph.run, "desk", asking([FLIGHTS, publish("langgraph")]))
    asked = await run.approve()
    assert asked["input"] == {"_tool": "publish_report", **publish("langgraph")[1]}
    assert await heard(run) == [COUNTED, "reports.langgraph: 1 rows"]
    assert run.outcomes("publish_report") == ["refused approval.needed", "permitted", "ok"]
    await run.replays()


async def test_two_calls_of_one_message_wait_for_a_person_each(ground: Ground) -> None:
    run = await ground.start(Graph.run, "desk", asking([publish("langgraph_one"), publish("langgraph_two")]))

    async def both() -> list[dict[str, Any]]:
        shown = await run.until("waiting-approval")
        found = [shown["waiting"], *shown["also_waiting"]]
        return found if len(found) == 2 else []

    asked = {one["input"]["table"]: one["request"] for one in await eventually(both)}
    assert set(asked) == {"langgraph_one", "langgraph_two"}
    async with ground.person("bob") as bob:
        await bob.approve(run.task, asked["langgraph_two"])
        await eventually(lambda: run.outcomes("publish_report").count("ok") == 1)
        await bob.approve(run.task, asked["langgraph_one"])
    assert await heard(run) == ["reports.langgraph_one: 1 rows", "reports.langgraph_two: 1 rows"]
    await run.replays()


async def test_a_rejection_is_told_to_the_model(ground: Ground) -> None:
    run = await ground.start(Graph.run, "desk", asking([publish("never")], [FLIGHTS]))
    await run.reject()
    told, counted = await heard(run)
    assert "approval.rejected" in told
    assert counted == COUNTED
    assert run.outcomes("publish_report") == ["refused approval.needed"]
    await run.replays()


@pytest.mark.parametrize("graph", ["desk", "handling"])
async def test_a_revocation_in_mid_call_ends_the_query_and_a_fresh_delegation_goes_on(
    ground: Ground, stack: Stack, graph: str
) -> None:
    run = await ground.start(Graph.run, graph, asking([wait_for(f"sign_{graph}")]))
    user = await run.querying()
    await run.revoke()
    await run.dead(user)
    await run.until("suspended")
    assert run.users() == []
    give(stack, f"sign_{graph}")
    await run.resume()
    assert await heard(run) == ["[{'slept': ''}]"], "the model hears of no error"
    assert run.outcomes("query_flights")[0] == "permitted"
    assert run.outcomes("query_flights")[-2:] == ["permitted", "ok"]
    assert run.outcomes("query_flights").count("ok") == 1
    await run.replays()


async def test_a_thread_that_runs_on_has_a_dead_credential_and_its_result_does_not_count(ground: Ground) -> None:
    agents.GO_ON.clear()
    run = await ground.start(Graph.run, "desk", asking([("count_in_a_thread", {"dataset": "flights"})]))
    await eventually(lambda: agents.BEGAN)
    await run.revoke()
    await run.dead(agents.BEGAN[0])
    await run.until("suspended")
    agents.GO_ON.set()
    await eventually(lambda: agents.ENDED)
    assert agents.ENDED[0] != "counted"
    await run.resume()
    assert await heard(run) == ["(336776,)"]
    assert agents.ENDED[1:] == ["counted"]
    assert run.outcomes("count_in_a_thread").count("ok") == 1
    await run.replays()


async def test_an_interrupt_asks_the_agents_user_and_each_side_of_it_is_a_step(ground: Ground) -> None:
    run = await ground.start(Graph.run, "desk", asking([("ask_first", {"dataset": "flights"})]), "yes")
    assert await heard(run) == ["flights: yes"]
    assert run.outcomes("ask_first") == ["permitted", "ok"] * 2
    await run.replays()


async def test_a_command_works_for_one_call_and_is_refused_beside_another(ground: Ground) -> None:
    call = ("hand_on", {"dataset": "flights"})
    run = await ground.start(Graph.run, "desk", asking([call]))
    assert await heard(run) == ["handed flights"]
    beside = await ground.start(Graph.run, "desk", asking([call, FLIGHTS]))
    assert await beside.code() == "tool.parallel"
    await beside.replays()


async def test_a_models_key_is_its_requests_own_and_in_no_history(ground: Ground, stack: Stack) -> None:
    agents.KEYS.clear()
    run = await ground.start(Graph.run, "keyed", asking([FLIGHTS]))
    assert await heard(run) == [COUNTED]
    key = stack.state.secret("keys/model-key", bytes).decode()
    assert [key, key] == agents.KEYS
    leased = [one["lease"]["id"] for one in run.records("keyed") if one["outcome"] == "permitted"]
    assert len(set(leased)) == 2
    assert key not in (await run.history()).to_json()


async def test_a_model_nobody_delegated_is_not_asked(ground: Ground) -> None:
    run = await ground.start(Graph.run, "desk", asking([FLIGHTS]), actions=["read"])
    assert await run.code() == "policy.denied"
    assert run.outcomes() == ["refused policy.denied"]
    await run.replays()


@pytest.mark.parametrize("graph", ["meddling", "forgiving", "whole"])
async def test_a_node_calls_no_other_tool_than_the_one_decided(ground: Ground, graph: str) -> None:
    run = await ground.start(Graph.run, graph, asking([FLIGHTS]))
    assert await run.code() == "tool.inline"
    failed = [one for one in run.records() if one["outcome"] == "error"]
    assert [one["code"] for one in failed] == ["tool.inline"]
    assert run.users() == []


async def test_a_tool_calls_no_other_tool(ground: Ground) -> None:
    run = await ground.start(Graph.run, "desk", asking([("outer", {"dataset": "flights"})]))
    assert await run.code() == "tool.inline"
    assert run.outcomes("query_flights") == []


async def test_an_activity_without_authority_calls_no_tool(ground: Ground, stack: Stack, settings: Settings) -> None:
    async with effects(stack, settings, ground.parts) as seen:
        run = await ground.start(Graph.run, "free", asking([FLIGHTS]))
        assert await run.code() == "tool.inline"
    assert seen.minted == []


async def test_a_tool_inside_the_workflow_is_decided_when_a_model_proposes_it(ground: Ground) -> None:
    agents.SPOKEN.clear()
    run = await ground.start(Graph.run, "inside", asking([("shout", {"text": "late"})]))
    assert await heard(run) == ["LATE"]
    assert run.outcomes("shout") == ["permitted", "ok"]
    assert set(agents.SPOKEN) == {"late"}
    await run.replays()
    refused = await ground.start(
        Graph.run, "inside", asking([("shout", {"text": "no"})]), actions=["model:invoke", "report:publish"]
    )
    assert await refused.code() == "policy.denied"
    assert "no" not in agents.SPOKEN


@pytest.mark.parametrize("graph", ["other", "itself"])
async def test_a_workflow_calls_no_tool_that_was_not_proposed_and_permitted(ground: Ground, graph: str) -> None:
    agents.SPOKEN.clear()
    run = await ground.start(Graph.run, graph, asking([("shout", {"text": "late"})]))
    assert await run.code() == "tool.inline"
    assert agents.SPOKEN == []
    await run.replays()


async def test_a_task_inside_the_workflow_calls_no_tool_that_was_not_proposed(ground: Ground) -> None:
    agents.SPOKEN.clear()
    run = await ground.start(Functional.run, "loud", "late")
    assert await run.code() == "tool.inline"
    assert agents.SPOKEN == []


async def test_a_workflow_without_a_delegation_is_left_alone(ground: Ground) -> None:
    theirs = await (await temporal_client(ground.settings)).start_workflow(
        Graph.run, args=["itself", asking()], id="langgraph-left-alone", task_queue=QUEUE
    )
    assert await theirs.result() == "NOBODY ASKED"


async def test_a_node_inside_the_workflow_that_nothing_speaks_for_keeps_the_worker_from_starting(
    stack: Stack, settings: Settings
) -> None:
    with pytest.raises(Usage) as refused:
        async with governed(
            stack, settings, Mapping.parse(RULES), plugins=[plugin()], workflows=AGENTS, queue="langgraph-unlisted"
        ):
            await asyncio.sleep(60)
    assert "'itself.only'" in refused.value.message


@pytest.mark.parametrize("listed", ["desk.tools", "des*", "query_flights", "*.count_flights"])
async def test_what_is_mapped_and_listed_as_ungoverned_keeps_the_worker_from_starting(
    stack: Stack, settings: Settings, listed: str
) -> None:
    both = LISTED.model_copy(update={"ungoverned": (*LISTED.ungoverned, listed)})
    with pytest.raises(Usage) as refused:
        async with governed(stack, settings, both, plugins=[plugin()], workflows=AGENTS, queue="langgraph-ambiguous"):
            await asyncio.sleep(60)
    assert refused.value.code == "activity.ambiguous"


async def test_a_node_that_is_not_mapped_keeps_the_worker_from_starting(stack: Stack, settings: Settings) -> None:
    without = LISTED.model_copy(update={"nodes": {k: v for k, v in LISTED.nodes.items() if k != "desk.agent"}})
    with pytest.raises(Usage) as refused:
        async with governed(stack, settings, without, plugins=[plugin()], workflows=AGENTS, queue="langgraph-unmapped"):
            await asyncio.sleep(60)
    assert (refused.value.code, "'desk.agent'" in refused.value.message) == ("activity.undeclared", True)


async def test_a_functional_agent(ground: Ground) -> None:
    run = await ground.start(Functional.run, "chat", asking([FLIGHTS, PAYROLL], [publish("functional")]))
    await run.approve()
    counted, refused, published = await heard(run)
    assert counted == COUNTED
    assert "policy.denied" in refused
    assert published == "reports.functional: 1 rows"
    assert run.users() == []
    await run.replays()


async def test_a_task_that_is_a_tool_is_decided_by_its_parameters(ground: Ground) -> None:
    run = await ground.start(Functional.run, "counts", ["flights", "flights"])
    assert await run.result() == [[{"n": 336776}], [{"two": 2}]]
    permitted = [one["resource"] for one in run.records("count_flights") if one["outcome"] == "ok"]
    assert permitted == ["flights", "flights"]
    refused = await ground.start(Functional.run, "counts", ["flights", "payroll"])
    assert await refused.code() == "policy.denied"
    await run.replays()


async def test_what_was_done_before_continuing_as_new_is_not_done_again(ground: Ground) -> None:
    run = await ground.start(Renewing.run, asking([FLIGHTS]))
    assert await heard(run) == [COUNTED]
    assert run.outcomes("query_flights") == ["permitted", "ok"]
    await run.replays()
