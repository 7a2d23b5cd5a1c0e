"""The agent's tools: activities, each with the database user that was minted for its call."""

from __future__ import annotations

from temporalio import activity

from examples import database
from remit.temporal import current_credential


@activity.defn
async def query_flights(dataset: str, sql: str) -> str:
    """Ask a dataset a question in SQL."""
    return str(await database.rows(current_credential()["dsn"], sql))


@activity.defn
async def publish_report(table: str, sql: str) -> str:
    """Publish the answer to a question in SQL as a table."""
    return await database.publish(current_credential()["dsn"], table, sql)
