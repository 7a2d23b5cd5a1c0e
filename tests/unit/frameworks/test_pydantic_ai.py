"""What is read off the wire of pydantic-ai 2.68's Temporal capability; the wire as the framework wrote it."""

from __future__ import annotations

import inspect
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic_ai import Agent, FunctionToolset
from pydantic_ai.capabilities import SetToolMetadata
from pydantic_ai.durable_exec import _operation as operations
from pydantic_ai.durable_exec._toolset import CallToolResult
from pydantic_ai.durable_exec.temporal import (
    AgentPlugin,
    PydanticAIWorkflow,
    TemporalAgent,
    TemporalDurability,
    TemporalOperationNamer,
)
from pydantic_ai.durable_exec.temporal._durability import worker_registrations
from pydantic_ai.models.test import TestModel
from temporalio.worker import WorkerConfig
from temporalio.workflow import ChildWorkflowConfig

from remit.errors import Denied, Refused, Usage
from remit.frameworks.pydantic_ai import PydanticAI
from remit.frameworks.reading import Seen, ToolCall
from remit.mapping import Mapping

CALL = "agent__desk__toolset__<agent>__call_tool"
ASK = "agent__desk__model_request"
MAPPING = Mapping.parse(
    """
frameworks = ["pydantic-ai"]
ungoverned = ["search_*"]
[tools.query]
action = "dataset:query"
resource = "{dataset}"
[tools.note]
action = "dataset:query"
resource = "flights"
inline = true
"""
)
PARAMS: dict[str, Any] = {
    "name": "query",
    "tool_args": {"dataset": "flights", "sql": "select 1"},
    "serialized_run_context": {"run_id": "1", "tool_call_id": "pyd_ai_92", "tool_name": "query", "usage": {}},
    "tool_def": {"name": "query", "kind": "function", "metadata": None, "toolset_id": None},
    "original_name": "query",
}
PARTS = [
    {"content": "I look.", "part_kind": "text"},
    {"tool_name": "query", "args": {"dataset": "flights"}, "tool_call_id": "1", "part_kind": "tool-call"},
    {"tool_name": "note", "args": '{"text": "late"}', "tool_call_id": "2", "part_kind": "tool-call"},
    {"tool_name": "note", "args": None, "tool_call_id": "3", "part_kind": "tool-call"},
    {"tool_name": "note", "args": '{"text": ', "tool_call_id": "4", "part_kind": "tool-call"},
    {"tool_name": "final_result", "args": {"answer": 1}, "tool_call_id": "5", "part_kind": "tool-call"},
    {"tool_name": "final_result_Report", "args": {"answer": 1}, "tool_call_id": "6", "part_kind": "tool-call"},
    {"tool_name": "web_search", "args": {"query": "x"}, "tool_call_id": "7", "part_kind": "builtin-tool-call"},
]


def offered(name: str, *, toolset: str | None = "<agent>", kind: str = "function", metadata: Any = None) -> Any:
    return {"name": name, "kind": kind, "metadata": metadata, "toolset_id": toolset, "parameters_json_schema": {}}


def request(*tools: Any, native: Any = (), model: str | None = None, settings: Any = None) -> list[Any]:
    parameters = {
        "function_tools": list(tools),
        "native_tools": list(native),
        "output_tools": [offered("final_result")],
    }
    return [
        {
            "messages": [],
            "model_settings": settings,
            "model_request_parameters": parameters,
            "serialized_run_context": {},
            "model_id": model,
        },
        None,
    ]


@pytest.fixture
def reader() -> PydanticAI:
    made = PydanticAI(MAPPING)
    made.parameters = {CALL: ("params", "deps"), "agent__desk__mcp_server__flights__call_tool": ("params", "deps")}
    return made


IDS = {
    operations.ModelRequestId: ({"model_name": "m"}, "model"),
    operations.ModelCompactMessagesId: ({"model_name": "m"}, "model"),
    operations.ModelCancelSuspendedResponseId: ({"model_name": "m"}, "model"),
    operations.CapabilityOperationId: ({"capability_id": "workspace", "operation": "call"}, "other"),
    operations.EventStreamHandlerId: ({}, "other"),
    operations.ToolsetGetToolsId: ({"toolset_kind": "dynamic", "toolset_id": "t"}, "listing"),
    operations.ToolsetGetInstructionsId: ({"toolset_id": "t"}, "listing"),
    operations.ToolsetValidateToolArgumentsId: ({"toolset_kind": "function", "toolset_id": "t"}, "listing"),
    operations.ToolsetCallToolId: ({"toolset_kind": "function", "toolset_id": "t"}, "tool"),
}


