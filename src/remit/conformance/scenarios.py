"""The scenarios: each says what is promised and what is observed.

- A *twin* does the same work under a grant that is not revoked, and must get it done: a governor that stops everything
  keeps no promise.
- Tasks at rest when their grant is revoked are judged by `Trial.nothing_begins`, those at work by `Trial.stops`.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import cleandoc

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from remit.conformance.flows import Call
from remit.conformance.governor import SENSITIVE, Capability
from remit.conformance.tools import BEATING, SILENT, THREADED
from remit.conformance.trial import QUIET, Task, Trial, counted, long

APPROVALS, RESUMPTION = Capability.APPROVALS, Capability.RESUMPTION
CHILDREN, LOCAL = Capability.CHILDREN, Capability.LOCAL_ACTIVITIES
_ROUNDS = 2000
_WIDE = 20


@dataclass(frozen=True, slots=True)
class Scenario:
    """A promise and how it is put to the test.

    Args:
        id: Stable name. needs: What the governor must have. play: Returns when it held.
    """

    id: str
    needs: frozenset[Capability]
    play: Callable[[Trial], Awaitable[None]]

    @property
    def promise(self) -> str:
        """Return its first line."""
        return cleandoc(self.play.__doc__ or "").splitlines()[0]


SCENARIOS: dict[str, Scenario] = {}
Play = Callable[[Trial], Awaitable[None]]


def _scenario(*needs: Capability) -> Callable[[Play], Play]:
    def add(play: Play) -> Play:
        name = getattr(play, "__name__", "").replace("_", "-")
        SCENARIOS[name] = Scenario(name, frozenset(needs), play)
        return play

    return add


@_scenario()
async def live_grant(trial: Trial) -> None:
    """Under a live grant every kind of call is made.

    Observed: an activity that heartbeats, one that does not, one on a thread, one after continue-as-new, and where the
    governor has them a local activity and a child's, each done once.
    """
    calls = [Call("beating", BEATING, 1), Call("silent", SILENT, 1), Call("threaded", THREADED, 1)]
    calls += [Call("local", way="local")] if LOCAL in trial.governor.capabilities else []
    calls += [Call("child", way="child")] if CHILDREN in trial.governor.capabilities else []
    task = await trial.begin([*calls, Call("renewed", anew=True)])
    await trial.ended(task, "renewed")
    done = [one.step for one in trial.recorder.of(task.id) if one.outcome == "ended"]
    trial.require(sorted(done) == sorted([*(call.step for call in calls), "renewed"]), f"done were: {done}")


@_scenario()
async def before_start(trial: Trial) -> None:
    """Revoked before its workflow starts, a grant starts nothing.

    Observed: no activity begins; the start itself may be refused. A twin is done.
    """
    task, twin = await trial.grant(), await trial.begin([Call("one")])
    await trial.revoke(task)
    await trial.attempt("the start", trial.start(task, [Call("one")]))
    await trial.ended(twin, "one")
    await trial.nothing_begins(task)


@_scenario()
async def between_attempts(trial: Trial) -> None:
    """Revoked during the back-off after a failed attempt: there is no next attempt.

    Observed: attempts would follow every 3 s; none begins. A twin fails once and is then done.
    """
    task = await trial.begin([Call("fails", fails=1000)])
    twin = await trial.begin([Call("fails", fails=1)])
    await trial.failed(task, "fails")
    await trial.revoke(task)
    await trial.ended(twin, "fails")
    await trial.nothing_begins(task)


async def _mid_tool(trial: Trial, call: Call) -> None:
    task = await trial.begin([call, Call("next")])
    await trial.running(task, call.step)
    await trial.revoke(task)
    await trial.stops(task)
    trial.require(not trial.recorder.of(task.id, "next"), "the next call was made")


@_scenario()
async def mid_tool_that_heartbeats(trial: Trial) -> None:
    """Revoked while an activity runs that heartbeats: it is stopped.

    Observed: its last sign of life; the call after it is not made.
    """
    await _mid_tool(trial, long("long", tool=BEATING))


@_scenario()
async def mid_tool_that_is_silent(trial: Trial) -> None:
    """Revoked while an activity runs that never heartbeats: it is stopped.

    Observed: as above. Temporal alone tells such an activity nothing.
    """
    await _mid_tool(trial, long("long"))


@_scenario()
async def mid_tool_on_a_thread(trial: Trial) -> None:
    """Revoked while an activity blocks a thread and never heartbeats: it is stopped.

    Observed: as above.
    """
    await _mid_tool(trial, long("long", tool=THREADED))


@_scenario()
async def many_at_once(trial: Trial) -> None:
    """Revoked while 20 activities of a task run: all are stopped.

    Observed: the last sign of life of the last one.
    """
    task = await trial.begin([long(f"long-{number}") for number in range(_WIDE)], flow="parallel")
    for number in range(_WIDE):
        await trial.running(task, f"long-{number}")
    await trial.revoke(task)
    await trial.stops(task)


@_scenario()
async def siblings(trial: Trial) -> None:
    """A revocation leaves tasks under other grants alone.

    Observed: an activity that runs meanwhile is neither cancelled nor begun again, and the call after it is made.
    """
    task, other = await trial.begin([long("long")]), await trial.begin([long("long"), Call("next")])
    await trial.running(task, "long")
    await trial.running(other, "long")
    await trial.revoke(task)
    await trial.nothing_begins(task, seconds=QUIET)
    trial.recorder.finish(other.id)
    await trial.ended(other, "next")
    trial.require(len(found := trial.recorder.of(other.id)) == 2, f"the other task made: {counted(found)}")


@_scenario()
async def stubborn_workflow(trial: Trial) -> None:
    """A workflow that takes no failure for an answer makes no call after the revocation.

    Observed: it catches what its calls raise and makes the next one, for as long as it is let. A twin goes on.
    """
    await _mid_loop(trial, "stubborn", "round-2")


@_scenario(APPROVALS)
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
    await trial.ended(twin, "asks")
    await trial.nothing_begins(task)


@_scenario(APPROVALS)
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
    await trial.ended(twin, "asks")
    for one in tasks:
        await trial.nothing_begins(one)


@_scenario(CHILDREN)
async def before_child_start(trial: Trial) -> None:
    """Revoked before its workflow starts a child: the child does nothing.

    Observed: no activity of the child begins. A twin's child is done.
    """
    await _at_rest(trial, Call("child", way="child", held=True))


@_scenario(CHILDREN)
async def during_child_start(trial: Trial) -> None:
    """Revoked while its workflow starts one child after the other: it ends.

    Observed: the last sign of life in any child, wherever between parent and child the revocation came. A twin goes on.
    """
    await _mid_loop(trial, "spawning", "child-2")


@_scenario(CHILDREN)
async def running_child(trial: Trial) -> None:
    """Revoked while a child's activity runs under the parent's grant: it is stopped.

    Observed: the last sign of life of the child's activity, which never heartbeats.
    """
    await _mid_tool(trial, long("child", way="child"))


@_scenario()
async def before_continue_as_new(trial: Trial) -> None:
    """Revoked before its workflow continues as new: the new run does nothing.

    Observed: no activity of the new run begins. A twin's is done.
    """
    await _at_rest(trial, Call("renewed", anew=True, held=True))


@_scenario()
async def during_continue_as_new(trial: Trial) -> None:
    """Revoked while its workflow continues as new again and again: it ends.

    Observed: the last sign of life in any run, wherever between two runs the revocation came. A twin goes on.
    """
    await _mid_loop(trial, "renewing", f"round-{_ROUNDS - 2}")


@_scenario(LOCAL)
async def local_activity(trial: Trial) -> None:
    """Revoked before its workflow runs a local activity: it does not begin.

    Observed: the activity. A twin's is done.
    """
    await _at_rest(trial, Call("local", way="local", held=True))


@_scenario(LOCAL)
async def mid_local_activity(trial: Trial) -> None:
    """Revoked while a local activity runs: it is stopped.

    Observed: its last sign of life; the call after it is not made.
    """
    await _mid_tool(trial, long("long", way="local"))


async def _mid_loop(trial: Trial, flow: str, step: str) -> None:
    """Revoke while the workflow goes round and round."""
    task, twin = await trial.begin(_ROUNDS, flow=flow), await trial.begin(_ROUNDS, flow=flow)
    await trial.ended(task, step)
    await trial.ended(twin, step)
    await trial.revoke(task)
    await trial.stops(task, twin=twin)


async def _at_rest(trial: Trial, call: Call) -> None:
    """Revoke while the workflow waits, then let it go on."""
    task, twin = await trial.begin([Call("one"), call]), await trial.begin([Call("one"), call])
    await trial.ended(task, "one")
    await trial.ended(twin, "one")
    await trial.revoke(task)
    await trial.go(task)
    await trial.go(twin)
    await trial.ended(twin, call.step)
    await trial.nothing_begins(task)


@_scenario()
async def after_reset(trial: Trial) -> None:
    """A workflow reset to before the revocation gets no authority back.

    Observed: reset to its last workflow task before the revocation, the call that then ran does not begin again.
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
    await trial.nothing_begins(task)


