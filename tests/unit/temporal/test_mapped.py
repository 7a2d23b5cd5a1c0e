"""Activities that declare nothing, governed by a mapping: what they mean, how they are told, split and held.

The forms are those of `temporalio-mcp` and `temporalio-langgraph`; the frameworks themselves are in tests/frameworks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from remit.errors import Refused, Usage
from remit.mapping import Mapping, Rule
from tests.unit.temporal.authority import Keeper, decision
from tests.unit.temporal.conftest import Bench, bench, plugin_of
from tests.unit.temporal.flows import FLOWS

MEANING = """
frameworks = ["mcp", "langgraph"]


[tools.look]
activity = "acme.look"
action = "dataset:query"
resource = "{dataset}"

[tools.query]
action = "dataset:query"
resource = "{dataset}"

[tools.publish]
action = "report:publish"
resource = "reports"
inline = true

[servers.flights.tools.query]
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"

[models.scripted]
resource = "planner"
cost = 2

[nodes."g.tools"]
runs = "tools"

[nodes."g.agent"]
runs = "model"
model = "scripted"
"""
MCP = "temporalio.mcp.flights.call-tool"
CALLED: list[Any] = []
PROPOSED: list[dict[str, Any]] = []


@activity.defn(name="acme.look")
async def look(dataset: str, most: int = 3) -> str:
    CALLED.append((dataset, most))
    return f"{most} of {dataset}"


@activity.defn(name=MCP)
async def call_tool(request: dict[str, Any]) -> dict[str, Any]:
    CALLED.append(request["arguments"])
    return {"content": [{"type": "text", "text": "42"}], "is_error": False}


@activity.defn(name="temporalio.mcp.flights.list-tools")
async def list_tools(request: dict[str, Any]) -> list[str]:
    return ["query"]


@activity.defn(name="g.tools")
async def tools(input: dict[str, Any]) -> dict[str, Any]:
    (call,) = input["args"][0]["messages"][-1]["tool_calls"]
    CALLED.append(call["args"])
    return output({"messages": [{"type": "tool", "tool_call_id": call["id"], "content": "42"}]})


@activity.defn(name="g.agent")
async def agent(input: dict[str, Any]) -> dict[str, Any]:
    return output({"messages": [asks(*PROPOSED)]})


ACTIVITIES = [look, call_tool, list_tools, tools, agent]


def output(result: Any) -> dict[str, Any]:
    return {"result": result, "langgraph_command": None, "langgraph_interrupts": None}


def node(*messages: Any) -> dict[str, Any]:
    return {"args": [{"messages": list(messages)}], "kwargs": {}, "langgraph_config": {}}


def asks(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"type": "ai", "content": "", "tool_calls": list(calls)}


def call(name: str, number: int, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "args": arguments, "id": f"call-{number}", "type": "tool_call"}


def queries(dataset: str) -> list[Any]:
    return [MCP, {"name": "query", "arguments": {"dataset": dataset}, "factory_argument": None, "meta": None}]


@pytest.fixture(autouse=True)
def fresh() -> None:
    CALLED.clear()
    PROPOSED.clear()


@asynccontextmanager
async def mapped(server: WorkflowEnvironment, keeper: Keeper, text: str = MEANING) -> AsyncIterator[Bench]:
    plugin = {"mapping": Mapping.parse(text)}
    async with bench(server, keeper, activities=ACTIVITIES, plugin=plugin) as found:
        yield found


@pytest.fixture
async def here(server: WorkflowEnvironment, keeper: Keeper) -> AsyncIterator[Bench]:
    async with mapped(server, keeper) as found:
        yield found


async def code_of(handle: Any) -> str | None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause: BaseException | None = failed.value.cause
    while isinstance(cause, ActivityError):
        cause = cause.__cause__
    assert isinstance(cause, ApplicationError)
    return cause.type


async def test_an_activity_without_a_framework(here: Bench) -> None:
    handle, _ = await here.start("Calls", [["acme.look", "flights"]])
    assert await handle.result() == ["3 of flights"]
    (attempt,) = here.keeper.authorized
    assert (attempt.tool, attempt.call.action, attempt.call.resource) == ("look", "dataset:query", "flights")
    assert dict(attempt.call.input) == {"_tool": "look", "dataset": "flights"}, "by the names of its parameters"


async def test_its_denial_fails(here: Bench) -> None:
    here.keeper.scripts["look"] = "deny"
    handle, _ = await here.start("Calls", [["acme.look", "flights"]])
    assert await code_of(handle) == "policy.denied"
    assert not CALLED


async def test_a_listing_carries_no_authority(here: Bench) -> None:
    handle, _ = await here.start("Calls", [["temporalio.mcp.flights.list-tools", {"factory_argument": None}]])
    assert await handle.result() == [["query"]]
    assert not here.keeper.authorized


async def test_a_tool_of_a_server(here: Bench) -> None:
    handle, _ = await here.start("Calls", [queries("flights")])
    await handle.result()
    (attempt,) = here.keeper.authorized
    assert (attempt.tool, attempt.call.resource, attempt.credential) == ("flights.query", "flights", "flights-ro")
    assert dict(attempt.call.input) == {"_tool": "flights.query", "dataset": "flights"}, (
        "the framework's own envelope is no argument"
    )


async def test_a_refused_call_is_told_and_stands_in_the_history(here: Bench) -> None:
    here.keeper.scripts["flights.query"] = "deny"
    handle, _ = await here.start("Calls", [queries("payroll"), ["acme.look", "flights"]])
    told, went_on = await handle.result()
    assert told["is_error"] is True
    assert "policy.denied" in told["content"][0]["text"]
    assert went_on == "3 of flights"
    assert CALLED == [("flights", 3)]
    history = await handle.fetch_history()
    failed = [one.activity_task_failed_event_attributes for one in history.events]
    assert [one.failure.application_failure_info.type for one in failed if one.HasField("failure")] == ["policy.denied"]
    assert [step["state"] for step in (await here.view(handle))["steps"]] == ["refused", "done"]
    other = plugin_of(here.keeper, mapping=Mapping.parse(f'on_denied = "fail"\n{MEANING}'))
    await Replayer(workflows=FLOWS, plugins=[other]).replay_workflow(history)


async def test_an_unmapped_tool_is_refused_as_a_call(here: Bench) -> None:
    drop = [MCP, {"name": "drop", "arguments": {}, "factory_argument": None, "meta": None}]
    handle, _ = await here.start("Calls", [drop])
    (told,) = await handle.result()
    assert "tool.unmapped" in told["content"][0]["text"]
    assert [type(error).__name__ for _, error in here.keeper.unasked] == ["Denied"]
    assert not CALLED


async def test_a_mapping_may_want_denials_to_fail(server: WorkflowEnvironment, keeper: Keeper) -> None:
    keeper.scripts["flights.query"] = "deny"
    async with mapped(server, keeper, f'on_denied = "fail"\n{MEANING}') as here:
        handle, _ = await here.start("Calls", [queries("payroll")])
        assert await code_of(handle) == "policy.denied"


@pytest.mark.parametrize("answer", ["approve", "reject"])
async def test_a_call_waits_for_people(here: Bench, answer: str) -> None:
    here.keeper.scripts["flights.query"] = "needs-approval"
    handle, _ = await here.start("Calls", [queries("flights"), ["acme.look", "flights"]])
    request = (await here.until(handle, "waiting-approval"))["waiting"]
    assert request["input"] == {"_tool": "flights.query", "dataset": "flights"}
    assert not CALLED
    await handle.execute_update("remit.decide", decision(answer, request["request"]))
    said, went_on = await handle.result()
    assert went_on == "3 of flights"
    assert said["is_error"] is (answer == "reject")
    assert ("approval.rejected" in said["content"][0]["text"]) is (answer == "reject")


async def test_what_stops_the_task_is_not_told(here: Bench) -> None:
    here.keeper.scripts["flights.query"] = "needs-approval"
    handle, reference = await here.start("Calls", [queries("flights")])
    await here.until(handle, "waiting-approval")
    here.keeper.revoke(reference)
    await handle.signal("remit.notice")
    assert await code_of(handle) == "chain.revoked"


async def test_calls_of_one_message_are_steps_of_their_own(here: Bench) -> None:
    message = asks(call("query", 1, dataset="flights"), call("query", 2, dataset="weather"), call("drop", 3))
    handle, _ = await here.start("Calls", [["g.tools", node({"type": "human", "content": "?"}, message)]])
    (joined,) = await handle.result()
    said = joined["result"]["messages"]
    assert [one["tool_call_id"] for one in said] == ["call-1", "call-2", "call-3"]
    assert [one["content"] for one in said[:2]] == ["42", "42"]
    assert "tool.unmapped" in said[2]["content"]
    assert sorted(one["dataset"] for one in CALLED) == ["flights", "weather"]
    assert [one.step for one in sorted(here.keeper.authorized, key=lambda one: one.step)] == [1, 2]
    history = await handle.fetch_history()
    await Replayer(workflows=FLOWS, plugins=[plugin_of(here.keeper, mapping=Mapping.parse(MEANING))]).replay_workflow(
        history
    )


async def test_cancelling_several_stops_all(here: Bench) -> None:
    here.keeper.scripts["query"] = "needs-approval"
    message = asks(call("query", 1, dataset="flights"), call("query", 2, dataset="weather"))
    handle, _ = await here.start("Calls", [["g.tools", node(message)]])
    await here.until(handle, "waiting-approval")
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert (await here.view(handle))["waiting"] is None
    assert not CALLED


async def test_a_request_to_a_model_is_a_step(here: Bench) -> None:
    PROPOSED.append(call("query", 1, dataset="flights"))
    handle, _ = await here.start("Calls", [["g.agent", node({"type": "human", "content": "?"})]])
    await handle.result()
    (attempt,) = here.keeper.authorized
    assert (attempt.call.action, attempt.call.resource, attempt.cost) == ("model:invoke", "planner", 2)
    assert attempt.call.input["model"] == "scripted"
    assert "messages" not in attempt.call.input, "a digest stands for the conversation"


@pytest.mark.parametrize("script", ["permit", "deny", "needs-approval"])
async def test_a_call_inside_the_workflow_is_decided_first(here: Bench, script: str) -> None:
    here.keeper.scripts["publish"] = script
    PROPOSED.append(call("publish", 1, table="delays"))
    handle, _ = await here.start("Calls", [["g.agent", node({"type": "human", "content": "?"})]])
    if script == "deny":
        assert await code_of(handle) == "policy.denied"
        return
    if script == "needs-approval":
        request = (await here.until(handle, "waiting-approval"))["waiting"]
        assert (request["action"], request["input"]) == ("report:publish", {"_tool": "publish", "table": "delays"})
        await handle.execute_update("remit.decide", decision("approve", request["request"]))
    (answer,) = await handle.result()
    assert answer["result"]["messages"][0]["tool_calls"][0]["name"] == "publish"
    first, *others = here.keeper.authorized
    assert first.call.action == "model:invoke"
    assert {one.step for one in others} == {2}
    history = await handle.fetch_history()
    await Replayer(workflows=FLOWS, plugins=[plugin_of(here.keeper, mapping=Mapping.parse(MEANING))]).replay_workflow(
        history
    )


async def test_a_tool_inside_the_workflow_is_no_activity(here: Bench) -> None:
    handle, _ = await here.start("Calls", [["g.tools", node(asks(call("publish", 1, table="delays")))]])
    (told,) = await handle.result()
    assert "tool.unmapped" in told["result"]["messages"][0]["content"]
    assert not CALLED


async def test_local_activities_are_read_as_well(here: Bench) -> None:
    here.keeper.scripts["publish"] = "deny"
    message = asks(call("query", 1, dataset="flights"), call("query", 2, dataset="weather"), call("drop", 3))
    handle, _ = await here.start("Local", [["g.tools", node(message)]])
    (joined,) = await handle.result()
    assert [one["tool_call_id"] for one in joined["result"]["messages"]] == ["call-1", "call-2", "call-3"]
    assert len(CALLED) == 2
    PROPOSED.append(call("publish", 1, table="delays"))
    handle, _ = await here.start("Local", [["g.agent", node({"type": "human", "content": "?"})]])
    assert await code_of(handle) == "policy.denied"


async def test_nobody_decides_by_its_name(here: Bench) -> None:
    handle, _ = await here.start("Calls", [["remit.inline", "publish"]])
    assert await code_of(handle) == "activity.reserved"


async def test_an_unmapped_activity_keeps_a_worker_from_starting(server: WorkflowEnvironment, keeper: Keeper) -> None:
    with pytest.raises(Usage) as caught:
        async with mapped(server, keeper, 'frameworks = ["mcp"]'):
            pass
    assert caught.value.code == "activity.undeclared"
    assert "acme.look" in caught.value.message


@pytest.mark.parametrize("pattern", ["acme.*", "query", "*.call-tool", "g.*"])
async def test_no_pattern_ungoverns_what_is_mapped(server: WorkflowEnvironment, keeper: Keeper, pattern: str) -> None:
    with pytest.raises(Usage) as caught:
        async with mapped(server, keeper, f'ungoverned = ["{pattern}"]\n{MEANING}'):
            pass
    assert caught.value.code == "activity.ambiguous"


async def test_a_listing_that_is_mapped_is_governed(server: WorkflowEnvironment, keeper: Keeper) -> None:
    listing = 'activity = "temporalio.mcp.flights.list-tools"\naction = "dataset:query"\nresource = "flights"'
    async with mapped(server, keeper, f"{MEANING}\n[tools.servers]\n{listing}") as here:
        handle, _ = await here.start("Calls", [["temporalio.mcp.flights.list-tools", {"factory_argument": None}]])
        await handle.result()
    assert [one.tool for one in keeper.authorized] == ["servers"]


def test_each_worker_reads_its_own_activities(keeper: Keeper) -> None:
    plugin = plugin_of(keeper, mapping=Mapping.parse(MEANING))
    one, other = plugin._facts(()).mapped, plugin._facts(()).mapped
    assert one
    assert other
    one.learn([look])
    assert other.frameworks[0].parameters == {}


async def test_too_many_calls_at_once_are_refused(here: Bench) -> None:
    message = asks(*(call("query", number, dataset="flights") for number in range(101)))
    handle, _ = await here.start("Calls", [["g.tools", node(message)]])
    assert await code_of(handle) == "tool.batch"
    PROPOSED.extend(call("publish", number, table="delays") for number in range(101))
    handle, _ = await here.start("Calls", [["g.agent", node({"type": "human", "content": "?"})]])
    assert await code_of(handle) == "tool.batch"
    assert not CALLED


def test_two_tools_are_not_one_activity() -> None:
    with pytest.raises(Usage, match="two tools are the activity"):
        Mapping.parse(f'{MEANING}\n[tools.other]\nactivity = "acme.look"\naction = "dataset:read"\nresource = "x"')


def test_a_resource_is_read_one_way() -> None:
    rule = Rule(action="dataset:query", resource="{space}/{name}")
    assert rule.use("t", {"space": "flights", "name": "a/b"}).call.resource == "flights/a/b"
    with pytest.raises(Refused, match="told apart"):
        rule.use("t", {"space": "flights/a", "name": "b"})
    with pytest.raises(Refused, match="told apart"):
        Rule(action="dataset:query", resource="{space}::{name}").use("t", {"space": "flights:", "name": "b"})
    with pytest.raises(ValueError, match="there is text"):
        Rule(action="dataset:query", resource="{space}{name}")
