"""Attacks 43 and 47: two workers, and a worker that is replaced by a newer version while a task runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.conftest import POLICIES
from tests.faults import invariants
from tests.faults.ground import COUNT, Ground, noting

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

MIDDLE = "mid-tool.flights.count"
STEPS = [noting("before"), COUNT, noting("after")]


async def test_another_worker_goes_on(ground: Ground) -> None:
    """Attack 43: of two workers the one that runs the step is killed; the other finishes the task."""
    two = await asyncio.gather(ground.ready_worker("first"), ground.ready_worker("second"))
    ground.points.arm(MIDDLE)
    task = await ground.submit(STEPS)
    await ground.points.reached(MIDDLE)
    (began,) = [one for one in ground.points.noted("began", task=task) if not one["note"]]
    victim = next(one for one in two if one.identity.pid == began["pid"])
    other = next(one for one in two if one is not victim)
    ground.kill_worker(victim)
    try:
        await ground.completed(task)
        assert ground.points.noted("count", task=task)[-1]["pid"] == other.identity.pid
        invariants.once(ground, task, effects=2)
        invariants.audited(ground, task)
    finally:
        await ground.stop_worker(other)


@pytest.mark.parametrize("leaves", ["stopped", "killed"])
async def test_a_newer_version_goes_on(ground: Ground, tmp_path: Path, leaves: str) -> None:
    """Attack 47: another build with other policies finishes the task; each record names the policies that decided."""
    policies = tmp_path / "policies"
    shutil.copytree(POLICIES, policies)
    grants = policies / "grants.cedar"
    grants.write_text(grants.read_text().replace('@ttl("5m")', '@ttl("4m")'))
    older = await ground.ready_worker("older")
    ground.points.arm(MIDDLE)
    task = await ground.submit(STEPS)
    await ground.points.reached(MIDDLE)
    if leaves == "killed":
        ground.kill_worker(older)
        ground.points.disarm()
    else:
        os.kill(older.identity.pid, signal.SIGTERM)
        ground.points.release(MIDDLE)
        await ground.stop_worker(older)
    newer = await ground.ready_worker("newer", REMIT_POLICIES=str(policies), FAULT_NEWER="1")
    try:
        result = await ground.completed(task)
        assert result["newer"] is False, "begun by the version before"
        digests = {one["pid"]: one["policies"] for one in ground.points.noted("writer")}
        was, now = digests[older.identity.pid], digests[newer.identity.pid]
        assert was != now
        records = ground.records(task)
        assert {one["policy_set"] for one in records if one["step"] == 1} == {was}
        assert {one["policy_set"] for one in records if one["step"] == 3} == {now}
        invariants.once(ground, task, effects=2)
        invariants.audited(ground, task)
        assert (await ground.completed(await ground.submit([COUNT])))["newer"] is True
        if leaves == "killed":  # the last of all that die here
            await invariants.nothing_left(ground)
    finally:
        await ground.stop_worker(newer)
