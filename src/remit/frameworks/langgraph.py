"""LangGraph: nodes and tasks as `temporalio-langgraph` runs them.

- What a node does is the mapping's to say: it makes the tool calls of the last message, asks a model, or is one tool.
- A message is read as `convert_to_messages` would read it. What a tool node is to call stands in its tool calls, and
  nowhere else.
- A part of several calls holds one call, wherever in the message a node may look for it.
- Only messages are put together: what else a node may do with several calls at once is refused.
- A node inside the workflow is seen when the worker starts; a LangChain tool that it, or any other code, calls is seen
  by `remit.frameworks.langchain`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remit.errors import Refused
from remit.frameworks.reading import Framework, Kind, ModelCall, Seen, ToolCall, unreadable

if TYPE_CHECKING:
    from temporalio.worker import Interceptor, WorkerConfig

    from remit.mapping import Mapping as Meaning

_INPUT = frozenset({"args", "kwargs", "langgraph_config"})
_AI = frozenset({"ai", "assistant"})
_CONFIG = "config"
"""What LangGraph itself passes to a function that asks for it."""
_ENVELOPES = {"AIMessage": "ai", "AIMessageChunk": "ai", "ToolMessage": "tool", "ToolMessageChunk": "tool"}
"""The last part of a class name as LangChain's own serialisation writes it, and the type that means."""


@dataclass(frozen=True, slots=True)
class _Made:
    """The tool calls an activity makes.

    Args:
        calls: In order.
        only: From a call's number to the activity's first argument with only that call.
        answered: From tool messages to the result that holds them.
    """

    calls: tuple[ToolCall, ...]
    only: Callable[[int], Any]
    answered: Callable[[list[Any]], Any]


class LangGraph(Framework):
    """Reads it.

    Args:
        mapping: What nodes, tasks and tools mean.
    """

    def __init__(self, mapping: Meaning) -> None:
        super().__init__(mapping)
        self._functions: dict[str, inspect.Signature] = {}

    def kind(self, activity: str) -> Kind | None:
        """Return what the mapping says a node or a task is."""
        node = self.mapping.nodes.get(activity)
        if node is not None:
            return "tool" if node.runs == "tools" else "model"
        return "tool" if self.mapping.of_activity(activity) is not None else None

    def calls(self, activity: str, arguments: Sequence[Any]) -> Sequence[ToolCall]:
        """Return the tool calls of the last message, or the one that a node or task is."""
        if activity in self.mapping.nodes:
            return self._made(activity, arguments).calls
        found = self.mapping.of_activity(activity)
        if found is None:
            unreadable(activity, "it makes no tool call")
        return [ToolCall(found[0], self._named(activity, arguments))]

    def model(self, activity: str, arguments: Sequence[Any]) -> ModelCall:
        """Return the model the mapping names."""
        node = self.mapping.nodes.get(activity)
        if node is None or node.model is None:
            unreadable(activity, "it asks no model")
        _input(activity, arguments)
        return ModelCall(node.model)

    def proposed(self, activity: str, result: Any) -> Sequence[ToolCall]:
        """Return the tool calls in whatever a model's node returns that nothing in it answers."""
        messages = list(_messages([_output(activity, result).get(key) for key in ("result", "langgraph_command")]))
        answered = {one.get("tool_call_id") for one in messages} - {None}
        made = [_call(activity, raw) for one in messages for raw in _raw(activity, one)]
        made += [call for one in messages for call in _derived(activity, one)]
        return [call for call in made if call.id not in answered]

    def told(self, activity: str, arguments: Sequence[Any], message: str) -> Any:
        """Return a refusal as the answer to each of the calls; one tool that is a task of its own has no model."""
        if activity not in self.mapping.nodes:
            unreadable(activity, "a refusal cannot be told to its model")
        made = self._made(activity, arguments)
        return _returned(made.answered([_answer(call, message) for call in made.calls]))

    def part(self, activity: str, arguments: Sequence[Any], number: int) -> Sequence[Any]:
        """Return the arguments whose message holds only the n-th call."""
        given, only = _input(activity, arguments), self._made(activity, arguments).only(number)
        if given["args"]:
            return [{**given, "args": [only, *given["args"][1:]]}]
        return [{**given, "kwargs": {name: only if name != _CONFIG else it for name, it in given["kwargs"].items()}}]

    def joined(self, activity: str, results: Sequence[Any]) -> Any:
        """Return the tool messages of all parts, in order.

        Raises:
            Refused: ``tool.parallel`` when a part did anything else: returned a command, interrupted, set other state.
        """
        told = [_output(activity, one) for one in results]
        found: list[Any] = [one["result"] for one in told]
        if not any(one.get("langgraph_command") or one.get("langgraph_interrupts") for one in told):
            if all(map(_are_answers, found)):
                return _returned([message for one in found for message in one])
            if all(
                isinstance(one, dict) and set(one) == {"messages"} and _are_answers(one["messages"]) for one in found
            ):
                return _returned({"messages": [message for one in found for message in one["messages"]]})
        raise Refused(
            f"{activity} made {len(results)} tool calls, and one of them did more than answer with a message",
            code="tool.parallel",
            next_action="Have the model make one call at a time: bind_tools(tools, parallel_tool_calls=False).",
        )

    def failed(self, activity: str, result: Any) -> bool:
        """Tell whether one of the messages a tool's node returns says that its tool failed."""
        return any(one.get("status") == "error" for one in _messages(result))

    def interceptors(self) -> Sequence[Interceptor]:
        """Return what sees the LangChain tools that are called anywhere in the worker."""
        from remit.frameworks import langchain

        return langchain.interceptors(self)

    def seen(self, config: WorkerConfig) -> Iterator[Seen]:
        """Return the nodes inside the workflow that nothing speaks for; learn the parameters of the others."""
        registered = set()
        for one in config.get("activities") or ():
            name = getattr(getattr(one, "__temporal_activity_definition", None), "name", None)
            registered.add(name)
            function = _wrapped(one)
            if name and function is not None:
                self._functions[name] = inspect.signature(function)
        for interceptor in config.get("interceptors") or ():
            for graph, built in _graphs(interceptor).items():
                for node in built.nodes:
                    name = f"{graph}.{node}"
                    if name not in registered and not self._makes_calls(name):
                        yield Seen(name, inline=True, where=f"the graph {graph!r}")

    def _makes_calls(self, name: str) -> bool:
        """Tell whether a node is mapped as one that makes tool calls: inside the workflow each is judged there."""
        node = self.mapping.nodes.get(name)
        return node is not None and node.runs == "tools"

    def _made(self, activity: str, arguments: Sequence[Any]) -> _Made:
        given = _input(activity, arguments)
        values = [*given["args"], *(it for name, it in given["kwargs"].items() if name != _CONFIG)]
        if not values or (not given["args"] and len(values) > 1):
            unreadable(activity, "its state is not its first argument")
        return _read(activity, values[0])

    def _named(self, activity: str, arguments: Sequence[Any]) -> dict[str, Any]:
        """Return what a function is given, by the names of its parameters where it is registered here."""
        if len(arguments) != 1 or not isinstance(arguments[0], dict) or set(arguments[0]) != _INPUT:
            return self.named(activity, arguments)  # an activity of the worker's own, mapped beside LangGraph's
        given = _input(activity, arguments)
        kwargs = {name: value for name, value in given["kwargs"].items() if name != _CONFIG}
        known = self._functions.get(activity)
        if known is None:
            return {**{str(number): value for number, value in enumerate(given["args"])}, **kwargs}
        try:
            return dict(known.bind_partial(*given["args"], **kwargs).arguments)
        except TypeError as error:
            unreadable(activity, f"its arguments do not fit: {error}")


