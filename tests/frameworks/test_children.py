"""Child workflows a framework starts by itself, tools of pydantic-ai here: they are handed what a mapping says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic_ai.durable_exec.temporal import PydanticAIPlugin

from remit import audit
from remit.embedded import Stack
from remit.mapping import Mapping
from remit.settings import Settings
from tests.frameworks.ground import Ground, Run, eventually, governed
from tests.frameworks.pydantic_ai_children import Clerk, publish, query

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

TEXT = """
frameworks = ["pydantic-ai"]

[models."function:scripted"]
resource = "planner"

[tools.query]
activity = "office.query"
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"

[tools.publish]
activity = "office.publish"
action = "report:publish"
resource = "reports"

[children."agent__clerk__*__office__call_tool__child_workflow"]
agent = "flight-analyst"
actions = ["dataset:query"]
spaces = ["flights"]
budget = 10
expires_in = "10m"
"""
COUNT = ["count", {"sql": "select count(*) as n from flights"}]
NAP = ["count", {"sql": "select pg_sleep(600)::text as n"}]


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings) -> AsyncIterator[Ground]:
    async with governed(
        stack,
        settings,
        Mapping.parse(TEXT),
        plugins=[PydanticAIPlugin()],
        workflows=[Clerk],
        activities=[query, publish],
        queue="children",
    ) as made:
        yield made


async def start(ground: Ground, *turns: list[Any]) -> Run:
    return await ground.start(Clerk.run, json.dumps(turns))


async def children(run: Run) -> list[Run]:
    """Return the children of a run, with the delegations they act under."""
    found = []
    for task in (await run.shown())["children"]:
        child = replace(run, task=task, handle=run.ground.client.get_workflow_handle(task))
        child.delegations = [str((await child.shown())["chain"][-1]["delegation"])]
        found.append(child)
    return found


async def test_a_tool_that_is_a_child_acts_under_what_it_is_handed(ground: Ground) -> None:
    run = await start(ground, [COUNT], [COUNT])
    assert json.loads(await run.result()) == [[{"n": 336776}]] * 2
    first, second = await children(run)
    for child in (first, second):
        assert child.outcomes() == ["permitted", "ok"]
        (agent,) = {one["agent"] for one in child.records()}
        assert agent.endswith("agent/flight-analyst")
        assert [one["chain"][0] for one in child.records()] == run.delegations * 2
    assert first.delegations != second.delegations, "one for each"
    assert run.outcomes(resource="planner") == ["permitted", "ok"] * 3
    await run.replays()


async def test_it_may_not_do_what_its_parent_may(ground: Ground) -> None:
    run = await start(ground, [["announce", {"table": "delays"}]])
    assert await run.code() == "policy.denied"
    (child,) = await children(run)
    assert child.outcomes() == ["refused policy.denied"]


async def test_a_tool_that_is_a_child_nobody_mapped_does_not_start(ground: Ground) -> None:
    run = await start(ground, [["dig", {"sql": "select count(*) as n from flights"}]])
    assert await run.code() == "child.unmapped"
    assert (await run.shown())["children"] == []
    told = [one for one in audit.read(ground.settings.audit_folder, task=run.task) if one["event"] == "delegated"]
    assert told == []


async def test_a_child_stops_and_goes_on_with_its_parent(ground: Ground) -> None:
    run = await start(ground, [NAP])
    await eventually(lambda: begun(run))
    (child,) = await children(run)
    user = await child.querying("pg_sleep(600)")
    await run.revoke()
    await child.dead(user)
    await run.until("suspended")
    await run.resume()
    await eventually(lambda: len(permitted(child)) > 1)
    assert permitted(child)[-1]["chain"][0] == run.delegations[-1]
    await run.handle.terminate()


async def begun(run: Run) -> bool:
    return bool((await run.shown())["children"])


def permitted(run: Run) -> list[dict[str, Any]]:
    return [one for one in run.records() if one["outcome"] == "permitted"]
