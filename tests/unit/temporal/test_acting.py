"""Other agents in the same execution: what they start carries their own delegation, stops with it, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from remit.delegation import Reference
from remit.errors import Denied
from remit.mapping import Handover, Mapping
from remit.temporal import RemitPlugin
from remit.temporal._names import DELEGATIONS
from tests.unit.temporal.acting_flows import Plays
from tests.unit.temporal.authority import Keeper, decision
from tests.unit.temporal.conftest import Bench, bench, eventually, ran
from tests.unit.temporal.flows import FLOWS
from tests.unit.temporal.tools import RAN

pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")

READ = {"call": ["data.read", {"dataset": "flights", "n": 1}]}
SLOW = {"call": ["data.slow", {"dataset": "flights", "n": 30}]}
SHORT = {"call": ["data.slow", {"dataset": "flights", "n": 2}]}
WHO = {"who": True}
DAY = timedelta(hours=24)
WRITER = {"agent": "report-writer", "actions": ["read"], "spaces": ["flights"], "budget": 5}
WRITER_ID = "spiffe://remit.test/agent/report-writer"
MAPPING = Mapping(
    agents={
        "Report writer": Handover(**WRITER),
        "Checker": Handover(**{**WRITER, "agent": "checker"}),
        "Hasty": Handover(**{**WRITER, "expires_in": 3}),
        "Greedy": Handover(**{**WRITER, "spaces": ["flights", "hr"]}),
        "Analyst": Handover(share=True),
    },
    children={
        "Calls": Handover(**WRITER),
        "Local": Handover(share=True),
        "Pausing": Handover(**{**WRITER, "expires_in": 3}),
    },
)
Handle = WorkflowHandle[Any, Any]


@pytest.fixture
async def stage(server: WorkflowEnvironment, keeper: Keeper) -> AsyncIterator[Bench]:
    async with bench(server, keeper, flows=[*FLOWS, Plays], plugin={"mapping": MAPPING}) as found:
        yield found


def as_(who: Any, *script: Any) -> dict[str, Any]:
    return {"as": who, "do": list(script)}


def chains(here: Bench) -> list[list[str]]:
    """Return through which agents the authority of each attempt came."""
    found = [here.keeper.chains[attempt.reference.delegation] for attempt in here.keeper.authorized]
    return [[link.delegate.name for link in chain.links] for chain in found]


def of(here: Bench, agent: str) -> list[Reference]:
    """Return the delegations that were made for an agent, oldest first."""
    return [
        Reference(chain.leaf.jti, chain.digest)
        for chain in here.keeper.chains.values()
        if chain.leaf.delegate.name == agent
    ]


async def replays(handle: Handle) -> None:
    """Replay it where nobody has a mapping: what the mapping said stands in the history."""
    replayer = Replayer(workflows=[*FLOWS, Plays], plugins=[RemitPlugin(ungoverned=["model.*"])])
    await replayer.replay_workflow(await handle.fetch_history())


async def resume(here: Bench, handle: Handle, *, expires_in: int = 3600) -> Reference:
    fresh = here.keeper.hand(handle.id, expires_in=expires_in)
    answer = await handle.execute_update("remit.resume", {"delegation": fresh.delegation, "digest": fresh.digest})
    assert answer["accepted"]
    return fresh


async def code_of(handle: Handle) -> str | None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause.type


MINE, WRITERS = ["flight-analyst"], ["flight-analyst", "report-writer"]


async def test_another_agent_acts_inside_and_nowhere_else(stage: Bench) -> None:
    handle, _ = await stage.start("Plays", [READ, WHO, as_("Report writer", READ, WHO), READ, WHO])
    assert await handle.result() == [{"n": 1}, "flight-analyst", {"n": 1}, "report-writer", {"n": 1}, "flight-analyst"]
    assert chains(stage) == [MINE, WRITERS, MINE]
    assert [attempt.task for attempt in stage.keeper.authorized] == [handle.id] * 3
    assert [attempt.step for attempt in stage.keeper.authorized] == [1, 2, 3]
    steps = (await stage.view(handle))["steps"]
    assert [step.get("agent") for step in steps] == [None, WRITER_ID, None]
    scheduled = [
        event.user_metadata.summary.data
        async for event in handle.fetch_history_events()
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert [b"report-writer" in summary for summary in scheduled] == [False, True, False]
    await replays(handle)


async def test_it_is_found_by_who_would_stop_it(stage: Bench) -> None:
    handle, reference = await stage.start("Plays", [as_("Report writer", SHORT), SHORT])
    await ran("data.slow started")
    (made,) = of(stage, "report-writer")
    found = (await handle.describe()).typed_search_attributes.get(DELEGATIONS)
    assert found == [WRITER_ID, made.delegation, reference.delegation], "its own stands last"
    view = await stage.view(handle)
    assert [(one["delegation"], one["status"]) for one in view["others"]] == [(made.delegation, "live")]
    assert view["delegation"] == reference.delegation
    await handle.result()
    assert "others" not in await stage.view(handle)


async def test_what_is_handed_over_lasts_to_the_end_of_the_block(stage: Bench) -> None:
    script = [
        {
            "scope": [
                {"over": "Report writer"},
                READ,
                {"over": "Checker"},
                READ,
                {"over": None},
                READ,
                {"over": "Checker"},
            ]
        },
        READ,
        {"over": "Report writer"},
        READ,
        {"over": "Analyst"},
        WHO,
        READ,
    ]
    handle, _ = await stage.start("Plays", script)
    await handle.result()
    checkers = ["flight-analyst", "checker"]
    assert chains(stage) == [WRITERS, checkers, MINE, MINE, WRITERS, MINE]
    await replays(handle)


async def test_an_agent_comes_back_under_the_same_delegation(stage: Bench) -> None:
    handle, _ = await stage.start("Plays", [as_("Report writer", READ), READ, as_("Report writer", READ)])
    await handle.result()
    assert len(of(stage, "report-writer")) == 1


async def test_blocks_nest_and_only_ever_narrow(stage: Bench) -> None:
    inner = {**WRITER, "agent": "checker", "budget": 2}
    handle, _ = await stage.start("Plays", [as_("Report writer", as_(inner, READ), READ)])
    await handle.result()
    assert chains(stage) == [[*WRITERS, "checker"], WRITERS]


async def test_agents_at_once_do_not_mix(stage: Bench) -> None:
    both = [[as_("Report writer", SHORT, READ)], [SHORT, as_("Checker", READ), READ]]
    handle, _ = await stage.start("Plays", [{"both": both}])
    await handle.result()
    assert sorted(map(str, chains(stage))) == sorted(
        map(str, [WRITERS, WRITERS, MINE, ["flight-analyst", "checker"], MINE])
    )
    await replays(handle)


@pytest.mark.parametrize("step", [as_("Stranger", READ), {"over": "Stranger"}])
async def test_an_agent_that_is_not_mapped_is_handed_nothing(stage: Bench, step: dict[str, Any]) -> None:
    handle, _ = await stage.start("Plays", [step, READ])
    assert await code_of(handle) == "agent.unmapped"
    assert not RAN
    ((told, error),) = stage.keeper.unasked
    assert (told.tool, told.task, told.step) == ("Stranger", handle.id, None)
    assert isinstance(error, Denied)


@pytest.mark.parametrize("step", [as_("Greedy", READ), {"over": "Greedy"}])
async def test_more_than_the_task_holds_is_not_handed_over(stage: Bench, step: dict[str, Any]) -> None:
    handle, _ = await stage.start("Plays", [{"tried": [step, READ]}, WHO, READ])
    assert await handle.result() == ["delegation.denied", "flight-analyst", {"n": 1}]
    assert chains(stage) == [MINE]


async def test_without_a_mapping_no_agent_has_a_name(server: WorkflowEnvironment, keeper: Keeper) -> None:
    async with bench(server, keeper, flows=[*FLOWS, Plays]) as here:
        handle, _ = await here.start("Plays", [as_("Report writer", READ)])
        assert await code_of(handle) == "agent.unmapped"
        handle, _ = await here.start("Plays", [as_(WRITER, READ)])
        assert await handle.result() == [{"n": 1}]


async def test_a_stop_of_the_narrower_stops_what_runs_under_it_alone(stage: Bench) -> None:
    both = [[as_("Report writer", SLOW)], [SHORT, READ]]
    handle, _ = await stage.start("Plays", [{"both": both}], on_revocation=DAY)
    await eventually(lambda: started(2))
    (made,) = of(stage, "report-writer")
    stage.keeper.revoke(made)
    await handle.signal("remit.notice")
    await ran("data.read")
    view = await stage.until(handle, "suspended")
    assert view["stopped"]["subject"] == made.delegation
    assert view["stopped"]["waits_for"] == "a fresh delegation"
    assert {(step["tool"], step["state"], step.get("agent")) for step in view["steps"]} == {
        ("data.slow", "stopped", WRITER_ID),
        ("data.slow", "done", None),
        ("data.read", "done", None),
    }
    assert ("data.slow", 30) not in RAN
    assert [one["status"] for one in view["others"]] == ["revoked"]
    fresh = await resume(stage, handle)
    await eventually(lambda: started(3))
    assert stage.keeper.authorized[-1].reference == of(stage, "report-writer")[-1]
    assert stage.keeper.chains[of(stage, "report-writer")[-1].delegation].ids[0] == fresh.delegation
    await handle.cancel()


async def started(count: int) -> bool:
    return sum(name == "data.slow started" for name, _ in RAN) == count


async def test_a_suspended_agent_goes_on_when_it_is_reinstated(stage: Bench) -> None:
    handle, reference = await stage.start("Plays", [as_("Report writer", SHORT), READ])
    await ran("data.slow started")
    (made,) = of(stage, "report-writer")
    stage.keeper.suspend(made)  # nobody tells: the watch finds out
    view = await stage.until(handle, "suspended")
    assert view["stopped"]["waits_for"] == "a reinstatement"
    found = (await handle.describe()).typed_search_attributes.get(DELEGATIONS)
    assert found == [WRITER_ID, made.delegation, reference.delegation]
    stage.keeper.reinstate(made)
    await handle.signal("remit.notice")
    assert await handle.result() == [{"n": 2}, {"n": 1}]
    assert chains(stage) == [WRITERS, WRITERS, MINE]
    await replays(handle)


async def test_a_revoked_agent_fails_where_nobody_is_to_wait(stage: Bench) -> None:
    script = [{"tried": [as_("Report writer", SLOW)]}, READ, {"tried": [as_("Report writer", READ)]}]
    handle, reference = await stage.start("Plays", script)
    await ran("data.slow started")
    stage.keeper.revoke(of(stage, "report-writer")[0])
    await handle.signal("remit.notice")
    assert await handle.result() == ["chain.revoked", {"n": 1}, "chain.revoked"]
    found = (await handle.describe()).typed_search_attributes.get(DELEGATIONS)
    assert found == [reference.delegation], "there is nothing to stop any more"
    await replays(handle)


async def test_a_stop_of_the_task_stops_both(stage: Bench) -> None:
    both = [[as_("Report writer", SLOW)], [SLOW]]
    handle, reference = await stage.start("Plays", [{"both": both}])
    await eventually(lambda: started(2))
    stage.keeper.revoke(reference)
    await handle.signal("remit.notice")
    assert await code_of(handle) == "chain.revoked"
    assert (await stage.view(handle))["state"] == "halted"
    assert ("data.slow", 30) not in RAN


async def test_after_a_resume_its_delegation_is_made_anew(stage: Bench) -> None:
    script = [as_("Report writer", as_({**WRITER, "agent": "checker"}, SHORT), READ)]
    handle, old = await stage.start("Plays", script, on_revocation=DAY)
    await ran("data.slow started")
    stage.keeper.revoke(old)
    await handle.signal("remit.notice")
    await stage.until(handle, "suspended")
    fresh = await resume(stage, handle)
    assert await handle.result() == [{"n": 2}, {"n": 1}]
    roots = [stage.keeper.chains[attempt.reference.delegation].ids[0] for attempt in stage.keeper.authorized]
    assert roots == [old.delegation, fresh.delegation, fresh.delegation]
    assert chains(stage) == [[*WRITERS, "checker"], [*WRITERS, "checker"], WRITERS]
    await replays(handle)


async def test_one_whose_time_is_over_is_made_anew(stage: Bench) -> None:
    handle, _ = await stage.start(
        "Plays", [as_("Hasty", {"call": ["data.slow", {"dataset": "flights", "n": 1}]}, SLOW)]
    )
    await eventually(lambda: started(3), seconds=60)  # the second time it did not end within its three seconds
    assert len(of(stage, "report-writer")) >= 2
    assert (await stage.view(handle))["state"] == "running"
    await handle.cancel()


async def test_what_it_asks_people_is_about_its_own_delegation(stage: Bench) -> None:
    stage.keeper.scripts["data.read"] = "needs-approval"
    handle, _ = await stage.start("Plays", [as_("Report writer", READ)])
    view = await stage.until(handle, "waiting-approval")
    (made,) = of(stage, "report-writer")
    assert view["waiting"]["delegation"] == made.delegation
    assert view["waiting"]["agent"].endswith("agent/report-writer")
    answer = await handle.execute_update("remit.decide", decision("approve", view["waiting"]["request"]))
    assert answer["accepted"]
    assert await handle.result() == [{"n": 1}]
    await replays(handle)


async def test_a_request_is_void_once_its_delegation_is_another(stage: Bench) -> None:
    stage.keeper.scripts["data.read"] = "needs-approval"
    handle, old = await stage.start("Plays", [as_("Report writer", READ)], on_revocation=DAY)
    before = await stage.until(handle, "waiting-approval")
    stage.keeper.revoke(old)
    await handle.signal("remit.notice")
    await stage.until(handle, "suspended")
    await resume(stage, handle)

    async def asked_again() -> Any:
        view = await stage.view(handle)
        return view["waiting"] and view["waiting"]["request"] != before["waiting"]["request"] and view

    view = await eventually(asked_again)
    await handle.execute_update("remit.decide", decision("approve", view["waiting"]["request"]))
    assert await handle.result() == [{"n": 1}]


async def test_its_children_are_its_own(stage: Bench) -> None:
    calls = [READ["call"]]
    script = [
        as_("Report writer", {"child": ["Local", calls]}),
        as_("Report writer", {"delegate": ["Calls", calls]}),
        {"child": ["Local", calls]},
    ]
    handle, _ = await stage.start("Plays", script[:2])
    await handle.result()
    assert chains(stage) == [WRITERS, [*WRITERS, "report-writer"]]
    await replays(handle)


async def test_a_mapped_child_is_handed_what_the_mapping_says(stage: Bench) -> None:
    calls = [READ["call"]]
    handle, _ = await stage.start("Plays", [{"child": ["Calls", calls]}, {"child": ["Local", calls]}])
    await handle.result()
    assert chains(stage) == [WRITERS, MINE]
    child = stage.client.get_workflow_handle(f"{handle.id}-Calls")
    assert (await stage.view(child))["agent"].endswith("agent/report-writer")
    await replays(handle)
    await replays(child)


async def test_a_child_that_is_not_mapped_does_not_start(stage: Bench) -> None:
    handle, _ = await stage.start("Plays", [{"tried": [{"child": ["CallsOnce", [READ["call"]]]}]}])
    assert await handle.result() == ["child.unmapped"]
    handle, _ = await stage.start("Plays", [{"delegate": ["CallsOnce", [READ["call"]]]}])
    assert await handle.result() == [[{"n": 1}]], "what the workflow's code handed it counts"
    assert chains(stage) == [WRITERS]


async def test_a_mapped_child_goes_on_with_its_parent(stage: Bench) -> None:
    handle, old = await stage.start("Plays", [{"child": ["Calls", [SHORT["call"]]]}], on_revocation=DAY)
    await ran("data.slow started")
    stage.keeper.revoke(old)
    await handle.signal("remit.notice")
    await stage.until(stage.client.get_workflow_handle(f"{handle.id}-Calls"), "suspended")
    await resume(stage, handle)
    assert await handle.result() == [[{"n": 2}]]
    await replays(handle)


@pytest.mark.parametrize("mapped", [True, False])
async def test_a_child_goes_on_when_the_time_of_what_it_has_is_over(stage: Bench, mapped: bool) -> None:
    slow = ["data.slow", {"dataset": "flights", "n": 1}]
    own = {"child": ["Pausing", [READ["call"]] * 4]}
    parents = as_("Hasty", {"child": ["Local", [slow] * 4]})
    handle, reference = await stage.start("Plays", [own if mapped else parents], on_revocation=DAY)
    assert await handle.result() == [[{"n": 1}] * 4]
    assert len(of(stage, "report-writer")) > 1
    assert chains(stage)[-1] == WRITERS
    assert {stage.keeper.chains[one.reference.delegation].ids[0] for one in stage.keeper.authorized} == {
        reference.delegation
    }
    await replays(handle)


async def test_no_agent_outlives_the_run(stage: Bench) -> None:
    handle, _ = await stage.start("Plays", [{"over": "Report writer"}, READ, {"continue": [WHO, READ]}])
    assert await handle.result() == ["flight-analyst", {"n": 1}]
    assert chains(stage) == [WRITERS, MINE]


def test_the_guide_shows_a_mapping_that_is_one() -> None:
    guide = (Path(__file__).parents[3] / "docs/guides/sub-agents.md").read_text(encoding="utf-8")
    mapping = Mapping.parse(guide.partition("```toml\n")[2].partition("```")[0])
    assert mapping.agents.keys() == {"Report writer", "Flight analyst"}
    assert (handed := mapping.child("PublishWorkflow")) is not None
    assert handed.agent == "report-writer"
