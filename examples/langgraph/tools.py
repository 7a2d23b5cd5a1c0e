"""The agent's tools: LangChain's, each with the database user that was minted for its call."""

from __future__ import annotations

from langchain_core.tools import tool

from examples import database
from remit.temporal import current_credential


@tool
async def query_flights(dataset: str, sql: str) -> str:
    """Ask a dataset a question in SQL."""
    return str(await database.rows(current_credential()["dsn"], sql))


@tool
async def publish_report(table: str, sql: str) -> str:
    """Publish the answer to a question in SQL as a table."""
    return await database.publish(current_credential()["dsn"], table, sql)
