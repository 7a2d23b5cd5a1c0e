"""What a governed workflow starts: headers, summaries and timeouts are added here, and nowhere else.

- The chain goes along with every call as a reference; nothing but the authority turns it into rights.
- A governed activity without a heartbeat timeout gets one, so that it hears when it is to stop.
- What a summary says is read from the tool's own declaration and the verified chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar, cast

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import SearchAttributes, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ContinueAsNewInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    StartNexusOperationInput,
    WorkflowOutboundInterceptor,
)

from remit.delegation import Reference
from remit.principals import Principal
from remit.temporal import _header as header
from remit.temporal import _names as names
from remit.temporal._agent import Holder
from remit.temporal._attributes import with_attributes
from remit.temporal._calls import Calls
from remit.temporal._children import HANDED, Children
from remit.temporal._mapped import MappedActivity
from remit.temporal._step import Step, Told
from remit.temporal._task import GovernedTask
from remit.temporal._view import StepView

_AnyActivity = TypeVar("_AnyActivity", StartActivityInput, StartLocalActivityInput)
_WAIT = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
_LONGEST_SUMMARY = 200
_CHILDREN_WAIT = "remit-ungoverned-children-wait"


class Outbound(WorkflowOutboundInterceptor):
    """Wraps what a workflow starts.

    Args:
        next: The interceptor beneath.
        task: The task.
        children: Its children.
    """

    def __init__(self, next: WorkflowOutboundInterceptor, task: GovernedTask, children: Children) -> None:
        super().__init__(next)
        self._task = task
        self._children = children
        self._calls = Calls(task, self._local)

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        """Start an activity as a step."""
        if self._left_alone(input.activity):
            return self.next.start_activity(input)
        if not self._task.facts.governs_activity(input.activity):
            return self._aside(input, self.next.start_activity)
        mapped = self._task.facts.tool(input.activity)
        if isinstance(mapped, MappedActivity):
            return cast("workflow.ActivityHandle[Any]", self._calls.start(input, mapped, self._governed))
        return cast("workflow.ActivityHandle[Any]", self._governed(input))

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        """Start a local activity as a step."""
        if self._left_alone(input.activity):
            return self.next.start_local_activity(input)
        if not self._task.facts.governs_activity(input.activity):
            return self._aside(input, self.next.start_local_activity)
        mapped = self._task.facts.tool(input.activity)
        if isinstance(mapped, MappedActivity):
            return cast("workflow.ActivityHandle[Any]", self._calls.start(input, mapped, self._local))
        return cast("workflow.ActivityHandle[Any]", self._local(input))

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:
        """Start a child with a chain of its own, or with its parent's."""
        task, holder = self._task, self._children.acting.holder
        if task.reference is None:
            return await self.next.start_child_workflow(input)
        if not task.facts.governs(input.workflow):
            if not holder.gate.open and task.changes.made(_CHILDREN_WAIT):
                await holder.gate.passed()
            return await self.next.start_child_workflow(input)
        given, terms = HANDED.get() or (None, None)
        handed = given if given is not None and given.child == input.id else None
        if given is not None and handed is None:
            _refuse("delegation.other-task", f"this delegation was made for {given.child!r}, not for {input.id!r}")
        claim = self._children.claim(input.id, input.workflow, handed=handed)
        while True:
            await claim.holder.gate.passed()
            reference = await claim.current()
            if claim.holder.gate.open:
                break
        agent = claim.agent or claim.holder.agent
        handle = await self.next.start_child_workflow(
            replace(
                input,
                headers={
                    **input.headers,
                    header.KEY: header.write(header.Mark(reference)),
                    header.TERMS: header.write_terms(terms or task.gate.terms),
                },
                search_attributes=self._attributes(input.search_attributes, claim.holder, reference, agent),
                static_summary=input.static_summary or self._summary(input.workflow, agent),
            )
        )
        self._children.add(handle, claim)
        return handle

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        """Go on in a new run with the same chain, terms and count of steps."""
        task = self._task
        if task.reference is not None:
            if task.gate.halted is not None:
                raise task.gate.refusal()
            headers = {
                **input.headers,
                header.KEY: header.write(header.Mark(task.chain, step=task.steps)),
                header.TERMS: header.write_terms(task.gate.terms),
            }
            attributes = input.search_attributes and self._attributes(input.search_attributes, task, task.chain, "")
            input = replace(input, headers=headers, search_attributes=attributes)
        self.next.continue_as_new(input)

    async def start_nexus_operation(
        self, input: StartNexusOperationInput[Any, Any]
    ) -> workflow.NexusOperationHandle[Any]:
        """Refuse: what an operation does elsewhere cannot be governed from here."""
        self._refuse_nexus(input.service)
        return await self.next.start_nexus_operation(input)

    async def start_system_nexus_operation(
        self, input: StartNexusOperationInput[Any, Any]
    ) -> workflow.NexusOperationHandle[Any]:
        """Refuse: it starts workflows that carry no chain."""
        self._refuse_nexus(input.service)
        return await self.next.start_system_nexus_operation(input)

    async def start_signal_with_start_workflow(self, request: Any) -> workflow.NexusOperationHandle[Any]:
        """Refuse: it starts workflows that carry no chain."""
        self._refuse_nexus("signal with start")
        return await self.next.start_signal_with_start_workflow(request)

    def _refuse_nexus(self, what: str) -> None:
        if self._task.reference is not None:
            _refuse("nexus.ungoverned", f"a governed task starts no Nexus operation ({what})")

    def _left_alone(self, activity: str) -> bool:
        if activity.startswith(names.RESERVED):
            _refuse("activity.reserved", f"{activity} is Remit's own")
        return self._task.reference is None

    def _governed(self, input: StartActivityInput, *, told: Told | None = None) -> asyncio.Task[Any]:
        timeout = input.heartbeat_timeout or self._task.facts.heartbeat
        wire = replace(input, heartbeat_timeout=timeout, cancellation_type=_WAIT)
        return self._step(input, wire, self.next.start_activity, told=told)

    def _local(self, input: StartLocalActivityInput, *, told: Told | None = None) -> asyncio.Task[Any]:
        wire = replace(input, cancellation_type=_WAIT)
        return self._step(input, wire, self.next.start_local_activity, told=told)

    def _step(
        self,
        input: _AnyActivity,
        wire: _AnyActivity,
        start: Callable[[_AnyActivity], workflow.ActivityHandle[Any]],
        *,
        told: Told | None = None,
    ) -> asyncio.Task[Any]:
        task, holder = self._task, self._children.acting.holder
        task.steps += 1
        number, view = task.steps, self._described(task.steps, input.activity, input.args)
        task.view.steps.append(view)
        first_run = workflow.info().first_execution_run_id

        def schedule(approvals: tuple[str, ...]) -> asyncio.Task[Any]:
            headers: dict[str, Payload] = {
                **input.headers,
                header.KEY: header.write(header.Mark(holder.chain, first_run, number)),
            }
            if approvals:
                headers[header.APPROVALS] = header.write_approvals(approvals)
            summary = input.summary or self._summary(f"{view.tool} {view.resource}".strip(), holder.agent)
            return start(replace(wire, headers=headers, summary=summary))

        cancellation = input.cancellation_type
        return Step(task, schedule, view=view, cancellation=cancellation, told=told, holder=holder).start()

    def _aside(
        self, input: _AnyActivity, start: Callable[[_AnyActivity], workflow.ActivityHandle[Any]]
    ) -> workflow.ActivityHandle[Any]:
        """Start an activity that carries no authority; it stops and waits with the task all the same."""
        step = Step(
            self._task,
            lambda _: start(input),
            view=StepView(0, input.activity),
            cancellation=input.cancellation_type,
            holder=self._children.acting.holder,
        )
        return cast("workflow.ActivityHandle[Any]", step.start())

    def _described(self, number: int, activity: str, arguments: Sequence[Any]) -> StepView:
        tool = self._task.facts.tool(activity)
        try:
            use = tool.use(arguments) if tool else None
        except Exception:
            use = None  # refused, or failed, where it is decided and recorded; here it is only not described
        return StepView(number, use.tool, use.call.action, use.call.resource) if use else StepView(number, activity)

    def _summary(self, what: str, agent: str) -> str:
        return " · ".join(filter(None, (what[:_LONGEST_SUMMARY], self._task.view.acting_with(agent))))

    def _attributes(
        self,
        given: TypedSearchAttributes | SearchAttributes | None,
        holder: Holder,
        reference: Reference,
        agent: str,
    ) -> TypedSearchAttributes | SearchAttributes | None:
        """Return a child's search attributes: what its workflow asked for, and ours."""
        view = self._task.view
        if not self._task.searchable:
            return given
        ids = holder.chain_ids
        acts_as = Principal(Principal.parse(view.root).trust_domain, "agent", agent).spiffe_id if agent else view.agent
        return with_attributes(
            given,
            root=view.root,
            agent=acts_as,
            delegations=ids if reference.delegation in ids else [*ids, reference.delegation],
        )


def _refuse(code: str, message: str) -> NoReturn:
    raise ApplicationError(
        message, {"remit": "Refused", "code": code, "message": message}, type=code, non_retryable=True
    )
