"""Every scene also works when no workflow is kept in memory, so that each task replays it from the start.

Scenes with children keep one: without any cache the SDK loses a workflow task when another workflow's task comes while
a local activity runs, and the server hands it out again only after its time-out of 10 s.
"""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from activities.plan import Planning
from tests.replay.record import PLUGIN, SCENES, WORKFLOWS, Scene, ask, publish, query
from tests.unit.temporal import tools
from tests.unit.temporal.authority import Keeper
from tests.unit.temporal.conftest import bench, temporal

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")

WITH_CHILDREN = ("delegating", "agent_task", "child_first", "acting")
ENDS = dict.fromkeys(("denied", "halted", "child_first"), WorkflowExecutionStatus.FAILED)


@pytest.fixture(scope="module")
async def environment() -> WorkflowEnvironment:  # type: ignore[misc]
    async with temporal() as started:
        yield started


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_a_scene_without_any_cache(environment: WorkflowEnvironment, scene: Scene) -> None:
    tools.RAN.clear()
    keeper = Keeper()
    activities = [*tools.TOOLS, query, publish, ask, Planning({"sql.query", "report.publish", "plan.ask"}).propose]
    async with bench(
        environment,
        keeper,
        flows=WORKFLOWS,
        activities=activities,
        plugin=PLUGIN.get(scene.__name__),
        max_cached_workflows=1 if scene.__name__ in WITH_CHILDREN else 0,
    ) as here:
        handle = (await scene(here))[0]
        described = await handle.describe()
        assert described.status in (
            ENDS.get(scene.__name__, WorkflowExecutionStatus.COMPLETED),
            WorkflowExecutionStatus.CONTINUED_AS_NEW,
        )
        failed = [e async for e in handle.fetch_history_events() if e.HasField("workflow_task_failed_event_attributes")]
        assert failed == []
    assert keeper.open == 0
