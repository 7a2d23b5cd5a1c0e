"""A chain that stops being live, and one that is live again."""

from __future__ import annotations

import asyncio
import gc
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.testing import WorkflowEnvironment

from remit.delegation import Reference
from remit.principals import Principal
from remit.statements import Status
from remit.temporal import _workflow
from tests.unit.temporal.authority import ALICE, DOMAIN, Keeper, decision
from tests.unit.temporal.conftest import Bench, bench, eventually, ran
from tests.unit.temporal.tools import RAN, TOLD

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")

READ = ["data.read", {"dataset": "flights", "n": 1}]
SLOW = ["data.slow", {"dataset": "flights", "n": 30}]
SHORT = ["data.slow", {"dataset": "flights", "n": 1}]
THREAD = ["data.thread", {"dataset": "flights", "n": 20}]
DAY = timedelta(hours=24)


async def code_of(handle: WorkflowHandle[Any, Any]) -> str | None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause.type


async def resume(handle: WorkflowHandle[Any, Any], reference: Reference) -> dict[str, Any]:
    answer: dict[str, Any] = await handle.execute_update(
        "remit.resume", {"delegation": reference.delegation, "digest": reference.digest}
    )
    return answer


@pytest.mark.parametrize("tool", ["data.slow", "data.thread"])
async def test_a_revoked_task_halts_in_the_middle_of_its_tool(here: Bench, tool: str) -> None:
    handle, reference = await here.start("Calls", [READ, [tool, {"dataset": "flights", "n": 60}], READ])
    await ran(f"{tool} started")
    here.keeper.revoke(reference)
    began = time.monotonic()
    await handle.signal("remit.notice")
    assert await code_of(handle) == "chain.revoked"
    assert time.monotonic() - began < 30
    view = await here.view(handle)
    assert (view["state"], view["error"]["code"]) == ("halted", "chain.revoked")
    assert [name for name, _ in RAN] == ["data.read", f"{tool} started"]
    assert here.keeper.open == 0
    assert here.keeper.released[-1][1] in ("cancelled", "stopped")


@pytest.mark.parametrize("tool", ["data.slow", "data.thread"])
async def test_the_watch_stops_a_tool_that_nobody_told(here: Bench, tool: str) -> None:
    handle, reference = await here.start("CallsOnce", [[tool, {"dataset": "flights", "n": 60}]])
    await ran(f"{tool} started")
    here.keeper.revoke(reference)
    began = time.monotonic()
    assert await code_of(handle) == "chain.revoked"
    assert time.monotonic() - began < 30
    assert here.keeper.released[-1][1:] == ("stopped", "chain.revoked")


async def test_a_forged_notice_changes_nothing(here: Bench) -> None:
    handle, _ = await here.start("Calls", [["data.slow", {"dataset": "flights", "n": 5}]])
    await ran("data.slow started")
    await asyncio.gather(*(handle.signal("remit.notice", {"status": "revoked"}) for _ in range(50)))
    assert await handle.result() == [{"n": 5}]
    assert len(here.keeper.granted) == 1
    assert here.keeper.looks < 52


async def test_a_task_that_waits_goes_on_at_the_same_step(here: Bench) -> None:
    handle, old = await here.start("Calls", [READ, SLOW, READ], on_revocation=DAY)
    await ran("data.slow started")
    here.keeper.revoke(old)
    await handle.signal("remit.notice")
    view = await here.until(handle, "suspended")
    assert view["stopped"]["status"] == "revoked"
    assert view["steps"][1]["state"] == "stopped"
    await asyncio.sleep(0.5)
    assert here.keeper.open == 0
    here.keeper.scripts["data.slow"] = "needs-approval"  # something the old grant cannot have had
    fresh = here.keeper.hand(handle.id)
    assert (await resume(handle, fresh))["accepted"]
    view = await here.until(handle, "waiting-approval")
    assert (view["delegation"], view["stopped"]) == (fresh.delegation, None)
    described = await handle.describe()
    assert {p.key.name: p.value for p in described.typed_search_attributes}["RemitDelegations"] == [fresh.delegation]
    await handle.execute_update("remit.decide", decision("reject", view["waiting"]["request"]))
    assert await code_of(handle) == "approval.rejected"
    steps = [(attempt.step, attempt.reference) for attempt in here.keeper.authorized]
    assert steps == [(1, old), (2, old), (2, fresh)]


