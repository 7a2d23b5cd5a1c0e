"""Runs of pydantic-ai's agents: who acts in them.

- An agent that is listed under ``agents`` acts, while it runs, under what it is handed there.
- One that is run by another agent's tool must be listed: nothing is handed to whom the mapping does not know.
- A run that goes on from an answer with calls of inline tools is refused: who decided them cannot be seen.
- A run is wrapped where the agent's Temporal capability wraps it. Only runs in governed workflows are touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import wraps
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from remit.errors import Refused, Usage
from remit.frameworks.reading import Acts
from remit.mapping import Mapping

try:
    from pydantic_ai.durable_exec.temporal import TemporalDurability
    from pydantic_ai.messages import ModelResponse
except ImportError as error:
    raise Usage(
        f"pydantic-ai's agents cannot be governed here: {error}",
        code="framework.missing",
        next_action="Install the release that docs/guides/pydantic-ai.md names, or take it out of the mapping.",
    ) from None

_WRAPPED = "__remit_wrapped__"
_GOVERNED: ContextVar[tuple[Mapping, Acts] | None] = ContextVar("remit_pydantic_ai", default=None)
_RUN: ContextVar[str | None] = ContextVar("remit_pydantic_ai_run", default=None)
"""The agent whose run code is in."""


def interceptors(mapping: Mapping, acts: Acts) -> list[Interceptor]:
    """Return what says in a worker's workflows who acts.

    Args:
        mapping: What the agents are handed.
        acts: Has other agents act.

    Raises:
        Usage: ``framework.unknown`` when runs of this release cannot be wrapped.
    """
    present: Any = vars(TemporalDurability).get("wrap_run")
    if present is None:
        raise Usage(
            "runs of this release of pydantic-ai cannot be governed",
            code="framework.unknown",
            next_action="Use the release that docs/guides/pydantic-ai.md names.",
        )
    if not hasattr(present, _WRAPPED):
        TemporalDurability.wrap_run = _wrapping(present)  # type: ignore[method-assign]
    return [Runs(mapping, acts)]


class Runs(Interceptor):
    """Says who acts in the runs of a worker's workflows.

    Args:
        mapping, acts: As of `interceptors`.
    """

    def __init__(self, mapping: Mapping, acts: Acts) -> None:
        self._workflow = type("RunsInbound", (_Inbound,), {"governed": (mapping, acts)})

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Wrap every workflow."""
        return self._workflow


class _Inbound(WorkflowInboundInterceptor):
    governed: tuple[Mapping, Acts]

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        _GOVERNED.set(self.governed)
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        _GOVERNED.set(self.governed)
        await self.next.handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        _GOVERNED.set(self.governed)
        return await self.next.handle_update_handler(input)


def _wrapping(wrap_run: Callable[..., Any]) -> Callable[..., Any]:
    """Return the capability's hook around a run, with whoever is to act acting inside."""

    @wraps(wrap_run)
    async def wrapped(self: Any, ctx: Any, *, handler: Any) -> Any:
        governed = _GOVERNED.get() if workflow.in_workflow() else None
        if governed is None:
            return await wrap_run(self, ctx, handler=handler)
        mapping, acts = governed
        _require_decided(mapping, ctx.messages)
        outer = _RUN.get()
        token = _RUN.set(self.name)
        try:
            if self.name == outer or (outer is None and mapping.agent(self.name) is None):
                return await wrap_run(self, ctx, handler=handler)
            with acts.scope():
                await acts.hand_over(self.name)
                return await wrap_run(self, ctx, handler=handler)
        finally:
            _RUN.reset(token)

    setattr(wrapped, _WRAPPED, True)
    return wrapped


def _require_decided(mapping: Mapping, messages: Sequence[Any]) -> None:
    """Refuse a history whose last answer proposes calls that would be made inside the workflow at once.

    Raises:
        ApplicationError: ``tool.inline``, not retryable.
    """
    last = messages[-1] if messages else None
    for call in last.tool_calls if isinstance(last, ModelResponse) else ():
        rule = mapping.tools.get(call.tool_name)
        if rule is not None and rule.inline:
            error = Refused(
                f"a run that goes on from a history may make a call of {call.tool_name!r} that nobody decided",
                code="tool.inline",
                next_action="Make the tool an activity, or have the model propose the call again.",
            )
            raise ApplicationError(
                error.message, {"remit": "Refused", **error.facts()}, type=error.code, non_retryable=True
            )
