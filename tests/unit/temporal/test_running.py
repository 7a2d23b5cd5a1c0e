"""Tools that are told to stop: what still counts of them, and what does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.testing import WorkflowEnvironment

from remit.temporal import _watch
from tests.unit.temporal.authority import Keeper
from tests.unit.temporal.conftest import Bench, bench, eventually, ran
from tests.unit.temporal.tools import RAN

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")

READ = ["data.read", {"dataset": "flights", "n": 1}]
DEAF = ["data.deaf", {"dataset": "flights", "n": 2}]
DAY = timedelta(hours=24)


async def released(keeper: Keeper, count: int = 1) -> None:
    async def all_released() -> bool:
        return len(keeper.released) >= count

    await eventually(all_released)


async def completed(handle: WorkflowHandle[Any, Any]) -> int:
    """Return how many activities delivered a result."""
    events = [event async for event in handle.fetch_history_events()]
    return sum(event.HasField("activity_task_completed_event_attributes") for event in events)


async def stopped(here: Bench, *, notice: bool = True) -> Any:
    """Start a tool that ignores what it is told, and stop its chain."""
    handle, reference = await here.start("Calls", [DEAF], on_revocation=DAY)
    await ran("data.deaf started")
    here.keeper.suspend(reference)
    if notice:
        await handle.signal("remit.notice")
        await ran("data.deaf told")
    return handle, reference


async def test_what_it_returns_although_it_was_told_to_stop_is_discarded(here: Bench) -> None:
    handle, reference = await stopped(here)
    await released(here.keeper)
    assert here.keeper.released[-1][1:] == ("stopped", "chain.suspended")
    assert RAN[-1] == ("data.deaf", 2), "it went on to its end"
    assert await completed(handle) == 0
    view = await here.until(handle, "suspended")
    assert view["steps"][0]["state"] == "stopped"
    here.keeper.reinstate(reference)
    await handle.signal("remit.notice")
    assert await handle.result() == [{"n": 2}]
    assert len(here.keeper.granted) == 2


async def test_a_tool_that_goes_on_and_on_is_left_behind(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its attempt ends without it, and the task with its attempt."""
    monkeypatch.setattr(_watch, "_GRACE", 0.3)
    handle, reference = await here.start("Calls", [["data.deaf", {"dataset": "flights", "n": 4}]])
    await ran("data.deaf started")
    here.keeper.revoke(reference)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "chain.revoked"
    assert here.keeper.released[-1][1:] == ("stopped", "chain.revoked")
    assert ("data.deaf", 4) not in RAN, "it still runs"
    await ran("data.deaf")  # and nobody hears of it
    assert await completed(handle) == 0


async def test_what_completes_before_it_hears_is_done(server: WorkflowEnvironment, keeper: Keeper) -> None:
    """Repeating it would do it twice."""
    async with bench(server, keeper, plugin={"watch": 60}) as here:
        slow = ["data.slow", {"dataset": "flights", "n": 1}]
        handle, reference = await here.start("Calls", [slow, READ], on_revocation=DAY)
        await ran("data.slow started")
        keeper.suspend(reference)
        await here.until(handle, "suspended")
        keeper.reinstate(reference)
        await handle.signal("remit.notice")
        assert await handle.result() == [{"n": 1}, {"n": 1}]
    assert [name for name, _ in RAN] == ["data.slow started", "data.slow", "data.read"]


async def test_it_is_done_when_its_chain_is_live_again_in_the_end(server: WorkflowEnvironment, keeper: Keeper) -> None:
    async with bench(server, keeper, plugin={"watch": 60}) as here:
        handle, reference = await stopped(here)
        keeper.reinstate(reference)
        await handle.signal("remit.notice")
        assert await handle.result() == [{"n": 2}]
    assert len(keeper.granted) == 1


async def test_what_was_told_and_cannot_be_judged_delivers_nothing(server: WorkflowEnvironment, keeper: Keeper) -> None:
    async with bench(server, keeper, plugin={"watch": 60}) as here:
        handle, reference = await stopped(here)
        keeper.down = True
        await released(keeper)
        assert keeper.released[-1][1] == "cancelled"
        keeper.down = False
        assert await completed(handle) == 0
        keeper.reinstate(reference)
        await handle.signal("remit.notice")
        assert await handle.result() == [{"n": 2}]
    assert len(keeper.granted) == 2


async def test_a_workflow_that_cancels_its_call_hears_what_it_did_all_the_same(here: Bench) -> None:
    """As without the plugin: nobody took its authority away."""
    call = ["data.deaf", DEAF[1], False, "WAIT_CANCELLATION_COMPLETED"]
    handle, _ = await here.start("GivesUp", call)
    assert await handle.result() == "finished"
    assert here.keeper.released[-1][1] == "ok"


@pytest.mark.parametrize(("n", "code"), [(1, "half"), (2, "held")])
async def test_what_may_happen_once_fails_once(here: Bench, n: int, code: str) -> None:
    handle, _ = await here.start("Calls", [["data.once", {"dataset": "flights", "n": n}]])
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause: BaseException | None = failed.value.cause
    while isinstance(cause, ActivityError):
        cause = cause.__cause__
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.non_retryable) == (code, True)
    assert here.keeper.runs_of("data.once") == len(RAN) == 1
    assert here.keeper.granted[0].attempt.once
