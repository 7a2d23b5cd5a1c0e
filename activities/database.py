"""How the tools talk to PostgreSQL: as the user that was minted for the attempt, and as nobody else.

- One statement at a time, over the extended protocol: a second statement behind a semicolon is a syntax error.
- A statement the database refuses is final; a database that does not answer is tried again.
- Cancelling an attempt cancels its query on the server, then closes the session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.sql import SQL
from temporalio import activity
from temporalio.exceptions import ApplicationError

from remit.temporal import current_credential

Row = dict[str, Any]


@asynccontextmanager
async def session(*, read_only: bool) -> AsyncIterator[AsyncConnection[Row]]:
    """Open one transaction as the minted user; it commits when the block ends well.

    Raises:
        ApplicationError: ``sql.refused``, not retried: the database refuses the statement.
        psycopg.OperationalError: It does not answer, or ended the session.
    """
    info = activity.info()
    try:
        async with await AsyncConnection.connect(
            current_credential()["dsn"],
            connect_timeout=10,
            application_name=f"{info.workflow_id} {info.activity_id}"[:63],
            row_factory=dict_row,
        ) as connection:
            await connection.set_read_only(read_only)
            yield connection
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        said = error.diag.message_primary or "the database refused the statement"
        raise ApplicationError(f"PostgreSQL refuses: {said}", type="sql.refused", non_retryable=True) from None


def rows_of(statement: str, *, most: int) -> SQL:
    """Return a query for at most so many rows of what somebody asked for.

    The statement stands as a subquery, so that only a query, and only one, can stand there.
    """
    asked = statement.strip().rstrip(";")
    return SQL(f"SELECT * FROM (\n{asked}\n) AS asked LIMIT {most}")  # noqa: S608 - asking it is what the tool is for
