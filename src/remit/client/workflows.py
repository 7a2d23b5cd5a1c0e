"""Tasks in Temporal: described, listed, asked and told, with Temporal's failures as ours.

- A task that is not there is `Refused`, a Temporal that does not answer is `Held`.
- The view comes from the workflow itself and needs a worker; None says that no worker answered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio.client import (
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from remit.client.connection import unreachable
from remit.errors import Held, Refused
from remit.temporal import _names as names

if TYPE_CHECKING:
    from remit.client.connection import Connection

RPC = timedelta(seconds=10)
QUERY = timedelta(seconds=5)
UPDATE = timedelta(seconds=30)

_T = TypeVar("_T")


async def describe(connection: Connection, task: str) -> WorkflowExecutionDescription:
    """Return what Temporal knows of a task.

    Raises:
        Refused: ``task.unknown``. Held: ``temporal.unreachable``.
    """
    client = await connection.temporal()
    return await _asked(client.get_workflow_handle(task).describe(rpc_timeout=RPC), task)


async def view(connection: Connection, task: str) -> dict[str, Any] | None:
    """Return what the workflow says of itself; None when no worker answers.

    Raises:
        Refused: ``task.unknown``, ``task.ungoverned``. Held: ``temporal.unreachable``.
    """
    client = await connection.temporal()
    handle = client.get_workflow_handle(task)
    try:
        found: dict[str, Any] = await handle.query(names.VIEW, result_type=dict[str, Any], rpc_timeout=QUERY)
    except WorkflowQueryFailedError:
        return None
    except (WorkflowQueryRejectedError, RPCError) as error:
        if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
            raise unknown(task) from None
        await describe(connection, task)  # tells a Temporal that is down from a worker that is
        return None
    return found


async def listed(connection: Connection, query: str, *, most: int | None = None) -> list[WorkflowExecution]:
    """Return the tasks a visibility query finds, newest first.

    Raises:
        Held: ``temporal.unreachable``.
    """
    client = await connection.temporal()

    async def collect() -> list[WorkflowExecution]:
        found: AsyncIterator[WorkflowExecution] = client.list_workflows(query, limit=most, rpc_timeout=RPC)
        return [execution async for execution in found]

    return await _asked(collect(), "")


async def update(connection: Connection, task: str, name: str, argument: Any) -> dict[str, Any] | None:
    """Send an update and return the workflow's answer; None when no worker took it in time.

    Raises:
        Refused: ``task.unknown``, ``task.over``. Held: ``temporal.unreachable``.
    """
    client = await connection.temporal()
    handle = client.get_workflow_handle(task)
    try:
        answer: dict[str, Any] = await asyncio.wait_for(
            handle.execute_update(name, argument, result_type=dict[str, Any], rpc_timeout=UPDATE),
            UPDATE.total_seconds(),
        )
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
        return None
    except WorkflowUpdateFailedError as error:
        raise Refused(
            f"{task} does not take this: {error.cause}",
            code="task.over",
            next_action=f"Look at it with: remit show {task}",
        ) from None
    except RPCError as error:
        raise _failure(error, task) from None
    return answer


async def signal(connection: Connection, task: str, name: str, *arguments: Any) -> None:
    """Send a signal.

    Raises:
        Refused: ``task.unknown``. Held: ``temporal.unreachable``.
    """
    client = await connection.temporal()
    await _asked(client.get_workflow_handle(task).signal(name, args=arguments, rpc_timeout=RPC), task)


def attributes(execution: WorkflowExecution) -> Mapping[str, Any]:
    """Return a task's search attributes by name."""
    return {pair.key.name: pair.value for pair in execution.typed_search_attributes}


def first_run(description: WorkflowExecutionDescription) -> str:
    """Return the id of a task's first run, which continue-as-new keeps."""
    return str(description.raw_info.first_run_id or description.run_id)


def quoted(value: str) -> str:
    """Return a value as it stands in a visibility query."""
    return json.dumps(value)


def unknown(task: str) -> Refused:
    """Return the error of a task that is not there."""
    return Refused(f"there is no task {task[:80]!r}", code="task.unknown", next_action="List them with: remit tasks")


async def _asked(call: Awaitable[_T], task: str) -> _T:
    try:
        return await call
    except RPCError as error:
        raise _failure(error, task) from None


def _failure(error: RPCError, task: str) -> Refused | Held:
    if error.status is RPCStatusCode.NOT_FOUND and task:
        return unknown(task)
    if error.status in (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED):
        return Refused(
            f"Temporal refuses: {' '.join(error.message.split())[:200]}",
            code="temporal.refused",
            next_action="Look at the namespace and its search attributes with `remit doctor`.",
        )
    return unreachable()
