"""Agents of the OpenAI Agents SDK, run by `temporalio-openai-agents`, governed: their tools and models."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from remit.embedded import Stack
from remit.settings import Settings
from tests.frameworks.ground import ACTIONS, Ground
from tests.frameworks.openai_ground import ALL, heard, worker
from tests.frameworks.openai_workflows import Desk, Sly, Streaming

pytestmark = [
    pytest.mark.servers,
    pytest.mark.filterwarnings("ignore:Cannot find activity to cancel"),
    pytest.mark.filterwarnings("ignore:.*is deprecated; use:DeprecationWarning"),
]

QUEUE = "openai-agents"


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings) -> AsyncIterator[Ground]:
    async with worker(stack, settings, QUEUE) as made:
        yield made


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
    assert asked["input"] == {"_tool": "announce", "text": "delays"}
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
