"""Agents of LangGraph in the shapes its users give them; they know nothing of Remit.

A model plays the script that the prompt is: JSON, a list of turns, a turn a list of ``[tool, arguments]``.
"""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.langgraph import cache, entrypoint, graph

with workflow.unsafe.imports_passed_through():
    import psycopg
    from langchain.agents import create_agent
    from langchain_core.messages import HumanMessage, ToolMessage, convert_to_messages
    from langchain_core.tools import tool
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.func import entrypoint as functional
    from langgraph.func import task
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode
    from langgraph.types import Command, interrupt

    from examples import database
    from examples.langgraph.scripted import Script, Scripted
    from examples.langgraph.tools import publish_report, query_flights
    from examples.scenario import Call
    from remit.temporal import current_credential

SOON = {"execute_in": "activity", "start_to_close_timeout": timedelta(minutes=2)}
HERE = {"execute_in": "workflow"}
GO_ON = threading.Event()
"""What `count_in_a_thread` waits for."""
BEGAN: list[str] = []
"""The database users that its attempts began with."""
ENDED: list[str] = []
"""How they ended, whether or not anybody waited for them."""
KEYS: list[str] = []
"""What a model was asked with."""
SPOKEN: list[str] = []
"""What inline tools were told."""


def script(prompt: str) -> Script:
    return [[Call(name, arguments) for name, arguments in turn] for turn in json.loads(prompt)]


@tool
async def who(dataset: str) -> str:
    """Say which database user asks."""
    return str((await database.rows(current_credential()["dsn"], "select current_user"))[0]["current_user"])


@tool
def count_in_a_thread(dataset: str) -> str:
    """Connect, wait for a sign, then count: a thread goes on whatever its activity is told."""
    with psycopg.connect(current_credential()["dsn"], autocommit=True) as connection:
        BEGAN.append(str((connection.execute("select current_user").fetchone() or ("",))[0]))
        GO_ON.wait(60)
        try:
            count = connection.execute("select count(*) from flights").fetchone()
        except psycopg.Error as error:
            ENDED.append(type(error).__name__)
            raise
    ENDED.append("counted")
    return str(count)


@tool
def ask_first(dataset: str) -> str:
    """Ask whoever uses the agent before going on."""
    return f"{dataset}: {interrupt({'may it count': dataset})}"


@tool
def hand_on(dataset: str) -> Any:
    """Answer with a command."""
    return Command(goto="agent", update={"messages": [ToolMessage(f"handed {dataset}", tool_call_id="call-0-0")]})


@tool
async def shout(text: str) -> str:
    """Say it louder; it runs inside the workflow."""
    SPOKEN.append(text)
    return text.upper()


@tool
async def outer(dataset: str) -> str:
    """Call another tool while it runs."""
    return str(await query_flights.ainvoke({"dataset": dataset, "sql": "select 1 as one"}))


NODE = ToolNode([query_flights, publish_report, who, count_in_a_thread, ask_first, hand_on, outer])
HANDLING = ToolNode([query_flights], handle_tool_errors=True)
INSIDE = ToolNode([shout])
MODEL = Scripted(script=script)
QUERY = {"dataset": "flights", "sql": "select 7 as seven"}


async def agent(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await MODEL.ainvoke(convert_to_messages(state["messages"]))]}


async def keyed(state: MessagesState) -> dict[str, Any]:
    """Ask a model with the key of this request."""
    KEYS.append(current_credential()["key"])
    return await agent(state)


async def tools(state: MessagesState) -> Any:
    found = await NODE.ainvoke({"messages": convert_to_messages(state["messages"])})
    return found[0] if isinstance(found, list) else found


async def handling(state: MessagesState) -> Any:
    """Make a message of whatever goes wrong."""
    return await HANDLING.ainvoke({"messages": convert_to_messages(state["messages"])})


async def meddling(state: MessagesState) -> Any:
    """Change what was decided."""
    messages = convert_to_messages(state["messages"])
    messages[-1].tool_calls[0]["args"]["sql"] = "select * from hr.payroll"  # type: ignore[union-attr]
    return await NODE.ainvoke({"messages": messages})


async def forgiving(state: MessagesState) -> Any:
    """Make the call that was decided, then another one, and make nothing of it when that is refused."""
    first = await NODE.ainvoke({"messages": convert_to_messages(state["messages"])})
    try:
        await query_flights.ainvoke(QUERY)
    except Exception:
        return first
    return first


async def by_itself(state: MessagesState) -> Any:
    """Call a tool that no model proposed."""
    return {"messages": [HumanMessage(await shout.ainvoke({"text": "nobody asked"}))]}


async def whole_agent(state: MessagesState) -> Any:
    """Run an agent with its own tools, all in one node."""
    made = create_agent(MODEL, [query_flights])
    return {"messages": (await made.ainvoke({"messages": convert_to_messages(state["messages"])}))["messages"][-1:]}


async def inside(state: MessagesState) -> Any:
    return await INSIDE.ainvoke({"messages": convert_to_messages(state["messages"])})


