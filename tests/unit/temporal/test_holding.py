"""Steps that wait for people."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from tests.unit.temporal.authority import Keeper, decision
from tests.unit.temporal.conftest import Bench, bench, eventually
from tests.unit.temporal.tools import RAN

READ = ["data.read", {"dataset": "flights", "n": 1}]


async def waits(here: Bench, *, flow: str = "Calls", calls: Any = None, script: str = "needs-approval") -> Any:
    here.keeper.scripts["data.read"] = script
    handle, _ = await here.start(flow, calls or [READ])
    view = await here.until(handle, "waiting-approval")
    return handle, view["waiting"]


async def decide(handle: WorkflowHandle[Any, Any], token: object) -> dict[str, Any]:
    answer: dict[str, Any] = await handle.execute_update("remit.decide", token)
    return answer


async def test_an_approval_lets_exactly_this_step_go_on(here: Bench) -> None:
    handle, waiting = await waits(here)
    assert waiting["input"] == {"dataset": "flights", "n": 1}
    assert waiting["approvers"] == ["data-steward"]
    assert not RAN
    token = decision("approve", waiting["request"])
    answer = await decide(handle, token)
    assert (answer["accepted"], answer["decision"], answer["approver"]) == (True, "approve", "bob")
    assert await handle.result() == [{"n": 1}]
    first, second = here.keeper.authorized
    assert first.step == second.step == 1
    assert (first.approvals, second.approvals) == ((), (token,))
    assert len(RAN) == 1
    assert (await here.view(handle))["waiting"] is None


@pytest.mark.parametrize("flow", ["Local", "CallsOnce"])
async def test_every_kind_of_step_waits(here: Bench, flow: str) -> None:
    handle, waiting = await waits(here, flow=flow)
    await decide(handle, decision("approve", waiting["request"]))
    assert await handle.result() == [{"n": 1}]


async def test_a_signal_decides_as_well(here: Bench) -> None:
    handle, waiting = await waits(here)
    await handle.signal("remit.decide", decision("approve", waiting["request"]))
    assert await handle.result() == [{"n": 1}]


async def test_a_rejection_ends_the_step(here: Bench) -> None:
    handle, waiting = await waits(here)
    await decide(handle, decision("reject", waiting["request"]))
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "approval.rejected"
    assert (await here.view(handle))["state"] == "rejected"
    assert not RAN


@pytest.mark.parametrize("kinds", [("approve", "reject"), ("reject", "approve")])
async def test_a_rejection_beats_an_approval_that_races_it(
    server: WorkflowEnvironment, keeper: Keeper, kinds: tuple[str, str]
) -> None:
    async with bench(server, keeper, queue="race") as here:
        handle, waiting = await waits(here)
    for number, kind in enumerate(kinds):  # no worker is there: it finds both at once
        await handle.signal("remit.decide", decision(kind, waiting["request"], by=f"somebody-{number}"))
    async with bench(server, keeper, queue="race"):
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "approval.rejected"
    assert not RAN


async def test_nobody_decides_in_time(here: Bench) -> None:
    handle, _ = await waits(here, script="needs-approval:1:4")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "approval.timeout"
    assert not RAN


async def test_two_people_are_wanted(here: Bench) -> None:
    handle, waiting = await waits(here, script="needs-approval:2")
    assert (await decide(handle, decision("approve", waiting["request"], by="bob")))["accepted"]

    async def again() -> Any:
        view = await here.view(handle)
        return view["waiting"] and view["waiting"]["approved"] == 1

    await eventually(again)
    assert (await here.view(handle))["waiting"]["since"] == waiting["since"]
    await decide(handle, decision("approve", waiting["request"], by="dora"))
    assert await handle.result() == [{"n": 1}]
    assert len(here.keeper.authorized[-1].approvals) == 2


async def test_what_does_not_count_changes_nothing(here: Bench) -> None:
    handle, waiting = await waits(here)
    own = decision("approve", waiting["request"], by="alice")
    assert (await decide(handle, own))["code"] == "approval.self"
    assert (await decide(handle, own))["code"] == "approval.self"
    assert here.keeper.admitted == [own], "a decision sent twice is judged once"
    here.keeper.admitted.clear()
    assert (await decide(handle, decision("approve", "another")))["code"] == "approval.no-request"
    for nonsense in ("", "a.b.c", "x" * 10_000, 5, None, {"a": 1}, ["[" * 5000]):
        with pytest.raises(WorkflowUpdateFailedError):
            await decide(handle, nonsense)
        await handle.signal("remit.decide", nonsense)
    await handle.signal("remit.decide")
    await handle.signal("remit.decide", args=["a", "b", "c"])
    await handle.signal("remit.resume", "nonsense")
    assert set(here.keeper.admitted) == {decision("approve", "another"), ""}, (
        "what is unreadable is told of, not handed on"
    )
    view = await here.view(handle)
    assert view["state"] == "waiting-approval"
    assert not RAN
    await decide(handle, decision("approve", waiting["request"]))
    assert await handle.result() == [{"n": 1}]


async def test_an_approval_that_came_too_early_counts_once_it_is_asked_for(here: Bench) -> None:
    handle, waiting = await waits(here, calls=[READ, ["data.read", {"dataset": "flights", "n": 2}]])
    later = decision("approve", "not-yet-asked")
    assert (await decide(handle, later))["code"] == "approval.no-request"
    await decide(handle, decision("approve", waiting["request"]))

    async def second() -> Any:
        found = (await here.view(handle))["waiting"]
        return found if found and found["request"] != waiting["request"] else None

    request = await eventually(second)
    assert request["input"]["n"] == 2
    await decide(handle, decision("approve", request["request"]))
    assert await handle.result() == [{"n": 1}, {"n": 2}]


async def test_steps_that_wait_at_once_are_decided_one_by_one(here: Bench) -> None:
    calls = [["data.read", {"dataset": "flights", "n": n}] for n in range(4)]
    here.keeper.scripts["data.read"] = "needs-approval"
    handle, _ = await here.start("Parallel", calls)

    async def all_wait() -> Any:
        view = await here.view(handle)
        return view if len(view["also_waiting"]) == 3 else None

    view = await eventually(all_wait)
    for request in [view["waiting"], *view["also_waiting"]]:
        await decide(handle, decision("approve", request["request"]))
    assert await handle.result() == [{"n": n} for n in range(4)]
    assert len(RAN) == 4


async def test_a_flood_of_decisions_is_bounded(here: Bench) -> None:
    handle, waiting = await waits(here)
    await asyncio.gather(
        *(handle.signal("remit.decide", decision("approve", f"flood-{n}")) for n in range(300)),
        *(handle.signal("remit.notice") for _ in range(300)),
    )
    answer = {"code": "approval.busy"}
    while answer.get("code") == "approval.busy":
        answer = await decide(handle, decision("approve", waiting["request"]))
    assert answer["accepted"]
    assert await handle.result() == [{"n": 1}]
    markers = [e.marker_recorded_event_attributes async for e in handle.fetch_history_events()]
    judged = [one for one in markers if b"remit.admit" in one.SerializeToString()]
    assert len(judged) <= 33, "at most 32 that answer nothing, and the one that counts"
    assert here.keeper.looks < 100
