"""A delay desk: an agent with two tools and the workflow that runs it, as pydantic-ai's documentation writes them."""

from __future__ import annotations

from typing import Any

from pydantic_ai import Agent
from pydantic_ai.durable_exec.temporal import PydanticAIWorkflow, TemporalDurability
from temporalio import workflow

from examples import database
from examples.pydantic_ai.scripted import model
from remit.temporal import current_credential

agent = Agent(
    model,  # or the name of a real one
    name="delay_desk",
    instructions="You answer questions about flight delays, and publish what you found when you are asked to.",
    capabilities=[TemporalDurability()],
)


@agent.tool_plain
async def query_flights(dataset: str, sql: str) -> list[dict[str, Any]]:
    """Ask one query of a dataset."""
    return await database.rows(current_credential()["dsn"], sql)


@agent.tool_plain
async def publish_report(table: str, sql: str) -> str:
    """Publish a query's rows as a table."""
    return await database.publish(current_credential()["dsn"], table, sql)


@workflow.defn
class DelayDesk(PydanticAIWorkflow):
    """Answers one prompt."""

    __pydantic_ai_agents__ = (agent,)

    @workflow.run
    async def run(self, prompt: str) -> str:
        """Return the answer."""
        result = await agent.run(prompt)
        return result.output
