"""What a run leaves of its evidence in its history, and that waiting for it changes no task's end."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from remit.errors import Held, Refused
from remit.temporal import _internal, delegated
from tests.unit.temporal.authority import Keeper, decision
from tests.unit.temporal.conftest import Bench, bench, eventually, ran

READ = ["data.read", {"dataset": "flights", "n": 1}]
SLOW = ["data.slow", {"dataset": "flights", "n": 30}]
Handle = WorkflowHandle[Any, Any]


async def ended(handle: Handle) -> str:
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    status = (await handle.describe()).status
    assert status is not None
    return status.name


async def seals(handle: Handle, *, run_id: str | None = None) -> list[Any]:
    """Return what the history says that the authority signed; None where it did not."""
    found = []
    named: Handle = handle if run_id is None else handle._client.get_workflow_handle(handle.id, run_id=run_id)
    async for event in named.fetch_history_events():
        marker = event.marker_recorded_event_attributes
        data = marker.details.get("data")
        if data is not None and json.loads(data.payloads[0].data)["activity_type"] == "remit.seal":
            result = marker.details.get("result")
            found.append(None if result is None else json.loads(result.payloads[0].data))
    return found


@pytest.mark.parametrize("end", ["completed", "failed", "rejected", "halted", "cancelled"])
async def test_every_end_of_a_task_has_its_seal(here: Bench, end: str) -> None:
    here.keeper.scripts["data.read"] = {"failed": "deny", "rejected": "needs-approval"}.get(end, "permit")
    handle, reference = await here.start("Calls", [SLOW if end in ("halted", "cancelled") else READ])
    if end == "rejected":
        request = (await here.until(handle, "waiting-approval"))["waiting"]["request"]
        await handle.signal("remit.decide", decision("reject", request))
    elif end != "failed" and end != "completed":
        await ran("data.slow started")
    if end == "halted":
        here.keeper.revoke(reference)
        await handle.signal("remit.notice")
    elif end == "cancelled":
        await handle.cancel()
    status = {"completed": "COMPLETED", "cancelled": "CANCELED"}.get(end, "FAILED")
    assert await ended(handle) == status
    (seal,) = await seals(handle)
    assert seal["head"] == "x"
    if end != "cancelled":  # the workflow does not wait for what it cancels
        assert seal["seq"] == len(here.keeper.released), "made when everything was recorded"
    assert (await here.view(handle))["state"] == ("halted" if end == "cancelled" else end)


async def test_a_run_that_continues_as_new_waits_for_nothing(here: Bench) -> None:
    handle, _ = await here.start("Renewing", [READ, READ])
    await handle.result()
    assert await seals(handle, run_id=handle.first_execution_run_id) == []
    assert len(await seals(handle)) == 1


async def test_a_task_ends_as_it_ended_when_nothing_is_signed(here: Bench) -> None:
    here.keeper.unsealed = Refused("the key was taken away", code="vault.forbidden")
    handle, _ = await here.start("Calls", [READ])
    assert await handle.result() == [{"n": 1}]
    assert await seals(handle) == [None]
    assert here.keeper.seals == 1, "a refusal is not tried again"


async def test_an_outage_is_waited_out(here: Bench) -> None:
    here.keeper.unsealed = Held("down", code="vault.unreachable")
    handle, _ = await here.start("Calls", [READ])
    await sealing(here, 2)
    here.keeper.unsealed = None
    assert await handle.result() == [{"n": 1}]
    (seal,) = await seals(handle)
    assert seal["head"] == "x"


async def test_but_not_for_ever(here: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_internal, "_PATIENCE", 1.5)
    here.keeper.unsealed = Held("down", code="vault.unreachable")
    handle, _ = await here.start("Calls", [READ])
    assert await handle.result() == [{"n": 1}]
    assert await seals(handle) == [None]
    assert here.keeper.seals == 2


async def test_a_task_that_is_cancelled_while_it_is_sealed_has_ended_already(here: Bench) -> None:
    here.keeper.unsealed = Held("down", code="vault.unreachable")
    reference = here.keeper.hand("sealed")
    with delegated(reference):
        handle = await here.client.start_workflow(
            "Calls", [READ], id="sealed", task_queue=here.queue, task_timeout=timedelta(seconds=2)
        )
    await sealing(here, 1)

    async def beaten() -> bool:
        """Tell whether Temporal has heard of what came before: a cancellation before that comes before the end."""
        events = [one async for one in handle.fetch_history_events()]
        return events[-1].event_id > 13

    await eventually(beaten)
    here.keeper.revoke(reference)
    await handle.signal("remit.notice")
    await handle.cancel()
    await sealing(here, here.keeper.seals + 3)
    here.keeper.unsealed = None
    assert await ended(handle) == "COMPLETED"
    assert (await here.view(handle))["state"] == "completed"


async def test_an_authority_that_signs_nothing_is_not_asked_to(server: WorkflowEnvironment) -> None:
    class Silent(Keeper):
        seal = None  # type: ignore[assignment]

    async with bench(server, Silent()) as here:
        handle, _ = await here.start("Calls", [READ])
        assert await handle.result() == [{"n": 1}]
        assert await seals(handle) == [{}]


async def test_a_fault_in_the_code_is_no_end(here: Bench) -> None:
    handle, _ = await here.start("Calls", [["data.read"]])  # not a pair: the workflow's own code fails

    async def failing() -> bool:
        events = [one async for one in handle.fetch_history_events()]
        return any(one.HasField("workflow_task_failed_event_attributes") for one in events)

    await eventually(failing)
    assert here.keeper.seals == 0
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await handle.terminate()


async def sealing(here: Bench, times: int) -> None:
    async def asked() -> bool:
        return here.keeper.seals >= times

    await eventually(asked)
