"""`report.publish`: a summary table in schema ``reports``, made or replaced as a whole.

- One transaction: readers see the old table or the new one, and a repeated attempt ends the same.
- The table belongs to the role the minted user stands in, for that user is gone a moment later.
- It says where it comes from: its comment names the task and the step.
"""

from __future__ import annotations

from typing import Annotated, Any

from psycopg.sql import SQL, Identifier, Literal
from pydantic import BaseModel, ConfigDict, Field
from temporalio import activity

from activities.database import rows_of, session
from remit.temporal import tool

SCHEMA = "reports"
MOST_ROWS = 10_000
_OWNERS = """
SELECT roleid::regrole::text AS role FROM pg_auth_members
WHERE member = (SELECT oid FROM pg_roles WHERE rolname = current_user)
  AND has_schema_privilege(roleid, %(schema)s, 'CREATE')
ORDER BY 1 LIMIT 1
"""


class Report(BaseModel):
    """What to publish under which name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
    sql: Annotated[str, Field(min_length=1, max_length=20_000)]


@tool(name="report.publish", action="report:publish", resource="reports", credential="reports-rw")
async def publish(report: Report) -> dict[str, Any]:
    """Return ``{"table": name with schema, "rows": how many}``."""
    info = activity.info()
    table = Identifier(SCHEMA, report.table)
    made_by = f"published by {info.workflow_id}, activity {info.activity_id}"
    async with session(read_only=False) as connection:
        found = await (await connection.execute(_OWNERS, {"schema": SCHEMA})).fetchone()
        if found is not None:
            await connection.execute(SQL("SET LOCAL ROLE {}").format(Identifier(found["role"])))
        await connection.execute(SQL("DROP TABLE IF EXISTS {}").format(table))
        wanted = rows_of(report.sql, most=MOST_ROWS)
        made = await connection.execute(SQL("CREATE TABLE {} AS {}").format(table, wanted), prepare=True)
        await connection.execute(SQL("COMMENT ON TABLE {} IS {}").format(table, Literal(made_by)))
        await connection.execute(SQL("GRANT SELECT ON {} TO PUBLIC").format(table))
    return {"table": f"{SCHEMA}.{report.table}", "rows": made.rowcount}
