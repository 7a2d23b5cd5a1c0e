"""A run that is asked something while it works: what follows a local activity ran later than it replays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from remit.mapping import Mapping
from remit.temporal import RemitPlugin
from tests.replay.record import READ
from tests.unit.temporal.authority import Keeper
from tests.unit.temporal.conftest import bench, temporal

SOON = timedelta(seconds=10)


@workflow.defn
class Told:
    """Waits to be told, then makes a call as a local activity."""

    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self, call: list[Any]) -> Any:
        await workflow.wait_condition(lambda: self.told)
        return await workflow.execute_local_activity(*call, start_to_close_timeout=SOON)

    @workflow.signal
    def tell(self) -> None:
        self.told = True


@pytest.fixture(scope="module")
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    async with temporal() as started:
        yield started


@pytest.mark.parametrize("mapping", [None, Mapping()], ids=["plain", "mapped"])
async def test_it_replays(environment: WorkflowEnvironment, mapping: Mapping | None) -> None:
    history = await _split(environment, mapping)
    for other in (None, Mapping()):  # a worker may get a mapping, or lose it
        replayer = Replayer(workflows=[Told], plugins=[RemitPlugin(ungoverned=["model.*"], mapping=other)])
        await replayer.replay_workflow(history)


async def _split(environment: WorkflowEnvironment, mapping: Mapping | None) -> WorkflowHistory:
    """Return the history of a run whose task ended with the local activity: a query had come along with it."""
    given: Any = {"flows": [Told], "plugin": {"mapping": mapping}, "queue": f"split-{mapping is None}"}
    given["sticky_queue_schedule_to_start_timeout"] = SOON / 20
    for _ in range(20):
        async with bench(environment, Keeper(), **given) as here:
            handle, _ = await here.start("Told", READ)
            await here.until(handle, "running")
        await handle.signal("tell")
        asked = asyncio.create_task(handle.query("remit.view"))
        await asyncio.sleep(0.1)
        async with bench(environment, here.keeper, **given):
            await handle.result()
            await asked
        history = await handle.fetch_history()
        kinds = [one.WhichOneof("attributes").removesuffix("_event_attributes") for one in history.events]
        told = kinds.index("workflow_execution_signaled")
        if ["marker_recorded", "workflow_task_scheduled"] in [kinds[n : n + 2] for n in range(told, len(kinds))]:
            return history
    raise AssertionError("no query came along with the task")
