"""LangChain: every tool of it that is called in a worker is seen, and runs only where that call was permitted.

- In an activity that is the one tool call of its step, made once, while the attempt lasts. A second one, another one,
  one with other arguments, one in an activity without authority: refused, and the attempt fails, whatever its code
  makes of the refusal.
- In a governed workflow it is a call that a model proposed there and that was permitted, of a tool mapped as inline.
- A tool that is listed as ungoverned by its name may be called anywhere.
- A callback handler is what LangChain asks before each call; it is set in a context variable, so that the agent's code
  need not know of it, and found in every thread that LangChain or asyncio start. Where the context is lost, in a bare
  thread, nobody can tell whose call it is: in a process that governs, it is refused. So is one outside Temporal there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import cache, partial
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from remit.attempt import GRANT
from remit.errors import Refused, RemitError
from remit.frameworks.reading import Framework
from remit.mapping import TOOL

if TYPE_CHECKING:
    from langchain_core.callbacks import BaseCallbackHandler

MARK = "remit"
"""The header of a workflow that was started under a delegation."""


class Judge(Protocol):
    """Tells what becomes of a tool call."""

    def __call__(self, name: str, arguments: Any) -> None:
        """Return when it may be made, raise when it may not."""


def interceptors(reader: Framework) -> list[Interceptor]:
    """Return what sees the tools that are called in a worker.

    Args:
        reader: Reads the activities of LangGraph, and knows the mapping.
    """
    _hook()
    return [LangChainInterceptor(reader)]


def ask(judge: Judge) -> None:
    """Have every LangChain tool judged before it runs, until the task of asyncio that runs now ends.

    Temporal runs each attempt, workflow and handler in a task of its own, so nothing has to be taken back.
    """
    variable, handler = _hook()
    variable.set(handler(judge))


@cache
def _hook() -> tuple[ContextVar[BaseCallbackHandler | None], Callable[[Judge], BaseCallbackHandler]]:
    """Return where the handler in force is set, and what makes one; LangChain is told of it once."""
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.tracers.context import register_configure_hook

    class Handler(BaseCallbackHandler):
        """Has LangChain wait for the judge."""

        raise_error = True
        run_inline = True

        def __init__(self, judge: Judge) -> None:
            self._judge = judge

        def on_tool_start(self, serialized: dict[str, Any], input_str: str, **given: Any) -> None:
            """Judge a call: raise, and the tool does not run."""
            arguments = given.get("inputs")
            self._judge(str((serialized or {}).get("name") or ""), input_str if arguments is None else arguments)

    lost: BaseCallbackHandler = Handler(_stray)  # found wherever nothing was set
    variable: ContextVar[BaseCallbackHandler | None] = ContextVar("remit_langchain", default=lost)
    register_configure_hook(variable, inheritable=True)
    return variable, Handler


_READERS: list[Framework] = []
"""Of all workers and replayers that were made in this process."""
_GOVERNS = Event()
"""Set once a governed worker ran an attempt in this process."""


def _stray(name: str, arguments: Any) -> None:
    """Judge a call that no attempt, workflow or handler was seen to make: of a bare thread, or of a constructor."""
    if workflow.in_workflow():
        governed = MARK in workflow.info().headers
    else:
        governed = _GOVERNS.is_set() and not activity.in_activity()  # that would be of a worker that nobody governs
    if governed and not any(_ungoverned(reader, name) for reader in _READERS):
        raise _failure(_refusal(name)) if workflow.in_workflow() else _refusal(name)


class LangChainInterceptor(Interceptor):
    """Sees the tools that are called in a worker's activities and workflows.

    Args:
        reader: As of `interceptors`.
    """

    def __init__(self, reader: Framework) -> None:
        self._reader = reader
        _READERS.append(reader)
        self._workflow = type("RemitLangChain", (Inbound,), {"reader": reader, "__doc__": Inbound.__doc__})

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Watch one attempt."""
        _GOVERNS.set()
        return Attempted(next, self._reader)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Watch every workflow."""
        return self._workflow


def _arguments(input: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in input.items() if name != TOOL}


class Attempted(ActivityInboundInterceptor):
    """Lets one attempt make the tool call it was granted, and no other.

    Args:
        next: The interceptor beneath.
        reader: As of `interceptors`.
    """

    def __init__(self, next: ActivityInboundInterceptor, reader: Framework) -> None:
        super().__init__(next)
        self._reader = reader
        self._over = False
        self._refused: Refused | None = None

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Run the attempt; it fails when it called a tool it may not call."""
        grant = GRANT.get()
        granted = (grant.attempt.tool, _arguments(grant.attempt.call.input)) if grant else ("", None)
        ask(partial(self._judge, _key(*granted)))
        try:
            result = await self.next.execute_activity(input)
        except Exception:
            if self._refused is None:
                raise
        finally:
            self._over = True  # a thread may go on
        if self._refused is None:
            return result
        raise self._refused if grant else _failure(self._refused)  # without a grant nobody makes it final

    def _judge(self, granted: str | None, name: str, arguments: Any) -> None:
        if _ungoverned(self._reader, name):
            return
        if self._over or granted is None or _key(name, arguments) != granted:
            self._refused = _refusal(name)
            raise self._refused
        self._over = True