async def test_a_fresh_delegation_must_fit(here: Bench) -> None:
    handle, old = await here.start("Calls", [SLOW], on_revocation=DAY)
    await ran("data.slow started")
    here.keeper.revoke(old)
    await handle.signal("remit.notice")
    await here.until(handle, "suspended")
    other = here.keeper.hand(handle.id, agent=Principal(DOMAIN, "agent", "somebody"))
    assert (await resume(handle, other))["code"] == "resume.different"
    elsewhere = here.keeper.hand("another-task")
    assert (await resume(handle, elsewhere))["code"] == "delegation.other-task"
    assert (await resume(handle, old))["code"] == "chain.revoked"
    unknown = Reference("00000000-0000-4000-8000-000000000000", old.digest)
    assert (await resume(handle, unknown))["code"] == "chain.revoked"
    assert (await here.view(handle))["state"] == "suspended"
    assert len(here.keeper.granted) == 1
    await handle.terminate()


async def test_waiting_ends_in_time(server: WorkflowEnvironment, keeper: Keeper) -> None:
    async with bench(server, keeper) as here:
        handle, reference = await here.start("Calls", [SLOW], on_revocation=timedelta(seconds=4))
        await ran("data.slow started")
        keeper.revoke(reference)
        await handle.signal("remit.notice")
        await here.until(handle, "suspended")
        assert await code_of(handle) == "chain.revoked"


@pytest.mark.parametrize("on_revocation", ["halt", DAY])
async def test_a_suspended_task_waits_and_goes_on_when_reinstated(here: Bench, on_revocation: Any) -> None:
    handle, reference = await here.start("Calls", [READ, SHORT], on_revocation=on_revocation)
    await ran("data.slow started")
    here.keeper.suspend(reference)
    await handle.signal("remit.notice")
    await here.until(handle, "suspended")
    assert not any(name == "data.slow" for name, _ in RAN)
    here.keeper.reinstate(reference)
    await handle.signal("remit.notice")
    assert await handle.result() == [{"n": 1}, {"n": 1}]
    assert [name for name, _ in RAN] == ["data.read", "data.slow started", "data.slow started", "data.slow"]


async def test_a_revocation_between_steps_is_found_without_being_told(here: Bench) -> None:
    handle, reference = await here.start("Pausing", [READ, 4, READ], on_revocation=DAY)
    await ran("data.read")
    here.keeper.revoke(reference)
    await here.until(handle, "suspended")
    assert len(RAN) == 1
    fresh = here.keeper.hand(handle.id)
    assert (await resume(handle, fresh))["accepted"]
    assert await handle.result() == [{"n": 1}, {"n": 1}]
    assert len(RAN) == 2


async def test_a_task_whose_chain_is_dead_at_the_start_never_begins(here: Bench) -> None:
    reference = here.keeper.hand("dead")
    here.keeper.revoke(reference)
    handle, _ = await here.start("Calls", [["model.call", {}]], reference=reference, task="dead")
    assert await code_of(handle) == "chain.revoked"
    assert not RAN


