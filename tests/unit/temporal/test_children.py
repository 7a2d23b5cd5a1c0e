"""Children: chains of their own, or their parent's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError, ChildWorkflowError

from tests.unit.temporal.conftest import Bench, eventually, ran
from tests.unit.temporal.tools import RAN

pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")

READ = ["data.read", {"dataset": "flights", "n": 1}]
SLOW = ["data.slow", {"dataset": "flights", "n": 30}]
SHORT = ["data.slow", {"dataset": "flights", "n": 2}]
DAY = timedelta(hours=24)


def child_of(here: Bench, handle: WorkflowHandle[Any, Any]) -> WorkflowHandle[Any, Any]:
    return here.client.get_workflow_handle(f"{handle.id}-child")


async def test_a_child_shares_its_parents_chain(here: Bench) -> None:
    handle, reference = await here.start("Parent", [READ])
    assert await handle.result() == [{"n": 1}]
    (attempt,) = here.keeper.authorized
    assert (attempt.reference, attempt.task) == (reference, f"{handle.id}-child")
    assert attempt.first_run != handle.first_execution_run_id
    assert (await here.view(handle))["children"] == [f"{handle.id}-child"]
    described = await child_of(here, handle).describe()
    found = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert found["RemitDelegations"] == [reference.delegation]


async def test_a_child_acts_under_what_it_was_handed(here: Bench) -> None:
    handle, reference = await here.start("Delegator", [["flights"], [READ]])
    assert await handle.result() == [{"n": 1}]
    (attempt,) = here.keeper.authorized
    assert attempt.reference != reference
    chain = here.keeper.chains[attempt.reference.delegation]
    assert [link.delegate.name for link in chain.links] == ["flight-analyst", "report-writer"]
    assert here.keeper.tasks[attempt.reference.delegation] == {f"{handle.id}-child"}
    child = child_of(here, handle)
    described = await child.describe()
    found = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert found["RemitDelegations"] == list(chain.ids)
    assert found["RemitAgent"].endswith("agent/report-writer")
    assert (await here.view(child))["chain"][1]["to"].endswith("report-writer")


async def test_more_than_one_has_cannot_be_handed_on(here: Bench) -> None:
    handle, _ = await here.start("Delegator", [["flights", "hr"], [READ]])
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "delegation.denied"
    assert failed.value.cause.details[0]["policies"] == ["attenuation"]
    assert not RAN


@pytest.mark.parametrize("flow", ["Parent", "Delegator"])
async def test_a_revoked_parent_takes_its_children_along(here: Bench, flow: str) -> None:
    argument: Any = [SLOW] if flow == "Parent" else [["flights"], [SLOW]]
    handle, reference = await here.start(flow, argument)
    await ran("data.slow started")
    here.keeper.revoke(reference)
    await handle.signal("remit.notice")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    with pytest.raises(WorkflowFailureError):
        await child_of(here, handle).result()
    for one in (handle, child_of(here, handle)):
        assert (await here.view(one))["state"] == "halted"
    assert here.keeper.open == 0
    assert not any(name == "data.slow" for name, _ in RAN)


@pytest.mark.parametrize("flow", ["Parent", "Delegator"])
async def test_a_resumed_parent_takes_its_children_along(here: Bench, flow: str) -> None:
    calls = [READ, SHORT]
    argument: Any = calls if flow == "Parent" else [["flights"], calls]
    handle, old = await here.start(flow, argument, on_revocation=DAY)
    await ran("data.slow started")
    here.keeper.revoke(old)
    await handle.signal("remit.notice")  # only the parent is told
    child = child_of(here, handle)
    await here.until(handle, "suspended")
    await here.until(child, "suspended")
    fresh = here.keeper.hand(handle.id)
    answer = await handle.execute_update("remit.resume", {"delegation": fresh.delegation, "digest": fresh.digest})
    assert answer["accepted"]
    assert await handle.result() == [{"n": 1}, {"n": 2}]
    assert [name for name, _ in RAN] == ["data.read", "data.slow started", "data.slow started", "data.slow"]
    roots = {here.keeper.chains[attempt.reference.delegation].ids[0] for attempt in here.keeper.authorized}
    assert roots == {old.delegation, fresh.delegation}


@pytest.mark.parametrize("flow", ["Parent", "Delegator", "Wrapping", "Swallowing"])
async def test_a_parent_whose_child_hears_first_halts_too(here: Bench, flow: str) -> None:
    """Whatever its code makes of the child's failure."""
    handle, reference = await here.start(flow, [SLOW] if flow == "Parent" else [["flights"], [SLOW]])
    await ran("data.slow started")
    here.keeper.revoke(reference)
    child = child_of(here, handle)
    await child.signal("remit.notice")  # only the child is told
    for one in (child, handle):
        with pytest.raises(WorkflowFailureError) as failed:
            await one.result()
        assert isinstance(failed.value.cause, ApplicationError)
        assert failed.value.cause.type == "chain.revoked"
        view = await here.view(one)
        assert (view["state"], view["error"]["code"]) == ("halted", "chain.revoked")


