"""Long waits, in no time: the time-skipping server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from tests.unit.temporal.authority import Keeper
from tests.unit.temporal.conftest import BIN, Bench, bench, eventually, plugin_of, ran
from tests.unit.temporal.tools import RAN

READ = ["data.read", {"dataset": "flights", "n": 1}]


@pytest.fixture
async def skipping(keeper: Keeper) -> AsyncIterator[WorkflowEnvironment]:
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(BIN / "temporal-test-server"),
        plugins=[plugin_of(keeper, search_attributes=False)],
    ) as environment:
        yield environment


@pytest.fixture
async def patient(skipping: WorkflowEnvironment, keeper: Keeper) -> AsyncIterator[Bench]:
    async with bench(skipping, keeper, client=skipping.client) as found:
        yield found


async def test_a_day_of_waiting_for_a_delegation_ends(patient: Bench) -> None:
    reference = patient.keeper.hand("dead")
    patient.keeper.revoke(reference)
    handle, _ = await patient.start(
        "Calls", [READ], reference=reference, task="dead", on_revocation=timedelta(hours=24)
    )
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "chain.revoked"
    described = await handle.describe()
    assert described.close_time is not None
    assert described.close_time - described.start_time >= timedelta(hours=24)
    assert not RAN


async def test_a_day_of_waiting_for_people_ends(patient: Bench) -> None:
    patient.keeper.scripts["data.read"] = "needs-approval:1:86400"
    handle, _ = await patient.start("Calls", [READ])
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "approval.timeout"
    assert not RAN


async def test_a_week_of_waiting_after_an_expiry_ends(patient: Bench) -> None:
    """Where the job says to halt, too: an expiry is nobody's decision."""
    reference = patient.keeper.hand("late", expires_in=0)
    handle, _ = await patient.start("Calls", [READ], reference=reference, task="late")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "chain.expired"
    described = await handle.describe()
    assert described.close_time is not None
    assert timedelta(days=7) <= described.close_time - described.start_time < timedelta(days=8)
    assert not RAN


@pytest.mark.parametrize("back", ["reinstated", "fresh delegation"])
async def test_days_later_another_worker_goes_on_at_the_same_step(
    skipping: WorkflowEnvironment, keeper: Keeper, back: str
) -> None:
    """The worker that began it is gone, and nothing of it is cached: history and registry are enough."""
    month = 30 * 24 * 3600
    old = keeper.hand("long", expires_in=month)
    uncached: dict[str, Any] = {"client": skipping.client, "queue": "long", "max_cached_workflows": 0}
    async with bench(skipping, keeper, **uncached) as here:
        handle, _ = await here.start(
            "Pausing", [READ, READ, READ], reference=old, task="long", on_revocation=timedelta(days=14)
        )
        await ran("data.read")
        keeper.suspend(old) if back == "reinstated" else keeper.revoke(old)
        looks = keeper.looks
        await handle.signal("remit.notice")

        async def looked() -> bool:
            return keeper.looks > looks

        await eventually(looked)
        await skipping.sleep(timedelta(days=1))
    fresh = old
    async with bench(skipping, keeper, **uncached):
        await skipping.sleep(timedelta(days=1))
        assert keeper.runs_of("data.read") == 1
        if back == "reinstated":
            keeper.reinstate(old)
            await handle.signal("remit.notice")
        else:
            fresh = keeper.hand("long", expires_in=month)
            await handle.signal("remit.resume", {"delegation": fresh.delegation, "digest": fresh.digest})
        assert await handle.result() == [{"n": 1}] * 3
    assert [(one.step, one.reference) for one in (grant.attempt for grant in keeper.granted)] == [
        (1, old),
        (2, fresh),
        (3, fresh),
    ]
    described = await handle.describe()
    assert described.close_time is not None
    assert described.close_time - described.start_time >= timedelta(days=2)
