"""OpenAI Agents: model calls, tools and MCP servers as `temporalio-openai-agents` runs them.

- A tool that is an activity is that activity; an MCP server's has the server's own activities.
- A model's answer proposes function calls, handoffs among them, and calls of tools that run inside the workflow.
- A hosted tool runs at the model's provider, where nothing is seen: it is decided when it is offered.
- What no activity shows, the agents themselves, is looked at where they run: `remit.frameworks.openai_agents_runs`.
"""

from __future__ import annotations

import json
from collections import abc
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from remit.errors import Usage
from remit.frameworks.mcp import MCP, PREFIX
from remit.frameworks.reading import Framework, Kind, ModelCall, Seen, ToolCall, unreadable
from remit.mapping import Mapping

if TYPE_CHECKING:
    from temporalio.worker import Interceptor, WorkerConfig

MODELS = ("invoke_model_activity", "invoke_model_activity_streaming")
_STATELESS = "-stateless-"
_OPERATIONS = ("list-tools", "list-prompts", "call-tool", "call-tool-v2", "get-prompt", "get-prompt-v2")
# A call of these runs inside the workflow: the item's type, the tool's name, and which part of it says what is done.
_LOCAL = {
    "apply_patch_call": ("apply_patch", "operation"),
    "local_shell_call": ("local_shell", "action"),
    "shell_call": ("shell", "action"),
}


class OpenAIAgents(Framework):
    """Reads it."""

    def __init__(self, mapping: Mapping) -> None:
        super().__init__(mapping)
        self._mcp = MCP(mapping)

    def kind(self, activity: str) -> Kind | None:
        """Return what an activity type is."""
        if activity in MODELS:
            return "model"
        if (operation := _of_server(activity)) is not None:
            return self._mcp.kind(operation)
        return "tool" if self.mapping.of_activity(activity) else None

    def calls(self, activity: str, arguments: Sequence[Any]) -> Sequence[ToolCall]:
        """Return the call; an activity's arguments have the names of its parameters."""
        if (operation := _of_server(activity)) is not None:
            return self._mcp.calls(operation, _request_of(activity, arguments))
        found = self.mapping.of_activity(activity)
        if found is None:
            unreadable(activity, "it is no tool of the mapping")
        return [ToolCall(found[0], self.named(activity, arguments))]

    def model(self, activity: str, arguments: Sequence[Any]) -> ModelCall:
        """Return the request: its model, the names of what it is offered, and the longest answer."""
        asked = _request(activity, arguments)
        name, settings = asked.get("model_name") or "", asked.get("model_settings")
        if not isinstance(name, str) or not isinstance(settings, abc.Mapping):
            unreadable(activity, "its model or its settings are missing")
        longest = settings.get("max_tokens")
        offers = [name for name, _ in _offered(activity, asked)]
        offers += [_text(activity, one, "tool_name") for one in _entries(activity, asked, "handoffs")]
        return ModelCall(name, tuple(offers), {"max_tokens": longest} if type(longest) is int else {})

    def hosted(self, activity: str, arguments: Sequence[Any]) -> Sequence[ToolCall]:
        """Return the tools on offer that the model's provider runs by itself, with what they are set to."""
        asked = _request(activity, arguments)
        found = [ToolCall(name, config) for name, config in _offered(activity, asked) if config is not None]
        # A prompt that is kept at the provider may bring tools of its own.
        prompt = asked.get("prompt")
        return [*found, ToolCall("prompt", dict(prompt))] if isinstance(prompt, abc.Mapping) else found

    def proposed(self, activity: str, result: Any) -> Sequence[ToolCall]:
        """Return the calls in a model's answer that are still to be made."""
        return [call for item in _items(activity, result) if (call := _proposal(activity, item)) is not None]

    def told(self, activity: str, arguments: Sequence[Any], message: str) -> Any:
        """Return a refusal as the tool's output."""
        operation = _of_server(activity)
        return message if operation is None else self._mcp.told(operation, arguments, message)

    def failed(self, activity: str, result: Any) -> bool:
        """Tell whether an MCP server answers with an error; an activity that is a tool fails itself."""
        operation = _of_server(activity)
        return operation is not None and self._mcp.failed(operation, result)

    def ready(self, activity: str, arguments: Sequence[Any], *, name: str) -> Sequence[Any]:
        """Return the arguments as the activity is to get them; the older form of MCP shares no connection anyway."""
        return self._mcp.ready(activity, arguments, name=name) if activity.startswith(PREFIX) else arguments

    def seen(self, config: WorkerConfig) -> Iterator[Seen]:
        """Return what MCP servers show; agents are made by workflow code, and seen when they run."""
        return self._mcp.seen(config)

    def interceptors(self) -> Sequence[Interceptor]:
        """Return what looks at the agents themselves."""
        from remit.frameworks.openai_agents_runs import interceptors

        if self.acts is None:
            raise Usage("nobody says who acts", code="plugin.parts", next_action="Give the mapping to a RemitPlugin.")
        return interceptors(self.mapping, self.acts)


