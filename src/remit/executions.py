"""Executions: which tasks run under a delegation or principal, as Temporal knows them, and telling them to look.

- Found by search attribute, and by the executions the registry has bound to a delegation, for namespaces and workers
  without search attributes.
- A notice carries no authority: a task that is told reads the registry's truth and stops, or goes on, by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio.client import WorkflowExecutionStatus, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError, RPCStatusCode

from remit.errors import Held, Refused
from remit.principals import Principal
from remit.temporal import _names as names
from remit.together import both, every

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecution

    from remit.registry import Registry
    from remit.statements import Subject

RPC = timedelta(seconds=10)
QUERY = timedelta(seconds=5)
AT_ONCE = 50
"""Requests under way at the same time."""
STOPPED = frozenset({"suspended", "halted"})
"""States of a task that a stop has reached."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Execution:
    """A task as Temporal knows it.

    Args:
        id: Workflow id. ended: Whether it has. state: What it says of itself, one of the words of `remit show`;
            "" when it does not say. delegations: Its chain, root first, and before its own delegation, the last, other
            agents that act in it; empty when it does not say.
    """

    id: str
    ended: bool
    state: str
    delegations: tuple[str, ...] = ()

    @property
    def going(self) -> bool:
        """Whether a step of it may still run."""
        return not self.ended and self.state not in STOPPED


async def under(client: Client, registry: Registry, about: Subject, *, since: float | None = None) -> list[Execution]:
    """Return the executions under a delegation or principal.

    Args:
        since: Unix seconds; also those that have ended from then on.

    Raises:
        Held: Temporal or OpenBao does not answer.
    """
    when = "ExecutionStatus = 'Running'"
    if since is not None:
        when = f"({when} OR CloseTime >= '{datetime.fromtimestamp(since, UTC).isoformat()}')"
    if isinstance(about, Principal):
        return await _through(client, about, when)
    found, bound = await both(_listed(client, _delegated(about.jti), when), registry.tasks(about.jti))
    tasks = {one.id: one for one in found}
    others = await _each(_described(client, name) for name in bound if name not in tasks)
    tasks |= {one.id: one for one in others if one is not None}
    return [tasks[name] for name in sorted(tasks)]


async def tell(client: Client, tasks: Iterable[str]) -> int:
    """Tell tasks to look at their standing; return how many were there to be told.

    Raises:
        Held: Temporal does not answer.
    """
    return sum(await _each(_told(client, task) for task in tasks))


async def _through(client: Client, principal: Principal, when: str) -> list[Execution]:
    name = names.ROOT.name if principal.kind == "user" else names.AGENT.name
    tasks = {one.id: one for one in await _listed(client, f"{name} = {json.dumps(principal.spiffe_id)}", when)}
    own = sorted({one.delegations[-1] for one in tasks.values() if one.delegations})
    if principal.kind == "agent":  # it may act in the task of another
        tasks |= {one.id: one for one in await _listed(client, _delegated(principal.spiffe_id), when)}
    # What an agent delegated on runs under its own delegation.
    for jti in own:
        tasks |= {one.id: one for one in await _listed(client, _delegated(jti), when)}
    return [tasks[name] for name in sorted(tasks)]


def _delegated(to: str) -> str:
    return f"{names.DELEGATIONS.name} = {json.dumps(to)}"


async def _listed(client: Client, query: str, when: str) -> list[Execution]:
    async def collect() -> list[Execution]:
        found = client.list_workflows(f"{query} AND {when}", rpc_timeout=RPC)
        return [_execution(one) async for one in found]

    return await _asked(collect())


def _execution(found: WorkflowExecution) -> Execution:
    said: Mapping[str, Any] = {pair.key.name: pair.value for pair in found.typed_search_attributes}
    return Execution(
        id=found.id,
        ended=found.status is not WorkflowExecutionStatus.RUNNING,
        state=str(said.get(names.STATE.name) or ""),
        delegations=tuple(said.get(names.DELEGATIONS.name) or ()),
    )


async def _described(client: Client, task: str) -> Execution | None:
    """Return an execution the registry names and no search found; None when it has ended or was never started."""
    handle = client.get_workflow_handle(task)
    try:
        found = _execution(await _asked(handle.describe(rpc_timeout=RPC)))
    except Refused:
        return None
    if found.ended or found.delegations:  # searchable, so the search was right: it goes on under another delegation
        return None
    try:
        view: dict[str, Any] = await handle.query(names.VIEW, result_type=dict[str, Any], rpc_timeout=QUERY)
    except (WorkflowQueryFailedError, WorkflowQueryRejectedError, RPCError, Refused):  # Refused: may not read payloads
        return found
    return replace(found, state=str(view.get("state") or ""))


async def _told(client: Client, task: str) -> bool:
    try:
        await _asked(client.get_workflow_handle(task).signal(names.NOTICE, rpc_timeout=RPC))
    except Refused:  # it ended meanwhile
        return False
    return True


async def _each(calls: Iterable[Awaitable[_T]]) -> list[_T]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(call: Awaitable[_T]) -> _T:
        async with gate:
            return await call

    return await every(one(call) for call in calls)


async def _asked(call: Awaitable[_T]) -> _T:
    try:
        return await call
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Refused("there is no such task", code="task.unknown") from None
        raise Held(
            "Temporal does not answer",
            code="temporal.unreachable",
            next_action="Start the stack with `remit dev`, or look with `remit doctor`.",
        ) from error