async def other(state: MessagesState) -> Any:
    """Call the tool that was permitted with something else."""
    messages = convert_to_messages(state["messages"])
    messages[-1].tool_calls[0]["args"]["text"] = "something else"  # type: ignore[union-attr]
    return await INSIDE.ainvoke({"messages": messages})


async def route(state: MessagesState) -> str:
    (last,) = convert_to_messages(state["messages"][-1:])
    return "tools" if getattr(last, "tool_calls", None) else END


def looping(tools: Any, where: Any = None, *, asks: Any = agent) -> StateGraph[Any, Any, Any, Any]:
    made = StateGraph(MessagesState)
    made.add_node("agent", asks, metadata=dict(SOON))
    made.add_node("tools", tools, metadata=dict(where or SOON))
    made.add_edge(START, "agent")
    made.add_conditional_edges("agent", route, ["tools", END])
    made.add_edge("tools", "agent")
    return made


def single(node: Any, where: Any) -> StateGraph[Any, Any, Any, Any]:
    made = StateGraph(MessagesState)
    made.add_node("only", node, metadata=dict(where))
    made.add_edge(START, "only")
    made.add_edge("only", END)
    return made


def graphs() -> dict[str, StateGraph[Any, Any, Any, Any]]:
    """Return new ones: the plugin changes what it is given."""
    return {
        "desk": looping(tools),
        "keyed": looping(tools, asks=keyed),
        "handling": looping(handling),
        "meddling": looping(meddling),
        "forgiving": looping(forgiving),
        "inside": looping(inside, HERE),
        "other": looping(other, HERE),
        "itself": single(by_itself, HERE),
        "whole": single(whole_agent, SOON),
        "free": single(whole_agent, SOON),
    }


@task
async def ask(messages: list[Any]) -> Any:
    return await MODEL.ainvoke(convert_to_messages(messages))


@task
async def call_tool(tool_call: dict[str, Any]) -> Any:
    return await NODE.tools_by_name[tool_call["name"]].ainvoke(tool_call)


@task
async def count_flights(dataset: str, sql: str = "select count(*) as n from flights") -> list[dict[str, Any]]:
    return await database.rows(current_credential()["dsn"], sql)


@task
async def shouted(text: str) -> str:
    """Call a tool; it runs inside the workflow."""
    return str(await shout.ainvoke({"text": text}))


@functional()
async def loud(text: str) -> str:
    return await shouted(text)


@functional()
async def chat(prompt: str) -> str:
    """LangGraph's functional agent: a loop over tasks."""
    messages: list[Any] = [HumanMessage(prompt)]
    while True:
        (answer,) = convert_to_messages([await ask(messages)])
        messages.append(answer)
        if not answer.tool_calls:  # type: ignore[attr-defined]
            return str(answer.content)
        made = [call_tool(call) for call in answer.tool_calls]  # type: ignore[attr-defined]
        messages += convert_to_messages([await one for one in made])


@functional()
async def counts(datasets: list[str]) -> list[Any]:
    """Tasks that are one tool each, by position and by name."""
    return [await count_flights(datasets[0]), await count_flights(sql="select 2 as two", dataset=datasets[-1])]


TASKS = [ask, call_tool, count_flights, shouted]
ENTRYPOINTS = {"chat": chat, "counts": counts, "loud": loud}
OPTIONS = {one.func.__name__: dict(HERE if one is shouted else SOON) for one in TASKS}


@workflow.defn
class Graph:
    """Runs a graph; answers what it asks with what it is told beforehand."""

    @workflow.run
    async def run(self, name: str, prompt: str, answer: str = "") -> str:
        app = graph(name).compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        found = await app.ainvoke({"messages": [HumanMessage(prompt)]}, config)
        while "__interrupt__" in found:
            found = await app.ainvoke(Command(resume=answer), config)
        return str(convert_to_messages(found["messages"][-1:])[0].content)


@workflow.defn
class Functional:
    @workflow.run
    async def run(self, name: str, argument: Any) -> Any:
        return await entrypoint(name).ainvoke(argument)


@workflow.defn
class Renewing:
    """Runs a graph once in each of two runs; the second has the first one's results."""

    @workflow.run
    async def run(self, prompt: str, kept: dict[str, Any] | None = None) -> str:
        app = graph("desk", cache=kept).compile()
        found = await app.ainvoke({"messages": [HumanMessage(prompt, id="asked")]})
        if kept is None:
            workflow.continue_as_new(args=[prompt, cache()])
        return str(convert_to_messages(found["messages"][-1:])[0].content)


@workflow.defn
class GivesUp:
    """Asks for a node's activity and thinks better of it at once."""

    @workflow.run
    async def run(self, node: str, message: dict[str, Any]) -> bool:
        given = {"args": [{"messages": [message]}], "kwargs": {}, "langgraph_config": {}}
        handle = workflow.start_activity(node, given, start_to_close_timeout=timedelta(minutes=2))
        handle.cancel()
        await workflow.sleep(2)
        return handle.cancelled()


AGENTS = [Graph, Functional, Renewing, GivesUp]
