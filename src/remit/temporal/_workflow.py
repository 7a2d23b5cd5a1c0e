"""Workflow interceptors: every way out of a governed workflow carries its chain, or is refused.

- A workflow started without a delegation is left alone; its governed activities are refused where they run.
- Governed: activities, local activities, children, continue-as-new. Refused: Nexus operations, and the plugin's own
  activities called by name.
- Signals never raise, whatever they carry: an exception in a handler would fail the workflow.
- A halted task ends: its code is cancelled, what runs is cancelled, and after at most 10 s it fails.
- A task whose child lost its authority ends only once it knows its own standing: it halts or waits as its terms say.
- A task that ends because it was cancelled has halted: its parent did, or a person ended it.
- At its end a task has the authority sign what was recorded, and keeps that in its history. It waits for it a minute at
  most, and ends as it would have ended, whatever becomes of it. A run that continues as new waits for nothing: a signal
  that came meanwhile would be lost.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.common import RawValue
from temporalio.exceptions import FailureError, is_cancelled_exception
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

from remit.errors import InvalidDocument
from remit.temporal import _header as header
from remit.temporal import _names as names
from remit.temporal._children import Children
from remit.temporal._failure import ending_of, facts_of, to_application_error
from remit.temporal._handlers import Handlers
from remit.temporal._outbound import Outbound
from remit.temporal._parts import Facts
from remit.temporal._settled import settled
from remit.temporal._task import GovernedTask

_GRACE = 10.0
"""Seconds a halted task has to clean up."""
_SHOWN_RESULT = 16 * 1024
_LONGEST_SIGNAL = 16 * 1024
_SEALS = "remit-seals-its-evidence"
_SEALED_WITHIN = timedelta(seconds=90)
"""More than the activity itself takes."""


class Inbound(WorkflowInboundInterceptor):
    """Opens the task, hears what it is told, ends it when it halts."""

    facts: ClassVar[Facts] = Facts()

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Add the handlers to the workflow, whatever it is, and wrap what it starts."""
        self._task = GovernedTask(self.facts)
        self._task.bind(outbound.start_local_activity)
        self._children = Children(self._task)
        handlers = Handlers(self._task, self._children)
        for name in (names.NOTICE, names.DECIDE, names.RESUME):
            workflow.set_signal_handler(name, handlers.signal)
        workflow.set_update_handler(names.DECIDE, handlers.decide, validator=handlers.check_decision)
        workflow.set_update_handler(names.RESUME, handlers.resume, validator=handlers.check_reference)
        workflow.set_query_handler(names.VIEW, handlers.view)
        self._begin(outbound.info().headers)  # a handler may run before the workflow's own code does
        super().init(Outbound(outbound, self._task, self._children))

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """Take our own signals; pass the others on."""
        if input.signal == names.NOTICE:
            self._task.notice()
        elif input.signal == names.DECIDE:
            self._task.desk.put(_carried(input))
        elif input.signal == names.RESUME:
            self._task.resume(_carried(input))
        else:
            await self.next.handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        """Add the task's current details to what the Temporal UI asks for."""
        answer = await self.next.handle_query(input)
        if isinstance(answer, WorkflowMetadata) and self._task.reference is not None:
            ours = self._task.shown().to_markdown()
            answer.current_details = "\n\n".join(filter(None, (ours, answer.current_details)))
        return answer

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """Run a governed task from its opening to its end."""
        task = self._task
        if self._unreadable is not None:
            raise to_application_error(self._unreadable)
        if task.reference is None:
            return await self.next.execute_workflow(input)
        task.changes.begin()
        try:
            await task.open()
            result = await self._run(input)
        except (Exception, asyncio.CancelledError) as error:
            code, message = ending_of(error)
            task.close(_ending(task, error, code), error={"code": code, "message": message})
            if _ends(error):
                await self._seal()
            raise
        task.close("completed", result=_shown(result))
        await self._seal()
        return result

    def _begin(self, headers: Mapping[str, Payload]) -> None:
        self._unreadable: InvalidDocument | None = None
        try:
            mark = header.read(headers)
        except InvalidDocument as error:
            self._unreadable = error
            return
        if mark is not None:
            self._task.begin(mark, header.read_terms(headers))

    async def _run(self, input: ExecuteWorkflowInput) -> Any:
        main = asyncio.create_task(self.next.execute_workflow(input))
        main.add_done_callback(_seen)
        halted = asyncio.get_running_loop().create_future()

        def end() -> None:
            if not halted.done():
                halted.set_result(None)

        self._task.end = end
        while not main.done() and not halted.done():
            try:
                await settled(main, halted)
            except asyncio.CancelledError as cancelled:
                main.cancel(*cancelled.args)
                if (current := asyncio.current_task()) is not None:
                    current.uncancel()
        if main.done():
            await self._sure(main)
            if not halted.done() or not self._task.doubted:
                return main.result()
        main.cancel()
        self._children.cancel()
        try:
            await workflow.wait_condition(
                lambda: main.done() and not self._task.inflight and not self._children.busy, timeout=_GRACE
            )
        except TimeoutError:
            workflow.logger.warning("halted before everything it had started was over")
        raise self._task.gate.refusal()

    async def _seal(self) -> None:
        """Have the evidence sealed; a task that is cancelled meanwhile has ended already."""
        if not self._task.changes.made(_SEALS):
            return
        sealing = asyncio.create_task(self._task.ask(names.SEAL, once=_SEALED_WITHIN))
        while not sealing.done():
            try:
                await settled(sealing)
            except asyncio.CancelledError:
                if (current := asyncio.current_task()) is not None:
                    current.uncancel()
        try:
            sealing.result()
        except FailureError as error:
            workflow.logger.warning("the task's evidence is not sealed yet: %s", error)

    async def _sure(self, main: asyncio.Task[Any]) -> None:
        """Return once a task whose code is over may end: at once, unless a child has lost its authority."""
        task = self._task
        if not task.doubted or main.cancelled() or workflow.cancellation_reason() is not None:
            return
        failure = main.exception()
        if isinstance(failure, workflow.ContinueAsNewError):
            return
        await workflow.wait_condition(lambda: not task.doubtful)
        if facts_of(failure)[0] == "NotLive":
            await workflow.wait_condition(lambda: task.gate.open or task.gate.halted is not None)


