"""pydantic-ai agents to try, and their workflows: a prompt is a JSON list of turns, a turn a list of tool calls.

- The scripted model makes the calls of each turn, then answers with what it was told of each, as JSON.
- What an inline tool did is kept in its module, of which the sandbox gives every run its own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

import psycopg
from pydantic_ai import Agent, AgentStreamEvent, FunctionToolset, ModelMessage, ModelResponse, RunContext
from pydantic_ai.capabilities import NativeTool
from pydantic_ai.durable_exec.temporal import PydanticAIWorkflow, TemporalDurability
from pydantic_ai.messages import ModelRequest, RetryPromptPart, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, DynamicToolset, ToolsetTool
from pydantic_ai.toolsets.external import TOOL_SCHEMA_VALIDATOR
from temporalio import workflow
from temporalio.workflow import ChildWorkflowConfig

from examples import database
from remit.delivery import Current
from remit.temporal import current_credential

NOTED: list[str] = []
SEEN: list[str] = []
"""What the threads of synchronous tools went through; only on the worker's side."""
LET_GO = threading.Event()


def _turn(messages: list[ModelMessage]) -> ModelResponse:
    requests = [part for one in messages if isinstance(one, ModelRequest) for part in one.parts]
    prompt = next(part for part in requests if isinstance(part, UserPromptPart))
    turns = json.loads(str(prompt.content))
    taken = sum(isinstance(one, ModelResponse) for one in messages)
    if taken < len(turns):
        return ModelResponse(parts=[ToolCallPart(tool, arguments) for tool, arguments in turns[taken]])
    told = [part.content for part in requests if isinstance(part, ToolReturnPart | RetryPromptPart)]
    return ModelResponse(parts=[TextPart(json.dumps(told, default=str))])


