"""LangChain's messages, as they stand on the wire: which tool calls they make, and how one is answered.

- A message is read as `convert_to_messages` would read it: a dict with its type or role, or LangChain's own envelope.
- What a tool node is to call stands in its tool calls, in LangChain's form or in OpenAI's, and nowhere else.
- A part of several calls holds one call, wherever in the message a node may look for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from remit.errors import Refused
from remit.frameworks.reading import ToolCall, unreadable

_AI = frozenset({"ai", "assistant"})
_ENVELOPES = {"AIMessage": "ai", "AIMessageChunk": "ai", "ToolMessage": "tool", "ToolMessageChunk": "tool"}
"""The last part of a class name as LangChain's own serialisation writes it, and the type that means."""


@dataclass(frozen=True, slots=True)
class Made:
    """The tool calls an activity makes.

    Args:
        calls: In order.
        only: From a call's number to the activity's first argument with only that call.
        answered: From tool messages to the result that holds them.
    """

    calls: tuple[ToolCall, ...]
    only: Callable[[int], Any]
    answered: Callable[[list[Any]], Any]


def proposed(activity: str, value: Any) -> list[ToolCall]:
    """Return the tool calls of all messages in a result that nothing in it answers."""
    messages = list(_said(value))
    answered = {one.get("tool_call_id") for one in messages} - {None}
    made = [_call(activity, raw) for one in messages for raw in _raw(activity, one)]
    made += [call for one in messages for call in _derived(activity, one)]
    return [call for call in made if call.id not in answered]


def failed(value: Any) -> bool:
    """Tell whether a message in a result says that its tool failed."""
    return any(one.get("status") == "error" for one in _said(value))


def answer(call: ToolCall, message: str) -> dict[str, Any]:
    """Return the message by which a model reads a refusal."""
    return {"type": "tool", "content": message, "tool_call_id": call.id, "name": call.name, "status": "error"}


def are_answers(value: Any) -> bool:
    """Tell whether this is a list of tool messages, and of nothing else."""
    found = [_message(one) for one in value] if isinstance(value, list) else [None]
    return all(one is not None and _type(one) == "tool" and isinstance(one.get("tool_call_id"), str) for one in found)


def read(activity: str, value: Any) -> Made:
    """Read an activity's first argument, in each of the forms that nodes and tasks with tool calls are given."""
    if isinstance(value, dict) and value.get("__type") == "tool_call_with_context":
        return Made((_call(activity, value.get("tool_call")),), lambda _: value, lambda told: {"messages": told})
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        last = _last(activity, value["messages"])
        return Made(last.calls, lambda n: {**value, "messages": last.only(n)}, lambda told: {"messages": told})
    if isinstance(value, dict) and "messages" not in value:
        return Made((_call(activity, value),), lambda _: value, lambda told: told[0])
    if isinstance(value, list) and value and isinstance(value[-1], dict) and value[-1].get("type") == "tool_call":
        calls = tuple(_call(activity, one) for one in value)
        return Made(calls, lambda n: [value[n]], lambda told: {"messages": told})
    if isinstance(value, list):
        return _last(activity, value)
    return unreadable(activity, "its first argument holds neither messages nor a tool call")


def _last(activity: str, messages: list[Any]) -> Made:
    """Read the tool calls of the last message."""
    last = _message(messages[-1]) if messages else None
    if last is None or _type(last) not in _AI:
        unreadable(activity, "its last message is none of a model's")
    raw = _raw(activity, last)
    if not raw:
        unreadable(activity, "its last message makes no tool call where LangChain keeps them")
    calls = tuple(_call(activity, one) for one in raw)
    return Made(calls, lambda n: [*messages[:-1], _only(messages[-1], raw, n)], lambda told: told)


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


def _said(value: Any) -> Iterator[dict[str, Any]]:
    """Return every message with tool calls, or that answers one, in a result."""
    if isinstance(value, list):
        for one in value:
            yield from _said(one)
    elif isinstance(value, dict):
        message = _message(value)
        if message is not None and ("tool_calls" in message or "tool_call_id" in message):
            yield message
        else:
            for one in value.values():
                yield from _said(one)