def _ending(task: GovernedTask, error: BaseException, code: str) -> str:
    if task.gate.halted is not None:
        return "halted"
    if workflow.cancellation_reason() is not None and is_cancelled_exception(error):
        return "halted"
    return "rejected" if code == "approval.rejected" else "failed"


def _ends(error: BaseException) -> bool:
    """Tell whether this ends the workflow; anything else is a fault in its code, and tried again."""
    cancelled = is_cancelled_exception(error) and workflow.cancellation_reason() is not None
    return cancelled or workflow.is_failure_exception(error)


def _carried(input: HandleSignalInput) -> Any:
    """Return what a signal of ours carries, None when it carries nothing we would send."""
    raw = input.args[0] if input.args else None
    if not isinstance(raw, RawValue) or len(raw.payload.data) > _LONGEST_SIGNAL:
        return None
    try:
        return workflow.payload_converter().from_payload(raw.payload)
    except Exception:  # a converter raises what it likes; whatever this is, it is nothing of ours
        return None


def _seen(main: asyncio.Task[Any]) -> None:
    """Take note of how a workflow's code ended: a task that halted may have ended before its code did."""
    if not main.cancelled():
        main.exception()


def _shown(result: Any) -> Any:
    """Return a result as JSON for the view, None when it is none or large."""
    if result is None:
        return None
    (payload,) = workflow.payload_converter().to_payloads([result])
    if payload.metadata.get("encoding") != b"json/plain" or len(payload.data) > _SHOWN_RESULT:
        return None
    return json.loads(payload.data)