class Inbound(WorkflowInboundInterceptor):
    """Lets a workflow make the inline tool calls that were permitted there, and no others."""

    reader: ClassVar[Framework]

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Hear what models propose."""
        self._governed = MARK in outbound.info().headers
        self._permitted: set[str] = set()
        super().init(_Outbound(outbound, self.reader, self._permitted) if self._governed else outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """Run the workflow."""
        ask(self._judge)
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """Run a handler."""
        ask(self._judge)
        await self.next.handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        """Run a handler."""
        ask(self._judge)
        return await self.next.handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        """Run a handler."""
        ask(self._judge)
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        """Run a handler."""
        ask(self._judge)
        return await self.next.handle_update_handler(input)

    def _judge(self, name: str, arguments: Any) -> None:
        if not self._governed or _ungoverned(self.reader, name) or _key(name, arguments) in self._permitted:
            return
        raise _failure(_refusal(name))


class _Outbound(WorkflowOutboundInterceptor):
    """Notes the inline calls a model proposes; its answer comes only once each of them is permitted."""

    def __init__(self, next: WorkflowOutboundInterceptor, reader: Framework, permitted: set[str]) -> None:
        super().__init__(next)
        self._reader = reader
        self._permitted = permitted
        self._inline = any(rule.inline for rule in reader.mapping.tools.values())

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        """Start an activity; first of all to hear its result."""
        handle = self.next.start_activity(input)
        if self._inline and self._reader.kind(input.activity) == "model":
            handle.add_done_callback(partial(self._noted, input.activity))
        return handle

    def _noted(self, kind: str, done: asyncio.Task[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        (payload,) = workflow.payload_converter().to_payloads([done.result()])
        try:
            proposed = self._reader.proposed(kind, json.loads(payload.data))
        except (RemitError, ValueError):
            return  # nothing was read there, so nothing is permitted
        for call in proposed:
            rule = self._reader.mapping.tools.get(call.name)
            if rule is not None and rule.inline and (key := _key(call.name, dict(call.arguments))) is not None:
                self._permitted.add(key)


def _ungoverned(reader: Framework, name: str) -> bool:
    return any(name == one or fnmatchcase(name, one) for one in reader.mapping.ungoverned)


def _key(name: str, arguments: Any) -> str | None:
    """Return a call as text that only the same call has; None for one that no model can have made."""
    try:
        return json.dumps([name, dict(arguments)], sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return None


def _refusal(name: str) -> Refused:
    return Refused(
        f"the LangChain tool {name[:200]!r} is called where no such call was permitted",
        code="tool.inline",
        next_action="Have a node of its own make the call, mapped with runs = 'tools'; or, inside the workflow, map "
        "the tool with inline = true, and the node that proposes it with runs = 'model'.",
    )


def _failure(refused: Refused) -> ApplicationError:
    """Return a refusal as Temporal carries it; final."""
    return ApplicationError(
        refused.message,
        {"remit": "Refused", **refused.facts()},
        type=refused.code,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )
