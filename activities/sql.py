"""`sql.query`: one read-only query over a dataset, with a database user made for this attempt.

- What the query can read is the database role's to say; the dataset named is what policy decides about.
- Bounded: at most 1,000 rows and 256 KiB; what did not fit is said.
"""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from activities.database import rows_of, session
from remit.temporal import tool

MOST_BYTES = 256 * 1024


class Query(BaseModel):
    """What to ask of which dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    sql: Annotated[str, Field(min_length=1, max_length=20_000)]
    limit: Annotated[int, Field(strict=True, ge=1, le=1000)] = 100


@tool(
    name="sql.query",
    action="dataset:query",
    resource=lambda query: query.dataset,
    credential="flights-ro",
)
async def query(query: Query) -> dict[str, Any]:
    """Return ``{"rows": [{column: value}…], "truncated": whether there was more}``."""
    async with session(read_only=True) as connection:
        cursor = await connection.execute(rows_of(query.sql, most=query.limit + 1), prepare=True)
        found = await cursor.fetchall()
    rows, size = [], 0
    for row in found[: query.limit]:
        entry = {name: plain(value) for name, value in row.items()}
        size += len(json.dumps(entry))
        if size > MOST_BYTES:
            break
        rows.append(entry)
    return {"rows": rows, "truncated": len(rows) < len(found)}


def plain(value: Any) -> Any:
    """Return a database value as JSON."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)