def _whole(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    return _turn(messages)


async def _streamed(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    for number, part in enumerate(_turn(messages).parts):
        if isinstance(part, ToolCallPart):
            yield {number: DeltaToolCall(name=part.tool_name, json_args=json.dumps(part.args))}
        elif isinstance(part, TextPart):
            yield part.content


scripted = FunctionModel(_whole, stream_function=_streamed, model_name="scripted")
data = FunctionToolset[None](id="data")
notes = FunctionToolset[None](id="notes", metadata={"temporal": False})


@data.tool_plain
async def query_flights(dataset: str, sql: str) -> list[dict[str, Any]]:
    """Ask one query of a dataset."""
    return await database.rows(current_credential()["dsn"], sql)


@data.tool_plain
async def publish_report(table: str, sql: str) -> str:
    """Publish a query's rows as a table."""
    return await database.publish(current_credential()["dsn"], table, sql)


@data.tool_plain
def query_in_thread(dataset: str, sql: str) -> str:
    """Ask one query of a dataset, and go on whatever becomes of it."""
    dsn = current_credential()["dsn"]
    try:
        with psycopg.connect(dsn) as connection:
            return f"in time: {connection.execute(sql.encode()).fetchall()}"
    except psycopg.Error:
        SEEN.append("query ended")
    LET_GO.wait(120)
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        SEEN.append("credential dead")
    return "too late"


@notes.tool_plain
async def note(dataset: str, text: str) -> str:
    """Note something, inside the workflow."""
    NOTED.append(text)
    return f"noted {text}"


@notes.tool_plain
async def announce(text: str) -> str:
    """Announce something, inside the workflow."""
    NOTED.append(text)
    return f"announced {text}"


more = FunctionToolset[None](id="more")


@more.tool_plain
async def wipe(dataset: str) -> str:
    """Do what nobody decided."""
    SEEN.append("wiped")
    return "wiped"


given = FunctionToolset[Current](id="given")
children = FunctionToolset[None](id="children", metadata={"temporal": {"child_workflow": ChildWorkflowConfig()}})


@given.tool
async def count_flights(ctx: RunContext[Current], dataset: str) -> list[dict[str, Any]]:
    """Count the rows of a dataset."""
    return await database.rows(ctx.deps["dsn"], f'select count(*) as n from "{dataset}"')


@children.tool_plain
async def plan(prompt: str) -> str:
    """Have somebody else see to it, in a child workflow."""
    return (await friend.run(prompt)).output


class Shelf(AbstractToolset[None]):
    """A toolset of one's own: pydantic-ai runs its tools inside the workflow."""

    @property
    def id(self) -> str:
        """Return its id."""
        return "shelf"

    async def get_tools(self, ctx: RunContext[None]) -> dict[str, ToolsetTool[None]]:
        """Return its one tool."""
        tool = ToolDefinition(name="shelve", parameters_json_schema={"type": "object"})
        return {"shelve": ToolsetTool(toolset=self, tool_def=tool, max_retries=1, args_validator=TOOL_SCHEMA_VALIDATOR)}

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[None], tool: ToolsetTool[None]
    ) -> str:
        """Keep something."""
        NOTED.append(str(tool_args))
        return "shelved"


async def _on_events(ctx: RunContext[None], events: AsyncIterable[AgentStreamEvent]) -> None:
    SEEN.extend([event.event_kind async for event in events])


colleagues = FunctionToolset[None](id="colleagues", metadata={"temporal": False})


@colleagues.tool_plain
async def ask(who: str, prompt: str) -> str:
    """Ask a colleague, inside the workflow."""
    colleague = next(one for one in (writer, friend, stranger) if one.name == who)
    return (await colleague.run(prompt)).output


def _agent(
    name: str, toolsets: Sequence[AbstractToolset[Any]], *capabilities: Any, **durability: Any
) -> Agent[Any, str]:
    durable = TemporalDurability[Any](**durability)
    return Agent(scripted, name=name, toolsets=toolsets, capabilities=[durable, *capabilities])


desk = _agent("desk", [data], models={"other": FunctionModel(_whole, model_name="other")})
noting = _agent("noting", [data, notes])
searching = _agent("searching", [data], NativeTool(WebSearchTool()))
changing = _agent("changing", [DynamicToolset[Any](lambda ctx: data, id="today")])
prefixed = _agent("prefixed", [data.filtered(lambda ctx, tool: tool.name == "query_flights").prefixed("my")])
streaming = _agent("streaming", [data], event_stream_handler=_on_events)
leading = _agent("leading", [data, colleagues])
writer = _agent("writer", [data])
friend = _agent("friend", [data])
stranger = _agent("stranger", [data])
lending = Agent(
    scripted, name="lending", deps_type=Current, toolsets=[given], capabilities=[TemporalDurability[Current]()]
)
planning = _agent("planning", [children])
AGENTS = (desk, noting, searching, changing, prefixed, streaming, leading, writer, friend, stranger)


@workflow.defn
class Desk(PydanticAIWorkflow):
    """Runs one of the agents."""

    __pydantic_ai_agents__ = AGENTS

    @workflow.run
    async def run(self, name: str, prompt: str, model: str | None = None) -> str:
        """Return the answer."""
        agent = next(one for one in AGENTS if one.name == name)
        return (await agent.run(prompt, model=model)).output

    @workflow.query
    def noted(self) -> list[str]:
        """Return what inline tools did."""
        return list(NOTED)


@workflow.defn
class Lent(PydanticAIWorkflow):
    """Runs the desk with a toolset it is given only now."""

    __pydantic_ai_agents__ = (desk,)

    @workflow.run
    async def run(self, which: str, prompt: str) -> str:
        """Return the answer."""
        lent: AbstractToolset[Any] = {"shelf": Shelf(), "notes": notes, "data": more}[which]
        return (await desk.run(prompt, toolsets=[lent])).output

    @workflow.query
    def noted(self) -> list[str]:
        """Return what inline tools did."""
        return list(NOTED)


@workflow.defn
class Bare:
    """Runs an agent that the worker has from a plugin of the agent's own."""

    @workflow.run
    async def run(self, prompt: str) -> str:
        """Return the answer."""
        return (await noting.run(prompt)).output


@workflow.defn
class Lending(PydanticAIWorkflow):
    """Runs an agent whose tools have their credential from the run's dependencies."""

    __pydantic_ai_agents__ = (lending,)

    @workflow.run
    async def run(self, prompt: str) -> str:
        """Return the answer."""
        return (await lending.run(prompt, deps=Current())).output


@workflow.defn
class Planning(PydanticAIWorkflow):
    """Runs an agent whose tool is a child workflow."""

    __pydantic_ai_agents__ = (planning, friend)

    @workflow.run
    async def run(self, prompt: str) -> str:
        """Return the answer."""
        return (await planning.run(prompt)).output


@workflow.defn
class GoesOn(PydanticAIWorkflow):
    """Goes on from an answer that came from elsewhere."""

    __pydantic_ai_agents__ = (noting,)

    @workflow.run
    async def run(self, tool: str, arguments: dict[str, Any]) -> str:
        """Return the answer."""
        prompt = ModelRequest(parts=[UserPromptPart("[[]]")])
        history: list[ModelMessage] = [prompt, ModelResponse(parts=[ToolCallPart(tool, arguments)])]
        return (await noting.run(message_history=history)).output

    @workflow.query
    def noted(self) -> list[str]:
        """Return what inline tools did."""
        return list(NOTED)
