"""Runs of OpenAI agents: what agents have is looked at inside the workflow, before a model is asked.

- Agents are made by workflow code, so they are seen only when they run: at the start, before each request to the model,
  and before each tool; those they hand off to and those that are tools of theirs as well.
- A tool that is an activity, or an MCP server's, is governed as that activity. Any other is run by the workflow itself,
  or by the model's provider: it is mapped with ``inline = true``, or nothing is run.
- Another agent is listed under ``agents``, or nothing is handed to it.
- A model is asked in a run that was looked at, and nowhere else; another release of the framework is refused when the
  worker starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextvars import ContextVar
from fnmatch import fnmatchcase
from types import CodeType
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import (
    ExecuteWorkflowInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from remit.errors import Refused, Usage
from remit.frameworks.openai_agents import MODELS
from remit.mapping import Mapping

try:
    from agents import Agent, FunctionTool, Handoff, RunHooks, RunState
    from agents.lifecycle import RunHooksBase
    from agents.run import AgentRunner, get_default_agent_runner, set_default_agent_runner
    from agents.tool import HostedMCPTool, ToolOriginType, get_function_tool_origin
    from temporalio.openai_agents import workflow as theirs
    from temporalio.openai_agents._openai_runner import TemporalOpenAIRunner
except ImportError as error:
    raise Usage(
        f"OpenAI agents cannot be governed here: {error}",
        code="framework.missing",
        next_action="Install the releases that docs/guides/openai-agents.md names, or take them out of the mapping.",
    ) from None

_HOOKS = ("on_llm_start", "on_llm_end", "on_agent_start", "on_agent_end", "on_handoff", "on_tool_start", "on_tool_end")
_FIELDS = ("on_invoke_tool", "_agent_instance", "_agent_ref", "agent_name", "tools", "mcp_servers", "prompt")
_MAPPING: ContextVar[Mapping | None] = ContextVar("remit_openai_agents", default=None)
_LOOKED_AT: ContextVar[bool] = ContextVar("remit_openai_agents_looked_at", default=False)


def interceptors(mapping: Mapping) -> list[Interceptor]:
    """Return what looks at the agents of a worker's workflows.

    Raises:
        Usage: ``framework.unknown`` when this release of the framework cannot be looked into.
    """
    _require_known()
    return [Runs(mapping)]


class Runs(Interceptor):
    """Looks at the agents of a worker's workflows.

    Args:
        mapping: What their tools mean.
    """

    def __init__(self, mapping: Mapping) -> None:
        self._workflow = type("RunsInbound", (_Inbound,), {"mapping": mapping})

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Wrap every workflow."""
        return self._workflow


class _Inbound(WorkflowInboundInterceptor):
    mapping = Mapping()

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self._begin()
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        self._begin()
        await self.next.handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        self._begin()
        return await self.next.handle_update_handler(input)

    def _begin(self) -> None:
        """Have what this task runs looked at; the runner is the process's, so whoever came last has set it."""
        _MAPPING.set(self.mapping)
        runner = get_default_agent_runner()
        if not isinstance(runner, Looking):
            set_default_agent_runner(Looking(runner))


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        if input.activity in MODELS and not _LOOKED_AT.get():
            refuse(
                "a model is asked outside a run whose agents were looked at",
                code="agent.unseen",
                next_action="Run agents with Runner.run or Runner.run_streamed, and set no runner of your own.",
            )
        return self.next.start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        if input.activity in MODELS:
            refuse(
                "a model is asked by a local activity, which nobody can stop",
                code="model.local",
                next_action="Leave use_local_activity out of the ModelActivityParameters.",
            )
        return self.next.start_local_activity(input)


