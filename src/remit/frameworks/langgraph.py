"""LangGraph: nodes and tasks as `temporalio-langgraph` runs them.

- What a node does is the mapping's to say: it makes the tool calls of the last message, asks a model, or is one tool.
- Only messages are put together: what else a node may do with several calls at once is refused.
- A node inside the workflow is seen when the worker starts; a LangChain tool that it, or any other code, calls is seen
  by `remit.frameworks.langchain`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from remit.errors import Refused, Usage
from remit.frameworks import langgraph_messages as messages
from remit.frameworks.reading import Framework, Kind, ModelCall, Seen, ToolCall, unreadable

if TYPE_CHECKING:
    from temporalio.worker import Interceptor, WorkerConfig

    from remit.mapping import Mapping as Meaning

_INPUT = frozenset({"args", "kwargs", "langgraph_config"})
_CONFIG = "config"
"""What LangGraph itself passes to a function that asks for it."""


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
        output = _output(activity, result)
        return messages.proposed(activity, [output["result"], output.get("langgraph_command")])

    def told(self, activity: str, arguments: Sequence[Any], message: str) -> Any:
        """Return a refusal as the answer to each of the calls; one tool that is a task of its own has no model."""
        if activity not in self.mapping.nodes:
            unreadable(activity, "a refusal cannot be told to its model")
        made = self._made(activity, arguments)
        return _returned(made.answered([messages.answer(call, message) for call in made.calls]))

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
            if all(map(messages.are_answers, found)):
                return _returned([message for one in found for message in one])
            if all(
                isinstance(one, dict) and set(one) == {"messages"} and messages.are_answers(one["messages"])
                for one in found
            ):
                return _returned({"messages": [message for one in found for message in one["messages"]]})
        raise Refused(
            f"{activity} made {len(results)} tool calls, and one of them did more than answer with a message",
            code="tool.parallel",
            next_action="Have the model make one call at a time: bind_tools(tools, parallel_tool_calls=False).",
        )

    def failed(self, activity: str, result: Any) -> bool:
        """Tell whether one of the messages a tool's node returns says that its tool failed."""
        return messages.failed(result)

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

    def _made(self, activity: str, arguments: Sequence[Any]) -> messages.Made:
        given = _input(activity, arguments)
        values = [*given["args"], *(it for name, it in given["kwargs"].items() if name != _CONFIG)]
        if not values or (not given["args"] and len(values) > 1):
            unreadable(activity, "its state is not its first argument")
        return messages.read(activity, values[0])

    def _named(self, activity: str, arguments: Sequence[Any]) -> dict[str, Any]:
        """Return what a function is given, by the names of its parameters where it is registered here."""
        if len(arguments) != 1 or not isinstance(arguments[0], dict) or set(arguments[0]) != _INPUT:
            return self.named(activity, arguments)  # an activity of the worker's own, mapped beside LangGraph's
        given = _input(activity, arguments)
        kwargs = {name: value for name, value in given["kwargs"].items() if name != _CONFIG}
        known = self._functions.get(activity)
        try:
            if known is None:
                return dict(**{str(number): value for number, value in enumerate(given["args"])}, **kwargs)
            bound = known.bind_partial(*given["args"], **kwargs).arguments
        except TypeError as error:
            unreadable(activity, f"its arguments do not fit: {error}")
        return {name: list(value) if isinstance(value, tuple) else value for name, value in bound.items()}


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


def _wrapped(activity: Any) -> Callable[..., Any] | None:
    """Return the function that an activity of LangGraph's plugin runs; None for any other."""
    if getattr(activity, "__module__", None) != "temporalio.langgraph._activity":
        return None
    found = inspect.getclosurevars(activity).nonlocals.get("func")
    return found if callable(found) else None


def _graphs(interceptor: Any) -> Mapping[str, Any]:
    """Return the graphs that an interceptor of LangGraph's plugin gives to workflows.

    Raises:
        Usage: ``framework.unknown``.
    """
    if type(interceptor).__name__ != "LangGraphInterceptor":
        return {}
    found = getattr(interceptor, "_graphs", None)
    if not isinstance(found, Mapping):
        raise Usage(
            "this release of temporalio-langgraph does not show which nodes run inside the workflow",
            code="framework.unknown",
            next_action="Use one that docs/guides/langgraph.md names.",
        )
    return found
