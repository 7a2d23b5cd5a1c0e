"""Attacks 30 and 31: the ways round a governing plugin, each tried on the real servers."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, NoReturn

import psycopg
import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.api.nexus.v1 import EndpointSpec, EndpointTarget
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import (
    ActivityFailureError,
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    ScheduleUpdate,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from temporalio.plugin import SimplePlugin
from temporalio.service import RPCError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    Interceptor,
    SharedStateManager,
    StartActivityInput,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerConfig,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from remit import audit
from remit.assembly import Parts, assemble, temporal_client
from remit.embedded import Stack
from remit.errors import Denied, Usage
from remit.settings import Settings
from remit.statements import Event
from remit.temporal import RemitPlugin, delegated
from tests.attacks.errands import ERRANDS, HELD, RAN, TOKENS, Serving, block, hold, think, touch
from tests.attacks.ways import WAYS
from tests.unit.temporal.flows import FLOWS

from ..integration.acting import Task, delegate, minted_users, state
from .effects import effects

# Temporal tells a worker to cancel what it just finished; the SDK warns, and warnings are errors here.
pytestmark = [pytest.mark.servers, pytest.mark.filterwarnings("ignore:Cannot find activity to cancel")]

TOUCH = ["touch", {"dataset": "flights"}]
HOLD = ["hold", {"dataset": "flights", "n": 30}]
BRIEF = ["hold", {"dataset": "flights", "n": 0}]
QUEUE = "ways"
UNGOVERNED = ["model.*"]
Headers = Mapping[str, Payload]


@pytest.fixture(scope="module")
async def ways(settings: Settings) -> AsyncIterator[Client]:
    """A client whose worker is governed."""
    async with governing(settings) as client:
        yield client


@pytest.fixture
async def stranger(settings: Settings) -> Client:
    """Somebody with access to the namespace, and nothing of ours."""
    return await plainly(settings)


@pytest.fixture(autouse=True)
def afresh() -> None:
    RAN.clear()
    HELD.clear()
    TOKENS.clear()


async def plainly(settings: Settings, **options: Any) -> Client:
    found = ClientConfig.load_client_connect_config(config_file=str(settings.temporal_config))
    return await Client.connect(**{**found, **options})  # type: ignore[arg-type]


@asynccontextmanager
async def governing(
    settings: Settings,
    *,
    queue: str = QUEUE,
    before: tuple[Any, ...] = (),
    after: tuple[Any, ...] = (),
    ungoverned: list[str] = UNGOVERNED,
    **options: Any,
) -> AsyncIterator[Client]:
    """Run a governed worker, with interceptors that others added before or after ours."""
    async with assemble(settings) as parts:
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, ungoverned=ungoverned, watch=0.3)
        client = await temporal_client(settings, vault=parts.vault, plugins=[plugin], interceptors=list(before))
        with ThreadPoolExecutor(4) as threads:
            given = {
                "workflows": [*FLOWS, *WAYS],
                "activities": ERRANDS,
                "activity_executor": threads,
                "interceptors": list(after),
                **options,
            }
            async with Worker(client, task_queue=queue, **given):
                yield client


async def start(client: Client, task: Task, flow: str, argument: Any, **options: Any) -> WorkflowHandle[Any, Any]:
    with delegated(task.reference):
        return await client.start_workflow(flow, argument, **{"id": task.id, "task_queue": QUEUE, **options})


async def code_of(handle: WorkflowHandle[Any, Any]) -> str | None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause: BaseException | None = failed.value.cause
    while isinstance(cause, ActivityError | ChildWorkflowError):
        cause = cause.__cause__
    assert isinstance(cause, ApplicationError), repr(cause)
    return cause.type


async def eventually(ask: Callable[[], Any], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        found = ask()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def dead(dsn: str) -> bool:
    """Tell whether a credential opens nothing any more."""
    try:
        psycopg.connect(dsn, connect_timeout=10).close()
    except psycopg.OperationalError:
        return True
    return False


def outcomes(settings: Settings, task: Task) -> list[str]:
    return [one["outcome"] for one in audit.read(settings.audit_folder, task=task.id) if one["event"] == "attempt"]


async def copied(client: Client, task: str) -> dict[str, Payload]:
    """Return the headers of an activity, as anybody with access to the namespace reads them in a history."""
    async for event in client.get_workflow_handle(task).fetch_history_events():
        if event.HasField("activity_task_scheduled_event_attributes"):
            return dict(event.activity_task_scheduled_event_attributes.header.fields)
    raise AssertionError("no activity")


class Sending(Interceptor, ClientInterceptor):
    """Puts headers on what a stranger's workflows start, and sends it to a governed queue."""

    def __init__(self, headers: Headers, *, queue: str = "") -> None:
        self._headers, self._queue = dict(headers), queue

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        headers, queue = self._headers, self._queue

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> Any:
                sent = replace(input, headers={**input.headers, **headers}, task_queue=queue or input.task_queue)
                return self.next.start_activity(sent)

            def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
                self.next.continue_as_new(replace(input, headers={**input.headers, **headers}))

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        return Inbound


