"""Agents of pydantic-ai on Temporal, governed: nothing of theirs is changed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_ai.durable_exec.temporal import PydanticAIPlugin
from temporalio.worker import Replayer

from remit.embedded import Stack
from remit.mapping import Mapping
from remit.settings import Settings
from remit.temporal import RemitPlugin
from tests.frameworks.ground import Ground, eventually, governed
from tests.frameworks.pydantic_ai_agents import LET_GO, SEEN, Desk, GoesOn, Lent
from tests.frameworks.pydantic_ai_ground import (
    COUNT,
    PAYROLL,
    QUEUE,
    TEXT,
    cut_short,
    held,
    noted,
    publish,
    start,
    told,
    waiting,
)
from tests.integration.service import asked

pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]


@pytest.fixture(scope="module")
async def ground(stack: Stack, settings: Settings) -> AsyncIterator[Ground]:
    plugins = [PydanticAIPlugin()]
    async with governed(
        stack, settings, Mapping.parse(TEXT), plugins=plugins, workflows=[Desk, Lent, GoesOn], queue=QUEUE
    ) as made:
        yield made


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
    assert await noted(run) == ["late"]
    await run.replays()
    elsewhere = [RemitPlugin(mapping=Mapping.parse(TEXT)), PydanticAIPlugin()]  # where no worker ever was
    await Replayer(workflows=[Desk], plugins=elsewhere).replay_workflow(await run.history())


async def test_an_inline_call_waits_for_its_approval(ground: Ground) -> None:
    run = await start(ground, [["announce", {"text": "all late"}]], agent="noting")
    await run.until("waiting-approval")
    assert await noted(run) == []
    await run.approve()
    assert await told(run) == ["announced all late"]
    assert run.outcomes("announce") == ["refused approval.needed", "permitted", "ok"]
    await run.replays()


async def test_a_denied_inline_call_ends_the_run_undone(ground: Ground) -> None:
    run = await start(ground, [COUNT], [["note", {"dataset": "payroll", "text": "secret"}]], agent="noting")
    assert await run.code() == "policy.denied"
    assert await noted(run) == []
    assert run.outcomes("note") == ["refused policy.denied"]


async def test_a_history_brings_no_inline_call_along(ground: Ground) -> None:
    run = await ground.start(GoesOn.run, "note", {"dataset": "flights", "text": "late"})
    assert await run.code() == "tool.inline"
    assert await noted(run) == []
    run = await ground.start(GoesOn.run, *COUNT)
    assert await told(run) == [[{"n": 336776}]]
    assert run.outcomes("query_flights") == ["permitted", "ok"]


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


async def test_a_toolset_lent_at_run_time_is_held_at_the_model(ground: Ground) -> None:
    run = await ground.start(Lent.run, "shelf", json.dumps([[["shelve", {"what": "it"}]]]))
    assert await run.code() == "tool.unmapped"
    assert await noted(run) == []
    assert run.outcomes() == ["refused tool.unmapped"]
    run = await ground.start(Lent.run, "notes", json.dumps([[["note", {"dataset": "payroll", "text": "secret"}]]]))
    assert await run.code() == "policy.denied"
    assert await noted(run) == []
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
