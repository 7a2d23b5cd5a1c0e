"""What is unreachable holds a task; it never lets a step through and never fails it for good."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.testing import WorkflowEnvironment

from remit.temporal import _activity
from tests.unit.temporal.authority import Keeper
from tests.unit.temporal.conftest import Bench, bench, ran
from tests.unit.temporal.tools import RAN

READ = ["data.read", {"dataset": "flights", "n": 1}]
SHORT = ["data.slow", {"dataset": "flights", "n": 1}]


async def test_a_short_outage_is_waited_out_within_the_attempt(here: Bench) -> None:
    handle, _ = await here.start("CallsOnce", [SHORT, READ])
    await ran("data.slow started")
    here.keeper.down = True
    await asyncio.sleep(2)
    assert ("data.read", 1) not in RAN
    here.keeper.down = False
    assert await handle.result() == [{"n": 1}, {"n": 1}]
    assert {attempt.attempt for attempt in here.keeper.authorized} == {1}


@pytest.mark.parametrize("flow", ["Calls", "CallsOnce", "Local"])
async def test_a_long_outage_never_fails_a_step(here: Bench, flow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_activity, "_PATIENCE", 0.3)
    here.keeper.scripts["data.read"] = "hold"
    handle, _ = await here.start(flow, [READ])
    await asyncio.sleep(4)
    assert not RAN
    assert len(here.keeper.authorized) > 2
    here.keeper.scripts["data.read"] = "permit"
    assert await handle.result() == [{"n": 1}]


async def test_a_task_that_starts_in_an_outage_begins_after_it(server: WorkflowEnvironment, keeper: Keeper) -> None:
    async with bench(server, keeper) as here:
        keeper.down = True
        handle, _ = await here.start("Calls", [["model.call", {}]])
        await asyncio.sleep(1.5)
        assert not RAN
        keeper.down = False
        assert await handle.result() == ["hello"]


async def test_an_outage_stops_no_running_tool(here: Bench) -> None:
    handle, _ = await here.start("Calls", [SHORT])
    await ran("data.slow started")
    here.keeper.down = True
    assert await handle.result() == [{"n": 1}]
