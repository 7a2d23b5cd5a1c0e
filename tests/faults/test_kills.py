"""Attack 43: kill -9, of everything, at every point of an attempt."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from remit.embedded.process import Running
from tests.faults import invariants
from tests.faults.ground import COUNT, Ground, noting

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

STEPS = [noting("before"), COUNT, noting("after")]
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
    place = f"{point}.flights.count"
    ground.points.arm(place)
    task = await ground.submit(STEPS)
    await ground.points.reached(place)
    if victim == "worker":
        await workers.kill()
        ground.points.disarm()
        await workers.replace()
    else:
        ground.kill(victim)
        ground.points.release(place)
        await ground.revive()
    result = await ground.completed(task)
    assert [step["outcome"] for step in result["done"]] == ["done"] * 3
    invariants.once(ground, task, effects=2)
    invariants.audited(ground, task)


@pytest.mark.parametrize("point", POINTS)
async def test_killed_while_it_does_what_is_done_once(ground: Ground, workers: Workers, point: str) -> None:
    """Attack 43: a step that says so is done at most once; when nobody knows whether it was, a person is asked."""
    place = f"{point}.flights.note"
    ground.points.arm(place)
    task = await ground.submit([noting("only")])
    await ground.points.reached(place)
    await workers.kill()
    ground.points.disarm()
    await workers.replace()
    if point in ("before-decide", "after-mint"):
        await ground.completed(task)
        invariants.once(ground, task, effects=1)
    else:
        shown = await ground.until(task, "failed", "suspended")
        assert shown["error"]["code"] == "step.once"
        invariants.once(ground, task, effects=1 if point == "before-release" else 0)
    invariants.audited(ground, task)


async def test_nothing_is_left(ground: Ground, workers: Workers) -> None:
    """Attack 43: after all of these no live lease and no database user is left."""
    await invariants.nothing_left(ground)
