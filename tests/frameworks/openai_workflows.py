"""Workflows of agents as the framework's documentation shows them; they know nothing of Remit."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from agents import (
    Agent,
    CodeInterpreterTool,
    CustomTool,
    FileSearchTool,
    HostedMCPTool,
    ImageGenerationTool,
    ModelSettings,
    RunHooks,
    Runner,
    Tool,
    WebSearchTool,
    function_tool,
    handoff,
)
from temporalio import workflow
from temporalio.contrib.workflow_streams import WorkflowStream
from temporalio.openai_agents import workflow as openai

with workflow.unsafe.imports_passed_through():
    from examples.openai_agents import tools
    from tests.frameworks import openai_tools

SOON = timedelta(minutes=2)


def _done(what: str) -> str:
    logging.getLogger("tests.inline").info("%s %s", workflow.info().workflow_id, what)  # logging passes the sandbox
    return f"did {what}"


@function_tool
async def note(dataset: str) -> str:
    """Note something about a dataset, inside the workflow."""
    return _done(f"note {dataset}")


@function_tool
async def announce(text: str) -> str:
    """Announce something, inside the workflow, which a person approves."""
    return _done(f"announce {text}")


@function_tool
async def scribble(text: str) -> str:
    """Do something inside the workflow that no mapping knows."""
    return _done(f"scribble {text}")


@function_tool(name_override="publish_report")
async def publish_inside(table: str, sql: str) -> str:
    """Have the name of an activity, and be none."""
    return _done(f"publish {table}")


async def _write(context: Any, text: str) -> str:
    return _done(f"write {text}")


def _activity(function: Any) -> Tool:
    return openai.activity_as_tool(function, start_to_close_timeout=SOON)


TOOLS: dict[str, Tool] = {
    "query_flights": _activity(tools.query_flights),
    "publish_report": _activity(tools.publish_report),
    "lookup": _activity(openai_tools.lookup),
    "clock": _activity(openai_tools.clock),
    "unmapped": _activity(openai_tools.unmapped),
    "note": note,
    "announce": announce,
    "scribble": scribble,
    "publish_inside": publish_inside,
    "web_search": WebSearchTool(),
    "file_search": FileSearchTool(vector_store_ids=["store"]),
    "code_interpreter": CodeInterpreterTool(tool_config={"type": "code_interpreter", "container": {"type": "auto"}}),
    "image_generation": ImageGenerationTool(tool_config={"type": "image_generation"}),
    "hosted_mcp": HostedMCPTool(
        tool_config={"type": "mcp", "server_label": "docs", "server_url": "https://docs.invalid/mcp"}
    ),
    "write": CustomTool(name="write", description="Write.", on_invoke_tool=_write),
}


@workflow.defn
class Desk:
    """Runs an agent with the tools it is told to have."""

    @workflow.run
    async def run(self, prompt: str, having: list[str], model: str = "planner") -> str:
        result = await Runner.run(desk(having, model), prompt)
        return str(result.final_output)


@workflow.defn
class Streaming:
    """Runs an agent and listens to what it streams."""

    @workflow.init
    def __init__(self, prompt: str, having: list[str]) -> None:
        self.stream = WorkflowStream()

    @workflow.run
    async def run(self, prompt: str, having: list[str]) -> str:
        running = Runner.run_streamed(desk(having), prompt)
        async for _ in running.stream_events():
            pass
        return str(running.final_output)


@workflow.defn
class Served:
    """Runs an agent with an MCP server."""

    @workflow.run
    async def run(self, prompt: str, server: str, old: bool) -> str:
        config = workflow.ActivityConfig(start_to_close_timeout=SOON)
        made = openai.stateless_mcp_server if old else openai.temporal_mcp_server
        agent = Agent(name="Desk", model="planner", mcp_servers=[made(server, config)])
        return str((await Runner.run(agent, prompt)).final_output)


@workflow.defn
class Pair:
    """Has another agent: handed off to, and back, or as a tool."""

    @workflow.init
    def __init__(self, prompt: str, other: str, way: str) -> None:
        self.stream = WorkflowStream()

    @workflow.run
    async def run(self, prompt: str, other: str, way: str) -> str:
        writer = Agent(name=other, model="writer", tools=[TOOLS["publish_report"], TOOLS["query_flights"]])
        agent = Agent(
            name="Desk",
            model="planner",
            tools=[TOOLS["query_flights"], *([writer.as_tool("ask_writer", "Ask.")] if way == "tool" else [])],
            handoffs=[] if way == "tool" else [handoff(writer)] if way == "handoff" else [writer],
        )
        writer.handoffs.append(agent)
        if way != "stream":
            return str((await Runner.run(agent, prompt)).final_output)
        running = Runner.run_streamed(agent, prompt)
        async for _ in running.stream_events():
            pass
        return str(running.final_output)


class _Late(RunHooks[Any]):
    async def on_agent_start(self, context: Any, agent: Any) -> None:
        agent.tools.append(TOOLS["scribble"])


@workflow.defn
class Sly:
    """Runs an agent in ways that would not be seen when it begins."""

    @workflow.run
    async def run(self, prompt: str, way: str) -> str:
        agent = desk(["query_flights"])
        if way == "late":
            return str((await Runner.run(agent, prompt, hooks=_Late())).final_output)
        if way == "state":
            with_note = desk(["note"])
            first = await Runner.run(with_note, prompt)
            return str((await Runner.run(with_note, first.to_state())).final_output)
        request = {"model_name": "planner", "input": prompt, "model_settings": ModelSettings(), "tracing": 0}
        asks = workflow.execute_local_activity if way == "local" else workflow.execute_activity
        return str(await asks("invoke_model_activity", request, start_to_close_timeout=SOON))


def desk(having: list[str], model: str = "planner") -> Agent[Any]:
    """Return an agent with these tools."""
    return Agent(name="Desk", model=model, instructions="Look into delays.", tools=[TOOLS[one] for one in having])


WORKFLOWS = [Desk, Streaming, Served, Pair, Sly]
