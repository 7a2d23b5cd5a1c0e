"""LangGraph's wire, as `temporalio-langgraph` 0.1.0 writes it with Temporal's converter and with pydantic's."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, convert_to_messages
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from temporalio.langgraph import LangGraphPlugin

from remit.errors import Refused, Usage
from remit.frameworks import Seen, ToolCall
from remit.frameworks.langgraph import LangGraph
from remit.mapping import Mapping

MAPPING = Mapping.parse(
    """
    frameworks = ["langgraph"]
    ungoverned = ["g.listed"]
    [nodes."g.tools"]
    runs = "tools"
    [nodes."g.agent"]
    runs = "model"
    model = "planner"
    [nodes."g.inside"]
    runs = "tools"
    [tools.many]
    activity = "m.many"
    action = "dataset:query"
    resource = "{dataset}"
    [tools.query]
    activity = "m.query"
    action = "dataset:query"
    resource = "{dataset}"
    """
)
READER = LangGraph(MAPPING)
CONFIG = {"configurable": {"thread_id": "1"}, "context": None, "metadata": {"langgraph_step": 3}, "tags": []}
HUMAN = {"additional_kwargs": {}, "content": "hi", "id": "h", "name": None, "response_metadata": {}, "type": "human"}
ONE = {"args": {"dataset": "flights", "sql": "select 1"}, "id": "c1", "name": "query_flights", "type": "tool_call"}
TWO = {"args": {"dataset": "payroll", "sql": "select 2"}, "id": "c2", "name": "query_flights", "type": "tool_call"}
THREE = {"args": {"table": "t"}, "id": "c3", "name": "publish_report", "type": "tool_call"}
RAW = [
    {"id": one["id"], "type": "function", "function": {"name": one["name"], "arguments": json.dumps(one["args"])}}
    for one in (ONE, TWO)
]
ANSWER = {
    "additional_kwargs": {},
    "artifact": None,
    "content": "rows",
    "id": None,
    "name": "query_flights",
    "response_metadata": {},
    "status": "success",
    "tool_call_id": "c1",
    "type": "tool",
}


def ai(*calls: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a model's message as it comes back to an activity."""
    return {
        "additional_kwargs": {"invalid_tool_calls": [], "usage_metadata": None},
        "content": "",
        "id": "lc_run--1",
        "invalid_tool_calls": [],
        "name": None,
        "response_metadata": {},
        "tool_calls": list(calls),
        "type": "ai",
        "usage_metadata": None,
        **changes,
    }


def envelope(name: str, **fields: Any) -> dict[str, Any]:
    """Return a message as LangChain's own serialisation writes it."""
    return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", name], "kwargs": fields}


def given(*args: Any, **kwargs: Any) -> list[Any]:
    return [{"args": list(args), "kwargs": kwargs, "langgraph_config": CONFIG}]


def state(*messages: Any, **others: Any) -> list[Any]:
    return given({"messages": list(messages), **others})


def returned(result: Any, **changes: Any) -> dict[str, Any]:
    return {"langgraph_command": None, "langgraph_interrupts": None, "result": result, **changes}


def names(calls: Any) -> list[tuple[str, Any, str]]:
    return [(one.name, one.arguments, one.id) for one in calls]


@tool
def query_flights(dataset: str, sql: str) -> str:
    """Query."""
    return ""


@tool
def publish_report(table: str) -> str:
    """Publish."""
    return ""


NODE = ToolNode([query_flights, publish_report])


def would_call(arguments: list[Any]) -> list[tuple[str, Any, str]]:
    """Return what a tool node, as users wrap it, would call."""
    (value,) = arguments[0]["args"]
    if isinstance(value, dict) and "messages" in value:
        value = {**value, "messages": convert_to_messages(value["messages"])}
    elif isinstance(value, list) and value[-1].get("type") != "tool_call":
        value = convert_to_messages(value)
    calls, _ = NODE._parse_input(value)
    return [(one["name"], one["args"], one["id"]) for one in calls]


