"""pydantic-ai: model requests and toolsets as its Temporal capability runs them.

- A toolset's `call_tool` is one tool call; an MCP toolset's id is its server's name.
- The dependencies of a run are decided with a tool's arguments, as ``_deps``: the tool acts on both.
- A model is offered only tools that will be decided: one that would run inside the workflow is mapped ``inline``.
  One that the model's provider would run (a native tool) is known by its kind, and decided with its settings.
- Capabilities' operations, workspaces and event handlers are the application's own: mapped, or listed as ungoverned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from remit.errors import Denied
from remit.frameworks.pydantic_ai_agents import agents
from remit.frameworks.reading import Framework, Kind, ModelCall, Seen, ToolCall, unreadable

if TYPE_CHECKING:
    from temporalio.worker import Interceptor, WorkerConfig

    from remit.mapping import Mapping as Meaning

_PREFIX = "agent__"
_MARK = re.compile(r"(?=__(toolset|function_toolset|dynamic_toolset|mcp_server|capability)__)")
_CALLS = ("toolset", "dynamic_toolset", "mcp_server")
_OF_TOOLSET: Mapping[str, Kind] = {
    "call_tool": "tool",
    "get_tools": "listing",
    "get_instructions": "listing",
    "validate_args": "listing",
}
_OF_MODEL = {
    "model_request": "request",
    "model_request_stream": "stream",
    "model_compact_messages": "compact",
    "model_cancel_suspended_response": "cancel",
}
_RETURNED = ("tool_return", "tool_content_result")
_SEARCH = "tool_search"
_OUTPUT = re.compile(r"final_result(_.*)?")


@dataclass(frozen=True, slots=True)
class Operation:
    """What an activity type says.

    Args:
        agent: The agent's name.
        of: ``toolset``, ``mcp_server``, … or empty for the agent's own.
        id: The toolset's.
        name: E.g. ``call_tool``; empty when it cannot be told.
    """

    agent: str
    of: str
    id: str
    name: str


class PydanticAI(Framework):
    """Reads it."""

    def __init__(self, mapping: Meaning) -> None:
        super().__init__(mapping)
        self._defaults: dict[str, str] = {}
        """Agent → the name of its default model, which is not on the wire."""

    def kind(self, activity: str) -> Kind | None:
        """Return what an operation is."""
        found = operation(activity)
        if found is None:
            return None
        if found.of == "capability":
            return "other"
        if found.of:
            kind = _OF_TOOLSET.get(found.name, "other")
            return kind if kind != "tool" or found.of in _CALLS else "other"
        return "model" if found.name in _OF_MODEL else "other"

    def calls(self, activity: str, arguments: Sequence[Any]) -> Sequence[ToolCall]:
        """Return the one call; the tool's name is the one its toolset has it under."""
        found, params = operation(activity), _first(activity, arguments)
        name = _runs(params)
        given = params.get("tool_args")
        if found is None or not isinstance(name, str) or not isinstance(given, Mapping):
            unreadable(activity, "it names no tool with arguments")
        if len(arguments) > 1 and arguments[1] is not None:
            if "_deps" in given:
                unreadable(activity, "an argument has the name '_deps', which stands for the run's dependencies")
            given = {**given, "_deps": arguments[1]}
        context = params.get("serialized_run_context")
        call = context.get("tool_call_id") if isinstance(context, Mapping) else None
        server = found.id if found.of == "mcp_server" else None
        return (ToolCall(name, dict(given), server=server, id=call if isinstance(call, str) else ""),)

    def model(self, activity: str, arguments: Sequence[Any]) -> ModelCall:
        """Return what is asked of a model.

        Raises:
            Denied: ``tool.unmapped``, ``tool.inline``: it is offered a tool nobody would decide.
        """
        found, request = operation(activity), _first(activity, arguments)
        if found is None or found.name not in _OF_MODEL:
            unreadable(activity, "it asks no model")
        named = request.get("model_id")
        name = named if isinstance(named, str) and named else self._defaults.get(found.agent, "")
        settings: dict[str, Any] = {"operation": _OF_MODEL[found.name]}
        if found.name == "model_cancel_suspended_response":
            return ModelCall(name, settings=settings)
        parameters = request.get("model_request_parameters")
        if not isinstance(parameters, Mapping):
            unreadable(activity, "it does not say what the model is offered")
        wanted = request.get("model_settings")
        if isinstance(wanted, Mapping) and isinstance(most := wanted.get("max_tokens"), int):
            settings["max_tokens"] = most
        offers = [self._offered(activity, found.agent, tool) for tool in _tools(activity, parameters, "function_tools")]
        return ModelCall(name, (*offers, *(one.name for one in _hosted(activity, parameters))), settings)

    def hosted(self, activity: str, arguments: Sequence[Any]) -> Sequence[ToolCall]:
        """Return the native tools of a request; searching among the agent's own tools is none."""
        parameters = _first(activity, arguments).get("model_request_parameters")
        if not isinstance(parameters, Mapping):  # a cancelled response
            return ()
        return [one for one in _hosted(activity, parameters) if one.name != _SEARCH]

    def proposed(self, activity: str, result: Any) -> Sequence[ToolCall]:
        """Return the tool calls of an answer; an output tool ends the run, and calls nothing."""
        if result is None:  # a cancelled response
            return ()
        response = result.get("response", result) if isinstance(result, Mapping) else None
        parts = response.get("parts") if isinstance(response, Mapping) else None
        if not isinstance(parts, list) or not all(isinstance(one, Mapping) for one in parts):
            unreadable(activity, "the answer has no parts")
        calls = [_proposed(activity, one) for one in parts if one.get("part_kind") == "tool-call"]
        return [one for one in calls if one is not None and not self._outputs(one.name)]

    def told(self, activity: str, arguments: Sequence[Any], message: str) -> Any:
        """Return a tool's failure; unlike a retry, it ends no run however often it comes."""
        self.calls(activity, arguments)
        return {"kind": "tool_failed", "message": message}

    def failed(self, activity: str, result: Any) -> bool:
        """Tell whether a tool gave anything but a result: a failure, a retry it asks for, a call put off."""
        return not isinstance(result, Mapping) or result.get("kind") not in _RETURNED

    def interceptors(self) -> Sequence[Interceptor]:
        """Return what says who acts in the agents' runs."""
        if self.acts is None:
            return ()
        from remit.frameworks.pydantic_ai_runs import interceptors

        return interceptors(self.mapping, self.acts)

    def seen(self, config: WorkerConfig) -> Iterator[Seen]:
        """Return the tools of the function toolsets of every agent here.

        Raises:
            Usage: ``agent.unseen`` for activities of an agent that cannot be looked into.
        """
        names = {one.agent for name in self.parameters if (one := operation(name)) and self.kind(name) == "model"}
        for agent in agents(config, names):
            self._defaults[agent.name] = agent.model
            for tool, inline in agent.tools:
                yield Seen(tool, inline=inline, where=f"the agent {agent.name!r}")

    def _offered(self, activity: str, agent: str, tool: Mapping[str, Any]) -> str:
        """Return a tool's name, once it is sure that calls of it are decided."""
        name = tool.get("name")
        if not isinstance(name, str):
            unreadable(activity, "a tool that is offered has no name")
        rule = self.mapping.tools.get(name)
        if self._elsewhere(agent, tool) or (rule is not None and rule.inline) or self._ungoverned(name):
            return name
        raise Denied(
            f"the agent {agent[:100]!r} offers a tool {name[:200]!r} that would run inside the workflow, undecided",
            code="tool.unmapped" if rule is None else "tool.inline",
            next_action="Map it with inline = true, or have its toolset run it as an activity.",
        )

    def _elsewhere(self, agent: str, tool: Mapping[str, Any]) -> bool:
        """Tell whether calls of a tool leave the workflow, for an activity or a child, or are not made at all."""
        if tool.get("kind") == "external":
            return True
        metadata = tool.get("metadata")
        if isinstance(metadata, Mapping) and metadata.get("temporal") is False:
            return False
        toolset = tool.get("toolset_id")
        return any(f"{_PREFIX}{agent}__{of}__{toolset}__call_tool" in self.parameters for of in _CALLS)

    def _outputs(self, name: str) -> bool:
        return name not in self.mapping.tools and _OUTPUT.fullmatch(name) is not None

    def _ungoverned(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.mapping.ungoverned)


