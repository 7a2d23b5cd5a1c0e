"""Scheduling: the reaper as a Temporal Schedule, kept as the settings say by every worker that starts.

- One schedule for the namespace; runs never overlap, and runs missed in an outage are not made up for. A run no worker
  takes up ends by itself, or no other would ever begin.
- A pause is an operator's decision and stays; a worker does not trigger a paused schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio.client import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowExecutionStatus,
)
from temporalio.service import RPCError, RPCStatusCode

from remit.errors import Held
from remit.reaping import SCHEDULE, WORKFLOW
from remit.reaping.report import summary, well

if TYPE_CHECKING:
    from temporalio.client import Client

_SUMMARY = "reconciles registry, OpenBao leases and database users"
_CATCH_UP = timedelta(seconds=10)
_LONGEST = timedelta(minutes=5)
RPC = timedelta(seconds=10)


async def keep(client: Client, *, task_queue: str, seconds: float) -> None:
    """Make the schedule, or make it as wanted, and run the reaper now.

    Args:
        client: Of a worker: its plugin must list `WORKFLOW` as ungoverned.
        seconds: Between runs.

    Raises:
        Held: ``temporal.schedule``: Temporal did not take it.
    """
    try:
        try:
            await client.create_schedule(SCHEDULE, _schedule(task_queue, seconds), trigger_immediately=True)
        except ScheduleAlreadyRunningError:
            await _renew(client, task_queue, seconds)
    except RPCError as error:
        raise Held(
            f"Temporal does not take the reaper's schedule: {' '.join(error.message.split())[:200]}",
            code="temporal.schedule",
            next_action="Let workers create, update and trigger schedules in their namespace.",
        ) from None


@dataclass(frozen=True, slots=True)
class LatestRun:
    """What doctor says of the reaper.

    Args:
        paused: Whether its schedule is.
        id: Workflow id of the latest run that ended; empty when none has.
        ended: When, Unix seconds.
        said: Its report in one line.
        well: Whether nothing was left pending, unreachable or not set up.
    """

    paused: bool
    id: str = ""
    ended: float | None = None
    said: str = ""
    well: bool = True


async def latest(client: Client) -> LatestRun:
    """Return the latest run that has ended.

    Raises:
        temporalio.service.RPCError: There is no schedule, or Temporal does not answer.
    """
    described = await client.get_schedule_handle(SCHEDULE).describe(rpc_timeout=RPC)
    paused = described.schedule.state.paused
    for taken in reversed(described.info.recent_actions):
        started = taken.action
        if not isinstance(started, ScheduleActionExecutionStartWorkflow):
            continue
        handle = client.get_workflow_handle(started.workflow_id, run_id=started.first_execution_run_id)
        try:
            run = await handle.describe(rpc_timeout=RPC)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:  # retention is over
                continue
            raise
        if run.status is WorkflowExecutionStatus.RUNNING or run.close_time is None:
            continue
        ended = run.close_time.timestamp()
        if run.status is not WorkflowExecutionStatus.COMPLETED:
            return LatestRun(paused, run.id, ended, ((run.status and run.status.name) or "").lower(), well=False)
        report: dict[str, Any] = await handle.result(rpc_timeout=RPC)
        return LatestRun(paused, run.id, ended, summary(report), well=well(report))
    return LatestRun(paused)


async def _renew(client: Client, task_queue: str, seconds: float) -> None:
    handle = client.get_schedule_handle(SCHEDULE)
    present = (await handle.describe(rpc_timeout=RPC)).schedule
    if _facts(present) != _facts(wanted := _schedule(task_queue, seconds)):

        def update(input: ScheduleUpdateInput) -> ScheduleUpdate:
            wanted.state = input.description.schedule.state
            return ScheduleUpdate(wanted)

        await handle.update(update, rpc_timeout=RPC)
    if not present.state.paused:
        await handle.trigger(overlap=ScheduleOverlapPolicy.SKIP, rpc_timeout=RPC)


def _schedule(task_queue: str, seconds: float) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            WORKFLOW, id=SCHEDULE, task_queue=task_queue, execution_timeout=_LONGEST, static_summary=_SUMMARY
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=seconds))]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
    )


def _facts(schedule: Schedule) -> tuple[object, ...]:
    """Return what a schedule's difference is judged by."""
    action = schedule.action
    started: tuple[object, ...] = ()
    if isinstance(action, ScheduleActionStartWorkflow):
        started = (action.workflow, action.task_queue, action.execution_timeout)
    every = tuple(one.every for one in schedule.spec.intervals)
    return (*started, every, schedule.policy.overlap, schedule.policy.catchup_window)
