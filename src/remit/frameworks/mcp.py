"""MCP: an MCP server's operations as `temporalio-mcp` runs them, also beneath other frameworks.

- A tool call, a prompt and a resource are calls; listing what a server has carries no authority.
- What goes to the server besides the arguments (its ``meta``, the argument of the connection's factory) is decided and
  approved with them.
- A call with a credential gets a connection of its own: an argument for the factory that no other attempt has. A
  connection without a credential may be shared.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from remit.errors import Usage
from remit.frameworks.reading import Framework, Kind, Seen, ToolCall, unreadable

if TYPE_CHECKING:
    from temporalio.worker import WorkerConfig

PREFIX = "temporalio.mcp."
CALL, PROMPT, RESOURCE = "call-tool", "get-prompt", "read-resource"
_LISTINGS = frozenset({"list-tools", "list-prompts", "list-resources", "list-resource-templates"})
_SAID = {CALL: ("name", "arguments"), PROMPT: ("name", "arguments"), RESOURCE: ("uri",)}
_BESIDES = {"meta": "_meta", "factory_argument": "_connection"}
"""What a request holds besides the arguments → its name among the decided input."""


class MCP(Framework):
    """Reads it."""

    def kind(self, activity: str) -> Kind | None:
        """Return what an operation is."""
        if not activity.startswith(PREFIX):
            return None
        operation = _parts(activity)[1]
        if operation in (CALL, PROMPT, RESOURCE):
            return "tool"
        return "listing" if operation in _LISTINGS else "other"

    def calls(self, activity: str, arguments: Sequence[Any]) -> Sequence[ToolCall]:
        """Return the one call a request makes."""
        server, operation = _parts(activity)
        request = _request(activity, arguments)
        for field, value in request.items():
            if value is not None and field not in (*_SAID[operation], *_BESIDES):
                unreadable(activity, f"the request has a field {field!r}, which would not be decided")
        given = dict(_said(activity, operation, request))
        for field, name in _BESIDES.items():
            if request.get(field) is not None:
                if name in given:
                    unreadable(activity, f"an argument has the name {name!r}, which stands for the request's {field}")
                given[name] = request[field]
        if operation == CALL:
            return (ToolCall(_text(activity, request, "name"), given, server=server),)
        return (ToolCall(operation, given, server=server, other=True),)

    def told(self, activity: str, arguments: Sequence[Any], message: str) -> Any:
        """Return a tool's result that is an error; a prompt or a resource has no such form."""
        if _parts(activity)[1] != CALL:
            unreadable(activity, "its result has no form for an error")
        return {"content": [{"type": "text", "text": message}], "structured_content": None, "is_error": True}

    def failed(self, activity: str, result: Any) -> bool:
        """Tell whether the server answers with an error."""
        return isinstance(result, Mapping) and bool(result.get("is_error") or result.get("isError"))

    def ready(self, activity: str, arguments: Sequence[Any], *, name: str) -> Sequence[Any]:
        """Return the request with an argument for the connection's factory, if the call has a credential."""
        if len(arguments) != 1 or not isinstance(arguments[0], dict):
            return arguments
        (request,) = arguments
        if request.get("factory_argument") is not None or not self._credential(activity, request):
            return arguments
        return ({**request, "factory_argument": name},)

    def seen(self, config: WorkerConfig) -> Iterator[Seen]:
        """Refuse a server whose connections would be shared although its calls have credentials.

        Raises:
            Usage: ``mcp.shared``.
        """
        for one in config.get("activities") or ():
            activity = getattr(getattr(one, "__temporal_activity_definition", None), "name", None) or ""
            if not activity.startswith(PREFIX):
                continue
            server, operation = _parts(activity)
            if operation == CALL and self._credentials(server) and not _takes_argument(one, server):
                raise Usage(
                    f"calls to the MCP server {server!r} have credentials, and its factory takes no argument, so that"
                    " its connection would be shared",
                    code="mcp.shared",
                    next_action=f"Give the factory one positional argument: {{{server!r}: lambda attempt: Client(…)}}.",
                )
        return iter(())

    def _credentials(self, server: str) -> bool:
        found = self.mapping.servers.get(server)
        return found is not None and any(rule.credential for rule in (*found.tools.values(), *found.other.values()))

    def _credential(self, activity: str, request: Mapping[str, Any]) -> str | None:
        server, operation = _parts(activity)
        other = operation != CALL
        rule = self.mapping.tool(operation if other else str(request.get("name")), server=server, other=other)
        return rule.credential if rule else None


def _parts(activity: str) -> tuple[str, str]:
    """Return server and operation; a server's name may hold dots."""
    server, _, operation = activity.removeprefix(PREFIX).rpartition(".")
    return server, operation


def _request(activity: str, arguments: Sequence[Any]) -> Mapping[str, Any]:
    if len(arguments) != 1 or not isinstance(arguments[0], Mapping):
        unreadable(activity, "it takes one request")
    request: Mapping[str, Any] = arguments[0]
    return request


def _said(activity: str, operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an operation is asked with."""
    given = request.get("arguments") or {}
    if not isinstance(given, Mapping):
        unreadable(activity, "its arguments are no object")
    if operation == CALL:
        return given
    if operation == PROMPT:
        return {"name": _text(activity, request, "name"), "arguments": given}
    return {"uri": _text(activity, request, "uri")}


def _text(activity: str, request: Mapping[str, Any], field: str) -> str:
    found = request.get(field)
    if not isinstance(found, str) or not found:
        unreadable(activity, f"the request has no {field}")
    return found


def _takes_argument(activity: Callable[..., Any], server: str) -> bool:
    """Tell whether the factory of a server's connections takes an argument; True when that cannot be seen.

    There is no public way to ask. Where it cannot be seen here, the plugin itself refuses the argument at the call.
    """
    factories = getattr(inspect.getclosurevars(activity).nonlocals.get("self"), "_factories", {})
    factory = factories.get(server)
    invoke = inspect.getclosurevars(factory).nonlocals.get("invoke") if inspect.isfunction(factory) else None
    return bool(getattr(invoke, "_accepts_argument", True))
