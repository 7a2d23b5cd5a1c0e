"""Attacks 38 and 39: leases whose end was cut short, by a worker that died or a database that was down."""

from __future__ import annotations

import time

import pytest

from remit.client import Remit
from tests.faults import invariants
from tests.faults.conftest import LOGIN_SECONDS
from tests.faults.ground import COUNT, Ground, eventually, noting

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

MIDDLE = "mid-tool.flights.count"


async def test_what_a_dead_worker_minted_dies_without_it(ground: Ground) -> None:
    """Attack 38: a credential that was made and whose id was never recorded, and nobody is there to end it."""
    worker = await ground.ready_worker()
    ground.points.arm("after-mint.flights.count")
    task = await ground.submit([COUNT])
    await ground.points.reached("after-mint.flights.count")
    ground.kill_worker(worker)
    ground.points.disarm()
    assert ground.points.noted("began", task=task) == []
    assert len(ground.minted()) == 1
    await eventually(lambda: not ground.minted(), seconds=10 * LOGIN_SECONDS)
    worker = await ground.ready_worker()
    try:
        await ground.completed(task)
        invariants.audited(ground, task)
        await invariants.nothing_left(ground)  # the record as well, by the reaper
    finally:
        await ground.stop_worker(worker)


async def test_what_the_database_could_not_destroy_does_not_come_back(ground: Ground) -> None:
    """Attack 39: revoked while PostgreSQL is down: said to be pending, tried again, dead soon after it is back."""
    worker = await ground.ready_worker()
    try:
        ground.points.arm(MIDDLE)
        task = await ground.submit([COUNT, noting("after")], on_revocation={"wait": "1h"})
        await ground.points.reached(MIDDLE)
        (user,) = ground.minted()
        ground.kill("postgres")
        async with Remit.open(ground.settings, person="alice") as alice:
            stopped = await alice.revoke(task, "a test")
            ground.revoked[(await alice.show(task))["chain"][0]["delegation"]] = time.time()
            assert stopped.pending, "what could not be destroyed is not said to be dead"
            ground.points.release(MIDDLE)
            await ground.until(task, "suspended")
            assert (await invariants.leased(ground)) == 1
            await ground.revive()
            await invariants.nothing_left(ground)
            assert user not in ground.minted()
            before = len(ground.points.noted("began", task=task))
            assert ground.points.noted("effect", task=task) == []
            await alice.resume(task)
        await ground.completed(task)
        assert len(ground.points.noted("began", task=task)) == before + 2
        invariants.once(ground, task, effects=1)
        invariants.audited(ground, task)
        await invariants.nothing_left(ground)
    finally:
        ground.points.disarm()
        await ground.revive()
        await ground.stop_worker(worker)