def test_every_operation_of_the_release_has_its_kind(reader: PydanticAI) -> None:
    assert set(IDS) == set(get_args(operations.DurableOperationId)), "a new operation needs a kind"
    namer = TemporalOperationNamer("desk")
    for made, (fields, kind) in IDS.items():
        assert reader.kind(namer.operation_name(made(**fields))) == kind
    for toolset in get_args(operations.ToolsetKind):
        called = namer.operation_name(operations.ToolsetCallToolId(toolset, toolset_id="a__b"))
        assert reader.kind(called) == "tool"
        assert reader.kind(namer.operation_name(operations.ToolsetGetToolsId(toolset, toolset_id="t"))) == "listing"
    assert reader.kind(namer.operation_name(operations.ModelRequestId(model_name="m", streaming=True))) == "model"


@pytest.mark.parametrize(
    "activity",
    [
        "agent__desk",
        "agent__model_request",
        "agent__desk__wipe",
        "agent__desk__toolset__t__wipe",
        "agent__desk__toolset__call_tool",
        "agent__desk__function_toolset__t__call_tool",
        "agent__desk__capability__x__call_tool",
        "agent__desk__capability__x__model_request",
        "agent__desk__mcp_server__a__toolset__b__call_tool",
        "agent__desk__toolset__mcp_server__call_tool__toolset__x__get_tools",
    ],
)
def test_what_is_new_or_can_be_read_in_two_ways_must_be_mapped(reader: PydanticAI, activity: str) -> None:
    assert reader.kind(activity) == "other"


def test_what_is_not_pydantic_ais_is_left_to_others(reader: PydanticAI) -> None:
    assert reader.kind("sql.query") is None
    assert reader.kind("my_agent__desk__model_request") is None


def test_a_call_is_read(reader: PydanticAI) -> None:
    given = {"dataset": "flights", "sql": "select 1"}
    assert reader.calls(CALL, [PARAMS, None]) == (ToolCall("query", given, id="pyd_ai_92"),)
    server = "agent__desk__mcp_server__flights__call_tool"
    assert reader.calls(server, [PARAMS, None]) == (ToolCall("query", given, server="flights", id="pyd_ai_92"),)
    defined = {**PARAMS["tool_def"], "name": "harmless"}
    renamed = {**PARAMS, "name": "harmless", "tool_def": defined, "original_name": "wipe"}
    assert reader.calls(CALL, [renamed, None])[0].name == "wipe", "the function that runs"
    assert reader.calls(CALL, [{**PARAMS, "original_name": None}, None])[0].name == "query"


def test_a_runs_dependencies_are_decided_with_the_arguments(reader: PydanticAI) -> None:
    (call,) = reader.calls(CALL, [PARAMS, {"region": "north"}])
    assert call.arguments == {"dataset": "flights", "sql": "select 1", "_deps": {"region": "north"}}
    with pytest.raises(Refused) as refused:
        reader.calls(CALL, [{**PARAMS, "tool_args": {"_deps": {"region": "south"}}}, {"region": "north"}])
    assert refused.value.code == "tool.input"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [PARAMS, None, None],
        ["query"],
        [{**PARAMS, "tool_args": None}],
        [{**PARAMS, "tool_args": ["flights"]}],
        [{**PARAMS, "name": None, "original_name": None}],
        [{**PARAMS, "tool_def": {"name": "wipe"}, "original_name": None}],
    ],
)
def test_a_malformed_call_is_refused(reader: PydanticAI, arguments: list[Any]) -> None:
    for read in (reader.calls, lambda activity, given: reader.told(activity, given, "no")):
        with pytest.raises(Refused) as refused:
            read(CALL, arguments)
        assert refused.value.code == "tool.input"


def test_a_request_is_read(reader: PydanticAI) -> None:
    tools = [offered("query"), offered("find", toolset="flights"), offered("note", metadata={"temporal": False})]
    asked = reader.model(ASK, request(*tools, model="openai:gpt", settings={"max_tokens": 500, "temperature": 0.5}))
    assert (asked.model, asked.offers) == ("openai:gpt", ("query", "find", "note"))
    assert asked.settings == {"operation": "request", "max_tokens": 500}
    assert reader.model(f"{ASK}_stream", request()).settings == {"operation": "stream"}
    assert reader.model("agent__desk__model_compact_messages", request()).settings == {"operation": "compact"}
    cancelled = reader.model("agent__desk__model_cancel_suspended_response", [{"response": {}, "model_id": "m"}, None])
    assert (cancelled.model, cancelled.settings) == ("m", {"operation": "cancel"})


