"""A pydantic-ai agent with an MCP server over stdio, whose process and connection calls share, and the server itself.

- Each call carries the credential of its own attempt in the request's ``_meta``, which no history holds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from examples import database
from remit.temporal import current_credential

server = MCPServer("flights")


@server.tool()
async def query_flights(dataset: str, sql: str, context: Context) -> str:
    """Query a dataset with one SELECT."""
    meta: Any = context.request_context.meta or {}
    return json.dumps(await database.rows(meta["dsn"], sql))


@server.tool()
async def nowhere(dataset: str) -> str:
    """Do what nobody mapped."""
    return "done"


if __name__ == "__main__":
    server.run()
else:
    from fastmcp.client.transports import StdioTransport
    from pydantic_ai import Agent, RunContext
    from pydantic_ai.durable_exec.temporal import PydanticAIWorkflow, TemporalDurability
    from pydantic_ai.mcp import CallToolFunc, MCPToolset, ToolResult
    from temporalio import workflow

    from tests.frameworks.pydantic_ai_agents import scripted

    async def _with_credential(
        ctx: RunContext[None], call: CallToolFunc, name: str, given: dict[str, Any]
    ) -> ToolResult:
        return await call(name, given, metadata={"dsn": current_credential()["dsn"]})

    _REPOSITORY = Path(__file__).parents[2]
    _process = StdioTransport(sys.executable, ["-m", "tests.frameworks.pydantic_ai_mcp"], cwd=str(_REPOSITORY))
    asking = Agent(
        scripted,
        name="asking",
        toolsets=[MCPToolset[None](_process, id="flights", process_tool_call=_with_credential)],
        capabilities=[TemporalDurability()],
    )

    @workflow.defn
    class Asking(PydanticAIWorkflow):
        """Asks the server."""

        __pydantic_ai_agents__ = (asking,)

        @workflow.run
        async def run(self, prompt: str) -> str:
            """Return the answer."""
            return (await asking.run(prompt)).output
