"""A look at OpenAI agents: what each tool an agent has is run by, and whether the mapping says so.

- A tool that is an activity, or an MCP server's, is governed as that activity. Any other is run by the workflow itself,
  or by the model's provider: it is mapped with ``inline = true``, or nothing is run.
- Another agent is listed under ``agents``, or nothing is handed to it.
- Tools are told apart by what they do, not by their names; a release of the framework where that cannot be seen is
  refused when the worker starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from fnmatch import fnmatchcase
from types import CodeType
from typing import Any, NoReturn

from agents import Agent, FunctionTool, Handoff, RunHooks
from agents.run import AgentRunner
from agents.tool import HostedMCPTool, ToolOriginType, get_function_tool_origin
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.openai_agents import workflow as theirs

from remit.errors import Refused, Usage
from remit.mapping import Mapping

_SERVERS = ("_TemporalMCPServer", "_StatelessMCPServerReference", "_StatefulMCPServerReference")
_HOOKS = ("on_llm_start", "on_llm_end", "on_agent_start", "on_agent_end", "on_handoff", "on_tool_start", "on_tool_end")
_FIELDS = ("on_invoke_tool", "_agent_instance", "_agent_ref", "agent_name", "tools", "mcp_servers", "prompt")


class Look:
    """What a mapping says of the agents of one run; everything here refuses with an `ApplicationError`.

    Args:
        mapping: The mapping.
        first: The agent the run begins with, to which it may come back.
    """

    def __init__(self, mapping: Mapping, *, first: str) -> None:
        self._mapping = mapping
        self._first = first
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
                if type(server).__name__ not in _SERVERS or not type(server).__module__.startswith(theirs.__package__):
                    refuse(
                        f"the MCP server {server.name!r} of the agent {one.name!r} is asked by the workflow itself",
                        code="tool.inline",
                        next_action="Use temporal_mcp_server, which asks it in activities.",
                    )
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
        if agent != self._first and self._mapping.agent(agent) is None:
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


def require_known() -> None:
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
    ]
    if missing:
        raise Usage(
            f"this release of OpenAI Agents cannot be governed: {', '.join(missing)} is not what it was",
            code="framework.unknown",
            next_action="Use the releases that docs/guides/openai-agents.md names.",
        )


def _agent_of(tool: Any) -> Any:
    """Return the agent a tool is, None for any other tool."""
    return getattr(tool, "_agent_instance", None)


def _activity_of(tool: FunctionTool) -> Any:
    """Return the definition of the activity a tool is, None for any other tool."""
    invoke = tool.on_invoke_tool
    if getattr(invoke, "__code__", None) != _activity_code():
        return None
    return inspect.getclosurevars(invoke).nonlocals["ret"]


def _activity_code() -> CodeType | None:
    """Return the code that `activity_as_tool` gives every tool it makes."""
    constants: Sequence[Any] = theirs.activity_as_tool.__code__.co_consts
    return next((one for one in constants if isinstance(one, CodeType) and one.co_name == "run_activity"), None)