def _read(activity: str, value: Any) -> _Made:
    """Read an activity's first argument, in each of the forms that nodes and tasks with tool calls are given."""
    if isinstance(value, dict) and value.get("__type") == "tool_call_with_context":
        return _Made((_call(activity, value.get("tool_call")),), lambda _: value, lambda told: {"messages": told})
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        made = _last(activity, value["messages"])
        return _Made(made.calls, lambda n: {**value, "messages": made.only(n)}, lambda told: {"messages": told})
    if isinstance(value, dict) and "messages" not in value:
        return _Made((_call(activity, value),), lambda _: value, lambda told: told[0])
    if isinstance(value, list) and value and isinstance(value[-1], dict) and value[-1].get("type") == "tool_call":
        calls = tuple(_call(activity, one) for one in value)
        return _Made(calls, lambda n: [value[n]], lambda told: {"messages": told})
    if isinstance(value, list):
        return _last(activity, value)
    return unreadable(activity, "its first argument holds neither messages nor a tool call")


def _last(activity: str, messages: list[Any]) -> _Made:
    """Read the tool calls of the last message."""
    last = _message(messages[-1]) if messages else None
    if last is None or _type(last) not in _AI:
        unreadable(activity, "its last message is none of a model's")
    raw = _raw(activity, last)
    if not raw:
        unreadable(activity, "its last message makes no tool call where LangChain keeps them")
    calls = tuple(_call(activity, one) for one in raw)
    return _Made(calls, lambda n: [*messages[:-1], _only(messages[-1], raw, n)], lambda told: told)


