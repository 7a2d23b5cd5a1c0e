"""The client interceptor: a governed workflow starts with a delegation, or not at all.

- The delegation comes from `delegated`; its reference goes into the header, its names into search attributes.
- Starting without one is refused, unless the workflow type is listed as ungoverned.
- Standalone activities, schedules and Nexus operations have no execution a delegation could be bound to: refused.
- This saves people from mistakes; it protects nothing. A start that goes round it is refused by the authority.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from temporalio.client import (
    ActivityHandle,
    CreateScheduleInput,
    Interceptor,
    NexusOperationHandle,
    OutboundInterceptor,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleHandle,
    ScheduleUpdate,
    ScheduleUpdateInput,
    StartActivityInput,
    StartNexusOperationInput,
    StartWorkflowInput,
    StartWorkflowUpdateWithStartInput,
    UpdateScheduleInput,
    UpdateWithStartStartWorkflowInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)

from remit.delegation import Reference
from remit.errors import Denied
from remit.temporal import _header as header
from remit.temporal._attributes import with_attributes

Governs = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Given:
    reference: Reference
    terms: header.Terms
    root: str
    agent: str


_GIVEN: ContextVar[_Given | None] = ContextVar("remit_delegated", default=None)


@contextmanager
def delegated(
    reference: Reference,
    *,
    on_revocation: timedelta | Literal["halt"] = "halt",
    root: str = "",
    agent: str = "",
) -> Iterator[None]:
    """Start workflows under a delegation.

    Args:
        reference: The delegation, made for the id of the workflow that is started inside.
        on_revocation: How long a task waits for a fresh delegation once this one is revoked or has expired.
        root, agent: SPIFFE IDs for the search attributes; the workflow finds them itself when they are left out.

    Example:
        with delegated(reference, on_revocation=timedelta(hours=24)):
            await client.start_workflow("MyAgent", id=task, task_queue="agents")
    """
    wait = None if on_revocation == "halt" else max(1, int(on_revocation.total_seconds()))
    token = _GIVEN.set(_Given(reference, header.Terms(wait), root, agent))
    try:
        yield
    finally:
        _GIVEN.reset(token)


class ClientInterceptor(Interceptor):
    """Puts the delegation on what a client starts.

    Args:
        governs: Tells whether a workflow or activity type needs a delegation.
        search_attributes: Whether the namespace has Remit's search attributes.
    """

    def __init__(self, *, governs: Governs, search_attributes: bool) -> None:
        self._governs = governs
        self._search_attributes = search_attributes

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Wrap a client."""
        return _Outbound(next, self._governs, self._search_attributes)


class _Outbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, governs: Governs, search_attributes: bool) -> None:
        super().__init__(next)
        self._governs = governs
        self._search_attributes = search_attributes

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        self._mark(input)
        return await self.next.start_workflow(input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        self._mark(input.start_workflow_input)
        return await self.next.start_update_with_start_workflow(input)

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        self._refuse(input.activity_type, "a standalone activity")
        return await self.next.start_activity(input)

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:
        self._refuse_scheduling(input.schedule)
        return await self.next.create_schedule(input)

    async def update_schedule(self, input: UpdateScheduleInput) -> None:
        async def updated(seen: ScheduleUpdateInput) -> ScheduleUpdate | None:
            wanted = input.updater(seen)
            update = await wanted if inspect.isawaitable(wanted) else wanted
            if update is not None:
                self._refuse_scheduling(update.schedule)
            return update

        await self.next.update_schedule(replace(input, updater=updated))

    async def start_nexus_operation(self, input: StartNexusOperationInput) -> NexusOperationHandle[Any]:
        self._refuse(f"{input.service}.{input.operation}", "a Nexus operation")
        return await self.next.start_nexus_operation(input)

    def _mark(self, input: StartWorkflowInput | UpdateWithStartStartWorkflowInput) -> None:
        if not self._governs(input.workflow):
            return
        given = _GIVEN.get()
        if given is None:
            raise Denied(
                f"{input.workflow} starts without a delegation",
                code="delegation.missing",
                next_action="Start it inside remit.temporal.delegated(…), or list the type as ungoverned.",
            )
        input.headers = {
            **input.headers,
            header.KEY: header.write(header.Mark(given.reference)),
            header.TERMS: header.write_terms(given.terms),
        }
        if self._search_attributes:
            input.search_attributes = with_attributes(
                input.search_attributes,
                root=given.root,
                agent=given.agent,
                delegations=[given.reference.delegation],
            )

    def _refuse_scheduling(self, schedule: Schedule) -> None:
        if isinstance(schedule.action, ScheduleActionStartWorkflow):
            self._refuse(schedule.action.workflow, "a schedule")

    def _refuse(self, name: str, what: str) -> None:
        if self._governs(name):
            raise Denied(
                f"{what} carries no delegation: {name}",
                code="delegation.missing",
                next_action="Start a workflow under a delegation instead, or list the type as ungoverned.",
            )
