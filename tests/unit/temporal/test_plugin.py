"""The plain life of a step, and every way round it."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import (
    ActivityFailureError,
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowFailureError,
)
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from remit.delegation import Reference
from remit.errors import Denied, InvalidDocument, Usage
from remit.temporal import RemitPlugin, delegated
from tests.unit.temporal import tools
from tests.unit.temporal.authority import Keeper
from tests.unit.temporal.conftest import Bench, bench
from tests.unit.temporal.flows import FLOWS, Calls
from tests.unit.temporal.tools import RAN

READ = ["data.read", {"dataset": "flights", "n": 1}]


def code_of(error: WorkflowFailureError) -> str | None:
    cause: BaseException | None = error.cause
    while isinstance(cause, ActivityError):
        cause = cause.__cause__
    assert isinstance(cause, ApplicationError)
    assert cause.non_retryable
    return cause.type


async def test_a_step_runs_under_its_delegation(here: Bench) -> None:
    handle, reference = await here.start("Calls", [READ, READ])
    assert await handle.result() == [{"n": 1}, {"n": 1}]
    first, second = here.keeper.authorized
    assert (first.step, second.step, first.attempt) == (1, 2, 1)
    assert first.reference == reference
    assert first.task == handle.id
    assert first.run == first.first_run == handle.first_execution_run_id
    assert (first.call.action, first.call.resource, dict(first.call.input)) == (
        "dataset:query", "flights", {"dataset": "flights", "n": 1},
    )  # fmt: skip
    assert [outcome for _, outcome, _ in here.keeper.released] == ["ok", "ok"]
    assert len(RAN) == 2


async def test_what_people_see(here: Bench) -> None:
    handle, reference = await here.start("Calls", [READ])
    await handle.result()
    view = await here.view(handle)
    assert view["state"] == "completed"
    assert (view["task"], view["delegation"]) == (handle.id, reference.delegation)
    assert view["root"].endswith("user/alice")
    assert view["agent"].endswith("agent/flight-analyst")
    assert [(link["delegation"], link["status"]) for link in view["chain"]] == [(reference.delegation, "live")]
    (step,) = view["steps"]
    assert step == {
        "n": 1, "tool": "data.read", "action": "dataset:query", "resource": "flights", "state": "done", "attempts": [],
    }  # fmt: skip
    assert view["result"] == [{"n": 1}]
    assert view["waiting"] is view["error"] is None
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert "**completed**" in metadata.current_details
    assert "| data.read | flights | done |" in metadata.current_details
    events = [event async for event in handle.fetch_history_events()]
    (scheduled,) = [e for e in events if e.HasField("activity_task_scheduled_event_attributes")]
    assert json.loads(scheduled.user_metadata.summary.data) == "data.read flights · as alice → flight-analyst"
    described = await handle.describe()
    found = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert found["RemitState"] == "completed"
    assert found["RemitDelegations"] == [reference.delegation]
    assert found["RemitRoot"].endswith("user/alice")
    assert found["RemitAgent"].endswith("agent/flight-analyst")


async def test_a_denial_ends_the_step_for_good(here: Bench) -> None:
    here.keeper.scripts["data.read"] = "deny"
    handle, _ = await here.start("Calls", [READ])
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert code_of(failed.value) == "policy.denied"
    assert len(here.keeper.authorized) == 1
    assert not RAN
    view = await here.view(handle)
    assert view["state"] == "failed"
    assert view["error"]["code"] == "policy.denied"
    assert (view["steps"][0]["state"], view["steps"][0]["policies"]) == ("refused", ["guard-1"])


async def test_a_malformed_input_is_refused_once(here: Bench) -> None:
    handle, _ = await here.start("Calls", [["data.read", {"dataset": "flights", "n": "many"}]])
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert code_of(failed.value) == "tool.input"
    assert not RAN
    assert not here.keeper.granted


async def test_another_execution_cannot_use_a_reference(here: Bench) -> None:
    reference = here.keeper.hand("somebody-else")
    handle, _ = await here.start("Calls", [READ], reference=reference)
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert code_of(failed.value) == "delegation.other-task"
    assert not RAN


async def test_an_activity_without_authority_needs_none(here: Bench) -> None:
    handle, _ = await here.start("Calls", [["model.call", {"say": "hi"}], READ])
    assert await handle.result() == ["hello", {"n": 1}]
    assert [attempt.step for attempt in here.keeper.authorized] == [1]


async def test_starting_without_a_delegation_is_refused(here: Bench) -> None:
    with pytest.raises(Denied, match="without a delegation") as refused:
        await here.client.start_workflow("Calls", [READ], id="x", task_queue=here.queue)
    assert refused.value.code == "delegation.missing"


async def test_starting_with_something_else_is_refused(here: Bench) -> None:
    with pytest.raises(InvalidDocument), delegated(Reference("not-a-uuid", "x")):
        await here.client.start_workflow("Calls", [READ], id="x", task_queue=here.queue)


async def test_schedules_and_standalone_activities_are_refused(here: Bench) -> None:
    action = ScheduleActionStartWorkflow("Calls", [READ], id="x", task_queue=here.queue)
    with pytest.raises(Denied, match="a schedule"):
        await here.client.create_schedule("s", Schedule(action=action, spec=ScheduleSpec()))
    with pytest.raises(Denied, match="standalone"):
        await here.client.start_activity(
            "data.read", READ[1], id="x", task_queue=here.queue, start_to_close_timeout=timedelta(seconds=5)
        )


async def test_a_start_that_goes_round_the_plugin_opens_nothing(here: Bench, server: WorkflowEnvironment) -> None:
    for flow in ("CallsOnce", "Local"):
        with pytest.raises(WorkflowFailureError) as failed:
            await server.client.execute_workflow(flow, [READ], id=f"plain-{uuid.uuid4()}", task_queue=here.queue)
        assert code_of(failed.value) == "delegation.missing"
    assert not RAN
    assert not here.keeper.authorized


async def test_a_standalone_activity_carries_nothing(here: Bench, server: WorkflowEnvironment) -> None:
    handle = await server.client.start_activity(
        "data.read",
        READ[1],
        id=f"alone-{uuid.uuid4()}",
        task_queue=here.queue,
        start_to_close_timeout=timedelta(seconds=5),
    )
    with pytest.raises(ActivityFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "delegation.missing"
    assert not RAN


async def test_an_ungoverned_workflow_is_left_alone(here: Bench, server: WorkflowEnvironment) -> None:
    handle = await server.client.start_workflow(
        "Calls", [["model.call", {}]], id=f"plain-{uuid.uuid4()}", task_queue=here.queue
    )
    await handle.signal("remit.notice")
    await handle.signal("remit.decide", "nonsense")
    assert await handle.result() == ["hello"]
    assert (await here.view(handle))["state"] == "ungoverned"


async def test_local_activities_are_governed(here: Bench) -> None:
    handle, _ = await here.start("Local", [READ])
    assert await handle.result() == [{"n": 1}]
    here.keeper.scripts["data.read"] = "deny"
    handle, _ = await here.start("Local", [READ])
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert code_of(failed.value) == "policy.denied"
    assert len(RAN) == 1


@pytest.mark.parametrize(("flow", "code"), [("Reserved", "activity.reserved"), ("Nexus", "nexus.ungoverned")])
async def test_ways_round_are_refused(here: Bench, flow: str, code: str) -> None:
    handle, _ = await here.start(flow, [])
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert code_of(failed.value) == code


async def test_continue_as_new_keeps_chain_and_count(here: Bench) -> None:
    handle, reference = await here.start("Renewing", [READ, READ, READ])
    assert await handle.result() == 3
    assert [attempt.step for attempt in here.keeper.authorized] == [1, 2, 3]
    assert {attempt.reference for attempt in here.keeper.authorized} == {reference}
    assert {attempt.first_run for attempt in here.keeper.authorized} == {handle.first_execution_run_id}
    assert len({attempt.run for attempt in here.keeper.authorized}) == 3


@activity.defn(name="loose")
async def loose(argument: dict[str, Any]) -> None:
    RAN.append(("loose", argument))


@activity.defn(name="remit.status")
async def impostor(a: str, b: str) -> None:
    RAN.append(("impostor", a))


@pytest.mark.parametrize(("one", "code"), [(loose, "activity.undeclared"), (impostor, "activity.reserved")])
async def test_a_worker_with_such_an_activity_does_not_start(
    server: WorkflowEnvironment, keeper: Keeper, one: Any, code: str
) -> None:
    with pytest.raises(Usage) as refused:
        async with bench(server, keeper, activities=[one]):
            pass
    assert refused.value.code == code


def test_an_incomplete_declaration_is_refused_before_anything_runs() -> None:
    class Old:
        name, credential, cost = "data.read", None, 1

        def call(self, arguments: Any) -> Any: ...

    with pytest.raises(Usage) as caught:
        RemitPlugin(tools=[Old()])  # type: ignore[list-item]
    assert (caught.value.code, "use" in str(caught.value)) == ("tool.declaration", True)


async def test_a_worker_without_authority_does_not_start(server: WorkflowEnvironment) -> None:
    client = await Client.connect(server.client.service_client.config.target_host, plugins=[RemitPlugin()])
    with pytest.raises(Usage) as refused:
        await Worker(client, task_queue="x", workflows=[Calls]).run()
    assert refused.value.code == "plugin.no-authority"


async def test_a_tool_refuses_to_run_where_nobody_governs_it(server: WorkflowEnvironment) -> None:
    RAN.clear()
    async with Worker(
        server.client,
        task_queue="bare",
        workflows=FLOWS,
        activities=[tools.read],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        with pytest.raises(WorkflowFailureError) as failed:
            await server.client.execute_workflow("Calls", [READ], id=f"bare-{uuid.uuid4()}", task_queue="bare")
    assert code_of(failed.value) == "activity.ungoverned"
    assert not RAN


async def test_the_plugin_on_client_and_worker_does_its_work_once(server: WorkflowEnvironment, keeper: Keeper) -> None:
    plugin = RemitPlugin(authority=keeper, presenter=keeper, ungoverned=["model.*"])
    client = await Client.connect(server.client.service_client.config.target_host, plugins=[RemitPlugin()])
    with pytest.warns(UserWarning, match="present from both client and worker"):
        worker = Worker(
            client, task_queue="twice", workflows=FLOWS, activities=[tools.read, tools.model], plugins=[plugin]
        )
    async with worker:
        handle, _ = await Bench(client, keeper, "twice").start("Calls", [READ])
        assert await handle.result() == [{"n": 1}]
    assert len(keeper.authorized) == len(keeper.released) == 1