async def _last_workflow_task(trial: Trial, task: Task) -> int:
    events = [event async for event in trial.handle(task).fetch_history_events()]
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return max(event.event_id for event in events if event.event_type == completed)


@_scenario()
async def started_again_under_its_id(trial: Trial) -> None:
    """A workflow that is terminated and started again under its id has nothing of its revoked grant.

    Observed: no activity begins in the second execution; its start may be refused.
    """
    task = await trial.begin([Call("one"), long("two")])
    await trial.running(task, "two")
    await trial.revoke(task)
    await trial.attempt("the termination", trial.handle(task).terminate("a conformance scenario"))
    await trial.attempt("the second start", trial.start(task, [Call("one")]))
    await trial.nothing_begins(task)


@_scenario()
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
        await trial.ended(twin, "two")
        await trial.nothing_begins(task)
        await trial.end()


@_scenario(RESUMPTION)
async def resume_after_regrant(trial: Trial) -> None:
    """Given a fresh grant, a stopped task goes on where it stopped.

    Observed: while it is stopped nothing lives; after the fresh grant the interrupted call is made again, the call
    before it is not, and the one after it is made once.
    """
    task = await trial.begin([Call("one"), long("two"), Call("three")], waits=True)
    await trial.running(task, "two")
    await trial.revoke(task)
    await trial.stops(task)
    before = len(trial.recorder.of(task.id, "two"))
    await trial.governor.regrant(task.id)
    await trial.running(task, "two", times=before + 1)
    trial.recorder.finish(task.id)
    await trial.ended(task, "three")
    made = trial.recorder.of(task.id)
    trial.note(f"made: {counted(made)}")
    again = {step: len([one for one in made if one.step == step]) for step in ("one", "two", "three")}
    trial.require(again == {"one": 1, "two": before + 1, "three": 1}, f"it made: {counted(made)}")