@pytest.mark.parametrize(
    ("tool", "code"),
    [
        (offered("wipe", metadata={"temporal": False}), "tool.unmapped"),
        (offered("query", metadata={"temporal": False}), "tool.inline"),
        (offered("query", toolset="shelf"), "tool.inline"),
        (offered("wipe", toolset=None), "tool.unmapped"),
        (offered("wipe", kind="unapproved", metadata={"temporal": False}), "tool.unmapped"),
        (offered("final_result", toolset=None), "tool.unmapped"),
    ],
)
def test_no_model_is_offered_a_tool_nobody_would_decide(reader: PydanticAI, tool: Any, code: str) -> None:
    with pytest.raises(Denied) as denied:
        reader.model(ASK, request(offered("query"), tool))
    assert denied.value.code == code


@pytest.mark.parametrize(
    "tool",
    [
        offered("wipe"),
        offered("wipe", metadata={"temporal": {"child_workflow": {}}}),
        offered("wipe", metadata={"temporal": {"start_to_close_timeout": "PT5M"}}),
        offered("wipe", toolset=None, kind="external"),
        offered("search_tools", toolset=None),
        offered("note", toolset=None),
    ],
)
def test_a_tool_that_is_decided_elsewhere_is_offered(reader: PydanticAI, tool: Any) -> None:
    assert reader.model(ASK, request(tool)).offers == (tool["name"],)


@pytest.mark.parametrize(
    "arguments",
    [[], [None], [{}], [{"model_request_parameters": {}}], request("query"), request({"kind": "function"})],
)
def test_a_malformed_request_is_refused(reader: PydanticAI, arguments: list[Any]) -> None:
    with pytest.raises(Refused) as refused:
        reader.model(ASK, arguments)
    assert refused.value.code == "tool.input"


def test_the_providers_own_tools_are_calls_with_what_they_are_set_to(reader: PydanticAI) -> None:
    native = [{"kind": "mcp_server", "id": "x", "url": "https://x"}, {"kind": "tool_search", "optional": True}]
    asked = request(native=native)
    assert reader.hosted(ASK, asked) == [ToolCall("mcp_server", {"id": "x", "url": "https://x"})]
    assert reader.model(ASK, asked).offers == ("mcp_server", "tool_search")
    assert reader.hosted("agent__desk__model_cancel_suspended_response", [{"response": {}}, None]) == ()
    for read in (reader.hosted, reader.model):
        with pytest.raises(Refused):
            read(ASK, request(native=[{"id": "x"}]))


def test_proposals_are_calls_of_tools_that_run_here(reader: PydanticAI) -> None:
    expected = [
        ToolCall("query", {"dataset": "flights"}, id="1"),
        ToolCall("note", {"text": "late"}, id="2"),
        ToolCall("note", {}, id="3"),
    ]
    assert reader.proposed(ASK, {"parts": PARTS, "kind": "response"}) == expected
    assert reader.proposed(f"{ASK}_stream", {"response": {"parts": PARTS}, "events": []}) == expected
    assert reader.proposed("agent__desk__model_cancel_suspended_response", None) == ()


def test_an_inline_tool_with_an_output_tools_name_is_proposed() -> None:
    rule = '[tools.final_result]\naction = "dataset:query"\nresource = "flights"\ninline = true'
    assert [one.name for one in PydanticAI(Mapping.parse(rule)).proposed(ASK, {"parts": PARTS[-3:]})] == [
        "final_result"
    ]


@pytest.mark.parametrize(
    "result",
    [
        "text",
        {},
        {"parts": None},
        {"parts": ["text"]},
        {"parts": [{"part_kind": "tool-call", "tool_name": "note", "args": "[1]"}]},
        {"parts": [{"part_kind": "tool-call", "args": {}}]},
    ],
)
def test_a_malformed_answer_is_refused(reader: PydanticAI, result: Any) -> None:
    with pytest.raises(Refused):
        reader.proposed(ASK, result)


def test_a_refusal_is_a_tools_failure_as_pydantic_ai_reads_it(reader: PydanticAI) -> None:
    from pydantic import TypeAdapter
    from pydantic_ai import ToolFailed
    from pydantic_ai.durable_exec._toolset import unwrap_tool_call_result

    told = reader.told(CALL, [PARAMS, None], "Refused: no")
    with pytest.raises(ToolFailed, match="Refused: no"):
        unwrap_tool_call_result(TypeAdapter[Any](CallToolResult).validate_json(json.dumps(told)))


@pytest.mark.parametrize(
    ("result", "failed"),
    [
        ({"kind": "tool_return", "result": 1}, False),
        ({"kind": "tool_content_result", "result": {"kind": "tool-return"}}, False),
        ({"kind": "tool_failed", "message": ""}, True),
        ({"kind": "model_retry", "message": ""}, True),
        (None, True),
    ],
)
def test_what_is_no_result_is_looked_at_as_well(reader: PydanticAI, result: Any, failed: bool) -> None:
    assert reader.failed(CALL, result) is failed