def _of_server(activity: str) -> str | None:
    """Return an MCP server's activity as `temporalio-mcp` calls it, None for any other activity."""
    if activity.startswith(PREFIX):
        return activity
    server, _, operation = activity.rpartition(_STATELESS)
    return f"{PREFIX}{server}.{operation.removesuffix('-v2')}" if server and operation in _OPERATIONS else None


def _request_of(activity: str, arguments: Sequence[Any]) -> Sequence[Any]:
    """Return an MCP request as `temporalio-mcp` makes it; the oldest form has name and arguments one by one."""
    if activity.startswith(PREFIX):
        return arguments
    if len(arguments) == 2:
        return [{"name": arguments[0], "arguments": arguments[1]}]
    request = dict(_request(activity, arguments))
    name = request.pop("tool_name", request.get("name"))
    return [{**request, "name": name}]


def _request(activity: str, arguments: Sequence[Any]) -> abc.Mapping[str, Any]:
    if len(arguments) != 1 or not isinstance(arguments[0], abc.Mapping):
        unreadable(activity, "it takes one request")
    found: abc.Mapping[str, Any] = arguments[0]
    return found


def _entries(activity: str, asked: abc.Mapping[str, Any], key: str) -> list[abc.Mapping[str, Any]]:
    found = [] if asked.get(key) is None else asked[key]
    if not isinstance(found, list) or not all(isinstance(one, abc.Mapping) for one in found):
        unreadable(activity, f"its {key} are no list of objects")
    return found


def _text(activity: str, entry: abc.Mapping[str, Any], key: str) -> str:
    found = entry.get(key)
    if not isinstance(found, str) or not found:
        unreadable(activity, f"{key} is missing")
    return found


def _offered(activity: str, asked: abc.Mapping[str, Any]) -> Iterator[tuple[str, abc.Mapping[str, Any] | None]]:
    """Yield the names of the tools on offer, with what a hosted one is set to; the wire names only some."""
    for tool in _entries(activity, asked, "tools"):
        config = tool.get("tool_config")
        if "environment" in tool:
            local = isinstance(tool["environment"], abc.Mapping) and tool["environment"].get("type") == "local"
            yield _text(activity, tool, "name"), None if local else dict(tool)
        elif "name" in tool:
            yield _text(activity, tool, "name"), None
        elif isinstance(config, abc.Mapping):
            yield _configured(activity, config)
        elif "vector_store_ids" in tool:
            yield "file_search", dict(tool)
        elif "search_context_size" in tool:
            yield "web_search", dict(tool)
        elif {"execution", "parameters"} <= set(tool):
            yield "tool_search", dict(tool)
        else:
            unreadable(activity, "it offers a tool of an unknown kind")


def _configured(activity: str, config: abc.Mapping[str, Any]) -> tuple[str, abc.Mapping[str, Any] | None]:
    kind = _text(activity, config, "type")
    if kind == "custom":
        return _text(activity, config, "name"), None
    return f"{kind}.{_text(activity, config, 'server_label')}" if kind == "mcp" else kind, dict(config)


def _items(activity: str, result: Any) -> Iterator[abc.Mapping[str, Any]]:
    """Yield what an answer consists of; of a stream, what its events carry whole."""
    if isinstance(result, abc.Mapping):
        yield from _entries(activity, result, "output")
        return
    if not isinstance(result, list) or not all(isinstance(one, abc.Mapping) for one in result):
        unreadable(activity, "its answer is unknown")
    seen = []
    for event in result:
        response, item = event.get("response"), event.get("item")
        whole = event.get("type") == "response.output_item.done" and isinstance(item, abc.Mapping)
        found = _entries(activity, response, "output") if isinstance(response, abc.Mapping) else [item] if whole else []
        for one in found:
            if one not in seen:
                seen.append(one)
                yield one


def _proposal(activity: str, item: abc.Mapping[str, Any]) -> ToolCall | None:
    """Return the call an item of an answer proposes; None for text, reasoning, and what the provider did already."""
    kind, call = item.get("type"), str(item.get("call_id") or "")
    if kind == "function_call":
        return ToolCall(_qualified(activity, item), _object(activity, item), id=call)
    if kind == "custom_tool_call":
        return ToolCall(_qualified(activity, item), {"input": item.get("input")}, id=call)
    if kind == "computer_call":
        return ToolCall("computer_use_preview", {"action": item.get("action"), "actions": item.get("actions")}, id=call)
    if kind in _LOCAL:
        name, part = _LOCAL[kind]
        done = item.get(part)
        return ToolCall(name, dict(done) if isinstance(done, abc.Mapping) else {part: done}, id=call)
    return None


def _qualified(activity: str, item: abc.Mapping[str, Any]) -> str:
    name, namespace = _text(activity, item, "name"), item.get("namespace")
    # A tool that is loaded later stands in a namespace of its own name.
    return f"{namespace}.{name}" if isinstance(namespace, str) and namespace not in ("", name) else name


def _object(activity: str, item: abc.Mapping[str, Any]) -> abc.Mapping[str, Any]:
    """Return a call's arguments; what is no JSON object no tool takes either, so it is shown as it stands."""
    text = item.get("arguments")
    try:
        found = json.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        found = None
    return found if isinstance(found, abc.Mapping) else {"arguments": text}
