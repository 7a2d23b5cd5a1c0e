"""Scenarios in which no activity of the task runs when its grant is revoked: none may begin afterwards.

- A *twin* does the same work under a grant that is not revoked, and must get it done: a governor that stops everything
  keeps no promise, and on a slow machine the twin tells when the task would have gone on.
"""

from __future__ import annotations

import uuid

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from remit.conformance.flows import BACK_OFF, Call
from remit.conformance.governor import SENSITIVE, Capability
from remit.conformance.scenario import scenario
from remit.conformance.trial import QUIET, Task, Trial, long

APPROVALS, RESUMPTION = Capability.APPROVALS, Capability.RESUMPTION
CHILDREN, LOCAL = Capability.CHILDREN, Capability.LOCAL_ACTIVITIES


@scenario()
async def before_start(trial: Trial) -> None:
    """Revoked before its workflow starts, a grant starts nothing.

    Observed: no activity begins; the start itself may be refused. A twin started after it is done.
    """
    task = await trial.grant()
    await trial.revoke(task)
    await trial.attempt("the start", trial.start(task, [Call("one")]))
    await trial.nothing_begins(task, until=trial.ended(await trial.begin([Call("one")]), "one"))


@scenario()
async def between_attempts(trial: Trial) -> None:
    """Revoked during the back-off after a failed attempt: there is no next attempt.

    Observed: attempts would follow every 6 s; none begins. A twin fails once and is then done.
    """
    task = await trial.begin([Call("fails", fails=1000)])
    twin = await trial.begin([Call("fails", fails=1)])
    await trial.failed(task, "fails")
    await trial.revoke(task)
    await trial.nothing_begins(task, until=trial.ended(twin, "fails"), seconds=BACK_OFF.total_seconds() + QUIET / 2)


@scenario(APPROVALS)
async def waiting_for_approval(trial: Trial) -> None:
    """Revoked while a step waits for a person: it does not run.

    Observed: `conformance.sensitive` does not begin. A twin waits, is approved and is done.
    """
    task = await trial.begin([Call("asks", SENSITIVE)])
    twin = await trial.begin([Call("asks", SENSITIVE)])
    await trial.waiting(task)
    await trial.waiting(twin)
    trial.require(not trial.recorder.of(twin.id), "it ran without an approval")
    await trial.revoke(task)
    await trial.governor.approve(twin.id)
    await trial.nothing_begins(task, until=trial.ended(twin, "asks"))


@scenario(APPROVALS)
async def approve_after_revoke(trial: Trial) -> None:
    """An approval that comes after the revocation runs nothing.

    Observed: `conformance.sensitive` does not begin, neither in a task that ends when it is revoked nor, where the
    governor has them, in one that waits to be resumed. The approval may be refused. A twin is approved and done.
    """
    tasks = [await trial.begin([Call("asks", SENSITIVE)])]
    if RESUMPTION in trial.governor.capabilities:
        tasks.append(await trial.begin([Call("asks", SENSITIVE)], waits=True))
    twin = await trial.begin([Call("asks", SENSITIVE)])
    for one in (*tasks, twin):
        await trial.waiting(one)
    for one in tasks:
        await trial.revoke(one)
    for one in tasks:
        await trial.attempt("the approval", trial.governor.approve(one.id))
    await trial.governor.approve(twin.id)
    await trial.nothing_begins(*tasks, until=trial.ended(twin, "asks"))


@scenario(CHILDREN)
async def before_child_start(trial: Trial) -> None:
    """Revoked before its workflow starts a child: the child does nothing.

    Observed: no activity of the child begins. A twin's child is done.
    """
    await _at_rest(trial, Call("child", way="child", held=True))


@scenario()
async def before_continue_as_new(trial: Trial) -> None:
    """Revoked before its workflow continues as new: the new run does nothing.

    Observed: no activity of the new run begins. A twin's is done.
    """
    await _at_rest(trial, Call("renewed", anew=True, held=True))


@scenario(LOCAL)
async def local_activity(trial: Trial) -> None:
    """Revoked before its workflow runs a local activity: it does not begin.

    Observed: the activity. A twin's is done.
    """
    await _at_rest(trial, Call("local", way="local", held=True))


async def _at_rest(trial: Trial, call: Call) -> None:
    """Revoke while the workflow waits, then let it go on."""
    task, twin = await trial.begin([Call("one"), call]), await trial.begin([Call("one"), call])
    await trial.ended(task, "one")
    await trial.ended(twin, "one")
    await trial.revoke(task)
    await trial.go(task)
    await trial.go(twin)
    await trial.nothing_begins(task, until=trial.ended(twin, call.step))


@scenario()
async def after_reset(trial: Trial) -> None:
    """A workflow reset to before the revocation gets no authority back.

    Observed: reset to its last workflow task before the revocation, the call that then ran does not begin again. A twin
    started after it is done.
    """
    task = await trial.begin([Call("one"), long("two")])
    await trial.running(task, "two")
    point = await _last_workflow_task(trial, task)
    await trial.revoke(task)
    described = await trial.handle(task).describe()
    await trial.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=trial.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=task.id, run_id=described.run_id),
            reason="a conformance scenario",
            request_id=str(uuid.uuid4()),
            workflow_task_finish_event_id=point,
        )
    )
    await trial.nothing_begins(task, until=trial.ended(await trial.begin([Call("one")]), "one"))


async def _last_workflow_task(trial: Trial, task: Task) -> int:
    events = [event async for event in trial.handle(task).fetch_history_events()]
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return max(event.event_id for event in events if event.event_type == completed)


@scenario()
async def started_again_under_its_id(trial: Trial) -> None:
    """A workflow that is terminated and started again under its id has nothing of its revoked grant.

    Observed: no activity begins in the second execution; its start may be refused. A twin started after it is
    done.
    """
    task = await trial.begin([Call("one"), long("two")])
    await trial.running(task, "two")
    await trial.revoke(task)
    await trial.attempt("the termination", trial.handle(task).terminate("a conformance scenario"))
    await trial.attempt("the second start", trial.start(task, [Call("one")]))
    await trial.nothing_begins(task, until=trial.ended(await trial.begin([Call("one")]), "one"))


@scenario()
async def no_worker_runs(trial: Trial) -> None:
    """Revoked while no worker runs: when one comes back, nothing is done.

    Observed: the task is between two calls when its worker ends; after the revocation a worker starts. Nothing begins.
    A twin goes on with its second call.
    """
    queue = f"{trial.queue}-alone"
    calls = [Call("one"), Call("two", held=True)]
    async with trial.worker(queue):
        task, twin = await trial.begin(calls, queue=queue), await trial.begin(calls, queue=queue)
        await trial.ended(task, "one")
        await trial.ended(twin, "one")
    await trial.revoke(task)
    await trial.go(task)
    await trial.go(twin)
    async with trial.worker(queue):
        await trial.nothing_begins(task, until=trial.ended(twin, "two"))
        await trial.end()
