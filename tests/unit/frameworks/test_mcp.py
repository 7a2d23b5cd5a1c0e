"""Requests as `temporalio-mcp` puts them on the wire, read."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.types import CallToolResult
from temporalio.mcp import MCPPlugin
from temporalio.worker import WorkerConfig

from remit.errors import Refused, Usage
from remit.frameworks.mcp import MCP
from remit.frameworks.openai_agents import OpenAIAgents
from remit.frameworks.reading import ToolCall
from remit.mapping import Mapping, Rule, Server

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "guides" / "mcp.md"
CALL = "temporalio.mcp.flights.call-tool"
REQUEST = {"factory_argument": None, "name": "query", "arguments": {"dataset": "flights"}, "meta": None}
PROMPT = {"factory_argument": None, "name": "summary", "arguments": {"carrier": "UA"}}
RESOURCE = {"factory_argument": None, "uri": "flights://size"}
QUERY = Rule(action="dataset:query", resource="{dataset}", credential="flights-ro")
FREE = Rule(action="dataset:query", resource="flights")
MEANING = Mapping(
    frameworks=("mcp",),
    servers={
        "flights": Server(tools={"query": QUERY, "free": FREE}, other={"read-resource": QUERY, "get-prompt": FREE}),
        "free": Server(tools={"query": FREE}),
    },
)
READ = MCP(MEANING)


@pytest.mark.parametrize(
    ("activity", "kind"),
    [
        (CALL, "tool"),
        ("temporalio.mcp.flights.get-prompt", "tool"),
        ("temporalio.mcp.flights.read-resource", "tool"),
        ("temporalio.mcp.flights.list-tools", "listing"),
        ("temporalio.mcp.flights.list-resource-templates", "listing"),
        ("temporalio.mcp.flights.complete", "other"),
        ("temporalio.mcp.call-tool", "tool"),
        ("call-tool", None),
        ("flights.call-tool", None),
        ("invoke_model_activity", None),
    ],
)
def test_the_kinds_of_operations(activity: str, kind: str | None) -> None:
    assert READ.kind(activity) == kind


def test_every_operation_of_the_plugin_has_a_kind() -> None:
    assert {READ.kind(name) for name in names(MCPPlugin({"flights": lambda: _never()}))} == {"tool", "listing"}


def test_a_tool_call() -> None:
    assert READ.calls(CALL, [REQUEST]) == (ToolCall("query", {"dataset": "flights"}, server="flights"),)
    assert READ.calls(CALL, [{"name": "query", "arguments": None, "new": None}]) == (
        ToolCall("query", {}, server="flights"),
    )


def test_a_servers_name_may_hold_dots() -> None:
    (call,) = READ.calls("temporalio.mcp.acme.flights.call-tool", [REQUEST])
    assert call.server == "acme.flights"


def test_other_operations_are_apart_from_tools() -> None:
    (prompt,) = READ.calls("temporalio.mcp.flights.get-prompt", [PROMPT])
    (resource,) = READ.calls("temporalio.mcp.flights.read-resource", [RESOURCE])
    assert prompt == ToolCall(
        "get-prompt", {"name": "summary", "arguments": {"carrier": "UA"}}, server="flights", other=True
    )
    assert resource == ToolCall("read-resource", {"uri": "flights://size"}, server="flights", other=True)
    (tool,) = READ.calls(CALL, [{**REQUEST, "name": "read-resource"}])
    assert MEANING.tool(tool.name, server=tool.server, other=tool.other) is None


def test_what_reaches_the_server_besides_is_decided_too() -> None:
    (call,) = READ.calls(CALL, [{**REQUEST, "meta": {"tenant": "b"}, "factory_argument": {"region": "eu"}}])
    assert call.arguments == {"dataset": "flights", "_meta": {"tenant": "b"}, "_connection": {"region": "eu"}}


@pytest.mark.parametrize(
    "request_",
    [
        None,
        "query",
        {},
        {"name": ""},
        {"name": 3},
        {"name": "query", "arguments": ["flights"]},
        {"name": "query", "arguments": {}, "headers": {"tenant": "b"}},
        {"name": "query", "arguments": {}, "uri": "flights://size"},
        {"name": "query", "arguments": {"_meta": 1}, "meta": {"tenant": "b"}},
        {"name": "query", "arguments": {"_connection": 1}, "factory_argument": "x"},
    ],
)
def test_what_is_no_request_is_refused(request_: Any) -> None:
    with pytest.raises(Refused) as refused:
        READ.calls(CALL, [request_])
    assert refused.value.code == "tool.input"


@pytest.mark.parametrize("arguments", [[], [REQUEST, REQUEST]])
def test_it_takes_one_request(arguments: list[Any]) -> None:
    with pytest.raises(Refused):
        READ.calls(CALL, arguments)


@pytest.mark.parametrize("operation", ["get-prompt", "read-resource"])
def test_a_request_without_its_name_is_refused(operation: str) -> None:
    with pytest.raises(Refused):
        READ.calls(f"temporalio.mcp.flights.{operation}", [{"arguments": {}}])


def test_a_refusal_is_a_result_that_is_an_error() -> None:
    told = READ.told(CALL, [REQUEST], "Refused: no [policy.denied]")
    read = CallToolResult.model_validate(told)
    assert read.is_error
    assert [block.model_dump()["text"] for block in read.content] == ["Refused: no [policy.denied]"]
    assert set(told) <= set(read.model_dump(mode="json"))
    assert READ.failed(CALL, told)


@pytest.mark.parametrize("operation", ["get-prompt", "read-resource"])
def test_a_prompt_or_a_resource_has_no_form_for_a_refusal(operation: str) -> None:
    with pytest.raises(Refused):
        READ.told(f"temporalio.mcp.flights.{operation}", [RESOURCE], "no")


@pytest.mark.parametrize("by_alias", [True, False])
@pytest.mark.parametrize("is_error", [True, False])
def test_an_answer_that_is_an_error_is_noticed(by_alias: bool, is_error: bool) -> None:
    answer = CallToolResult(content=[], is_error=is_error).model_dump(mode="json", by_alias=by_alias)
    assert READ.failed(CALL, answer) is is_error
    assert not READ.failed(CALL, None)


@pytest.mark.parametrize("activity", [CALL, "flights-stateless-call-tool-v2"])
def test_it_is_noticed_beneath_openai_agents_too(activity: str) -> None:
    agents = OpenAIAgents(MEANING)
    assert agents.failed(activity, CallToolResult(content=[], is_error=True).model_dump(mode="json", by_alias=True))
    assert not agents.failed(activity, CallToolResult(content=[]).model_dump(mode="json"))
    assert not agents.failed("query_flights", {"isError": True})


def test_an_attempt_with_a_credential_gets_a_connection_of_its_own() -> None:
    assert READ.ready(CALL, [REQUEST], name="a-1") == ({**REQUEST, "factory_argument": "a-1"},)
    assert READ.ready("temporalio.mcp.flights.read-resource", [RESOURCE], name="a-1") == (
        {**RESOURCE, "factory_argument": "a-1"},
    )


@pytest.mark.parametrize(
    ("activity", "request_"),
    [
        (CALL, {**REQUEST, "name": "free"}),
        (CALL, {**REQUEST, "factory_argument": "mine"}),
        (CALL, {**REQUEST, "name": "unknown"}),
        ("temporalio.mcp.free.call-tool", REQUEST),
        ("temporalio.mcp.flights.get-prompt", PROMPT),
    ],
)
def test_what_has_no_credential_or_names_its_connection_is_left_as_it_is(
    activity: str, request_: dict[str, Any]
) -> None:
    assert READ.ready(activity, [request_], name="a-1") == [request_]


def test_ready_leaves_what_it_cannot_read() -> None:
    assert READ.ready(CALL, ["x"], name="a-1") == ["x"]
    assert READ.ready(CALL, [], name="a-1") == []


@pytest.mark.parametrize(
    ("server", "factory", "refused"),
    [
        ("flights", lambda: _never(), True),
        ("flights", lambda attempt: _never(), False),
        ("flights", lambda attempt=None: _never(), False),
        ("flights", lambda *, attempt=None: _never(), True),
        ("free", lambda: _never(), False),
        ("unmapped", lambda: _never(), False),
    ],
)
def test_a_factory_without_an_argument_is_refused_where_calls_have_credentials(
    server: str, factory: Callable[..., Client], refused: bool
) -> None:
    config: WorkerConfig = {"activities": list(MCPPlugin({server: factory})._mcp_activities.activities)}
    if not refused:
        assert list(READ.seen(config)) == []
        return
    with pytest.raises(Usage) as caught:
        READ.seen(config)
    assert caught.value.code == "mcp.shared"
    assert "'flights'" in caught.value.message


def test_what_the_guide_shows_stands_in_the_example_or_works() -> None:
    shown = [*(ROOT / "examples" / "mcp").iterdir(), ROOT / "examples" / "running.py"]
    code = "\n".join(path.read_text() for path in shown if path.suffix in (".py", ".toml"))
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    apart = [block for block in blocks if block.strip("\n") not in code]
    meaning, factory = apart
    assert Mapping.parse(meaning).tool("read-resource", server="flights", other=True)
    made: dict[str, Any] = {}
    exec(factory, made)
    assert isinstance(made["FLIGHTS"](None), Client)
    assert len(blocks) == 8


def test_the_guide_names_the_releases_that_are_installed() -> None:
    text = GUIDE.read_text()
    assert all(f"{name} {version(name)}" in text for name in ("temporalio-mcp", "mcp", "temporalio"))


def names(plugin: MCPPlugin) -> set[str]:
    return {one.__temporal_activity_definition.name for one in plugin._mcp_activities.activities}


def _never() -> Client:
    raise AssertionError("no connection is made")
