"""Two governors that are none: a plain worker, and one that asks once, when a workflow starts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from remit.conformance import Capability, Governor, Work

CHECK = "naive.check"


class Ungoverned:
    """A plain worker: revoking a grant is a note nobody reads."""

    name = "a plain worker"
    capabilities = frozenset({Capability.CHILDREN, Capability.LOCAL_ACTIVITIES})

    def __init__(self, client: Client) -> None:
        self.client = client

    def worker(self, work: Work) -> AbstractAsyncContextManager[object]:
        """Run a worker."""
        return Worker(
            self.client,
            task_queue=work.queue,
            workflows=work.workflows,
            activities=work.activities,
            activity_executor=work.executor,
        )

    async def grant(self, task: str) -> str:
        """Name the task."""
        return task

    async def start(self, workflow: str, argument: Any, *, task: str, queue: str, grant: str, waits: bool) -> object:
        """Start it."""
        return await self.client.start_workflow(workflow, argument, id=task, task_queue=queue)

    async def revoke(self, grant: str) -> object:
        """Do nothing."""
        return None

    async def waiting(self, task: str) -> bool:
        """Have no approvals."""
        raise NotImplementedError

    async def approve(self, task: str) -> object:
        """Have no approvals."""
        raise NotImplementedError

    async def regrant(self, task: str) -> object:
        """Resume nothing."""
        raise NotImplementedError


class Naive(Ungoverned):
    """Looks whether the grant is revoked when a workflow, child or run begins, and not again."""

    name = "a check at workflow start"

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.revoked: set[str] = set()

    def worker(self, work: Work) -> AbstractAsyncContextManager[object]:
        """Run a worker that asks first."""
        return Worker(
            self.client,
            task_queue=work.queue,
            workflows=work.workflows,
            activities=[*work.activities, self.check],
            activity_executor=work.executor,
            interceptors=[AsksOnce()],
        )

    async def revoke(self, grant: str) -> object:
        """Write it down."""
        self.revoked.add(grant)
        return None

    @activity.defn(name=CHECK)
    async def check(self, task: str) -> bool:
        """Look."""
        return task not in self.revoked


class AsksOnce(Interceptor):
    """Adds the check to every workflow."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Wrap workflows."""
        return Asking


class Asking(WorkflowInboundInterceptor):
    """Asks, then runs the workflow."""

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """Refuse a task whose grant is revoked; a child has its parent's grant."""
        task = workflow.info().workflow_id.split(".")[0]
        if not await workflow.execute_local_activity(CHECK, task, start_to_close_timeout=timedelta(seconds=10)):
            raise ApplicationError("revoked", non_retryable=True)
        return await self.next.execute_workflow(input)


@asynccontextmanager
async def ungoverned(address: str, namespace: str) -> AsyncIterator[Governor]:
    """Open the plain worker."""
    yield Ungoverned(await Client.connect(address, namespace=namespace))


@asynccontextmanager
async def naive(address: str, namespace: str) -> AsyncIterator[Governor]:
    """Open the one that asks once."""
    yield Naive(await Client.connect(address, namespace=namespace))


class Idle(Ungoverned):
    """Stops everything: its worker serves another queue."""

    name = "a worker that does nothing"

    def worker(self, work: Work) -> AbstractAsyncContextManager[object]:
        """Serve nobody."""
        return super().worker(replace(work, queue=f"{work.queue}-nobody"))


@asynccontextmanager
async def idle(address: str, namespace: str) -> AsyncIterator[Governor]:
    """Open the one that does nothing."""
    yield Idle(await Client.connect(address, namespace=namespace))
