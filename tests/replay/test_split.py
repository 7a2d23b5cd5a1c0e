"""A run that is asked something while it works: what follows a local activity ran later than it replays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from remit.mapping import Mapping
from remit.temporal import RemitPlugin
from tests.replay.record import READ
from tests.unit.temporal.authority import Keeper
from tests.unit.temporal.conftest import Bench, bench, temporal

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


@workflow.defn
class AsksAtOnce:
    """Asks for a patch of its own as it begins."""

    @workflow.run
    async def run(self, call: list[Any]) -> Any:
        assert workflow.patched("own")
        return await workflow.execute_activity(*call, start_to_close_timeout=SOON)


@workflow.defn
class AsksWhenMade:
    """Asks for a patch of its own as it is made."""

    def __init__(self) -> None:
        self.patched = workflow.patched("own")

    @workflow.run
    async def run(self, call: list[Any]) -> Any:
        assert self.patched
        return await workflow.execute_activity(*call, start_to_close_timeout=SOON)


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


@pytest.mark.parametrize(("flow", "mapping"), [(AsksAtOnce, Mapping()), (AsksWhenMade, None)])
async def test_a_workflows_own_patches_replay(
    environment: WorkflowEnvironment, flow: type, mapping: Mapping | None
) -> None:
    keeper = Keeper()
    given: Any = {"flows": [flow], "plugin": {"mapping": mapping}, "queue": flow.__name__}
    for tries in range(20):
        async with bench(environment, keeper, flows=[Told], queue="elsewhere") as nobody:
            handle, _ = await Bench(nobody.client, keeper, flow.__name__).start(flow.__name__, READ)
        history = await _asked(environment, keeper, handle, given, patience=0.1 * (1 + tries))
        if _split_after(history, "workflow_execution_started"):
            break
    else:
        raise AssertionError("no query came along with the first task")
    replayer = Replayer(workflows=[flow], plugins=[RemitPlugin(ungoverned=["model.*"], mapping=mapping)])
    await replayer.replay_workflow(history)


async def _split(environment: WorkflowEnvironment, mapping: Mapping | None) -> WorkflowHistory:
    """Return the history of a run whose task ended with the local activity: a query had come along with it."""
    given: Any = {"flows": [Told], "plugin": {"mapping": mapping}, "queue": f"split-{mapping is None}"}
    given["sticky_queue_schedule_to_start_timeout"] = SOON / 20
    for tries in range(20):
        async with bench(environment, Keeper(), **given) as here:
            handle, _ = await here.start("Told", READ)
            await here.until(handle, "running")
        await handle.signal("tell")
        history = await _asked(environment, here.keeper, handle, given, patience=0.1 * (1 + tries))
        if _split_after(history, "workflow_execution_signaled"):
            return history
    raise AssertionError("no query came along with the task")


async def _asked(
    environment: WorkflowEnvironment, keeper: Keeper, handle: WorkflowHandle[Any, Any], given: Any, *, patience: float
) -> WorkflowHistory:
    """Have a run asked something while no worker is there, then end on one; return its history.

    Args:
        patience: Seconds the question has to arrive.
    """
    asked = asyncio.create_task(handle.query("remit.view"))
    await asyncio.sleep(patience)
    async with bench(environment, keeper, **given):
        await handle.result()
        await asked
    return await handle.fetch_history()


def _split_after(history: WorkflowHistory, event: str) -> bool:
    """Tell whether a task ended with a local activity, and another one went on."""
    kinds = [one.WhichOneof("attributes").removesuffix("_event_attributes") for one in history.events]
    kinds = kinds[kinds.index(event) :]
    return ["marker_recorded", "workflow_task_scheduled"] in [kinds[n : n + 2] for n in range(len(kinds))]
