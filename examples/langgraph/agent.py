"""An agent as LangGraph's users write it: a node that asks the model, a node that runs the tools, an edge between them.

Nodes are functions of a module, and messages reach them as plain data: that is how `temporalio-langgraph` runs them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from langchain_core.messages import HumanMessage, convert_to_messages
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from temporalio import workflow
from temporalio.langgraph import graph

with workflow.unsafe.imports_passed_through():
    from examples.langgraph.scripted import Scripted
    from examples.langgraph.tools import publish_report, query_flights

TOOLS = ToolNode([query_flights, publish_report])
MODEL = Scripted().bind_tools(list(TOOLS.tools_by_name.values()))


async def agent(state: MessagesState) -> dict[str, Any]:
    """Ask the model."""
    return {"messages": [await MODEL.ainvoke(convert_to_messages(state["messages"]))]}


async def tools(state: MessagesState) -> Any:
    """Make the tool calls of the model's message."""
    return await TOOLS.ainvoke({"messages": convert_to_messages(state["messages"])})


async def route(state: MessagesState) -> str:
    """Go on with the tools as long as the model calls any."""
    (last,) = convert_to_messages(state["messages"][-1:])
    return "tools" if getattr(last, "tool_calls", None) else END


def delays() -> StateGraph[Any, Any, Any, Any]:
    """Return the graph; made once for each plugin, which changes it."""
    made = StateGraph(MessagesState)
    for node in (agent, tools):
        made.add_node(
            node.__name__, node, metadata={"execute_in": "activity", "start_to_close_timeout": timedelta(minutes=2)}
        )
    made.add_edge(START, "agent")
    made.add_conditional_edges("agent", route, ["tools", END])
    made.add_edge("tools", "agent")
    return made


@workflow.defn
class DelayDesk:
    """Answers questions about flights."""

    @workflow.run
    async def run(self, prompt: str) -> str:
        """Return the agent's answer."""
        found = await graph("delays").compile().ainvoke({"messages": [HumanMessage(prompt)]})
        return str(found["messages"][-1].content)
