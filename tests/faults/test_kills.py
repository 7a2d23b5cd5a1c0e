"""Attack 43: kill -9, of everything, at every point of an attempt."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from remit.embedded.process import Running
from tests.faults import invariants
from tests.faults.ground import COUNT, NOTE, Ground

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

STEPS = [
    {**NOTE, "input": {**NOTE["input"], "note": "before"}},
    COUNT,
    {**NOTE, "input": {**NOTE["input"], "note": "after"}},
]
POINTS = ("before-decide", "after-mint", "mid-tool", "before-release")


class Workers:
    """The one worker there is at a time."""

    def __init__(self, ground: Ground, first: Running) -> None:
        self.ground = ground
        self.present = first

    async def kill(self) -> None:
        self.ground.kill_worker(self.present)

    async def replace(self) -> None:
        self.present = self.ground.start_worker()


@pytest.fixture(scope="module")
async def workers(ground: Ground) -> AsyncIterator[Workers]:
    made = Workers(ground, await ground.ready_worker())
    yield made
    await ground.stop_worker(made.present)


# Points change slowest, so that no server is killed again as soon as it was started.
@pytest.mark.parametrize("victim", ["openbao", "postgres", "temporal", "worker"])
@pytest.mark.parametrize("point", POINTS)
async def test_killed(ground: Ground, workers: Workers, point: str, victim: str) -> None:
    """Attack 43: the task finishes, nothing is done twice, everything is on record."""
    ground.points.arm(point)
    task = await ground.submit(STEPS)
    await ground.points.reached(point)
    if victim == "worker":
        await workers.kill()
        ground.points.disarm()
        await workers.replace()
    else:
        ground.kill(victim)
        ground.points.release(point)
        await ground.revive()
    result = await ground.completed(task)
    assert [step["outcome"] for step in result["done"]] == ["done"] * 3
    invariants.once(ground, task, effects=2)
    invariants.audited(ground, task)


async def test_nothing_is_left(ground: Ground, workers: Workers) -> None:
    """Attack 43: after all of these no live lease and no database user is left."""
    await invariants.nothing_left(ground)
