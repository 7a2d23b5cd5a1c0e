"""The ground of the attacks on human acts: tools that remember what they were given, workflows as attackers write them.

The servers, the authority and the policies are real; the people sign with their own keys.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from remit.assembly import Parts, assemble, temporal_client
from remit.settings import Settings
from remit.temporal import RemitPlugin, delegated, tool
from remit.temporal import workflow as remit
from tests.integration.acting import Task, delegate
from tests.unit.temporal.flows import FLOWS

Handle = WorkflowHandle[Any, Any]
GOT: list[dict[str, Any]] = []
"""What the tools were given, in order."""
BEGAN: list[str] = []
SOON = timedelta(seconds=60)
PATIENCE = 150
"""Seconds a test waits for what must come."""


class Note(BaseModel):
    """Anything, to be published."""

    model_config = ConfigDict(extra="forbid")

    text: Any = None
    seconds: float = 0
    fails: bool = False


async def _given(note: Note) -> str:
    BEGAN.append(str(note.text))
    await asyncio.sleep(note.seconds)
    GOT.append(note.model_dump(mode="json", exclude_defaults=True))
    if note.fails:
        raise ApplicationError("it did not work", type="note.failed", non_retryable=True)
    return "published"


@tool(name="note.publish", action="report:publish", resource="reports", credential="reports-rw")
async def publish(note: Note) -> str:
    """Needs a steward's approval, and a credential."""
    return await _given(note)


@tool(name="note.read", action="dataset:query", resource="flights", credential="flights-ro")
async def read(note: Note) -> str:
    """Needs nobody."""
    return await _given(note)


@workflow.defn
class Insisting:
    """Tries its calls one after the other until one succeeds, as an agent does that words its call anew."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> Any:
        for name, argument in calls:
            try:
                return await workflow.execute_activity(name, argument, start_to_close_timeout=SOON)
            except ActivityError as error:
                workflow.logger.info("tries the next one after %s", error)
        return None


@workflow.defn
class Changing:
    """Changes the arguments of a call that waits: `change` puts members in, `turn` only their order."""

    def __init__(self) -> None:
        self._argument: dict[str, Any] = {}

    @workflow.run
    async def run(self, call: list[Any]) -> Any:
        self._argument = call[1]
        return await workflow.execute_activity(call[0], self._argument, start_to_close_timeout=SOON)

    @workflow.signal
    def change(self, members: dict[str, Any]) -> None:
        self._argument.update(members)

    @workflow.signal
    def turn(self) -> None:
        for name in sorted(self._argument, reverse=True):
            self._argument[name] = self._argument.pop(name)


@workflow.defn
class Handing:
    """Hands a call to a report writer."""

    @workflow.run
    async def run(self, calls: list[list[Any]]) -> Any:
        handed = await remit.delegate(
            "report-writer",
            child=f"{workflow.info().workflow_id}-child",
            actions=["report:publish"],
            spaces=["flights"],
            budget=5,
            expires_in=timedelta(minutes=5),
            max_depth=2,
        )
        return await remit.execute_child("Calls", calls, handed=handed)


@workflow.defn
class Forging:
    """Continues as new with a state that says everything was approved; its second run makes the call."""

    @workflow.run
    async def run(self, calls: list[list[Any]], state: dict[str, Any] | None = None) -> Any:
        if state is None:
            said = {"approved": True, "approvals": ["forged"], "decision": "approve"}
            workflow.continue_as_new(args=[calls, said], memo={"remit-approvals": ["forged"], "approved": True})
        return await workflow.execute_activity(calls[0][0], calls[0][1], start_to_close_timeout=SOON)


ATTACKERS = [*FLOWS, Insisting, Changing, Handing, Forging]


def note(text: Any = "all", **more: Any) -> list[Any]:
    return ["note.publish", {"text": text, **more}]


@asynccontextmanager
async def worker(settings: Settings, queue: str, **options: Any) -> AsyncIterator[tuple[Client, Parts]]:
    """Run a worker with these tools and workflows."""
    async with assemble(settings) as parts:
        plugin = RemitPlugin(authority=parts.authority, presenter=parts.presenter)
        client = await temporal_client(settings, vault=parts.vault, plugins=[plugin])
        async with Worker(client, task_queue=queue, workflows=ATTACKERS, activities=[publish, read], **options):
            yield client, parts


async def publisher(settings: Settings, **options: Any) -> Task:
    """Have alice delegate publishing to the report writer."""
    return await delegate(settings, agent="report-writer", actions=("report:publish",), **options)


async def start(client: Client, task: Task, flow: str, argument: Any, *, queue: str, **options: Any) -> Handle:
    with delegated(task.reference, **options):
        return await client.start_workflow(flow, argument, id=task.id, task_queue=queue)


async def look(handle: Handle) -> dict[str, Any]:
    """Return a task's view; a server that is just having a workflow task done anew is asked again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            view: dict[str, Any] = await handle.query("remit.view")
        except RPCError as error:
            if error.status is not RPCStatusCode.FAILED_PRECONDITION or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            return view


async def until(handle: Handle, wanted: str, *, request: str | None = None) -> dict[str, Any]:
    """Return a task's view once it is in this state, and waits for another request than this one."""
    deadline = time.monotonic() + PATIENCE
    while True:
        view = await look(handle)
        if view["state"] == wanted and (request is None or view["waiting"]["request"] != request):
            return view
        assert time.monotonic() < deadline, view
        await asyncio.sleep(0.02)


async def waits(handle: Handle, *, after: str | None = None) -> dict[str, Any]:
    """Return the request a task waits with."""
    waiting: dict[str, Any] = (await until(handle, "waiting-approval", request=after))["waiting"]
    return waiting


async def happens(found: Any, *, every: float = 0.05) -> None:
    """Return once a condition holds, looked at every so many seconds."""
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline
        await asyncio.sleep(every)


async def decide(handle: Handle, token: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await handle.execute_update("remit.decide", token)
    return answer


async def code_of(handle: Handle) -> str | None:
    """Return the code a task fails with."""
    try:
        await handle.result()
    except WorkflowFailureError as failed:
        cause: BaseException | None = failed.cause
        while isinstance(cause, ActivityError | ChildWorkflowError):
            cause = cause.__cause__
        assert isinstance(cause, ApplicationError), cause
        return cause.type
    return None


async def reset(client: Client, handle: Handle, *, signals: bool, before: EventType.ValueType | None = None) -> Handle:
    """Reset a task to before such an event, or to its first workflow task; return its new run.

    Args:
        signals: Whether signals and updates that came later are applied again.
    """
    history = await handle.fetch_history()
    point = 0
    for event in history.events:
        if event.event_type == before and point:
            break
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            point = event.event_id
            if before is None:
                break
    left_out = [
        ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL,
        ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE,
    ]
    made = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=history.run_id),
            reason="an attack",
            request_id=str(uuid.uuid4()),
            workflow_task_finish_event_id=point,
            reset_reapply_exclude_types=[] if signals else left_out,
        )
    )
    return client.get_workflow_handle(handle.id, run_id=made.run_id)


def altered(settings: Settings, folder: Path, **changes: tuple[str, str]) -> Settings:
    """Return settings with another policy set: the shipped one, with text replaced in files (without their suffix)."""
    folder.mkdir()
    for path in settings.policies.iterdir():
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            if (change := changes.get(path.stem)) is not None:
                assert change[0] in text, path
                text = text.replace(*change)
            (folder / path.name).write_text(text, encoding="utf-8")
    return settings.model_copy(update={"policies": folder})
