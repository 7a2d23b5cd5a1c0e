"""Scenarios in which the task is at work when its grant is revoked: it has to stop within the bound.

- A *twin* that goes round and round beside it tells a task that has stopped from one that is slow.
"""

from __future__ import annotations

import asyncio

from remit.conformance.flows import Call
from remit.conformance.governor import Capability
from remit.conformance.scenario import scenario
from remit.conformance.tools import BEATING, THREADED
from remit.conformance.trial import QUIET, Trial, counted, long

CHILDREN, LOCAL = Capability.CHILDREN, Capability.LOCAL_ACTIVITIES
_ROUNDS = 2000
_WIDE = 20
_TIMES = 3


@scenario()
async def mid_tool_that_heartbeats(trial: Trial) -> None:
    """Revoked while an activity runs that heartbeats: it is stopped.

    Observed: its last sign of life; the call after it is not made.
    """
    await _mid_tool(trial, long("long", tool=BEATING))


@scenario()
async def mid_tool_that_is_silent(trial: Trial) -> None:
    """Revoked while an activity runs that never heartbeats: it is stopped.

    Observed: as above. Temporal alone tells such an activity nothing.
    """
    await _mid_tool(trial, long("long"))


@scenario()
async def mid_tool_on_a_thread(trial: Trial) -> None:
    """Revoked while an activity blocks a thread and never heartbeats: it is stopped.

    Observed: as above.
    """
    await _mid_tool(trial, long("long", tool=THREADED))


@scenario(LOCAL)
async def mid_local_activity(trial: Trial) -> None:
    """Revoked while a local activity runs: it is stopped.

    Observed: its last sign of life; the call after it is not made.
    """
    await _mid_tool(trial, long("long", way="local"))


@scenario(CHILDREN)
async def running_child(trial: Trial) -> None:
    """Revoked while a child's activity runs under the parent's grant: it is stopped.

    Observed: the last sign of life of the child's activity, which never heartbeats.
    """
    await _mid_tool(trial, long("child", way="child"))


async def _mid_tool(trial: Trial, call: Call) -> None:
    task = await trial.begin([call, Call("next")])
    await trial.running(task, call.step)
    await trial.revoke(task)
    await trial.stops(task)
    trial.require(not trial.recorder.of(task.id, "next"), "the next call was made")


@scenario()
async def many_at_once(trial: Trial) -> None:
    """Revoked while 20 activities of a task run: all are stopped.

    Observed: the last sign of life of the last one.
    """
    task = await trial.begin([long(f"long-{number}") for number in range(_WIDE)], flow="parallel")
    for number in range(_WIDE):
        await trial.running(task, f"long-{number}")
    await trial.revoke(task)
    await trial.stops(task)


@scenario()
async def stubborn_workflow(trial: Trial) -> None:
    """A workflow that takes no failure for an answer makes no call after the revocation.

    Observed: it catches what its calls raise and makes the next one, for as long as it is let. A twin goes on.
    """
    await _mid_loop(trial, "stubborn", "round-2")


@scenario(CHILDREN)
async def during_child_start(trial: Trial) -> None:
    """Revoked while its workflow starts one child after the other: it ends.

    Observed: the last sign of life in any child, wherever between parent and child the revocation came. A twin goes on.
    """
    await _mid_loop(trial, "spawning", "child-2")


@scenario()
async def during_continue_as_new(trial: Trial) -> None:
    """Revoked while its workflow continues as new again and again: it ends.

    Observed: the last sign of life in any run, wherever between two runs the revocation came. A twin goes on.
    """
    await _mid_loop(trial, "renewing", f"round-{_ROUNDS - 2}")


async def _mid_loop(trial: Trial, flow: str, step: str) -> None:
    """Revoke while the workflow goes round and round."""
    task, twin = await trial.begin(_ROUNDS, flow=flow), await trial.begin(_ROUNDS, flow=flow)
    await trial.ended(task, step)
    await trial.ended(twin, step)
    await trial.revoke(task)
    await trial.stops(task, twin=twin)


@scenario()
async def siblings(trial: Trial) -> None:
    """A revocation leaves tasks under other grants alone.

    Observed: an activity that runs meanwhile is neither cancelled nor begun again, and the call after it is made. On a
    starved worker Temporal itself may time an attempt out and begin another, so this is played up to three times.
    """
    for _ in range(_TIMES):
        task, other = await trial.begin([long("long")]), await trial.begin([long("long"), Call("next")])
        await trial.running(task, "long")
        await trial.running(other, "long")
        await trial.revoke(task)
        await asyncio.sleep(QUIET)
        trial.recorder.finish(other.id)
        await trial.ended(other, "next")
        made = trial.recorder.of(other.id)
        trial.note(f"the other task made: {counted(made)}")
        if len(made) == 2:
            return
    trial.require(False, f"{_TIMES} times an activity of another task was disturbed after the revocation")


@scenario(Capability.RESUMPTION)
async def resume_after_regrant(trial: Trial) -> None:
    """Given a fresh grant, a stopped task goes on where it stopped.

    Observed: while it is stopped nothing lives; after the fresh grant the interrupted call is made again, the call
    before it is not, and the one after it is made.
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
    trial.require(len(trial.recorder.of(task.id, "one")) == 1, f"what was done was made again: {counted(made)}")