FORMS = {
    "a state": state(HUMAN, ai(ONE, TWO)),
    "a state with more in it": state(HUMAN, ai(TWO), remaining=3),
    "as pydantic writes it": state(HUMAN, ai(ONE, TWO, additional_kwargs={})),
    "a list of messages": given([HUMAN, ai(ONE, TWO)]),
    "sent call by call": given([ONE]),
    "sent as one list": given([ONE, TWO]),
    "sent with its state": given({"__type": "tool_call_with_context", "tool_call": ONE, "state": {"messages": []}}),
    "a role in place of a type": state({"role": "assistant", "content": "", "tool_calls": [ONE, TWO]}),
    "a role before a type": state({"role": "assistant", "type": "human", "content": "", "tool_calls": [ONE]}),
    "the provider's form": state({"role": "assistant", "content": "", "tool_calls": RAW}),
    "an envelope": state(json.loads(json.dumps(AIMessage("", tool_calls=[ONE, TWO]).to_json()))),
    "an envelope without a type": state(envelope("AIMessage", content="", tool_calls=[ONE, TWO])),
    "a chunk's envelope": state(envelope("AIMessageChunk", content="", tool_calls=[ONE, TWO])),
    "what the provider put there, too": state(ai(ONE, TWO, additional_kwargs={"tool_calls": RAW})),
    "more calls where the provider put them": state(ai(ONE, additional_kwargs={"tool_calls": RAW})),
    "blocks of content": state(ai(ONE, TWO, content=[{"type": "tool_use", "id": "c1"}, {"type": "text", "text": "x"}])),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_calls_read_are_the_calls_a_tool_node_would_make(form: str) -> None:
    arguments = FORMS[form]
    assert names(READER.calls("g.tools", arguments)) == would_call(arguments) != []


@pytest.mark.parametrize("form", FORMS)
def test_a_part_makes_its_call_and_no_other(form: str) -> None:
    arguments = json.loads(json.dumps(FORMS[form]))
    calls = READER.calls("g.tools", arguments)
    for number, call in enumerate(calls):
        part = list(READER.part("g.tools", arguments, number))
        assert names(READER.calls("g.tools", part)) == names([call]) == would_call(part)
        left = json.dumps({**part[0], "langgraph_config": None})
        assert not any(f'"{other.id}"' in left for other in calls if other.id != call.id)
    assert arguments == FORMS[form], "nothing was changed on the way"


def test_a_part_keeps_the_rest() -> None:
    arguments = [{**state(HUMAN, ai(ONE, TWO, content=[{"type": "text", "text": "x"}]), remaining=3)[0]}]
    ((part,), kept) = READER.part("g.tools", arguments, 1), arguments[0]
    assert part["langgraph_config"] == kept["langgraph_config"]
    assert part["args"][0]["remaining"] == 3
    assert part["args"][0]["messages"][0] == HUMAN
    assert part["args"][0]["messages"][1] == {**kept["args"][0]["messages"][1], "tool_calls": [TWO], **stripped(kept)}


def stripped(kept: dict[str, Any]) -> dict[str, Any]:
    return {"additional_kwargs": kept["args"][0]["messages"][1]["additional_kwargs"]}


REFUSED = {
    "no argument": [],
    "two arguments": [*state(ai(ONE)), None],
    "another form": [{"args": [{"messages": [ai(ONE)]}], "kwargs": {}}],
    "more than the form": [{**state(ai(ONE))[0], "more": 1}],
    "no list": [{"args": {}, "kwargs": {}, "langgraph_config": {}}],
    "no value": given(),
    "two values by name": given(a={"messages": [ai(ONE)]}, b={"messages": [ai(TWO)]}),
    "no messages": given({"messages": []}),
    "messages that are none": given({"messages": "x"}),
    "text": given("x"),
    "another message last": state(ai(ONE), HUMAN),
    "an answer last": state(ai(ONE), ANSWER),
    "a chunk": state(ai(ONE, type="AIMessageChunk")),
    "an unknown envelope": state({"lc": 1, "type": "constructor", "id": ["x", "Other"], "kwargs": ai(ONE)}),
    "an envelope that is something else": state({"lc": 1, "id": ["AIMessage"], "kwargs": ai(ONE, type="human")}),
    "no call": state(ai()),
    "calls only where the provider put them": state(ai(additional_kwargs={"tool_calls": RAW})),
    "calls that are no list": state(ai(tool_calls={"a": ONE})),
    "a call without a name": state(ai({**ONE, "name": ""})),
    "a call without arguments": state(ai({"name": "query_flights", "id": "c1"})),
    "a call whose arguments are no object": state(ai({**ONE, "args": [1]})),
    "a call whose id is none": state(ai({**ONE, "id": 7})),
    "arguments that are no JSON": state(ai({**RAW[0], "function": {"name": "query_flights", "arguments": "{"}})),
    "a task's call without arguments": given({"name": "query_flights"}),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_read_is_refused(form: str) -> None:
    for read in (
        lambda: READER.calls("g.tools", REFUSED[form]),
        lambda: READER.told("g.tools", REFUSED[form], "no"),
        lambda: READER.part("g.tools", REFUSED[form], 0),
    ):
        with pytest.raises(Refused) as refused:
            read()
        assert refused.value.code == "tool.input"


def test_a_refusal_is_an_answer_to_each_call() -> None:
    told = READER.told("g.tools", state(HUMAN, ai(ONE, TWO)), "Refused: no")
    assert (told["langgraph_command"], told["langgraph_interrupts"]) == (None, None)
    first, second = convert_to_messages(told["result"]["messages"])
    assert (first.type, first.content, first.name) == ("tool", "Refused: no", "query_flights")
    assert [one.tool_call_id for one in (first, second)] == ["c1", "c2"]  # type: ignore[attr-defined]
    assert [one.status for one in (first, second)] == ["error", "error"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        (FORMS["a list of messages"], list),
        (FORMS["sent call by call"], dict),
        (FORMS["sent with its state"], dict),
    ],
)
def test_a_refusal_has_the_form_of_the_nodes_own_result(arguments: list[Any], shape: type) -> None:
    assert isinstance(READER.told("g.tools", arguments, "no")["result"], shape)


def test_a_task_that_makes_one_call_is_answered_with_a_message() -> None:
    for arguments in (given(ONE), given(tool_call=ONE, config={"tags": []}), given(ONE, config={"tags": []})):
        assert names(READER.calls("g.tools", arguments)) == [("query_flights", ONE["args"], "c1")]
        assert READER.told("g.tools", arguments, "no")["result"]["tool_call_id"] == "c1"
        assert READER.part("g.tools", arguments, 0) == arguments
    by_name = given(state={"messages": [ai(ONE, TWO)]}, config={"tags": ["t"]})
    (part,) = READER.part("g.tools", by_name, 1)
    assert part["kwargs"]["config"] == {"tags": ["t"]}
    assert names(READER.calls("g.tools", [part])) == [("query_flights", TWO["args"], "c2")]


def test_answers_are_put_together_in_order() -> None:
    second = {**ANSWER, "tool_call_id": "c2"}
    parts = [returned({"messages": [ANSWER]}), returned({"messages": [second]})]
    assert READER.joined("g.tools", parts) == returned({"messages": [ANSWER, second]})
    assert READER.joined("g.tools", [returned([ANSWER]), returned([second])]) == returned([ANSWER, second])
    told = READER.told("g.tools", state(ai(TWO)), "no")
    assert [one["tool_call_id"] for one in READER.joined("g.tools", [parts[0], told])["result"]["messages"]] == [
        "c1",
        "c2",
    ]


@pytest.mark.parametrize("name", ["ToolMessage", "ToolMessageChunk"])
def test_an_answer_may_stand_in_an_envelope(name: str) -> None:
    answer = envelope(name, content="rows", tool_call_id="c2")
    parts = [returned({"messages": [ANSWER]}), returned({"messages": [answer]})]
    assert READER.joined("g.tools", parts) == returned({"messages": [ANSWER, answer]})


@pytest.mark.parametrize(
    "other",
    [
        returned(None, langgraph_command={"graph": None, "update": {"messages": [ANSWER]}, "goto": [], "resume": None}),
        returned(None, langgraph_interrupts=[{"id": "i", "value": "?"}]),
        returned({"messages": [ANSWER], "count": 1}),
        returned({"count": 1}),
        returned({"messages": [HUMAN]}),
        returned({"messages": [{"graph": None, "update": None, "goto": "agent"}]}),
        returned({"messages": {"type": "tool"}}),
        returned([ANSWER]),
        returned(ANSWER),
        returned(None),
        returned("rows"),
    ],
)
def test_what_is_more_than_an_answer_is_not_put_together(other: Any) -> None:
    with pytest.raises(Refused) as refused:
        READER.joined("g.tools", [returned({"messages": [ANSWER]}), other])
    assert refused.value.code == "tool.parallel"
    assert "parallel_tool_calls=False" in refused.value.next_action


def test_a_result_that_is_none_of_the_plugins_is_refused() -> None:
    for read in (lambda: READER.joined("g.tools", [{"messages": []}]), lambda: READER.proposed("g.agent", [])):
        with pytest.raises(Refused):
            read()


def test_a_tool_that_failed_says_so() -> None:
    assert READER.failed("g.tools", returned({"messages": [ANSWER, {**ANSWER, "status": "error"}]}))
    for result in (returned({"messages": [ANSWER]}), returned("error"), None):
        assert not READER.failed("g.tools", result)


PROPOSED: dict[str, tuple[Any, list[str]]] = {
    "a message in a state": (returned({"messages": [ai(ONE, THREE)]}), ["c1", "c3"]),
    "a message alone": (returned(ai(ONE)), ["c1"]),
    "under another key": (returned({"answer": {"message": ai(ONE)}}), ["c1"]),
    "an envelope": (returned([json.loads(json.dumps(AIMessage("", tool_calls=[ONE]).to_json()))]), ["c1"]),
    "a command": (returned(None, langgraph_command={"goto": "tools", "update": {"messages": [ai(ONE)]}}), ["c1"]),
    "where the provider put them": (returned({"messages": [ai(additional_kwargs={"tool_calls": RAW})]}), ["c1", "c2"]),
    "some of those unreadable": (returned(ai(additional_kwargs={"tool_calls": [{"id": "x"}, RAW[1]]})), ["c2"]),
    "answered already": (returned({"messages": [HUMAN, ai(ONE, TWO), ANSWER]}), ["c2"]),
    "none": (returned({"messages": [ai()]}), []),
    "an interrupt": (returned(None, langgraph_interrupts=[{"id": "i", "value": "?"}]), []),
}


@pytest.mark.parametrize("form", PROPOSED)
def test_the_calls_a_model_proposes(form: str) -> None:
    result, ids = PROPOSED[form]
    assert [one.id for one in READER.proposed("g.agent", result)] == ids


def test_a_proposal_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(Refused):
        READER.proposed("g.agent", returned({"messages": [ai({"name": "query_flights"})]}))


def test_a_model_is_what_the_mapping_names() -> None:
    assert READER.model("g.agent", state(HUMAN)).model == "planner"
    for activity, arguments in (("g.agent", []), ("g.tools", state(HUMAN)), ("g.other", state(HUMAN))):
        with pytest.raises(Refused):
            READER.model(activity, arguments)


def test_what_an_activity_is() -> None:
    kinds = {name: READER.kind(name) for name in ("g.tools", "g.agent", "m.query", "g.other")}
    assert kinds == {"g.tools": "tool", "g.agent": "model", "m.query": "tool", "g.other": None}


def test_a_task_that_is_a_tool() -> None:
    arguments = given("flights", sql="select 1", config={"tags": []})
    assert READER.calls("m.query", arguments) == [ToolCall("query", {"0": "flights", "sql": "select 1"})]
    with pytest.raises(Refused):
        READER.calls("m.query", given("flights", **{"0": "payroll"}))
    own = [{"dataset": "flights"}]  # an activity of the worker's own
    assert READER.calls("m.query", own) == [ToolCall("query", {"0": {"dataset": "flights"}})]
    for refuse in (
        lambda: READER.told("m.query", arguments, "no"),
        lambda: READER.calls("m.unknown", arguments),
    ):
        with pytest.raises(Refused):
            refuse()


async def inside(state: MessagesState) -> Any:
    return {}


async def query(dataset: str, sql: str = "select 1", *, limit: int = 1) -> Any:
    return []


async def many(dataset: str, *more: str, **others: Any) -> Any:
    return []


def test_what_is_seen_at_a_workers_start() -> None:
    graph = StateGraph(MessagesState)
    for name, where in (("inside", "workflow"), ("listed", "workflow"), ("free", "workflow"), ("tools", "activity")):
        graph.add_node(name, inside, metadata={"execute_in": where})
    graph.add_edge(START, "tools")
    theirs = LangGraphPlugin(graphs={"g": graph})
    theirs.execute("m.query", query, {"execute_in": "activity"})
    theirs.execute("m.many", many, {"execute_in": "activity"})
    reader = LangGraph(MAPPING)
    config: Any = {"activities": theirs.activities, "interceptors": theirs.interceptors}
    seen = list(reader.seen(config))
    assert seen == [Seen(name, inline=True, where="the graph 'g'") for name in ("g.listed", "g.free")]
    assert list(reader.seen({})) == []
    named = {"dataset": "flights", "sql": "select 2", "limit": 3}
    assert reader.calls("m.query", given("flights", "select 2", limit=3)) == [ToolCall("query", named)]
    assert reader.calls("m.query", given(limit=3, dataset="flights")) == [
        ToolCall("query", {"dataset": "flights", "limit": 3})
    ]
    for wrong in (given("flights", "select 1", 3), given("flights", dataset="payroll"), given(other=1)):
        with pytest.raises(Refused):
            reader.calls("m.query", wrong)
    everything = {"dataset": "flights", "more": ["a", "b"], "others": {"c": 1}}
    assert reader.calls("m.many", given("flights", "a", "b", c=1)) == [ToolCall("many", everything)]


def test_a_plugin_that_cannot_be_looked_into_is_not_trusted() -> None:
    class LangGraphInterceptor:
        """As a later release may have it."""

    with pytest.raises(Usage) as refused:
        list(READER.seen({"interceptors": [LangGraphInterceptor()]}))  # type: ignore[list-item, typeddict-item]
    assert refused.value.code == "framework.unknown"


GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "langgraph.md"
EXAMPLE = Path(__file__).parents[3] / "examples" / "langgraph"


def test_what_the_guide_shows_stands_in_the_example() -> None:
    code = "\n".join(path.read_text() for path in EXAMPLE.iterdir() if path.suffix in (".py", ".toml"))
    blocks = re.findall(r"```(python|toml)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 5
    for kind, block in blocks:
        if kind == "toml" and "acme" in block:
            assert Mapping.parse(block).of_activity("acme.flights.count_flights")
        else:
            assert block.strip("\n") in code, block


def test_the_guide_names_the_releases_that_are_installed() -> None:
    text = GUIDE.read_text()
    for name in ("langgraph", "langchain-core", "langchain", "temporalio-langgraph", "temporalio"):
        assert f"{name} {version(name)}" in text
