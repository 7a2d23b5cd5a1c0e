"""Fills the Compose stack's data server: the flights, the roles agents' users are put into, and OpenBao's manager.

- May run again: tables that are there are left alone, a manager that is there keeps its password.
- Passwords come from files and reach neither arguments nor the server's log.
"""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from remit.embedded import flights
from remit.embedded.roles import statements

MANAGER = "bao_min"
UNLOGGED = {"log_statement": "none", "log_min_error_statement": "panic"}


def fill(*, host: str, port: int, database: str, password: str, manager_password: str) -> None:
    """Load the data and make the roles, as the server's superuser.

    Raises:
        psycopg.Error: When the server does not let it in or refuses a statement.
    """
    where = make_conninfo(
        host=host,
        port=port,
        dbname=database,
        user="postgres",
        password=password,
        options=" ".join(f"-c {key}={value}" for key, value in UNLOGGED.items()),
    )
    with psycopg.connect(where) as connection:
        flights.load(connection)
    with psycopg.connect(where, autocommit=True) as connection:
        for statement in statements(database=database, manager=MANAGER, manager_password=manager_password):
            connection.execute(statement)
        for key, value in UNLOGGED.items():
            connection.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(
                    sql.Identifier(MANAGER), sql.Identifier(key), sql.Literal(value)
                )
            )


def main() -> None:
    """Fill the server the environment names."""
    fill(
        host=os.environ["DATA_HOST"],
        port=int(os.environ.get("DATA_PORT", "5432")),
        database=os.environ["DATA_NAME"],
        password=Path(os.environ["DATA_PASSWORD_FILE"]).read_text(encoding="ascii"),
        manager_password=Path(os.environ["DATA_MANAGER_PASSWORD_FILE"]).read_text(encoding="ascii"),
    )


if __name__ == "__main__":
    main()
