"""The activities that are measured: the same body, declared for a governed worker and plain for an ungoverned one.

- ``bench.plain`` does nothing. ``bench.query`` logs in to PostgreSQL and runs ``select 1``.
- ``bench.hold`` keeps a database session open until it is cancelled, and notes when that was.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
from pydantic import BaseModel
from temporalio import activity

from remit.temporal import current_credential, tool

PLAIN, QUERY, HOLD = "bench.plain", "bench.query", "bench.hold"
INPUT = {"dataset": "flights", "limit": 10}


class Query(BaseModel):
    """What every measured step is asked."""

    dataset: str
    limit: int


async def selected(dsn: str) -> int:
    """Log in, run ``select 1`` and return its row."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as session:
        row = await (await session.execute("select 1")).fetchone()
    return int(row[0]) if row else 0


@tool(name=PLAIN, action="dataset:query", resource=lambda asked: asked.dataset)
async def governed_plain(asked: Query) -> dict[str, Any]:
    """Do nothing."""
    return {"rows": [[1]]}


@tool(name=QUERY, action="dataset:query", resource=lambda asked: asked.dataset, credential="flights-ro")
async def governed_query(asked: Query) -> dict[str, Any]:
    """Query with the credential minted for this attempt."""
    return {"rows": [[await selected(current_credential()["dsn"])]]}


@activity.defn(name=PLAIN)
async def plain(asked: dict[str, Any]) -> dict[str, Any]:
    """Do nothing."""
    return {"rows": [[1]]}


@dataclass(slots=True)
class Held:
    """What the holding steps report, in seconds of `time.monotonic`.

    Args:
        running: Database users of those that hold a session now.
        ended: When each step was told to end, by user.
    """

    running: set[str] = field(default_factory=set)
    ended: dict[str, float] = field(default_factory=dict)


HELD = Held()


@tool(name=HOLD, action="dataset:query", resource=lambda asked: asked.dataset, credential="flights-ro")
async def hold(asked: Query) -> None:
    """Hold a database session until told to end."""
    credential = current_credential()
    user = str(credential.user)
    session = await psycopg.AsyncConnection.connect(credential["dsn"], autocommit=True)
    HELD.running.add(user)
    try:
        await asyncio.sleep(600)
    finally:
        HELD.ended[user] = time.monotonic()
        HELD.running.discard(user)
        await session.close()
