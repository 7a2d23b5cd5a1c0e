"""Roles of the embedded database, as SQL that may run again and again.

- ``bao_min``: the manager OpenBao logs in as. It may make roles and hand out the two below, no more.
- ``app_ro``: may read schema ``public`` and published reports. ``app_rw``: besides, may publish into
  schema ``reports``; a table it published belongs to ``app_rw`` once its minted user is gone.
- ``remit_sweep``: may have expired minted users ended (`remit.reaping.sweep`).
- Nobody else may connect, and nothing is granted on schema ``hr``.
"""

from __future__ import annotations

from psycopg import sql
from psycopg.sql import Composed

from remit.reaping import sweep

_MISSING_ROLE = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal}) THEN CREATE ROLE {name} {options}; END IF;
END $$
"""
_GRANTS = (
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
    "REVOKE CONNECT ON DATABASE template1 FROM PUBLIC",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
    "GRANT CONNECT ON DATABASE {database} TO app_ro, app_rw, {manager}",
    "GRANT USAGE ON SCHEMA public, reports TO app_ro, app_rw",
    "GRANT CREATE ON SCHEMA reports TO app_rw",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO app_ro, app_rw",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO app_ro, app_rw",
    "GRANT app_ro, app_rw TO {manager} WITH ADMIN OPTION",
)


def statements(*, database: str, manager: str, manager_password: str) -> list[Composed]:
    """Return the SQL, to be run by the superuser inside ``database``.

    Args:
        database: Its name.
        manager: The manager's role name.
        manager_password: Set only when the role is made, so that a rotated one stays.
    """
    login = sql.SQL("LOGIN CREATEROLE PASSWORD {}").format(sql.Literal(manager_password))
    roles = {**{name: sql.SQL("NOLOGIN") for name in ("app_ro", "app_rw", sweep.GROUP)}, manager: login}
    made = [
        sql.SQL(_MISSING_ROLE).format(literal=sql.Literal(name), name=sql.Identifier(name), options=options)
        for name, options in roles.items()
    ]
    names = {"database": sql.Identifier(database), "manager": sql.Identifier(manager)}
    return made + [sql.SQL(grant).format(**names) for grant in (*_GRANTS, *sweep.SETUP)]