async def test_a_parent_that_waits_outlives_a_child_that_halted(here: Bench) -> None:
    """The child was not to wait; what its end means is for the parent's code, once the parent may go on."""
    handle, old = await here.start("HaltingChild", [SLOW], on_revocation=DAY)
    await ran("data.slow started")
    here.keeper.revoke(old)
    child = child_of(here, handle)
    await child.signal("remit.notice")
    await here.until(child, "halted")
    await here.until(handle, "suspended")
    fresh = here.keeper.hand(handle.id)
    answer = await handle.execute_update("remit.resume", {"delegation": fresh.delegation, "digest": fresh.digest})
    assert answer["accepted"]
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ChildWorkflowError)
    assert (await here.view(handle))["state"] == "failed"


async def test_a_parent_and_its_child_stop_waiting_together(here: Bench) -> None:
    """The child's time is over first, for it heard first."""
    handle, reference = await here.start("Delegator", [["flights"], [SLOW]], on_revocation=timedelta(seconds=6))
    await ran("data.slow started")
    here.keeper.revoke(reference)
    child = child_of(here, handle)
    await child.signal("remit.notice")
    await here.until(child, "suspended")
    await asyncio.sleep(0.5)
    await handle.signal("remit.notice")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    for one in (child, handle):
        assert (await here.view(one))["state"] == "halted"


async def test_a_parent_whose_own_chain_is_live_hears_that_its_child_halted(here: Bench) -> None:
    handle, _ = await here.start("Delegator", [["flights"], [SLOW]])
    await ran("data.slow started")
    here.keeper.revoke(here.keeper.authorized[0].reference)
    child = child_of(here, handle)
    await child.signal("remit.notice")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ChildWorkflowError)
    assert (await here.view(child))["state"] == "halted"
    view = await here.view(handle)
    assert (view["state"], view["error"]["code"]) == ("failed", "chain.revoked")


async def test_a_child_that_would_wait_halts_with_its_parent(here: Bench) -> None:
    handle, reference = await here.start("WaitingChild", [SLOW])
    await ran("data.slow started")
    here.keeper.revoke(reference)
    await handle.signal("remit.notice")
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    child = child_of(here, handle)
    with pytest.raises(WorkflowFailureError) as failed:
        await child.result()
    assert isinstance(failed.value.cause, CancelledError)
    for one in (child, handle):
        assert (await here.view(one))["state"] == "halted"


async def test_a_revoked_child_leaves_its_parent_alone(here: Bench) -> None:
    handle, _ = await here.start("Delegator", [["flights"], [SLOW]], on_revocation=DAY)
    await ran("data.slow started")
    child = child_of(here, handle)
    here.keeper.revoke(here.keeper.authorized[0].reference)
    await child.signal("remit.notice")
    await here.until(child, "suspended")
    assert (await here.view(handle))["state"] == "running"
    await handle.cancel()

    async def over() -> bool:
        return (await handle.describe()).status is not None and (await child.describe()).close_time is not None

    await eventually(over)