def _only(message: dict[str, Any], raw: list[Any], number: int) -> dict[str, Any]:
    """Return a message with one of its calls, and no trace of the others where providers keep theirs."""
    if message.get("lc") == 1:
        return {**message, "kwargs": _only(message["kwargs"], raw, number)}
    others = {one.get("id") for one in raw if one.get("id") != raw[number].get("id")}
    told = {key: value for key, value in message.items() if key != "tool_call_chunks"}
    if isinstance(additional := told.get("additional_kwargs"), dict):
        dropped = ("tool_calls", "tool_call_chunks")
        told["additional_kwargs"] = {key: value for key, value in additional.items() if key not in dropped}
    if isinstance(content := told.get("content"), list):
        told["content"] = [one for one in content if not _belongs(one, others)]
    return {**told, "tool_calls": [raw[number]]}


def _belongs(block: Any, calls: set[Any]) -> bool:
    """Tell whether a block of a message's content is one of these calls."""
    return isinstance(block, dict) and any(block.get(key) in calls for key in ("id", "call_id") if block.get(key))


def _message(value: Any) -> dict[str, Any] | None:
    """Return a message as its fields; None for what is no message."""
    if not isinstance(value, dict):
        return None
    if value.get("lc") != 1:
        return value
    name, kwargs = value.get("id"), value.get("kwargs")
    known = _ENVELOPES.get(name[-1]) if isinstance(name, list) and name and isinstance(name[-1], str) else None
    return {"type": known, **kwargs} if known and isinstance(kwargs, dict) else None


def _type(message: Mapping[str, Any]) -> Any:
    return message["role"] if "role" in message else message.get("type")


def _raw(activity: str, message: Mapping[str, Any]) -> list[Any]:
    """Return the calls a message makes, as they stand there."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        unreadable(activity, "the tool calls of its message are no list")
    return calls


def _derived(activity: str, message: Mapping[str, Any]) -> Iterator[ToolCall]:
    """Return the calls LangChain would take from where a provider put them, in a message that has none of its own."""
    additional = message.get("additional_kwargs")
    calls = additional.get("tool_calls") if isinstance(additional, dict) and not message.get("tool_calls") else None
    for raw in calls if isinstance(calls, list) else ():
        with suppress(Refused):  # what cannot be read is no call to LangChain either
            yield _call(activity, raw)


def _call(activity: str, raw: Any) -> ToolCall:
    """Read one call, in LangChain's form or in OpenAI's."""
    if isinstance(raw, dict):
        function = raw.get("function")
        name, arguments = (
            (function.get("name"), function.get("arguments"))
            if isinstance(function, dict)
            else (raw.get("name"), raw.get("args"))
        )
        if isinstance(function, dict) and isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):
                arguments = None
        called = raw.get("id")
        if isinstance(name, str) and name and isinstance(arguments, dict) and isinstance(called, str | None):
            return ToolCall(name, arguments, id=called or "")
    return unreadable(activity, "a tool call of it has no name or no arguments")


def _messages(value: Any) -> Iterator[dict[str, Any]]:
    """Return every message with tool calls, or that answers one, in a result."""
    if isinstance(value, list):
        for one in value:
            yield from _messages(one)
    elif isinstance(value, dict):
        message = _message(value)
        if message is not None and ("tool_calls" in message or "tool_call_id" in message):
            yield message
        else:
            for one in value.values():
                yield from _messages(one)


def _input(activity: str, arguments: Sequence[Any]) -> dict[str, Any]:
    given = arguments[0] if len(arguments) == 1 else None
    if (
        not isinstance(given, dict)
        or set(given) != _INPUT
        or not isinstance(given["args"], list)
        or not isinstance(given["kwargs"], dict)
    ):
        unreadable(activity, "its argument is not what LangGraph's plugin passes")
    return given


def _output(activity: str, result: Any) -> dict[str, Any]:
    if not isinstance(result, dict) or "result" not in result:
        unreadable(activity, "its result is not what LangGraph's plugin returns")
    return result


def _returned(result: Any) -> dict[str, Any]:
    return {"result": result, "langgraph_command": None, "langgraph_interrupts": None}


def _answer(call: ToolCall, message: str) -> dict[str, Any]:
    return {"type": "tool", "content": message, "tool_call_id": call.id, "name": call.name, "status": "error"}


def _are_answers(value: Any) -> bool:
    """Tell whether this is a list of tool messages, and of nothing else."""
    read = [_message(one) for one in value] if isinstance(value, list) else [None]
    return all(one is not None and _type(one) == "tool" and isinstance(one.get("tool_call_id"), str) for one in read)


def _wrapped(activity: Any) -> Callable[..., Any] | None:
    """Return the function that an activity of LangGraph's plugin runs; None for any other."""
    if getattr(activity, "__module__", None) != "temporalio.langgraph._activity":
        return None
    found = inspect.getclosurevars(activity).nonlocals.get("func")
    return found if callable(found) else None


def _graphs(interceptor: Any) -> Mapping[str, Any]:
    """Return the graphs that an interceptor of LangGraph's plugin gives to workflows."""
    if type(interceptor).__module__ != "temporalio.langgraph._interceptor":
        return {}
    found = getattr(interceptor, "_graphs", None)
    return found if isinstance(found, Mapping) else {}