def operation(activity: str) -> Operation | None:
    """Return what an activity type says, None when it is not pydantic-ai's; what reads in two ways has no name."""
    if not activity.startswith(_PREFIX):
        return None
    marks = list(_MARK.finditer(activity, len(_PREFIX)))
    if not marks:
        agent, _, name = activity.removeprefix(_PREFIX).rpartition("__")
        return Operation(agent, "", "", name if agent else "")
    of, agent = marks[0][1], activity[len(_PREFIX) : marks[0].start()]
    if len(marks) > 1:
        return Operation(agent, of, "", "")
    toolset, _, name = activity[marks[0].end() + len(f"__{of}__") :].rpartition("__")
    return Operation(agent, of, toolset, name if toolset else "")


def _runs(params: Mapping[str, Any]) -> Any:
    """Return the name of the function that runs, found as the framework finds it; None where names disagree."""
    defined, shown = params.get("tool_def"), params.get("name")
    if not isinstance(defined, Mapping):
        return shown
    if defined.get("name") != shown:
        return None
    original = params.get("original_name")
    return shown if original is None else original


def _first(activity: str, arguments: Sequence[Any]) -> Mapping[str, Any]:
    if not 1 <= len(arguments) <= 2 or not isinstance(arguments[0], Mapping):
        unreadable(activity, "it takes its parameters and the run's dependencies")
    return arguments[0]


def _hosted(activity: str, parameters: Mapping[str, Any]) -> list[ToolCall]:
    found = []
    for tool in _tools(activity, parameters, "native_tools"):
        kind = tool.get("kind")
        if not isinstance(kind, str):
            unreadable(activity, "a tool of the model's provider has no kind")
        found.append(ToolCall(kind, {name: value for name, value in tool.items() if name != "kind"}))
    return found


def _tools(activity: str, parameters: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    found = parameters.get(field)
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        unreadable(activity, f"it has no {field}")
    return found


def _proposed(activity: str, part: Mapping[str, Any]) -> ToolCall | None:
    """Return a proposed call; None for one whose arguments are no JSON, which pydantic-ai gives back to the model."""
    name, given, call = part.get("tool_name"), part.get("args"), part.get("tool_call_id")
    if isinstance(given, str):
        try:
            given = from_json(given or "{}")  # the parser that pydantic-ai's own validation uses
        except ValueError:
            return None
    given = given or {}
    if not isinstance(name, str) or not isinstance(given, Mapping):
        unreadable(activity, "a tool call in the answer has no name or no arguments")
    return ToolCall(name, dict(given), id=call if isinstance(call, str) else "")