class Looking(AgentRunner):
    """Runs agents of governed workflows after it looked at them, and all others as before.

    Args:
        runner: Who runs them.
    """

    def __init__(self, runner: AgentRunner) -> None:
        self.runner = runner

    async def run(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        """Run an agent."""
        if not self._looks(starting_agent, input, kwargs):
            return await self.runner.run(starting_agent, input, **kwargs)
        token = _LOOKED_AT.set(True)
        try:
            return await self.runner.run(starting_agent, input, **kwargs)
        finally:
            _LOOKED_AT.reset(token)

    def run_sync(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        """Run an agent; never in a workflow."""
        return self.runner.run_sync(starting_agent, input, **kwargs)

    def run_streamed(self, starting_agent: Any, input: Any, **kwargs: Any) -> Any:
        """Run an agent and stream what it does: its task takes the context it begins in."""
        if not self._looks(starting_agent, input, kwargs):
            return self.runner.run_streamed(starting_agent, input, **kwargs)
        token = _LOOKED_AT.set(True)
        try:
            return self.runner.run_streamed(starting_agent, input, **kwargs)
        finally:
            _LOOKED_AT.reset(token)

    def _looks(self, agent: Any, input: Any, options: dict[str, Any]) -> bool:
        """Look at a run that is about to begin, and have it looked at while it goes on; tell whether it is governed."""
        mapping = _MAPPING.get() if workflow.in_workflow() else None
        if mapping is None:
            return False
        if not isinstance(self.runner, TemporalOpenAIRunner):
            refuse(
                "agents run here without the OpenAIAgentsPlugin",
                code="agent.unseen",
                next_action="Add the OpenAIAgentsPlugin to the worker, and set no runner of your own.",
            )
        look = Look(mapping)
        look.agent(agent)
        if isinstance(input, RunState) and look.inline:
            refuse(
                f"a run that goes on from a state may make calls of {look.inline[0]!r} that nobody decided",
                code="tool.inline",
                next_action="Make the tool an activity, or begin a new run.",
            )
        if isinstance(options.get("hooks"), RunHooksBase | None):  # anything else the framework refuses
            options["hooks"] = _Hooks(look, options.get("hooks"))
        return True


class Look:
    """What a mapping says of agents and their tools; everything here refuses with an `ApplicationError`.

    Args:
        mapping: The mapping.
    """

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self.inline: list[str] = []
        """The tools seen so far that run inside the workflow or at the provider."""

    def agent(self, agent: Any) -> None:
        """Look at an agent and at all it can reach."""
        found, seen = [agent], set()
        while found:
            one = found.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            if one.prompt is not None:
                self._within("prompt", one.name)
            for server in one.mcp_servers:
                self._server(server.name, one.name)
            for tool in one.tools:
                self.tool(tool, one.name)
                if (inner := _agent_of(tool)) is not None:
                    found.append(inner)
            for handoff in one.handoffs:
                other = handoff.agent_name if isinstance(handoff, Handoff) else handoff.name
                self.other(other, one.name)
                known = handoff._agent_ref() if isinstance(handoff, Handoff) and handoff._agent_ref else handoff
                if isinstance(known, Agent):
                    found.append(known)

    def tool(self, tool: Any, where: str) -> None:
        """Look at one tool of an agent."""
        if not isinstance(tool, FunctionTool):
            label = f"mcp.{tool.tool_config['server_label']}" if isinstance(tool, HostedMCPTool) else tool.name
            return self._within(label, where)
        if (inner := _agent_of(tool)) is not None:
            return self.other(inner.name, where)
        if (activity := _activity_of(tool)) is not None:
            return self._activity(activity, tool.name, where)
        origin = get_function_tool_origin(tool)
        if origin is not None and origin.type is ToolOriginType.MCP:
            return self._server(origin.mcp_server_name or "", where)
        return self._within(tool.qualified_name, where)

    def other(self, agent: str, where: str) -> None:
        """Look at another agent that work is handed to."""
        if self._mapping.agent(agent) is None:
            refuse(
                f"the agent {where!r} can hand work to {agent!r}, which the mapping does not know",
                code="agent.unmapped",
                next_action=f'Say under [agents."{agent}"] what it is handed, or share = true.',
            )

    def _within(self, name: str, where: str) -> None:
        rule = self._mapping.tools.get(name)
        if rule is None or not rule.inline:
            refuse(
                f"the tool {name!r} of the agent {where!r} runs inside the workflow or at the model's provider, and is"
                " not mapped so",
                code="tool.inline",
                next_action=f'Map [tools."{name}"] with inline = true, make it an activity, or leave it out.',
            )
        if name not in self.inline:
            self.inline.append(name)

    def _activity(self, definition: Any, name: str, where: str) -> None:
        declared = hasattr(definition.fn, "__remit_tool__")
        left = any(fnmatchcase(definition.name, pattern) for pattern in self._mapping.ungoverned)
        if not (declared or left) and self._mapping.of_activity(definition.name) is None:
            refuse(
                f"the tool {name!r} of the agent {where!r} is the activity {definition.name!r}, which is not mapped",
                code="tool.unmapped",
                next_action=f'Say under [tools."{name}"] what it does.',
            )

    def _server(self, name: str, where: str) -> None:
        server = name.removesuffix("-stateless")
        if server not in self._mapping.servers:
            refuse(
                f"the MCP server {server!r} of the agent {where!r} is not mapped",
                code="tool.unmapped",
                next_action=f'Say under [servers."{server}".tools] what its tools do.',
            )


class _Hooks(RunHooks[Any]):
    """Looks at what a run came to have since it began, and calls the run's own hooks."""

    def __init__(self, look: Look, others: RunHooksBase[Any, Any] | None) -> None:
        self._look = look
        self._others = others or RunHooks()

    async def on_llm_start(self, context: Any, agent: Any, system_prompt: Any, input_items: Any) -> None:
        self._look.agent(agent)
        await self._others.on_llm_start(context, agent, system_prompt, input_items)

    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        await self._others.on_llm_end(context, agent, response)

    async def on_agent_start(self, context: Any, agent: Any) -> None:
        await self._others.on_agent_start(context, agent)

    async def on_agent_end(self, context: Any, agent: Any, output: Any) -> None:
        await self._others.on_agent_end(context, agent, output)

    async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
        self._look.other(to_agent.name, from_agent.name)
        await self._others.on_handoff(context, from_agent, to_agent)

    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        self._look.tool(tool, agent.name)
        await self._others.on_tool_start(context, agent, tool)

    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: Any) -> None:
        await self._others.on_tool_end(context, agent, tool, result)


def refuse(message: str, *, code: str, next_action: str) -> NoReturn:
    """End what the workflow does with a refusal.

    Raises:
        ApplicationError: Not retryable.
    """
    error = Refused(message, code=code, next_action=next_action)
    raise ApplicationError(
        message,
        {"remit": "Refused", **error.facts()},
        type=code,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


def _agent_of(tool: Any) -> Any:
    """Return the agent a tool is, None for any other tool."""
    return getattr(tool, "_agent_instance", None)


def _activity_of(tool: FunctionTool) -> Any:
    """Return the definition of the activity a tool is, None for any other tool: told by its code, not its name."""
    invoke = tool.on_invoke_tool
    if getattr(invoke, "__code__", None) != _activity_code():
        return None
    return inspect.getclosurevars(invoke).nonlocals["ret"]


def _activity_code() -> CodeType | None:
    """Return the code that `activity_as_tool` gives every tool it makes."""
    constants: Sequence[Any] = theirs.activity_as_tool.__code__.co_consts
    return next((one for one in constants if isinstance(one, CodeType) and one.co_name == "run_activity"), None)


def _require_known() -> None:
    """Refuse a release of the framework that cannot be looked into.

    Raises:
        Usage: ``framework.unknown``.
    """
    fields = {one for kind in (FunctionTool, Handoff, Agent) for one in kind.__dataclass_fields__}
    code = _activity_code()
    missing = [
        *(f"RunHooks.{name}" for name in _HOOKS if not inspect.iscoroutinefunction(getattr(RunHooks, name, None))),
        *(f"AgentRunner.{name}" for name in ("run", "run_sync", "run_streamed") if not hasattr(AgentRunner, name)),
        *(name for name in _FIELDS if name not in fields),
        *(() if code is not None and "ret" in code.co_freevars else ("activity_as_tool",)),
        *(() if issubclass(TemporalOpenAIRunner, AgentRunner) else ("TemporalOpenAIRunner",)),
    ]
    if missing:
        raise Usage(
            f"this release of OpenAI Agents cannot be governed: {', '.join(missing)} is not what it was",
            code="framework.unknown",
            next_action="Use the releases that docs/guides/openai-agents.md names.",
        )
