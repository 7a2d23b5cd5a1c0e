"""Attacks 23 and 28: a workflow is reset to before it was told to stop, or to before its approval was used."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from remit.client import Remit
from tests.faults import invariants
from tests.faults.ground import COUNT, Ground, noting

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

MIDDLE = "mid-tool.flights.count"
DELEGATION = {"actions": ["report:publish"], "spaces": ["flights"], "budget": 10, "expires_in": "1h", "max_depth": 0}
PUBLISHING = {"tool": "report.publish", "input": {"table": "reset", "sql": "select count(*) as n from flights"}}


@pytest.fixture(scope="module", autouse=True)
async def worker(ground: Ground) -> AsyncIterator[None]:
    made = await ground.ready_worker()
    yield
    await ground.stop_worker(made)


async def reset(ground: Ground, task: str, *, before: EventType.ValueType, signals: bool = False) -> str:
    """Reset a task to the last workflow task before such an event; return the new run.

    Args:
        signals: Whether the signals and updates after it are applied again.
    """
    client = await ground.client()
    history = await client.get_workflow_handle(task).fetch_history()
    point = 0
    for event in history.events:
        if event.event_type == before and point:
            break
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            point = event.event_id
    else:
        raise AssertionError("there is no such event")
    left_out = [
        ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL,
        ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE,
    ]
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=task, run_id=history.run_id),
            reason="a test",
            request_id=str(uuid.uuid4()),
            workflow_task_finish_event_id=point,
            reset_reapply_exclude_types=[] if signals else left_out,
        )
    )
    return answer.run_id


@pytest.mark.parametrize("stop", ["suspend", "revoke"])
async def test_a_reset_does_not_undo_a_stop(ground: Ground, stop: str) -> None:
    """Attack 28: the signal is gone, the registry is not: nothing runs until it may, then nothing is done twice."""
    ground.points.arm(MIDDLE)
    task = await ground.submit([noting("before"), COUNT, noting("after")], on_revocation={"wait": "1h"})
    await ground.points.reached(MIDDLE)
    async with Remit.open(ground.settings, person="alice") as alice:
        await (alice.suspend if stop == "suspend" else alice.revoke)(task, "a test")
        stopped = time.time()
        shown = await ground.until(task, "suspended")
        if stop == "revoke":
            ground.revoked[shown["chain"][0]["delegation"]] = stopped
        ground.points.disarm()
        run = await reset(ground, task, before=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
        shown = await ground.until(task, "suspended")
        assert shown["run_id"] == run
        assert [one for one in ground.points.noted("began", task=task) if one["time"] > stopped] == []
        assert ground.minted() == []
        await (alice.reinstate(task, "a test") if stop == "suspend" else alice.resume(task))
    await ground.completed(task)
    invariants.once(ground, task, effects=2)
    invariants.audited(ground, task)
    await invariants.nothing_left(ground)


async def test_a_reset_to_the_beginning_does_nothing_twice(ground: Ground) -> None:
    """Attack 28: what was done at most once is refused in the new run, not done again."""
    task = await ground.submit([noting("only")])
    await ground.completed(task)
    await reset(ground, task, before=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    shown = await ground.until(task, "failed")
    assert shown["error"]["code"] == "step.once"
    invariants.once(ground, task, effects=1)
    invariants.audited(ground, task)
    await invariants.nothing_left(ground)


@pytest.mark.parametrize("again", [True, False], ids=["applied-again", "dropped"])
async def test_a_reset_uses_no_approval_twice(ground: Ground, again: bool) -> None:
    """Attack 23: an approval that was used counts for no other run: sent again it is refused, else a new one wanted."""
    task = await ground.submit([PUBLISHING], agent="report-writer", delegation=DELEGATION)
    await ground.until(task, "waiting-approval")
    async with Remit.open(ground.settings, person="bob") as bob:
        await bob.approve(task)
        await ground.completed(task)
        await reset(ground, task, before=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED, signals=again)
        shown = await ground.until(task, "failed" if again else "waiting-approval")
        assert published(ground, task) == 1
        if again:
            assert shown["error"]["code"] == "approval.used"
        else:
            await bob.approve(task)
            await ground.completed(task)
            assert published(ground, task) == 2, "twice, for it was approved twice"
    used = [one["approvals"][0]["id"] for one in ground.records(task) if one["outcome"] == "ok"]
    assert len(used) == len(set(used))
    invariants.audited(ground, task)
    await invariants.nothing_left(ground)


def published(ground: Ground, task: str) -> int:
    return [one["outcome"] for one in ground.records(task)].count("ok")
