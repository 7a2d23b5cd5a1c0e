"""Long waits, in no time: the time-skipping server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from tests.unit.temporal.authority import Keeper
from tests.unit.temporal.conftest import BIN, Bench, bench, plugin_of
from tests.unit.temporal.tools import RAN

READ = ["data.read", {"dataset": "flights", "n": 1}]


@pytest.fixture
async def patient(keeper: Keeper) -> AsyncIterator[Bench]:
    async with (
        await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=str(BIN / "temporal-test-server"),
            plugins=[plugin_of(keeper, search_attributes=False)],
        ) as environment,
        bench(environment, keeper, client=environment.client) as found,
    ):
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
