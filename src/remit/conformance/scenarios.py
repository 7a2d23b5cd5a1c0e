"""The scenarios, in the order they are reported."""

from __future__ import annotations

from remit.conformance import at_rest, at_work
from remit.conformance.flows import Call
from remit.conformance.governor import Capability
from remit.conformance.scenario import Scenario, scenario
from remit.conformance.tools import BEATING, SILENT, THREADED
from remit.conformance.trial import Trial


@scenario()
async def live_grant(trial: Trial) -> None:
    """Under a live grant every kind of call is made.

    Observed: an activity that heartbeats, one that does not, one on a thread, one after continue-as-new, and where the
    governor has them a local activity and a child's: each is done.
    """
    calls = [Call("beating", BEATING, 1), Call("silent", SILENT, 1), Call("threaded", THREADED, 1)]
    calls += [Call("local", way="local")] if Capability.LOCAL_ACTIVITIES in trial.governor.capabilities else []
    calls += [Call("child", way="child")] if Capability.CHILDREN in trial.governor.capabilities else []
    task = await trial.begin([*calls, Call("renewed", anew=True)])
    await trial.ended(task, "renewed")
    done = {one.step for one in trial.recorder.of(task.id) if one.outcome == "ended"}
    trial.require(done == {*(call.step for call in calls), "renewed"}, f"done were: {', '.join(sorted(done))}")


SCENARIOS: dict[str, Scenario] = {
    one.id: one
    for one in (
        live_grant,
        at_rest.before_start,
        at_rest.between_attempts,
        at_work.mid_tool_that_heartbeats,
        at_work.mid_tool_that_is_silent,
        at_work.mid_tool_on_a_thread,
        at_work.many_at_once,
        at_work.siblings,
        at_work.stubborn_workflow,
        at_rest.waiting_for_approval,
        at_rest.approve_after_revoke,
        at_rest.before_child_start,
        at_work.during_child_start,
        at_work.running_child,
        at_rest.before_continue_as_new,
        at_work.during_continue_as_new,
        at_rest.local_activity,
        at_work.mid_local_activity,
        at_rest.after_reset,
        at_rest.started_again_under_its_id,
        at_rest.no_worker_runs,
        at_work.resume_after_regrant,
    )
}