async def query(dataset: str) -> str:
    return dataset


def agent(name: str = "desk", **options: Any) -> Agent[None, str]:
    toolset = FunctionToolset[None](id="data")
    toolset.add_function(query)
    toolset.add_function(query, name="note", metadata={"temporal": False})
    toolset.add_function(query, name="child", metadata={"temporal": {"child_workflow": ChildWorkflowConfig()}})
    return Agent(
        TestModel(model_name="scripted"),
        name=name,
        toolsets=[toolset.filtered(lambda ctx, tool: True).prefixed("my")],
        **{"capabilities": [TemporalDurability()], **options},
    )


def config(agents: list[Any], *plugins: Any) -> WorkerConfig:
    flow = type("Flow", (PydanticAIWorkflow,), {"__pydantic_ai_agents__": agents})
    activities: list[Any] = []
    for one in agents:
        activities += worker_registrations(TemporalDurability.from_agent(one))[0]  # type: ignore[arg-type]
    made: Any = {"workflows": [flow], "activities": activities}
    for plugin in plugins:
        made = plugin.configure_worker(made)
    return WorkerConfig(**made)


def looked(reader: PydanticAI, seen: WorkerConfig) -> list[Seen]:
    for one in seen["activities"]:
        name = one.__temporal_activity_definition.name  # type: ignore[attr-defined]
        reader.parameters[name] = tuple(inspect.signature(one).parameters)
    return list(reader.seen(seen))


def test_function_tools_are_seen_with_where_they_run() -> None:
    for given in (config([agent()]), config([], AgentPlugin(agent()))):
        reader = PydanticAI(MAPPING)
        where = "the agent 'desk'"
        assert looked(reader, given) == [
            Seen("query", inline=False, where=where),
            Seen("note", inline=True, where=where),
        ]
        assert reader.model(ASK, request()).model == "test:scripted", "its default is not on the wire"


def test_a_default_model_by_name_is_known_by_that_name() -> None:
    reader = PydanticAI(MAPPING)
    looked(reader, config([Agent("test", name="desk", capabilities=[TemporalDurability()])]))
    assert reader.model(ASK, request()).model == "test"


def test_agents_that_cannot_be_looked_into_are_refused(reader: PydanticAI) -> None:
    seen = config([], AgentPlugin(agent("hidden")))
    seen["activities"] = [_veiled(one) for one in seen["activities"]]
    with pytest.raises(Usage) as refused:
        looked(reader, seen)
    assert refused.value.code == "agent.unseen"
    assert "'hidden'" in refused.value.message


@pytest.mark.filterwarnings("ignore:.*TemporalAgent")
def test_the_deprecated_agent_is_refused(reader: PydanticAI) -> None:
    made = TemporalAgent(agent(capabilities=[]))
    seen = config([], AgentPlugin(made))
    seen["workflows"] = [type("Flow", (PydanticAIWorkflow,), {"__pydantic_ai_agents__": (made,)})]
    with pytest.raises(Usage) as refused:
        looked(reader, seen)
    assert refused.value.code == "agent.unseen"


def test_metadata_of_a_capability_shows_in_the_request() -> None:
    hidden = agent(capabilities=[TemporalDurability(), SetToolMetadata(temporal=False)])
    reader = PydanticAI(MAPPING)
    assert Seen("query", inline=False, where="the agent 'desk'") in looked(reader, config([hidden]))
    with pytest.raises(Denied) as denied:
        reader.model(ASK, request(offered("query", toolset="data", metadata={"temporal": False})))
    assert denied.value.code == "tool.inline"


def _veiled(one: Any) -> Any:
    def veiled(params: Any, deps: Any = None) -> Any:
        return one(params, deps)

    veiled.__temporal_activity_definition = one.__temporal_activity_definition  # type: ignore[attr-defined]
    return veiled


ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/guides/pydantic-ai.md").read_text(encoding="utf-8")


def test_what_the_guide_shows_stands_in_the_example_or_is_tried() -> None:
    sources = [*(ROOT / "examples/pydantic_ai").iterdir(), *(ROOT / "tests/frameworks").glob("*pydantic_ai*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources if path.suffix in (".py", ".toml"))
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 8
    for block in blocks:
        assert "".join(block.split()) in "".join(code.split()), block  # the formatter indents it anew


def test_the_guide_names_the_releases_that_are_installed() -> None:
    for name in ("pydantic-ai-slim", "mcp", "temporalio"):
        assert f"{name} {version(name)}" in GUIDE
