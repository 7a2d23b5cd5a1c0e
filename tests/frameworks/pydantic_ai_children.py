"""A pydantic-ai agent whose tools run as child workflows: of one toolset that is mapped, and of one that is not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic_ai import Agent, FunctionToolset
from pydantic_ai.durable_exec.temporal import PydanticAIWorkflow, TemporalDurability
from temporalio import activity, workflow

from examples import database
from remit.temporal import current_credential
from tests.frameworks.pydantic_ai_agents import scripted

CHILD = {"temporal": {"child_workflow": {}}}
office = FunctionToolset[None](id="office", metadata=CHILD)
cellar = FunctionToolset[None](id="cellar", metadata=CHILD)
SOON = timedelta(minutes=2)


@activity.defn(name="office.query")
async def query(dataset: str, sql: str) -> list[dict[str, Any]]:
    """Ask one query of a dataset."""
    return await database.rows(current_credential()["dsn"], sql)


@activity.defn(name="office.publish")
async def publish(table: str) -> str:
    """Publish nothing, which is an act all the same."""
    return table


@office.tool_plain
async def count(sql: str) -> list[dict[str, Any]]:
    """Count, in a workflow of its own."""
    found: list[dict[str, Any]] = await workflow.execute_activity(
        "office.query", args=["flights", sql], start_to_close_timeout=SOON
    )
    return found


@office.tool_plain
async def announce(table: str) -> str:
    """Publish, in a workflow of its own."""
    found: str = await workflow.execute_activity("office.publish", table, start_to_close_timeout=SOON)
    return found


@cellar.tool_plain
async def dig(sql: str) -> list[dict[str, Any]]:
    """Count where nobody looks."""
    return await count(sql)


clerk = Agent(scripted, name="clerk", toolsets=[office, cellar], capabilities=[TemporalDurability[Any]()])


@workflow.defn
class Clerk(PydanticAIWorkflow):
    """Runs the clerk."""

    __pydantic_ai_agents__ = (clerk,)

    @workflow.run
    async def run(self, prompt: str) -> str:
        """Return the answer."""
        return (await clerk.run(prompt)).output
