"""Workflows that use MCP servers as `temporalio-mcp` has them do, and know nothing of Remit."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.mcp import TemporalMCPClient


@workflow.defn
class Operations:
    """Does one operation after the other."""

    @workflow.run
    async def run(self, server: str, operations: list[list[Any]]) -> list[Any]:
        client = TemporalMCPClient(server, activity_config={"start_to_close_timeout": timedelta(minutes=2)})
        return [await _done(client, operation) for operation in operations]


@workflow.defn
class AtOnce:
    """Does all operations at once."""

    @workflow.run
    async def run(self, server: str, operations: list[list[Any]]) -> list[Any]:
        client = TemporalMCPClient(server, activity_config={"start_to_close_timeout": timedelta(minutes=2)})
        return list(await asyncio.gather(*(_done(client, operation) for operation in operations)))


@workflow.defn
class Connected:
    """Calls a tool over a connection it names itself."""

    @workflow.run
    async def run(self, server: str, connection: str, operation: list[Any]) -> Any:
        return await _done(TemporalMCPClient(server, factory_argument=connection), operation)


async def _done(client: TemporalMCPClient, operation: list[Any]) -> Any:
    name, *arguments = operation
    result = await getattr(client, name)(*arguments)
    if name == "call_tool":
        return [result.is_error, " ".join(block.text for block in result.content if block.type == "text")]
    return result.model_dump(mode="json")


AGENTS = [Operations, AtOnce, Connected]