@asynccontextmanager
async def worker_of(stranger: Client, queue: str, headers: Headers) -> AsyncIterator[None]:
    """Run a stranger's worker: no plugin, and whatever headers it likes on its activities."""
    async with Worker(
        stranger,
        task_queue=queue,
        workflows=FLOWS,
        interceptors=[Sending(headers, queue=QUEUE)],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield


# Children.


@pytest.mark.parametrize("policy", ["TERMINATE", "ABANDON", "REQUEST_CANCEL"])
async def test_30_a_child_is_stopped_with_its_chain_whatever_its_parent_close_policy(
    ways: Client, settings: Settings, stack: Stack, policy: str
) -> None:
    task = await delegate(settings)
    wanted = {"type": "Calls", "calls": [HOLD], "policy": policy, "wait": policy != "ABANDON"}
    parent = await start(ways, task, "Bearing", wanted)
    child = ways.get_workflow_handle(f"{task.id}-child")
    if policy == "ABANDON":
        await parent.result()
    await eventually(lambda: HELD)
    await state(settings, task, Event.REVOKED)
    await child.signal("remit.notice")
    assert await code_of(child) == "chain.revoked"
    await eventually(lambda: dead(HELD[0]))
    assert (RAN, minted_users(stack, task)) == (["hold"], [])


async def test_30_a_child_of_an_ungoverned_type_has_no_authority(
    ways: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    wanted = {"type": "model.loop", "calls": [BRIEF], "policy": "TERMINATE", "wait": True}
    async with effects(stack, settings, parts) as seen:
        assert await code_of(await start(ways, task, "Bearing", wanted)) == "delegation.missing"
    seen.refused("delegation.missing")
    assert RAN == []


async def test_30_a_childs_id_is_no_authority_for_who_starts_it_again(
    ways: Client, stranger: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    wanted = {"type": "Calls", "calls": [TOUCH], "policy": "TERMINATE", "wait": True}
    await (await start(ways, task, "Bearing", wanted)).result()
    child = f"{task.id}-child"
    for headers in ({}, await copied(stranger, child)):
        async with (
            worker_of(stranger, "elsewhere", headers),
            effects(stack, settings, parts) as seen,
        ):
            again = await stranger.start_workflow("CallsOnce", [BRIEF], id=child, task_queue="elsewhere")
            code = await code_of(ways.get_workflow_handle(child, run_id=again.result_run_id))
        assert code == ("delegation.other-task" if headers else "delegation.missing")
        seen.refused(code)
    assert RAN == ["touch"]


# Other kinds of work.


@pytest.mark.parametrize(("flow", "code"), [("Reserved", "activity.reserved"), ("Nexus", "nexus.ungoverned")])
async def test_30_what_is_the_plugins_own_and_what_is_elsewhere_is_refused(
    ways: Client, settings: Settings, stack: Stack, parts: Parts, flow: str, code: str
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        assert await code_of(await start(ways, task, flow, [])) == code
    assert (seen.minted, seen.leases, seen.records) == ([], [], [])


@pytest.mark.parametrize("name", ["remit.delegate", "remit.status"])
async def test_30_the_plugins_own_activities_answer_nobody_else(
    settings: Settings, stranger: Client, stack: Stack, parts: Parts, name: str
) -> None:
    async with governing(settings, queue="open", ungoverned=["*"], activities=[think]) as client:
        task = await delegate(settings)
        arguments = [task.run, [task.reference.delegation, task.reference.digest], "child", {}]
        async with effects(stack, settings, parts) as seen:
            handle = await stranger.start_activity(
                name, args=arguments, id=f"alone-{uuid.uuid4()}", task_queue="open", start_to_close_timeout=SOON
            )
            with pytest.raises(ActivityFailureError) as failed:
                await client.get_activity_handle(handle.id).result()
        assert isinstance(failed.value.cause, ApplicationError)
        assert failed.value.cause.type == "delegation.missing"
        seen.refused("delegation.missing")
        assert seen.others == []


SOON = timedelta(seconds=30)


async def test_30_local_activities_are_decided_too(
    ways: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        handle = await start(ways, task, "Local", [["hold", {"dataset": "payroll"}]])
        assert await code_of(handle) == "policy.denied"
    seen.refused("policy.denied")
    assert RAN == []


async def test_30_a_standalone_activity_is_refused(
    ways: Client, stranger: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    await (await start(ways, task, "Calls", [TOUCH])).result()
    RAN.clear()
    options = {"task_queue": QUEUE, "start_to_close_timeout": SOON}
    async with effects(stack, settings, parts) as seen:
        for ask in (ways.start_activity, ways.execute_activity):
            with pytest.raises(Denied) as refused:
                await ask("hold", BRIEF[1], id=f"alone-{uuid.uuid4()}", **options)  # type: ignore[operator]
            assert refused.value.code == "delegation.missing"
        for id in (f"alone-{uuid.uuid4()}", task.id):
            await stranger.start_activity("hold", BRIEF[1], id=id, **options)  # type: ignore[call-overload]
            with pytest.raises(ActivityFailureError) as failed:
                await ways.get_activity_handle(id).result()
            assert isinstance(failed.value.cause, ApplicationError)
            assert failed.value.cause.type == "delegation.missing"
    seen.refused("delegation.missing", records=2)
    assert RAN == []


async def test_30_a_schedule_starts_nothing_governed(
    ways: Client, stranger: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    await (await start(ways, task, "Calls", [TOUCH])).result()
    RAN.clear()

    def planned(flow: str, headers: Headers | None = None) -> Schedule:
        action = ScheduleActionStartWorkflow(flow, [BRIEF], id=task.id, task_queue=QUEUE, headers=headers)
        return Schedule(action=action, spec=ScheduleSpec())

    with pytest.raises(Denied, match="a schedule"):
        await ways.create_schedule("governed", planned("CallsOnce"))
    harmless = await ways.create_schedule(f"plan-{uuid.uuid4()}", planned("model.loop"))
    with pytest.raises(Denied, match="a schedule"):
        await harmless.update(lambda _: ScheduleUpdate(planned("CallsOnce")))
    await harmless.delete()
    codes = []
    async with effects(stack, settings, parts) as seen:
        for headers in (None, await copied(stranger, task.id)):
            handle = await stranger.create_schedule(
                f"plan-{uuid.uuid4()}", planned("CallsOnce", headers), trigger_immediately=True
            )

            async def started(handle: Any = handle) -> Any:
                return (await handle.describe()).info.recent_actions

            await eventually(started)
            begun = (await handle.describe()).info.recent_actions[0].action
            codes.append(await code_of(ways.get_workflow_handle(begun.workflow_id)))
            await handle.delete()
    assert codes == ["delegation.missing", "delegation.other-task"]
    assert [(one["outcome"], one["code"]) for one in seen.records] == [("refused", code) for code in codes]
    assert (seen.minted, seen.leases, RAN) == ([], [], [])


# Handlers.


async def test_30_what_handlers_start_is_governed(ways: Client, settings: Settings, stack: Stack, parts: Parts) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        handle = await start(ways, task, "Answering", [])
        assert await handle.execute_update("act", BRIEF) == "held"
        assert await handle.execute_update("act", ["hold", {"dataset": "payroll"}]) == "policy.denied"
        await handle.signal("told", TOUCH)
        assert await handle.result() == ["held", "policy.denied", "flights"]
    assert [one["outcome"] for one in seen.records] == ["permitted", "ok", "refused", "permitted", "ok"]
    assert seen.minted.count("database/creds/flights-ro") == 1


@pytest.mark.parametrize("by", ["signal", "update"])
async def test_30_a_handler_that_runs_before_the_workflow_is_governed(
    ways: Client, settings: Settings, stack: Stack, parts: Parts, by: str
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        if by == "signal":
            handle = await start(ways, task, "Answering", [], start_signal="told", start_signal_args=[BRIEF])
        else:
            handle = await updated_with_start(ways, task.id, BRIEF, given=task)
            await handle.signal("finish")
        assert await handle.result() == ["held"]
    assert [one["outcome"] for one in seen.records] == ["permitted", "ok"]
    assert {one["root"] for one in seen.records} == {"spiffe://remit.local/user/alice"}


@pytest.mark.parametrize("by", ["signal", "update"])
async def test_30_a_start_with_a_signal_or_an_update_needs_a_delegation(
    ways: Client, stranger: Client, settings: Settings, stack: Stack, parts: Parts, by: str
) -> None:
    async def go(client: Client) -> WorkflowHandle[Any, Any]:
        task = f"plain-{uuid.uuid4()}"
        if by == "update":
            handle = await updated_with_start(client, task, BRIEF)
            await handle.signal("finish")
            return handle
        told = {"start_signal": "told", "start_signal_args": [BRIEF]}
        return await client.start_workflow("Answering", [], id=task, task_queue=QUEUE, **told)  # type: ignore[arg-type]

    async with effects(stack, settings, parts) as seen:
        with pytest.raises(Denied):
            await go(ways)
        handle = await go(stranger)
        assert await ways.get_workflow_handle(handle.id).result() == ["delegation.missing"]
    seen.refused("delegation.missing")
    assert RAN == []


async def updated_with_start(
    client: Client, task: str, call: Any, *, given: Task | None = None
) -> WorkflowHandle[Any, Any]:
    operation = WithStartWorkflowOperation(
        "Answering", [], id=task, task_queue=QUEUE, id_conflict_policy=WorkflowIDConflictPolicy.FAIL
    )
    if given is None:
        await client.execute_update_with_start_workflow("act", call, start_workflow_operation=operation)
    else:
        with delegated(given.reference):
            await client.execute_update_with_start_workflow("act", call, start_workflow_operation=operation)
    return client.get_workflow_handle(task)


# Continue as new.


async def test_30_another_type_goes_on_under_the_same_chain(
    ways: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        handle = await start(ways, task, "Becoming", [TOUCH, TOUCH, ["touch", {"dataset": "payroll"}]])
        assert await code_of(handle) == "policy.denied"
    assert [(one["outcome"], one["step"]) for one in seen.records] == [
        ("permitted", 1), ("ok", 1), ("permitted", 2), ("ok", 2), ("refused", 3),
    ]  # fmt: skip
    assert {tuple(one["chain"]) for one in seen.records} == {(task.reference.delegation,)}


async def test_30_another_chain_cannot_be_taken_along(settings: Settings, stack: Stack, parts: Parts) -> None:
    other, task = await delegate(settings), await delegate(settings)
    stolen: dict[str, Payload] = {}
    async with governing(settings, queue="meddled", before=(Sending(stolen),)) as client:
        await (await start(client, other, "Calls", [TOUCH], task_queue="meddled")).result()
        stolen |= await copied(client, other.id)
    async with governing(settings, queue="meddled", before=(Sending(stolen),)) as client:
        RAN.clear()
        async with effects(stack, settings, parts) as seen:
            handle = await start(client, task, "Renewing", [TOUCH, TOUCH], task_queue="meddled")
            assert await code_of(handle) == "delegation.other-task"
    seen.refused("delegation.other-task")
    assert RAN == []


# Headers of others.


async def test_30_a_header_copied_from_a_history_opens_nothing(
    ways: Client, stranger: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    victim = await start(ways, task, "Calls", [TOUCH, ["hold", {"dataset": "flights", "n": 30}]])
    await eventually(lambda: HELD)
    headers = await copied(stranger, task.id)
    RAN.clear()
    async with worker_of(stranger, "elsewhere", headers):
        async with effects(stack, settings, parts) as seen:
            elsewhere = await stranger.start_workflow(
                "CallsOnce", [BRIEF], id=f"copy-{uuid.uuid4()}", task_queue="elsewhere"
            )
            assert await code_of(ways.get_workflow_handle(elsewhere.id)) == "delegation.other-task"
        seen.refused("delegation.other-task")
        await stranger.get_workflow_handle(task.id).terminate()
        await eventually(lambda: dead(HELD[0]))
        await eventually(lambda: "cancelled" in outcomes(settings, task))
        async with effects(stack, settings, parts) as seen:
            again = await stranger.start_workflow("CallsOnce", [BRIEF], id=task.id, task_queue="elsewhere")
            handle = ways.get_workflow_handle(task.id, run_id=again.result_run_id)
            assert await code_of(handle) == "delegation.other-task"
        seen.refused("delegation.other-task")
        assert RAN == []
    assert victim.first_execution_run_id != again.result_run_id


async def test_30_a_tool_starts_nothing_with_the_delegation_it_has_seen(
    ways: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    seen_by_it = {"delegation": task.reference.delegation, "digest": task.reference.digest}
    calls = [["beget", {"dataset": "flights"}], ["beget", {"dataset": "flights", "told": seen_by_it}]]
    async with effects(stack, settings, parts) as seen:
        refused, begotten = await (await start(ways, task, "Calls", calls)).result()
        assert refused == "delegation.missing"
        assert await code_of(ways.get_workflow_handle(begotten)) == "delegation.other-task"
    assert RAN == ["beget", "beget"]
    assert [one["code"] for one in seen.records if one["outcome"] == "refused"] == ["delegation.other-task"]


# Completion from outside.


async def test_30_a_tool_that_leaves_its_completion_to_others_has_failed(
    ways: Client, stranger: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        handle = await start(ways, task, "Calls", [["leave", {"dataset": "flights"}]])
        assert await code_of(handle) == "activity.async"
        await parts.authority.settled()
    assert dead(HELD[0])
    with pytest.raises(RPCError):
        await stranger.get_async_activity_handle(task_token=TOKENS[0]).complete("from outside")
    assert [(one["outcome"], one.get("code")) for one in seen.records] == [
        ("permitted", None), ("error", "activity.async"),
    ]  # fmt: skip
    assert (seen.leases, RAN, minted_users(stack, task)) == ([], ["leave"], [])


async def test_30_a_completion_from_outside_ends_the_credential_with_the_attempt(
    ways: Client, stranger: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    before = {one.grant for one in await parts.registry.live.all_leases()}
    async with effects(stack, settings, parts) as seen:
        handle = await start(ways, task, "Calls", [HOLD])
        await eventually(lambda: TOKENS)
        await stranger.get_async_activity_handle(task_token=TOKENS[0]).complete("from outside")
        assert await handle.result() == ["from outside"]
        await eventually(lambda: dead(HELD[0]))
        await eventually(lambda: len(outcomes(settings, task)) == 2)

        async def ended() -> bool:
            return not [one for one in await parts.registry.live.all_leases() if one.grant not in before]

        await eventually(ended)
    assert [one["outcome"] for one in seen.records] == ["permitted", "cancelled"]
    assert minted_users(stack, task) == []
    assert (seen.leases, RAN) == ([], ["hold"])


@pytest.mark.parametrize(
    "facts",
    [
        {"remit": "NeedsApproval"},
        {"remit": "NeedsApproval", "request": {"request": "r", "binding": "b", "approvers": 5}},
        {"remit": "NeedsApproval", "request": {
            "request": "r", "binding": "b", "action": "a", "resource": "r", "approvers": [], "wait": 1e300,
        }},
        {"remit": "Refused", "code": 7, "policies": 5},
    ],
    ids=["no request", "half a request", "a wait without end", "no policies"],
)  # fmt: skip
async def test_30_a_failure_written_outside_fails_the_step_and_no_more(
    ways: Client, stranger: Client, settings: Settings, facts: dict[str, Any]
) -> None:
    task = await delegate(settings)
    handle = await start(ways, task, "Answering", [])
    asked = asyncio.create_task(handle.execute_update("act", HOLD))
    await eventually(lambda: TOKENS)
    forged = ApplicationError("from outside", facts, type="forged", non_retryable=True)
    await stranger.get_async_activity_handle(task_token=TOKENS[0]).fail(forged)
    assert await asked == "forged"
    await eventually(lambda: dead(HELD[0]))
    assert (await handle.query("remit.view"))["waiting"] is None
    await handle.signal("finish")
    assert await handle.result() == ["forged"]


# What runs beside ours on a worker.


class Meddling(Interceptor, ClientInterceptor):
    """Another plugin's interceptor: changes arguments, or runs the tool itself."""

    def __init__(self, how: str) -> None:
        self._how = how

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        how = self._how

        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                if activity.info().activity_type != "hold":
                    return await self.next.execute_activity(input)
                if how == "runs":
                    return await input.fn(*input.args)
                return await self.next.execute_activity(replace(input, args=[{"dataset": "payroll", "n": 0}]))

        return Inbound(next)


@pytest.mark.parametrize(
    ("how", "where", "code"),
    [
        ("changes", "before", "policy.denied"),
        ("changes", "after", "activity.undecided"),
        ("runs", "before", "activity.ungoverned"),
    ],
)
async def test_30_an_interceptor_of_others_gets_nothing_else_done(
    settings: Settings, stack: Stack, parts: Parts, how: str, where: str, code: str
) -> None:
    async with governing(settings, queue=f"{how}-{where}", **{where: (Meddling(how),)}) as client:
        task = await delegate(settings)
        async with effects(stack, settings, parts) as seen:
            handle = await start(client, task, "CallsOnce", [BRIEF], task_queue=f"{how}-{where}")
            assert await code_of(handle) == code
            await parts.authority.settled()
    assert (RAN, minted_users(stack, task), seen.leases) == ([], [], [])
    outcomes = {"policy.denied": ["refused"], "activity.undecided": ["permitted", "error"], "activity.ungoverned": []}
    assert [one["outcome"] for one in seen.records] == outcomes[code]


async def test_30_an_ungoverned_activity_finds_no_credential_and_runs_no_tool(
    ways: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    async with effects(stack, settings, parts) as seen:
        for how, code in (("credential", "credential.none"), ("tool", "activity.ungoverned")):
            task = await delegate(settings)
            handle = await start(ways, task, "CallsOnce", [["model.think", how]])
            assert (await code_of(handle) or "") in (code, "Refused")
    assert (seen.minted, seen.records, RAN) == ([], [], [])


async def test_30_a_tool_runs_no_other_tool_under_its_grant(
    ways: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        assert await code_of(await start(ways, task, "CallsOnce", [["borrow", {"dataset": "flights"}]])) == (
            "activity.undecided"
        )
    assert [one["outcome"] for one in seen.records] == ["permitted", "error"]
    assert (RAN, seen.minted) == (["borrow"], [])


@pytest.mark.parametrize("how", ["plain", "unsafe"])
@pytest.mark.parametrize("sandboxed", [True, False], ids=["sandboxed", "unsandboxed"])
async def test_30_workflow_code_runs_no_tool_itself(
    ways: Client, settings: Settings, stack: Stack, parts: Parts, how: str, sandboxed: bool
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        if sandboxed:
            code = await code_of(await start(ways, task, "Inline", how))
        else:
            async with governing(settings, queue="loose", workflow_runner=UnsandboxedWorkflowRunner()) as client:
                code = await code_of(await start(client, task, "Inline", how, task_queue="loose"))
    assert code == "activity.ungoverned"
    assert (seen.minted, seen.leases, seen.records, RAN) == ([], [], [], [])


async def test_30_an_unsandboxed_workflow_is_governed(settings: Settings, stack: Stack, parts: Parts) -> None:
    async with governing(settings, queue="loose", workflow_runner=UnsandboxedWorkflowRunner()) as client:
        task = await delegate(settings)
        async with effects(stack, settings, parts) as seen:
            handle = await start(client, task, "Calls", [BRIEF, ["hold", {"dataset": "payroll"}]], task_queue="loose")
            assert await code_of(handle) == "policy.denied"
    assert [one["outcome"] for one in seen.records] == ["permitted", "ok", "refused"]
    assert (RAN, minted_users(stack, task)) == (["hold", "held"], [])


@pytest.mark.parametrize(("tool", "code"), [("unheard.of", "activity.undeclared"), ("touch", "policy.denied")])
async def test_30_dynamic_workflows_and_activities_are_governed(
    ways: Client, settings: Settings, stack: Stack, parts: Parts, tool: str, code: str
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        handle = await start(ways, task, "no-such-type", [[tool, {"dataset": "payroll"}]])
        assert await code_of(handle) == code
    seen.refused(code)
    assert RAN == []


async def test_30_a_patched_workflow_is_governed(ways: Client, settings: Settings, stack: Stack, parts: Parts) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        handle = await start(ways, task, "Versions", [TOUCH, ["touch", {"dataset": "payroll"}]])
        assert await code_of(handle) == "policy.denied"
    assert [one["outcome"] for one in seen.records] == ["permitted", "ok", "refused"]


# Retries, cancellations, threads, heartbeats.


async def test_30_no_retry_policy_makes_more_of_a_step_than_its_budget(
    ways: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings, budget=3)
    async with effects(stack, settings, parts) as seen:
        code = await code_of(await start(ways, task, "Insisting", [["whine", {"dataset": "flights"}]]))
    assert code in ("budget.exceeded", "policy.denied")
    assert RAN == ["whine"] * 3
    assert [one["outcome"] for one in seen.records] == ["permitted", "error"] * 3 + ["refused"]


async def test_30_no_retry_policy_tries_a_denial_again(
    ways: Client, settings: Settings, stack: Stack, parts: Parts
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        code = await code_of(await start(ways, task, "Insisting", [["hold", {"dataset": "payroll"}]]))
    assert code == "policy.denied"
    seen.refused("policy.denied")


@pytest.mark.parametrize("kind", ["ABANDON", "TRY_CANCEL"])
async def test_30_an_abandoned_activity_is_stopped_with_its_chain(
    ways: Client, settings: Settings, stack: Stack, kind: str
) -> None:
    task = await delegate(settings)
    handle = await start(ways, task, "Abandoning", [*HOLD, kind])
    await eventually(lambda: HELD)
    if kind == "ABANDON":
        await asyncio.sleep(1.5)
        assert not dead(HELD[0]), "abandoned, it goes on while its chain is live"
        await state(settings, task, Event.REVOKED)
    await eventually(lambda: dead(HELD[0]))
    await eventually(lambda: not minted_users(stack, task))
    assert RAN == ["hold"]
    await handle.terminate()


async def test_30_a_thread_that_is_left_behind_has_a_dead_credential(
    ways: Client, settings: Settings, stack: Stack
) -> None:
    task = await delegate(settings)
    (user,) = await (await start(ways, task, "Calls", [["block", {"dataset": "flights", "n": 0}]])).result()
    assert user.startswith("d-")
    assert dead(HELD.pop())
    task = await delegate(settings)
    handle = await start(ways, task, "Calls", [["block", {"dataset": "flights", "n": 8}]])
    await eventually(lambda: HELD)
    await state(settings, task, Event.REVOKED)
    await eventually(lambda: dead(HELD[0]), seconds=7)
    assert await code_of(handle) == "chain.revoked"


async def test_30_a_heartbeat_tells_no_secret(ways: Client, stranger: Client, settings: Settings) -> None:
    task = await delegate(settings)
    handle = await start(ways, task, "Calls", [["tell", {"dataset": "flights", "n": 30}]])
    await eventually(lambda: HELD)

    async def beaten() -> Any:
        (pending,) = (await handle.describe()).raw_description.pending_activities
        return pending.heartbeat_details.payloads

    await eventually(beaten)
    (details,) = await ways.data_converter.decode(list(await beaten()))
    assert list(details) == ["progress"]
    assert HELD[0] not in str(details)
    await handle.terminate()


# Nexus.


async def test_30_a_worker_serves_no_nexus_operation_unless_it_is_listed(settings: Settings) -> None:
    with pytest.raises(Usage) as refused:
        async with governing(settings, queue="nexus", nexus_service_handlers=[Serving()]):
            pass
    assert refused.value.code == "nexus.ungoverned"


async def test_30_a_nexus_handler_has_no_authority(
    settings: Settings, stranger: Client, stack: Stack, parts: Parts
) -> None:
    name = f"errands-{uuid.uuid4().hex[:8]}"
    target = EndpointTarget(worker=EndpointTarget.Worker(namespace="default", task_queue="nexus"))
    await stranger.operator_service.create_nexus_endpoint(
        CreateNexusEndpointRequest(spec=EndpointSpec(name=name, target=target))
    )
    listed = [*UNGOVERNED, "errands"]
    async with governing(settings, queue="nexus", ungoverned=listed, nexus_service_handlers=[Serving()]) as client:
        found = []
        async with effects(stack, settings, parts) as seen:
            for operation, argument in (("run", "flights"), ("start", "nexus")):
                handle = await stranger.start_workflow(
                    "Asking", [name, operation, argument], id=f"ask-{uuid.uuid4()}", task_queue="nexus"
                )
                found.append(await client.get_workflow_handle(handle.id).result())
    assert found == ["activity.ungoverned", "delegation.missing"]
    assert (seen.minted, seen.leases, seen.records, RAN) == ([], [], [], [])


# 31: workers without the interceptor.


class Clearing(SimplePlugin):
    """Another plugin that replaces the worker's interceptors."""

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        config["interceptors"] = []
        return config


@activity.defn(name="loose")
async def loose(argument: dict[str, Any]) -> None:
    RAN.append("loose")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"activities": [loose]}, "activity.undeclared"),
        ({"activities": [touch], "ungoverned": ["tou*"]}, "activity.ambiguous"),
        ({"plugins": [Clearing("clearing")]}, "plugin.removed"),
    ],
    ids=["undeclared", "declared and ungoverned", "interceptors replaced"],
)
async def test_31_such_a_worker_does_not_start(settings: Settings, options: dict[str, Any], code: str) -> None:
    with pytest.raises(Usage) as refused:
        async with governing(settings, queue="refused", **options):
            await asyncio.sleep(30)
    assert refused.value.code == code


async def test_31_a_worker_whose_plugin_has_no_authority_does_not_start(settings: Settings) -> None:
    client = await plainly(settings, plugins=[RemitPlugin()])
    with pytest.raises(Usage) as refused:
        async with Worker(client, task_queue="refused", activities=[touch]):
            await asyncio.sleep(30)
    assert refused.value.code == "plugin.no-authority"


def test_31_a_tool_in_another_process_is_refused_at_the_start(settings: Settings) -> None:
    """Neither a credential nor a stop would reach it."""

    async def starts() -> None:
        with ProcessPoolExecutor(1) as processes:
            manager = SharedStateManager.create_from_multiprocessing(_manager())
            options = {"activity_executor": processes, "shared_state_manager": manager, "activities": [block]}
            async with governing(settings, queue="refused", **options):
                await asyncio.sleep(30)

    with pytest.raises(Usage) as refused:
        asyncio.run(starts())
    assert refused.value.code == "activity.process"


async def test_31_the_plugin_on_the_worker_alone_governs_it(settings: Settings, stack: Stack, parts: Parts) -> None:
    plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, ungoverned=UNGOVERNED)
    plain, client = await plainly(settings), await plainly(settings, plugins=[RemitPlugin()])
    async with Worker(plain, task_queue="alone", workflows=FLOWS, activities=[hold], plugins=[plugin]):
        task = await delegate(settings)
        async with effects(stack, settings, parts) as seen:
            handle = await start(client, task, "Calls", [BRIEF, ["hold", {"dataset": "payroll"}]], task_queue="alone")
            assert await code_of(handle) == "policy.denied"
    assert [one["outcome"] for one in seen.records] == ["permitted", "ok", "refused"]


async def test_31_a_tool_on_a_worker_without_the_plugin_refuses_to_run(
    settings: Settings, stranger: Client, stack: Stack, parts: Parts
) -> None:
    client = await plainly(settings, plugins=[RemitPlugin()])
    async with Worker(
        stranger,
        task_queue="bare",
        workflows=FLOWS,
        activities=[hold, touch],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        for call in (BRIEF, TOUCH):
            task = await delegate(settings)
            async with effects(stack, settings, parts) as seen:
                handle = await start(client, task, "CallsOnce", [call], task_queue="bare")
                assert await code_of(handle) == "activity.ungoverned"
            assert (seen.minted, seen.leases, seen.records, RAN) == ([], [], [], [])


async def test_31_a_strangers_worker_on_our_queue_gets_no_credential(
    settings: Settings, stranger: Client, stack: Stack, parts: Parts
) -> None:
    """Nobody can keep it from taking the step and running its own code; the step comes without a credential."""
    got: list[tuple[dict[str, int], str]] = []

    @activity.defn(name="hold")
    async def taken(argument: dict[str, Any]) -> str:
        with suppress(Exception):
            think_of_it = await think("credential")
            got.append(({}, think_of_it))
        RAN.append("taken")
        return "mine"

    class Looking(Interceptor):
        def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
            class Inbound(ActivityInboundInterceptor):
                async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                    got.append(({key: len(payload.data) for key, payload in input.headers.items()}, ""))
                    return await self.next.execute_activity(input)

            return Inbound(next)

    plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter, ungoverned=UNGOVERNED)
    client = await plainly(settings, plugins=[plugin])
    async with (
        Worker(client, task_queue="shared", workflows=FLOWS, no_remote_activities=True),
        Worker(stranger, task_queue="shared", activities=[taken], interceptors=[Looking()]),
    ):
        task = await delegate(settings)
        async with effects(stack, settings, parts) as seen:
            assert await (await start(client, task, "Calls", [BRIEF], task_queue="shared")).result() == ["mine"]
    assert got == [({"remit": 66}, "")], "a reference, and nothing else"
    assert (seen.minted, seen.leases, seen.records) == ([], [], [])
    assert (RAN, minted_users(stack, task)) == (["taken"], [])


def _manager() -> Any:
    import multiprocessing

    return multiprocessing.Manager()
