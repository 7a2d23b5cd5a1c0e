"""An agent as the framework's documentation shows it: tools that are activities, run in a workflow."""

from __future__ import annotations

from datetime import timedelta

from agents import Agent, Runner
from temporalio import workflow
from temporalio.openai_agents import workflow as openai

with workflow.unsafe.imports_passed_through():
    from examples.openai_agents import tools

SOON = timedelta(minutes=2)


@workflow.defn
class DelayDesk:
    """Answers questions about flights."""

    @workflow.run
    async def run(self, prompt: str) -> str:
        """Return the agent's answer."""
        agent = Agent(
            name="Delay desk",
            model="planner",
            instructions="You look into delays of flights and publish reports about them.",
            tools=[
                openai.activity_as_tool(tools.query_flights, start_to_close_timeout=SOON),
                openai.activity_as_tool(tools.publish_report, start_to_close_timeout=SOON),
            ],
        )
        return str((await Runner.run(agent, prompt)).final_output)
