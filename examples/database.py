"""What the tools do: a query, and a published table, over the connection string they are given."""

from __future__ import annotations

import json
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

_OWNER = """
SELECT roleid::regrole::text AS role FROM pg_auth_members
WHERE member = (SELECT oid FROM pg_roles WHERE rolname = current_user)
  AND has_schema_privilege(roleid, 'reports', 'CREATE')
ORDER BY 1 LIMIT 1
"""


async def rows(dsn: str, sql: str, *, most: int = 100) -> list[dict[str, Any]]:
    """Return at most so many rows of a query, as plain JSON."""
    async with await AsyncConnection.connect(dsn, connect_timeout=10, row_factory=dict_row) as connection:
        await connection.set_read_only(True)
        cursor = await connection.execute(_only(sql, most=most), prepare=True)
        found: list[dict[str, Any]] = json.loads(json.dumps(await cursor.fetchall(), default=str))
        return found


async def publish(dsn: str, table: str, sql: str) -> str:
    """Make or replace a table of schema ``reports``; return what was published."""
    name = Identifier("reports", table)
    async with await AsyncConnection.connect(dsn, connect_timeout=10, row_factory=dict_row) as connection:
        if owner := await (await connection.execute(_OWNER)).fetchone():
            await connection.execute(SQL("SET LOCAL ROLE {}").format(Identifier(owner["role"])))
        await connection.execute(SQL("DROP TABLE IF EXISTS {}").format(name))
        made = await connection.execute(SQL("CREATE TABLE {} AS {}").format(name, _only(sql, most=1000)), prepare=True)
        await connection.execute(SQL("GRANT SELECT ON {} TO PUBLIC").format(name))
    return f"reports.{table}: {made.rowcount} rows"


def _only(sql: str, *, most: int) -> SQL:
    """Return one query for at most so many rows: as a subquery, so that nothing else can stand there."""
    return SQL(f"SELECT * FROM (\n{sql.strip().rstrip(';')}\n) AS asked LIMIT {most}")  # noqa: S608