@pytest.mark.parametrize("on_revocation", ["halt", DAY])
async def test_an_expired_chain_waits_for_a_fresh_one(here: Bench, on_revocation: Any) -> None:
    """Nobody took the authority back, so it waits also where a revocation would halt it."""
    task = f"expires-{on_revocation}"
    reference = here.keeper.hand(task, expires_in=2)
    slow = ["data.slow", {"dataset": "flights", "n": 3}]
    handle, _ = await here.start("Calls", [READ, slow], reference=reference, task=task, on_revocation=on_revocation)
    view = await here.until(handle, "suspended")
    assert (view["stopped"]["status"], view["stopped"]["waits_for"]) == ("expired", "a fresh delegation")
    left = datetime.fromisoformat(view["stopped"]["until"]) - datetime.now(UTC)
    expected = timedelta(days=7) if on_revocation == "halt" else DAY
    assert expected - timedelta(minutes=5) < left <= expected
    details = (await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)).current_details
    assert "**Waits for** a fresh delegation **until**" in details
    assert (await resume(handle, here.keeper.hand(task)))["accepted"]
    assert await handle.result() == [{"n": 1}, {"n": 3}]
    assert [name for name, _ in RAN].count("data.read") == 1, "what was done is not done again"
    assert (await here.view(handle))["stopped"] is None


async def test_what_is_too_late_to_begin_waits_for_a_fresh_delegation(here: Bench) -> None:
    """The authority begins nothing right before the chain expires; the step is tried until it has, and then waits."""
    here.keeper.scripts["data.read"] = "expiring"
    handle, reference = await here.start("Calls", [READ])

    async def tried_again() -> bool:
        view = await here.view(handle)
        return len(here.keeper.refused) >= 2 and (view["state"], view["steps"][0]["state"]) == ("running", "stopped")

    await eventually(tried_again)
    here.keeper.status[reference.delegation] = Status.EXPIRED
    assert (await here.until(handle, "suspended"))["stopped"]["waits_for"] == "a fresh delegation"
    here.keeper.scripts.clear()
    assert (await resume(handle, here.keeper.hand(handle.id)))["accepted"]
    assert await handle.result() == [{"n": 1}]
    assert len(RAN) == 1


async def test_a_revocation_while_an_expired_task_waits_halts_it(here: Bench) -> None:
    task = "expires-then-revoked"
    reference = here.keeper.hand(task, expires_in=2)
    handle, _ = await here.start("Calls", [SLOW], reference=reference, task=task)
    await here.until(handle, "suspended")
    here.keeper.revoke(reference)
    await handle.signal("remit.notice")
    assert await code_of(handle) == "chain.revoked"


async def test_code_that_catches_everything_still_halts(here: Bench) -> None:
    handle, reference = await here.start("Stubborn", [SLOW, READ, READ])
    await ran("data.slow started")
    here.keeper.revoke(reference)
    await handle.signal("remit.notice")
    assert await code_of(handle) == "chain.revoked"
    assert [name for name, _ in RAN] == ["data.slow started"]


async def test_a_sleeping_task_halts_too(here: Bench) -> None:
    handle, reference = await here.start("Stubborn", [READ])
    await ran("data.read")
    here.keeper.revoke(reference)
    await handle.signal("remit.notice")
    assert await code_of(handle) == "chain.revoked"


async def test_a_local_activity_is_stopped(here: Bench) -> None:
    handle, reference = await here.start("Local", [SLOW], on_revocation=DAY)
    await ran("data.slow started")
    here.keeper.revoke(reference)
    await here.until(handle, "suspended", seconds=8)
    assert here.keeper.open == 0
    await handle.terminate()


async def test_what_carries_no_authority_stops_and_waits_as_well(here: Bench) -> None:
    handle, reference = await here.start("Calls", [SHORT, ["model.call", {"n": 1}]], on_revocation=DAY)
    await ran("data.slow started")
    here.keeper.suspend(reference)
    await handle.signal("remit.notice")
    await here.until(handle, "suspended")
    await asyncio.sleep(1.2)
    assert not any(name == "model.call" for name, _ in RAN)
    here.keeper.reinstate(reference)
    await handle.signal("remit.notice")
    assert await handle.result() == [{"n": 1}, "hello"]


