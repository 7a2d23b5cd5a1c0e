"""What is read off the wire of `temporalio-openai-agents` 1.1.0; the wire as the framework wrote it."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, ShellTool, function_tool, handoff, tool_namespace
from agents.lifecycle import RunHooksBase
from temporalio.exceptions import ApplicationError
from temporalio.openai_agents import workflow as openai

from remit.errors import Refused, Usage
from remit.frameworks import ToolCall, openai_agents_runs
from remit.frameworks.openai_agents import OpenAIAgents
from remit.frameworks.openai_agents_look import Look
from remit.mapping import Handover, Mapping
from remit.temporal import workflow as acts

ASKS, STREAMS = "invoke_model_activity", "invoke_model_activity_streaming"
MAPPING = Mapping.parse(
    """
frameworks = ["openai-agents"]
[tools.query_flights]
activity = "acme.query"
action = "dataset:query"
resource = "{dataset}"
[tools.note]
action = "dataset:query"
resource = "{dataset}"
inline = true
"""
)
SCHEMA = {"properties": {"dataset": {"type": "string"}}, "required": ["dataset"], "type": "object"}
REQUEST: dict[str, Any] = {
    "model_name": "planner",
    "system_instructions": "do",
    "input": [{"content": "plain", "role": "user"}],
    "model_settings": {"temperature": None, "tool_choice": None, "max_tokens": 500, "extra_body": None},
    "tools": [
        {"name": "query_flights", "description": "", "params_json_schema": SCHEMA, "strict_json_schema": True},
        {
            "user_location": None,
            "filters": None,
            "search_context_size": "medium",
            "external_web_access": None,
            "search_content_types": None,
            "image_settings": None,
        },
        {
            "vector_store_ids": ["v"],
            "max_num_results": None,
            "include_search_results": False,
            "ranking_options": None,
            "filters": None,
        },
        {"tool_config": {"type": "code_interpreter", "container": {"type": "auto"}}},
        {"tool_config": {"type": "mcp", "server_label": "docs", "server_url": "https://docs.invalid"}},
        {"tool_config": {"type": "image_generation"}},
        {"description": None, "execution": None, "parameters": None},
        {"name": "apply_patch"},
        {"tool_config": {"type": "custom", "name": "cust", "description": "d"}},
        {"environment": {"type": "container_auto"}, "name": "shell"},
        {"environment": {"type": "local"}, "name": "near"},
    ],
    "output_schema": None,
    "handoffs": [
        {
            "tool_name": "transfer_to_report_writer",
            "tool_description": "Handoff.",
            "input_json_schema": {},
            "agent_name": "Report writer",
            "strict_json_schema": True,
        }
    ],
    "tracing": 1,
    "previous_response_id": None,
    "conversation_id": None,
    "prompt": None,
}
HOSTED = ["web_search", "file_search", "code_interpreter", "mcp.docs", "image_generation", "tool_search", "shell"]


@pytest.fixture
def reader() -> OpenAIAgents:
    made = OpenAIAgents(MAPPING)
    made.parameters["acme.query"] = ("dataset", "sql")
    return made


def test_activities_are_told_apart(reader: OpenAIAgents) -> None:
    kinds = {
        ASKS: "model",
        STREAMS: "model",
        "acme.query": "tool",
        "query_flights": None,
        "note": None,
        "srv-stateless-list-tools": "listing",
        "srv-stateless-list-prompts": "listing",
        "srv-stateless-call-tool": "tool",
        "srv-stateless-call-tool-v2": "tool",
        "srv-stateless-get-prompt-v2": "tool",
        "temporalio.mcp.srv.list-tools": "listing",
        "temporalio.mcp.srv.call-tool": "tool",
        "srv-stateful-call-tool-v2": None,
        "srv-stateful-server-session": None,
        "-stateless-call-tool": None,
    }
    assert {activity: reader.kind(activity) for activity in kinds} == kinds


def test_an_activitys_arguments_have_the_names_of_its_parameters(reader: OpenAIAgents) -> None:
    assert reader.calls("acme.query", ["flights", "select 1"]) == [
        ToolCall("query_flights", {"dataset": "flights", "sql": "select 1"})
    ]
    reader.parameters.clear()
    assert reader.calls("acme.query", ["flights"]) == [ToolCall("query_flights", {"0": "flights"})]
    with pytest.raises(Refused, match="no tool of the mapping"):
        reader.calls("acme.other", [])


@pytest.mark.parametrize(
    ("activity", "arguments"),
    [
        (
            "temporalio.mcp.srv.call-tool",
            [{"factory_argument": None, "name": "q", "arguments": {"a": 1}, "meta": None}],
        ),
        (
            "srv-stateless-call-tool-v2",
            [{"tool_name": "q", "arguments": {"a": 1}, "factory_argument": None, "meta": None}],
        ),
        ("srv-stateless-call-tool", ["q", {"a": 1}]),
    ],
)
def test_an_mcp_servers_call_is_the_same_in_every_form(
    reader: OpenAIAgents, activity: str, arguments: list[Any]
) -> None:
    assert list(reader.calls(activity, arguments)) == [ToolCall("q", {"a": 1}, server="srv")]
    told = reader.told(activity, arguments, "Refused: no [policy.denied]")
    assert told["content"] == [{"type": "text", "text": "Refused: no [policy.denied]"}]
    assert told["is_error"] is True


def test_what_goes_to_a_server_besides_the_arguments_is_decided_too(reader: OpenAIAgents) -> None:
    given = {"tool_name": "q", "arguments": None, "factory_argument": "eu", "meta": {"trace": 1}}
    (call,) = reader.calls("srv-stateless-call-tool-v2", [given])
    assert call.arguments == {"_connection": "eu", "_meta": {"trace": 1}}
    (prompt,) = reader.calls("srv-stateless-get-prompt-v2", [{"name": "p", "arguments": {"a": "b"}}])
    assert (prompt.name, prompt.other) == ("get-prompt", True)
    assert prompt.arguments == {"name": "p", "arguments": {"a": "b"}}


def test_only_connections_that_may_be_shared_are_made_an_attempts_own() -> None:
    text = '\n[servers.srv.tools.q]\naction = "dataset:query"\nresource = "flights"\ncredential = "flights-ro"\n'
    reader = OpenAIAgents(Mapping.parse('frameworks = ["openai-agents"]' + text))
    request: dict[str, Any] = {"name": "q", "arguments": {}, "factory_argument": None, "meta": None}
    (own,) = reader.ready("temporalio.mcp.srv.call-tool", [request], name="one")
    assert own["factory_argument"] == "one"
    assert reader.ready("srv-stateless-call-tool-v2", [request], name="one") == [request]


@pytest.mark.parametrize("activity", [ASKS, STREAMS])
def test_a_request_says_its_model_and_what_it_offers(reader: OpenAIAgents, activity: str) -> None:
    asked = reader.model(activity, [REQUEST])
    assert (asked.model, asked.settings) == ("planner", {"max_tokens": 500})
    assert asked.offers == (
        "query_flights",
        *HOSTED[:6],
        "apply_patch",
        "cust",
        "shell",
        "near",
        "transfer_to_report_writer",
    )


def test_what_the_provider_runs_is_offered_with_what_it_is_set_to(reader: OpenAIAgents) -> None:
    hosted = reader.hosted(ASKS, [REQUEST])
    assert [one.name for one in hosted] == HOSTED
    assert hosted[3].arguments["server_url"] == "https://docs.invalid"
    (prompt,) = reader.hosted(ASKS, [{**REQUEST, "tools": [], "prompt": {"id": "pmpt_1", "version": "2"}}])
    assert prompt == ToolCall("prompt", {"id": "pmpt_1", "version": "2"})


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {**REQUEST, "model_name": 1},
        {**REQUEST, "model_settings": None},
        {**REQUEST, "tools": {}},
        {**REQUEST, "tools": ["x"]},
        {**REQUEST, "tools": [{"unheard": "of"}]},
        {**REQUEST, "tools": [{"name": ""}]},
        {**REQUEST, "tools": [{"tool_config": {"type": "mcp"}}]},
        {**REQUEST, "handoffs": [{"agent_name": "x"}]},
    ],
)
def test_a_request_of_another_form_is_refused(reader: OpenAIAgents, request_: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        reader.model(ASKS, [request_])
    assert refused.value.code == "tool.input"


def test_a_model_without_a_name_has_none(reader: OpenAIAgents) -> None:
    assert reader.model(ASKS, [{"input": "x", "model_name": None, "model_settings": {}}]).model == ""
    with pytest.raises(Refused):
        reader.model(ASKS, [])
    with pytest.raises(Refused):
        reader.model(ASKS, [REQUEST, REQUEST])


def called(**changes: Any) -> dict[str, Any]:
    return {
        "arguments": '{"dataset": "flights"}',
        "call_id": "call-0",
        "name": "note",
        "type": "function_call",
        "id": "item-0",
        "status": "completed",
        **changes,
    }


NOTE = ToolCall("note", {"dataset": "flights"}, id="call-0")
TEXT = {"id": "said", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}


@pytest.mark.parametrize(
    ("item", "call"),
    [
        (called(), NOTE),
        (called(namespace="crm"), ToolCall("crm.note", {"dataset": "flights"}, id="call-0")),
        (called(namespace="note"), NOTE),
        (called(arguments=""), ToolCall("note", {}, id="call-0")),
        (called(arguments="{no"), ToolCall("note", {"arguments": "{no"}, id="call-0")),
        (called(arguments="[1]"), ToolCall("note", {"arguments": "[1]"}, id="call-0")),
        (
            {"type": "custom_tool_call", "name": "cust", "call_id": "c", "input": "raw"},
            ToolCall("cust", {"input": "raw"}, id="c"),
        ),
        (
            {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
            ToolCall("shell", {"commands": ["ls"]}, id="c"),
        ),
        (
            {"type": "local_shell_call", "call_id": "c", "action": {"command": ["ls"]}},
            ToolCall("local_shell", {"command": ["ls"]}, id="c"),
        ),
        (
            {"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file", "path": "p"}},
            ToolCall("apply_patch", {"type": "delete_file", "path": "p"}, id="c"),
        ),
        (
            {"type": "computer_call", "call_id": "c", "action": {"type": "click"}},
            ToolCall("computer_use_preview", {"action": {"type": "click"}, "actions": None}, id="c"),
        ),
    ],
)
def test_calls_are_read_off_an_answer(reader: OpenAIAgents, item: dict[str, Any], call: ToolCall) -> None:
    whole: dict[str, Any] = {
        "output": [TEXT, item, {"type": "web_search_call", "id": "w"}],
        "usage": {},
        "response_id": None,
    }
    assert reader.proposed(ASKS, whole) == [call]
    events = [
        {"type": "response.output_item.added", "item": {**item, "arguments": "half"}},
        {"type": "response.output_item.done", "item": item},
        {"type": "response.completed", "response": {"output": [TEXT, item]}},
    ]
    assert reader.proposed(STREAMS, events) == [call], "once, however often the stream says it"
    assert reader.proposed(STREAMS, events[:2]) == [call], "some streams end without repeating it"


def test_a_call_that_a_stream_says_twice_is_decided_as_both(reader: OpenAIAgents) -> None:
    events = [
        {"type": "response.output_item.done", "item": called()},
        {"type": "response.completed", "response": {"output": [called(arguments='{"dataset": "payroll"}')]}},
    ]
    assert [one.arguments["dataset"] for one in reader.proposed(STREAMS, events)] == ["flights", "payroll"]


@pytest.mark.parametrize("answer", ["text", [1], {"output": {}}, {"output": [called(name=None)]}])
def test_an_answer_of_another_form_is_refused(reader: OpenAIAgents, answer: Any) -> None:
    with pytest.raises(Refused):
        reader.proposed(ASKS, answer)


def test_a_refusal_is_the_tools_output(reader: OpenAIAgents) -> None:
    assert reader.told("acme.query", ["flights"], "Refused: no") == "Refused: no"


@function_tool
async def note(dataset: str) -> str:
    """Note something."""
    return dataset


@function_tool
async def scribble(dataset: str) -> str:
    """Scribble something."""
    return dataset


WRITER = Agent(name="Writer")
ROUND = Agent(name="Desk", handoffs=[WRITER])
WRITER.handoffs.append(ROUND)


@pytest.mark.parametrize(
    ("agent", "code"),
    [
        (Agent(name="Desk", tools=[note]), None),
        (Agent(name="Desk", tools=[replace(scribble, name="note")]), None),
        (Agent(name="Desk", tools=[scribble]), "tool.inline"),
        (Agent(name="Desk", tools=[replace(note, name="query_flights")]), "tool.inline"),
        (Agent(name="Desk", tools=[tool_namespace(name="crm", description="CRM.", tools=[note])[0]]), "tool.inline"),
        (Agent(name="Desk", tools=[ShellTool(environment={"type": "local"}, executor=lambda _: "")]), "tool.inline"),
        (Agent(name="Desk", tools=[ShellTool(environment={"type": "container_auto"})]), "tool.inline"),
        (Agent(name="Desk", prompt={"id": "pmpt_1"}), "tool.inline"),
        (Agent(name="Desk", handoffs=[Agent(name="Shared", tools=[scribble])]), "tool.inline"),
        (Agent(name="Desk", tools=[Agent(name="Shared", tools=[scribble]).as_tool("ask", "Ask.")]), "tool.inline"),
        (Agent(name="Desk", handoffs=[handoff(Agent(name="Stranger"))]), "agent.unmapped"),
        (ROUND, None),
    ],
)
def test_an_agent_is_looked_at_with_all_it_can_reach(agent: Agent[Any], code: str | None) -> None:
    shared = {"Shared": Handover(share=True), "Writer": Handover(share=True)}
    look = Look(MAPPING.model_copy(update={"agents": shared}), first="Desk")
    if code is None:
        look.agent(agent)
        return
    with pytest.raises(ApplicationError) as refused:
        look.agent(agent)
    assert (refused.value.type, refused.value.non_retryable) == (code, True)
    assert refused.value.details[0]["next_action"]


def test_a_release_that_cannot_be_looked_into_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(openai_agents_runs.interceptors(MAPPING, acts)) == 1
    with monkeypatch.context() as changed:
        changed.delattr(RunHooksBase, "on_tool_start")
        with pytest.raises(Usage) as refused:
            openai_agents_runs.interceptors(MAPPING, acts)
    assert refused.value.code == "framework.unknown"
    assert "RunHooks.on_tool_start" in refused.value.message

    async def run_otherwise() -> None:
        """Stand for another way to make tools of activities."""

    monkeypatch.setattr(openai, "activity_as_tool", run_otherwise)
    with pytest.raises(Usage, match="activity_as_tool"):
        openai_agents_runs.interceptors(MAPPING, acts)


def test_without_the_framework_or_without_who_governs_no_worker_starts(
    reader: OpenAIAgents, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Usage) as refused:
        reader.interceptors()
    assert refused.value.code == "plugin.parts"
    reader.acts = acts
    assert len(reader.interceptors()) == 1
    monkeypatch.delitem(sys.modules, "remit.frameworks.openai_agents_runs")
    monkeypatch.setitem(sys.modules, "agents", None)
    with pytest.raises(Usage) as refused:
        reader.interceptors()
    assert refused.value.code == "framework.missing"


ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/guides/openai-agents.md").read_text(encoding="utf-8")


def test_what_the_guide_shows_stands_in_the_example_or_is_a_mapping() -> None:
    example = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "examples/openai_agents").iterdir()
        if path.suffix in (".py", ".toml")
    )
    blocks = re.findall(r"```(python|toml)\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 7
    for kind, block in blocks:
        if kind == "toml" and "[agents." in block:
            agents = Mapping.parse(block).agents
            assert (agents["Report writer"].budget, agents["Trusted writer"].share) == (10, True)
        else:
            assert block.strip("\n") in example, block


def test_the_guide_names_the_releases_that_are_installed() -> None:
    for name in ("openai-agents", "temporalio-openai-agents", "temporalio-mcp", "mcp", "temporalio"):
        assert f"{name} {version(name)}" in GUIDE
