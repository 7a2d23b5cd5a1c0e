"""An agent without a model: a workflow that makes planned tool calls of an MCP server, and goes on when one fails."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.mcp import TemporalMCPClient


@workflow.defn
class DelayReport:
    """Makes the calls of a plan."""

    @workflow.run
    async def run(self, plan: list[dict[str, Any]]) -> list[str]:
        """Return what each call gave, or why it failed.

        Args:
            plan: ``[{"tool", "arguments"}…]``.
        """
        flights = TemporalMCPClient("flights", activity_config={"start_to_close_timeout": timedelta(minutes=2)})
        offered = {tool.name for tool in (await flights.list_tools()).tools}
        gave = []
        for call in plan:
            if call["tool"] not in offered:
                gave.append(f"there is no tool {call['tool']}")
                continue
            result = await flights.call_tool(call["tool"], call["arguments"])
            text = " ".join(block.text for block in result.content if block.type == "text")
            gave.append(f"failed: {text}" if result.is_error else text)
        return gave