@pytest.mark.parametrize("good", [1, 0])
async def test_what_breaks_when_it_is_stopped_is_tried_again_unless_it_broke_for_good(here: Bench, good: int) -> None:
    """So ends an attempt whose worker is shut down while it is being stopped: nobody can be asked why."""

    def nobody_answers() -> None:
        here.keeper.down = True

    TOLD.append(nobody_answers)
    call = ["data.fragile", {"dataset": "flights", "n": good}]
    handle, reference = await here.start("Calls", [call], on_revocation=DAY)
    await ran("data.fragile")
    here.keeper.suspend(reference)
    await handle.signal("remit.notice")
    await eventually(lambda: _released(here))
    here.keeper.down = False
    if good:
        here.keeper.reinstate(reference)
        await handle.signal("remit.notice")
        assert await handle.result() == [{"n": 1}]
        return
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ActivityError)
    assert "broken" in str(caught.value.cause.cause)


async def _released(here: Bench) -> bool:
    return bool(here.keeper.released)


async def test_a_busy_worker_still_stops(server: WorkflowEnvironment, keeper: Keeper) -> None:
    async with bench(server, keeper, max_concurrent_activities=1, plugin={"watch": 60}) as here:
        started = [await here.start("Calls", [SLOW]) for _ in range(5)]
        await ran("data.slow started")
        for handle, reference in started:
            keeper.revoke(reference)
            await handle.signal("remit.notice")
        for handle, _ in started:
            assert await code_of(handle) == "chain.revoked"
    assert len(keeper.granted) == 1


async def test_approvals_of_the_old_delegation_are_void(here: Bench) -> None:
    here.keeper.scripts["data.read"] = "needs-approval"
    handle, old = await here.start("Calls", [READ], on_revocation=DAY)
    first = (await here.until(handle, "waiting-approval"))["waiting"]
    here.keeper.revoke(old)
    await handle.signal("remit.notice")
    await here.until(handle, "suspended")
    fresh = here.keeper.hand(handle.id, root=ALICE)
    assert (await resume(handle, fresh))["accepted"]

    async def asked_anew() -> Any:
        found = (await here.view(handle))["waiting"]
        return found if found and found["request"] != first["request"] else None

    second = await eventually(asked_anew)
    answer = await handle.execute_update("remit.decide", decision("approve", first["request"]))
    assert answer["code"] == "approval.no-request"
    assert not RAN
    await handle.execute_update("remit.decide", decision("approve", second["request"]))
    assert await handle.result() == [{"n": 1}]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("TRY_CANCEL", "CancelledError"), ("WAIT_CANCELLATION_COMPLETED", "CancelledError"), ("ABANDON", "asyncio")],
)
async def test_a_workflow_may_cancel_its_own_calls(here: Bench, kind: str, outcome: str, at_once: bool) -> None:
    handle, _ = await here.start("GivesUp", ["data.slow", {"dataset": "flights", "n": 60}, at_once, kind])
    began = time.monotonic()
    expected = "asyncio" if at_once else outcome
    assert await handle.result() == expected
    assert time.monotonic() - began < 30

    async def released() -> bool:
        return here.keeper.open == 0

    await eventually(released)
    assert ("data.slow", 60) not in RAN


async def test_code_that_fails_after_its_task_halted_is_no_error_of_its_own(
    here: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its clean-up and the time it is given for that end together, so the task ends first and then its code fails."""
    monkeypatch.setattr(_workflow, "_GRACE", 1.0)
    handles = []
    for _ in range(10):
        handle, reference = await here.start("Untidy", [SLOW])
        handles.append(handle)
        await ran("data.slow started")
        here.keeper.revoke(reference)
        await handle.signal("remit.notice")
    for handle in handles:
        assert await code_of(handle) == "chain.revoked"
    gc.collect()
    assert not [one.getMessage() for one in caplog.records if "never retrieved" in one.getMessage()]
